/**
 * Erasures delete packs at once: what sweeps and other erasures find, and do, while that happens.
 */
import { afterEach, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { type Datastore, memoryDatastore, TundraError, type TundraStore } from "../../mod.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { erase, type EraseOptions, sweep, versions } from "../../src/operations/mod.ts";
import { placeOf } from "../../src/archive/place.ts";
import { noteErasure } from "../../src/scripts/note_erasure.ts";
import { readIndex } from "../../src/scripts/read_index.ts";
import { relocate } from "../../src/scripts/relocate.ts";
import { storeOnModel } from "../model/redis/store.ts";
import { names, withArchive } from "../support/fixtures.ts";
import { withIndex } from "../support/index.ts";
import { type OldArchive, oldArchive } from "../support/old_archive.ts";
import { isTombstone, type NotedArchive, notedArchive } from "../support/packs.ts";
import { HOUR_MS, HOUR_US } from "../support/times.ts";

describe("an erasure, which deletes packs at once,", () => {
  const stack = withArchive();
  const tools = withIndex(stack);
  let archive: NotedArchive;
  let store: TundraStore;
  let old: OldArchive;

  /** An empty database, and a new archive. */
  async function begin(): Promise<void> {
    await stack.flush();
    archive = notedArchive();
    store = stack.store({ datastore: archive.datastore });
    await store.tick(); // gives the index its id
    old = oldArchive(archive, await tools.nowUs(), String(await stack.raw("GET", "tundra:default:id")));
  }

  beforeEach(begin);
  afterEach(() => setPlatform());

  /** A store whose datastore has these functions. */
  const hooked = (hooks: (inner: Required<Datastore>) => Partial<Datastore>) =>
    stack.store({ datastore: { ...archive.datastore, ...hooks(archive.datastore) } });

  const evicted = (words: Record<string, string>) =>
    tools.setRecords(
      Object.fromEntries(
        Object.entries(words).map(([key, ver]) => [key, { ver, flag: "e" as const, fp: "a".repeat(40) }]),
      ),
    );

  async function eraseAll(keys: string[], options: EraseOptions = {}, by = store) {
    for (let calls = 1;; calls++) {
      assertLessOrEqual(calls, 100, "it does not end");
      const report = await erase(by, keys, options);
      if (report.done) return report;
    }
  }

  /** The packs that hold versions of a key. */
  async function holders(key: string): Promise<string[]> {
    const packs = await Promise.all(
      archive.packs().map(async (name) => {
        const entries = await archive.entries(name);
        return entries.some((entry) => entry.key === key) ? [name] : [];
      }),
    );
    return packs.flat();
  }

  it("leaves a copy that a sweep does not delete, though the record names a pack that is gone", async () => {
    const [, y] = await old.pack(30, [{ key: "x" }, { key: "y" }]);
    const { ver } = placeOf(y!);
    const place = old.version(30);
    archive.objects.delete(`default/~packs/${place}`);
    await old.pack(20, [{ key: "z" }, { key: "y", ver }]); // all of it may go, if the place of y is where it was
    await evicted({ y: y!, z: await old.own(15, { key: "z" }) });
    for (const name of archive.packs().slice(0, -1)) archive.objects.delete(name); // by an erasure of x; then a commit came
    assertEquals(archive.packs().length, 1);
    assertEquals((await sweep(store)).done, true);
    assertEquals((await holders("y")).length, 1);
  });

  it("hides no older value from a sweep that is about to delete its tombstone", async () => {
    /** A tombstone of `k`, and an older value of it beside `x`; the names of what holds them. */
    const setUp = async () => {
      await begin();
      for (const days of [50, 40, 30]) await old.pack(days, [{ key: `p${days}` }, { key: `q${days}` }]);
      const [x, , y] = await old.pack(60, [{ key: "x" }, { key: "k" }, { key: "y" }]);
      await old.own(45, { key: "k", gone: true });
      await evicted({ x: x!, y: y! });
    };
    const isSafe = async () => {
      const isThere = archive.own().some((name) => name.startsWith("default/k/"));
      return isThere || (await holders("k")).length === 0;
    };
    // before any call of a sweep of few requests, and before any read of one
    let calls = 1;
    for (let before = 1; before <= calls; before++) {
      await setUp();
      let done = false;
      for (calls = 1; !done; calls++) {
        assertLessOrEqual(calls, 100, "it does not end");
        if (calls === before) await eraseAll(["x"]);
        ({ done } = await sweep(store, { maxSubrequests: 20 }));
        assert(await isSafe(), `erased before call ${before}: the tombstone is gone, an older value is in a pack`);
      }
    }
    assert(calls > 2, `${calls} calls`);
    let reads = 1;
    for (let before = 1; before <= reads; before++) {
      await setUp();
      reads = 0;
      const racing = hooked(({ fetchRanges }) => ({
        async fetchRanges(...args) {
          if (++reads === before) await eraseAll(["x"]);
          return await fetchRanges(...args);
        },
      }));
      await sweep(racing);
      assert(await isSafe(), `erased before read ${before}: the tombstone is gone, an older value is in a pack`);
    }
    assert(reads > 3, `${reads} reads`);
  });

  it("keeps a pack of which a record could not be told of its new place, and takes the new one back", async () => {
    const [x, y] = await old.pack(30, [{ key: "x" }, { key: "y" }]);
    await evicted({ x: x!, y: y! });
    const before = archive.packs();
    const racing = hooked(({ putKey }) => ({
      async putKey(...args) {
        if (args[0].includes("/~packs/")) await stack.raw("SET", "tundra:default:rec:y", "9 another layout");
        return await putKey(...args);
      },
    }));
    let report = await erase(racing, ["x"]);
    while (report.failed === 0) report = await erase(racing, ["x"]);
    assertEquals([report.done, report.errors.map(({ code }) => code)], [false, ["UNAVAILABLE"]]);
    assertEquals(archive.packs(), before);
    report = await erase(store, ["x"]);
    assertEquals([report.done, report.errors.map(({ key, code }) => [key, code])], [false, [["y", "UNSUPPORTED"]]]);
    assertEquals(archive.packs(), before);
    await evicted({ y: y! });
    assertEquals((await eraseAll(["x"])).failed, 0);
    const [pack] = await holders("y");
    assertEquals([pack], [`default/~packs/${placeOf((await stack.record("y"))!.ver).pack}`]);
  });

  it("puts no pack an hour after its look at the records", async () => {
    const [x, y] = await old.pack(30, [{ key: "x" }, { key: "y" }]);
    await evicted({ x: x!, y: y! });
    let aheadMs = 0;
    setPlatform({ ...PLATFORM, monotonicMs: () => PLATFORM.monotonicMs() + aheadMs });
    const frozen = hooked(({ fetchRanges }) => ({
      async fetchRanges(...args) {
        const answers = await fetchRanges(...args);
        if (args[0].some(({ offset }) => offset === 16)) aheadMs += 1.1 * HOUR_MS; // the block: it was frozen
        return answers;
      },
    }));
    const before = archive.packs();
    const options = { deadlineMs: 5 * HOUR_MS };
    const failure = await eraseAll(["x"], options, frozen).catch((error) => error);
    assertEquals(failure.code, "UNAVAILABLE");
    assertEquals(archive.packs(), before);
    assertEquals((await eraseAll(["x"], options)).failed, 0);
  });

  for (
    const [what, hours] of [["takes a pack back", 0], [
      "takes no pack back that may be the only one by then",
      49,
    ]] as const
  ) {
    it(`${what} of which an erasure may have removed something, ${hours} hours after it was put`, async () => {
      const [x] = await old.pack(30, [{ key: "x" }, { key: "y" }, { key: "z" }]);
      await old.pack(20, [{ key: "y", gone: true }, { key: "z", gone: true }]);
      await evicted({ x: x! });
      const before = archive.packs();
      let aheadMs = 0;
      setPlatform({ ...PLATFORM, monotonicMs: () => PLATFORM.monotonicMs() + aheadMs });
      const frozen = hooked(({ putKey }) => ({
        async putKey(...args) {
          await putKey(...args);
          if (args[0].includes("/~packs/")) {
            await noteErasure(tools.index);
            aheadMs += hours * HOUR_MS;
          }
          return true;
        },
      }));
      const { errors } = await sweep(frozen, { deadlineMs: 12 * HOUR_MS, keepMs: 0 });
      assertEquals(errors.map(({ code }) => code), ["UNAVAILABLE"]);
      assertEquals(archive.packs().length - before.length, hours > 0 ? 1 : 0);
    });
  }

  for (const hour of [1, 20, 30, 47]) {
    it(`makes no value beside its keys live longer that was removed ${hour} hours before: it goes with its tombstone`, async () => {
      archive.objects.clear();
      const { store, pass } = storeOnModel(archive.datastore);
      const keys = ["n", "m", "x", "y", "z"];
      await store.redis.mset(Object.fromEntries(keys.map((key) => [key, `value of ${key}`])));
      await store.dirty(keys);
      await store.tick();
      pass(HOUR_US);
      await store.del("n", "m");
      await store.tick();
      const values = async () =>
        (await Promise.all(archive.packs().map(archive.entries))).flat().filter(({ key, gone }) =>
          /^[nm]$/.test(key) && gone === undefined
        );
      for (let at = 1; (await values()).length > 0; at++) {
        assertLessOrEqual(at, 5 * 24, "hours: 48 and a sweep, and a day's rest of what was moved");
        pass(HOUR_US);
        // the second one rewrites what the first one has moved
        if (at === hour || at === hour + 1) await eraseAll([at === hour ? "x" : "y"], {}, store);
        if (at % 24 === 0) {
          assertEquals((await sweep(store)).done, true);
          await store.tick();
        }
      }
      assertEquals(await store.redis.exists("z"), 1);
    });
  }

  it("tells records once, though the answer was lost and it looked meanwhile: no pack is taken back that they name", async () => {
    const [x, y] = await old.pack(30, [{ key: "x" }, { key: "y" }]);
    await evicted({ x: x!, y: y! });
    const told = await old.pack(0, [{ key: "y", ver: placeOf(y!).ver }, { key: "z" }]);
    const { pack } = placeOf(told[0]!);
    const seen = await readIndex(tools.index, []);
    const moves = [{ key: "y", from: y!, to: told[0]! }];
    assertEquals(await relocate(tools.index, pack, seen, moves), ["moved"]);
    await noteErasure(tools.index);
    await tools.changesNothing(async () => assertEquals(await relocate(tools.index, pack, seen, moves), ["moved"]));
  });

  it("takes no tombstone that came after it had erased values: an older one may be left", async () => {
    await stack.raw("SET", "k", "old");
    await store.dirty("k");
    await store.tick();
    const slow = hooked(() => ({ deleteKeys: () => Promise.reject(new TundraError("UNAVAILABLE", "no purge yet")) }));
    let written = false;
    const racing = hooked(({ listKeys, deleteKeys }) => ({
      async listKeys(...args) {
        if (!written && args[0] === "default/~packs/") { // values in objects of their own are erased by now
          written = true;
          await stack.raw("SET", "k", "anew");
          await store.dirty("k");
          await store.tick();
          await store.del("k");
          await slow.tick();
        }
        return await listKeys(...args);
      },
      async deleteKeys(...args) {
        await deleteKeys(...args);
        const [value, tombstone] = [false, true].map((is) => archive.own().some((name) => isTombstone(name) === is));
        assert(!written || tombstone || !value, `${args[0]} went before ${archive.own()}`);
      },
    }));
    await eraseAll(["k"], {}, racing);
    assert(written);
    assertEquals(archive.names(), []);
  });

  it("takes a key that is in Redis alone, in a store that is new", async () => {
    archive.objects.clear();
    await stack.flush();
    await stack.raw("SET", "k", "value");
    assertEquals((await erase(store, ["k"], { dryRun: true })).done, true);
    assertEquals(await stack.exists("k"), 1);
    await eraseAll(["k"]);
    assertEquals([await stack.exists("k"), archive.names()], [0, []]);
  });

  it("reports no key as lost whose value and tombstone it erases while a tick searches for lost records", async () => {
    let reads = 1;
    for (let before = 1; before <= reads; before++) {
      await begin();
      const words = await old.pack(3, [{ key: "k" }, { key: "y" }]);
      await old.own(2, { key: "k", gone: true });
      await evicted({ y: words[1]! });
      await stack.raw("SET", "tundra:default:lost_records_cursor", "0 ");
      reads = 0;
      const racing = hooked(({ fetchRanges }) => ({
        async fetchRanges(...args) {
          const answers = await fetchRanges(...args);
          if (++reads === before) await eraseAll(["k"]);
          return answers;
        },
      }));
      const { errors } = await racing.tick(); // a pack that went meanwhile is one, and the next search finds it gone
      assertEquals(errors.filter(({ code }) => code !== "UNAVAILABLE"), [], `erased after read ${before}`);
    }
    assert(reads > 3, `${reads} reads`);
  });

  it("begins anew after half a day: the record of a key that was removed meanwhile may be gone", async () => {
    await stack.raw("MSET", "k", "value", "j", "beside");
    await store.dirty("k", "j");
    await store.tick();
    await erase(store, ["k"], { maxSubrequests: 30 });
    const [cursor] = await stack.raw("KEYS", "tundra:default:cursor:erase:*") as string[];
    const state = JSON.parse(String(await stack.raw("GET", cursor!)));
    // it had come to its last look; then the key was written and removed again, and its record went
    const last = JSON.stringify({ ...state, step: "proof of keys", keys: 0, own: undefined, pack: "" });
    await stack.raw("SET", cursor!, last, "KEEPTTL");
    await old.pack(0, [{ key: "k" }, { key: "i" }]);
    await stack.raw("DEL", "k", "tundra:default:rec:k");
    const halfADayMs = 12 * HOUR_MS;
    assertLessOrEqual(Number(await stack.raw("PTTL", cursor!)), halfADayMs);
    await stack.raw("PEXPIRE", cursor!, String(Number(await stack.raw("PTTL", cursor!)) - halfADayMs));
    await eraseAll(["k"]);
    assertEquals([await holders("k"), (await holders("i")).length], [[], 1]);
  });

  it("begins anew if its proof takes more than half a day: the record of a key that was removed meanwhile may be gone", async () => {
    const memory = memoryDatastore();
    const { store, pass } = storeOnModel(memory);
    const [keys, key] = [names(6), "k:0"];
    const written = async (some: string[], value: string) => {
      await store.redis.mset(Object.fromEntries(some.map((each) => [each, value])));
      await store.dirty(some);
      while (!(await store.tick()).done);
    };
    await written(keys, "one");
    // an object of its own is listed once in a proof, which has begun to look at the keys that come after it
    const { listKeys } = memory;
    let isProving = false;
    memory.listKeys = async (prefix, ...rest) => {
      if (prefix.startsWith("default/k") && ![...memory.objects.keys()].some((name) => /~packs|\/k/.test(name))) {
        isProving = true;
      }
      return await listKeys(prefix, ...rest);
    };
    while (!isProving) assertEquals((await erase(store, keys, { maxKeys: 1 })).done, false);
    await written([key, "other"], "secret");
    pass(HOUR_US);
    await store.del(key);
    while (!(await store.tick()).done);
    for (let calls = 1, done = false; !done; calls++) {
      assertLessOrEqual(calls, 200, "it does not end");
      pass(calls < 20 ? 6 * HOUR_US : 0);
      ({ done } = await erase(store, keys, { maxKeys: 1 }));
    }
    assertEquals([...await versions(store, key)], []);
  });

  it("says until when it has to wait if Redis' clock went back after a key was archived", async () => {
    const { store, pass, nowMs } = storeOnModel();
    pass(HOUR_US);
    await store.redis.mset({ a: "1", b: "2" });
    await store.dirty("a", "b");
    while (!(await store.tick()).done);
    pass(-HOUR_US);
    for (let calls = 1; calls <= 3; calls++) {
      const { done, failed, errors: [error] } = await erase(store, ["a"]);
      assertEquals([done, failed, error!.key, error!.code], [false, 1, "a", "UNAVAILABLE"]);
      const untilMs = Date.parse(/\d{4}-\d\d-\d\dT[\d:.]+Z/.exec(error!.message)![0]);
      assert(untilMs > nowMs() + 0.9 * HOUR_MS && untilMs < nowMs() + 1.1 * HOUR_MS, error!.message);
    }
    pass(HOUR_US + 1e6);
    const { failed, proof } = await eraseAll(["a"], {}, store);
    assertEquals([failed, proof !== undefined, (await versions(store, "a")).length], [0, true, 0]);
  });

  describe("leaves no state of a sweep that names what is erased, though one is under way", () => {
    for (const [what, count] of [["in an object", 300], ["in Redis", 20]] as const) {
      it(what, async () => {
        const keys = names(count, "person:");
        let isErased = true;
        for (let at = 1; isErased; at++) {
          await begin();
          await old.pack(20, [{ key: "x" }, { key: "y" }]);
          await old.pack(3, keys.map((key) => ({ key, gone: true })));
          let moments = 0;
          isErased = false;
          const around = async <T>(act: Promise<T>): Promise<T> => {
            const answer = await act;
            if (++moments === at) isErased = (await eraseAll(keys)).done;
            return answer;
          };
          const racing = hooked(({ putKey, fetchRanges, listKeys }) => ({
            putKey: async (...args) => await around(putKey(...args)),
            fetchRanges: async (...args) => await around(fetchRanges(...args)),
            listKeys: async (...args) => await around(listKeys(...args)),
          }));
          await sweep(racing, { maxKeys: count });
          const cursor = String(await stack.raw("GET", "tundra:default:cursor:sweep"));
          const states = archive.names().filter((name) => name.includes("~sweep/"));
          const isThere = cursor.includes("person:") || states.length > 0;
          assertEquals(isThere, !isErased, `erased after request ${at}`);
          assert(isErased || at > 4, `${moments} requests`);
        }
      });
    }
  });

  it("looks again for what another erasure moves while its own proof passes", async () => {
    await old.pack(40, [{ key: "w" }, { key: "v" }]);
    const [x, y, z] = await old.pack(30, [{ key: "x" }, { key: "y" }, { key: "z" }]);
    await evicted({ x: x!, y: y!, z: z! });
    let reads = 1;
    for (let before = 1; before <= reads; before++) {
      await begin();
      await old.pack(40, [{ key: "w" }, { key: "v" }]);
      const words = await old.pack(30, [{ key: "x" }, { key: "y" }, { key: "z" }]);
      await evicted({ x: words[0]!, y: words[1]!, z: words[2]! });
      reads = 0;
      const racing = hooked(({ fetchRanges }) => ({
        async fetchRanges(...args) {
          if (++reads === before) await eraseAll(["y"]);
          return await fetchRanges(...args);
        },
      }));
      const { proof } = await eraseAll(["x"], {}, racing);
      assertEquals([proof?.objects, await holders("x")], [0, []], `before read ${before}`);
      await eraseAll(["x", "y"]);
      assertEquals([await holders("x"), await holders("y"), (await holders("z")).length], [[], [], 1]);
    }
    assert(reads > 6, `${reads} reads`);
  });

  it("looks again for what lay in a pack that went after it was listed", async () => {
    let acted = true;
    for (let at = 1; acted; at++) {
      await begin();
      const words = await old.pack(30, [{ key: "x" }, { key: "w" }]);
      await evicted({ x: words[0]!, w: words[1]! });
      let lists = 0;
      acted = false;
      const racing = hooked(({ listKeys }) => ({
        async listKeys(...args) {
          if (args[0] !== "default/~packs/" || ++lists !== at) return await listKeys(...args);
          acted = true;
          // another operation has put it just before the look, and another erasure moves it on after the listing
          await old.pack(10, [{ key: "x" }, { key: "y" }, { key: "z" }]);
          const listing = await listKeys(...args);
          await eraseAll(["y"]);
          return listing;
        },
      }));
      await eraseAll(["x"], {}, racing);
      assertEquals([await holders("x"), (await holders("z")).length], [[], acted ? 1 : 0], `at listing ${at}`);
      assert(acted || at > 4, `${lists} listings`);
    }
  });
});
