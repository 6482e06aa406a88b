/** list: every key that Tundra knows, in its state, once. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { list, type ListedKey, type ListOptions, restoreVersion } from "../../src/operations/mod.ts";
import { names, tundraError, withArchive } from "../support/fixtures.ts";
import { DAY_MS } from "../support/times.ts";
import { sleep } from "../support/waiting.ts";

const KEYS = redisKeys("default");

describe("list", () => {
  const stack = withArchive();
  const { raw } = stack;
  let store: TundraStore;
  beforeEach(async () => {
    await stack.flush();
    store = stack.store();
  });

  const all = async (options: ListOptions = {}, of = store) => {
    const found: ListedKey[] = [];
    for await (const key of list(of, options)) found.push(key);
    return found.sort((a, b) => a.key < b.key ? -1 : 1);
  };
  const states = async (options?: ListOptions) =>
    Object.fromEntries((await all(options)).map(({ key, state }) => [key, state]));

  /** Keys in each state. */
  async function oneOfEach(): Promise<void> {
    for (const key of ["resident", "evicted", "removed", "expired"]) await raw("SET", key, `value of ${key}`);
    await raw("PEXPIRE", "expired", DAY_MS);
    await store.dirty("resident", "evicted", "removed", "expired");
    await store.tick();
    await store.evict("evicted");
    await store.del("removed");
    await store.tick();
    await stack.editRecord("expired", { exp: Math.floor(await stack.nowMs()) - 1 });
    await raw("MSET", "dirty", "1", "poison", "1", "unknown to Tundra", "1");
    await raw("SET", "deleted later", "1");
    await store.dirty("dirty", "poison", "deleted later");
    await store.del("deleted later");
    await stack.editRecord("poison", { attempts: 3, error: "UNSUPPORTED no such freezer" });
    await raw("ZREM", KEYS.dirty, "poison");
    await raw("ZADD", KEYS.dead, "1", "poison");
  }

  it("names each key with its state, also what SCAN no longer shows", async () => {
    await oneOfEach();
    assertEquals(await states(), {
      dirty: "dirty",
      "deleted later": "gone",
      evicted: "evicted",
      expired: "gone",
      poison: "dead",
      removed: "gone",
      resident: "resident",
    });
    for (const state of ["dirty", "resident", "evicted", "dead", "gone"] as const) {
      const expected = Object.entries(await states()).filter(([, is]) => is === state);
      assertEquals(Object.entries(await states({ state })), expected);
    }
  });

  it("gives version, time, size, expiry, last use and error", async () => {
    await oneOfEach();
    const now = await stack.nowMs();
    const found = new Map((await all()).map((key) => [key.key, key]));
    const { ver, touch } = (await stack.record("evicted"))!;
    assertEquals(found.get("evicted"), {
      key: "evicted",
      state: "evicted",
      version: ver.split("@")[0]!,
      atMs: Math.floor(Number(ver.slice(0, 16)) / 1000),
      bytes: 1024,
      expMs: 0,
      usedMs: touch,
      error: "",
    });
    assert(Math.abs(found.get("evicted")!.atMs - now) < 60_000);
    assert(found.get("expired")!.expMs > now - 60_000);
    const { version, atMs, bytes, error } = found.get("poison")!;
    assertEquals([version, atMs, bytes, error], ["", 0, 0, "UNSUPPORTED no such freezer"]);
  });

  it("tells no note of a restored version as an error", async () => {
    await raw("SET", "a", "v");
    await store.dirty("a");
    await store.tick();
    const [{ version }] = await all() as [ListedKey];
    await restoreVersion(store, "a", version);
    assertMatch((await stack.record("a"))!.error, /^RESTORED /);
    assertEquals((await all()).map(({ state, error }) => [state, error]), [["dirty", ""]]);
  });

  it("takes a pattern of the key, and no other store's keys", async () => {
    await raw("MSET", "a:1", "1", "a:2", "1", "b:a:1", "1", "a*", "1", "[x]", "1", "", "1");
    await store.dirty("a:1", "a:2", "b:a:1", "a*", "[x]", "");
    await stack.store({ tqname: "other" }).dirty("a:1");
    const keys = async (match: string) => (await all({ match })).map(({ key }) => key);
    assertEquals(await keys("a:*"), ["a:1", "a:2"]);
    assertEquals(await keys("a\\*"), ["a*"]);
    assertEquals(await keys("*:1"), ["a:1", "b:a:1"]);
    assertEquals(await keys("\\[x\\]"), ["[x]"]);
    assertEquals(await keys(""), [""]);
    assertEquals((await all()).length, 6);
    assertEquals((await all({}, stack.store({ tqname: "other" }))).map(({ key }) => key), ["a:1"]);
  });

  it("names each of many keys once while others come and go, and costs what it says", async () => {
    const keys = names(4_000);
    await raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    await store.dirty(keys);
    await all({ match: "nothing" });
    await stack.server.resetCounters();
    assertEquals((await all()).length, 4_000);
    const steps = Math.ceil(8_010 / 1_000) + 1;
    assert(stack.server.requests <= 3 * steps + 2, `${stack.server.requests} requests`);
    assert(await stack.server.billable() <= 3 * steps + 2, `${await stack.server.billable()} commands`);
    const found: string[] = [];
    for await (const { key } of list(store)) {
      if (found.push(key) % 50 > 0) continue;
      const some = names(300, `new:${found.length}`);
      await raw("MSET", ...some.flatMap((key) => [key, "v"]));
      await raw("UNLINK", ...some);
    }
    assertEquals(found.length, new Set(found).size);
    assertEquals(found.sort(), [...keys].sort());
  });

  it("gives the same answer to two at once, of two stores, and of one iterable", async () => {
    await oneOfEach();
    await raw("MSET", ...names(1_500).flatMap((key) => [key, "v"]));
    await store.dirty(names(1_500));
    const expected = await all();
    assertEquals(expected.length, 1_507);
    const listed = list(store);
    const read = async (keys: AsyncIterable<ListedKey>) => {
      const found: ListedKey[] = [];
      for await (const key of keys) found.push(key);
      return found.sort((a, b) => a.key < b.key ? -1 : 1);
    };
    for (const found of await Promise.all([all(), all({}, stack.store()), read(listed), read(listed)])) {
      assertEquals(found, expected);
    }
  });

  it("changes nothing, ends when it is told, and can be read twice", async () => {
    await oneOfEach();
    const before = await stack.everything();
    const listed = list(store);
    for (const _ of [1, 2]) {
      let count = 0;
      for await (const { key } of listed) count += key.length > 0 ? 1 : 0;
      assertEquals(count, 7);
    }
    for await (const _ of listed) break;
    assertEquals(await stack.everything(), before);
    const error = await tundraError("UNAVAILABLE", () => all({ signal: AbortSignal.abort(new Error("enough")) }));
    assertEquals((error.cause as Error).message, "enough");
  });

  it("yields maxKeys keys and ends; behind deadlineMs or maxSubrequests it throws, so that no part passes for the whole", async () => {
    const keys = names(3_000);
    await raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    await store.dirty(keys);
    for (const maxKeys of [1, 1_500, 3_000, 3_001]) {
      const some = await all({ maxKeys });
      assertEquals(new Set(some.map(({ key }) => key)).size, Math.min(maxKeys, 3_000));
    }
    assertEquals((await all({ maxKeys: 5, match: "k:1?" })).length, 5);
    assertEquals((await all({ maxKeys: 5, state: "evicted" })).length, 0);
    await all({ maxKeys: 1 });
    await stack.server.resetCounters();
    await all({ maxKeys: 1 });
    assert(stack.server.requests <= 5, `${stack.server.requests} requests`); // not one more than for the first page

    const part: string[] = [];
    const until = async (options: ListOptions, waitMs = 0) => {
      part.length = 0;
      for await (const { key } of list(store, options)) if (part.push(key) === 1) await sleep(waitMs);
    };
    await stack.server.resetCounters();
    const few = await tundraError("UNAVAILABLE", () => until({ maxSubrequests: 12 }));
    assertEquals([few.retryable, stack.server.requests], [true, 11]); // and a listing, as no tick has run yet
    assertMatch(few.message, /maxSubrequests/);
    assert(part.length > 0 && part.length < 3_000, String(part.length));
    await until({ maxSubrequests: 40 });
    assertEquals(part.length, 3_000);

    const late = await tundraError("UNAVAILABLE", () => until({ deadlineMs: 1_000 }, 1_100));
    assertEquals(late.retryable, true);
    assertMatch(late.message, /deadlineMs/);
    assert(part.length > 0 && part.length < 3_000, String(part.length));
    await until({ deadlineMs: 60_000 });
    assertEquals(part.length, 3_000);
    await stack.flush();
    await raw("SET", "a", "v");
    await store.dirty("a");
    await until({ deadlineMs: 1_000 }, 1_100); // late, but nothing is left to ask for
    assertEquals(part, ["a"]);
  });

  it("names records of another version at the end", async () => {
    await raw("SET", KEYS.record("later"), "9 later");
    await raw("SET", "fine", "1");
    await store.dirty("fine");
    const found: string[] = [];
    const error = await tundraError("UNSUPPORTED", async () => {
      for await (const { key } of list(store)) found.push(key);
    });
    assertEquals([found, error.keys], [["fine"], ["later"]]);
  });

  it("refuses a lost index, a copy, and bad options", async () => {
    await raw("SET", "a", "1");
    await store.dirty("a");
    await store.tick();
    await tundraError("LOST", () => all({}, stack.store({ databaseId: "elsewhere" })));
    await raw("DEL", KEYS.id);
    await tundraError("LOST", () => all());
    await stack.server.resetCounters();
    for (
      const bad of [
        { match: 1 },
        { state: "clean" },
        { signal: 1 },
        { keys: 1 },
        { maxKeys: 0 },
        { deadlineMs: 0 },
        { maxSubrequests: 3 },
        1,
        null,
      ]
    ) {
      await tundraError("BAD_ARGUMENT", () => list(store, bad as ListOptions));
    }
    assertEquals(stack.server.requests, 0);
  });
});
