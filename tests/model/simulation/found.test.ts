/**
 * Faults that the simulation found in the package, each with a test of its own.
 * @module
 */
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { type Datastore, memoryDatastore, type TundraStore, tundraStore } from "../../../mod.ts";
import { HOUR_US } from "../../support/times.ts";
import { answerFrom, responseOf } from "../redis/endpoint.ts";
import { modelRedis } from "../redis/redis.ts";

/** Stores on a Redis whose clock the test sets; `beside` is one on another datastore. */
function storeOnModel(
  datastore: Datastore = memoryDatastore(),
  other: Datastore = datastore,
): { store: TundraStore; beside: TundraStore; pass(us: number): void; nowMs(): number } {
  let nowUs = 1_800_000_000_000_000;
  const redis = modelRedis(() => nowUs += 10);
  const answer: typeof fetch = (_url, init) => Promise.resolve(responseOf(answerFrom(redis, init!.body as string)));
  const connection = { url: "http://redis.model", token: "token", fetch: answer, enableAutoPipelining: false };
  const [store, beside] = [datastore, other].map((each) => tundraStore(each, { redis: connection })) as [
    TundraStore,
    TundraStore,
  ];
  return { store, beside, pass: (us) => nowUs += us, nowMs: () => Math.floor(nowUs / 1000) };
}

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
