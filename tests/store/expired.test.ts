/** Keys that have expired by themselves leave `idle` and the archive: a store is bounded by the keys that live. */
import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { type Datastore, memoryDatastore } from "../../mod.ts";
import { isOwner, isPack, names, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { sleep } from "../support/waiting.ts";

const keptOf = (kept: Record<string, string>) => Object.assign(Object.create(null), kept);

describe("keys that expire by themselves", () => {
  const stack = withArchive({ packBytes: 0 });
  let archive: ReturnType<typeof memoryDatastore>;
  beforeEach(async () => {
    await stack.flush();
    archive = memoryDatastore();
  });

  /** Keys archived with an expiry; then time goes by until `hours` after it. */
  async function expired(keys: string[], hours: number, evicted = false, packBytes = 0) {
    const store = stack.store({ datastore: archive, packBytes });
    await stack.raw("MSET", ...["living", ...keys].flatMap((key) => [key, "value"]));
    const exp = Math.floor(await stack.nowMs()) + HOUR_MS;
    for (const key of keys) await stack.raw("PEXPIREAT", key, exp);
    await store.dirty(["living", ...keys]);
    await store.tick();
    if (evicted) await store.evict(keys);
    const past = exp - (hours + 1) * HOUR_MS;
    for (const key of keys) {
      await stack.editRecord(key, { exp: past });
      await stack.raw("DEL", key);
      await stack.raw("ZADD", "tundra:default:purge", "XX", past + 48 * HOUR_MS, key);
    }
    return store;
  }

  const redisKeys = async () => (await stack.raw("KEYS", "*") as unknown[]).map(String).sort();
  const LEFT = ["dirty", "idle", "id", "lost_records_cursor", "rec:living", "stats", "tick"];

  for (const [evicted, packBytes] of [[false, 0], [true, 0], [false, 1_048_576], [true, 1_048_576]] as const) {
    const what = packBytes > 0 ? "their pack stays, and" : "their objects,";
    it(`${evicted ? "evicted" : "resident until then"}: two days later ${what} their records and their places are gone`, async () => {
      const keys = names(5);
      const store = await expired(keys, 48, evicted, packBytes);
      const report = await store.tick();
      assertEquals([report.purged, report.purging, report.done, report.errors], [5, 0, true, []]);
      const left = [...archive.objects.keys()].filter((name) => !isOwner(name) && !name.startsWith("default/living/"));
      assertEquals(left.map(isPack), packBytes > 0 ? [true] : []);
      await store.evict("living");
      await store.ensureKs("living");
      assertEquals(await stack.get("living"), "value");
      assertEquals(await stack.raw("ZRANGE", "tundra:default:idle", 0, -1).then(String), "living");
      assertEquals(await redisKeys(), ["living", ...LEFT.slice(1).map((name) => `tundra:default:${name}`)].sort());
    });
  }

  for (const max of [12, 13, 15, 18, 19]) {
    it(`leave the archive by ticks of ${max} requests, also if they archive as much as they can`, async () => {
      const { putKey } = archive;
      archive.putKey = (name, bytes, options) => {
        options?.onRequest?.(); // as a datastore does that counts its requests: uploads at once keep to the bound
        return putKey(name, bytes, options);
      };
      const store = await expired(names(3), 48);
      const busy = names(200, "busy");
      await stack.raw("MSET", ...busy.flatMap((key) => [key, "value"]));
      await stack.raw("SCRIPT", "FLUSH");
      await store.dirty(busy);
      let [ticks, purged] = [0, 0];
      for (; purged < 3 && ticks < 8; ticks++) {
        const report = await store.tick({ maxSubrequests: max });
        purged += report.purged;
        assertEquals([report.errors, report.subrequests <= max, report.done], [[], true, false]);
        assertEquals([report.frozen > 0, report.remaining > 0], [true, true], `tick ${ticks}`);
      }
      assertEquals([purged, (await store.status()).purge], [3, 0], `in ${ticks} ticks`);
    });
  }

  it("leave the archive in one tick, however many it deletes at a time", async () => {
    const store = await expired(names(5), 48);
    const report = await store.tick({ batchKeys: 2 });
    assertEquals([report.purged, report.purging, report.done, report.errors], [5, 0, true, []]);
    assertEquals((await store.status()).purge, 0);
  });

  it("are not all purged by a tick that may claim no more: it is not done", async () => {
    const store = await expired(names(5), 48);
    await stack.raw("SET", "dirty", "value");
    await store.dirty("dirty");
    const report = await store.tick({ batchKeys: 2, maxKeys: 1 });
    assertEquals([report.frozen, report.purged, report.remaining, report.done], [1, 2, 0, false]);
  });

  it("wait behind none whose record has another layout: that one is looked at an hour later", async () => {
    const keys = names(3);
    const store = await expired(keys, 48);
    await stack.raw("SET", `tundra:default:rec:${keys[0]}`, "9 of another layout");
    await stack.raw("ZADD", "tundra:default:purge", "XX", 1, keys[0]!);
    const report = await store.tick({ batchKeys: 1 });
    assertEquals([report.purged, report.purging, report.done, report.errors], [2, 0, true, []]);
    const later = (await stack.score("purge", keys[0]!))! - await stack.nowMs();
    assertEquals([later > HOUR_MS - 60_000, later <= HOUR_MS, await stack.members("purge")], [true, true, [keys[0]]]);
    assertEquals(String(await stack.raw("GET", `tundra:default:rec:${keys[0]}`)), "9 of another layout");
  });

  for (const failing of ["deleteKeys", "listKeys"] as const) {
    it(`are put off and reported if ${failing}() fails after the tick's time, too`, async () => {
      await expired(["k"], 48);
      const late = async () => {
        await sleep(1_100);
        throw new Error("503");
      };
      const datastore: Datastore = { ...archive, [failing]: late };
      const store = stack.store({ datastore, packBytes: 0 });
      const report = await store.tick({ deadlineMs: 1_000 });
      assertEquals([report.purged, report.purging, report.done], [0, 1, false]);
      const deletions = report.errors.filter(({ message }) => message.startsWith("Cannot delete what"));
      assertEquals(deletions.map(({ key, code }) => [key, code]), [["", "UNAVAILABLE"]]);
      assertEquals((await store.status()).purge, 0); // put off
    });
  }

  it("stay due, without a report, if the tick was aborted while they were deleted", async () => {
    await expired(["k"], 48);
    const controller = new AbortController();
    const deleteKeys = () => {
      controller.abort();
      return Promise.reject(new Error("aborted"));
    };
    const store = stack.store({ datastore: { ...archive, deleteKeys }, packBytes: 0 });
    const report = await store.tick({ signal: controller.signal });
    assertEquals([report.purging, report.done, report.errors], [1, false, []]);
    assertEquals((await store.status()).purge, 1);
  });

  it("stay until then: a clock that is wrong for a day deletes nothing", async () => {
    const store = await expired(["k"], 47);
    await stack.raw("ZADD", "tundra:default:purge", 5, "k"); // even if it is looked at
    const report = await store.tick();
    assertEquals([report.purged, report.purging, archive.objects.size], [0, 0, 4]);
    assertEquals(await stack.score("purge", "k") !== undefined, true);
  });

  it("made anew and archived again they are keys like any other", async () => {
    const store = await expired(["k"], 48);
    await stack.raw("SET", "k", "anew");
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    assertEquals((await store.tick()).purged, 0);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "anew");
  });

  for (const how of ["dirty()", "evict(), which finds it changed"] as const) {
    it(`keep their older versions if they expired while dirty and are made anew: ${how}`, async () => {
      const store = stack.store({ datastore: archive });
      await stack.raw("SET", "k", "1");
      await store.dirty("k");
      await store.tick();
      const first = (await stack.record("k"))!.ver;
      // it gets an expiry, which is archived, and then passes while the key is dirty
      await stack.raw("SET", "k", "2", "PX", HOUR_MS);
      await store.dirty("k");
      await store.tick();
      await store.dirty("k");
      await stack.editRecord("k", { exp: Math.floor(await stack.nowMs()) - HOUR_MS });
      await stack.raw("DEL", "k");
      assertEquals((await store.tick()).missing, 1);
      await stack.raw("SET", "k", "anew");
      if (how === "dirty()") await store.dirty("k");
      if (how.startsWith("evict")) assertEquals((await store.evict("k")).kept, keptOf({ k: "rescued" }));
      await stack.endBackoffs();
      assertEquals((await store.tick()).frozen, 1);
      assertEquals((await store.tick()).purged, 0);
      assertEquals(archive.objects.has(`default/k/${first}`), true);
      assertEquals((await stack.record("k"))!.old, "");
    });
  }

  it("del() deletes the objects of one that has expired, and counts it as absent", async () => {
    const store = await expired(["k", "other"], 1);
    assertEquals(await store.del("k"), 0);
    const report = await store.tick();
    assertEquals([report.missing, report.purged, report.errors], [1, 1, []]);
    const objects = [...archive.objects.keys()].filter((name) => name.startsWith("default/k/"));
    assertEquals(objects, [`default/k/${(await stack.record("k"))!.ver}`]); // the tombstone
    assertEquals((await stack.record("k"))!.flag, "g");
  });
});
