/**
 * A process that dies at any request of a transparent client leaves each value as it was before the command, or as the
 * command makes it: archived, evicted and brought back it is still that. So does a request that comes twice.
 */
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { Redis } from "@upstash/redis";
import type { TundraStore } from "../../mod.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import { withArchive } from "../support/fixtures.ts";

/** The values of all keys that the cases use, as JSON. */
type Values = Record<string, unknown>;

interface Case {
  name: string;
  run(redis: Redis): Promise<unknown>;
  /** What it makes of the values. */
  becomes: Values;
  /** `true`: the command may run twice, and what it makes then is the same. */
  repeats: boolean;
}

/** All keys, evicted or not, and what they hold before. */
const BEFORE: Values = {
  evicted: { x: 1 },
  resident: { x: 1 },
  list: ["only"],
  text: "old",
  n: 1,
  set: ["a"],
  none: null,
};

const CASES: Case[] = [
  {
    name: "a change of an evicted key",
    run: (redis) => redis.hset("evicted", { y: 2 }),
    becomes: { evicted: { x: 1, y: 2 } },
    repeats: true,
  },
  {
    name: "a change of a resident key",
    run: (redis) => redis.hset("resident", { y: 2 }),
    becomes: { resident: { x: 1, y: 2 } },
    repeats: true,
  },
  { name: "an increment of an evicted key", run: (redis) => redis.incr("n"), becomes: { n: 2 }, repeats: false },
  {
    name: "a replacement of an evicted key",
    run: (redis) => redis.set("text", "new"),
    becomes: { text: "new" },
    repeats: true,
  },
  {
    name: "a command that removes its key",
    run: (redis) => redis.lpop("list"),
    becomes: { list: null },
    repeats: true,
  },
  {
    name: "a deletion",
    run: (redis) => redis.del("evicted", "resident"),
    becomes: { evicted: null, resident: null },
    repeats: true,
  },
  {
    name: "a command on several keys",
    run: (redis) => redis.sunionstore("text", "set", "none"),
    becomes: { text: ["a"] },
    repeats: true,
  },
  {
    name: "a renaming",
    run: (redis) => redis.rename("evicted", "none"),
    becomes: { evicted: null, none: { x: 1 } },
    repeats: false,
  },
  {
    name: "a transaction",
    run: (redis) => redis.multi().hset("evicted", { y: 2 }).lpop("list").set("text", "new").exec(),
    becomes: { evicted: { x: 1, y: 2 }, list: null, text: "new" },
    repeats: true,
  },
  {
    name: "a pipeline",
    run: (redis) => redis.pipeline().hset("evicted", { y: 2 }).del("list").set("text", "new").exec(),
    becomes: { evicted: { x: 1, y: 2 }, list: null, text: "new" },
    repeats: true,
  },
  {
    name: "a script",
    run: (redis) => redis.eval("return redis.call('SET', KEYS[1], ARGV[1])", ["n"], ["7"]),
    becomes: { n: 7 },
    repeats: true,
  },
  {
    name: "a pipeline that only reads",
    run: (redis) => redis.pipeline().hgetall("evicted").get("text").get("none").hgetall("resident").exec(),
    becomes: {},
    repeats: true,
  },
  { name: "a read of an evicted key", run: (redis) => redis.hgetall("evicted"), becomes: {}, repeats: true },
];

const SEED = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);

describe("a transparent client whose process dies", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  async function prepare(): Promise<void> {
    const store = stack.store();
    const redis = transparentRedis(store);
    await redis.hset("evicted", { x: 1 });
    await redis.hset("resident", { x: 1 });
    await redis.rpush("list", "only");
    await redis.mset({ text: "old", n: 1 });
    await redis.sadd("set", "a");
    assertEquals((await store.tick()).errors, []);
    assertEquals((await store.evict("evicted", "list", "text", "n", "set")).evicted.length, 5);
  }

  /** The values as another process finds them. */
  async function values(store: TundraStore): Promise<Values> {
    const redis = transparentRedis(store);
    const read = async (key: string): Promise<unknown> => {
      switch (await redis.type(key)) {
        case "hash":
          return await redis.hgetall(key);
        case "list":
          return await redis.lrange(key, 0, -1);
        case "set":
          return await redis.smembers(key);
        case "string":
          return await redis.get(key);
        default:
          return null;
      }
    };
    const entries: [string, unknown][] = [];
    for (const key of Object.keys(BEFORE)) entries.push([key, await read(key)]);
    return Object.fromEntries(entries);
  }

  /** A client whose n-th request to Redis meets a fault; `sent` is the number of its requests. */
  function faulty(fault: "dies before" | "dies after" | "twice", at: number): { redis: Redis; sent: () => number } {
    let sent = 0;
    let dead = false;
    const fetching: typeof fetch = async (input, init) => {
      const n = ++sent;
      if (dead || (n === at && fault === "dies before")) {
        dead = true;
        throw new Error("the process is dead");
      }
      const response = await fetch(input, init);
      if (n !== at || fault === "dies before") return response;
      if (fault === "twice") {
        await response.arrayBuffer(); // the first answer is lost, and the client asks again
        return await fetch(input, init);
      }
      await response.arrayBuffer();
      dead = true;
      throw new Error("the process is dead");
    };
    const store = stack.store({ redis: { fetch: fetching, retry: false } });
    return { redis: transparentRedis(store), sent: () => sent };
  }

  // what differs between runtimes is no rule
  const share = process.versions.deno === undefined ? 6 : process.env.CI === undefined ? 1 : 2;
  for (const { name, run, becomes, repeats } of CASES.filter((_, i) => i % share === SEED % share)) {
    it(`${name}: all or nothing, at every request`, async () => {
      const after = { ...BEFORE, ...becomes };
      await prepare();
      const whole = faulty("dies before", 0);
      await run(whole.redis);
      assertEquals(await values(stack.store()), after);
      const requests = whole.sent();
      assert(requests >= 1);
      for (let at = 1; at <= requests; at++) {
        for (const fault of ["dies before", "dies after", ...(repeats ? ["twice" as const] : [])] as const) {
          await stack.flush();
          await prepare();
          const outcome = await run(faulty(fault, at).redis).then(() => "done", () => "failed");
          const store = stack.store();
          const seen = await values(store);
          const told = `${fault} at ${at} of ${requests}: ${outcome}`;
          const isAfter = JSON.stringify(seen) === JSON.stringify(after);
          if (outcome === "done" || !isAfter) assertEquals(seen, outcome === "done" ? after : BEFORE, told);
          // archived, evicted, and brought back by yet another process
          assertEquals((await store.tick()).errors, [], told);
          const { kept } = await store.evict(Object.keys(BEFORE));
          for (const [key, why] of Object.entries(kept)) assertEquals([key, seen[key], why], [key, null, why], told);
          assertEquals(await values(stack.store()), seen, told);
        }
      }
    });
  }
});
