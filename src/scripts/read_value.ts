/**
 * A value of any type, read outside of scripts, byte by byte.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import type { CallOptions, Connection, RedisCommand } from "../upstash/connection.ts";
import { ask, results } from "../upstash/script.ts";

/** A value, or the beginning of one. Texts are binary strings: a character is a byte. */
export interface ReadValue {
  /** The type, as `TYPE` names it. */
  type: string;
  /** Bytes of a string, entries of any other value. */
  length: number;
  /** Milliseconds until it expires; -1: never. */
  ttlMs: number;
  /** A string, or JSON: its bytes. */
  text?: string;
  /**
   * The entries: of a list or a set one text each, of a hash field and value, of a sorted set member and score, of a
   * stream the id and then fields and values.
   */
  entries?: string[][];
}

/** So much of a value is read. */
export interface ReadLimits {
  bytes: number;
  entries: number;
}

/** Bytes and entries of one request. */
const [PIECE, PAGE] = [4 * 1024 * 1024, 1_000];

/** Reads a value; `undefined` if it is absent. One request and 2 commands, and a few for each 4 MiB or 1,000 entries. */
export async function readValue(
  connection: Connection,
  what: string,
  name: string,
  limits: ReadLimits,
  call?: CallOptions,
): Promise<ReadValue | undefined> {
  const asked: RedisCommand[] = [["TYPE", name], ["PTTL", name]];
  const [type, ttlMs] = results(what, await connection.pipeline(asked, call)) as [string, number];
  if (type === "none") return undefined;
  const run = (command: RedisCommand) => ask(connection, what, command, call);
  const read = Object.hasOwn(READERS, type) ? READERS[type]! : undefined;
  if (read === undefined) {
    throw new TundraError(
      "UNSUPPORTED",
      `Cannot ${what} as its type must be one that is known: current value is ${type}`,
    );
  }
  return { type, ttlMs, ...await read(run, name, limits) };
}

type Ask = (command: RedisCommand) => Promise<unknown>;
type Reader = (run: Ask, name: string, limits: ReadLimits) => Promise<Omit<ReadValue, "type" | "ttlMs">>;

const READERS: Readonly<Record<string, Reader>> = {
  async string(run, name, { bytes }) {
    const length = Number(await run(["STRLEN", name]));
    let text = "";
    while (text.length < Math.min(length, bytes)) {
      const end = Math.min(text.length + PIECE, length, bytes) - 1;
      const piece = await run(["GETRANGE", name, text.length, end]) as string;
      if (piece === "") break; // it became shorter
      text += piece;
    }
    return { length, text };
  },
  list: (run, name, limits) => pages(run, name, "LLEN", limits, 1, (from, to) => ["LRANGE", name, from, to]),
  zset: (run, name, limits) =>
    pages(run, name, "ZCARD", limits, 2, (from, to) => ["ZRANGE", name, from, to, "WITHSCORES"]),
  set: (run, name, limits) => scanned(run, name, "SCARD", "SSCAN", limits, 1),
  hash: (run, name, limits) => scanned(run, name, "HLEN", "HSCAN", limits, 2),
  async stream(run, name, { entries }) {
    const length = Number(await run(["XLEN", name]));
    const found: string[][] = [];
    for (let from = "-"; found.length < Math.min(length, entries);) {
      const page = await run(["XRANGE", name, from, "+", "COUNT", Math.min(PAGE, entries - found.length)]);
      const read = page as [string, string[]][];
      if (read.length === 0) break;
      found.push(...read.map(([id, fields]) => [id, ...fields]));
      from = `(${read.at(-1)![0]}`;
    }
    return { length, entries: found };
  },
  async "ReJSON-RL"(run, name) {
    const text = await run(["JSON.GET", name]) as string | null ?? "";
    return { length: text.length, text };
  },
};

async function pages(
  run: Ask,
  name: string,
  counter: string,
  { entries }: ReadLimits,
  width: number,
  command: (from: number, to: number) => RedisCommand,
): Promise<Omit<ReadValue, "type" | "ttlMs">> {
  const length = Number(await run([counter, name]));
  const found: string[][] = [];
  while (found.length < Math.min(length, entries)) {
    const flat = await run(command(found.length, Math.min(found.length + PAGE, entries) - 1)) as string[];
    if (flat.length === 0) break;
    found.push(...inGroupsOf(width, flat));
  }
  return { length, entries: found };
}

async function scanned(
  run: Ask,
  name: string,
  counter: string,
  scan: string,
  { entries }: ReadLimits,
  width: number,
): Promise<Omit<ReadValue, "type" | "ttlMs">> {
  const length = Number(await run([counter, name]));
  const found = new Map<string, string[]>(); // a scan may answer an entry twice
  let cursor = "0";
  do {
    const [next, flat] = await run([scan, name, cursor, "COUNT", Math.min(PAGE, entries)]) as [string, string[]];
    for (const entry of inGroupsOf(width, flat)) if (found.size < entries) found.set(entry[0]!, entry);
    cursor = next;
  } while (cursor !== "0" && found.size < entries);
  return { length, entries: [...found.values()] };
}

function inGroupsOf(width: number, flat: readonly unknown[]): string[][] {
  return Array.from(
    { length: Math.floor(flat.length / width) },
    (_, i) => flat.slice(i * width, (i + 1) * width).map(String),
  );
}
