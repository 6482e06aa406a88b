import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { type Datastore, memoryDatastore, notFound, TundraError } from "../../mod.ts";
import { isPack, names, withArchive } from "../support/fixtures.ts";

describe("what a removal leaves in the archive", () => {
  const stack = withArchive({ packBytes: 0 });
  beforeEach(() => stack.flush());

  /** A key with `versions` archived versions, then deleted. */
  async function deleted(versions: number, datastore?: Datastore) {
    const store = stack.store({ datastore });
    for (let i = 1; i <= versions; i++) {
      await stack.raw("SET", "k", `value ${i}`);
      await store.dirty("k");
      await store.tick();
    }
    await store.evict("k");
    await store.del("k");
    return store;
  }

  it("leaves the archive with the tick that archives the tombstone: all versions, of this key alone", async () => {
    const store = await deleted(3);
    await stack.raw("SET", "k2", "another key"); // its names begin alike
    await store.dirty("k2");
    assertEquals(stack.objectNames().length, 3);
    const report = await store.tick();
    assertEquals([report.missing, report.frozen, report.errors], [1, 1, []]);
    const record = (await stack.record("k"))!;
    assertEquals(record.flag, "g");
    assertEquals(stack.objectNames(), [`default/k/${record.ver}`, `default/k2/${(await stack.record("k2"))!.ver}`]);
  });

  it("is never a version that the record has not heard of: Redis may have lost its commit, and then it is the last copy", async () => {
    const store = await deleted(1);
    const [known] = stack.objectNames();
    const newer = `default/k/${String(Number(known!.slice(-25, -9)) + 1).padStart(16, "0")}-00000000`;
    await stack.datastore().putKey(newer, new Uint8Array([1]));
    await store.tick();
    assertEquals(stack.objectNames(), [newer, `default/k/${(await stack.record("k"))!.ver}`]);
  });

  it("costs nothing if nothing was archived", async () => {
    const store = stack.store();
    await store.tick(); // lists until the index owns the archive
    const lists = stack.s3Count("ListObjectsV2");
    await stack.raw("SET", "k", "short-lived");
    await store.dirty("k");
    await stack.raw("DEL", "k");
    assertEquals((await store.tick()).missing, 1);
    assertEquals([stack.s3Count("ListObjectsV2") - lists, stack.s3Count("DeleteObject")], [0, 0]);
  });

  it("is the version of the record if the datastore cannot list", async () => {
    const { listKeys: _, ...datastore } = stack.datastore();
    const store = await deleted(2, datastore);
    await store.tick();
    const { ver } = (await stack.record("k"))!;
    assertEquals(stack.objectNames().filter((name) => name === `default/k/${ver}`).length, 1);
    assertEquals(stack.objectNames().length, 2); // an older one is garbage: nothing names it
  });

  it("stays if deleting is refused: reported each time, counted, tried again by later ticks", async () => {
    const datastore = stack.datastore();
    let refuses = true;
    const store = await deleted(3, {
      ...datastore,
      deleteKeys: async (...args) => {
        if (refuses) throw new TundraError("UNAVAILABLE", "no right to delete", { retryable: false });
        await datastore.deleteKeys(...args);
      },
    });
    for (let round = 0; round < 3; round++) {
      const report = await store.tick();
      assertEquals([report.failed, report.purged, report.purging, report.done], [0, 0, 1, false]);
      assertEquals(report.errors.map(({ code, key }) => [code, key]), [["UNAVAILABLE", ""]]);
      assertEquals(report.errors[0]!.message.endsWith('1 key ("k") left in the archive: no right to delete'), true);
      assertEquals([(await store.status()).purge, (await store.tick()).purging], [0, 0]); // not before its time
      await stack.raw("ZADD", "tundra:default:purge", "XX", 5, "k");
      assertEquals((await store.status()).purge, 1);
    }
    await store.ensureKs("k");
    assertEquals([await stack.exists("k"), stack.objectNames().length], [0, 4]);
    refuses = false;
    const report = await store.tick();
    assertEquals([report.purged, report.purging, report.done, report.errors], [1, 0, true, []]);
    assertEquals([stack.objectNames().length, (await store.status()).purge], [1, 0]);
  });

  it("is deleted by a later tick if one dies after the tombstone's commit", async () => {
    const datastore = stack.datastore();
    const controller = new AbortController();
    const store = await deleted(3, {
      ...datastore,
      listKeys: (prefix, cursor, options) => {
        if (prefix === "default/k/") controller.abort(new Error("the process ends"));
        return datastore.listKeys(prefix, cursor, options);
      },
    });
    await store.tick({ signal: controller.signal });
    assertEquals([(await stack.record("k"))!.flag, stack.objectNames().length], ["g", 4]);
    assertEquals((await store.status()).purge, 1);
    const report = await stack.store().tick();
    assertEquals([report.claimed, report.purged, report.done, stack.objectNames().length], [0, 1, true, 1]);
  });

  it("leaves the archive though the key is made anew before any tick: what is newer stays", async () => {
    const store = await deleted(3);
    await stack.raw("SET", "k", "anew");
    await store.dirty("k");
    const report = await store.tick();
    assertEquals([report.frozen, report.missing, report.purged], [1, 0, 1]);
    assertEquals(stack.objectNames(), [`default/k/${(await stack.record("k"))!.ver}`]);
    await store.evict("k");
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "anew");
  });

  it("of 40 keys with 3 versions each leaves the archive by ticks with 45 requests each", async () => {
    const archive = memoryDatastore(); // counted as a request a name
    const store = stack.store({ datastore: archive });
    const keys = names(40);
    for (let i = 0; i < 3; i++) {
      await stack.raw("MSET", ...keys.flatMap((key) => [key, `value ${i}`]));
      await store.dirty(keys);
      await store.tick();
    }
    await store.del(keys);
    assertEquals(archive.objects.size, 122);
    let ticks = 0;
    for (let done = false; !done; ticks++) {
      const before = archive.objects.size;
      const report = await store.tick({ maxSubrequests: 45 });
      assertEquals([report.errors, report.subrequests <= 45], [[], true]);
      assertEquals(report.done, archive.objects.size === 42, `${archive.objects.size} objects, ${report.purging} wait`);
      assert(archive.objects.size < before || report.claimed > 0, "no progress");
      done = report.done;
      assert(ticks < 12, `${archive.objects.size} objects are left after ${ticks} ticks`);
    }
    assertEquals([archive.objects.size, (await store.status()).purge], [42, 0]);
  });

  it("is deleted in one call for all keys", async () => {
    const archive = memoryDatastore();
    const calls: number[] = [];
    const store = stack.store({
      datastore: {
        ...archive,
        deleteKeys: (names, options) => {
          calls.push(names.length);
          return archive.deleteKeys(names, options);
        },
      },
    });
    const keys = names(60);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    await store.tick();
    await store.del(keys);
    assertEquals([(await store.tick()).purged, calls], [60, [60]]);
  });

  it("counts as requests of the tick, and is left to others if they are used up", async () => {
    await (await deleted(1)).tick(); // from now on Redis knows the scripts
    await stack.flush();
    const store = await deleted(1);
    const all = await store.tick();
    assertEquals(all.subrequests, 3 + 1 + 3 + 1); // claim, snapshot, commit; owner; put, list, delete; purged
    await stack.flush();
    const again = await deleted(1);
    const bounded = await again.tick({ maxSubrequests: 12 });
    assertEquals([bounded.missing, bounded.subrequests <= 12], [1, true]);
  });

  it("is no loss for an ensureKs() that saw the key before it was deleted", async () => {
    const { listKeys: _, ...datastore } = stack.datastore();
    const store = await deleted(1, datastore);
    const other = stack.store({
      datastore: {
        ...datastore,
        async fetchKeys(names: string[]) {
          await store.del("k2");
          await store.tick();
          return await datastore.fetchKeys(names);
        },
      },
    });
    await stack.raw("SET", "k2", "value");
    await store.dirty("k2");
    await store.tick();
    await store.evict("k2");
    await other.ensureKs("k2");
    assertEquals(await stack.exists("k2"), 0);
  });

  it("a loss is still one if the record stays as it is", async () => {
    const { listKeys: _, ...datastore } = stack.datastore();
    const store = stack.store({
      datastore: { ...datastore, fetchKeys: (names) => Promise.resolve(names.map((name) => notFound(name))) },
    });
    const writer = stack.store();
    await stack.raw("SET", "k", "value");
    await writer.dirty("k");
    await writer.tick();
    await writer.evict("k");
    const codes: Record<string, string> = {};
    await store.ensureKs("k").catch((error: TundraError) => {
      for (const [key, cause] of Object.entries(error.causes)) codes[key] = (cause as TundraError).code;
    });
    // the owner, too, is absent for this datastore, which matters only if the index has no id
    assertEquals(codes, { k: "LOST" });
  });
});

describe("what a removal leaves in packs", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("stays in them, and is absent: the tombstones share a pack, the others of the old one come back", async () => {
    const store = stack.store();
    const [keys, others] = [names(10), names(10, "other")];
    await stack.raw("MSET", ...[...keys, ...others].flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(...keys, ...others);
    await store.tick();
    await store.evict(...keys, ...others);
    await store.del(keys);
    const report = await store.tick();
    assertEquals([report.missing, report.purged, report.purging, report.errors], [10, 10, 0, []]);
    assertEquals([stack.objectNames().filter(isPack).length, stack.objectNames().length], [2, 2]);
    assertEquals([stack.s3Count("DeleteObject"), (await store.status()).purge], [0, 0]);
    await store.ensureKs(...keys, ...others);
    assertEquals([await stack.exists(...keys), await stack.exists(...others)], [0, 10]);
    assertEquals(await stack.get("other:7"), "value of other:7");
  });

  it("goes as far as it has objects of its own: versions before and after the one in a pack", async () => {
    const alone = async (key: string) => {
      await stack.raw("SET", key, "alone");
      await store.dirty(key);
      await store.tick();
    };
    const store = stack.store();
    await alone("k");
    await stack.raw("MSET", "k", "together", "other", "1");
    await store.dirty("k", "other");
    await store.tick();
    await alone("k");
    assertEquals(stack.objectNames().map(isPack), [false, false, true]);
    await store.del("k");
    assertEquals((await store.tick()).purged, 1);
    assertEquals(stack.objectNames(), [
      `default/k/${(await stack.record("k"))!.ver}`, // the tombstone
      `default/~packs/${(await stack.record("other"))!.ver.split("@")[0]}`,
    ]);
  });

  it("is no loss for an ensureKs() that saw the key before it was deleted", async () => {
    const store = stack.store();
    const datastore = stack.datastore();
    const other = stack.store({
      datastore: {
        ...datastore,
        async fetchRanges(...args) {
          await store.del("k:0");
          await store.tick();
          return await datastore.fetchRanges(...args);
        },
      },
    });
    await stack.raw("MSET", ...names(3).flatMap((key) => [key, "value"]));
    await store.dirty(names(3));
    await store.tick();
    await store.evict(names(3));
    await other.ensureKs(names(3));
    assertEquals(await stack.exists(...names(3)), 2);
  });
});
