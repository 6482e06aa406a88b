/**
 * Idle keys, read outside of scripts.
 * @module
 */
import { type CallOptions, type Connection, text } from "../upstash/connection.ts";
import { asMany } from "../upstash/requests.ts";
import { ask, results } from "../upstash/script.ts";
import type { Index } from "./prelude.ts";

/** The means to read idle keys. */
interface Reading {
  connection: Connection;
  index: Index;
}

/** Keys that are due for eviction. */
export interface IdleKeys {
  keys: string[];
  /** They were last touched at or before this time, ms. */
  limitMs: number;
  /** Redis time, ms; a whole second. */
  nowMs: number;
}

/**
 * At most `most` keys that were last touched `redisTtlMs` ago or earlier. Two commands, both of which only read: a full
 * Redis answers them.
 */
export async function readIdle(
  { connection, index }: Reading,
  redisTtlMs: number,
  most: number,
  call?: CallOptions,
): Promise<IdleKeys> {
  const what = "read idle keys";
  const [seconds] = await ask(connection, what, ["TIME"], call) as string[];
  const nowMs = Number(seconds) * 1000;
  const limitMs = nowMs - redisTtlMs;
  const keys = await asMany(most, async (some) => {
    const range = ["ZRANGEBYSCORE", index.keys.idle, "-inf", limitMs, "LIMIT", 0, some];
    return (await ask(connection, what, range, call) as string[]).map(text);
  });
  return { keys, limitMs, nowMs };
}

/** The first `most` idle keys; `undefined` if the index has never archived anything. One request, two commands. */
export async function sampleIdle(
  { connection, index }: Reading,
  what: string,
  most: number,
  call?: CallOptions,
): Promise<string[] | undefined> {
  const commands = [["ZRANGE", index.keys.idle, 0, most - 1], ["HGET", index.keys.stats, "frozen"]];
  const [idle, frozen] = results(what, await connection.pipeline(commands, call));
  return frozen === null ? undefined : (idle as string[]).map(text);
}
