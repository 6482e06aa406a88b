/** The worker: ticks in a loop that outlives what goes wrong. */
import { afterEach, beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertGreater, assertGreaterOrEqual } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import { TundraError, type TundraWorker, type WorkerEvent } from "../../mod.ts";
import { hooked, isOwner, names, tundraError, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { gate, sleep, until } from "../support/waiting.ts";

const QUICK = { eoqBackoffMs: 5 };

describe("worker", () => {
  const stack = withArchive();
  const workers: TundraWorker[] = [];
  const keep = (worker: TundraWorker): TundraWorker => {
    workers.push(worker);
    return worker;
  };
  beforeEach(() => stack.flush());
  afterEach(async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  });

  it("archives what is marked, whenever it is marked, without being told", async () => {
    const store = stack.store();
    const worker = keep(store.worker(QUICK));
    assertEquals(worker.running, true);
    for (const key of names(3)) {
      await stack.raw("SET", key, "value");
      await store.dirty(key);
      await until(`${key} is archived`, async () => (await store.status()).dirty === 0);
    }
    assertEquals((await store.evict(names(3))).evicted, names(3));
    await until("it has counted", () => worker.stats.frozen === 3);
    assertGreaterOrEqual(worker.stats.ticks, 3);
    assertEquals([worker.stats.failedTicks, worker.stats.failed, worker.stats.dead], [0, 0, 0]);
  });

  it("evicts what is idle, and counts it", async () => {
    const store = stack.store({ redisTtlMs: 10 * HOUR_MS });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await store.tick();
    await stack.leaveAlone(11 * HOUR_MS, "k");
    const worker = keep(store.worker(QUICK));
    await until("k is evicted", async () => await stack.exists("k") === 0);
    await until("it has counted", () => worker.stats.evicted === 1);
  });

  it("autoStart false: stands still until start(), which answers whether it started", async () => {
    const store = stack.store();
    const worker = keep(store.worker({ ...QUICK, autoStart: false }));
    await sleep(30);
    assertEquals([worker.running, worker.stats.ticks, stack.server.requests], [false, 0, 0]);
    assertEquals(await worker.stop(), false);
    assertEquals([worker.start(), worker.running, worker.start()], [true, true, false]);
    await until("it ticks", () => worker.stats.ticks > 1);
    assertEquals([await worker.stop(), worker.running, await worker.stop()], [true, false, false]);
    const { ticks } = worker.stats;
    await sleep(40);
    assertEquals(worker.stats.ticks, ticks);
    assertEquals(worker.start(), true);
    await until("it ticks again", () => worker.stats.ticks > ticks);
  });

  it("waits between ticks that get nothing done, though each leaves something", async () => {
    const archive = stack.datastore();
    const store = stack.store({
      datastore: hooked(archive, {
        listKeys(prefix, cursor, options) {
          for (let page = 0; page < 20; page++) options?.onRequest?.(); // more than a tick may make
          return archive.listKeys(prefix, cursor, options);
        },
      }),
      packBytes: 0,
    });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await store.tick();
    await stack.editRecord("k", { exp: Math.floor(await stack.nowMs()) - 60 * HOUR_MS });
    await stack.raw("ZADD", "tundra:default:purge", 1, "k");
    const reports: WorkerEvent["report"][] = [];
    const worker = keep(store.worker({
      maxSubrequests: 12,
      eoqBackoffMs: 200,
      monitor: ({ report }) => reports.push(report),
    }));
    await until("two ticks", () => reports.length > 1);
    assertEquals(
      reports.map((report) => [report!.done, report!.purging, report!.purged, report!.errors]),
      reports.map(() => [false, 1, 0, []]),
    );
    await sleep(300);
    assert(worker.stats.ticks <= 5, `${worker.stats.ticks} ticks`);
  });

  it("stop() waits for the tick that is under way", async () => {
    const door = gate();
    const archive = stack.datastore();
    const store = stack.store({
      datastore: hooked(archive, {
        async putKey(name, ...rest) {
          if (!isOwner(name)) await door.wait();
          return await archive.putKey(name, ...rest);
        },
      }),
    });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    const worker = keep(store.worker(QUICK));
    await door.reached;
    let stopped = false;
    const stopping = worker.stop().then((answer) => {
      stopped = true;
      return answer;
    });
    await sleep(50);
    assertEquals([stopped, worker.running], [false, true]);
    door.open();
    assertEquals(await stopping, true);
    assertEquals([worker.running, worker.stats.frozen], [false, 1]);
    assertEquals((await store.evict("k")).evicted, ["k"]);
  });

  it("stop() does not wait for a pause", async () => {
    const worker = keep(stack.store().worker({ eoqBackoffMs: HOUR_MS }));
    await until("it has ticked", () => worker.stats.ticks === 1);
    const from = performance.now();
    await worker.stop();
    assert(performance.now() - from < 2_000);
  });

  it("a signal ends it, and the tick that is under way gives its keys back", async () => {
    const controller = new AbortController();
    const archive = stack.datastore();
    const store = stack.store({
      datastore: hooked(archive, {
        async putKey(name, value, options) {
          if (isOwner(name)) return await archive.putKey(name, value, options);
          controller.abort();
          return await new Promise<true>(() => {});
        },
      }),
    });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    const worker = keep(store.worker({ ...QUICK, signal: controller.signal }));
    await until("it has ended", () => !worker.running);
    assertEquals((await stack.score("dirty", "k"))! % 1, 0);
    assertEquals((await stack.store().tick()).frozen, 1);
  });

  it("eoqBackoffMs: told how often in a row nothing was due; work sets it back", async () => {
    const asked: number[] = [];
    const store = stack.store();
    const worker = keep(store.worker({
      eoqBackoffMs: (n) => {
        asked.push(n);
        return 20;
      },
    }));
    await until("it has paused thrice", () => asked.length >= 3);
    assertEquals(asked.slice(0, 3), [1, 2, 3]);
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await until("it begins anew", () => asked.slice(3).includes(1));
    await worker.stop();
    const before = asked.lastIndexOf(1);
    assertEquals(asked.slice(before), Array.from({ length: asked.length - before }, (_, i) => i + 1));
  });

  it("eoqBackoffMs: waits that long if nothing is due; 1 s at first by default", async () => {
    const store = stack.store();
    for (const [eoqBackoffMs, most] of [[40, 8], [undefined, 1]] as const) {
      const worker = keep(store.worker({ eoqBackoffMs }));
      await sleep(300);
      await worker.stop();
      assert(worker.stats.ticks >= 1 && worker.stats.ticks <= most, `${worker.stats.ticks} ticks`);
    }
  });

  it("throttleMs: waits between two ticks while there is work, and not at all by default", async () => {
    const store = stack.store();
    await store.tick();
    const keys = names(5);
    for (const [throttleMs, least, most] of [[60, 200, 5_000], [0, 0, 200]] as const) {
      await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
      await store.dirty(keys);
      const times: number[] = [];
      const worker = keep(store.worker({
        throttleMs,
        eoqBackoffMs: HOUR_MS,
        maxKeys: 1,
        monitor: () => times.push(performance.now()),
      }));
      await until("all are archived", () => worker.stats.frozen === 5);
      const took = times[4]! - times[0]!;
      assert(took >= least && took < most, `${took} ms with throttleMs ${throttleMs}`);
      await worker.stop();
    }
  });

  it("monitor: is given each report and the totals; what it throws harms nothing", async () => {
    const store = stack.store();
    await stack.raw("MSET", "a", "1", "b", "2");
    await store.dirty("a", "b");
    const events: WorkerEvent[] = [];
    const worker = keep(store.worker({
      ...QUICK,
      maxKeys: 1,
      monitor: (event) => {
        events.push(event);
        throw new Error("a bad monitor");
      },
    }));
    await until("three ticks", () => events.length >= 3);
    await worker.stop();
    assertEquals(
      events.slice(0, 3).map(({ report, error, stats }) => [report!.frozen, error, stats.ticks, stats.frozen]),
      [
        [1, undefined, 1, 1],
        [1, undefined, 2, 2],
        [0, undefined, 3, 2],
      ],
    );
    assertEquals(worker.stats.ticks, events.length);
  });

  it("takes the options of tick: nattempts, retryBackoffMs and onError are its ticks'", async () => {
    const store = stack.store({
      freezer: {
        id: "never",
        freeze() {
          throw new TundraError("UNSUPPORTED", "no");
        },
        thaw: (bytes) => bytes,
      },
    });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    const told: string[] = [];
    const worker = keep(store.worker({
      ...QUICK,
      nattempts: 2,
      retryBackoffMs: 0,
      onError: (error) => told.push(error.code),
    }));
    await until("k is dead", () => worker.stats.dead === 1);
    assertEquals([worker.stats.failed, told], [2, ["UNSUPPORTED", "UNSUPPORTED"]]);
  });

  it("two workers share the work", async () => {
    const store = stack.store();
    const keys = names(200);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    const both = [keep(store.worker({ ...QUICK, maxKeys: 10 })), keep(stack.store().worker({ ...QUICK, maxKeys: 10 }))];
    await until("all are archived", () => both[0]!.stats.frozen + both[1]!.stats.frozen === 200);
    assert(both.every(({ stats }) => stats.frozen > 0));
  });

  it("survives S3 being down, says so, and goes on when it is back", async () => {
    const fetch = faultyFetch(globalThis.fetch, []);
    const store = stack.store({ datastore: stack.datastore({ fetch }) });
    await store.tick();
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    fetch.setPlan([{ times: Infinity, fault: { type: "reset" } }]);
    const events: WorkerEvent[] = [];
    const told: TundraError[] = [];
    const worker = keep(store.worker({
      ...QUICK,
      retryBackoffMs: 0,
      monitor: (event) => events.push(event),
      onError: (error) => told.push(error),
    }));
    await until("it says so", () => worker.stats.failed >= 3);
    assertEquals(events[0]!.report!.errors[0]!.code, "UNAVAILABLE");
    assertEquals([told[0]!.code, told[0]!.keys], ["UNAVAILABLE", ["k"]]);
    assertEquals([worker.running, worker.stats.dead], [true, 0]);
    fetch.setPlan([]);
    await until("k is archived", () => worker.stats.frozen === 1);
  });

  it("waits while the archive is down, also if nothing but idle keys are due", async () => {
    const early = stack.store({ redisTtlMs: 10 * HOUR_MS });
    await stack.raw("SET", "k", "value");
    await early.dirty("k");
    await early.tick();
    await stack.leaveAlone(11 * HOUR_MS, "k");
    const fetch = faultyFetch(globalThis.fetch, [{ times: Infinity, fault: { type: "reset" } }]);
    const store = stack.store({ redisTtlMs: 10 * HOUR_MS, datastore: stack.datastore({ fetch, retries: 0 }) });
    const pauses: number[] = [];
    const worker = keep(store.worker({ eoqBackoffMs: (n) => (pauses.push(n), 20) }));
    await until("it has ticked", () => worker.stats.ticks >= 4);
    assertEquals(pauses.slice(0, 3), [1, 2, 3]);
    fetch.setPlan([]);
    await until("k is evicted", async () => await stack.exists("k") === 0);
  });

  it("says so if the archive is down at the very first tick, and begins when it is there", async () => {
    const fetch = faultyFetch(globalThis.fetch, [{ times: Infinity, fault: { type: "status", status: 503 } }]);
    const store = stack.store({ datastore: stack.datastore({ fetch }) });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    const events: WorkerEvent[] = [];
    const worker = keep(store.worker({ ...QUICK, monitor: (event) => events.push(event) }));
    await until("it says so", () => worker.stats.failedTicks >= 3);
    assertEquals([events[0]!.error!.code, events[0]!.report], ["UNAVAILABLE", undefined]);
    fetch.setPlan([]);
    await until("k is archived", () => worker.stats.frozen === 1);
  });

  const wrong: [string, unknown][] = [
    ["eoqBackoffMs", -1],
    ["throttleMs", 12 * HOUR_MS + 1],
    ["throttleMs", "1"],
    ["monitor", "log"],
    ["autoStart", 1],
    ["nattempts", 0],
    ["maxkeys", 5],
  ];
  for (const [name, value] of wrong) {
    it(`refuses ${name}: ${value} at once, before any request`, async () => {
      const store = stack.store();
      const error = await tundraError("BAD_ARGUMENT", () => store.worker({ [name]: value }));
      assert(error.message.includes(name), error.message);
      assertEquals(stack.server.requests, 0);
    });
  }
});

describe("a worker on a Redis that goes down", () => {
  const stack = withArchive({ redis: { args: ["--appendonly", "yes", "--appendfsync", "always"] } });

  it("survives it, says so, and goes on where it was when Redis is back", async () => {
    const store = stack.store({ redis: { retry: false } });
    await stack.raw("MSET", "a", "1", "b", "2");
    await store.dirty("a");
    const events: WorkerEvent[] = [];
    const worker = store.worker({ eoqBackoffMs: 20, leaseMs: 1000, monitor: (event) => events.push(event) });
    try {
      await until("a is archived", () => worker.stats.frozen === 1);
      await store.dirty("b");
      await stack.redis.kill();
      await until("it says so", () => worker.stats.failedTicks >= 3);
      const error = events.find((event) => event.error)!.error!;
      assertEquals([error.code, error.retryable, worker.running], ["UNAVAILABLE", true, true]);
      await stack.redis.restart();
      await until("b is archived", async () => (await store.status()).dirty === 0);
      assertEquals((await store.evict("a", "b")).evicted, ["a", "b"]);
      const { failedTicks } = worker.stats;
      await sleep(60);
      assertEquals(worker.stats.failedTicks, failedTicks);
      assertGreater(worker.stats.ticks, failedTicks);
      assertAlmostEquals(events.length, worker.stats.ticks, 1);
    } finally {
      await worker.stop();
    }
  });
});
