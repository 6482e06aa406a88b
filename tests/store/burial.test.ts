import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { type DataStore, notFound, TundraError } from "../../mod.ts";
import { withArchive } from "./kit.ts";

describe("what a tombstone buries", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** A key with `versions` archived versions, then deleted. */
  async function deleted(versions: number, datastore?: DataStore) {
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

  it("costs nothing where nothing was archived", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "short-lived");
    await store.dirty("k");
    await stack.raw("DEL", "k");
    assertEquals((await store.tick()).missing, 1);
    assertEquals([stack.s3Count("ListObjectsV2"), stack.s3Count("DeleteObject")], [0, 0]);
  });

  it("is the version of the record where the datastore cannot list", async () => {
    const { listKeys: _, ...datastore } = stack.datastore();
    const store = await deleted(2, datastore);
    await store.tick();
    const { ver } = (await stack.record("k"))!;
    assertEquals(stack.objectNames().filter((name) => name === `default/k/${ver}`).length, 1);
    assertEquals(stack.objectNames().length, 2); // an older one is garbage: nothing names it
  });

  it("stays where deleting fails: reported, and the key is removed all the same", async () => {
    const datastore = stack.datastore();
    const refusing: DataStore = {
      ...datastore,
      deleteKeys: () => Promise.reject(new TundraError("UNAVAILABLE", "the archive keeps everything")),
    };
    const store = await deleted(1, refusing);
    const report = await store.tick();
    assertEquals([report.missing, report.failed, report.errors.map(({ message }) => message)], [
      1,
      0,
      ["the archive keeps everything"],
    ]);
    await store.ensureKs("k");
    assertEquals([await stack.exists("k"), (await store.status()).dirty], [0, 0]);
  });

  it("counts as requests of the tick, and is left to others where they are used up", async () => {
    const store = await deleted(1);
    const all = await store.tick();
    assertEquals(all.subrequests, 3 + 1 + 1 + 1); // claim, snapshot, commit; put, list, delete
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

  it("a loss is still one where the record stays as it is", async () => {
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
    // the owner, too, is absent for this datastore, which matters only where the index has no id
    assertEquals(codes, { k: "LOST" });
  });
});
