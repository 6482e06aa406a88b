/**
 * Every public call, each in a situation that makes it send all the requests that it can send, and what its keys may be
 * worth afterwards.
 * @module
 */
import { createHash } from "node:crypto";
import { type Datastore, type Freezer, type TickOptions, TundraError, type TundraStore } from "../../mod.ts";
import { objectName, redisKeys } from "../../src/base/keys.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { adopt, erase, type OperationReport, sweep, verify, warm } from "../../src/operations/mod.ts";
import { BUCKET, isPack, type StoreOptions } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { agedVersion, type FaultWorld, type Value } from "./world.ts";

/** Makes a store whose requests meet the fault; `wrap` its datastore. */
export type Open = (options?: StoreOptions, wrap?: (datastore: Required<Datastore>) => Datastore) => TundraStore;

/** One call in one situation. */
export interface CallCase {
  name: string;
  /** Brings the situation about, in an empty world; returns the keys concerned. */
  prepare(world: FaultWorld): Promise<string[]>;
  /** The call. */
  run(open: Open, world: FaultWorld): Promise<unknown>;
  /** The values of these keys once the call has resolved, if that is another value than before. */
  settles?: Record<string, "absent" | "what is in Redis">;
  /** Their values before it, if that is not what Redis and archive say. */
  before?: Record<string, Value>;
  /** Options of the healthy store that comes afterwards. */
  options?: StoreOptions;
  /** Its request writes values too: a late copy of it does so later, which is the application's own affair. */
  writes?: string[];
  /** Keys that are dead until the call has succeeded. */
  dead?: string[];
  /** After recovery these have left Redis. */
  evicts?: string[];
}

const ONE_BY_ONE: TickOptions = { nthreads: 1, retryBackoffMs: 0 };

/** Archived: clean and resident. */
async function archive(world: FaultWorld, ...keys: string[]): Promise<void> {
  const store = world.store();
  await store.dirty(keys);
  const report = await store.tick();
  if (report.frozen !== keys.length) throw new Error(`prepared ${report.frozen} of ${keys.length} keys`);
}

async function evicted(world: FaultWorld, ...keys: string[]): Promise<void> {
  await archive(world, ...keys);
  const report = await world.store().evict(keys);
  if (report.evicted.length !== keys.length) throw new Error(`evicted ${report.evicted.length} of ${keys.length} keys`);
}

/** Evicted keys that share a pack with one that was removed. */
async function withRemoved(world: FaultWorld): Promise<string[]> {
  const keys = await three(world);
  await world.commands(["SET", "z", "z1"]);
  await evicted(world, ...keys, "z");
  await world.store().del("z");
  return keys;
}

/** Calls an operation to its end; rejects if something failed, or if Redis then lacks some of these names. */
async function wholly(
  world: FaultWorld,
  call: () => Promise<OperationReport & { failed: number; errors: { message: string }[] }>,
  names: string[],
): Promise<void> {
  const errors: string[] = [];
  for (let calls = 1, done = false; !done; calls++) {
    const report = await call();
    errors.push(...report.errors.map(({ message }) => message));
    done = report.done;
    if (calls > 9) throw new Error("it does not end");
  }
  if (errors.length > 0) throw new TundraError("UNAVAILABLE", `It has not done all: ${errors[0]}`);
  const there = await world.exists(...names);
  if (there !== names.length) throw new Error(`Redis holds ${there} of ${names}`);
}

async function inAnHour(world: FaultWorld): Promise<number> {
  return Math.floor(await world.nowMs()) + HOUR_MS;
}

/** A string, one with an expiry of its own, a hash. */
async function three(world: FaultWorld, what = "1"): Promise<string[]> {
  await world.commands(
    ["SET", "a", `a${what}`],
    ["SET", "x", `x${what}`, "PXAT", await inAnHour(world)],
    ["HSET", "h", "one", `h${what}`, "two", "2"],
  );
  return ["a", "x", "h"];
}

/** So few bytes that a value of 17,000 takes several pieces. */
const LARGE_OPTIONS: StoreOptions = { redis: { maxRequestBytes: 32_768 } };

/** A large value with an expiry of its own, beside a small one. */
async function large(world: FaultWorld): Promise<void> {
  const noise = Array.from({ length: 600 }, (_, i) => createHash("sha1").update(`${i}`).digest("hex")).join("");
  await world.commands(["SET", "l", noise, "PXAT", await inAnHour(world)], ["SET", "a", "a1"]);
}

async function endedLease(world: FaultWorld, ...keys: string[]): Promise<void> {
  const past = `${Math.floor(await world.nowMs()) - 1000}.5`;
  await world.commands(...keys.map((key) => ["ZADD", redisKeys("default").dirty, past, key]));
}

/** The default freezer, which refuses a value that holds "poison". */
const FUSSY: Freezer = {
  ...deflateFreezer(),
  freeze(bytes, object) {
    if (new TextDecoder("latin1").decode(bytes).includes("poison")) {
      throw new TundraError("UNSUPPORTED", "Cannot freeze poison");
    }
    return deflateFreezer().freeze(bytes, object);
  },
};

/** The versions that verify() is to find damaged or missing. */
const broken = new Map<string, string>();

const TABLE: readonly CallCase[] = [
  {
    name: "dirty",
    async prepare(world) {
      await archive(world, ...await three(world));
      await world.commands(["SET", "a", "a2"], ["SET", "x", "x2", "KEEPTTL"], ["SET", "new", "n1"]);
      return ["a", "x", "h", "new"];
    },
    run: (open) => open().dirty("a", "x", "new"),
  },
  {
    name: "dirty, overwrite",
    async prepare(world) {
      await evicted(world, ...await three(world));
      await world.commands(["SET", "a", "whole"]);
      return ["a", "x", "h"];
    },
    before: { a: "conflict" },
    settles: { a: "what is in Redis" },
    run: (open) => open().dirty({ overwrite: true }, "a"),
  },
  {
    name: "dirty, missing del",
    async prepare(world) {
      await world.commands(["RPUSH", "list", "1"], ["SET", "a", "a1"]);
      await archive(world, "list", "a");
      await world.commands(["LPOP", "list"]);
      return ["list", "a"];
    },
    settles: { list: "absent" },
    run: (open) => open().dirty({ missing: "del" }, "list", "a"),
  },
  {
    name: "dirtyIn a transaction that reads",
    async prepare(world) {
      await archive(world, ...await three(world));
      await world.commands(["SET", "a", "a2"]);
      return ["a", "x", "h"];
    },
    async run(open) {
      const store = open();
      const transaction = store.redis.multi();
      transaction.get("a");
      store.dirtyIn(transaction, "a");
      await transaction.exec();
    },
  },
  {
    name: "dirtyIn a pipeline that writes",
    async prepare(world) {
      await archive(world, ...await three(world));
      return ["a", "x", "h"];
    },
    writes: ["a"],
    async run(open) {
      const store = open();
      const pipeline = store.redis.pipeline();
      pipeline.set("a", "written");
      store.dirtyIn(pipeline, "a");
      await pipeline.exec();
    },
  },
  {
    name: "ensureKs of evicted keys",
    async prepare(world) {
      await evicted(world, ...await three(world));
      await world.commands(["SET", "b", "b1"]);
      return ["a", "x", "h", "b"];
    },
    run: (open) => open().ensureKs("a", "x", "h", "b", "never"),
  },
  {
    name: "ensureKs of resident keys that come into use again",
    async prepare(world) {
      await archive(world, ...await three(world));
      await world.leaveAlone(3 * HOUR_MS, "a", "x", "h");
      return ["a", "x", "h"];
    },
    run: (open) => open().ensureKs("a", "x", "h"),
  },
  {
    name: "ensureKs of an eviction half undone",
    async prepare(world) {
      await archive(world, ...await three(world));
      const { keys } = await world.save();
      await world.store().evict("a", "x", "h");
      for (const { name, dump, exp } of keys) {
        if (["a", "x"].includes(String(name))) await world.commands(["RESTORE", name, exp, dump, "ABSTTL"]);
      }
      return ["a", "x", "h"];
    },
    run: (open) => open().ensureKs("a", "x", "h"),
  },
  {
    name: "tick",
    async prepare(world) {
      const keys = await three(world);
      await archive(world, ...keys);
      await world.commands(["SET", "a", "a2"], ["SET", "x", "x2", "KEEPTTL"], ["HSET", "h", "three", "3"]);
      await world.store().dirty(keys);
      return keys;
    },
    run: (open) => open().tick(ONE_BY_ONE),
  },
  {
    name: "tick over keys that change meanwhile",
    async prepare(world) {
      const keys = await three(world);
      await archive(world, ...keys);
      await world.store().dirty(keys);
      return keys;
    },
    settles: { a: "what is in Redis", x: "what is in Redis" },
    run(open, world) {
      const store = open({}, (datastore) => ({
        ...datastore,
        async putKey(name, value, options) {
          const keys = isPack(name) ? ["a", "x"] : [name.split("/")[1]!].filter((key) => key !== "h");
          for (const key of keys) {
            await world.commands(["SET", key, `${key} meanwhile`, "KEEPTTL"]);
            await world.store().dirty(key);
          }
          return await datastore.putKey(name, value, options);
        },
      }));
      return store.tick(ONE_BY_ONE);
    },
  },
  {
    name: "tick, the first ever",
    async prepare(world) {
      const keys = await three(world);
      await world.store().dirty(keys);
      return keys;
    },
    run: (open) => open().tick(ONE_BY_ONE),
  },
  {
    name: "tick over removed keys",
    async prepare(world) {
      await three(world);
      await world.commands(["SET", "expired", "1"], ["RPUSH", "list", "1"]);
      await archive(world, "a", "x", "h", "expired", "list");
      const store = world.store();
      await store.dirty("expired");
      await world.commands(["DEL", "expired"], ["LPOP", "list"]);
      await store.del("a");
      await store.dirty({ missing: "del" }, "list");
      return ["a", "x", "h", "expired", "list"];
    },
    run: (open) => open().tick(ONE_BY_ONE),
  },
  {
    name: "tick over suspects",
    async prepare(world) {
      const keys = await three(world);
      await archive(world, ...keys);
      await world.commands(["SET", "a", "a2"], ["SET", "x", "x2", "KEEPTTL"]);
      await world.store().dirty("a", "x");
      await endedLease(world, "a", "x");
      return keys;
    },
    run: (open) => open().tick(ONE_BY_ONE),
  },
  {
    name: "tick over a key that cannot be frozen",
    async prepare(world) {
      await three(world, "poison");
      await world.commands(["SET", "a", "a2"]);
      await world.store().dirty("a", "x");
      return ["a", "x", "h"];
    },
    run: (open) => open({ freezer: FUSSY }).tick(ONE_BY_ONE),
  },
  {
    name: "tick that is aborted",
    async prepare(world) {
      await three(world);
      await world.commands(["SET", "s", "s1"]);
      await archive(world, "a", "x", "h", "s");
      await world.store().dirty("a", "x", "h", "s");
      await endedLease(world, "s");
      return ["a", "x", "h", "s"];
    },
    run(open) {
      const abort = new AbortController();
      const store = open({}, (datastore) => ({
        ...datastore,
        async putKey(name, value, options) {
          const put = await datastore.putKey(name, value, options);
          abort.abort();
          return put;
        },
      }));
      return store.tick({ ...ONE_BY_ONE, signal: abort.signal });
    },
  },
  {
    name: "tick over idle keys",
    options: { redisTtlMs: 10 * HOUR_MS },
    async prepare(world) {
      await three(world);
      await world.commands(["SET", "old", "o1"], ["SET", "unmarked", "u1"]);
      const keys = ["a", "x", "h", "old", "unmarked"];
      await archive(world, ...keys);
      await agedVersion(world, "old");
      await world.leaveAlone(11 * HOUR_MS, ...keys);
      await world.commands(["SET", "unmarked", "u2"]);
      return keys;
    },
    evicts: ["a", "x", "h", "old", "unmarked"],
    run: (open) => open({ redisTtlMs: 10 * HOUR_MS }).tick(ONE_BY_ONE),
  },
  {
    name: "evict",
    async prepare(world) {
      await three(world);
      await world.commands(["SET", "unmarked", "u1"]);
      await archive(world, "a", "x", "h", "unmarked");
      await world.commands(["SET", "unmarked", "u2"]);
      return ["a", "x", "h", "unmarked"];
    },
    run: (open) => open().evict("a", "x", "h", "unmarked"),
  },
  {
    name: "del",
    async prepare(world) {
      const keys = await three(world);
      await archive(world, ...keys);
      await world.store().evict("h");
      await world.commands(["SET", "a", "a2"], ["SET", "new", "n1"], ["SET", "other", "o1"]);
      await world.store().dirty("a", "other");
      return [...keys, "new", "other"];
    },
    settles: { a: "absent", x: "absent", h: "absent", new: "absent" },
    run: (open) => open().del("a", "x", "h", "new"),
  },
  {
    name: "sweep that moves what shares a pack with a removed key",
    async prepare(world) {
      const keys = await withRemoved(world);
      await world.store().tick();
      return keys;
    },
    run: (open) => sweep(open()),
  },
  {
    name: "erase",
    async prepare(world) {
      const keys = await three(world);
      await world.commands(["SET", "z", "z1"]);
      await evicted(world, ...keys, "z");
      return [...keys, "z"];
    },
    settles: { z: "absent" },
    run: (open) => erase(open(), ["z"]),
  },
  {
    name: "adopt",
    async prepare(world) {
      const keys = await three(world);
      await world.commands(["SET", "known", "k1"]);
      await archive(world, "known");
      return [...keys, "known"];
    },
    async run(open, world) {
      await wholly(world, () => adopt(open(), { maxKeys: 2 }), ["a", "x", "h"].map(redisKeys("default").record));
    },
  },
  {
    name: "warm",
    async prepare(world) {
      const keys = await three(world);
      await evicted(world, ...keys);
      await world.commands(["SET", "b", "b1"]);
      await archive(world, "b");
      return [...keys, "b"];
    },
    async run(open, world) {
      await wholly(world, () => warm(open(), { match: "*", maxKeys: 2 }), ["a", "x", "h", "b"]);
    },
  },
  {
    name: "verify that repairs what is damaged and what is missing",
    async prepare(world) {
      const keys = await three(world);
      await evicted(world, ...keys);
      await world.commands(["SET", "damaged", "d1"], ["SET", "missing", "m1"]);
      const alone = world.store({ packBytes: 0 });
      await alone.dirty("damaged", "missing");
      await alone.tick();
      const objects = world.s3.objects(BUCKET);
      for (const key of ["damaged", "missing"]) {
        const { ver } = (await world.record(key))!;
        broken.set(key, ver);
        const name = await objectName({ tqname: "default" }, key, ver);
        const bytes = objects.get(name)!.slice();
        bytes[60]! ^= 1;
        if (key === "damaged") objects.set(name, bytes);
        else objects.delete(name);
      }
      return [...keys, "damaged", "missing"];
    },
    async run(open, world) {
      await wholly(world, () => verify(open(), { repair: true, maxKeys: 3 }), ["damaged", "missing"]);
      for (const key of ["damaged", "missing"]) {
        const { rev, ver } = (await world.record(key))!;
        const isQueued = rev > 0; // else a tick has archived it anew
        if (!isQueued && ver === broken.get(key)) throw new Error(`${key} was not repaired`);
      }
    },
  },
  {
    name: "tick over a large value",
    options: LARGE_OPTIONS,
    async prepare(world) {
      await large(world);
      await world.store(LARGE_OPTIONS).dirty("l", "a");
      await world.store(LARGE_OPTIONS).tick();
      await world.commands(["SETRANGE", "l", 9_000, "changed"]);
      await world.store(LARGE_OPTIONS).dirty("l");
      return ["l", "a"];
    },
    run: (open) => open(LARGE_OPTIONS).tick(ONE_BY_ONE),
  },
  {
    name: "ensureKs of a large value",
    options: LARGE_OPTIONS,
    async prepare(world) {
      await large(world);
      const store = world.store(LARGE_OPTIONS);
      await store.dirty("l", "a");
      await store.tick();
      const { evicted } = await store.evict("l", "a");
      if (evicted.length !== 2) throw new Error("the large value was not evicted");
      return ["l", "a"];
    },
    run: (open) => open(LARGE_OPTIONS).ensureKs("l", "a"),
  },
  {
    name: "retryDead",
    async prepare(world) {
      await three(world, "poison");
      await world.store().dirty("a");
      const { dead } = await world.store({ freezer: FUSSY }).tick({ nattempts: 1 });
      if (dead !== 1) throw new Error("nobody died");
      return ["a", "x", "h"];
    },
    dead: ["a"],
    run: (open) => open().retryDead("a"),
  },
];

/** Calls that make other requests if each value is an object of its own. */
const UPLOADING = ["tick", "tick over keys that change meanwhile", "tick, the first ever", "tick over removed keys"];

/** The table, and those again by a store without packs; whatever was archived before is in packs. */
export const CALLS: readonly CallCase[] = [
  ...TABLE,
  ...TABLE.filter(({ name }) => UPLOADING.includes(name)).map((call): CallCase => ({
    ...call,
    name: `${call.name}, as objects`,
    run: (open, world) => call.run((options, wrap) => open({ packBytes: 0, ...options }, wrap), world),
  })),
];
