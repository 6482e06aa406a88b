/** The objects that a tick purges: only older versions of that very key, and nothing once it has reported. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { type Datastore, memoryDatastore, type TundraStore } from "../../mod.ts";
import { hooked, withArchive } from "../support/fixtures.ts";
import { sleep } from "../support/waiting.ts";

describe("a tick that purges what was deleted", () => {
  const stack = withArchive({ packBytes: 0 });
  beforeEach(() => stack.flush());

  /** Keys that were archived, then deleted; and one that lives. */
  async function deleted(keys: string[], hooks: (archive: Required<Datastore>) => Partial<Datastore>) {
    const archive = memoryDatastore();
    const store: TundraStore = stack.store({ datastore: hooked(archive, hooks(archive)) });
    await stack.raw("MSET", ...[...keys, "z"].flatMap((key) => [key, `value of ${key}`]));
    await store.dirty([...keys, "z"]);
    await stack.store({ datastore: archive }).tick();
    await store.del(keys);
    return { archive, store };
  }

  it("has nothing under way after its report, though the objects of one key could not be listed", async () => {
    let running = 0;
    let listed = 0;
    const { archive, store } = await deleted(["a", "b", "c"], (archive) => ({
      async listKeys(prefix, cursor) {
        if (prefix === "default/a/") throw new Error("no");
        running++;
        await sleep(100);
        const page = await archive.listKeys(prefix, cursor);
        running--;
        listed++;
        return page;
      },
    }));
    const report = await store.tick();
    assertEquals([report.missing, running, listed, report.purged, report.purging], [3, 0, 2, 2, 1]);
    assertEquals(report.errors.map(({ key, code }) => [key, code]), [["", "UNAVAILABLE"]]);
    const objects = (key: string) => [...archive.objects.keys()].filter((name) => name.startsWith(`default/${key}/`));
    assertEquals(["a", "b", "c"].map((key) => objects(key).length), [2, 1, 1]); // the others' tombstones are left
    assertEquals(report.errors.map(({ key, code }) => [key, code]), [["", "UNAVAILABLE"]]);
  });

  it("says once that a deletion failed, whichever key comes first in it", async () => {
    const { store } = await deleted(["a", "b", "c"], () => ({
      deleteKeys(names) {
        assert(names.some((name) => name.startsWith("default/a/")));
        return Promise.reject(new Error("no"));
      },
    }));
    const report = await store.tick();
    assertEquals([report.missing, report.purged, report.purging], [3, 0, 3]);
    assertEquals(report.errors.map(({ key, code }) => [key, code]), [["", "UNAVAILABLE"]]);
  });

  it("waits no longer than its lease for a datastore that hangs", async () => {
    const { store } = await deleted(["a"], () => ({ deleteKeys: () => new Promise(() => {}) }));
    const report = await store.tick({ leaseMs: 1_000 });
    assertEquals([report.missing, report.errors.length], [1, 1]);
    assert(report.durationMs < 3_000);
  });

  it("deletes no other key's objects, whatever a datastore lists", async () => {
    const { archive, store } = await deleted(["a"], (archive) => ({
      listKeys: () => archive.listKeys(""),
    }));
    const { missing, purging, errors } = await store.tick();
    assertEquals([missing, purging, errors.length], [1, 1, 1]); // such a listing is refused: tried again later
    assertEquals([...archive.objects.keys()].filter((name) => name.startsWith("default/z/")).length, 1);
    assertEquals((await store.evict("z")).evicted, ["z"]);
    await store.ensureKs("z");
    assertEquals(await stack.get("z"), "value of z");
  });
});
