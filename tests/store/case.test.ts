/** An archive that ignores case, as some disks do: no key gets at another one's objects. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { memoryDatastore, type RangeRead } from "../../mod.ts";
import { withArchive } from "../support/fixtures.ts";

/** Finds, deletes and lists whatever the case. A listing of a folder names it as it was asked for. */
function ignoringCase() {
  const { objects, ...inner } = memoryDatastore();
  const lower = (list: string[]) => list.map((name) => name.toLowerCase());
  return {
    objects,
    putKey: (name: string, value: Uint8Array) => inner.putKey(name.toLowerCase(), value),
    fetchKeys: (list: string[]) => inner.fetchKeys(lower(list)),
    fetchRanges: (reads: RangeRead[]) =>
      inner.fetchRanges(reads.map((read) => ({ ...read, name: read.name.toLowerCase() }))),
    hasKeys: (list: string[]) => inner.hasKeys(lower(list)),
    deleteKeys: (list: string[]) => inner.deleteKeys(lower(list)),
    listKeys: async (prefix: string, cursor?: string) => {
      const page = await inner.listKeys(prefix.toLowerCase(), cursor);
      return { ...page, names: page.names.map((name) => prefix + name.slice(prefix.length)) };
    },
  };
}

describe("an archive that ignores case", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("keeps keys apart that differ in case only: del() of one leaves the others' objects", async () => {
    const datastore = ignoringCase();
    const store = stack.store({ datastore });
    const keys = ["sess:abc", "sess:aBc", "sess:AbC", "SESS:ABC", "a.3a", "a.3A", "K".repeat(300), "k".repeat(300)];
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
    assertEquals((await store.tick()).frozen, keys.length);
    assertEquals((await store.evict(keys)).evicted, keys);
    const before = datastore.objects.size;

    assertEquals(await store.del("sess:aBc"), 1);
    await store.tick();
    const left = keys.filter((key) => key !== "sess:aBc");
    await store.ensureKs(left);
    for (const key of left) assertEquals(await stack.get(key), `value of ${key}`);
    assert(datastore.objects.size <= before + 1, "of the deleted key a tombstone is left at most");
  });
});
