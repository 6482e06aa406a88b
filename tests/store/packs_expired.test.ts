/**
 * Keys that expire by themselves, with versions in packs: what goes, what stays, and why no older version comes back.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { deflateFreezer, TundraError, type TundraStore } from "../../mod.ts";
import { placeOf } from "../../src/archive/place.ts";
import { redisKeys, versionMicros } from "../../src/base/keys.ts";
import { names, withArchive } from "../support/fixtures.ts";
import { type NotedArchive, notedArchive, recordsOfPack } from "../support/packs.ts";
import { HOUR_MS } from "../support/times.ts";
import { until } from "../support/waiting.ts";

const KEYS = redisKeys("default");

describe("keys that expire by themselves, with packs", () => {
  const stack = withArchive();
  let archive: NotedArchive;
  let failing: string | undefined;
  let store: TundraStore;
  beforeEach(async () => {
    await stack.flush();
    failing = undefined;
    archive = notedArchive((inner) => ({
      putKey: (name, ...rest) =>
        failing !== undefined && name.includes(failing)
          ? Promise.reject(new TundraError("UNAVAILABLE", "the archive is full", { retryable: false }))
          : inner.putKey(name, ...rest),
    }));
    store = stack.store({ datastore: archive.datastore });
  });

  /** Archives keys, with an expiry if one is given, together: in a pack unless it is one key. */
  async function archived(keys: string[], value: string, px?: number): Promise<void> {
    for (const key of keys) await stack.raw("SET", key, value, ...(px === undefined ? [] : ["PX", px]));
    await store.dirty(keys);
    const report = await store.tick();
    assertEquals([report.frozen, report.errors], [keys.length, []]);
  }

  /**
   * Waits until they have expired; then it is as if that had been 48 hours ago. Returns the words of their versions.
   */
  async function twoDaysLater(keys: string[]): Promise<string[]> {
    const last = Math.max(...await Promise.all(keys.map(async (key) => (await stack.record(key))!.exp)));
    await until("they have expired", async () => await stack.nowMs() > last);
    const words: string[] = [];
    for (const key of keys) {
      const { ver, exp } = (await stack.record(key))!;
      words.push(ver);
      await stack.editRecord(key, { exp: exp - 48 * HOUR_MS });
      await stack.raw("ZADD", KEYS.purge, "XX", exp, key);
    }
    return words;
  }

  /** What a search for lost records reports. */
  async function searched(): Promise<string[]> {
    await stack.raw("DEL", KEYS.lostRecordsCursor);
    const report = await store.tick();
    return report.errors.map(({ code, message }) => `${code} ${message}`);
  }

  const record = (key: string) => stack.record(key);

  /** What the youngest pack holds. */
  async function youngestRecords() {
    const pack = archive.packs().at(-1)!;
    return await recordsOfPack(archive.objects.get(pack)!, pack);
  }

  it("in a pack alone: their records and places go, the pack stays, and nothing more is written", async () => {
    const keys = names(5);
    await archived(["living"], "value");
    await archived(keys, "value", 1_500);
    await twoDaysLater(keys);
    const before = archive.names();
    const report = await store.tick();
    assertEquals([report.purged, report.purging, report.errors], [5, 0, []]);
    assertEquals(archive.names(), before);
    for (const key of keys) assertEquals(await record(key), undefined);
    assertEquals([await stack.members("purge"), await stack.members("idle")], [[], ["living"]]);
    assertEquals(await searched(), []); // the directory says when each of them expired
    await store.ensureKs(keys);
    assertEquals(await stack.exists(...keys), 0);
  });

  for (const evicted of [false, true]) {
    it(`with an older version in a pack: their own objects go, a marker stays (${evicted ? "evicted" : "resident"})`, async () => {
      await archived(["k", "other"], "older, for ever");
      const [pack] = archive.packs();
      await archived(["k"], "newer, for a while", 1_500);
      const [own] = archive.own();
      if (evicted) assertEquals((await store.evict("k")).evicted, ["k"]);
      const [word] = await twoDaysLater(["k"]);
      assertEquals(own, `default/k/${word}`);
      const kept = { ...(await record("k"))! };
      const report = await store.tick();
      assertEquals([report.purged, report.errors, archive.own()], [1, [], []]);
      assertEquals([await record("k"), await stack.members("purge")], [undefined, []]);

      const marker = archive.packs().find((name) => name !== pack)!;
      const records = await recordsOfPack(archive.objects.get(marker)!, marker);
      assertEquals(records.map(({ key, prev }) => [key, prev]), [["k", word]]);
      const [tombstone] = records;
      assert("gone" in tombstone! && tombstone.gone === "inferred");
      assertEquals(versionMicros(tombstone.ver), versionMicros(word!) + 1);
      assert(versionMicros(marker.split("/")[2]!) > versionMicros(tombstone.ver));

      // Redis knows nothing of it: neither is its older version a loss, nor does a store that looks find it
      assertEquals(await searched(), []);
      const looking = stack.store({ datastore: archive.datastore, lookInArchive: true });
      await looking.ensureKs("k");
      assertEquals(await stack.exists("k"), 0);
      // Redis goes back to before the purge, to a record without an expiry: absent, and not the older value
      await stack.raw("SET", KEYS.record("k"), recordText({ ...kept, flag: "e", exp: 0 }));
      await store.ensureKs("k");
      assertEquals(await stack.exists("k"), 0);
    });
  }

  it("without their marker an older version would be taken for lost: the search sees packs", async () => {
    await archived(["k", "other"], "older, for ever");
    await archived(["k"], "newer, for a while", 1_500);
    await twoDaysLater(["k"]);
    const [pack] = archive.packs();
    await store.tick();
    for (const name of archive.packs()) if (name !== pack) archive.objects.delete(name);
    const [error] = await searched();
    assert(error?.startsWith("LOST Cannot bring k back") || error?.includes('"k"'), error);
  });

  it("made anew after that they are keys like any other", async () => {
    await archived(["k", "other"], "older, for ever");
    await archived(["k"], "newer, for a while", 1_500);
    await twoDaysLater(["k"]);
    await store.tick();
    for (const together of [["k"], ["k", "other"]]) {
      await archived(together, `anew with ${together.length}`);
      await store.evict("k");
      await store.ensureKs("k");
      assertEquals(await stack.get("k"), `anew with ${together.length}`);
      // also if Redis forgets where
      await store.evict("k");
      await stack.raw("DEL", KEYS.record("k"));
      const errors = await searched();
      assertEquals([errors.length, errors[0]?.slice(0, 4)], [1, "LOST"]);
      await stack.raw("SET", "k", "again");
      await store.dirty("k");
      assertEquals((await store.tick()).frozen, 1);
    }
  });

  it("nor removed keys that are made anew before a tick comes: their marker says that what was before is to go", async () => {
    await archived(["k", "other"], "removed");
    const [word] = [(await record("k"))!.ver];
    await store.del("k");
    await archived(["k"], "anew");
    const records = await youngestRecords();
    assertEquals(records.map((each) => [each.key, each.prev, "gone" in each && each.gone]), [["k", word, true]]);
    assertEquals(versionMicros(records[0]!.ver), versionMicros(word) + 1);
    assertEquals([(await record("k"))!.old, await stack.members("purge")], ["", []]);
    await store.evict("k");
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "anew");
  });

  for (const later of [false, true]) {
    it(`nor those that went missing again before a tick came: the marker is put ${later ? "by a later" : "by that"} tick`, async () => {
      await archived(["k", "other"], "removed");
      const [word] = [(await record("k"))!.ver];
      await store.del("k");
      await stack.raw("SET", "k", "anew");
      await store.dirty("k");
      await stack.raw("DEL", "k");
      if (later) failing = "~packs";
      assertEquals((await store.tick()).errors.map(({ code }) => code), ["MISSING", ...(later ? ["UNAVAILABLE"] : [])]);
      assertEquals([(await record("k"))!.flag, archive.packs().length], ["m", later ? 1 : 2]);
      if (later) {
        failing = undefined;
        await stack.raw("ZADD", KEYS.purge, 1, "k");
        assertEquals((await store.tick()).errors, []);
      }
      const records = await youngestRecords();
      assertEquals(records.map((each) => [each.key, each.prev, "gone" in each && each.gone]), [["k", word, true]]);
      assertEquals([(await record("k"))!.old, await stack.members("purge")], ["", []]);
    });
  }

  it("that were removed and made anew before they expired: the marker's pack says that what was before is to go", async () => {
    await archived(["k", "other"], "removed");
    await store.del("k");
    assertEquals((await store.tick()).errors, []);
    const removal = archive.own().find((name) => name.startsWith("default/k/"))!.split("/")[2]!;
    await archived(["k"], "anew, for a while", 1_500);
    const [word] = await twoDaysLater(["k"]);
    assertEquals((await store.tick()).purged, 1);
    assertEquals(archive.own(), []);
    const records = await youngestRecords();
    assertEquals(
      records.map((each) => [each.key, each.prev, "gone" in each && each.gone]),
      [["k", word, "inferred"], ["k", "", true]],
    );
    assertEquals(records[1]!.ver, removal);
    assertEquals(await searched(), []);
  });

  it("that expire while a change is not archived get a marker only if what was removed before would be forgotten", async () => {
    for (const removed of [true, false]) {
      await stack.flush();
      archive.objects.clear();
      await archived(["k", "other"], "older");
      if (removed) {
        await store.del("k");
        assertEquals((await store.tick()).errors, []);
      }
      const removal = archive.own().map((name) => name.split("/")[2]);
      await archived(["k"], "for a while", 1_500);
      const { exp, ver } = (await record("k"))!;
      await store.dirty("k");
      await until("it has expired", async () => await stack.nowMs() > exp);
      assertEquals((await store.tick()).missing, 1);
      assertEquals([(await record("k"))!.flag, (await record("k"))!.old, archive.own().length], [
        "m",
        ver,
        removed ? 3 : 2,
      ]);
      await stack.editRecord("k", { exp: exp - 48 * HOUR_MS });
      await stack.raw("ZADD", KEYS.purge, "XX", 1, "k");
      assertEquals((await store.tick()).purged, 1);
      assertEquals([archive.own().length, archive.packs().length], [1, removed ? 2 : 1]);
      if (!removed) continue;
      const records = await youngestRecords();
      assertEquals(records.filter((each) => "gone" in each && each.gone === true).map((each) => each.ver), removal);
    }
  });

  it("many at once share one marker pack, whatever their versions", async () => {
    const keys = names(4);
    await archived([...keys, "other"], "older, for ever");
    for (const key of keys) await archived([key], "newer, for a while", 2_500);
    const words = await twoDaysLater(keys);
    const before = archive.packs();
    const report = await store.tick();
    assertEquals([report.purged, report.errors, archive.own()], [4, [], []]);
    const made = archive.packs().filter((name) => !before.includes(name));
    assertEquals(made.length, 1);
    const records = await recordsOfPack(archive.objects.get(made[0]!)!, made[0]!);
    assertEquals(records.map(({ key, prev }) => [key, prev]).sort(), keys.map((key, i) => [key, words[i]]));
  });

  it("are not deleted if their marker cannot be put: it is reported, and tried again", async () => {
    await archived(["k", "other"], "older, for ever");
    await archived(["k"], "newer, for a while", 1_500);
    await twoDaysLater(["k"]);
    failing = "~packs";
    const before = archive.names();
    const report = await store.tick();
    assertEquals([report.purged, report.purging, archive.names()], [0, 1, before]);
    assertEquals(report.errors.map(({ code, key }) => [code, key]), [["UNAVAILABLE", ""]]);
    assertNotEquals(await record("k"), undefined);
    failing = undefined;
    await stack.raw("ZADD", KEYS.purge, "XX", 5, "k");
    assertEquals([(await store.tick()).purged, archive.own()], [1, []]);
  });

  it("of which one can have no marker, as its group fails: the others go, it stays, is reported, and goes later", async () => {
    const keys = names(4);
    await archived([...keys, "other"], "older, for ever");
    for (const key of keys) await archived([key], "newer, for a while", 2_500);
    await twoDaysLater(keys);
    let ill = true;
    const groupOf = (key: string) => {
      if (ill && key === "k:2") throw new Error("no such tenant");
      return "";
    };
    store = stack.store({ datastore: archive.datastore, freezer: { ...deflateFreezer(), groupOf } });
    const report = await store.tick();
    assertEquals([report.purged, report.purging, archive.own().length], [3, 1, 1]);
    assertEquals(report.errors.map(({ code }) => code), ["UNAVAILABLE"]);
    assertStringIncludes(report.errors[0]!.message, "k:2");
    ill = false;
    await stack.raw("ZADD", KEYS.purge, "XX", 5, "k:2");
    assertEquals([(await store.tick()).purged, archive.own()], [1, []]);
  });

  it("of a store without packs have a marker as well, if its archive holds packs; else none", async () => {
    const plain = () => stack.store({ datastore: archive.datastore, packBytes: 0 });
    for (const packs of [true, false]) {
      await stack.flush();
      for (const name of archive.objects.keys()) archive.objects.delete(name);
      if (packs) await archived(["k", "other"], "older, for ever");
      store = plain();
      await archived(["k"], "newer, for a while", 1_500);
      await twoDaysLater(["k"]);
      const before = archive.packs();
      assertEquals((await store.tick()).purged, 1);
      assertEquals([archive.own(), archive.packs().length - before.length], [[], packs ? 1 : 0]);
      assertEquals(await searched(), []);
      store = stack.store({ datastore: archive.datastore });
    }
  });

  it("removed while their last version is in a pack: the tombstone is newer, and nothing is lost or comes back", async () => {
    await archived(names(6), "value");
    await store.evict(names(6));
    await store.del(names(6).slice(0, 3));
    const report = await store.tick();
    assertEquals([report.missing, report.errors, archive.packs().length], [3, [], 2]);
    for (const key of names(6).slice(0, 3)) {
      const { ver, old, flag } = (await record(key))!;
      assertEquals([flag, old, placeOf(ver).pack !== ""], ["g", "", true]); // nothing is left to purge
      await stack.raw("DEL", KEYS.record(key)); // a day later
    }
    assertEquals(await searched(), []);
    await store.ensureKs(names(6));
    assertEquals(await stack.exists(...names(6)), 3);
  });
});

/** A record's text, in the layout that its words need. */
function recordText(fields: Record<string, unknown>): string {
  const { rev, ver, flag, fp, exp, touch, attempts, old, rescues, kb, error } = fields;
  const words = [rev, ver, flag, fp, exp, touch, attempts, "-", "-", old || "-", rescues, kb, error];
  return `${String(ver).includes("@") ? 2 : 1} ${words.join(" ")}`;
}
