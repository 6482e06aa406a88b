/** Datastores that never answer, or say that they stored what they did not: nothing hangs, and nothing is lost. */
import { afterEach, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { memoryDatastore, TundraError } from "../../mod.ts";
import { setPlatform } from "../../src/base/platform.ts";
import { isOwner, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

const never = () => new Promise<never>(() => {});

describe("a datastore", () => {
  const stack = withArchive();
  beforeEach(async () => {
    await stack.flush();
    // long limits pass a hundred times as fast
    setPlatform({
      monotonicMs: () => performance.now(),
      wallClockMs: () => Date.now(),
      uuid: () => crypto.randomUUID(),
      nonce: () => crypto.randomUUID().slice(0, 8),
      random: () => Math.random(),
      digest: (algorithm, data) => crypto.subtle.digest(algorithm, data),
      after(ms, act) {
        const timer = setTimeout(act, ms > 25_000 ? ms / 100 : ms);
        return () => clearTimeout(timer);
      },
    });
  });
  afterEach(() => setPlatform());

  for (const answer of [false, undefined, new Error("disk full")]) {
    it(`whose putKey resolves with ${answer} has stored nothing: the key stays dirty and resident, and is no dead letter`, async () => {
      const inner = memoryDatastore();
      let lying = true;
      const store = stack.store({
        datastore: {
          ...inner,
          putKey: (name, value, options) =>
            lying && !isOwner(name) ? Promise.resolve(answer as true) : inner.putKey(name, value, options),
        },
      });
      await stack.raw("SET", "k", "value");
      await store.dirty("k");
      for (let i = 0; i < 4; i++) {
        const report = await store.tick({ retryBackoffMs: 0 });
        assertEquals([report.frozen, report.failed, report.dead], [0, 1, 0]);
        assertEquals(report.errors.map(({ code }) => code), ["UNAVAILABLE"]);
      }
      assertEquals(await store.evict("k"), { evicted: [], kept: { k: "dirty" } });
      assertEquals(await stack.get("k"), "value");
      lying = false;
      assertEquals((await store.tick({ retryBackoffMs: 0 })).frozen, 1);
      await store.evict("k");
      await store.ensureKs("k");
      assertEquals(await stack.get("k"), "value");
    });
  }

  it("whose fetchKeys hangs fails that ensureKs, and none that comes later", async () => {
    const inner = memoryDatastore();
    let hangs = false;
    const datastore = { ...inner, fetchKeys: (names: string[]) => hangs ? never() : inner.fetchKeys(names) };
    const store = stack.store({ datastore });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    hangs = true;
    for (let i = 0; i < 2; i++) {
      const error = await assertRejects(() => store.ensureKs("k"), TundraError);
      assertInstanceOf(error.causes["k"], TundraError);
      assertEquals([error.causes["k"].code, error.retryable], ["UNAVAILABLE", true]);
    }
    hangs = false;
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "value");
  });

  it("whose hasKeys hangs in a tick's eviction keeps the key, ends the tick, and lets a worker stop", async () => {
    const datastore = { ...memoryDatastore(), hasKeys: never };
    const store = stack.store({ datastore, redisTtlMs: 10 * HOUR_MS });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await store.tick();
    const old = String((await stack.nowMs() - 48 * HOUR_MS) * 1000).padStart(16, "0") + "-00000000";
    await stack.editRecord("k", { ver: old });
    await stack.leaveAlone(11 * HOUR_MS, "k");
    const report = await store.tick();
    assertEquals([report.evicted, await stack.get("k")], [0, "value"]);

    await stack.leaveAlone(11 * HOUR_MS, "k");
    const worker = store.worker();
    const from = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await worker.stop();
    assert(performance.now() - from < 2_000);
    assertEquals(await stack.get("k"), "value");
  });
});
