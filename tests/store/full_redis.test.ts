/** A Redis at its memory limit: what frees memory, and what only reads, must work. */
import type { Buffer } from "node:buffer";
import { afterEach, beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
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
