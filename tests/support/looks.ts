/**
 * Looks at, and changes of, many Redis keys at a time, for tests of scripts that work on batches. Not billed.
 * @module
 */
import type { Buffer } from "node:buffer";
import { assert } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { EMPTY, type RecordFields } from "./index.ts";
import type { Stack } from "./stack.ts";

/** One of the sorted sets of an index. */
export type SortedSet = "dirty" | "idle" | "dead" | "purge";

/** Redis keys with their expiry (ms since 1970, -1 for none) and the bytes of their DUMP in hexadecimal. */
export type Keyspace = Record<string, string>;

/** What {@linkcode looksInto} returns; only inside tests and hooks. */
export interface Looks {
  /** Redis time, microseconds. */
  nowUs(): Promise<number>;
  /** Sets strings. */
  setKeys(...keys: string[]): Promise<void>;
  /** Writes records, as fields (others as in `EMPTY`) or as text. No TTL. */
  setRecords(records: Record<string, Partial<RecordFields> | string>): Promise<void>;
  /** Adds members; a score as text is exact. */
  setScores(set: SortedSet, scores: Record<string, number | string>): Promise<void>;
  /** All members with their scores as Redis prints them. */
  scores(set: SortedSet): Promise<Record<string, string>>;
  /** The totals. */
  stats(): Promise<Record<string, string>>;
  /** Every Redis key, in one command: also for thousands. */
  everything(): Promise<Keyspace>;
  /** Those of the application. */
  userKeys(): Promise<Keyspace>;
}

/** A TTL of Tundra's own: how long a record outlives a key that was removed. */
export const GRACE_MS = 24 * 60 * 60 * 1000;

/** How long what has expired stays in the archive. */
export const EXPIRED_MS = 48 * 60 * 60 * 1000;

const EVERYTHING = `
local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  out[#out + 1] = key
  out[#out + 1] = redis.call('PEXPIRETIME', key) .. ' '
  out[#out + 1] = redis.call('DUMP', key)
end
return out`;

export function looksInto(stack: Stack, tqname = "default"): Looks {
  const keys = redisKeys(tqname);
  const pairs = (flat: unknown): Record<string, string> => {
    const texts = (flat as unknown[]).map(String);
    return Object.fromEntries(texts.flatMap((name, i) => i % 2 === 0 ? [[name, texts[i + 1]!]] : []));
  };
  const looks: Looks = {
    async nowUs() {
      const [seconds, micros] = (await stack.raw("TIME") as Buffer[]).map(Number);
      return seconds! * 1_000_000 + micros!;
    },
    async setKeys(...names) {
      await stack.raw("MSET", ...names.flatMap((name) => [name, `value of ${name}`]));
    },
    async setRecords(records) {
      await stack.raw(
        "MSET",
        ...Object.entries(records).flatMap((
          [key, record],
        ) => [keys.record(key), typeof record === "string" ? record : textOf(record)]),
      );
    },
    async setScores(set, scores) {
      await stack.raw("ZADD", keys[set], ...Object.entries(scores).flatMap(([key, score]) => [score, key]));
    },
    scores: async (set) => pairs(await stack.raw("ZRANGE", keys[set], 0, -1, "WITHSCORES")),
    stats: async () => pairs(await stack.raw("HGETALL", keys.stats)),
    async everything() {
      const flat = await stack.raw("EVAL", EVERYTHING, 0) as Buffer[];
      const all: Keyspace = {};
      for (let i = 0; i < flat.length; i += 3) {
        all[String(flat[i])] = String(flat[i + 1]) + flat[i + 2]!.toString("hex");
      }
      return all;
    },
    userKeys: async () =>
      Object.fromEntries(Object.entries(await looks.everything()).filter(([key]) => !key.startsWith("tundra:"))),
  };
  return looks;
}

/** A record's text. */
export function textOf(fields: Partial<RecordFields>): string {
  const r = { ...EMPTY, ...fields };
  return [1, r.rev, r.ver, r.flag, r.fp, r.exp, r.touch, r.attempts, r.before, r.after, r.old, r.rescues, r.kb, r.error]
    .join(
      " ",
    );
}

/** What a script wrote, in order: the names of its commands, of `scripted()`'s lines. */
export function writesOf(lines: string[]): string[] {
  const WRITES = [
    "SET",
    "HSET",
    "MSET",
    "ZADD",
    "ZREM",
    "UNLINK",
    "HINCRBY",
    "RESTORE",
    "DEL",
    "EXPIRE",
    "PEXPIREAT",
    "PERSIST",
  ];
  return lines.map((line) => line.split(" ")[0]!.toUpperCase()).filter((name) => WRITES.includes(name));
}

/** `from <= value <= to`; the message has all three. */
export function assertBetween(value: number, from: number, to: number): void {
  assert(from <= value && value <= to, `${value} must be from ${from} to ${to}`);
}
