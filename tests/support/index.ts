/**
 * What a test of the scripts needs: their wrappers' Index on a stack, and looks into Redis that no script helps with.
 * @module
 */
import type { Buffer } from "node:buffer";
import { redisStream } from "../../dev/resp.ts";
import { type RedisKeys, redisKeys } from "../../src/keys.ts";
import type { Index } from "../../src/scripts/record.ts";
import { connect, type Connection } from "../../src/upstash/connection.ts";
import { scriptRunner } from "../../src/upstash/script.ts";
import type { Stack } from "./stack.ts";

/** A record's fields as text has them: `-` for none. */
export interface RecordFields {
  rev: number;
  ver: string;
  flag: string;
  fp: string;
  exp: number;
  touch: number;
  attempts: number;
  before: string;
  after: string;
  error: string;
}

/** The record that a missing one counts as. */
export const EMPTY_RECORD: Readonly<RecordFields> = {
  rev: 0,
  ver: "-",
  flag: "r",
  fp: "-",
  exp: 0,
  touch: 0,
  attempts: 0,
  before: "-",
  after: "-",
  error: "",
};

/** For how long the record of a removed or expired key outlives it. */
export const GRACE_MS = 24 * 60 * 60 * 1000;

/** A record's text. */
export function recordText(fields: Partial<RecordFields> = {}): string {
  const r = { ...EMPTY_RECORD, ...fields };
  return [1, r.rev, r.ver, r.flag, r.fp, r.exp, r.touch, r.attempts, r.before, r.after, r.error].join(" ");
}

/** A record's fields; throws where the text is no record of version 1. */
export function recordFields(text: string): RecordFields {
  const [version, rev, ver, flag, fp, exp, touch, attempts, before, after, ...error] = text.split(" ");
  if (version !== "1" || after === undefined || error.length === 0) throw new Error(`No record: ${text}`);
  return {
    rev: Number(rev),
    ver: ver!,
    flag: flag!,
    fp: fp!,
    exp: Number(exp),
    touch: Number(touch),
    attempts: Number(attempts),
    before: before!,
    after,
    error: error.join(" "),
  };
}

/** All of Redis by key: expiry (ms since 1970, -1 for none) and DUMP payload in hexadecimal. */
export type Keyspace = Record<string, string>;

/** An Index and looks into Redis; looks and changes made here are not billed. */
export interface TestIndex {
  readonly index: Index;
  readonly connection: Connection;
  readonly keys: RedisKeys;
  /** Redis time, microseconds. */
  nowUs(): Promise<number>;
  /** Writes records: fields, or the whole text. */
  setRecords(records: Record<string, Partial<RecordFields> | string>): Promise<void>;
  /** A record's text; "" for none. */
  recordOf(key: string): Promise<string>;
  /** Its fields. */
  fieldsOf(key: string): Promise<RecordFields>;
  /** When a Redis key expires: ms since 1970, -1 for never, -2 where it is missing. */
  expiryOf(redisKey: string): Promise<number>;
  /** Writes members; a score as text, so that it is exact. */
  setScores(set: "dirty" | "idle" | "dead", scores: Record<string, number | string>): Promise<void>;
  /** All members with their exact scores as text. */
  scoresOf(set: "dirty" | "idle" | "dead"): Promise<Record<string, string>>;
  /** The totals. */
  stats(): Promise<Record<string, string>>;
  /** Every key with its expiry and bytes. */
  everything(): Promise<Keyspace>;
  /** The same of the application's keys only. */
  userKeys(): Promise<Keyspace>;
  /** What an act costs; scripts should be loaded. */
  cost(act: () => Promise<unknown>): Promise<{ requests: number; billable: number }>;
  /** The names of the commands that scripts ran meanwhile, in order. */
  commandsOf(act: () => Promise<unknown>): Promise<string[]>;
}

const EVERYTHING = `
local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  out[#out + 1] = key
  out[#out + 1] = redis.call('PEXPIRETIME', key) .. ' '
  out[#out + 1] = redis.call('DUMP', key)
end
return out`;

/** An Index on a stack; only inside tests and hooks. Requests are not repeated. */
export function testIndex(stack: Stack, tqname = "default"): TestIndex {
  const connection = connect({ ...stack.connection, retry: false });
  const keys = redisKeys(tqname);
  const pairs = (flat: unknown): Record<string, string> => {
    const texts = (flat as unknown[]).map(String);
    return Object.fromEntries(texts.flatMap((name, i) => i % 2 === 0 ? [[name, texts[i + 1]!]] : []));
  };
  const everything = async (): Promise<Keyspace> => {
    const flat = await stack.raw("EVAL", EVERYTHING, 0) as Buffer[];
    const all: Keyspace = {};
    for (let i = 0; i < flat.length; i += 3) all[String(flat[i])] = String(flat[i + 1]) + flat[i + 2]!.toString("hex");
    return all;
  };
  const recordOf = async (key: string): Promise<string> => String(await stack.raw("GET", keys.record(key)) ?? "");
  return {
    index: { scripts: scriptRunner(connection), keys },
    connection,
    keys,
    async nowUs() {
      const [seconds, micros] = (await stack.raw("TIME") as Buffer[]).map(Number);
      return seconds! * 1_000_000 + micros!;
    },
    async setRecords(records) {
      const flat = Object.entries(records).flatMap(([key, record]) => [
        keys.record(key),
        typeof record === "string" ? record : recordText(record),
      ]);
      await stack.raw("MSET", ...flat);
    },
    recordOf,
    fieldsOf: async (key) => recordFields(await recordOf(key)),
    expiryOf: async (redisKey) => Number(await stack.raw("PEXPIRETIME", redisKey)),
    async setScores(set, scores) {
      await stack.raw("ZADD", keys[set], ...Object.entries(scores).flatMap(([key, score]) => [score, key]));
    },
    scoresOf: async (set) => pairs(await stack.raw("ZRANGE", keys[set], 0, -1, "WITHSCORES")),
    stats: async () => pairs(await stack.raw("HGETALL", keys.stats)),
    everything,
    userKeys: async () =>
      Object.fromEntries(Object.entries(await everything()).filter(([key]) => !key.startsWith("tundra:"))),
    async cost(act) {
      await stack.server.resetCounters();
      await act();
      return { requests: stack.server.requests, billable: await stack.server.billable() };
    },
    async commandsOf(act) {
      const lines: string[] = [];
      const waiting = new Map<string, () => void>();
      const seen = (text: string) => new Promise<void>((resolve) => waiting.set(text, resolve));
      const started = seen("OK");
      const stop = redisStream({ port: stack.redis.port }, ["MONITOR"], (reply) => {
        lines.push(String(reply));
        for (const [text, resolve] of waiting) if (String(reply).includes(text)) resolve();
      }, () => {});
      try {
        await started;
        await act();
        const ended = seen("the end of the act");
        await stack.raw("ECHO", "the end of the act");
        await ended;
      } finally {
        stop();
      }
      return lines.flatMap((line) => /^\S+ \[\d+ lua\] "(\w+)"/.exec(line)?.[1] ?? []);
    },
  };
}
