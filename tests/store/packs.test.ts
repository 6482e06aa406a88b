/** Packs: which versions share one, what records name, what is read to bring keys back, what a bounded tick can do. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { deflateFreezer, type Freezer } from "../../mod.ts";
import { thawRecord } from "../../src/archive/record.ts";
import { placeOf } from "../../src/archive/place.ts";
import { goneOf, versionMicros } from "../../src/base/keys.ts";
import { names, withArchive } from "../support/fixtures.ts";
import { blocksOf, notedArchive, recordsOfPack } from "../support/packs.ts";
import { seededRandom } from "../support/random.ts";
import { DAY_MS, HOUR_MS } from "../support/times.ts";
import { gate, sleep, until } from "../support/waiting.ts";

describe("packs", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** Sets keys to random text of `bytes` characters, which hardly shrinks; returns the values. */
  async function setNoise(keys: string[], bytes: number): Promise<Map<string, string>> {
    const random = seededRandom(`values of ${bytes} bytes`);
    const values = new Map(
      keys.map((key) => [key, Array.from({ length: bytes }, () => random.int(36).toString(36)).join("")]),
    );
    for (let i = 0; i < keys.length; i += 1000) {
      await stack.raw("MSET", ...keys.slice(i, i + 1000).flatMap((key) => [key, values.get(key)!]));
    }
    return values;
  }

  const recordText = async (key: string) => String(await stack.raw("GET", `tundra:default:rec:${key}`));

  describe("hold what one snapshot finds", () => {
    it("changed: many small values are one object, and each record names its block", async () => {
      const archive = notedArchive();
      const store = stack.store({ datastore: archive.datastore });
      const keys = names(100);
      const values = await setNoise(keys, 700);
      await store.dirty(keys);
      const { frozen, errors, bytesWritten } = await store.tick();
      assertEquals([frozen, errors, archive.names().length], [100, [], 1]);
      const [name] = archive.packs();
      const entries = await archive.entries(name!);
      assertEquals(entries.map(({ key }) => key).sort(), [...keys].sort());
      assertGreater(blocksOf(entries), 1);
      for (const { key, ver, offset, length } of entries) {
        assertEquals(name, `default/~packs/${ver}`);
        assertEquals((await stack.record(key))!.ver, `${ver}@:${offset}:${length}`);
        assertEquals((await recordText(key)).slice(0, 2), "2 ");
      }
      assertEquals(bytesWritten, archive.objects.get(name!)!.length);
      assertEquals(Number(String(await stack.raw("HGET", "tundra:default:stats", "bytes"))), bytesWritten);
      assertEquals((await store.evict(keys)).evicted.length, 100);
      await store.ensureKs(keys);
      for (const key of keys) assertEquals(await stack.get(key), values.get(key));
    });

    it("changed or removed: tombstones share the pack", async () => {
      const archive = notedArchive();
      const store = stack.store({ datastore: archive.datastore });
      await setNoise(names(6), 50);
      await store.dirty(names(6));
      await store.tick();
      const [first] = archive.packs();
      await store.del("k:0", "k:1");
      await setNoise(["k:2"], 60);
      await store.dirty("k:2");
      const report = await store.tick();
      assertEquals([report.frozen, report.missing, report.errors], [1, 2, []]);
      const [, second] = archive.packs();
      const entries = await archive.entries(second!);
      assertEquals(Object.fromEntries(entries.map(({ key, gone }) => [key, gone])), {
        "k:0": true,
        "k:1": true,
        "k:2": undefined,
      });
      assertEquals([archive.own(), archive.packs()], [[], [first!, second!]]); // what is in a pack is not purged
      await store.ensureKs(names(6));
      assertEquals(await stack.exists("k:0", "k:1"), 0);
    });

    it("missing for an unknown reason: each such key has an object of its own", async () => {
      const archive = notedArchive();
      const store = stack.store({ datastore: archive.datastore });
      await setNoise(names(5), 50);
      await store.dirty(names(5));
      await store.tick();
      await store.dirty(names(5));
      await stack.raw("DEL", "k:0", "k:1");
      const report = await store.tick();
      assertEquals([report.frozen, report.missing], [3, 2]);
      assertEquals(report.errors.map(({ code, key }) => `${code} ${key}`).sort(), ["MISSING k:0", "MISSING k:1"]);
      assertEquals(archive.own().map((name) => name.split("/")[1]), ["k.3A0", "k.3A1"]);
      for (const [i, name] of archive.own().entries()) {
        const expected = { key: `k:${i}`, ver: (await stack.record(`k:${i}`))!.ver };
        const found = await thawRecord(archive.objects.get(name)!, expected, name, [deflateFreezer()]);
        assert("gone" in found && found.gone === "inferred" && placeOf(found.prev!).pack !== "", JSON.stringify(found));
        assertEquals(goneOf(expected.ver), "inferred");
      }
    });

    it("alone: one version is an object of its own, as in a store without packs", async () => {
      for (const packBytes of [undefined, 0]) {
        await stack.flush();
        const archive = notedArchive();
        const store = stack.store({ datastore: archive.datastore, packBytes });
        for (let version = 1; version <= 3; version++) {
          await stack.raw("SET", "k", `value ${version}`);
          await store.dirty("k");
          assertEquals((await store.tick()).frozen, 1);
        }
        const { ver } = (await stack.record("k"))!;
        assertEquals([archive.packs(), archive.own().length, archive.own().includes(`default/k/${ver}`)], [
          [],
          3,
          true,
        ]);
        assertEquals((await recordText("k")).slice(0, 2), "1 ");
        await store.evict("k");
        archive.forget();
        await store.ensureKs("k");
        assertEquals([archive.gets, archive.ranges, await stack.get("k")], [[`default/k/${ver}`], [], "value 3"]);
      }
    });

    it("small: one small value beside large ones is an object of its own, and never a pack of one", async () => {
      const archive = notedArchive();
      const store = stack.store({ datastore: archive.datastore, packBytes: 40_000 });
      await setNoise(["large:0", "large:1"], 100_000);
      await setNoise(["small"], 50);
      await store.dirty("large:0", "large:1", "small");
      assertEquals((await store.tick()).frozen, 3);
      assertEquals([archive.packs(), archive.own().length], [[], 3]);
      await setNoise(names(3), 45_000); // 3 blocks, of which a pack of 40,000 bytes holds one
      await store.dirty(names(3));
      assertEquals((await store.tick()).frozen, 3);
      assertEquals([archive.packs(), archive.own().length], [[], 6]);
    });

    it("up to maxPackedBytes: what is larger has an object of its own", async () => {
      const archive = notedArchive();
      const store = stack.store({ datastore: archive.datastore, maxPackedBytes: 1_000 });
      await setNoise(["small:0", "small:1"], 900);
      await setNoise(["larger:0", "larger:1"], 1_000);
      await store.dirty("small:0", "small:1", "larger:0", "larger:1");
      await store.tick();
      assertEquals(archive.own().map((name) => name.split("/")[1]), ["larger.3A0", "larger.3A1"]);
      const [pack] = archive.packs();
      assertEquals((await archive.entries(pack!)).map(({ key }) => key).sort(), ["small:0", "small:1"]);
    });

    it("but only for a datastore that reads ranges", async () => {
      const archive = notedArchive();
      const { fetchRanges: _, ...datastore } = archive.datastore;
      const store = stack.store({ datastore });
      await setNoise(names(5), 50);
      await store.dirty(names(5));
      await store.tick();
      assertEquals([archive.packs(), archive.own().length], [[], 5]);
    });

    it("which a store without fetchRanges reads all the same: it fetches the pack whole", async () => {
      const archive = notedArchive();
      const { fetchRanges: _, ...datastore } = archive.datastore;
      const values = await setNoise(names(5), 50);
      const store = stack.store({ datastore: archive.datastore });
      await store.dirty(names(5));
      await store.tick();
      await store.evict(names(5));
      await stack.store({ datastore }).ensureKs(names(5));
      assertEquals([archive.gets.filter((name) => name.includes("~packs")).length, archive.ranges], [1, []]);
      for (const key of names(5)) assertEquals(await stack.get(key), values.get(key));
    });
  });

  it("keep a record's text within 20 bytes of what it is without them", async () => {
    const keys = names(1000);
    await setNoise(keys, 700);
    const lengths: number[][] = [];
    for (const packBytes of [0, undefined]) {
      const store = stack.store({
        datastore: notedArchive().datastore,
        packBytes,
        tqname: packBytes === 0 ? "a" : "b",
      });
      await store.dirty(keys);
      assertEquals((await store.tick({ maxKeys: 1000 })).frozen, 1000);
      const texts = await stack.raw("MGET", ...keys.map((key) => `tundra:${packBytes === 0 ? "a" : "b"}:rec:${key}`));
      lengths.push((texts as unknown[]).map((text) => String(text).length));
    }
    const most = Math.max(...lengths[1]!.map((length, i) => length - lengths[0]![i]!));
    assert(most > 0 && most <= 20, String(most));
  });

  it("hold versions that are newer than all that they replace, though Redis' clock went back", async () => {
    const archive = notedArchive();
    const store = stack.store({ datastore: archive.datastore });
    const keys = names(5);
    await setNoise(keys, 50);
    await store.dirty(keys);
    await store.tick();
    // as if a clock two hours ahead had named the version of one of them
    const ahead = `${String(Math.floor(1000 * (await stack.nowMs() + 2 * HOUR_MS))).padStart(16, "0")}-0000000a`;
    await stack.editRecord("k:3", { ver: ahead });
    const values = await setNoise(keys, 60);
    await store.dirty(keys);
    assertEquals((await store.tick()).errors, []);
    const words = await Promise.all(keys.map(async (key) => (await stack.record(key))!.ver));
    assertEquals(new Set(words.map((word) => placeOf(word).ver)).size, 1);
    for (const word of words) assertGreater(versionMicros(word), versionMicros(ahead));
    const [, name] = archive.packs();
    const record = (await recordsOfPack(archive.objects.get(name!)!, name!)).find(({ key }) => key === "k:3");
    assertEquals(record!.prev, ahead);
    await store.evict(keys);
    await store.ensureKs(keys);
    for (const key of keys) assertEquals(await stack.get(key), values.get(key));
  });

  it("lead from each version of a key back to the one before, without an index", async () => {
    const archive = notedArchive();
    const store = stack.store({ datastore: archive.datastore });
    const words: string[] = [];
    for (let version = 0; version < 4; version++) {
      const some = version === 2 ? ["k:0"] : names(4); // the third version has an object of its own
      await setNoise(some, 50 + version);
      await store.dirty(some);
      await store.tick();
      words.push((await stack.record("k:0"))!.ver);
    }
    assertEquals([archive.packs().length, archive.own().length], [3, 1]);
    let word = words.at(-1)!;
    const walked: string[] = [];
    while (word !== "") {
      walked.unshift(word);
      const { ver, pack } = placeOf(word);
      const name = pack === "" ? `default/k.3A0/${ver}` : `default/~packs/${pack}`;
      const bytes = archive.objects.get(name)!;
      const record = pack === ""
        ? await thawRecord(bytes, { key: "k:0", ver }, name, [deflateFreezer()])
        : (await recordsOfPack(bytes, name)).find(({ key }) => key === "k:0")!;
      assertEquals(record.index, String(await stack.raw("GET", "tundra:default:id")));
      word = record.prev!;
    }
    assertEquals(walked, words);
  });

  describe("are read by blocks", () => {
    /** 300 evicted keys of 1 KB in ten blocks, and what thaws them. */
    async function evicted(wait = () => Promise.resolve()) {
      let thaws = 0;
      const deflate = deflateFreezer();
      const freezer: Freezer = { ...deflate, thaw: (bytes, object) => (thaws++, deflate.thaw(bytes, object)) };
      const archive = notedArchive((inner) => ({
        fetchRanges: (...args) => wait().then(() => inner.fetchRanges(...args)),
      }));
      const store = stack.store({ datastore: archive.datastore, freezer });
      const keys = names(300);
      const values = await setNoise(keys, 1_000);
      await store.dirty(keys);
      await store.tick();
      assertEquals((await store.evict(keys)).evicted.length, 300);
      const entries = await archive.entries(archive.packs()[0]!);
      archive.forget();
      return { archive, store, keys, values, entries, thaws: () => thaws };
    }

    it("one evicted key takes one range of at most 64 KiB", async () => {
      const { archive, store, entries, values } = await evicted();
      await store.ensureKs("k:7");
      const { offset, length } = entries.find(({ key }) => key === "k:7")!;
      assertEquals(archive.ranges, [{ name: archive.packs()[0]!, offset, length }]);
      assert(length <= 65_536 && archive.gets.length === 0, `${length}`);
      assertEquals(await stack.get("k:7"), values.get("k:7"));
    });

    it("all of them take one request, and each block is thawed once", async () => {
      const { archive, store, keys, values, entries, thaws } = await evicted();
      await store.ensureKs(keys);
      assertEquals([archive.ranges.length, thaws(), archive.gets], [1, blocksOf(entries), []]);
      assertGreater(blocksOf(entries), 5);
      for (const key of keys) assertEquals(await stack.get(key), values.get(key));
    });

    it("blocks that lie far apart are read apart, and nothing between them", async () => {
      const { archive, store, entries } = await evicted();
      const [first, last] = [entries[0]!, entries.at(-1)!];
      assertGreater(last.offset - first.offset - first.length, 65_536);
      await store.ensureKs(first.key, last.key);
      const read = archive.ranges.map(({ offset, length }) => [offset, length]).sort(([a], [b]) => a! - b!);
      assertEquals(read, [[first.offset, first.length], [last.offset, last.length]]);
    });

    it("calls for keys of one block share its read while it is under way", async () => {
      const answer = gate();
      const { archive, store, entries, values } = await evicted(() => answer.wait());
      const some = entries.filter(({ offset }) => offset === entries[0]!.offset).map(({ key }) => key).slice(0, 4);
      const from = stack.server.requests;
      const calls = Promise.all(some.map((key) => store.ensureKs(key)));
      await until("all have been checked", () => stack.server.requests === from + some.length);
      await sleep(50);
      answer.open();
      await calls;
      assertEquals(archive.ranges.length, 1);
      for (const key of some) assertEquals(await stack.get(key), values.get(key));
    });

    it("a tick asks once a pack, not once a key, before it evicts what was archived long ago", async () => {
      const asked: string[] = [];
      const archive = notedArchive((inner) => ({
        hasKeys: (names, options) => (asked.push(...names), inner.hasKeys(names, options)),
      }));
      const store = stack.store({ datastore: archive.datastore, redisTtlMs: DAY_MS });
      await setNoise(names(50), 50);
      await store.dirty(names(50));
      await store.tick();
      // as if all of it had happened two days ago: the pack under its older name, and records that name it
      const [name] = archive.packs();
      const { ver } = placeOf((await stack.record("k:0"))!.ver);
      const older = String(versionMicros(ver) - 2 * DAY_MS * 1000).padStart(16, "0") + ver.slice(16);
      archive.objects.set(`default/~packs/${older}`, archive.objects.get(name!)!);
      archive.objects.delete(name!);
      const touch = Math.floor(await stack.nowMs()) - 2 * DAY_MS;
      for (const key of names(50)) {
        const word = (await stack.record(key))!.ver;
        await stack.editRecord(key, { ver: word.replace(ver, older), touch });
        await stack.raw("ZADD", "tundra:default:idle", "XX", touch, key);
      }
      const report = await store.tick();
      assertEquals([report.evicted, report.errors, asked], [50, [], [`default/~packs/${older}`]]);
    });
  });

  describe("with 45 requests a tick", () => {
    /** A store on S3 whose index exists; `count()` is the requests that both servers have seen since. */
    async function begun() {
      const store = stack.store();
      await stack.raw("SET", "first", "1");
      await store.dirty("first");
      await store.tick();
      let from = 0;
      const seen = () => stack.server.requests + stack.s3.requests;
      return { store, from: () => from = seen(), count: () => seen() - from };
    }

    it("at least 4,000 small keys are archived in one", async () => {
      const { store, from, count } = await begun();
      const keys = names(6_000);
      await setNoise(keys, 700);
      await store.dirty(keys);
      from();
      const report = await store.tick({ maxSubrequests: 45, deadlineMs: 60_000 });
      assert(report.frozen >= 4_000, `${report.frozen} archived`);
      assert(count() <= 45 && count() <= report.subrequests, `${count()} requests seen, ${report.subrequests} counted`);
      assertEquals(report.errors, []);
      const { dirty } = await store.status();
      assertEquals([dirty, report.done], [6_000 - report.frozen, report.frozen === 6_000]);
    });

    it("large values among small ones make progress, and what there was no room for is due at once", async () => {
      const { store, from, count } = await begun();
      const keys = names(1_000);
      await setNoise(keys, 100);
      const large = keys.filter((_, i) => i % 10 === 3);
      const values = await setNoise(large, 200_000);
      await store.dirty(keys);
      let left = keys.length;
      for (let ticks = 1; left > 0; ticks++) {
        from();
        const report = await store.tick({ maxSubrequests: 45, deadlineMs: 60_000 });
        assert(count() <= 45, `${count()} requests`);
        assertEquals([report.errors, report.failed], [[], 0]);
        const { dirty } = await store.status();
        assertEquals(dirty, left - report.frozen);
        assert(report.frozen >= Math.min(20, left), `tick ${ticks} archived ${report.frozen} of ${left}`);
        const now = await stack.nowMs();
        for (const key of (await stack.members("dirty")).slice(0, 20)) {
          const score = (await stack.score("dirty", key))!;
          assert(score <= now && score % 1 === 0, `${key} has the score ${score} at ${now}`); // no suspect
        }
        left = dirty;
        assert(ticks <= 8, `${left} are left after ${ticks} ticks`);
      }
      const [key] = large;
      await store.evict(key!, "k:0");
      await store.ensureKs(key!, "k:0");
      assertEquals(await stack.get(key!), values.get(key!));
    });
  });
});
