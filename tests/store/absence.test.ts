/** Absence is not intent: what is missing and was not removed on purpose keeps all its versions in the archive. */
import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { type Datastore, memoryDatastore, type TickReport, type TundraStore } from "../../mod.ts";
import { hooked, withArchive } from "../support/fixtures.ts";
import { sleep } from "../support/waiting.ts";
import { thawRecord } from "../support/records.ts";

describe("a key that is missing, though nobody removed it", () => {
  const stack = withArchive();
  let archive: ReturnType<typeof memoryDatastore>;
  beforeEach(async () => {
    await stack.flush();
    archive = memoryDatastore();
  });

  const versions = (key: string): string[] =>
    [...archive.objects.keys()].filter((name) => name.startsWith(`default/${key}/`)).sort();

  const errors = (report: TickReport): [string, string][] => report.errors.map(({ key, code }) => [key, code]);

  /** The reason of removal or the expiry in the key's newest object. */
  async function newest(key: string): Promise<unknown> {
    const name = versions(key).at(-1)!;
    const record = await thawRecord(archive.objects.get(name)!, { key, ver: name.split("/").at(-1)! }, []);
    return "gone" in record ? record.gone : record.exp;
  }

  /** The key, archived once; then changed, and the change acknowledged. */
  async function changed(datastore: Datastore = archive, pxat?: number): Promise<TundraStore> {
    const store = stack.store({ datastore, freezer: null });
    await stack.raw("SET", "k", "acknowledged", ...(pxat ? ["PXAT", pxat] : []));
    await store.dirty("k");
    await store.tick();
    if (pxat === undefined) await stack.raw("APPEND", "k", ", and more");
    await store.dirty("k");
    return store;
  }

  it("keeps them: a tick archives a tombstone that says so, reports the key, and deletes nothing", async () => {
    const store = await changed();
    const before = versions("k");
    await stack.raw("DEL", "k"); // as a failover that loses the value's last writes, and not the record's
    const report = await store.tick();
    assertEquals([report.missing, errors(report)], [1, [["k", "MISSING"]]]);
    assertEquals(versions("k").slice(0, -1), before);
    assertEquals([await newest("k"), (await stack.record("k"))!.flag], ["inferred", "m"]);
    await store.ensureKs("k");
    assertEquals([await stack.exists("k"), (await store.status()).dirty], [0, 0]);
    assertEquals([(await store.tick()).claimed, versions("k").length], [0, 2]);
  });

  it("keeps them if it went missing while its change was archived", async () => {
    let lose = false;
    const store = await changed(hooked(archive, {
      putKey: async (...args) => {
        if (lose) await stack.raw("DEL", "k");
        return await archive.putKey(...args);
      },
    }));
    lose = true;
    const first = await store.tick();
    assertEquals([first.missing, first.remaining, errors(first)], [1, 1, []]);
    const report = await store.tick();
    assertEquals([report.missing, errors(report)], [1, [["k", "MISSING"]]]);
    assertEquals([versions("k").length, await newest("k")], [3, "inferred"]);
  });

  it("keeps them, and is not reported if its own expiry explains it", async () => {
    const store = await changed(archive, Math.floor(await stack.nowMs()) + 2_500);
    while (await stack.exists("k") === 1) await new Promise((resolve) => setTimeout(resolve, 10));
    const report = await store.tick();
    assertEquals([report.missing, report.errors], [1, []]);
    assertEquals([versions("k").length, await newest("k")], [2, "inferred"]);
  });

  it("is not reported if its own expiry passes after the claim, before it is read", async () => {
    await changed(archive, Math.floor(await stack.nowMs()) + 3_600_000);
    let claimed = false;
    const store = stack.store({
      datastore: archive,
      freezer: null,
      redis: {
        fetch: async (url, init) => {
          const isRead = String(init?.body).includes("DUMP");
          if (claimed && isRead) {
            claimed = false;
            await sleep(20);
            await stack.editRecord("k", { exp: Math.floor(await stack.nowMs()) - 5 }); // as if time had passed
            await stack.raw("PEXPIREAT", "k", 1);
          }
          return await fetch(url, init);
        },
      },
    });
    await store.tick(); // learns the scripts
    await store.dirty("k");
    claimed = true;
    const before = versions("k");
    const report = await store.tick();
    assertEquals([claimed, report.missing, errors(report)], [false, 1, []]);
    assertEquals([versions("k").slice(0, -1), await newest("k")], [before, "inferred"]);
  });

  it("is not reported if nothing of it was ever archived", async () => {
    const store = stack.store({ datastore: archive, freezer: null });
    await stack.raw("SET", "k", "short-lived");
    await store.dirty("k");
    await stack.raw("DEL", "k");
    const report = await store.tick();
    assertEquals([report.missing, report.errors, await newest("k")], [1, [], "inferred"]);
  });

  for (
    const [what, remove] of [
      ["del()", (store: TundraStore) => store.del("k")],
      ['dirty({ missing: "del" })', (store: TundraStore) => store.dirty({ missing: "del" }, "k")],
    ] as const
  ) {
    it(`is deleted from the archive as soon as ${what} says so`, async () => {
      const store = await changed();
      await stack.raw("DEL", "k");
      await store.tick();
      await remove(store);
      const report = await store.tick();
      assertEquals([report.missing, report.errors], [1, []]);
      assertEquals([versions("k").length, await newest("k")], [1, true]);
      assertEquals((await stack.record("k"))!.flag, "g");
    });
  }

  it("removed on purpose, it is deleted: a marked removal, and del()", async () => {
    const store = await changed();
    await stack.raw("DEL", "k");
    await store.dirty({ missing: "del" }, "k");
    assertEquals(errors(await store.tick()), []);
    assertEquals([versions("k").length, await newest("k")], [1, true]);
    const again = await changed();
    await again.del("k");
    assertEquals(errors(await again.tick()), []);
    assertEquals([versions("k").length, await newest("k")], [1, true]);
  });

  it("created anew, it is a key like any other", async () => {
    const store = await changed();
    await stack.raw("DEL", "k");
    await store.tick();
    await stack.raw("SET", "k", "anew");
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "anew");
  });
});
