/**
 * Sizes, last uses and expiries of keys, read outside of scripts.
 * @module
 */
import type { CallOptions, Connection, RedisCommand } from "../upstash/connection.ts";
import { inRequests } from "../upstash/requests.ts";
import { ask, results } from "../upstash/script.ts";

/** Redis' clock, and which of these keys are dead. */
export interface Clock {
  nowMs: number;
  dead: boolean[];
}

/** Redis' clock, ms, and for each key if it is in the sorted set `dead`. One request, 1 command, 2 with keys. */
export async function readDead(
  connection: Connection,
  what: string,
  dead: string,
  keys: readonly string[],
  call?: CallOptions,
): Promise<Clock> {
  const commands: RedisCommand[] = [["TIME"]];
  if (keys.length > 0) commands.push(["ZMSCORE", dead, ...keys]);
  const [time, scores = []] = results(what, await connection.pipeline(commands, call)) as [string[], unknown[]?];
  return {
    nowMs: 1000 * Number(time[0]) + Math.floor(Number(time[1]) / 1000),
    dead: scores.map((score) => score !== null),
  };
}

/** Redis' answers about one key. */
export interface Measured {
  /** Bytes of memory, name and overhead included; `undefined` if it was not asked, or the key is missing. */
  bytes: number | undefined;
  /** Milliseconds since its last use, to the second; `undefined` as above. */
  idleMs: number | undefined;
  /** Milliseconds until it expires; -1: never, -2: it is missing; `undefined` if it was not asked. */
  ttlMs: number | undefined;
}

/** Questions about keys. */
export interface Questions {
  bytes?: boolean;
  idleMs?: boolean;
  ttlMs?: boolean;
}

/**
 * Sizes and last uses of keys. Neither counts as a use.
 *
 * Cost: one request for up to 1,000 answers; a command a key and question. Upstash knows no `OBJECT`, which tells the
 * last use.
 */
export async function measure(
  connection: Connection,
  what: string,
  keys: readonly string[],
  { bytes = false, idleMs = false, ttlMs = false }: Questions,
  call?: CallOptions,
): Promise<Measured[]> {
  const questions = Number(bytes) + Number(idleMs) + Number(ttlMs);
  const weigh = (key: string) => questions * (3 * key.length + 60);
  return await inRequests(keys, weigh, connection.requestLimit, async (batch) => {
    const commands = batch.flatMap((key): RedisCommand[] => [
      ...(idleMs ? [["OBJECT", "IDLETIME", key]] : []),
      ...(bytes ? [["MEMORY", "USAGE", key]] : []),
      ...(ttlMs ? [["PTTL", key]] : []),
    ]);
    const replies = results(what, await connection.pipeline(commands, call)) as (number | null)[];
    return batch.map((_, i) => {
      const rest = replies.slice(i * questions, (i + 1) * questions);
      const idle = idleMs ? rest.shift() : undefined;
      return {
        idleMs: typeof idle === "number" ? 1000 * idle : undefined,
        bytes: bytes ? rest.shift() ?? undefined : undefined,
        ttlMs: ttlMs ? rest.shift() ?? undefined : undefined,
      };
    });
  });
}

/** The number of keys in the database, Tundra's own too. One command. */
export async function countAll(connection: Connection, what: string, call?: CallOptions): Promise<number> {
  return Number(await ask(connection, what, ["DBSIZE"], call));
}
