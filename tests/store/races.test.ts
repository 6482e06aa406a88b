/** A key while another client works on it. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertGreater } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import { describePackings, hooked, isOwner, tundraError, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { type Gate, gate } from "../support/waiting.ts";

describe("a change during archiving", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** A store on S3 that runs `act` right before each object of a key is put. */
  function storeWith(act: (n: number) => Promise<unknown>, freezeDelayMs = 0): TundraStore {
    const archive = stack.datastore();
    let n = 0;
    return stack.store({
      freezeDelayMs,
      datastore: hooked(archive, {
        async putKey(name, ...rest) {
          if (!isOwner(name)) await act(++n);
          return await archive.putKey(name, ...rest);
        },
      }),
    });
  }

  it("is archived too: requeued, and frozen by the next tick", async () => {
    const other = stack.store();
    await stack.raw("SET", "k", "old");
    const store = storeWith(async (n) => {
      if (n > 1) return;
      await stack.raw("SET", "k", "new");
      await other.dirty("k");
    });
    await store.dirty("k");
    const report = await store.tick();
    assertEquals([report.frozen, report.requeued, report.remaining, report.done], [1, 1, 1, false]);
    assertEquals((await other.status()).dirty, 1);
    assertEquals((await other.evict("k")).kept, { k: "dirty" });

    const next = await store.tick();
    assertEquals([next.frozen, next.requeued, next.remaining, next.done], [1, 0, 0, true]);
    assertEquals((await other.evict("k")).evicted, ["k"]);
    await other.ensureKs("k");
    assertEquals(await stack.get("k"), "new");
  });

  it("waits for freezeDelayMs like any mark", async () => {
    await stack.raw("SET", "k", "old");
    const store = storeWith(() => store.dirty("k"), HOUR_MS);
    await store.dirty("k");
    await stack.endBackoffs();
    const report = await store.tick();
    assertEquals([report.requeued, report.remaining, report.done], [1, 0, true]);
    assertAlmostEquals((await stack.score("dirty", "k"))!, await stack.nowMs() + HOUR_MS, 2_000);
  });

  it("without a mark is not evicted with the old bytes: the commit is clean, eviction finds the difference", async () => {
    await stack.raw("SET", "k", "old");
    const store = storeWith(() => stack.raw("SET", "k", "unmarked"));
    await store.dirty("k");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("k")).kept, { k: "rescued" });
    assertEquals(await stack.get("k"), "unmarked");
  });

  it("that removes the key: the archived value does not come back", async () => {
    await stack.raw("SET", "k", "old");
    const store = storeWith((n) => n === 1 ? stack.raw("DEL", "k") : Promise.resolve());
    await store.dirty("k");
    const report = await store.tick();
    assertEquals([report.frozen, report.missing, report.remaining], [0, 1, 1]);
    assertEquals((await store.tick()).missing, 1);
    await store.ensureKs("k");
    assertEquals(await stack.exists("k"), 0);
  });

  it("by del(): the archived value does not come back", async () => {
    await stack.raw("SET", "k", "old");
    const store = storeWith((n) => n === 1 ? stack.store().del("k") : Promise.resolve());
    await store.dirty("k");
    await store.tick();
    await store.ensureKs("k");
    assertEquals(await stack.exists("k"), 0);
    await store.tick();
    await store.ensureKs("k");
    assertEquals([await stack.exists("k"), (await stack.record("k"))!.flag], [0, "g"]);
  });

  it("that removes and re-creates the key: the new value is archived", async () => {
    await stack.raw("SET", "k", "old");
    const store = storeWith(async (n) => {
      if (n > 1) return;
      await stack.store().del("k");
      await stack.raw("SET", "k", "new");
      await stack.store().dirty("k");
    });
    await store.dirty("k");
    await store.tick();
    await store.tick();
    await store.evict("k");
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "new");
  });
});

describe("a tick that comes back after its lease was taken over", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** A tick that is stuck in its upload of `k`; its lease has ended. */
  async function stuck(door: Gate, options: { fails?: TundraError } = {}) {
    const archive = stack.datastore();
    const store = stack.store({
      datastore: hooked(archive, {
        async putKey(name, value) {
          if (isOwner(name)) return await archive.putKey(name, value);
          await door.wait();
          if (options.fails) throw options.fails;
          return await archive.putKey(name, value);
        },
      }),
    });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    const controller = new AbortController();
    const tick = store.tick({ signal: controller.signal });
    await door.reached;
    assertEquals(await stack.endLeases(), 1);
    return { tick, controller };
  }

  const endings: [string, { fails?: TundraError; abort?: boolean }][] = [
    ["commit", {}],
    ["failure of the key", { fails: new TundraError("UNSUPPORTED", "bad") }],
    ["failure of the store", { fails: new TundraError("UNAVAILABLE", "down") }],
    ["release", { fails: new TundraError("UNAVAILABLE", "aborted"), abort: true }],
  ];
  for (const [name, { fails, abort }] of endings) {
    it(`leaves every Redis key as it was (its ${name} comes too late; the other has committed)`, async () => {
      const door = gate();
      const { tick, controller } = await stuck(door, { fails });
      const other = await stack.store().tick();
      assertEquals(other.frozen, 1);
      const before = await stack.everything();
      if (abort) controller.abort();
      door.open();
      const report = await tick;
      assertEquals(await stack.everything(), before);
      assertEquals([report.claimed, report.frozen, report.dead], [1, 0, 0]);
      await stack.store().evict("k");
      await stack.store().ensureKs("k");
      assertEquals(await stack.get("k"), "value");
    });

    it(`leaves every Redis key as it was (its ${name} comes too late; the other is uploading)`, async () => {
      const [door, otherDoor] = [gate(), gate()];
      const { tick, controller } = await stuck(door, { fails });
      const archive = stack.datastore();
      const other = stack.store({
        datastore: hooked(archive, {
          async putKey(name, value) {
            await otherDoor.wait();
            return await archive.putKey(name, value);
          },
        }),
      }).tick();
      await otherDoor.reached;
      const before = await stack.everything();
      if (abort) controller.abort();
      door.open();
      await tick;
      assertEquals(await stack.everything(), before);
      otherDoor.open();
      assertEquals((await other).frozen, 1);
      assertEquals((await stack.record("k"))!.attempts, 0);
    });
  }

  it("does not replace what was written and archived meanwhile", async () => {
    const door = gate();
    const { tick } = await stuck(door);
    const store = stack.store();
    await stack.raw("SET", "k", "newer");
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    door.open();
    await tick;
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "newer");
  });
});

describePackings("an ensureKs in flight", (packBytes) => {
  const stack = withArchive({ packBytes });
  beforeEach(() => stack.flush());

  /** `k` is evicted; runs `meanwhile` after its object, or its block, was fetched and before it is restored. */
  async function during(meanwhile: (store: TundraStore) => Promise<unknown>): Promise<TundraStore> {
    const store = stack.store();
    await stack.raw("MSET", "k", "old", "neighbour", "1");
    await store.dirty("k", "neighbour");
    await store.tick();
    await store.evict("k");
    const archive = stack.datastore();
    let first = true;
    const fetched = async <T>(objects: T): Promise<T> => {
      if (first) {
        first = false;
        await meanwhile(store);
      }
      return objects;
    };
    const other = stack.store({
      datastore: hooked(archive, {
        fetchKeys: async (...args) => await fetched(await archive.fetchKeys(...args)),
        fetchRanges: async (...args) => await fetched(await archive.fetchRanges(...args)),
      }),
    });
    await other.ensureKs("k");
    assertEquals(first, false);
    return store;
  }

  it("does not undo a del", async () => {
    const store = await during((store) => store.del("k"));
    assertEquals(await stack.exists("k"), 0);
    await store.tick();
    await store.ensureKs("k");
    assertEquals(await stack.exists("k"), 0);
  });

  it("does not undo a del whose tombstone is archived already", async () => {
    await during(async (store) => {
      await store.del("k");
      assertEquals((await store.tick()).missing, 1);
    });
    assertEquals(await stack.exists("k"), 0);
  });

  it("does not undo a del and a new value", async () => {
    const store = await during(async (store) => {
      await store.del("k");
      await stack.raw("SET", "k", "new");
      await store.dirty("k");
    });
    assertEquals(await stack.get("k"), "new");
    await store.tick();
    assertEquals((await store.evict("k")).evicted, ["k"]);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "new");
  });

  it("does not bring an older version over a newer one that is evicted by now", async () => {
    await during(async (store) => {
      await store.ensureKs("k");
      await stack.raw("SET", "k", "newer");
      await store.dirty("k");
      await store.tick();
      await store.evict("k");
    });
    assertEquals(await stack.get("k"), "newer");
  });

  it("gives up with UNAVAILABLE if the key changes each time, never with a silent success", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    const archive = stack.datastore();
    let fetches = 0;
    const other = stack.store({
      datastore: hooked(archive, {
        async fetchKeys(names, options) {
          const objects = await archive.fetchKeys(names, options);
          fetches++;
          await stack.editRecord("k", { touch: fetches });
          return objects;
        },
      }),
    });
    const error = await tundraError("ENSURE_FAILED", () => other.ensureKs("k"));
    assertEquals((error.causes.k as TundraError).code, "UNAVAILABLE");
    assertEquals([fetches, await stack.exists("k")], [4, 0]);
  });
});

describe("a write that nobody marked", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  async function archived(options: { redisTtlMs?: number } = {}): Promise<TundraStore> {
    const store = stack.store(options);
    await stack.raw("SET", "k", "marked");
    await store.dirty("k");
    await store.tick();
    return store;
  }

  it("is rescued by evict(): marked, archived by the next tick, and only then evicted", async () => {
    const store = await archived();
    await stack.raw("SET", "k", "unmarked");
    assertEquals(await store.evict("k"), { evicted: [], kept: { k: "rescued" } });
    assertEquals((await store.status()).dirty, 1);
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("k")).evicted, ["k"]);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "unmarked");
  });

  it("is rescued by a tick that evicts what is idle", async () => {
    const store = await archived({ redisTtlMs: 10 * HOUR_MS });
    await stack.raw("APPEND", "k", "!");
    await stack.leaveAlone(11 * HOUR_MS, "k");
    const report = await store.tick();
    assertEquals([report.evicted, report.rescued], [0, 1]);
    assertEquals(await stack.get("k"), "marked!");
    assertEquals((await store.status()).totals.rescued, 1);
    // A rescue is no use of the key: the next ticks archive it, and an hour later evict it.
    const idle = (await stack.record("k"))!.touch;
    assertEquals((await store.tick()).frozen, 1);
    assertEquals([(await store.tick()).evicted, (await stack.record("k"))!.touch], [0, idle]);
    await stack.leaveAlone(11 * HOUR_MS, "k");
    assertEquals((await store.tick()).evicted, 1);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "marked!");
  });

  it("again and again is noticed: after three rescues the key stays, reported, until it is marked", async () => {
    const store = await archived({ redisTtlMs: 10 * HOUR_MS });
    const totals = async () => (await store.status()).totals.frozen;
    for (let i = 0; i < 3; i++) {
      await stack.raw("APPEND", "k", "!");
      await stack.leaveAlone(11 * HOUR_MS, "k");
      assertEquals((await store.tick()).rescued, 1);
      assertEquals((await store.tick()).frozen, 1);
    }
    const before = await totals();
    await stack.raw("APPEND", "k", "!");
    await stack.leaveAlone(11 * HOUR_MS, "k");
    const report = await store.tick();
    assertEquals([report.rescued, report.evicted, report.errors.map(({ key, code }) => [key, code])], [0, 0, [
      ["k", "UNSUPPORTED"],
    ]]);
    assertEquals([(await store.tick()).errors, (await store.evict("k")).kept], [[], { k: "unstable" }]);
    assertEquals([await totals(), await stack.get("k")], [before, "marked!!!!"]);
    await store.dirty("k");
    await store.tick();
    assertEquals((await store.evict("k")).evicted, ["k"]);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "marked!!!!");
  });

  it("to the key's own expiry is rescued too, and survives", async () => {
    const store = await archived();
    const at = Math.floor(await stack.nowMs()) + HOUR_MS;
    await stack.raw("PEXPIREAT", "k", at);
    assertEquals((await store.evict("k")).kept, { k: "rescued" });
    await store.tick();
    assertEquals((await store.evict("k")).evicted, ["k"]);
    await store.ensureKs("k");
    assertEquals(await stack.raw("PEXPIRETIME", "k"), at);
    await stack.raw("PERSIST", "k");
    assertEquals((await store.evict("k")).kept, { k: "rescued" });
  });
});

describe("a key in use", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const idleStore = () => stack.store({ redisTtlMs: 10 * HOUR_MS });

  async function archived(): Promise<TundraStore> {
    const store = idleStore();
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await store.tick();
    return store;
  }

  it("is not evicted by its own commit: its first mark is a use", async () => {
    const store = await archived();
    await stack.leaveAlone(11 * HOUR_MS, "k");
    await stack.raw("SET", "k", "changed");
    await store.dirty("k");
    for (let i = 0; i < 3; i++) assertEquals((await store.tick()).evicted, 0);
    assertEquals([await stack.get("k"), (await store.status()).idle], ["changed", 1]);
  });

  it("is not evicted after it had been dirty for long, if ensureKs has seen it meanwhile", async () => {
    const store = await archived();
    for (const used of [true, false]) {
      await stack.raw("SET", "k", `changed ${used}`);
      await store.dirty("k");
      await stack.editRecord("k", { touch: Math.floor(await stack.nowMs() - 11 * HOUR_MS) });
      if (used) await store.ensureKs("k");
      await store.tick();
      const hoursAgo = Math.floor(await stack.nowMs() - 2 * HOUR_MS);
      await stack.editRecord("k", { ver: `${hoursAgo}000-00000000` }); // a tick evicts nothing younger than an hour
      assertEquals([used, (await store.tick()).evicted], [used, used ? 0 : 1]);
    }
  });

  it("leaves Redis redisTtlMs after its last use, by a tick, and comes back", async () => {
    const store = await archived();
    await stack.leaveAlone(10 * HOUR_MS - 60_000, "k");
    assertEquals((await store.tick()).evicted, 0);
    await stack.leaveAlone(10 * HOUR_MS + 1_000, "k");
    const report = await store.tick();
    assertEquals([report.claimed, report.evicted, report.done], [0, 1, true]);
    assertEquals([await stack.exists("k"), (await store.status()).idle], [0, 0]);
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "value");
  });

  it("never leaves Redis by a tick without redisTtlMs", async () => {
    await archived();
    await stack.leaveAlone(10_000 * HOUR_MS, "k");
    assertEquals((await stack.store().tick()).evicted, 0);
    assertEquals(await stack.exists("k"), 1);
  });

  it("stays if ensureKs has seen it, right up to the eviction", async () => {
    const store = await archived();
    await stack.leaveAlone(11 * HOUR_MS, "k");
    await store.ensureKs("k");
    assertEquals((await store.tick()).evicted, 0);
  });

  it("stays if ensureKs comes between a tick's claim and its eviction", async () => {
    const store = await archived();
    await stack.leaveAlone(11 * HOUR_MS, "k");
    let used = false;
    const racing = stack.store({
      redisTtlMs: 10 * HOUR_MS,
      redis: {
        fetch: async (input, init) => {
          const response = await fetch(input, init);
          if (!used) {
            used = true;
            await store.ensureKs("k");
          }
          return response;
        },
      },
    });
    assertEquals((await racing.tick()).evicted, 0);
    assertEquals([await stack.get("k"), (await store.status()).idle], ["value", 1]);
  });

  it("many idle keys leave in one tick, batch after batch", async () => {
    const store = idleStore();
    const keys = Array.from({ length: 25 }, (_, i) => `k:${i}`);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    await store.tick();
    await stack.leaveAlone(11 * HOUR_MS, ...keys);
    const report = await store.tick({ batchKeys: 10 });
    assertEquals([report.evicted, report.done, await stack.exists(...keys)], [25, true, 0]);
  });

  it("is touched by ensureKs 2.5 h after its last touch, and not before", async () => {
    const store = await archived();
    await store.ensureKs("k");
    await stack.leaveAlone(9_000_000 - 60_000, "k");
    const before = [await stack.record("k"), await stack.score("idle", "k")];
    await stack.server.resetCounters();
    await store.ensureKs("k");
    assertEquals(stack.server.requests, 1);
    assertEquals([await stack.record("k"), await stack.score("idle", "k")], before);

    await stack.leaveAlone(9_000_000 + 1_000, "k");
    await stack.server.resetCounters();
    await store.ensureKs("k");
    assertGreater(stack.server.requests, 1);
    const now = await stack.nowMs();
    assertAlmostEquals((await stack.record("k"))!.touch, now, 2_000);
    assertAlmostEquals((await stack.score("idle", "k"))!, now, 2_000);
    assertEquals((await stack.record("k"))!.rev, 0); // a use is no change
  });

  it("evicted between check and touch is brought back by the same ensureKs", async () => {
    const store = await archived();
    await stack.leaveAlone(3 * HOUR_MS, "k");
    let evicted = false;
    const racing = stack.store({
      redis: {
        fetch: async (input, init) => {
          const response = await fetch(input, init);
          if (!evicted) {
            evicted = true;
            await store.evict("k");
          }
          return response;
        },
      },
    });
    await stack.store().ensureKs("other"); // the scripts are loaded: the first request is the check
    await racing.ensureKs("k");
    assert(evicted);
    assertEquals(await stack.get("k"), "value");
  });
});
