/** Rotation of master keys, and the count of what each has encrypted, on a real Redis. */
import { beforeEach, describe, it } from "node:test";
import process from "node:process";
import { assert, assertEquals, assertLessOrEqual, assertStringIncludes } from "@std/assert";
import {
  type Datastore,
  type DatastoreCallOptions,
  deflateFreezer,
  type Freezer,
  type TundraStore,
} from "../../mod.ts";
import { aesGcmFreezer, rotate, type RotateOptions, type RotateReport, status } from "../../src/encryption/mod.ts";
import { sweep, versions } from "../../src/operations/mod.ts";
import { storeOnModel } from "../model/redis/store.ts";
import { encrypted, masterKey } from "../support/encryption.ts";
import { names, type StoreOptions, tundraError, withArchive } from "../support/fixtures.ts";
import { withIndex } from "../support/index.ts";
import { changesNothing } from "../support/operations.ts";
import { oldArchive } from "../support/old_archive.ts";
import { entriesOfPack, type NotedArchive, notedArchive } from "../support/packs.ts";
import { telling } from "../support/telling.ts";
import { HOUR_US } from "../support/times.ts";

const KEYS = { a: masterKey(1), b: masterKey(2) };

describe("rotate()", () => {
  const stack = withArchive();
  const tools = withIndex(stack);
  let archive: NotedArchive;

  beforeEach(async () => {
    await stack.flush();
    archive = notedArchive();
  });

  const open = (freezer: Freezer[], options: StoreOptions = {}) =>
    stack.store({ datastore: archive.datastore, freezer, ...options });
  const before = (options: StoreOptions = {}) => open(encrypted({ keys: KEYS }), options);
  const after = (options: StoreOptions = {}) => open(encrypted({ keys: KEYS, current: "b" }), options);
  const only = () => open(encrypted({ keys: { b: masterKey(2) }, current: "b" }));
  const noise = Array.from({ length: 500 }, (_, i) => (i * 7919 % 9973).toString(36)).join(" ");
  const valueOf = (key: string) => `value of ${key}, ` + (key.startsWith("large") ? noise : "again ".repeat(8));
  const small = names(60, "small");
  const large = names(4, "large");
  const keys = [...small, ...large, "Upper", ""];

  /** Archives and evicts: small values in packs, others in objects of their own. */
  async function fill(store: TundraStore, some = keys): Promise<void> {
    for (const key of some) await stack.raw("SET", key, valueOf(key));
    await store.dirty(some);
    const report = await store.tick();
    assertEquals([report.frozen, report.errors], [some.length, []]);
    assertEquals((await store.evict(some)).evicted.length, some.length);
  }

  async function assertBack(store: TundraStore, some = keys): Promise<void> {
    await store.ensureKs(some);
    for (const key of some) assertEquals(await stack.get(key), valueOf(key), key);
    await store.evict(some);
  }

  async function rotateAll(store: TundraStore, options: RotateOptions = {}): Promise<RotateReport & { calls: number }> {
    let [moved, objects] = [0, 0];
    for (let calls = 1;; calls++) {
      assertLessOrEqual(calls, 300, "it does not end");
      const report = await rotate(store, options);
      assertLessOrEqual(report.subrequests, options.maxSubrequests ?? Infinity);
      moved += report.moved;
      objects += report.objects;
      if (report.done) return { ...report, moved, objects, calls };
    }
  }

  async function ids(store: TundraStore): Promise<[Record<string, number>, number]> {
    const report = await status(store);
    assertEquals([report.done, report.failed, report.errors], [true, 0, []]);
    return [{ ...report.ids }, report.plain];
  }

  it("freezes anew what records name, in packs and in objects of their own; then the new key alone suffices", async () => {
    await fill(before({ maxPackedBytes: 1_000 }));
    const store = after();
    assertEquals(await ids(store), [{ a: 5 }, 0]); // the pack with Upper and "", and 4 objects
    const objects = new Map(archive.objects);
    const report = await rotateAll(store);
    assertEquals([report.moved, report.objects, report.failed, report.calls], [keys.length, 5, 0, 1]);
    for (const [name, bytes] of objects) assertEquals(archive.objects.get(name), bytes, `${name} is left alone`);
    await assertBack(only());
    const [found] = await ids(store);
    assertEquals([found.a, found.b! > 0], [5, true]);
    const again = await rotateAll(store);
    assertEquals([again.moved, again.objects], [0, 5 + found.b!]);
    for (const key of ["small:7", "large:1"]) {
      assertEquals((await versions(store, key)).map(({ current, error }) => [current, error]), [[true, undefined]]);
    }
  });

  it("leaves nothing under the old key once a sweep has come, 48 hours and keepMs later", async () => {
    await before().tick();
    const id = String(await stack.raw("GET", "tundra:default:id"));
    const [a, b] = ["a", "b"].map((current) => encrypted({ keys: KEYS, current }));
    const now = await tools.nowUs();
    const [old, rotated] = [oldArchive(archive, now, id, a), oldArchive(archive, now, id, b)];
    const words = await old.pack(30, small.map((key) => ({ key })));
    const own = await old.own(29, { key: "own" });
    const versions = [...words.map((word, i) => ({ key: small[i]!, ver: word.split("@")[0]! })), {
      key: "own",
      ver: own,
    }];
    const moved = await rotated.pack(20, versions);
    const evicted = (ver: string) => ({ ver, flag: "e" as const, fp: "a".repeat(40) });
    await tools.setRecords(Object.fromEntries(versions.map(({ key }, i) => [key, evicted(moved[i]!)])));
    assertEquals(await ids(after()), [{ a: 2, b: 1 }, 0]);
    assertEquals((await rotateAll(after())).moved, 0);
    assertEquals((await sweep(after())).deletedFor, { moved: small.length + 1 });
    assertEquals(await ids(only()), [{ b: 1 }, 0]);
  });

  it("in calls of few requests does what one call does, and goes on where the last one ended", async () => {
    for (let round = 0; round < 6; round++) {
      await fill(before({ packBytes: round % 2 === 0 ? 1_048_576 : 0 }), names(30, `r${round}`));
    }
    const store = after();
    const { calls, moved } = await rotateAll(store, { maxSubrequests: 30 });
    assertEquals(moved, 180);
    assert(calls > 3, String(calls));
    for (let round = 0; round < 6; round++) await assertBack(only(), names(30, `r${round}`));
    assertEquals(await stack.raw("EXISTS", "tundra:default:cursor:rotate"), 0);
    const counted = await status(store);
    let last = await status(store, { maxSubrequests: 30 });
    for (let i = 0; !last.done && i < 100; i++) last = await status(store, { maxSubrequests: 30 });
    assertEquals([last.done, { ...last.ids }], [true, { ...counted.ids }]);
  });

  it("in calls of few requests gets through more keys of shortened names than a call may read", async () => {
    const slow = (current: string) =>
      open(encrypted({ keys: KEYS, current }), { datastore: telling(archive.datastore), packBytes: 0 });
    const long = names(60, "x".repeat(250));
    await fill(slow("a"), long);
    const { calls, moved } = await rotateAll(slow("b"), { maxSubrequests: 50 });
    assertEquals(moved, long.length);
    assertLessOrEqual(calls, 12);
    await assertBack(only(), long);
  });

  it("loses nothing at whichever request it dies, and a further call completes it", async () => {
    const some = [...names(3, "p"), "large:0"];
    for (let at = 0, ended = false; !ended; at += process.versions.deno ? 2 : 5) {
      await stack.flush();
      archive = notedArchive();
      await fill(before({ maxPackedBytes: 1_000 }), some);
      let requests = 0;
      const dying = async (...args: Parameters<typeof fetch>) => {
        if (requests++ >= at) throw new TypeError("dead");
        return await fetch(...args);
      };
      const calls = ["putKey", "fetchKeys", "fetchRanges", "listKeys"] as const;
      const datastore = { ...archive.datastore };
      for (const name of calls) {
        const call = datastore[name] as (...args: unknown[]) => Promise<unknown>;
        Object.assign(datastore, {
          [name]: async (...args: unknown[]) => {
            if (requests++ >= at) throw new TypeError("dead");
            return await call(...args);
          },
        });
      }
      const store = after({ datastore, redis: { fetch: dying, retry: false } });
      ended = (await rotate(store).catch(() => undefined))?.done === true;
      await assertBack(open(encrypted({ keys: KEYS })), some);
      assertEquals((await rotateAll(after())).done, true);
      await assertBack(only(), some);
      assertLessOrEqual(at, 60);
      if (at === 0) assertEquals(ended, false);
    }
  });

  it("changes nothing in a dry run, and says what it would move", async () => {
    await fill(before());
    const report = await changesNothing(stack, () => rotate(after(), { dryRun: true }), archive.objects);
    assertEquals([report.done, report.moved], [true, keys.length]);
  });

  it("moves neither what no record names nor what was removed: no removed value lives longer for it", async () => {
    const store = before();
    await fill(store);
    await store.ensureKs(small);
    for (const key of small) await stack.raw("SET", key, "newer");
    await store.dirty(small);
    await store.tick();
    await store.del(...large);
    await store.tick();
    const report = await rotateAll(after());
    assertEquals(report.moved, small.length + 2); // Upper and ""
    assertEquals((await versions(after(), "small:1")).length, 2);
  });

  it("takes no change back that comes between its copy and its note", async () => {
    await fill(before());
    const datastore = {
      ...archive.datastore,
      async putKey(...args: Parameters<NotedArchive["datastore"]["putKey"]>) {
        const put = await archive.datastore.putKey(...args);
        if (!args[0].includes("~packs")) return put;
        await after().ensureKs("small:1");
        await stack.raw("SET", "small:1", "newer");
        await after().dirty("small:1");
        await after().tick();
        return put;
      },
    };
    await rotate(after({ datastore }));
    await after().evict("small:1");
    await only().ensureKs("small:1");
    assertEquals(await stack.get("small:1"), "newer");
    await assertBack(only(), small.slice(2));
  });

  it("reports what is damaged, moves the rest, and leaves the damaged one where it is", async () => {
    await fill(before({ maxPackedBytes: 1_000 }), [...names(700, "p"), ...large]);
    const [pack] = archive.packs();
    const entries = await entriesOfPack(archive.objects.get(pack!)!, pack!, encrypted({ keys: KEYS }));
    const hurt = entries[0]!;
    archive.objects.get(pack!)![hurt.offset + hurt.length - 1]! ^= 1;
    const own = archive.own().find((name) => name.includes("large.3A2"))!;
    archive.objects.get(own)![200]! ^= 1;
    const store = after();
    const report = await rotateAll(store);
    const lost = entries.filter(({ offset }) => offset === hurt.offset).map(({ key }) => key);
    assertEquals(report.moved, 704 - lost.length - 1);
    assertEquals(report.failed, 2);
    assertEquals(new Set(report.errors.map(({ code }) => code)), new Set(["CORRUPT"]));
    await assertBack(only(), ["large:0", ...names(700, "p").filter((key) => !lost.includes(key)).slice(0, 50)]);
  });

  it("of one tenant moves the blocks of that one, and each new block holds one tenant's values", async () => {
    const master = { a: masterKey(1), t0: masterKey(2), t1: masterKey(3), t1b: masterKey(4) };
    const tenant = (next: string) => (key: string) => key < "k:3" ? "t0" : key < "k:6" ? next : undefined;
    await fill(open(encrypted({ keys: master, keyFor: tenant("t1") })), names(9));
    const store = open(encrypted({ keys: master, keyFor: tenant("t1b") }));
    assertEquals(await ids(store), [{ a: 1, t0: 1, t1: 1 }, 0]);
    assertEquals((await rotateAll(store)).moved, 3);
    const { t1: _gone, ...rest } = master;
    await assertBack(open(encrypted({ keys: rest, keyFor: tenant("t1b") })), names(9));
    const { a: _a, ...others } = { ...rest, c: masterKey(9) };
    const moving = open(encrypted({ keys: { ...others, ...master }, current: "c", keyFor: tenant("t1b") }));
    assertEquals((await rotateAll(moving)).moved, 9);
    const [found] = await ids(moving);
    assertEquals(found.c, 1);
    await assertBack(open(encrypted({ keys: others, current: "c", keyFor: tenant("t1b") })), names(9));
    const missing = open(encrypted({ keys: { ...others, ...master }, current: "c", keyFor: tenant("nobody") }));
    const report = await rotateAll(missing);
    assertEquals([report.failed, report.errors[0]!.code], [3, "UNSUPPORTED"]);
    assertStringIncludes(report.errors[0]!.message, '"nobody"');
  });

  it("encrypts an archive that was not encrypted", async () => {
    await fill(open([deflateFreezer()]));
    const store = open(encrypted({ acceptPlain: true }));
    const [, plain] = await ids(store);
    assert(plain > 0);
    assertEquals((await rotateAll(store)).moved, keys.length);
    await assertBack(open(encrypted()));
  });

  it("works without ranges too: each version has a pack of its own", async () => {
    const { fetchRanges: _none, ...datastore } = archive.datastore;
    await fill(before({ datastore, packBytes: 0 }));
    const store = after({ datastore, packBytes: 0 });
    assertEquals(await ids(store), [{ a: keys.length }, 0]);
    assertEquals((await rotateAll(store)).moved, keys.length);
    assertEquals(archive.packs().length, keys.length);
    await assertBack(open(encrypted({ keys: { b: masterKey(2) }, current: "b" }), { datastore, packBytes: 0 }));
  });

  it("without ranges sends no more requests than a call may", async () => {
    let sent = 0;
    const { putKey, fetchKeys, deleteKeys, listKeys } = archive.datastore;
    const tell = (requests: number, options?: DatastoreCallOptions) => {
      for (let i = 0; i < requests; i++) {
        options?.onRequest?.();
        sent++;
      }
    };
    const datastore: Datastore = {
      putKey: (...args) => (tell(1, args[2]), putKey(...args)),
      fetchKeys: (...args) => (tell(args[0].length, args[1]), fetchKeys(...args)),
      deleteKeys: (...args) => (tell(1, args[1]), deleteKeys(...args)),
      listKeys: (...args) => (tell(1, args[2]), listKeys(...args)),
    };
    const some = names(100);
    await fill(before({ datastore, packBytes: 0 }), some);
    const store = after({ datastore, packBytes: 0 });
    for (const maxSubrequests of [30, 50, 100]) {
      await stack.server.resetCounters();
      sent = 0;
      const { subrequests, moved } = await rotate(store, { maxSubrequests });
      assertEquals(subrequests, sent + stack.server.requests);
      assertLessOrEqual(subrequests, maxSubrequests);
      assertEquals(moved > 0, true);
    }
    await rotateAll(store, { maxSubrequests: 100 });
    assertEquals((await rotate(store)).moved, 0);
  });

  it("counts what cannot be read as failed: then no key may go", async () => {
    await fill(before());
    archive.objects.set("default/odd/1764000000000001-0a1b2c3d", new Uint8Array(500));
    const blind = only();
    const report = await status(blind);
    assertEquals([report.done, report.failed > 1, report.errors.length > 1], [true, true, true]);
    assertEquals(new Set(report.errors.map(({ code }) => code)), new Set(["CORRUPT", "UNSUPPORTED"]));
  });

  describe("a count that a bound has interrupted", () => {
    const memory = () => {
      const { open, pass } = storeOnModel(archive.datastore);
      return { store: open({ freezer: encrypted({ keys: KEYS }), packBytes: 0 }), open, pass };
    };
    const put = async (store: TundraStore, some: string[], value: string) => {
      await store.redis.mset(Object.fromEntries(some.map((key) => [key, value])));
      await store.dirty(some);
      while (!(await store.tick()).done);
    };
    const counted = async (store: TundraStore) => {
      for (let calls = 1;; calls++) {
        assertLessOrEqual(calls, 100, "it does not end");
        const report = await status(store, { maxSubrequests: 40 });
        if (report.done) return { ...report.ids };
      }
    };
    const [first, ...others] = names(60);

    it("begins anew half a day after its beginning, however often it was called: what came since does not count", async () => {
      const { store, pass, open } = memory();
      await put(store, [first!, ...others], "one");
      for (const hours of [0, 5, 5]) {
        pass(hours * HOUR_US);
        assertEquals((await status(store, { maxSubrequests: 12 })).done, false);
      }
      const keyFor = (key: string) => key === first ? "b" : "a"; // of one tenant, which then has another key
      await put(open({ freezer: encrypted({ keys: KEYS, keyFor }), packBytes: 0 }), [first!], "two");
      pass(3 * HOUR_US);
      assertEquals(await counted(store), { a: 60, b: 1 });
    });

    it("begins anew if the present key is another one by then", async () => {
      const { store, open } = memory();
      await put(store, [first!, ...others], "one");
      assertEquals((await status(store, { maxSubrequests: 12 })).done, false);
      const rotated = open({ freezer: encrypted({ keys: KEYS, current: "b" }), packBytes: 0 });
      await put(rotated, [first!], "two");
      assertEquals(await counted(rotated), { a: 60, b: 1 });
    });
  });

  it("refuses a store without encryption, with another freezer behind it, with lookInArchive, and a lost index", async () => {
    await fill(before());
    const last: Freezer = { id: "last", freeze: (bytes) => bytes, thaw: (bytes) => bytes };
    const behind = open([aesGcmFreezer({ keys: KEYS, current: "a" }), last]);
    for (const act of [rotate, status]) {
      await tundraError("UNSUPPORTED", () => act(open([deflateFreezer()])));
      await tundraError("UNSUPPORTED", () => act(behind));
      await tundraError("BAD_ARGUMENT", () => act(after(), { most: 1 } as never));
      await tundraError("BAD_ARGUMENT", () => act({} as never));
    }
    await tundraError("UNSUPPORTED", () => rotate(after({ lookInArchive: true, packBytes: 0 })));
    await stack.raw("DEL", "tundra:default:id");
    for (const act of [rotate, status]) await tundraError("LOST", () => act(after()));
  });
});
