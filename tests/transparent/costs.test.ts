/**
 * What a transparent client costs: requests and billable commands, of resident keys and at the first use of evicted ones.
 */
import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import type { Redis } from "@upstash/redis";
import type { TundraEvent, TundraStore } from "../../mod.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import { withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

describe("the cost of a transparent client", () => {
  const stack = withArchive();
  let store: TundraStore;
  let redis: Redis;
  beforeEach(async () => {
    await stack.flush();
    store = stack.store();
    redis = transparentRedis(store);
    await store.tick(); // else each call reads the archive to learn whose it is
    await redis.mset({ a: 1, b: 2 });
    await redis.hset("h", { x: 1 });
    await redis.rpush("l", 1, 2, 3);
    await redis.sadd("s", 1);
    await store.tick();
    await redis.exists("a");
    await redis.incr("n");
    await redis.del("n");
    await redis.get("n");
    await redis.multi().incr("n").exec();
    await redis.pipeline().incr("n").exec();
    await redis.eval("return 1", ["n"], []);
  });

  async function cost(act: () => Promise<unknown>): Promise<[requests: number, commands: number]> {
    const { requests } = stack.server;
    const billable = await stack.server.billable();
    await act();
    return [stack.server.requests - requests, await stack.server.billable() - billable];
  }

  it("reading one key: what the stock client costs", async () => {
    for (const read of [(c: Redis) => c.get("a"), (c: Redis) => c.hgetall("h"), (c: Redis) => c.lrange("l", 0, -1)]) {
      assertEquals(await cost(() => read(redis)), [1, 1]);
      assertEquals(await cost(() => read(store.redis)), [1, 1]);
    }
    assertEquals(await cost(() => redis.mget("a", "b")), [1, 1]);
    assertEquals(await cost(() => redis.exists("a", "h")), [1, 1]);
    assertEquals(await cost(() => Promise.all([redis.get("a"), redis.get("b"), redis.hget("h", "x")])), [1, 3]);
  });

  it("the first read of a process notes the use: one request more", async () => {
    const another = transparentRedis(store);
    assertEquals(await cost(() => another.get("a")), [2, 5]);
    assertEquals(await cost(() => another.get("a")), [1, 1]);
  });

  it("the first reads of a pipeline note all uses together", async () => {
    const another = transparentRedis(store);
    assertEquals((await cost(() => another.pipeline().get("a").get("b").hget("h", "x").exec()))[0], 2);
    assertEquals(await cost(() => another.pipeline().get("a").get("b").hget("h", "x").exec()), [1, 3]);
    assertEquals(await cost(() => another.pipeline().get("a").keys("none*").exec()), [1, 2]); // KEYS reads no value
  });

  it("an empty answer: one request more, which looks for an evicted value", async () => {
    assertEquals((await cost(() => redis.get("none")))[0], 3); // the first use is noted, too
    assertEquals(await cost(() => redis.get("none")), [2, 6]);
    await stack.leaveAlone(5 * HOUR_MS, "a", "h");
    await transparentRedis(store).get("a"); // the server knows the script afterwards
    assertEquals((await cost(() => transparentRedis(store).hget("h", "none")))[0], 4); // noted as it has been idle
  });

  it("changing keys: one request, the command and 7 more for one key", async () => {
    for (
      const change of [
        () => redis.hset("h", { x: 2 }),
        () => redis.incr("a"),
        () => redis.lpop("l"),
        () => redis.expire("b", 1000),
        () => redis.set("a", "replaced"),
      ]
    ) {
      const [requests, commands] = await cost(change);
      assertEquals([requests, commands <= 8], [1, true], `${change}: ${commands}`);
    }
    assertEquals(await cost(() => redis.hset("h", { x: 3 })), [1, 8]);
    assertEquals(await cost(() => redis.smove("s", "s2", 1)), [1, 11]); // it looks which of the two are there
  });

  it("deleting, pipelines, transactions and scripts: two requests", async () => {
    assertEquals((await cost(() => redis.del("a")))[0], 2);
    assertEquals((await cost(() => redis.pipeline().hset("h", { y: 1 }).get("b").exec()))[0], 2);
    assertEquals((await cost(() => redis.multi().hset("h", { y: 2 }).get("b").exec()))[0], 2);
    assertEquals((await cost(() => redis.eval("return redis.call('GET', KEYS[1])", ["b"], [])))[0], 2);
    assertEquals((await cost(() => redis.evalRo("return redis.call('GET', KEYS[1])", ["b"], [])))[0], 2);
    assertEquals(await cost(() => redis.eval("return 1", [], [])), [1, 1]); // no keys, no transaction
  });

  it("the first use of an evicted value: what looks for it also says where it is", async () => {
    const another = transparentRedis(store);
    await store.evict("a", "b", "h");
    assertEquals(await another.get("a"), 1);
    const asked = async (use: () => Promise<unknown>) => (await cost(use))[0];
    await store.evict("a");
    assertEquals(await asked(() => transparentRedis(store).get("a")), 4); // itself, a check, the value back, again
    assertEquals(await asked(() => another.get("b")), 4);
    await store.evict("b");
    assertEquals(await asked(() => another.get("b")), 4); // its use was noted just now, so its record comes with a refusal
    assertEquals(await asked(() => another.hset("h", { x: 1 })), 3); // refused, the value back, again
    assertEquals(await store.redis.exists("a", "b", "h"), 3);
  });

  it("the first reads of a pipeline of evicted values: all come back in one request, then each command runs once", async () => {
    const names = Array.from({ length: 20 }, (_, i) => `cold:${i}`);
    const values = names.map(() => Array.from({ length: 100 }, () => crypto.randomUUID()).join()); // several blocks
    await redis.mset(Object.fromEntries(names.map((name, i) => [name, values[i]])));
    await store.tick();
    await store.evict("a");
    await transparentRedis(store).get("a"); // the server knows the scripts afterwards
    const coldReads = async (...evicted: string[]) => {
      assertEquals((await store.evict(evicted)).evicted.length, evicted.length);
      const pipeline = transparentRedis(store).pipeline();
      for (const name of names) pipeline.get(name);
      const fetched = stack.s3Count("GetObject");
      const costs = await cost(async () => assertEquals(await pipeline.exec(), values));
      return [...costs, stack.s3Count("GetObject") - fetched];
    };
    // themselves, a check, the values back, and each again; what is there is not asked again
    assertEquals(await coldReads(...names), [23, 172, 1]);
    assertEquals(await coldReads(...names.slice(0, 10)), [13, 103, 1]);
    assertEquals(await coldReads(), [2, 24, 0]);
  });

  it("the first reads of more evicted keys than one check takes: what each check has found comes back in one request", async () => {
    const names = Array.from({ length: 1_200 }, (_, i) => `cold:${i}`);
    await redis.mset(Object.fromEntries(names.map((name, i) => [name, i])));
    await store.tick();
    const evictAll = async () => assertEquals((await store.evict(names)).evicted.length, names.length);
    const [some, others] = [names.slice(0, 600), names.slice(600)];
    const read = (client: Redis) => client.pipeline().mget(some).mget(others).exec();
    await evictAll();
    await read(transparentRedis(store)); // the server knows the scripts afterwards
    await evictAll();
    const [requests] = await cost(async () => {
      assertEquals((await read(transparentRedis(store))).flat(), names.map((_, i) => i));
    });
    assertEquals(requests, 1 + 2 + 2 + 2); // both commands, checks of 1,000 keys and of 200, values, both again
  });

  it("replacing an evicted value: one request, and nothing is fetched", async () => {
    assertEquals((await store.evict("b")).evicted, ["b"]);
    assertEquals((await cost(() => redis.set("b", "new")))[0], 1);
  });

  it("a command that runs in a script is told to the store's listener, with what it costs", async () => {
    const calls: unknown[] = [];
    const onEvent = (event: TundraEvent) => {
      if (event.type === "call") calls.push([event.call, event.keys, event.requests, event.commands]);
    };
    const telling = transparentRedis(stack.store({ onEvent }));
    const [requests, commands] = await cost(() => telling.hincrby("h", "x", 1));
    assertEquals(calls.splice(0), [["command", 1, requests, commands]]);
    await store.tick();
    await store.evict("h");
    assertEquals(await telling.hincrby("h", "x", 1), 3);
    assertEquals(calls.map((call) => (call as string[])[0]), ["ensureKs", "command"]);
  });
});
