/** Before a tick evicts a key whose version is older than a day, it asks the archive for it. */
import type { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { type Datastore, deflateFreezer, type TundraStore } from "../../mod.ts";
import { BUCKET, hooked, withArchive } from "../support/fixtures.ts";
import { freezeRecord } from "../support/records.ts";
import { HOUR_MS } from "../support/times.ts";

describe("idle keys whose version is older than a day", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const DAY = 24 * HOUR_MS;

  const idleStore = (datastore?: Datastore) => stack.store({ redisTtlMs: 10 * HOUR_MS, datastore });

  /** `key`, archived so long ago, unused since, and due for eviction. */
  async function archivedAgo(ms: number, key = "k"): Promise<{ store: TundraStore; name: string }> {
    const store = idleStore();
    await stack.raw("SET", key, "value");
    await store.dirty(key);
    await stack.store().tick(); // which evicts nothing
    const at = Math.floor(await stack.nowMs() - ms);
    const ver = `${String(at * 1000).padStart(16, "0")}-0badcafe`;
    const objects = stack.s3.objects(BUCKET);
    for (const name of stack.objectNames()) if (name.startsWith(`default/${key}/`)) objects.delete(name);
    const dump = new Uint8Array(await stack.raw("DUMP", key) as Buffer);
    const name = `default/${key}/${ver}`;
    objects.set(name, await freezeRecord({ key, ver, at, exp: 0, dump }, [deflateFreezer()]));
    await stack.editRecord(key, { ver });
    await stack.leaveAlone(Math.max(ms, 11 * HOUR_MS), key);
    return { store, name };
  }

  it("are evicted if the archive has it, and come back", async () => {
    const { store } = await archivedAgo(3 * DAY);
    const gets = stack.s3Count("GetObject");
    const report = await store.tick();
    assertEquals([report.evicted, report.rescued], [1, 0]);
    assertEquals(stack.s3Count("GetObject") - gets, 1 + 1); // the owner, and the version
    assertEquals(await stack.exists("k"), 0);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "value");
  });

  it("are archived again, not evicted, if the archive has lost it", async () => {
    const { store, name } = await archivedAgo(3 * DAY);
    stack.s3.objects(BUCKET).delete(name);
    const report = await store.tick();
    assertEquals([report.evicted, report.rescued, await stack.get("k")], [0, 1, "value"]);
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.tick()).evicted, 0); // not before what was just archived is an hour old
    await stack.leaveAlone(11 * HOUR_MS, "k");
    assertEquals((await store.tick()).evicted, 1);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "value");
  });

  const unknown: [string, Datastore["hasKeys"]][] = [
    ["answers with an error", (names) => Promise.resolve(names.map(() => new Error("who knows")))],
    ["throws", () => Promise.reject(new Error("down"))],
    ["answers nothing", () => Promise.resolve([])],
  ];
  for (const [how, hasKeys] of unknown) {
    it(`stay for another hour if the archive ${how}`, async () => {
      await archivedAgo(3 * DAY);
      const store = idleStore(hooked(stack.datastore(), { hasKeys }));
      const report = await store.tick();
      assertEquals([report.evicted, report.rescued, await stack.get("k")], [0, 0, "value"]);
      const limit = await stack.nowMs() - 10 * HOUR_MS;
      assertAlmostEquals((await stack.score("idle", "k"))!, limit + HOUR_MS, 2_000);
      assertEquals((await store.tick()).evicted, 0);
      assertEquals((await store.status()).dirty, 0);
    });
  }

  it("are evicted unasked if the datastore has no hasKeys", async () => {
    await archivedAgo(3 * DAY);
    const { putKey, fetchKeys } = stack.datastore();
    const report = await idleStore({ putKey, fetchKeys }).tick();
    assertEquals([report.evicted, await stack.exists("k")], [1, 0]);
  });

  it("versions younger than a day are not asked for", async () => {
    const { store } = await archivedAgo(DAY - 60_000);
    const gets = stack.s3Count("GetObject");
    assertEquals((await store.tick()).evicted, 1);
    assertEquals(stack.s3Count("GetObject") - gets, 1); // the owner
  });

  it("one unknown key delays no other", async () => {
    await archivedAgo(3 * DAY, "a");
    await archivedAgo(3 * DAY, "b");
    const { name } = await archivedAgo(3 * DAY, "c");
    stack.s3.objects(BUCKET).delete(name);
    const archive = stack.datastore();
    const store = idleStore(hooked(archive, {
      async hasKeys(names, options) {
        const answers = await archive.hasKeys(names, options);
        return answers.map((answer, i) => names[i]!.startsWith("default/a/") ? new Error("unknown") : answer);
      },
    }));
    const report = await store.tick();
    assertEquals([report.evicted, report.rescued], [1, 1]);
    assertEquals([await stack.exists("a"), await stack.exists("b"), await stack.exists("c")], [1, 0, 1]);
  });

  it("eviction acts on the version that was asked for only: one that was archived meanwhile is another matter", async () => {
    const { store } = await archivedAgo(3 * DAY);
    const archive = stack.datastore();
    const racing = idleStore(hooked(archive, {
      async hasKeys(names, options) {
        const answers = await archive.hasKeys(names, options);
        await stack.raw("SET", "k", "newer");
        await store.dirty("k");
        await stack.store().tick();
        await stack.leaveAlone(11 * HOUR_MS, "k");
        return answers.map(() => false); // of the old version; the new one is there
      },
    }));
    const report = await racing.tick();
    assertEquals([report.evicted, report.rescued, await stack.get("k")], [0, 0, "newer"]);
    assert((await stack.record("k"))!.rev === 0);
  });

  describe("and evict()", () => {
    it("asks the archive, too: evicted if it has it", async () => {
      const { store } = await archivedAgo(3 * DAY);
      assertEquals(await store.evict("k"), { evicted: ["k"], kept: {} });
      await store.ensureKs("k");
      assertEquals(await stack.get("k"), "value");
    });

    it("marks what the archive has lost", async () => {
      const { store, name } = await archivedAgo(3 * DAY);
      stack.s3.objects(BUCKET).delete(name);
      assertEquals(await store.evict("k"), { evicted: [], kept: { k: "rescued" } });
      assertEquals([await stack.get("k"), (await store.tick()).frozen], ["value", 1]);
      assertEquals((await store.evict("k")).evicted, ["k"]);
      await store.ensureKs("k");
      assertEquals(await stack.get("k"), "value");
    });

    it("keeps what the archive says nothing of", async () => {
      await archivedAgo(3 * DAY);
      const store = idleStore(hooked(stack.datastore(), { hasKeys: () => Promise.reject(new Error("down")) }));
      assertEquals(await store.evict("k"), { evicted: [], kept: { k: "unknown" } });
      assertEquals(await stack.get("k"), "value");
    });
  });
});
