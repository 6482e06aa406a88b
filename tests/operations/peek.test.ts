/** peek: an evicted value is read and stays evicted; what is in Redis is read where it is. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import { peek, type PeekOptions } from "../../src/operations/mod.ts";
import { BUCKET, names, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing, costOf, refusedIfNotItsOwn } from "../support/operations.ts";
import { sleep } from "../support/waiting.ts";

describe("peek", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  const get = (redis: TundraStore["redis"], name: string) => redis.get<string>(name);

  /** Archives keys as strings `value of <key>`, and evicts them. */
  async function evicted(store: TundraStore, ...keys: string[]): Promise<void> {
    for (const key of keys) await stack.raw("SET", key, `value of ${key}`);
    await store.dirty(keys);
    assertEquals((await store.tick()).frozen, keys.length);
    assertEquals((await store.evict(keys)).evicted.length, keys.length);
  }

  for (const packBytes of [0, undefined]) {
    it(`reads an evicted value ${packBytes === 0 ? "of an object of its own" : "in a pack"}, and it stays evicted`, async () => {
      const store = stack.store({ packBytes });
      await evicted(store, "a", "b");
      let used = "";
      const found = await changesNothing(stack, () =>
        peek(store, "a", async (redis, name) => {
          used = name;
          assert(await redis.pttl(name) > 50_000);
          return await redis.get(name);
        }));
      assertEquals(found, "value of a");
      assertMatch(used, /^tundra:default:tmp:/);
      assertEquals((await store.status()).evicted, 2);
    });
  }

  it("reads each type", async () => {
    const store = stack.store();
    await stack.raw("HSET", "hash", "f", "1");
    await stack.raw("RPUSH", "list", "a", "b");
    await stack.raw("ZADD", "zset", 1, "m");
    await store.dirty("hash", "list", "zset");
    await store.tick();
    await store.evict("hash", "list", "zset");
    assertEquals(await peek(store, "hash", (redis, name) => redis.hgetall(name)), { f: 1 });
    assertEquals(await peek(store, "list", (redis, name) => redis.lrange(name, 0, -1)), ["a", "b"]);
    assertEquals(await peek(store, "zset", (redis, name) => redis.zscore(name, "m")), 1);
  });

  it("reads a key in Redis where it is: it is no use of it", async () => {
    const store = stack.store();
    await evicted(store, "a");
    await store.ensureKs("a");
    await stack.raw("SET", "never archived", "x");
    for (const [key, value] of [["a", "value of a"], ["never archived", "x"]]) {
      const seen: string[] = [];
      const found = await changesNothing(
        stack,
        () => peek(store, key!, (redis, name) => (seen.push(name), get(redis, name))),
      );
      assertEquals([found, seen], [value, [key!]]);
    }
  });

  it("is undefined for a key that is absent, and read is not called", async () => {
    const store = stack.store();
    await evicted(store, "removed", "expiring");
    await store.del("removed");
    await stack.raw("SET", "expired", "x", "PXAT", Math.floor(await stack.nowMs()) + 300);
    await store.dirty("expired");
    await store.tick();
    await store.evict("expired");
    await sleep(400);
    const never = () => assert(false, "read was called");
    for (const key of ["removed", "expired", "never"]) {
      assertEquals(await changesNothing(stack, () => peek(store, key, never)), undefined, key);
    }
  });

  it("gives the temporary key the value's own expiry, if that comes first", async () => {
    const store = stack.store();
    const exp = Math.floor(await stack.nowMs()) + 30_000;
    await stack.raw("SET", "a", "x", "PXAT", exp);
    await store.dirty("a");
    await store.tick();
    await store.evict("a");
    assertEquals(await peek(store, "a", (_, name) => stack.raw("PEXPIRETIME", name)), exp);
  });

  it("shows the archived value of a key that was written while evicted", async () => {
    const store = stack.store();
    await evicted(store, "a");
    await stack.raw("SET", "a", "partial");
    assertEquals(await changesNothing(stack, () => peek(store, "a", get)), "value of a");
  });

  it("reads a key that expired while evicted and was made anew", async () => {
    const store = stack.store();
    await stack.raw("SET", "b", "x", "PXAT", Math.floor(await stack.nowMs()) + 200);
    await store.dirty("b");
    await store.tick();
    await store.evict("b");
    await sleep(250);
    await stack.raw("SET", "b", "anew");
    assertEquals(await peek(store, "b", get), "anew");
  });

  it("reads again if the key is evicted meanwhile", async () => {
    const store = stack.store();
    await evicted(store, "a");
    await store.ensureKs("a");
    const seen: string[] = [];
    const found = await peek(store, "a", async (redis, name) => {
      if (seen.length === 0) await store.evict("a");
      seen.push(name);
      return await get(redis, name);
    });
    assertEquals([found, seen.length], ["value of a", 2]);
    assertMatch(seen[1]!, /tmp:/);
  });

  it("does not read again after deadlineMs or an abort: it is UNAVAILABLE, and nothing is left", async () => {
    const store = stack.store();
    await evicted(store, "a");
    const controller = new AbortController();
    const ends: [RegExp, PeekOptions, () => unknown][] = [
      [/deadlineMs/, { deadlineMs: 1_000 }, () => sleep(1_050)],
      [/abort/, { signal: controller.signal }, () => controller.abort(new Error("enough"))],
    ];
    for (const [message, options, end] of ends) {
      let times = 0;
      const error = await changesNothing(
        stack,
        () =>
          tundraError("UNAVAILABLE", () =>
            peek(store, "a", async (_, name) => {
              times++;
              await end();
              await stack.raw("DEL", name); // as its TTL does
            }, options)),
      );
      assertEquals([times, error.retryable, error.keys], [1, true, ["a"]]);
      assertMatch(error.message, message);
    }
    let times = 0;
    const last = { deadlineMs: 1_000 };
    assertEquals(await peek(store, "a", async () => await sleep(1_050).then(() => ++times), last), 1); // its answer counts
  });

  it("reads again if the key is evicted and written anew meanwhile, and not if it only changes", async () => {
    const store = stack.store();
    await evicted(store, "a");
    await store.ensureKs("a");
    const seen: unknown[] = [];
    const found = await peek(store, "a", async (redis, name) => {
      if (seen.length === 0) await store.evict("a");
      seen.push(await get(redis, name));
      if (seen.length > 1) return seen.at(-1);
      await stack.raw("SET", "a", "anew");
      await store.dirty({ overwrite: true }, "a");
    });
    assertEquals([found, seen], ["anew", [null, "anew"]]);
    let calls = 0;
    await peek(store, "a", async () => {
      calls++;
      await stack.raw("APPEND", "a", "+");
      await store.dirty("a");
    });
    assertEquals(calls, 1); // it was dirty before, and it has been there all the time
  });

  it("reads again if the temporary key has gone before read has ended: what it saw may be nothing", async () => {
    const store = stack.store();
    await evicted(store, "a");
    const seen: (string | null)[] = [];
    const found = await peek(store, "a", async (redis, name) => {
      if (seen.length === 0) await stack.raw("DEL", name);
      seen.push(await get(redis, name));
      return seen.at(-1);
    });
    assertEquals([found, seen], ["value of a", [null, "value of a"]]);
    let calls = 0;
    await tundraError(
      "UNAVAILABLE",
      () => peek(store, "a", async (_, name) => (calls++, await stack.raw("DEL", name))),
    );
    assertEquals(calls, 4);
  });

  it("passes on what read throws, and removes the temporary key", async () => {
    const store = stack.store();
    await evicted(store, "a");
    const reason = new Error("no");
    const thrown = await changesNothing(stack, () =>
      assertRejects(() =>
        peek(store, "a", () => {
          throw reason;
        })
      ));
    assertEquals(thrown, reason);
  });

  it("returns what was read although the temporary key could not be removed: it goes by itself", async () => {
    const store = stack.store();
    await evicted(store, "a");
    const cut = stack.store({
      redis: {
        retry: false,
        fetch: (url, init) =>
          String(init!.body).includes("UNLINK") ? Promise.reject(new TypeError("cut off")) : fetch(url, init),
      },
    });
    assertEquals(await peek(cut, "a", get, { ttlMs: 1_000 }), "value of a");
    const [left] = await stack.raw("KEYS", "tundra:default:tmp:*") as unknown[];
    const ttl = Number(await stack.raw("PTTL", String(left)));
    assert(ttl > 0 && ttl <= 1_000, String(ttl));
  });

  it("says LOST of a value that the archive does not hold, CORRUPT of a damaged one", async () => {
    const store = stack.store({ packBytes: 0 });
    await evicted(store, "a", "b");
    const objects = stack.s3.objects(BUCKET);
    const [a, b] = await Promise.all(["a", "b"].map(async (key) => `default/${key}/${(await stack.record(key))!.ver}`));
    objects.delete(a!);
    objects.get(b!)![60]! ^= 1;
    await changesNothing(stack, () => tundraError("LOST", () => peek(store, "a", get)));
    await changesNothing(stack, () => tundraError("CORRUPT", () => peek(store, "b", get)));
  });

  it("twice at once uses two temporary keys", async () => {
    const store = stack.store();
    await evicted(store, "a");
    const used = new Set<string>();
    const both = await Promise.all(
      [1, 2].map(() => peek(store, "a", (redis, name) => (used.add(name), get(redis, name)))),
    );
    assertEquals([both, used.size], [["value of a", "value of a"], 2]);
  });

  it("costs 3 requests, 8 commands and a read of the archive; a key in Redis 2 and 8", async () => {
    const store = stack.store();
    await evicted(store, "a", "b");
    await peek(store, "a", () => 0);
    const gets = stack.s3Count("GetObject");
    assertEquals(await costOf(stack, () => peek(store, "a", () => 0)), { redis: 3, billable: 8 });
    assertEquals(stack.s3Count("GetObject") - gets, 1);
    await store.ensureKs("a");
    assertEquals(await costOf(stack, () => peek(store, "a", () => 0)), { redis: 2, billable: 8 });
    assertEquals(stack.s3Count("GetObject") - gets, 2);
  });

  it("refuses wrong arguments, a value that no request carries, a lost index, another database's", async () => {
    const store = stack.store();
    await stack.raw("SET", "large", Array.from({ length: 3_000 }, (_, i) => (i * 7919).toString(36)).join("/"));
    await store.dirty("large");
    await store.tick();
    await store.evict("large");
    const small = stack.store({ redis: { maxRequestBytes: 33_000 } });
    assert((await tundraError("TOO_LARGE", () => peek(small, "large", get))) instanceof TundraError);
    const call = peek as (...args: unknown[]) => Promise<unknown>;
    const wrong: unknown[][] = [["large"], ["large", 5], ["large", get, { ttlMs: 5 }], ["large", get, { ttl: 1_000 }]];
    for (const args of [...wrong, [names(2), get], ["tundra:x", get]]) {
      await changesNothing(stack, () => tundraError("BAD_ARGUMENT", () => call(store, ...args)));
    }
    await refusedIfNotItsOwn(stack, (store) => peek(store, "large", get));
    await stack.raw("SET", "tundra:default:rec:large", "3 whatever");
    await changesNothing(stack, () => tundraError("UNSUPPORTED", () => peek(store, "large", get)));
  });
});
