/** Writes to evicted keys, keys that a command removed, and keys that end by themselves. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import { names, tundraError, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { sleep } from "../support/waiting.ts";

const GRACE_MS = 24 * HOUR_MS;

describe("a write to an evicted key without ensureKs", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** `user:1`, a hash of three fields, evicted. */
  async function evicted(): Promise<TundraStore> {
    const store = stack.store();
    await stack.raw("HSET", "user:1", "name", "Ann", "age", "40", "city", "Kiel");
    await store.dirty("user:1");
    await store.tick();
    assertEquals((await store.evict("user:1")).evicted, ["user:1"]);
    return store;
  }
  const fields = async () => (await stack.raw("HGETALL", "user:1") as unknown[]).map(String);

  it("is CONFLICT from dirty, which names the key and changes nothing", async () => {
    const store = await evicted();
    await stack.raw("HSET", "user:1", "age", "41");
    const before = await stack.everything();
    const error = await tundraError("CONFLICT", () => store.dirty("user:1"));
    assertEquals([error.keys, error.retryable], [["user:1"], false]);
    assertStringIncludes(error.message, '"user:1"');
    assertStringIncludes(error.message, "ensureKs()");
    assertEquals(await stack.everything(), before);
  });

  it("is CONFLICT from ensureKs, which leaves both values as they are", async () => {
    const store = await evicted();
    await stack.raw("HSET", "user:1", "age", "41");
    const before = await stack.everything();
    const error = await tundraError("CONFLICT", () => store.ensureKs("user:1"));
    assertEquals(error.keys, ["user:1"]);
    assertEquals(await stack.everything(), before);
    await stack.raw("DEL", "user:1");
    await store.ensureKs("user:1");
    assertEquals(await fields(), ["name", "Ann", "age", "40", "city", "Kiel"]);
  });

  it("is never archived over the whole value, nor evicted: by tick or evict", async () => {
    const store = await evicted();
    await stack.raw("HSET", "user:1", "age", "41");
    assertEquals((await store.evict("user:1")).kept, { "user:1": "conflict" });
    assertEquals((await store.tick()).claimed, 0);
    assertEquals(await fields(), ["age", "41"]);
    assertEquals(stack.objectNames().length, 1);
  });

  it("leaves others alone: dirty marks them, ensureKs brings them back, and both name this one only", async () => {
    const store = await evicted();
    await stack.raw("MSET", "a", "1", "b", "2");
    await store.dirty("a");
    await store.tick();
    await store.evict("a");
    await stack.raw("HSET", "user:1", "age", "41");
    assertEquals((await tundraError("CONFLICT", () => store.dirty("user:1", "b"))).keys, ["user:1"]);
    assertEquals(await stack.members("dirty"), ["b"]);
    assertEquals((await tundraError("CONFLICT", () => store.ensureKs("a", "user:1", "b"))).keys, ["user:1"]);
    assertEquals(await stack.get("a"), "1");
  });

  it("outranks MISSING; the causes tell them apart", async () => {
    const store = await evicted();
    await stack.raw("HSET", "user:1", "age", "41");
    const error = await tundraError("CONFLICT", () => store.dirty("nowhere", "user:1"));
    assertEquals(error.keys.toSorted(), ["nowhere", "user:1"]);
    assertEquals((error.causes.nowhere as TundraError).code, "MISSING");
    assertEquals((error.causes["user:1"] as TundraError).code, "CONFLICT");
  });

  it("is allowed by overwrite, if the write replaced the whole value", async () => {
    const store = await evicted();
    await stack.raw("HSET", "user:1", "name", "Bob");
    await store.dirty({ overwrite: true }, "user:1");
    await store.ensureKs("user:1");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("user:1")).evicted, ["user:1"]);
    await store.ensureKs("user:1");
    assertEquals(await fields(), ["name", "Bob"]);
  });

  it("overwrite marks resident keys as ever, and a key that is missing is MISSING", async () => {
    const store = await evicted();
    await stack.raw("SET", "a", "1");
    const error = await tundraError("MISSING", () => store.dirty({ overwrite: true }, "a", "user:1"));
    assertEquals([error.keys, await stack.members("dirty")], [["user:1"], ["a"]]);
    await store.ensureKs("user:1");
    assertEquals(await fields(), ["name", "Ann", "age", "40", "city", "Kiel"]);
  });

  it("dirty of an evicted key that is not there is no error: those bytes are archived", async () => {
    const store = await evicted();
    await store.dirty("user:1");
    assertEquals((await store.status()).dirty, 0);
    await store.ensureKs("user:1");
    assertEquals(await fields(), ["name", "Ann", "age", "40", "city", "Kiel"]);
  });

  it("of just the archived bytes heals: an eviction half undone", async () => {
    const store = await evicted();
    await store.ensureKs("user:1");
    await stack.editRecord("user:1", { flag: "e" });
    await store.ensureKs("user:1");
    assertEquals((await stack.record("user:1"))!.flag, "r");
    await stack.raw("HSET", "user:1", "age", "41");
    await store.dirty("user:1");
    assertEquals((await store.tick()).frozen, 1);
  });

  it("is no conflict past the archive's own expiry", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "old", "PX", 500);
    const at = await stack.raw("PEXPIRETIME", "k") as number;
    await store.dirty("k");
    await store.tick();
    assertEquals((await store.evict("k")).evicted, ["k"]);
    await sleep(at - await stack.nowMs() + 20);
    await stack.raw("RPUSH", "k", "new");
    await store.dirty("k");
    await store.ensureKs("k");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("k")).evicted, ["k"]);
    await store.ensureKs("k");
    assertEquals((await stack.raw("LRANGE", "k", 0, -1) as unknown[]).map(String), ["new"]);
  });
});

describe("a key that a command removed", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  async function archivedList(): Promise<TundraStore> {
    const store = stack.store();
    await stack.raw("RPUSH", "jobs", "last");
    await store.dirty("jobs");
    await store.tick();
    return store;
  }

  it('stays away after the last LPOP and a mark with missing: "del"', async () => {
    const store = await archivedList();
    await stack.raw("LPOP", "jobs");
    await store.dirty({ missing: "del" }, "jobs");
    await store.ensureKs("jobs");
    assertEquals(await stack.exists("jobs"), 0);
    const report = await store.tick();
    assertEquals([report.claimed, report.missing, report.frozen], [1, 1, 0]);
    await store.ensureKs("jobs");
    assertEquals([await stack.exists("jobs"), (await store.status()).dirty], [0, 0]);
  });

  it("without a mark is MISSING from dirty, and comes back as it was archived", async () => {
    const store = await archivedList();
    await stack.raw("LPOP", "jobs");
    assertEquals((await tundraError("MISSING", () => store.dirty("jobs"))).keys, ["jobs"]);
    await store.ensureKs("jobs");
    assertEquals(await stack.raw("LLEN", "jobs"), 1);
  });

  it("before it was ever archived stays away as well", async () => {
    const store = stack.store();
    await stack.raw("RPUSH", "jobs", "only");
    await store.dirty("jobs");
    await stack.raw("LPOP", "jobs");
    await store.dirty({ missing: "del" }, "jobs");
    assertEquals((await store.tick()).missing, 1);
    await store.ensureKs("jobs");
    assertEquals(await stack.exists("jobs"), 0);
  });

  it('that is evicted is CONFLICT with missing: "del": the command ran on nothing', async () => {
    const store = await archivedList();
    await store.evict("jobs");
    assertEquals(await stack.raw("LPOP", "jobs"), null);
    const before = await stack.everything();
    const error = await tundraError("CONFLICT", () => store.dirty({ missing: "del" }, "jobs"));
    assertStringIncludes(error.message, "ensureKs()");
    assertEquals(await stack.everything(), before);
    await store.ensureKs("jobs");
    assertEquals(await stack.raw("LLEN", "jobs"), 1);
  });

  it('missing: "del" marks keys that exist as ever, and keys that nobody knows are fine', async () => {
    const store = await archivedList();
    await store.dirty({ missing: "del" }, "jobs", "nobody knows it");
    assertEquals(await stack.members("dirty"), ["jobs"]);
    await stack.raw("DEL", "jobs");
    await store.dirty({ missing: "del" }, "jobs");
    await store.dirty({ missing: "del" }, "jobs"); // gone already
    await store.tick();
    await store.dirty({ missing: "del" }, "jobs");
    await store.ensureKs("jobs");
    assertEquals([await stack.exists("jobs"), (await store.status()).dirty], [0, 0]);
  });

  it("can be created anew, at each stage of its removal", async () => {
    const store = await archivedList();
    for (const ticks of [0, 1, 2]) {
      await stack.raw("DEL", "jobs");
      await store.dirty({ missing: "del" }, "jobs");
      for (let i = 0; i < ticks; i++) await store.tick();
      await stack.raw("RPUSH", "jobs", `after ${ticks}`);
      await store.dirty("jobs");
      for (let i = 0; i < 3 && (await store.status()).dirty > 0; i++) await store.tick();
      assertEquals((await store.evict("jobs")).evicted, ["jobs"]);
      await store.ensureKs("jobs");
      assertEquals(String(await stack.raw("LINDEX", "jobs", 0)), `after ${ticks}`);
    }
  });
});

describe("del", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  async function archived(evict: boolean): Promise<TundraStore> {
    const store = stack.store();
    await stack.raw("SET", "k", "old");
    await store.dirty("k");
    await store.tick();
    if (evict) await store.evict("k");
    return store;
  }

  it("counts what an application would have found: not what expired, nor what was removed while dirty", async () => {
    const store = stack.store();
    await stack.raw("SET", "expired", "1", "PX", 300);
    await stack.raw("MSET", "removed", "1", "dead", "1");
    await store.dirty("expired");
    await store.tick();
    await store.evict("expired");
    await store.dirty("removed", "dead");
    await stack.raw("ZADD", "tundra:default:dead", 1, "dead");
    await stack.raw("ZREM", "tundra:default:dirty", "dead");
    await stack.raw("DEL", "removed", "dead");
    await new Promise((resolve) => setTimeout(resolve, 320));
    assertEquals(await store.del("expired", "removed", "dead"), 0);
    assertEquals(await store.deadLetters(), []);
    assertEquals((await store.tick()).missing, 3); // what expired is deleted from the archive, too
    assertEquals((await store.status()).dirty, 0);
  });

  for (const evict of [false, true]) {
    const state = evict ? "an evicted" : "a resident";
    it(`deletes ${state} key from Redis and from the archive: it stays deleted`, async () => {
      const store = await archived(evict);
      assertEquals(await store.del("k"), 1);
      await store.ensureKs("k");
      assertEquals(await stack.exists("k"), 0);
      assertEquals((await store.tick()).missing, 1);
      await store.ensureKs("k");
      assertEquals([await stack.exists("k"), await store.del("k")], [0, 0]);
      assertEquals((await store.status()).dirty, 0);
    });

    it(`then a new value, of ${state} key: the new one lives, the old one is not heard of again`, async () => {
      for (const ticks of [0, 1]) {
        await stack.flush();
        const store = await archived(evict);
        await store.del("k");
        for (let i = 0; i < ticks; i++) await store.tick();
        await stack.raw("SET", "k", "new");
        await store.dirty("k");
        while ((await store.status()).dirty > 0) await store.tick();
        assertEquals((await store.evict("k")).evicted, ["k"]);
        await store.ensureKs("k");
        assertEquals(await stack.get("k"), "new");
      }
    });
  }

  it("counts what there was: resident, evicted, never marked; not what is gone or never was", async () => {
    const store = await archived(true);
    await stack.raw("MSET", "resident", "1", "unmarked", "2");
    await store.dirty("resident");
    assertEquals(await store.del("k", "resident", "unmarked", "nowhere"), 3);
    assertEquals(await store.del("k", "resident", "unmarked", "nowhere"), 0);
    assertEquals(await stack.exists("k", "resident", "unmarked"), 0);
  });

  it("of a dirty key: neither the old nor the unarchived value comes back", async () => {
    const store = await archived(false);
    await stack.raw("SET", "k", "newer");
    await store.dirty("k");
    assertEquals(await store.del("k"), 1);
    for (let i = 0; i < 2; i++) {
      await store.ensureKs("k");
      assertEquals(await stack.exists("k"), 0);
      await store.tick();
    }
  });

  it("of a key written blindly ends the conflict", async () => {
    const store = await archived(true);
    await stack.raw("SET", "k", "blind");
    assertEquals(await store.del("k"), 1);
    await store.ensureKs("k");
    assertEquals(await stack.exists("k"), 0);
    await stack.raw("SET", "k", "new");
    await store.dirty("k");
  });
});

describe("a key that ends while it is dirty", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("by its own expiry stays away, and its older archived value too", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "old");
    await store.dirty("k");
    await store.tick();
    await stack.raw("SET", "k", "short-lived", "PX", 20);
    await store.dirty("k");
    await sleep(40);
    assertEquals(await stack.exists("k"), 0);
    await store.ensureKs("k");
    assertEquals(await stack.exists("k"), 0);
    assertEquals((await store.tick()).missing, 1);
    await store.ensureKs("k");
    assertEquals([await stack.exists("k"), (await stack.record("k"))!.flag], [0, "m"]);
  });

  it("by a DEL behind Tundra's back stays away too", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "old");
    await store.dirty("k");
    await store.tick();
    await store.dirty("k");
    await stack.raw("DEL", "k");
    for (let i = 0; i < 3; i++) {
      await store.ensureKs("k");
      assertEquals(await stack.exists("k"), 0);
      await store.tick();
    }
  });
});

describe("freezeDelayMs", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("a key written 100 times within it is archived once, with its last value", async () => {
    const store = stack.store({ freezeDelayMs: HOUR_MS });
    await store.tick();
    const before = stack.s3Count("PutObject");
    for (let i = 0; i < 100; i++) {
      await stack.raw("SET", "counter", i);
      await store.dirty("counter");
      if (i % 20 === 0) assertEquals((await store.tick()).claimed, 0);
      if (i === 0) assertAlmostEquals((await stack.score("dirty", "counter"))!, await stack.nowMs() + HOUR_MS, 2_000);
    }
    const { dirty, due } = await store.status();
    assertEquals([dirty, due], [1, 0]);
    await stack.endBackoffs();
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.tick()).claimed, 0);
    assertEquals(stack.s3Count("PutObject") - before, 1);
    assertEquals((await store.evict("counter")).evicted, ["counter"]);
    await store.ensureKs("counter");
    assertEquals(await stack.get("counter"), "99");
  });

  it("is over after that time, by itself", async () => {
    const store = stack.store({ freezeDelayMs: 150 });
    await store.tick();
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    assertEquals((await store.tick()).claimed, 0);
    await sleep(170);
    assertEquals((await store.tick()).frozen, 1);
  });
});

describe("records", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const ttl = async (key: string) => await stack.raw("PTTL", `tundra:default:rec:${key}`) as number;

  it("of expiring keys have no TTL: they go with the keys' objects, two days after them", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "value", "PX", HOUR_MS);
    await store.dirty("k");
    assertEquals(await ttl("k"), -1);
    await store.tick();
    const due = await stack.score("purge", "k");
    assertAlmostEquals(due!, await stack.nowMs() + 49 * HOUR_MS, 5_000);
    await store.evict("k");
    assertEquals([await ttl("k"), await stack.score("purge", "k")], [-1, due]);
    await store.ensureKs("k");
    assertEquals([await ttl("k"), await stack.score("purge", "k")], [-1, due]);
    await store.dirty("k");
    assertEquals(await ttl("k"), -1);
    await stack.raw("PERSIST", "k");
    await store.tick();
    assertEquals(await ttl("k"), -1);
    await stack.raw("ZADD", "tundra:default:purge", 5, "k"); // when that time has come, there is nothing to delete
    assertEquals([(await store.tick()).purged, await stack.score("purge", "k")], [0, undefined]);
    assertEquals((await store.evict("k")).evicted, ["k"]);
  });

  it("of removed keys go away a day after their tombstone, never before", async () => {
    const store = stack.store();
    await stack.raw("MSET", "a", "1", "b", "2");
    await store.dirty("a", "b");
    await store.tick();
    await store.del("a");
    await stack.raw("DEL", "b");
    await store.dirty({ missing: "del" }, "b");
    assertEquals([await ttl("a"), await ttl("b")], [-1, -1]);
    await store.tick();
    for (const key of ["a", "b"]) assertAlmostEquals(await ttl(key), GRACE_MS, 5_000);
    await stack.raw("SET", "a", "again");
    await store.dirty("a");
    assertEquals(await ttl("a"), -1);
  });

  it("of keys deleted that were never marked go away a day later", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "value");
    assertEquals(await store.del("k"), 1);
    assertAlmostEquals(await ttl("k"), GRACE_MS, 5_000);
    assertEquals((await store.tick()).claimed, 0);
  });

  it("of living keys without an expiry stay", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    assertEquals(await ttl("k"), -1);
    await store.ensureKs("k");
    assertEquals(await ttl("k"), -1);
  });

  it("leave nothing in Redis but themselves, the id and the totals once all keys are deleted", async () => {
    const store = stack.store();
    const keys = names(10);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys.slice(5));
    await store.del(keys);
    await store.tick();
    const rest = Object.keys(await stack.everything());
    assertEquals(rest.filter((key) => !key.startsWith("tundra:default:rec:")), [
      "tundra:default:id",
      "tundra:default:lost_records_cursor",
      "tundra:default:stats",
      "tundra:default:tick",
    ]);
    for (const key of keys) assert(await ttl(key) > 0);
  });
});

describe("status", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("counts what waits, and totals since the beginning", async () => {
    const store = stack.store({ freezer: { id: "x", freeze: refusePoison, thaw: (bytes) => bytes } });
    assertEquals(await store.status(), {
      dirty: 0,
      due: 0,
      idle: 0,
      resident: 0,
      evicted: 0,
      dead: 0,
      purge: 0,
      oldestDueMs: 0,
      lastTickMs: 0,
      totals: { frozen: 0, evicted: 0, restored: 0, rescued: 0, removed: 0, bytes: 0 },
    });
    await stack.raw("MSET", "a", "1", "b", "2", "c", "3", "p", "poison");
    await store.dirty("a", "b", "c", "p");
    const fromMs = Math.floor(await stack.nowMs());
    await store.tick({ nattempts: 1 });
    const untilMs = await stack.nowMs();
    await store.evict("a", "b");
    await store.ensureKs("a");
    await stack.raw("APPEND", "c", "!");
    await store.evict("c");
    await stack.raw("SET", "late", "1");
    await stack.store({ freezeDelayMs: HOUR_MS }).dirty("late");
    await stack.raw("ZADD", "tundra:default:dirty", Math.floor(await stack.nowMs()) - 90_000, "c");
    const { oldestDueMs, lastTickMs, ...status } = await store.status();
    assert(lastTickMs >= fromMs && lastTickMs <= untilMs, String(lastTickMs));
    const bytes = stack.objectNames().reduce((sum, name) => sum + stack.s3.objects("tundra").get(name)!.length, 0);
    assertEquals(status, {
      dirty: 3, // c, late, and the dead one
      due: 1,
      idle: 1,
      resident: 2, // a, c
      evicted: 1,
      dead: 1,
      purge: 0,
      totals: { frozen: 3, evicted: 2, restored: 1, rescued: 1, removed: 0, bytes },
    });
    assertAlmostEquals(oldestDueMs, 90_000, 5_000);
  });
});

function refusePoison(bytes: Uint8Array): Uint8Array {
  if (String.fromCharCode(...bytes).includes("poison")) throw new TundraError("UNSUPPORTED", "no");
  return bytes;
}
