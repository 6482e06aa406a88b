/** The store's policy: which values ticks evict, and what is true of those that stay. */
import { randomBytes } from "node:crypto";
import { beforeEach, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { describePackings, tundraError, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

const KEYS = redisKeys("default");
const redisTtlMs = 10 * HOUR_MS;

describePackings("values that stay in Redis", (packBytes) => {
  const stack = withArchive({ packBytes });
  const { raw } = stack;
  let store: TundraStore;
  beforeEach(async () => {
    await stack.flush();
    store = stack.store({ redisTtlMs, minEvictBytes: undefined });
  });

  /** A value whose payload has so many bytes: Redis does not compress it. */
  const value = (bytes: number) => randomBytes(bytes - (bytes < 16_000 ? 13 : 16));
  async function archive(sizes: Record<string, number>, of = store): Promise<void> {
    for (const [key, bytes] of Object.entries(sizes)) {
      await raw("SET", key, value(bytes));
      assertEquals((await raw("DUMP", key) as Uint8Array).length, bytes);
    }
    await of.dirty(Object.keys(sizes));
    const { frozen, errors } = await of.tick();
    assertEquals([frozen, errors], [Object.keys(sizes).length, []]);
  }
  /** Ticks evict what is idle after 11 hours; the keys that are left. */
  async function afterHours(...keys: string[]): Promise<string[]> {
    await stack.leaveAlone(11 * HOUR_MS, ...keys);
    await store.tick();
    const left: string[] = [];
    for (const key of keys) if (await stack.exists(key)) left.push(key);
    return left;
  }

  it("are those of less than 1 KiB by default: archived, and never looked at by an eviction", async () => {
    await archive({ tiny: 100, small: 1023, least: 1024, large: 5_000 });
    assertEquals(await stack.members("idle"), ["large", "least"]);
    assertEquals((await stack.versions()).length, 4);
    assertEquals(await afterHours("tiny", "small", "least", "large"), ["tiny", "small"]);
    const { archived, idle, resident, evicted } = {
      ...await store.status(),
      archived: await raw("HGET", KEYS.stats, "archived"),
    };
    assertEquals([String(archived), idle, resident, evicted], ["4", 0, 2, 2]);
  });

  it("are others with minEvictBytes, and none with 0", async () => {
    store = stack.store({ redisTtlMs, minEvictBytes: 3_000 });
    await archive({ a: 2_999, b: 3_000 });
    assertEquals(await afterHours("a", "b"), ["a"]);
    store = stack.store({ redisTtlMs, minEvictBytes: 0 });
    await archive({ a: 100 });
    assertEquals(await afterHours("a"), []);
    store = stack.store({ redisTtlMs, minEvictBytes: Infinity });
    await archive({ c: 100_000 });
    assertEquals(await afterHours("c"), ["c"]);
  });

  it("are those that evictable() names, also if they were idle before", async () => {
    await archive({ session: 5_000, cart: 5_000, broken: 5_000 });
    assertEquals(await stack.members("idle"), ["broken", "cart", "session"]);
    const asked: string[] = [];
    store = stack.store({
      redisTtlMs,
      evictable(key) {
        asked.push(key);
        if (key === "broken") throw new Error("no answer");
        return key !== "session";
      },
    });
    assertEquals(await afterHours("session", "cart", "broken"), ["session", "broken"]);
    assertEquals(await stack.members("idle"), []);
    assertEquals(asked.sort(), ["broken", "cart", "session"]);
    await archive({ session: 6_000 });
    assertEquals(await stack.members("idle"), []);
  });

  it("leave by evict(), come back, stay from then on, and are looked at once at most", async () => {
    await archive({ small: 100 });
    const before = await raw("DUMP", "small");
    assertEquals(await store.evict("small"), { evicted: ["small"], kept: Object.create(null) });
    await store.ensureKs("small");
    assertEquals(await raw("DUMP", "small"), before);
    assertEquals(await afterHours("small"), ["small"]);
    assertEquals(await stack.members("idle"), []);
    await stack.leaveAlone(5 * HOUR_MS, "small");
    await store.ensureKs("small"); // notes its use
    assertEquals(await stack.members("idle"), []);
    assert((await stack.record("small"))!.touch > await stack.nowMs() - 60_000);
  });

  it("become others as they grow and shrink", async () => {
    await archive({ a: 100, b: 5_000 });
    await archive({ a: 5_000, b: 100 });
    assertEquals(await stack.members("idle"), ["a"]);
    assertEquals(await afterHours("a", "b"), ["b"]);
  });

  it("keep their own expiry, are deleted, and purged, like others", async () => {
    await archive({ a: 100, b: 100 });
    await raw("PEXPIRE", "a", 60_000);
    await store.dirty("a");
    await store.tick();
    assertEquals(await stack.members("purge"), ["a"]);
    await store.del("b");
    await store.tick();
    if (packBytes === 0) {
      assertEquals(await stack.versions().then((all) => all.filter((v) => v.startsWith("b ")).length), 1);
    }
    assertEquals((await stack.record("b"))!.flag, "g");
  });

  it("prove an archive whose owner object was lost, as do evicted ones", async () => {
    await archive({ small: 100 });
    const lose = () => {
      for (const name of stack.s3.objects("tundra").keys()) {
        if (name.includes("/~owner/")) stack.s3.objects("tundra").delete(name);
      }
    };
    lose();
    await raw("MSET", "b", "1", "c", "1");
    await store.dirty("b");
    assertEquals((await store.tick()).errors, []);
    await archive({ large: 5_000 });
    await store.evict("large", "small", "b");
    assertEquals(await stack.members("idle"), []);
    lose();
    await store.dirty("c");
    assertEquals((await store.tick()).errors, []);
    lose();
    for (const name of stack.objectNames()) stack.s3.objects("tundra").delete(name);
    await raw("SET", "d", "1");
    await store.dirty("d");
    await tundraError("LOST", () => store.tick());
    await tundraError("ENSURE_FAILED", () => store.ensureKs("small"));
  });

  it("cost no more than others", async () => {
    const sizes = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k:${i}`, 100]));
    await archive(sizes);
    const cost = async (minEvictBytes: number) => {
      const of = stack.store({ redisTtlMs, minEvictBytes });
      await of.dirty(Object.keys(sizes));
      await stack.server.resetCounters();
      const { commands } = await of.tick();
      assertEquals(commands, await stack.server.billable());
      return commands;
    };
    assertEquals(await cost(1024), await cost(0));
  });
});
