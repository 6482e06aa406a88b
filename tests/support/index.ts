/**
 * A toolkit for tests of scripts: the index of one store on a test's stack, read and changed past the endpoint (not
 * billed): records, scores, the whole keyspace; and what a script runs, what a call costs, late copies of requests.
 * @module
 */
import type { Buffer } from "node:buffer";
import { createHash, randomUUID } from "node:crypto";
import { assert, assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import type { Index } from "../../src/scripts/prelude.ts";
import { redisStream, type Reply as RawReply } from "../../src/testing/resp.ts";
import { connect, type Connection } from "../../src/upstash/connection.ts";
import { databaseName } from "../../src/upstash/options.ts";
import { scriptRunner } from "../../src/upstash/script.ts";
import type { Stack } from "./stack.ts";
import { DAY_MS } from "./times.ts";

/** Every field of a record, see src/scripts/prelude.ts; `-` if there is none. */
export interface RecordFields {
  rev: number;
  ver: string;
  flag: "r" | "e" | "g" | "m";
  fp: string;
  exp: number;
  touch: number;
  attempts: number;
  before: string;
  after: string;
  old: string;
  rescues: number;
  kb: number;
  error: string;
}

/** A new record's fields. */
export const EMPTY: RecordFields = {
  rev: 0,
  ver: "-",
  flag: "r",
  fp: "-",
  exp: 0,
  touch: 0,
  attempts: 0,
  before: "-",
  after: "-",
  old: "-",
  rescues: 0,
  kb: 0,
  error: "",
};

/** One of the sorted sets of an index. */
export type SortedSet = "dirty" | "idle" | "dead" | "purge";

/** Redis keys with their expiry (ms since 1970, -1 for none) and the bytes of their DUMP in hexadecimal. */
export type Keyspace = Record<string, string>;

/** The time for which a record outlives a key that was removed. */
export const GRACE_MS = DAY_MS;

/** The time for which the objects of an expired key stay in the archive. */
export const EXPIRED_MS = 2 * DAY_MS;

/** A version that was archived long ago. */
export const OLD_VER = "1700000000000000-00000000";

/** The cost of a call. */
export interface Bill {
  requests: number;
  billable: number;
}

/** The result of {@linkcode withIndex}; use it only inside tests and hooks. */
export interface TestIndex {
  readonly index: Index;
  readonly connection: Connection;
  /** Redis time, ms. */
  nowMs(): Promise<number>;
  /** Redis time, microseconds. */
  nowUs(): Promise<number>;
  /** Sets strings. */
  setKeys(...keys: string[]): Promise<void>;
  /** The record's text, `undefined` for none. */
  recordText(key: string): Promise<string | undefined>;
  /** The record's fields; throws if there is none. */
  readRecord(key: string): Promise<RecordFields>;
  /** Writes a record, fields that are not given as in `EMPTY`; returns its text. No TTL. */
  writeRecord(key: string, fields: Partial<RecordFields>): Promise<string>;
  /** Writes records, as fields (others as in `EMPTY`) or as text. No TTL. */
  setRecords(records: Record<string, Partial<RecordFields> | string>): Promise<void>;
  /**
   * Sets a string and writes its record as a commit would: `fp` fits, `ver` is `OLD_VER`, in `idle`; returns its text.
   */
  clean(key: string, value: string, fields?: Partial<RecordFields>): Promise<string>;
  /** As `clean`, then as an eviction would leave it; returns the record's text. `dump` has the payload. */
  evicted(
    key: string,
    value: string,
    fields?: Partial<RecordFields>,
  ): Promise<{ record: string; dump: Uint8Array<ArrayBuffer> }>;
  /** SHA-1 of the key's DUMP. */
  fingerprint(key: string): Promise<string>;
  /** The score of `key` as text, `undefined` if it is no member. */
  score(zset: SortedSet, key: string): Promise<string | undefined>;
  /** Adds members; a score as text is exact. */
  setScores(zset: SortedSet, scores: Record<string, number | string>): Promise<void>;
  /** All members with their scores as Redis prints them. */
  scores(zset: SortedSet): Promise<Record<string, string>>;
  /** The totals. */
  stats(): Promise<Record<string, string>>;
  /** PEXPIRETIME: -1 for none, -2 if the key is missing. */
  expiry(redisKey: string): Promise<number>;
  /** Every Redis key, in one command: also for thousands. */
  everything(): Promise<Keyspace>;
  /** The application's keys. */
  userKeys(): Promise<Keyspace>;
  /** Runs `act`, returns its result, and fails if any Redis key or expiry is another one afterwards. */
  changesNothing<T>(act: () => Promise<T>): Promise<T>;
  /** The cost of a call; run it once before, so that its script is loaded. */
  bill(act: () => Promise<unknown>): Promise<Bill>;
  /** The commands that scripts run meanwhile, in order: name and first argument. */
  scripted(act: () => Promise<unknown>): Promise<string[]>;
  /** Runs `act`; `again()` sends the very same HTTP requests once more and returns their replies' bodies. */
  copied<T>(act: () => Promise<T>): Promise<{ value: T; again: () => Promise<string[]> }>;
}

const EVERYTHING = `
local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  out[#out + 1] = key
  out[#out + 1] = redis.call('PEXPIRETIME', key) .. ' '
  out[#out + 1] = redis.call('DUMP', key)
end
return out`;

/** Call it at the top of a `describe`, after `withStack()`. */
export function withIndex(stack: Stack, tqname = "default"): TestIndex {
  const keys = redisKeys(tqname);
  let made: { index: Index; connection: Connection; url: string } | undefined;
  let sent: [Parameters<typeof fetch>[0], RequestInit | undefined][] | undefined;
  const recording: typeof fetch = (input, init) => {
    sent?.push([input, init]);
    return fetch(input, init);
  };
  const reach = () => {
    if (made?.url !== stack.connection.url) {
      const connection = connect({ ...stack.connection, fetch: recording });
      made = {
        connection,
        index: { scripts: scriptRunner(connection), keys, database: databaseName(stack.connection.url) },
        url: stack.connection.url,
      };
    }
    return made;
  };
  const { raw } = stack;
  const asText = (reply: RawReply): string | undefined => reply === null ? undefined : String(reply);

  const pairs = (flat: RawReply): Record<string, string> => {
    const texts = (flat as RawReply[]).map(String);
    return Object.fromEntries(texts.flatMap((name, i) => i % 2 === 0 ? [[name, texts[i + 1]!]] : []));
  };

  const tools: TestIndex = {
    get index() {
      return reach().index;
    },
    get connection() {
      return reach().connection;
    },
    nowMs: async () => Math.floor(await tools.nowUs() / 1000),
    async nowUs() {
      const [seconds, micros] = (await raw("TIME") as RawReply[]).map(Number);
      return seconds! * 1_000_000 + micros!;
    },
    async setKeys(...names) {
      await raw("MSET", ...names.flatMap((name) => [name, `value of ${name}`]));
    },
    recordText: async (key) => asText(await raw("GET", keys.record(key))),
    async readRecord(key) {
      const text = await tools.recordText(key);
      const fields = /^[123] (\d+) (\S+) ([regm]) (\S+) (\d+) (\d+) (\d+) (\S+) (\S+) (\S+) (\d+) (\d+) (.*)$/.exec(
        text ?? "",
      );
      if (!fields) throw new Error(`No record of ${key}: ${text}`);
      const [rev, ver, flag, fp, exp, touch, attempts, before, after, old, rescues, kb, error] = fields.slice(
        1,
      ) as string[];
      return {
        rev: Number(rev),
        ver: ver!,
        flag: flag as RecordFields["flag"],
        fp: fp!,
        exp: Number(exp),
        touch: Number(touch),
        attempts: Number(attempts),
        before: before!,
        after: after!,
        old: old!,
        rescues: Number(rescues),
        kb: Number(kb),
        error: error!,
      };
    },
    async writeRecord(key, fields) {
      const text = textOf(fields);
      await tools.setRecords({ [key]: text });
      return text;
    },
    async setRecords(records) {
      const texts = Object.entries(records).map((
        [key, record],
      ) => [key, typeof record === "string" ? record : textOf(record)]);
      await raw("MSET", ...texts.flatMap(([key, text]) => [keys.record(key!), text!]));
    },
    async clean(key, value, fields = {}) {
      await raw("SET", key, value);
      if (fields.exp) await raw("PEXPIREAT", key, fields.exp);
      const touch = fields.touch ?? await tools.nowMs();
      await raw("ZADD", keys.idle, touch, key);
      return await tools.writeRecord(key, { ver: OLD_VER, fp: await tools.fingerprint(key), touch, ...fields });
    },
    async evicted(key, value, fields = {}) {
      const record = await tools.clean(key, value, { ...fields, flag: "e" });
      const dump = new Uint8Array(await raw("DUMP", key) as Buffer);
      await raw("DEL", key);
      await raw("ZREM", keys.idle, key);
      return { record, dump };
    },
    async fingerprint(key) {
      const dump = await raw("DUMP", key) as Buffer | null;
      if (dump === null) throw new Error(`No key ${key}`);
      return createHash("sha1").update(dump).digest("hex");
    },
    score: async (zset, key) => asText(await raw("ZSCORE", keys[zset], key)),
    async setScores(zset, scores) {
      await raw("ZADD", keys[zset], ...Object.entries(scores).flatMap(([key, score]) => [score, key]));
    },
    scores: async (zset) => pairs(await raw("ZRANGE", keys[zset], 0, -1, "WITHSCORES")),
    stats: async () => pairs(await raw("HGETALL", keys.stats)),
    expiry: async (redisKey) => Number(await raw("PEXPIRETIME", redisKey)),
    async everything() {
      const flat = await raw("EVAL", EVERYTHING, 0) as Buffer[];
      const all: Keyspace = {};
      for (let i = 0; i < flat.length; i += 3) {
        all[flat[i]!.toString("latin1")] = String(flat[i + 1]) + flat[i + 2]!.toString("hex");
      }
      return all;
    },
    userKeys: async () =>
      Object.fromEntries(Object.entries(await tools.everything()).filter(([key]) => !key.startsWith("tundra:"))),
    async changesNothing(act) {
      const before = await tools.everything();
      const result = await act();
      assertEquals(await tools.everything(), before);
      return result;
    },
    async bill(act) {
      await stack.server.resetCounters();
      await act();
      return { requests: stack.server.requests, billable: await stack.server.billable() };
    },
    async scripted(act) {
      const lines: string[] = [];
      const waiting = new Map<string, () => void>();
      const onReply = (reply: RawReply) => {
        const line = String(reply);
        if (line === "OK") waiting.get("OK")?.();
        for (const [word, seen] of waiting) if (line.includes(word)) seen();
        const command = /^\S+ \[\d+ lua\] "(\w+)"(?: "((?:[^"\\]|\\.)*)")?/.exec(line);
        if (command) lines.push(command[2] === undefined ? command[1]! : `${command[1]} ${command[2]}`);
      };
      const seen = (word: string) => new Promise<void>((resolve) => waiting.set(word, resolve));
      const started = seen("OK");
      const end = redisStream({ port: stack.redis.port }, ["MONITOR"], onReply, () => {});
      try {
        await started;
        await act();
        const mark = randomUUID();
        const marked = seen(mark);
        await raw("ECHO", mark);
        await marked;
      } finally {
        end();
      }
      return lines;
    },
    async copied(act) {
      const requests: typeof sent = sent = [];
      let value: Awaited<ReturnType<typeof act>>;
      try {
        value = await act();
      } finally {
        sent = undefined;
      }
      return {
        value,
        again: async () => {
          const bodies: string[] = [];
          for (const [input, init] of requests) {
            const { signal: _, ...rest } = init ?? {};
            bodies.push(await (await fetch(input, rest)).text());
          }
          return bodies;
        },
      };
    },
  };
  return tools;
}

/** A record's text. */
export function textOf(fields: Partial<RecordFields>): string {
  const r = { ...EMPTY, ...fields };
  return [1, r.rev, r.ver, r.flag, r.fp, r.exp, r.touch, r.attempts, r.before, r.after, r.old, r.rescues, r.kb, r.error]
    .join(
      " ",
    );
}

/** The writes of a script, in order: the names of its commands, of `scripted()`'s lines. */
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
