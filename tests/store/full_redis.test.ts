/** A Redis at its memory limit: what frees memory, and what only reads, must work. */
import type { Buffer } from "node:buffer";
import { afterEach, beforeEach, describe, it } from "node:test";
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Redis } from "@upstash/redis";
import { type MemoryDatastore, memoryDatastore, type TundraStore } from "../../mod.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import { withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

describe("a full Redis", () => {
  const stack = withArchive();
  let archive: MemoryDatastore;
  let store: TundraStore;

  beforeEach(async () => {
    await stack.flush();
    archive = memoryDatastore();
    store = stack.store({ datastore: archive, redis: { retry: false } });
    await stack.raw("SET", "a", "x".repeat(200_000));
    await store.dirty("a");
    assertEquals((await store.tick()).frozen, 1);
  });
  afterEach(() => stack.raw("CONFIG", "SET", "maxmemory", "0"));

  const fill = () => stack.raw("CONFIG", "SET", "maxmemory", "100kb");

  it("is emptied by del()", async () => {
    await fill();
    assertEquals(await store.del("a"), 1);
    assertEquals(await stack.exists("a"), 0);
    const report = await store.tick();
    assertEquals(report.missing, 1);
  });

  it("is emptied though all in it is dirty: archived first, then evicted", async () => {
    await stack.raw("SET", "b", "y".repeat(300_000));
    await stack.raw("PEXPIREAT", "b", 4_000_000_000_123);
    await store.dirty("a", "b", "a");
    await fill();
    const report = await store.tick();
    assertEquals([report.frozen, report.failed, report.errors], [2, 0, []]);
    assertEquals((await store.evict("a", "b")).evicted, ["a", "b"]);
    await stack.raw("CONFIG", "SET", "maxmemory", "0");
    await store.ensureKs("a", "b");
    assertEquals([await stack.get("a"), await stack.get("b")], ["x".repeat(200_000), "y".repeat(300_000)]);
    assertEquals(await stack.raw("PEXPIRETIME", "b"), 4_000_000_000_123);
  });

  it("gives ensureKs() the keys that are there, also those that it has to touch", async () => {
    await stack.leaveAlone(3 * HOUR_MS, "a");
    await fill();
    const from = await stack.nowMs();
    await store.ensureKs("a");
    assertEquals((await stack.record("a"))!.touch >= Math.floor(from), true);
    assertEquals((await stack.score("idle", "a"))! >= Math.floor(from), true);
  });

  it("marks what a pipeline has removed, with dirtyIn() and on a transparent client: it does not come back", async () => {
    await stack.raw("RPUSH", "jobs", "first", "second");
    await store.dirty("jobs");
    assertEquals((await store.tick()).frozen, 1);
    await fill();
    const redis = transparentRedis(store);
    assertEquals(await redis.pipeline().lpop("jobs").get("none").exec(), ["first", null]);
    await store.ensureKs("jobs");
    const pipeline = store.redis.pipeline().lpop("jobs");
    store.dirtyIn(pipeline, { missing: "del" }, "jobs");
    assertEquals(await pipeline.exec(), ["second"]);
    assertEquals((await stack.record("jobs"))!.flag, "g");
    await stack.raw("CONFIG", "SET", "maxmemory", "0");
    assertEquals(await redis.lrange("jobs", 0, -1), []);
  });

  it("carries out on a transparent client what it carries out on a plain one, and refuses the same", async () => {
    const redis = transparentRedis(store);
    await redis.rpush("list", 1, 2, 3);
    await redis.sadd("set", "a", "b", "c");
    await redis.hset("hash", { a: 1, b: 2, c: 3 });
    await redis.zadd("sorted", { score: 1, member: "a" }, { score: 2, member: "b" });
    await redis.mset({ text: "v", taken: "v", renamed: "v" });
    while (!(await store.tick()).done);
    await fill();
    assertEquals([await redis.get("none"), await redis.mget("text", "none")], [null, ["v", null]]);
    assertEquals([await redis.sismember("set", "z"), await redis.hget("hash", "z")], [0, null]);
    assertEquals((await redis.sunion("set", "none")).sort(), ["a", "b", "c"]);
    assertEquals([await redis.lpop("list"), await redis.rpop("list")], [1, 3]);
    assertEquals([await redis.srem("set", "a"), await redis.spop("none")], [1, null]);
    assertEquals([await redis.hdel("hash", "a"), await redis.zrem("sorted", "a")], [1, 1]);
    assertEquals([await redis.zpopmin("sorted"), await redis.ltrim("list", 1, 0)], [["b", 2], "OK"]);
    assertEquals([await redis.expire("text", 1000), await redis.persist("text")], [1, 1]);
    assertEquals([await redis.getdel("taken"), await redis.rename("renamed", "new")], ["v", "OK"]);
    for (
      const write of [
        (client: Redis) => client.set("text", "more"),
        (client: Redis) => client.rpush("list", 4),
        (client: Redis) => client.sunionstore("to", "set", "none"),
        (client: Redis) => client.lmove("set", "none", "left", "left"),
      ]
    ) {
      for (const client of [store.redis, redis]) {
        assertMatch((await assertRejects(() => write(client)) as Error).message, /OOM/);
      }
    }
    await stack.raw("CONFIG", "SET", "maxmemory", "0");
    for (const key of ["list", "sorted", "taken", "renamed"]) assertEquals([key, await redis.exists(key)], [key, 0]);
    const dirty = ["hash", "list", "new", "renamed", "set", "sorted", "taken", "text"];
    assertEquals((await stack.members("dirty")).sort(), dirty);
  });

  it("refuses what a transparent client would write to keys that it leaves alone", async () => {
    await stack.raw("SADD", "plain:set", "a");
    const redis = transparentRedis(store, { exclude: "plain:*" });
    await redis.sadd("set", "b");
    await fill();
    const error = await assertRejects(() => redis.sunionstore("plain:to", "plain:set", "set")) as Error;
    assertMatch(error.message, /OOM/);
    assertEquals(await stack.exists("plain:to"), 0);
  });

  it("heals an eviction that was half undone", async () => {
    const value = await stack.raw("DUMP", "a");
    assertEquals((await store.evict("a")).evicted, ["a"]);
    await stack.raw("RESTORE", "a", 0, value as Buffer);
    await fill();
    await store.ensureKs("a");
    assertEquals((await stack.record("a"))!.flag, "r");
  });

  it("lets ensureKs() and tick() tell a lost index from a new one", async () => {
    await stack.raw("DEL", "tundra:default:id");
    await fill();
    for (const act of [() => store.ensureKs("a"), () => store.tick(), () => store.evict("a")]) {
      const error = await act().then(() => undefined, (error) => error);
      assertEquals(error?.code, "LOST", error?.message);
    }
  });
});
