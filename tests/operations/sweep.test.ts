/**
 * Sweeps on a real Redis and an archive whose versions are of days ago.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import type { DatastoreCallOptions, TundraStore } from "../../mod.ts";
import { sweep, type SweepOptions, type SweepReport, versions } from "../../src/operations/mod.ts";
import { sweepArchive } from "../../src/operations/sweep.ts";
import { holderName, placeOf } from "../../src/archive/place.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { contextOf } from "../../src/core/context.ts";
import { names, tundraError, versionsIn, withArchive } from "../support/fixtures.ts";
import { withIndex } from "../support/index.ts";
import { changesNothing, costOf } from "../support/operations.ts";
import { type OldArchive, oldArchive } from "../support/old_archive.ts";
import { type NotedArchive, notedArchive } from "../support/packs.ts";
import { DAY_MS } from "../support/times.ts";

describe("sweep()", () => {
  const stack = withArchive();
  const tools = withIndex(stack);
  let archive: NotedArchive;
  let store: TundraStore;
  let old: OldArchive;
  let id: string;

  beforeEach(async () => {
    await stack.flush();
    archive = notedArchive();
    store = stack.store({ datastore: archive.datastore });
    await store.tick(); // gives the index its id
    id = String(await stack.raw("GET", "tundra:default:id"));
    old = oldArchive(archive, await tools.nowUs(), id);
  });

  /** Evicted keys whose records name these versions. */
  async function evicted(words: Record<string, string>): Promise<void> {
    const record = (ver: string) => ({ ver, flag: "e" as const, fp: "a".repeat(40) });
    await tools.setRecords(Object.fromEntries(Object.entries(words).map(([key, ver]) => [key, record(ver)])));
  }

  /** Sweeps to the end, in calls with these options, and so many notes in memory. */
  async function sweepAll(options: SweepOptions = {}, mostNotes?: number): Promise<SweepReport & { calls: number }> {
    const sums = { deleted: 0, moved: 0, kept: 0, objects: 0 };
    for (let calls = 1;; calls++) {
      assertLessOrEqual(calls, 200, "it does not end");
      const report = await sweepArchive(contextOf("sweep", store), options, mostNotes);
      assertLessOrEqual(report.subrequests, options.maxSubrequests ?? Infinity);
      for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += report[name];
      if (report.done) return { ...report, ...sums, calls };
    }
  }

  const withoutPlace = (version: string) => version.split("@")[0]!;
  const left = () => archive.names().map((name) => name.replace("default/", ""));

  describe("of objects of keys' own", () => {
    it("deletes what was superseded longer ago than keepMs and 48 hours, and keeps what was later", async () => {
      for (const days of [20, 10, 8]) await old.own(days, { key: "k" });
      await evicted({ k: await old.own(9.5, { key: "k" }) });
      const report = await sweepAll();
      assertEquals([report.deleted, report.objects, report.deletedFor], [2, 2, { superseded: 2 }]);
      // 8 days: newer than what is named, so it may be the last copy of an acknowledged value
      assertEquals([left().length, report.keptFor], [2, { named: 1, orphan: 1 }]);
    });

    it("keeps everything as long as the version that is named is younger than 48 hours and keepMs", async () => {
      await old.own(20, { key: "k" });
      await evicted({ k: await old.own(8.9, { key: "k" }) });
      assertEquals((await sweepAll()).deleted, 0);
      assertEquals((await sweepAll({ keepMs: 6 * DAY_MS })).deleted, 1);
    });

    it("keeps what is named, however old, and what is newer for keepOrphansMs", async () => {
      await old.own(29, { key: "k" });
      await evicted({ k: await old.own(400, { key: "k" }) });
      assertEquals((await sweepAll()).deleted, 0);
      const report = await sweepAll({ keepOrphansMs: 28 * DAY_MS });
      assertEquals([report.deleted, report.deletedFor], [1, { orphan: 1 }]);
    });

    it("deletes what nothing names after keepOrphansMs, the newest one only once it is the oldest", async () => {
      await old.own(40, { key: "k" });
      await old.own(35, { key: "k" });
      await old.own(10, { key: "young" });
      assertEquals([(await sweepAll()).deleted, left().length], [1, 2]);
      assertEquals([(await sweepAll()).deleted, left()], [1, [`young/${old.version(10)}`]]);
    });

    it("deletes versions of a key that changes all the time, by what its versions say was named before", async () => {
      let prev = "";
      for (let days = 20; days > 0; days -= 0.5) prev = await old.own(days, { key: "hot", prev });
      await evicted({ hot: prev });
      const report = await sweepAll();
      // the newest one that is 9 days old names the one before: all before that go
      assertEquals([report.deleted, left().length, report.deletedFor], [21, 19, { superseded: 21 }]);
      assertEquals((await sweepAll()).deleted, 0);
    });

    it("keeps a version of such a key that Redis has gone back to", async () => {
      const first = await old.own(20, { key: "hot" });
      const lost = await old.own(19, { key: "hot", prev: first });
      await old.own(18, { key: "hot", prev: lost }); // then Redis forgot both
      await evicted({ hot: await old.own(1, { key: "hot", prev: first }) });
      assertEquals((await sweepAll()).deleted, 0);
    });

    it("does not fail if another sweep has deleted what a call reads that was frozen past its deadline", async () => {
      let prev = await old.own(30, { key: "hot" });
      for (let days = 29; days >= 1; days--) prev = await old.own(days, { key: "hot", prev });
      await evicted({ hot: prev });
      let aheadMs = 0;
      const racing = stack.store({
        datastore: {
          ...archive.datastore,
          async fetchKeys(names, ...rest) {
            for (const name of names) {
              if (name.includes("/hot/") && archive.objects.delete(name)) aheadMs = 60_000;
            }
            return await archive.datastore.fetchKeys(names, ...rest);
          },
        },
      });
      setPlatform({ ...PLATFORM, monotonicMs: () => PLATFORM.monotonicMs() + aheadMs });
      try {
        const { done, errors } = await sweep(racing);
        assertEquals([aheadMs > 0, done, errors], [true, false, []]);
      } finally {
        setPlatform();
      }
    });

    it("keeps a version of a key made anew if its removal came after a sweep had passed that place, a day ago", async () => {
      const [other] = await old.pack(50, [{ key: "other" }]);
      const [word] = await old.pack(60, [{ key: "k" }]);
      await evicted({ other: other!, k: word! });
      assertEquals((await sweep(store, { maxKeys: 1 })).done, false); // it has come to the pack of 60 days ago
      await old.pack(1.25, [{ key: "k", gone: true }]); // Redis may go back to before that
      await stack.raw("DEL", "tundra:default:rec:k");
      await stack.raw("SET", "k", "anew");
      await store.dirty("k");
      const { keptFor } = await sweepAll();
      assertEquals([keptFor.removed, archive.packs().length], [1, 3], JSON.stringify(keptFor));
    });

    it("takes a tombstone whose record has ended: if Redis goes back to that, the key is gone all the same", async () => {
      const ver = await old.own(2.1, { key: "k", gone: true });
      assertEquals((await sweepAll({ keepOrphansMs: 2 * DAY_MS })).deletedFor, { tombstone: 1 });
      await tools.setRecords({ k: { ver, flag: "g" } });
      await store.ensureKs("k");
      assertEquals([await stack.exists("k"), (await store.tick()).errors, (await sweepAll()).errors], [0, [], []]);
      await stack.raw("SET", "k", "anew");
      await store.dirty("k");
      assertEquals([(await store.tick()).frozen, left().length], [1, 1]);
    });

    it("keeps objects whose names are not understood, and those of records of another layout", async () => {
      archive.objects.set("default/k/readme", new Uint8Array(1));
      archive.objects.set("default/%/1600000000000000-00000000", new Uint8Array(1));
      await old.own(100, { key: "odd" });
      await tools.setRecords({ odd: "3 whatever" });
      const report = await sweepAll({ keepOrphansMs: 2 * DAY_MS });
      assertEquals([report.deleted, left().length, report.keptFor], [0, 3, { unsupported: 1 }]);
      assertEquals(report.errors.map(({ name }) => name).sort(), [
        "default/%/1600000000000000-00000000",
        "default/k/readme",
      ]);
    });

    it("knows keys whose names are shortened", async () => {
      const key = "Long".repeat(200);
      await old.own(20, { key });
      await evicted({ [key]: await old.own(10, { key }) });
      assertEquals((await sweepAll()).deleted, 1);
    });
  });

  describe("of packs", () => {
    it("deletes a pack once none of its versions is needed, and not before", async () => {
      await old.pack(20, [{ key: "a" }, { key: "b" }, { key: "c" }, { key: "d" }]);
      const [a, b] = await old.pack(15, [{ key: "a" }, { key: "b" }]);
      const [c, d] = await old.pack(8, [{ key: "c" }, { key: "d" }]);
      await evicted({ a: a!, b: b!, c: c!, d: d! });
      assertEquals([(await sweepAll()).deleted, archive.packs().length], [0, 3]);
      const report = await sweepAll({ keepMs: 5 * DAY_MS });
      assertEquals([report.deleted, report.objects, archive.packs().length], [4, 1, 2]);
    });

    it("moves what lives out of a pack of which less than half is needed, and deletes that 48 hours and keepMs later", async () => {
      const words = await old.pack(20, names(10).map((key) => ({ key })));
      const later = await old.pack(15, names(6).map((key) => ({ key })));
      await evicted(Object.fromEntries(names(10).map((key, i) => [key, later[i] ?? words[i]!])));
      const before = archive.packs();
      const report = await sweepAll();
      assertEquals([report.moved, report.deleted, archive.packs().length], [4, 0, 3]);
      const moved = archive.packs().find((name) => !before.includes(name))!;
      for (const key of names(10).slice(6)) {
        const { ver, pack } = placeOf((await stack.record(key))!.ver);
        assertEquals([ver, `default/~packs/${pack}`], [old.version(20), moved]);
      }
      assertEquals([(await sweepAll()).moved, archive.packs().length], [0, 3]); // it waits
    });

    it("moves at most 2,000 versions into a pack, however small they are", async () => {
      const keys = names(5_000);
      const words = await old.pack(20, keys.map((key) => ({ key, dump: new Uint8Array(1) })));
      await old.pack(3, keys.slice(4_500).map((key) => ({ key, gone: true })));
      await evicted(Object.fromEntries(keys.slice(0, 4_500).map((key, i) => [key, words[i]!])));
      assertEquals((await sweepAll()).moved, 4_500);
      const sizes = await Promise.all(
        archive.packs().slice(2).map(async (pack) => (await archive.entries(pack)).length),
      );
      assertEquals(sizes.sort(), [2_000, 2_000, 500]);
    });

    it("deletes what was moved once the new place is old", async () => {
      const [, last] = await old.pack(20, [{ key: "a" }, { key: "b" }, { key: "c" }]);
      const [moved] = await old.pack(9.1, [{ key: "b", ver: placeOf(last!).ver }]);
      const [a, c] = await old.pack(12, [{ key: "a" }, { key: "c" }]);
      await evicted({ a: a!, b: moved!, c: c! });
      const report = await sweepAll();
      assertEquals([report.deletedFor, archive.packs().length], [{ superseded: 2, moved: 1 }, 2]);
    });

    it("removes every trace of deleted keys 48 hours after their tombstones, wherever they lie", async () => {
      const keys = names(100);
      await old.pack(300, keys.map((key) => ({ key })));
      const words = await old.pack(20, keys.map((key) => ({ key })));
      await old.pack(5, keys.slice(1).map((key) => ({ key, gone: true })));
      await evicted({ [keys[0]!]: words[0]! });
      const first = await sweepAll();
      // of the older pack nothing is needed; of the other one the version that lives is moved
      assertEquals([first.moved, first.deletedFor], [1, { removed: 99, superseded: 1 }]);
      // as if 48 hours had passed
      const moved = archive.packs().at(-1)!;
      const aged = await old.pack(2.1, (await archive.entries(moved)).map(({ key, ver }) => ({ key, ver })));
      archive.objects.delete(moved);
      await evicted({ [keys[0]!]: aged.find((word) => word.startsWith(old.version(20)))! });
      const second = await sweepAll();
      assertEquals([second.objects, second.deletedFor], [1, { removed: 99, moved: 1 }]);
      assertEquals(archive.packs().length, 2); // the tombstones, and what lives
    });

    it("removes every trace of deleted keys, also of more than it has room for notes of", async () => {
      for (const options of [{}, { maxSubrequests: 30 }]) {
        for (const name of archive.names()) archive.objects.delete(name);
        const keys = names(40);
        const words: Record<string, string> = {};
        for (let i = 0; i < 5; i++) {
          const some = [...keys.slice(8 * i, 8 * i + 8), `lives${i}`];
          words[`lives${i}`] = (await old.pack(6 + i, some.map((key) => ({ key })))).at(-1)!;
        }
        await old.pack(5.5, [{ key: "anew", prev: "" }, { key: "beside" }]);
        words.anew = (await old.pack(2.1, [{ key: "anew" }, { key: "beside" }]))[0]!;
        for (const from of [0, 20]) {
          const gone = [...keys.slice(from, from + 20), ...(from === 0 ? [] : ["anew"])];
          await old.pack(5 - from / 10, gone.map((key) => ({ key, gone: true })));
        }
        await evicted(words);
        const before = archive.packs();
        assertEquals((await sweepAll(options, 10)).moved, 6); // lives0 to lives4, and the first "beside"
        const moved = archive.packs().filter((name) => !before.includes(name));
        const held = (await Promise.all(moved.map((name) => archive.entries(name)))).flat().map(({ key }) => key);
        assertEquals(held.sort(), ["beside", ...[0, 1, 2, 3, 4].map((i) => `lives${i}`)]);
        assertEquals((await sweepAll(options, 10)).moved, 0);
      }
    });

    it("removes a deleted key's value that was moved to a pack younger than its tombstone's", async () => {
      await old.pack(4, ["k", "anew", "late"].map((key) => ({ key, gone: true })));
      const words = await old.pack(3, ["k", "anew", "late", "x"].map((key) => ({ key, ver: old.version(6) })));
      const [late] = await old.pack(2.9, [{ key: "late", ver: old.version(3.5) }, { key: "y" }]); // made anew since
      await evicted({ x: words[3]!, anew: await old.own(3.5, { key: "anew" }), late: late! });
      await old.pack(2.5, names(5).map((key) => ({ key, gone: true })));
      for (const [options, mostNotes] of [[{}], [{ maxSubrequests: 20 }], [{}, 5]] as const) {
        const before = archive.packs();
        await sweepAll(options, mostNotes);
        const [moved = ""] = archive.packs().filter((name) => !before.includes(name));
        assertEquals((await archive.entries(moved)).map(({ key }) => key), ["x"]);
        archive.objects.delete(moved);
        await evicted({ x: words[3]! }); // as it was
      }
    });

    it("removes a deleted key's value from a pack from which it was moved before, without keepMs", async () => {
      await old.pack(6, [{ key: "k" }, { key: "x" }]);
      const [, x] = await old.pack(5, ["k", "x"].map((key) => ({ key, ver: old.version(6) })));
      await old.pack(4, [{ key: "k", gone: true }, { key: "beside", gone: true }]);
      await evicted({ x: x! });
      const report = await sweepAll();
      assertEquals([report.moved, report.deletedFor], [1, { removed: 1, moved: 1 }]);
    });

    it("counts the 48 hours from a removal on, also if its tombstone is moved each day; a marker's from its pack on", async () => {
      const [k] = await old.pack(20, [{ key: "k" }, { key: "j" }]);
      const us = Number(old.version(20).slice(0, 16));
      const marker = `${String(us + 1).padStart(16, "0")}-00000000`;
      const tombstones = [
        { key: "k", ver: old.version(6), gone: true as const },
        { key: "j", ver: marker, prev: k!.replace(/@.*/, ""), gone: true as const },
      ];
      await old.pack(1, [...tombstones, { key: "x" }]);
      assertEquals((await sweepAll()).deleted, 0); // for j
      await old.pack(21, [{ key: "k" }, { key: "k", ver: old.version(22) }]);
      assertEquals((await sweepAll()).deletedFor, { removed: 2 });
      await old.pack(2.5, [...tombstones, { key: "y" }]); // where it was before
      assertEquals((await sweepAll()).deletedFor, { removed: 2 });
    });

    it("removes deleted keys' own objects, also of more than it has room for notes of", async () => {
      const keys = names(25);
      for (const key of keys) await old.own(8, { key });
      await old.pack(5, keys.map((key) => ({ key, gone: true })));
      assertEquals((await sweepAll({}, 10)).deletedFor, { removed: 25 });
    });

    it("moves nothing again that lies in a younger pack, also of more than it has room for notes of", async () => {
      const keys = names(40);
      await old.pack(6, [...keys, "removed"].map((key) => ({ key })));
      await old.pack(5, [{ key: "removed", gone: true }, { key: "beside", gone: true }]);
      await old.pack(3, keys.map((key) => ({ key, ver: old.version(6) })));
      const report = await sweepAll({}, 10);
      assertEquals([report.moved, report.deletedFor], [0, { removed: 1, moved: 40 }]);
    });

    it("keeps what was removed if the key was made anew from it: what the record names stays", async () => {
      const [a] = await old.pack(20, [{ key: "a" }, { key: "b" }]);
      await old.pack(10, [{ key: "a", gone: true }, { key: "b", gone: true }]);
      await evicted({ a: a! }); // Redis went back to before the removal
      const report = await sweepAll();
      assertEquals([report.deleted, report.moved], [0, 1]);
    });

    it("takes a removal that a tick inferred for superseding only", async () => {
      await old.pack(20, [{ key: "a" }, { key: "b" }]);
      await old.pack(8, [{ key: "a", gone: "inferred" }, { key: "b", gone: "inferred" }]);
      const { deleted, keptFor } = await sweepAll({ keepOrphansMs: 15 * DAY_MS }); // nor for orphans
      assertEquals([deleted, keptFor], [0, { superseded: 2, tombstone: 2 }]);
      const report = await sweepAll({ keepMs: 5 * DAY_MS });
      assertEquals([report.deleted, report.deletedFor], [2, { superseded: 2 }]);
    });

    it("deletes tombstones after keepOrphansMs, once no older version of their keys is left", async () => {
      const [, b] = await old.pack(90, [{ key: "a" }, { key: "b" }, { key: "c" }]);
      const [c] = await old.pack(80, [{ key: "c" }, { key: "d" }]);
      await old.pack(50, [{ key: "a", gone: true }, { key: "d", gone: true }]);
      const alone = await old.own(50, { key: "e", gone: true });
      await evicted({ b: b!, c: c! });
      const first = await sweepAll();
      // a and d have older versions still
      assertEquals([first.deletedFor, left().includes(`e/${alone}`), archive.packs().length], [
        { tombstone: 1 },
        false,
        4,
      ]);
    });

    it("keeps a tombstone that the record named less than 48 hours ago, unless the key's versions say otherwise", async () => {
      const tombstone = await old.own(4, { key: "k", gone: true });
      let prev = await old.own(1, { key: "k", prev: tombstone });
      await evicted({ k: prev });
      const options = { keepMs: 0, keepOrphansMs: 2 * DAY_MS };
      assertEquals((await sweepAll(options)).deleted, 0);
      const [hot] = await old.pack(30, [{ key: "hot", gone: true }, { key: "beside", gone: true }]);
      prev = hot!;
      for (const days of [20, 3, 1]) [prev = ""] = await old.pack(days, [{ key: "hot", prev }, { key: "y" }]);
      await evicted({ hot: prev });
      assertEquals((await sweepAll(options)).deletedFor, { tombstone: 2 });
    });

    it("deletes what expired, unless an older version would become its key's newest", async () => {
      const exp = Date.now() - 3 * DAY_MS;
      await old.pack(20, [{ key: "a", exp }, { key: "b", exp }]);
      assertEquals((await sweepAll()).deletedFor, { expired: 2 });
      await old.pack(25, [{ key: "a" }, { key: "b" }]);
      await old.pack(20, [{ key: "a", exp }, { key: "b", exp }]);
      assertEquals((await sweepAll()).deleted, 0);
      assertEquals((await sweepAll({ keepOrphansMs: 24 * DAY_MS })).deletedFor, { orphan: 2 });
      assertEquals((await sweepAll()).deletedFor, { expired: 2 });
    });

    it("deletes a pack with several versions of one key at once, though none of them is the last one", async () => {
      const exp = Date.now() - 3 * DAY_MS;
      await old.pack(4, [20, 21].map((days) => ({ key: "a", ver: old.version(days), exp })));
      assertEquals((await sweepAll()).deletedFor, { expired: 2 });
    });

    it("keeps a pack of which a block is damaged, and its directory, and says so", async () => {
      const words = await old.pack(20, names(10).map((key) => ({ key })));
      const later = await old.pack(15, names(6).map((key) => ({ key })));
      await evicted(Object.fromEntries(names(10).map((key, i) => [key, later[i] ?? words[i]!])));
      const [pack] = archive.packs();
      archive.objects.get(pack!)![60]! ^= 1;
      const report = await sweepAll();
      assertEquals([report.moved, archive.packs().length, report.errors.map(({ code }) => code)], [0, 2, ["CORRUPT"]]);
      const bytes = archive.objects.get(pack!)!;
      bytes[bytes.length - 1]! ^= 1;
      assertEquals((await sweepAll({ keepMs: 0, keepOrphansMs: 2 * DAY_MS })).objects, 0);
    });
  });

  describe("and Redis that goes back", () => {
    /** The payload of a text. */
    async function dumpOf(text: string): Promise<Uint8Array> {
      await stack.raw("SET", "scratch", text);
      const dump = new Uint8Array(await stack.raw("DUMP", "scratch") as Uint8Array);
      await stack.raw("DEL", "scratch");
      return dump;
    }

    it("by three days, to a backup: what was evicted then comes back as it was, what is deleted is absent", async () => {
      const dump = await dumpOf("as it was");
      const all = ["same", "changed", "moved", "deleted", "a", "b", "c", "d"];
      const then = await old.pack(20, all.map((key) => ({ key, dump })));
      const ofThen = Object.fromEntries(all.map((key, i) => [key, then[i]!]));
      // since then
      const changed = await old.own(2.5, { key: "changed", prev: ofThen["changed"]!, dump });
      await old.pack(2.9, ["deleted", "a", "b", "c", "d"].map((key) => ({ key, gone: true, prev: ofThen[key]! })));
      const { same, moved } = ofThen;
      await evicted({ same: same!, moved: moved!, changed });
      await sweepAll(); // moves what lives and the version before
      const [first, second] = archive.packs();
      assert(second !== undefined);
      const words = await tools.readRecord("moved");
      assert(words.ver.split("@")[1]!.length > 10, words.ver);
      // as if that move had been 2.2 days ago: the next sweep deletes the old pack
      const entries = (await archive.entries(archive.packs().at(-1)!)).map(({ key, ver }) => ({ key, ver, dump }));
      archive.objects.delete(archive.packs().at(-1)!);
      const aged = await old.pack(2.2, entries);
      await evicted({ ...Object.fromEntries(entries.map(({ key }, i) => [key, aged[i]!])), changed });
      await sweepAll();
      assertEquals(archive.objects.has(first!), false);
      // the backup
      await stack.raw("FLUSHDB");
      for (const [name, value] of [["id", id], ["tick", "5"]]) await stack.raw("SET", `tundra:default:${name}`, value!);
      await evicted(ofThen);
      await store.ensureKs(all);
      const found = Object.fromEntries(await Promise.all(all.map(async (key) => [key, await stack.get(key)])));
      const gone = Object.fromEntries(["deleted", "a", "b", "c", "d"].map((key) => [key, null]));
      assertEquals(found, { same: "as it was", changed: "as it was", moved: "as it was", ...gone });
      // what was archived since then is shown
      const shown = (await versions(store, "changed")).map((
        { version, current, orphan },
      ) => [version, current, orphan]);
      assertEquals(shown, [[changed, false, true], [withoutPlace(ofThen["changed"]!), true, false]]);
    });

    it("behind a move: records name the old pack again, and it is still there", async () => {
      const dump = await dumpOf("value");
      const keys = names(9);
      const words = await old.pack(20, [...keys, "x", "y"].map((key) => ({ key, dump })));
      await old.pack(1, keys.slice(0, 8).map((key) => ({ key, gone: true })));
      const before = { [keys[8]!]: words[8]!, x: words[9]!, y: words[10]! };
      await evicted(before);
      assertEquals((await sweepAll()).moved, 3);
      await evicted(before);
      assertEquals((await sweepAll()).deleted, 0);
      await store.ensureKs(keys[8]!, "x", "y");
      assertEquals(await stack.get("x"), "value");
    });

    it("to a value whose removal it had forgotten: what was written anew since then comes back", async () => {
      const removed = await old.own(10, { key: "k", dump: await dumpOf("removed") });
      await old.own(2.5, { key: "k", gone: true, prev: removed }); // Redis forgot this removal by the next moment
      await evicted({ k: await old.own(1.4, { key: "k", prev: removed, dump: await dumpOf("written anew") }) });
      assertEquals((await sweepAll()).deletedFor, { removed: 1 });
      await evicted({ k: removed });
      await store.ensureKs("k");
      assertEquals(await stack.get("k"), "written anew");
    });

    it("is no matter to a call that has read a record before its pack was moved and deleted", async () => {
      const dump = await dumpOf("value");
      const words = await old.pack(20, ["k", "l", "m"].map((key) => ({ key, dump })));
      const [moved] = await old.pack(3, [{ key: "k", ver: old.version(20), dump }]);
      await evicted({ k: words[0]! });
      const { fetchRanges } = archive.datastore;
      let swept = false;
      const racing = stack.store({
        datastore: {
          ...archive.datastore,
          async fetchRanges(...args) {
            if (!swept) {
              swept = true;
              await evicted({ k: moved! });
              archive.objects.delete(`default/~packs/${old.version(20)}`);
            }
            return await fetchRanges(...args);
          },
        },
      });
      await racing.ensureKs("k");
      assertEquals([await stack.get("k"), (await stack.record("k"))!.ver, swept], ["value", moved, true]);
    });
  });

  it("leaves another queue's objects alone, and those of a store that it is a copy of", async () => {
    const other = stack.store({ datastore: archive.datastore, tqname: "other" });
    await stack.raw("SET", "k", "1");
    await other.dirty("k");
    await other.tick();
    const before = new Map(archive.objects);
    assertEquals((await sweepAll({ keepMs: 0, keepOrphansMs: 2 * DAY_MS })).kept, 0);
    assertEquals(new Map(archive.objects), before);
  });

  it("keeps packs that another index has put, and takes those of a former one for its own", async () => {
    const id = String(await stack.raw("GET", "tundra:default:id"));
    const foreign = oldArchive(archive, await tools.nowUs(), "another@redis.example");
    await foreign.pack(40, [{ key: "a" }, { key: "b" }]);
    const report = await sweepAll();
    assertEquals([report.deleted, report.errors.length], [0, 1]);
    assert(report.errors[0]!.message.includes("another@redis.example"), report.errors[0]!.message);
    archive.objects.set("default/~former/another", new TextEncoder().encode("another@redis.example"));
    assertEquals([(await sweepAll()).deletedFor, id.includes("another")], [{ orphan: 2 }, false]);
  });

  it("deletes nothing if the index is gone, not confirmed, a copy, or not the archive's owner", async () => {
    await old.own(20, { key: "k" });
    await evicted({ k: await old.own(10, { key: "k" }) });
    const owner = archive.objects.get(`default/~owner/${id.split("@")[0]}`)!;
    for (const wrong of ["", `new:${id}`, id.replace(/@.*/, "@elsewhere"), id.replace(/^./, "x")]) {
      await stack.raw("SET", "tundra:default:id", wrong);
      await tundraError("LOST", () => sweep(store));
    }
    await stack.raw("SET", "tundra:default:id", id);
    archive.objects.delete(`default/~owner/${id.split("@")[0]}`);
    await tundraError("LOST", () => sweep(store));
    assertEquals(left().length, 2);
    archive.objects.set(`default/~owner/${id.split("@")[0]}`, owner);
    assertEquals((await sweepAll()).deleted, 1);
  });

  describe("looks once more before it deletes", () => {
    /** Sweeps an archive; `meanwhile` happens before its last question: whose the archive is. */
    async function sweepBeside(meanwhile: () => Promise<void> | void): Promise<SweepReport> {
      let questions = 0;
      const { datastore } = archive;
      const racing = stack.store({
        datastore: {
          ...datastore,
          async fetchKeys(names, ...rest) {
            if (names.some((name) => name.includes("~owner")) && ++questions === 2) await meanwhile();
            return await datastore.fetchKeys(names, ...rest);
          },
        },
      });
      return await sweep(racing, { deadlineMs: 10 * 60_000 });
    }

    it("at the records: what is named since it was gathered stays", async () => {
      const orphan = await old.own(40, { key: "k" });
      const { datastore } = archive;
      const racing = stack.store({
        datastore: {
          ...datastore,
          async listKeys(prefix, ...rest) {
            if (prefix.includes("~packs")) await evicted({ k: orphan }); // as a rebuild does
            return await datastore.listKeys!(prefix, ...rest);
          },
        },
      });
      const { deleted, keptFor } = await sweep(racing);
      assertEquals([deleted, keptFor, left().length], [0, { named: 1 }, 1]);
    });

    it("at the clock: nothing goes by a look of more than a minute ago", async () => {
      await old.own(20, { key: "k" });
      await evicted({ k: await old.own(10, { key: "k" }) });
      let aheadMs = 0;
      setPlatform({ ...PLATFORM, monotonicMs: () => PLATFORM.monotonicMs() + aheadMs });
      try {
        await tundraError("UNAVAILABLE", () => sweepBeside(() => void (aheadMs = 61_000)));
      } finally {
        setPlatform();
      }
      assertEquals(left().length, 2);
      assertEquals((await sweepAll()).deleted, 1);
    });

    it("at the archive's owner: nothing goes once it has changed hands", async () => {
      await old.own(20, { key: "k" });
      await evicted({ k: await old.own(10, { key: "k" }) });
      const owner = `default/~owner/${id.split("@")[0]}`;
      const bytes = archive.objects.get(owner)!;
      await tundraError("LOST", () => sweepBeside(() => void archive.objects.delete(owner)));
      assertEquals(left().length, 2);
      archive.objects.set(owner, bytes);
      assertEquals((await sweepAll()).deleted, 1);
    });
  });

  /** An archive with something of everything; the records of what lives. */
  async function mixed(): Promise<void> {
    const keys = names(40);
    const words: Record<string, string> = {};
    const put = (some: string[], list: string[]) => some.forEach((key, i) => words[key] = list[i]!);
    put(keys, await old.pack(40, keys.map((key) => ({ key }))));
    const half = keys.slice(0, 30);
    put(half, await old.pack(30, half.map((key) => ({ key, prev: words[key]! }))));
    await old.pack(20, keys.slice(0, 4).map((key) => ({ key, gone: true, prev: words[key]! })));
    for (const key of keys.slice(0, 4)) delete words[key];
    for (const key of keys.slice(10, 20)) words[key] = await old.own(12, { key, prev: words[key]! });
    const many = names(12, "m");
    for (const days of [60, 50]) await old.pack(days, many.map((key) => ({ key })));
    put(many, await old.pack(25, many.map((key) => ({ key }))));
    let prev = "";
    for (let days = 20; days > 0; days--) {
      prev = (await old.pack(days + 0.5, [{ key: "hot", prev }, { key: `x${days}` }]))[0]!;
    }
    words.hot = prev;
    await evicted(words);
  }

  it("in calls of few requests does what one call does, and goes on where the last one ended", async () => {
    const outcome = async () => {
      const words = (await stack.raw("KEYS", "tundra:default:rec:*") as unknown[]).map(String).sort();
      const named = await Promise.all(
        words.map(async (name) => (await stack.record(name.slice(19)))!.ver.split("@")[0]),
      );
      return { named, versions: [...new Set((await versionsIn(archive.objects)).map(withoutPlace))].sort() };
    };
    await mixed();
    const first = await sweepAll({ keepMs: 0 });
    assert(first.deleted > 10 && first.moved > 0, JSON.stringify(first));
    const expected = await outcome();
    for (const options of [{ maxSubrequests: 20 }, { maxKeys: 1, maxSubrequests: 40 }]) {
      for (const name of archive.names()) archive.objects.delete(name);
      await mixed();
      const report = await sweepAll({ keepMs: 0, ...options });
      assert(report.calls > 5, `${report.calls} calls`);
      assertEquals([report.deleted, report.objects], [first.deleted, first.objects]);
      assertEquals(await outcome(), expected);
      assertEquals(await stack.raw("EXISTS", "tundra:default:cursor:sweep"), 0);
    }
  });

  it("keeps what its own keepMs says, wherever a call that keeps less has ended", async () => {
    let done = false;
    for (let calls = 1; !done; calls++) {
      assertLessOrEqual(calls, 200, "it does not end");
      for (const name of archive.names()) archive.objects.delete(name);
      await stack.raw("DEL", "tundra:default:cursor:sweep");
      let words = ["", ""];
      for (let days = 8; days > 0; days--) {
        words = await old.pack(days, [{ key: "hot", prev: words[0]! }, { key: "too", prev: words[1]! }]);
      }
      await evicted({ hot: words[0]!, too: words[1]! });
      for (let call = 0; call < calls; call++) ({ done } = await sweep(store, { keepMs: 0, maxSubrequests: 20 }));
      assertEquals((await sweepAll()).deleted, 0, `after ${calls} calls that keep nothing`);
      assertEquals(await stack.raw("EXISTS", "tundra:default:cursor:sweep"), 0);
    }
    assertLessOrEqual(archive.packs().length, 4, "in the end they have deleted what they do not keep");
  });

  it("by two at once, or aborted and begun again, deletes nothing that is named", async () => {
    await mixed();
    const stopped = new AbortController();
    const aborted = sweep(store, { keepMs: 0, signal: stopped.signal, onProgress: () => stopped.abort() });
    assertEquals((await aborted.catch(() => ({ done: false }))).done, false);
    const other = stack.store({ datastore: archive.datastore });
    await Promise.all([sweep(store, { keepMs: 0 }), sweep(other, { keepMs: 0, maxSubrequests: 40 })]);
    await sweepAll({ keepMs: 0 });
    const records = (await stack.raw("KEYS", "tundra:default:rec:*") as unknown[]).map((name) =>
      String(name).slice(19)
    );
    const held = new Set<string>();
    for (const [name, bytes] of archive.objects) {
      for (const version of await versionsIn([[name, bytes]])) held.add(`${version} ${name}`);
    }
    assert(records.length > 40);
    for (const key of records) {
      const { ver } = (await stack.record(key))!;
      const name = await holderName({ tqname: "default" }, key, ver);
      assert(held.has(`${key} ${placeOf(ver).ver} ${name}`), `${key}: ${ver}`);
    }
  });

  /** Begins to sweep three packs that are to be rewritten, and ends it as it reads the second one; versions moved. */
  async function endInSecondPack(end: (call?: DatastoreCallOptions) => void, options: SweepOptions): Promise<number> {
    const keys = (pack: number) => names(4, `p${pack}:`);
    const words: Record<string, string> = {};
    for (const pack of [0, 1, 2]) {
      const list = await old.pack(20 - pack, keys(pack).map((key) => ({ key })));
      keys(pack).forEach((key, i) => words[key] = list[i]!);
    }
    const gone = [0, 1, 2].flatMap((pack) => keys(pack).slice(0, 2));
    await old.pack(3, gone.map((key) => ({ key, gone: true, prev: words[key]! })));
    await evicted(Object.fromEntries(Object.entries(words).filter(([key]) => !gone.includes(key))));
    const second = archive.packs()[1]!;
    let reads = 0;
    const ending = stack.store({
      datastore: {
        ...archive.datastore,
        async fetchRanges(ranges, call) {
          if (ranges[0]!.name === second && ++reads === 3) end(call); // its directory takes two
          return await archive.datastore.fetchRanges(ranges, call);
        },
      },
    });
    const { done, moved } = await sweep(ending, options);
    assertEquals(done, false);
    return moved;
  }

  it("rewrites each pack though a call is aborted while versions of some wait for a new one", async () => {
    const stop = new AbortController();
    assertEquals(await endInSecondPack(() => stop.abort(), { signal: stop.signal }), 0);
    const { moved, errors } = await sweepAll();
    assertEquals([moved, errors], [6, []]);
  });

  it("moves what waits for a new pack though the requests end in the middle of another one", async () => {
    const end = (call?: DatastoreCallOptions) => {
      for (;;) call!.onRequest!();
    };
    assertEquals(await endInSecondPack(end, { maxSubrequests: 50 }), 2);
    const { moved, errors } = await sweepAll();
    assertEquals([moved, errors], [4, []]);
  });

  it("with nothing to delete costs what it says: for each pack and each 1,000 objects a request to Redis", async () => {
    const cost = async () => {
      let report: SweepReport | undefined;
      const { redis, billable } = await costOf(stack, async () => report = await sweep(store));
      assertEquals([report!.done, report!.deleted, report!.commands], [true, 0, billable]);
      return { redis, billable, archive: report!.subrequests - redis };
    };
    await cost(); // sends the scripts
    assertEquals(await cost(), { redis: 3, billable: 9, archive: 4 });
    for (const days of [20, 19]) {
      const keys = names(5, `packed ${days}`);
      const words = await old.pack(days, keys.map((key) => ({ key })));
      await evicted(Object.fromEntries(keys.map((key, i) => [key, words[i]!])));
    }
    assertEquals(await cost(), { redis: 5, billable: 11, archive: 8 });
    for (const key of names(10, "alone")) await evicted({ [key]: await old.own(5, { key }) });
    assertEquals(await cost(), { redis: 6, billable: 12, archive: 8 });
  });

  it("changes nothing in a dry run, and says what a sweep would do", async () => {
    await mixed();
    const planned = await changesNothing(stack, () => sweep(store, { dryRun: true }), archive.objects);
    const done = await sweep(store);
    assertEquals([planned.deleted, planned.moved, planned.objects, planned.done], [
      done.deleted,
      done.moved,
      done.objects,
      true,
    ]);
  });

  it("takes its part of a tick, and the tick its part of the requests", async () => {
    await mixed();
    await stack.raw("SET", "k:new", "1");
    await store.dirty("k:new");
    const billed = await tools.bill(async () => {
      const report = await store.tick({ sweepMs: 5_000, maxSubrequests: 1_000 });
      assertEquals([report.frozen, report.errors], [1, []]);
      assert(report.swept! >= 12, `${report.swept}`);
      assertLessOrEqual(report.subrequests, 1_000);
    });
    assert(billed.requests > 10);
    const { commands, swept } = await store.tick({ sweepMs: 5_000 });
    assertEquals(swept, 0);
    assert(commands > 20, "those of the sweep count");
    assertEquals((await store.tick({ sweepMs: 5_000, maxSubrequests: 12 })).swept, undefined); // not begun
    await tundraError("BAD_ARGUMENT", () => store.tick({ sweepMs: 5_000, deadlineMs: 4_000 }));
  });

  it("refuses options that it does not know, before anything is sent", async () => {
    for (
      const wrong of [{ keepMs: -1 }, { keepOrphansMs: DAY_MS }, { maxKeys: 0 }, { dryRun: 1 }, { keep: 1 }, {
        maxSubrequests: 3,
      }]
    ) {
      await tundraError("BAD_ARGUMENT", () => sweep(store, wrong as SweepOptions));
    }
    await tundraError("BAD_ARGUMENT", () => sweep({} as TundraStore));
  });
});
