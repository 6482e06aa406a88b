/**
 * Faults that the simulation found in the package, each with a test of its own.
 * @module
 */
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { type Datastore, memoryDatastore } from "../../../mod.ts";
import { HOUR_US } from "../../support/times.ts";
import { storeOnModel } from "../redis/store.ts";

describe("found by the simulation", () => {
  it("evict() calls a key that expired while it was evicted missing, not evicted", async () => {
    const { store, pass, nowMs } = storeOnModel();
    await store.redis.set("a", "1", { pxat: nowMs() + 3_600_000 });
    await store.dirty("a");
    await store.tick();
    assertEquals(await store.evict("a"), { evicted: ["a"], kept: {} });
    assertEquals(await store.evict("a"), { evicted: ["a"], kept: {} });
    pass(2 * HOUR_US);
    assertEquals(await store.evict("a"), { evicted: [], kept: { a: "missing" } });
  });

  it("a tick that was frozen while it searched for lost records does not take what expired meanwhile for lost", async () => {
    const archive = memoryDatastore();
    let meanwhile: (() => Promise<void>) | undefined;
    const slow: Datastore = {
      ...archive,
      async listKeys(...args) {
        const page = await archive.listKeys!(...args);
        await meanwhile?.();
        meanwhile = undefined;
        return page;
      },
    };
    const late: Datastore = { ...archive, deleteKeys: () => Promise.resolve() }; // its requests are under way for long
    const { store, beside, pass, nowMs } = storeOnModel(slow, late);
    await store.tick();
    await store.redis.set("a", "1", { pxat: nowMs() + 3 * 3_600_000 });
    await store.dirty("a");
    await store.tick();
    pass(2 * HOUR_US);
    const leaseMs = 1_000;
    meanwhile = async () => {
      pass(60 * HOUR_US);
      assertEquals((await beside.tick()).purged, 1);
      for (const from = performance.now(); performance.now() < from + leaseMs;); // no timer runs, as in a frozen process
    };
    const { errors } = await store.tick({ leaseMs });
    assertEquals([meanwhile, errors], [undefined, []]);
  });
});

describe("found by the exploration", () => {
  it("ensureKs() looks again if the newer version that it found goes before it is fetched", async () => {
    const archive = memoryDatastore();
    const meanwhile: (() => Promise<unknown>)[] = [];
    const slow: Datastore = {
      ...archive,
      async fetchKeys(names, options) {
        await meanwhile.shift()?.();
        return await archive.fetchKeys(names, options);
      },
    };
    const { store, beside } = storeOnModel(slow, archive);
    await store.redis.set("a", "1");
    await store.dirty("a");
    await beside.tick();
    assertEquals(await store.evict("a"), { evicted: ["a"], kept: {} });
    meanwhile.push(
      async () => {
        assertEquals(await beside.del("a"), 1);
        await beside.tick(); // its tombstone is what will be found
      },
      async () => {
        await beside.redis.set("a", "2");
        await beside.dirty("a");
        assertEquals(await beside.del("a"), 1);
        await beside.tick(); // purges what is older than that tombstone
      },
    );
    await store.ensureKs("a");
    assertEquals(meanwhile.length, 0);
    assertEquals(await store.redis.get("a"), null);
  });
});
