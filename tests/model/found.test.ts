/**
 * What the simulation found in the package, each with a test of its own.
 * @module
 */
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { memoryDatastore, type TundraStore, tundraStore } from "../../mod.ts";
import { answerFrom, responseOf } from "./endpoint.ts";
import { modelRedis } from "./redis.ts";

const HOUR_US = 3_600_000_000;

/** A store on a Redis whose clock the test sets. */
function storeOnModel(): { store: TundraStore; pass(us: number): void; nowMs(): number } {
  let nowUs = 1_800_000_000_000_000;
  const redis = modelRedis(() => nowUs += 10);
  const answer: typeof fetch = (_url, init) => Promise.resolve(responseOf(answerFrom(redis, init!.body as string)));
  const store = tundraStore(memoryDatastore(), {
    redis: { url: "http://redis.model", token: "token", fetch: answer, enableAutoPipelining: false },
  });
  return { store, pass: (us) => nowUs += us, nowMs: () => Math.floor(nowUs / 1000) };
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
