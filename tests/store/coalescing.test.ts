/** Concurrent calls of one process for the same archived value. */
import { beforeEach, it } from "node:test";
import { assertEquals } from "@std/assert";
import type { Datastore, TundraError, TundraStore } from "../../mod.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { describePackings, hooked, names, tundraError, withArchive } from "../support/fixtures.ts";
import { type Gate, gate, sleep, until } from "../support/waiting.ts";

/** The time limit of a fetch of one object, with a datastore whose own limit is 10 s. */
const GUARD_MS = 30_200;

describePackings("concurrent ensureKs", (packBytes) => {
  const stack = withArchive({ packBytes });
  beforeEach(() => stack.flush());

  async function evicted(...keys: string[]): Promise<void> {
    const store = stack.store();
    for (const key of keys) await stack.raw("SET", key, `value of ${key}`);
    await store.dirty(keys);
    await store.tick();
    await store.evict(keys);
    await store.ensureKs("other"); // Redis knows the script of a check
    await stack.server.resetCounters();
  }

  /** S3 whose fetches wait at the door; counts the objects, and ranges of packs, asked for. */
  function slow(door: Gate): Required<Datastore> & { asked: string[] } {
    const archive = stack.datastore();
    const asked: string[] = [];
    return Object.assign(
      hooked(archive, {
        async fetchKeys(names, options) {
          asked.push(...names.map((name) => name.split("/")[1]!));
          await door.wait();
          return await archive.fetchKeys(names, options);
        },
        async fetchRanges(reads, options) {
          asked.push(...reads.map(({ name }) => name.split("/")[1]!));
          await door.wait();
          return await archive.fetchRanges(reads, options);
        },
      }),
      { asked },
    );
  }

  /** `n` calls whose checks are all through before the first fetch is answered. */
  async function together(store: TundraStore, door: Gate, calls: string[][]): Promise<void> {
    const all = Promise.all(calls.map((keys) => store.ensureKs(keys)));
    await until("all have checked", () => stack.server.requests === calls.length);
    await sleep(150); // until the last of them has asked for its objects
    door.open();
    await all;
  }

  it("10 of one key fetch it once", async () => {
    await evicted("k");
    const door = gate();
    const archive = slow(door);
    await together(stack.store({ datastore: archive }), door, Array(10).fill(["k"]));
    assertEquals([archive.asked.length, await stack.get("k")], [1, "value of k"]);
    assertEquals((await stack.store().status()).totals.restored, 1);
  });

  it("of overlapping keys fetch each once", async () => {
    const keys = names(6);
    await evicted(...keys);
    const door = gate();
    const archive = slow(door);
    await together(stack.store({ datastore: archive }), door, [keys.slice(0, 4), keys.slice(2), keys]);
    const objects = ["k.3A0", "k.3A1", "k.3A2", "k.3A3", "k.3A4", "k.3A5"];
    assertEquals(archive.asked.toSorted(), packBytes > 0 ? ["~packs"] : objects);
    assertEquals(await stack.exists(...keys), 6);
  });

  it("share a failure, and forget it: the next call fetches again", async () => {
    await evicted("k");
    const archive = stack.datastore();
    let fetches = 0;
    const store = stack.store({
      datastore: hooked(archive, {
        async fetchKeys(names, options) {
          if (++fetches > 1) return await archive.fetchKeys(names, options);
          await sleep(100);
          throw new Error("down");
        },
      }),
    });
    const errors = await Promise.all(
      Array.from({ length: 3 }, () => tundraError("ENSURE_FAILED", () => store.ensureKs("k"))),
    );
    assertEquals(errors.map(({ causes }) => (causes.k as TundraError).code), Array(3).fill("UNAVAILABLE"));
    assertEquals(fetches, 1);
    await store.ensureKs("k");
    assertEquals([fetches, await stack.get("k")], [2, "value of k"]);
  });

  it("do not wait for a fetch that hangs: later ones fetch for themselves, and the first fails at its time limit", async () => {
    await evicted("k");
    const archive = stack.datastore();
    let [fetches, aheadMs] = [0, 0];
    let timeIsOver = () => {};
    setPlatform({
      ...PLATFORM,
      monotonicMs: () => PLATFORM.monotonicMs() + aheadMs,
      after(ms, act) {
        if (ms !== GUARD_MS) return PLATFORM.after(ms, act);
        if (fetches === 0) timeIsOver = act;
        return () => {};
      },
    });
    try {
      const fetchKeys: Datastore["fetchKeys"] = (names, options) =>
        ++fetches > 1 ? archive.fetchKeys(names, options) : new Promise(() => {});
      const store = stack.store({ datastore: hooked(archive, { fetchKeys, timeoutMs: 10_000 }) });
      const first = tundraError("ENSURE_FAILED", () => store.ensureKs("k"));
      await until("the first one hangs", () => fetches === 1);
      const second = tundraError("ENSURE_FAILED", () => store.ensureKs("k"));
      await until("the second one shares its fetch", () => stack.server.requests === 2);
      await sleep(30);
      aheadMs = 5_000;
      const third = store.ensureKs("k");
      await until("the third one fetches", () => fetches === 2);
      await third;
      assertEquals(await stack.get("k"), "value of k");
      timeIsOver();
      for (const error of [await first, await second]) {
        assertEquals((error.causes.k as TundraError).code, "UNAVAILABLE");
      }
      await store.evict("k");
      await store.ensureKs("k");
      assertEquals([fetches, await stack.get("k")], [3, "value of k"]);
    } finally {
      setPlatform();
    }
  });

  it("of another version fetch that one: what was fetched before is not kept", async () => {
    await evicted("k");
    const store = stack.store();
    await store.ensureKs("k");
    await stack.raw("SET", "k", "newer");
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    const gets = stack.s3Count("GetObject");
    await store.ensureKs("k");
    assertEquals([stack.s3Count("GetObject") - gets, await stack.get("k")], [1, "newer"]);
  });

  it("of two stores fetch twice: nothing is shared beyond a store", async () => {
    await evicted("k");
    const door = gate();
    const archive = slow(door);
    const stores = [stack.store({ datastore: archive }), stack.store({ datastore: archive })];
    const all = Promise.all(stores.map((store) => store.ensureKs("k")));
    await until("both have asked", () => archive.asked.length === 2);
    door.open();
    await all;
    assertEquals(await stack.get("k"), "value of k");
  });

  it("on Cloudflare Workers each fetch for themselves: a promise dies with the request that made it", async () => {
    await evicted("k");
    const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
    Object.defineProperty(globalThis, "navigator", {
      value: { userAgent: "Cloudflare-Workers" },
      configurable: true,
      writable: true,
    });
    try {
      const door = gate();
      const archive = slow(door);
      await together(stack.store({ datastore: archive }), door, Array(10).fill(["k"]));
      assertEquals([archive.asked.length, await stack.get("k")], [10, "value of k"]);
      assertEquals((await stack.store().status()).totals.restored, 1);
    } finally {
      if (before) Object.defineProperty(globalThis, "navigator", before);
      else delete (globalThis as { navigator?: unknown }).navigator;
    }
  });

  it("fetch in bounded waves: never more than 128 objects of one call at once, and one block once", async () => {
    const keys = names(300);
    await evicted(...keys);
    const archive = stack.datastore();
    const waves: number[] = [];
    const store = stack.store({
      datastore: hooked(archive, {
        async fetchKeys(names, options) {
          waves.push(names.length);
          return await archive.fetchKeys(names, options);
        },
        async fetchRanges(reads, options) {
          waves.push(reads.length);
          return await archive.fetchRanges(reads, options);
        },
      }),
    });
    await store.ensureKs(keys);
    assertEquals(waves, packBytes > 0 ? [1] : [128, 128, 44]);
    assertEquals(await stack.exists(...keys), 300);
  });
});
