/** Each option of a tick bounds it, and each field of its report is true. */
import type { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertGreater, assertInstanceOf, assertLess } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import { type Datastore, memoryDatastore, type TickOptions, TundraError, type TundraStore } from "../../mod.ts";
import {
  BUCKET,
  hooked,
  isOwner,
  isPack,
  names,
  PACKINGS,
  tundraError,
  versionsIn,
  withArchive,
} from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { gate, sleep } from "../support/waiting.ts";

describe("tick", () => {
  const stack = withArchive({ upstash: { record: true } });
  beforeEach(() => stack.flush());

  /** A store with an index id, whose `n` keys are dirty. */
  async function dirtyKeys(n: number, store: TundraStore = stack.store()): Promise<string[]> {
    const keys = names(n);
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
    await stack.server.resetCounters();
    return keys;
  }

  /** S3, with `act` in front of each put of a key's object or a pack. */
  function puts(act: (name: string, value: Uint8Array) => unknown): Required<Datastore> {
    const archive = stack.datastore();
    return hooked(archive, {
      async putKey(name, value, options) {
        if (!isOwner(name)) await act(name, value);
        return await archive.putKey(name, value, options);
      },
    });
  }

  /** Nothing is under a lease, and everything that is dirty may be claimed at once. */
  async function assertReleased(): Promise<void> {
    const now = await stack.nowMs();
    for (const key of await stack.members("dirty")) {
      const score = (await stack.score("dirty", key))!;
      assertEquals([key, score % 1, score <= now], [key, 0, true]);
      assertEquals((await stack.record(key))!.attempts, 0);
    }
  }

  for (const [packBytes, how] of PACKINGS) {
    it(`reports all that it did, ${how}`, async () => {
      const datastore = puts((_, value) => act(new TextDecoder("latin1").decode(value)));
      const store = stack.store({ redisTtlMs: 10 * HOUR_MS, freezer: null, packBytes, datastore });
      let act: (object: string) => unknown = () => {};
      let [refused, marks] = [0, 0];
      await stack.raw("MSET", "idle", "1", "unmarked", "2", "gone", "3", "changing", "4", "failing", "5", "plain", "6");
      await store.dirty("idle", "unmarked");
      await store.tick();
      await stack.leaveAlone(11 * HOUR_MS, "idle", "unmarked");
      await stack.raw("APPEND", "unmarked", "!");
      await store.dirty("gone", "changing", "failing", "plain");
      await stack.raw("DEL", "gone");
      const dumps = (await Promise.all(["changing", "failing", "plain"].map((key) =>
        stack.raw("DUMP", key)
      ))) as Buffer[];
      act = async (object) => { // each record names its key
        if (object.includes("failing")) {
          refused++;
          throw new TundraError("UNSUPPORTED", "no such luck");
        }
        if (object.includes("changing")) {
          marks++;
          await stack.store().dirty("changing");
        }
      };
      const objects = new Set(stack.objectNames());
      const versions = new Set(await versionsIn(stack.s3.objects(BUCKET), []));
      await stack.server.resetCounters();
      const s3Before = stack.s3.requests;
      const seen: TundraError[] = [];
      const { durationMs, ...report } = await store.tick({ onError: (error) => seen.push(error) });

      const commands = await stack.server.billable();
      const written = stack.objectNames().filter((name) => !objects.has(name));
      const archived = (await versionsIn(stack.s3.objects(BUCKET), [])).filter((version) => !versions.has(version));
      assertEquals(report, {
        claimed: 4,
        frozen: 2,
        requeued: 1,
        evicted: 1,
        rescued: 1,
        missing: 1,
        failed: 1,
        dead: 0,
        remaining: 1,
        purged: 0,
        purging: 0,
        subrequests: (stack.server.requests - marks) + (stack.s3.requests - s3Before) + refused, // what is refused sent nothing
        commands: commands - 6 * marks,
        bytesRead: dumps.reduce((sum, dump) => sum + dump.length, 0),
        bytesWritten: written.reduce((sum, name) => sum + stack.s3.objects(BUCKET).get(name)!.length, 0),
        done: false,
        errors: [{ key: "failing", code: "UNSUPPORTED", message: "no such luck", attempt: 1 }],
      });
      assertEquals(archived.map((version) => version.split(" ")[0]), ["changing", "gone", "plain"]);
      assertEquals([marks, refused > 1], [1, packBytes > 0]);
      assert(durationMs >= 0 && durationMs < 10_000);
      assertEquals(seen.map(({ code, keys }) => ({ code, keys })), [{ code: "UNSUPPORTED", keys: ["failing"] }]);
    });
  }

  it("of an empty queue claims nothing and is done", async () => {
    const store = stack.store();
    await store.tick();
    const { durationMs: _, ...report } = await store.tick();
    assertEquals(report, {
      claimed: 0,
      frozen: 0,
      requeued: 0,
      evicted: 0,
      rescued: 0,
      missing: 0,
      failed: 0,
      dead: 0,
      remaining: 0,
      purged: 0,
      purging: 0,
      subrequests: 1,
      commands: 7,
      bytesRead: 0,
      bytesWritten: 0,
      done: true,
      errors: [],
    });
  });

  it("maxKeys: claims no more in all; the rest remains, for the next tick", async () => {
    const store = stack.store();
    await dirtyKeys(25, store);
    const seen = [];
    for (let i = 0; i < 3; i++) {
      const { claimed, frozen, remaining, done } = await store.tick({ maxKeys: 10, batchKeys: 4 });
      seen.push({ claimed, frozen, remaining, done });
    }
    assertEquals(seen, [
      { claimed: 10, frozen: 10, remaining: 15, done: false },
      { claimed: 10, frozen: 10, remaining: 5, done: false },
      { claimed: 5, frozen: 5, remaining: 0, done: true },
    ]);
  });

  it("archives what was marked first first", async () => {
    const store = stack.store();
    await store.tick();
    for (const key of names(6)) {
      await stack.raw("SET", key, "value");
      await store.dirty(key);
      await sleep(2);
    }
    await store.tick({ maxKeys: 3 });
    assertEquals(await stack.members("dirty"), ["k:3", "k:4", "k:5"]);
  });

  it("batchKeys: claims and reads so many keys at a time", async () => {
    const store = stack.store();
    await dirtyKeys(10, store);
    await store.tick({ batchKeys: 4 });
    const reads = stack.server.log.filter(({ path }) => path === "/multi-exec")
      .map(({ commands }) => commands.filter(([name]) => name === "DUMP").length);
    assertEquals(reads, [4, 4, 2]);
  });

  for (const [packBytes, how] of PACKINGS) {
    it(`deadlineMs: begins nothing after it, and gives back what it has not begun, ${how}`, async () => {
      const store = stack.store({ packBytes, datastore: puts(() => sleep(150)) });
      await dirtyKeys(40, store);
      const report = await store.tick({ deadlineMs: 1_000, nthreads: 1, batchKeys: packBytes > 0 ? 2 : 15 });
      assertEquals([report.done, report.failed, report.errors], [false, 0, []]);
      assertGreater(report.frozen, 0);
      assertLess(report.frozen, 15);
      assertEquals(report.frozen + (await stack.members("dirty")).length, 40);
      assertGreater(report.remaining, 0);
      assert(report.durationMs >= 1_000 && report.durationMs < 2_500, `${report.durationMs} ms`);
      await assertReleased();
      assertEquals((await stack.store().tick()).done, true);
    });
  }

  for (const [faults, packBytes] of [[false, 0], [true, 0], [false, 1_048_576], [true, 1_048_576]] as const) {
    const how = PACKINGS.find(([each]) => each === packBytes)![1];
    it(`maxSubrequests: never makes more, and goes on at each tick${faults ? ", also if requests fail" : ""}, ${how}`, async () => {
      let made = 0;
      const counting = (inner: typeof fetch): typeof fetch => (input, init) => {
        made++;
        return inner(input, init);
      };
      for (const maxSubrequests of faults ? [12, 20, 50] : [12, 13, 14, 15, 17, 20, 25, 31, 50]) {
        await stack.flush();
        const s3 = faultyFetch(
          globalThis.fetch,
          faults ? ({ n }) => n % 3 === 0 ? { type: "status", status: 503 } : undefined : [],
        );
        const redis = faultyFetch(
          globalThis.fetch,
          faults ? ({ n }) => n % 7 === 0 ? { type: "reset" } : undefined : [],
        );
        const store = stack.store({
          redis: { fetch: counting(redis), retry: { backoff: () => 1 } },
          datastore: stack.datastore({ fetch: counting(s3), retries: 2 }),
          redisTtlMs: 10 * HOUR_MS,
          packBytes,
        });
        const keys = names(30);
        await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
        await store.dirty(keys);
        let ticks = 0;
        while ((await stack.store().status()).dirty > 0) {
          assertLess(ticks++, 60, `maxSubrequests ${maxSubrequests} makes no progress`);
          made = 0;
          const report = await store.tick({ maxSubrequests, retryBackoffMs: 0 }).catch((error) => {
            assertInstanceOf(error, TundraError);
            assert(faults, error.message);
          });
          assert(made <= maxSubrequests, `${made} of ${maxSubrequests}`);
          if (report) assertEquals(report.subrequests, made);
          const left = await stack.endLeases(); // by a tick whose commit used up what was kept back for it
          assert(faults || left === 0, `${left} leases left behind`);
        }
        assertEquals([maxSubrequests, (await stack.store().evict(keys)).evicted.length], [maxSubrequests, 30]);
      }
    });
  }

  for (const [packBytes, how] of PACKINGS) {
    it(`maxSubrequests counts one request a call of a datastore that does not count by itself, ${how}`, async () => {
      const archive = memoryDatastore();
      const store = stack.store({ datastore: archive, packBytes });
      await dirtyKeys(30, store);
      await store.tick({ maxKeys: 1 });
      const before = archive.objects.size;
      const { requests } = stack.server;
      const report = await store.tick({ maxSubrequests: 20 });
      const put = archive.objects.size - before;
      assertEquals(report.subrequests, stack.server.requests - requests + 1 + put); // the owner
      assert(report.subrequests <= 20 && put > 0 && put < 20);
      if (packBytes > 0) assertGreater(report.frozen, 20); // of a first claim, some may be given back
      else assertEquals(report.frozen, put);
      await assertReleased();
    });
  }

  /** The largest number of uploads at once in a tick over 30 keys. */
  const mostUploads = async (options: TickOptions): Promise<number> => {
    let [now, most] = [0, 0];
    const store = stack.store({
      packBytes: 0,
      datastore: puts(async () => {
        most = Math.max(most, ++now);
        await sleep(5);
        now--;
      }),
    });
    await dirtyKeys(30, store);
    await store.tick(options);
    return most;
  };

  for (const nthreads of [1, 3, 6]) {
    it(`nthreads ${nthreads}: that many uploads at once, and never more`, async () => {
      assertEquals(await mostUploads({ nthreads, batchKeys: 7 }), nthreads);
    });
  }

  it("six uploads at once by default", async () => {
    assertEquals(await mostUploads({}), 6);
  });

  for (const leaseMs of [5_000, 60_000, HOUR_MS]) {
    it(`leaseMs ${leaseMs}: a claimed key is due so much later, with the half that marks a lease`, async () => {
      let score = 0;
      let now = 0;
      const store = stack.store({
        datastore: puts(async () => {
          score = (await stack.score("dirty", "k:0"))!;
          now = await stack.nowMs();
        }),
      });
      await dirtyKeys(1, store);
      await store.tick(leaseMs === 60_000 ? {} : { leaseMs });
      assertEquals(score % 1, 0.5);
      assertAlmostEquals(score, now + leaseMs, 2_000);
      assert(score <= now + leaseMs + 1);
    });
  }

  const backoffs: [string, TickOptions["retryBackoffMs"], number[]][] = [
    ["a number", 7_000, [7_000, 7_000, 7_000]],
    ["a function of the attempts so far", (attempt) => attempt * 100_000, [100_000, 200_000, 300_000]],
    ["by default 1 s, doubled each time", undefined, [1_000, 2_000, 4_000]],
    [
      "a function that throws: 1 s",
      () => {
        throw new Error("oops");
      },
      [1_000, 1_000, 1_000],
    ],
    ["a function without a sensible answer: 1 s", () => NaN, [1_000, 1_000, 1_000]],
    ["a function that asks for years: 12 h", () => 1e12, [12 * HOUR_MS, 12 * HOUR_MS, 12 * HOUR_MS]],
  ];
  for (const [name, retryBackoffMs, expected] of backoffs) {
    it(`retryBackoffMs: ${name}`, async () => {
      const store = stack.store({
        datastore: puts(() => {
          throw new TundraError("UNSUPPORTED", "no");
        }),
      });
      await dirtyKeys(1, store);
      for (const [i, ms] of expected.entries()) {
        const report = await store.tick({ retryBackoffMs, nattempts: 5 });
        assertEquals([report.failed, report.errors[0]!.attempt], [1, i + 1]);
        assertAlmostEquals((await stack.score("dirty", "k:0"))!, await stack.nowMs() + ms, 500);
        assertEquals((await store.tick()).claimed, 0);
        await stack.endBackoffs();
      }
    });
  }

  it("signal: aborted in the middle of uploads, gives everything back, counts nothing, and still reports", async () => {
    const controller = new AbortController();
    const archive = stack.datastore();
    const four = gate();
    let begun = 0;
    let stored = 0;
    const store = stack.store({
      packBytes: 0,
      datastore: hooked(archive, {
        async putKey(name, value, options) {
          if (!isOwner(name) && ++begun > 4) {
            void four.wait().then(() => setTimeout(() => controller.abort(new Error("enough")), 10));
            const { signal } = options!;
            return await new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason)));
          }
          const done = await archive.putKey(name, value, options);
          if (!isOwner(name) && ++stored === 4) four.open();
          return done;
        },
      }),
    });
    await dirtyKeys(20, store);
    const report = await store.tick({ signal: controller.signal, batchKeys: 8, nthreads: 3 });
    assertEquals([report.frozen, report.failed, report.dead, report.done], [4, 0, 0, false]);
    assertEquals((await stack.members("dirty")).length, 16);
    assertGreater(report.remaining, 0);
    await assertReleased();
    assertEquals((await stack.store().tick()).frozen, 16);
  });

  it("signal: aborted in the middle of a pack's upload, gives everything back, counts nothing, and still reports", async () => {
    const controller = new AbortController();
    const archive = stack.datastore();
    let packs = 0;
    const store = stack.store({
      datastore: hooked(archive, {
        async putKey(name, value, options) {
          if (!isPack(name) || ++packs === 1) return await archive.putKey(name, value, options);
          // a claim under way is answered by then: a lease that the tick never hears of would end by itself
          setTimeout(() => controller.abort(new Error("enough")), 300);
          const { signal } = options!;
          return await new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason)));
        },
      }),
    });
    await dirtyKeys(20, store);
    const report = await store.tick({ signal: controller.signal, batchKeys: 8 });
    assertEquals([report.frozen, report.failed, report.dead, report.done, report.errors], [8, 0, 0, false, []]);
    assert(packs > 1);
    assertEquals((await stack.members("dirty")).length, 12);
    assertGreater(report.remaining, 0);
    await assertReleased();
    assertEquals((await stack.store().tick()).frozen, 12);
  });

  it("signal: aborted while it reads, gives everything back", async () => {
    const controller = new AbortController();
    const store = stack.store({
      redis: {
        fetch: (input, init) => {
          if (String(input).endsWith("/multi-exec")) controller.abort();
          return fetch(input, init);
        },
      },
    });
    await dirtyKeys(5, store);
    const report = await store.tick({ signal: controller.signal });
    assertEquals([report.claimed, report.frozen, report.failed, report.done], [5, 0, 0, false]);
    await assertReleased();
    assertEquals((await stack.members("dirty")).length, 5);
  });

  it("signal: aborted while a new store waits for its archive, ends at once, and the next tick begins it", async () => {
    for (const method of ["listKeys", "putKey"] as const) {
      await stack.flush();
      const controller = new AbortController();
      const hang = () => {
        setTimeout(() => controller.abort(), 10);
        return new Promise<never>(() => {});
      };
      const datastore = hooked(stack.datastore(), { [method]: hang });
      const beganAt = performance.now();
      const report = await stack.store({ datastore }).tick({ signal: controller.signal });
      assertEquals([report.done, report.errors], [false, []], method);
      assertLess(performance.now() - beganAt, 5_000, method);
      await stack.raw("SET", "key", "value");
      await stack.store().dirty("key");
      assertEquals((await stack.store().tick()).frozen, 1, method);
    }
  });

  it("signal: aborted before, begins nothing", async () => {
    const store = stack.store();
    await dirtyKeys(5, store);
    const report = await store.tick({ signal: AbortSignal.abort() });
    assertEquals([report.claimed, report.subrequests, report.done, stack.server.requests], [0, 0, false, 0]);
  });

  for (const [packBytes, how] of PACKINGS) {
    it(`onError: is told each failure; what it throws harms nothing, ${how}`, async () => {
      const store = stack.store({
        packBytes,
        freezer: null,
        datastore: puts((_, value) => {
          const object = new TextDecoder("latin1").decode(value);
          if (/value of k:[12]/.test(object)) throw new TundraError("TOO_LARGE", "too much");
        }),
      });
      await dirtyKeys(5, store);
      const told: TundraError[] = [];
      const report = await store.tick({
        retryBackoffMs: 0,
        onError: (error) => {
          told.push(error);
          throw new Error("a bad logger");
        },
      });
      assertEquals([report.frozen, report.failed], [3, 2]);
      assert(told.every((error) => error instanceof TundraError && error.code === "TOO_LARGE"));
      assertEquals(told.flatMap(({ keys }) => keys).sort(), ["k:1", "k:2"]);
      assertEquals(report.errors.map(({ key }) => key).sort(), ["k:1", "k:2"]);
    });
  }

  it("maxBytes: claims no further batch once so much was read", async () => {
    const store = stack.store();
    const keys = names(20);
    await store.tick();
    for (const key of keys) await stack.raw("SET", key, crypto.getRandomValues(new Uint8Array(10_000)));
    await store.dirty(keys);
    const report = await store.tick({ maxBytes: 25_000, batchKeys: 2 });
    assert(report.bytesRead >= 25_000 && report.bytesRead < 90_000, `${report.bytesRead} bytes`);
    assertEquals([report.done, report.failed, report.frozen], [false, 0, report.claimed]);
    assertEquals(report.remaining, 20 - report.claimed);
    let ticks = 1;
    while (!(await store.tick({ maxBytes: 25_000, batchKeys: 2 })).done) assertLess(ticks++, 20);
    assertEquals((await store.evict(keys)).evicted.length, 20);
  });

  it("by default archives up to 10,000 keys, in batches of 1,000", async () => {
    const store = stack.store({ datastore: memoryDatastore() });
    await stack.raw("MSET", ...names(10_050).flatMap((key) => [key, "v"]));
    await store.dirty(names(10_050));
    const report = await store.tick({ deadlineMs: 60_000 });
    assertEquals([report.claimed, report.frozen, report.remaining, report.done], [10_000, 10_000, 50, false]);
    const reads = stack.server.log.filter(({ path }) => path === "/multi-exec");
    assertEquals(reads.map(({ commands }) => commands.length), Array(10).fill(2001));
  });

  it("by default archives up to 1,000 keys, in batches of 100, if it makes no packs", async () => {
    const store = stack.store({ datastore: memoryDatastore(), packBytes: 0 });
    await stack.raw("MSET", ...names(1050).flatMap((key) => [key, "v"]));
    await store.dirty(names(1050));
    const report = await store.tick();
    assertEquals([report.claimed, report.frozen, report.remaining, report.done], [1000, 1000, 50, false]);
    const reads = stack.server.log.filter(({ path }) => path === "/multi-exec");
    assertEquals(reads.map(({ commands }) => commands.length), Array(10).fill(201));
  });

  it("never throws for one key's failure, but does if nothing can be claimed", async () => {
    const store = stack.store({ redis: { url: "http://127.0.0.1:9", retry: false } });
    const error = await tundraError("UNAVAILABLE", () => store.tick());
    assert(error.retryable);
  });

  const wrong: [string, unknown][] = [
    ["maxKeys", 0],
    ["maxKeys", 1.5],
    ["batchKeys", 1001],
    ["batchKeys", -1],
    ["deadlineMs", 999],
    ["deadlineMs", 12 * HOUR_MS + 1],
    ["maxSubrequests", 11],
    ["nthreads", 0],
    ["nthreads", "6"],
    ["leaseMs", 60],
    ["leaseMs", 12 * HOUR_MS + 1],
    ["nattempts", 0],
    ["nattempts", NaN],
    ["maxBytes", 0],
    ["retryBackoffMs", -1],
    ["retryBackoffMs", 12 * HOUR_MS + 1],
    ["signal", {}],
    ["onError", "log"],
    ["maxkeys", 5],
  ];
  for (const [name, value] of wrong) {
    it(`refuses ${name}: ${typeof value === "object" ? "an object" : value}, before any request`, async () => {
      const store = stack.store();
      const error = await tundraError("BAD_ARGUMENT", () => store.tick({ [name]: value }));
      assert(error.message.includes(name), error.message);
      const shown = typeof value === "object" || name === "onError"
        ? typeof value
        : name === "maxkeys"
        ? name
        : String(value);
      assert(error.message.includes(shown), error.message);
      assertEquals(error.message.includes("milliseconds"), name.endsWith("Ms"), error.message);
      assertEquals(stack.server.requests, 0);
    });
  }
});
