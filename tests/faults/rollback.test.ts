/**
 * A failover brings an earlier Redis back, all of it or some of its keys: an application may find what Redis itself has
 * lost, but nothing older than that, and never silently nothing.
 */
import { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import type { TundraError, TundraStore } from "../../mod.ts";
import { objectName } from "../../src/base/keys.ts";
import type { CommandPart } from "../../src/testing/resp.ts";
import { BUCKET, describePackings, tundraError } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { until } from "../support/waiting.ts";
import { type FaultWorld, same, type Saved, type Value, withFaultWorld } from "./world.ts";

/** The world after one request. */
interface Moment {
  after: string;
  saved: Saved;
  worth: Map<string, Value>;
}

const KEYS = ["a", "x"];

/**
 * A life of two keys, one with an expiry of its own: every transition happens. Returns the world after each request.
 */
async function story(world: FaultWorld): Promise<Moment[]> {
  await world.flush();
  const moments: Moment[] = [];
  let step = "";
  const remember = async () => {
    moments.push({ after: step, saved: await world.save(), worth: await world.worth(...KEYS) });
  };
  const remembering: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    const body = await response.arrayBuffer();
    await remember();
    const { status, headers } = response;
    return new Response(status === 204 ? null : body, { status, headers });
  };
  const datastore = world.datastore({ fetch: remembering, concurrency: 1 });
  const store = world.store({ datastore, redis: { fetch: remembering } });
  const exp = Math.floor(await world.nowMs()) + HOUR_MS;
  const does = async (what: string, act: () => Promise<unknown>) => {
    step = what;
    await act();
    await remember();
  };
  const writes = (what: string) =>
    does(`writing ${what}`, () => world.commands(["SET", "a", `a ${what}`], ["SET", "x", `x ${what}`, "PXAT", exp]));

  await writes("one");
  await does("the first dirty", () => store.dirty(KEYS));
  await does("the first tick", () => store.tick({ nthreads: 1 }));
  await does("the first evict", () => store.evict(KEYS));
  await does("the first ensureKs", () => store.ensureKs(KEYS));
  await writes("two");
  await does("the second dirty", () => store.dirty(KEYS));
  await does("the second tick", () => store.tick({ nthreads: 1 }));
  await does("the second evict", () => store.evict(KEYS));
  await does("the second ensureKs", () => store.ensureKs(KEYS));
  await does("del", () => store.del(KEYS));
  await does("the tick after del", () => store.tick({ nthreads: 1 }));
  await writes("three");
  await does("the last dirty", () => store.dirty(KEYS));
  await does("the last tick", () => store.tick({ nthreads: 1 }));
  await does("the last evict", () => store.evict(KEYS));
  return moments;
}

/**
 * In every state of Redis each key has one of these values, for a tick and for ensureKs() too, and a new write is safe.
 */
async function goesOn(
  world: FaultWorld,
  store: TundraStore,
  may: (key: string, value: Value) => boolean,
): Promise<void> {
  const check = async (when: string) => {
    for (const [key, value] of await world.worth(...KEYS)) {
      if (!may(key, value)) throw new Error(`${when} ${key} is worth ${JSON.stringify(value)}`);
    }
  };
  await check("at first");
  await world.endLeases();
  for (let i = 0; i < 3; i++) await store.tick();
  await check("after the next ticks");
  await store.ensureKs(KEYS);
  await check("after ensureKs()");
  await world.commands(...KEYS.map((key) => ["SET", key, `${key} anew`, "KEEPTTL"]));
  await store.dirty(KEYS);
  const anew = await world.values(...KEYS);
  await world.endLeases();
  for (let i = 0; i < 3; i++) await store.tick();
  assertEquals((await store.evict(KEYS)).evicted.length, KEYS.length);
  await store.ensureKs(KEYS);
  assertEquals(await world.values(...KEYS), anew);
}

describePackings("Redis comes back", (packBytes) => {
  const world = withFaultWorld({ packBytes });

  it("as it was at any moment of a life: nothing is worth less than it was then", async () => {
    const moments = await story(world);
    const failures: string[] = [];
    assert(moments.length > 40);
    const deleted = moments.findLastIndex(({ after }) => after === "the tick after del");
    for (const end of [deleted, moments.length - 1]) {
      for (let i = 0; i < end; i++) {
        const moment = moments[i]!;
        await world.load(moments[end]!.saved);
        await world.load(moment.saved, "redis");
        const [id] = await world.commands(["GET", "tundra:default:id"]);
        if (id === null || String(id).startsWith("new:")) { // that long ago nothing was archived yet: the index was lost
          for (const act of [() => world.store().tick(), () => world.store().ensureKs(KEYS)]) {
            await tundraError("LOST", act);
          }
          continue;
        }
        // deleted since, and nothing of them is in Redis: they stay deleted, unless a pack still holds them
        const gone = packBytes === 0 && end === deleted && await world.exists(...KEYS) === 0;
        const later = moments.slice(gone ? end : i, end + 1);
        try {
          await goesOn(
            world,
            world.store(),
            (key, value) => later.some(({ worth }) => same(worth.get(key)!, value)),
          );
        } catch (error) {
          failures.push(
            `at the end of ${moments[end]!.after} back to request ${i} of ${moment.after}: ${(error as Error).message}`,
          );
        }
      }
    }
    assertEquals(failures, []);
  });

  it("with some of the keys that one request changed, any of them: all is worth what it was before or after", async () => {
    const moments = await story(world);
    const failures: string[] = [];
    let tried = 0;
    for (let i = 1; i < moments.length; i++) {
      const [before, after] = [moments[i - 1]!, moments[i]!];
      const changed = changes(before.saved, after.saved);
      if (changed.length === 0) continue;
      const all = 2 ** changed.length;
      // all subsets of up to five keys; of more, each key alone and all but it
      for (let subset = 1; subset < all - 1; subset++) {
        const kept = changed.filter((_, bit) => subset & 2 ** bit);
        if (changed.length > 5 && kept.length !== 1 && kept.length !== changed.length - 1) continue;
        tried++;
        await world.load(after.saved);
        await world.load(mixture(before.saved, after.saved, kept), "redis");
        try {
          await goesOn(
            world,
            world.store(),
            (key, value) => [before, after].some(({ worth }) => same(worth.get(key)!, value)),
          );
        } catch (error) {
          failures.push(`${after.after}, of whose changes only those of ${kept} stayed: ${(error as Error).message}`);
        }
      }
    }
    assert(tried > 60);
    assertEquals(failures, []);
  });
});

/** Names of the keys that differ. */
function changes(before: Saved, after: Saved): string[] {
  const text = ({ keys }: Saved) =>
    new Map(keys.map(({ name, dump, exp }) => [String(name), `${dump.toString("hex")} ${exp}`]));
  const [one, other] = [text(before), text(after)];
  return [...new Set([...one.keys(), ...other.keys()])].filter((name) => one.get(name) !== other.get(name)).sort();
}

/** `before`, but these keys as they are in `after`. */
function mixture(before: Saved, after: Saved, kept: string[]): Saved {
  const takes = ({ name }: { name: Buffer }) => kept.includes(String(name));
  return { ...before, keys: [...before.keys.filter((key) => !takes(key)), ...after.keys.filter(takes)] };
}

describe("after a failover", () => {
  const world = withFaultWorld();
  let store: TundraStore;
  const objects = () => world.s3.objects(BUCKET);
  beforeEach(async () => {
    await world.flush();
    store = world.store();
  });

  const archived = async (key: string, value: string): Promise<string> => {
    await world.commands(["SET", key, value]);
    await store.dirty(key);
    assertEquals((await store.tick()).frozen, 1);
    return await objectName({ tqname: "default" }, key, (await world.record(key))!.ver);
  };

  it("an eviction that is half undone heals: the value is back, the record says evicted", async () => {
    await archived("a", "one");
    const value = (await world.values("a")).get("a") as { dump: string };
    assertEquals((await store.evict("a")).evicted, ["a"]);
    const restore: CommandPart[] = ["RESTORE", "a", 0, Buffer.from(value.dump, "latin1")];
    await world.commands(restore);
    await store.ensureKs("a");
    assertEquals((await world.record("a"))!.flag, "r");
    assertEquals(await world.audit(new Map([["a", [{ dump: value.dump, exp: 0 }]]])), []);
    assertEquals((await store.evict("a")).evicted, ["a"]);
    await world.commands(restore);
    assertEquals((await store.evict("a")).evicted, ["a"]); // the same bytes leave once more
    assertEquals(await world.exists("a"), 0);
    await store.ensureKs("a");
    assertEquals(await world.get("a"), "one");
  });

  it("a value that was written while evicted is CONFLICT for each call, and is neither archived nor evicted", async () => {
    await archived("a", "one");
    await store.evict("a");
    await world.commands(["SET", "a", "another"]);
    await tundraError("CONFLICT", () => store.ensureKs("a"));
    await tundraError("CONFLICT", () => store.dirty("a"));
    assertEquals((await store.evict("a")).kept, { a: "conflict" });
    assertEquals((await store.tick()).frozen, 0);
    assertEquals(await world.get("a"), "another");
    await store.del("a");
    await store.ensureKs("a");
    assertEquals(await world.exists("a"), 0);
  });

  it("a record that names an object that is gone brings a newer version back", async () => {
    const first = await archived("a", "one");
    await store.evict("a");
    const before = await world.save();
    await store.ensureKs("a");
    await archived("a", "two");
    await store.evict("a");
    objects().delete(first);
    await world.load(before, "redis");
    await store.ensureKs("a");
    assertEquals(await world.get("a"), "two");
  });

  it("a record that names an object that is gone is LOST if the archive has older ones only", async () => {
    await archived("a", "one");
    const second = await archived("a", "two");
    await store.evict("a");
    objects().delete(second);
    const failed = await tundraError("ENSURE_FAILED", () => store.ensureKs("a"));
    const cause = failed.causes["a"] as TundraError;
    assertEquals([cause.code, cause.retryable, failed.retryable], ["LOST", false, false]);
    assertStringIncludes(cause.message, second.split("/").at(-1)!);
    assertEquals(await world.exists("a"), 0);
    assertEquals((await world.record("a"))!.flag, "e");
  });

  it("a record that names an object that is gone brings nothing back if a tombstone is newer: deleted stays deleted", async () => {
    const first = await archived("a", "one");
    const before = await world.save();
    assertEquals(await store.del("a"), 1);
    assertEquals((await store.tick()).missing, 1);
    objects().delete(first);
    await world.load(before, "redis");
    await world.commands(["DEL", "a"]); // the UNLINK came through, the record did not
    await store.ensureKs("a");
    assertEquals(await world.exists("a"), 0);
    await world.commands(["SET", "a", "anew"]); // no blind write: ensureKs() was called, and there was nothing
    await store.dirty("a");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("a")).evicted, ["a"]);
    await store.ensureKs("a");
    assertEquals(await world.get("a"), "anew");
  });

  it("a newer version that is past its own expiry stays away, and the key can be created anew", async () => {
    const first = await archived("a", "one");
    await store.evict("a");
    const before = await world.save();
    await store.ensureKs("a");
    const exp = Math.floor(await world.nowMs()) + 300;
    await world.commands(["SET", "a", "two", "PXAT", exp]);
    await store.dirty("a");
    assertEquals((await store.tick()).frozen, 1);
    await world.load(before, "redis");
    objects().delete(first);
    await until("the expiry passes", async () => await world.nowMs() > exp);
    await store.ensureKs("a");
    assertEquals(await world.exists("a"), 0);
    await world.commands(["SET", "a", "anew"]);
    await store.dirty("a");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals(await world.get("a"), "anew");
  });

  for (const listing of ["the listing", "the object"]) {
    it(`it is never LOST while ${listing} cannot be read`, async () => {
      const only = await archived("a", "one");
      await store.evict("a");
      objects().delete(only);
      const match = listing === "the object" ? /^GET \S*\/tundra\/default/ : /^GET \S*list-type=2/;
      const layer = faultyFetch(fetch, [{ match, times: Infinity, fault: { type: "status", status: 503 } }]);
      const failing = world.store({ datastore: world.datastore({ fetch: layer }) });
      const failed = await tundraError("ENSURE_FAILED", () => failing.ensureKs("a"));
      assertEquals([(failed.causes["a"] as TundraError).code, failed.retryable], ["UNAVAILABLE", true]);
    });
  }

  it("an index that is gone is LOST for each call, until it is back", async () => {
    await archived("a", "one");
    await store.evict("a");
    const saved = await world.save();
    const others = saved.keys.filter(({ name }) => String(name) !== "tundra:default:id");
    for (const keys of [[], others]) {
      await world.load({ keys, objects: new Map() }, "redis");
      for (
        const act of [
          () => store.ensureKs("a"),
          () => store.evict("a"),
          () => store.del("a"),
          () => store.tick(),
          () => store.ensureKs("never", "seen"),
        ]
      ) {
        assertMatch((await tundraError("LOST", act)).message, /rebuild first/);
      }
      assertEquals(await world.exists("a"), 0);
    }
    await world.load(saved, "redis");
    await store.ensureKs("a");
    assertEquals(await world.get("a"), "one");
  });

  it("an index of another archive is LOST for a tick, which puts nothing there", async () => {
    await archived("a", "one");
    const saved = await world.save();
    await world.flush();
    await archived("b", "other");
    await store.dirty("b");
    const [id] = await world.commands(["GET", "tundra:default:id"]);
    const database = String(id).split("@")[1];
    await world.commands(["SET", "tundra:default:id", `new:another-index@${database}`]);
    const before = new Map(objects());
    await tundraError("LOST", () => store.tick());
    assertEquals(objects(), before);
    assert(saved.objects.size > 0);
  });
});
