/** onEvent: what a store tells of its calls, and that telling changes nothing. */
import { beforeEach, it } from "node:test";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { TundraError, type TundraEvent, type TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import {
  activity,
  adopt,
  list,
  peek,
  restoreVersion,
  sweep,
  verify,
  versions,
  warm,
} from "../../src/operations/mod.ts";
import { BUCKET, describePackings, names, tundraError, withArchive } from "../support/fixtures.ts";
import { until } from "../support/waiting.ts";

const KEYS = redisKeys("default");
type Call = Extract<TundraEvent, { type: "call" }>;

describePackings("events of a store", (packBytes) => {
  const stack = withArchive({ packBytes });
  const { raw } = stack;
  let events: TundraEvent[] = [];
  let store: TundraStore;
  beforeEach(async () => {
    await stack.flush();
    events = [];
    store = stack.store({ onEvent: (event) => void events.push(event) });
  });

  /** The events of one call, without their durations. */
  async function eventsOf(act: () => Promise<unknown>): Promise<unknown[]> {
    events = [];
    await act().catch(() => {});
    return events.map((event) => {
      if (event.type !== "call") return event;
      const { durationMs, ...rest } = event;
      assert(Number.isSafeInteger(durationMs) && durationMs >= 0, String(durationMs));
      return rest;
    });
  }
  const set = async (...keys: string[]) => await raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
  const archived = async (...keys: string[]) => {
    await set(...keys);
    await store.dirty(keys);
    assertEquals((await store.tick()).frozen, keys.length);
  };
  const none = { commands: 0, bytesFetched: 0, bytesPut: 0 };

  it("tell of each call its keys, requests and commands, as the servers count them", async () => {
    await archived("a", "b");
    const calls: [string, number, () => Promise<unknown>][] = [
      ["ensureKs", 2, () => store.ensureKs("a", "b")],
      ["dirty", 1, () => store.dirty("a")],
      ["tick", 1, () => store.tick()],
      ["evict", 2, () => store.evict(["a", "b"])],
      ["ensureKs", 2, () => store.ensureKs("a", "b")],
      ["status", 0, () => store.status()],
      ["deadLetters", 0, () => store.deadLetters()],
      ["retryDead", 1, () => store.retryDead("a")],
      ["del", 1, () => store.del("a")],
      ["warm", 0, () => warm(store)],
      ["versions", 0, () => versions(store, "b")],
      ["peek", 0, () => peek(store, "b", () => 1)],
      ["verify", 0, () => verify(store)],
      ["sweep", 0, () => sweep(store)],
      ["adopt", 0, () => adopt(store)],
      ["activity", 0, () => activity(store)],
    ];
    for (const [name, keys, act] of calls) {
      const before = stack.s3.requests;
      events = [];
      await stack.server.resetCounters();
      await act();
      const found = events.filter((event): event is Call => event.type === "call");
      const [call] = found;
      assertEquals([found.length, call!.call, call!.keys, call!.code], [1, name, keys, undefined], name);
      assertEquals(
        [call!.requests, call!.commands],
        [stack.server.requests + stack.s3.requests - before, await stack.server.billable()],
        name,
      );
    }
  });

  it("tell the numbers of a tick's report, and of what left and came back", async () => {
    await set("a", "b", "c");
    await store.dirty("a", "b", "c");
    events = [];
    const { errors, ...report } = await store.tick();
    assertEquals(errors, []);
    assertEquals(events[0], { type: "tick", report });
    const { bytesFetched, bytesPut, requests, commands } = events[1] as Call;
    assertEquals([events.length, bytesFetched, bytesPut >= report.bytesWritten], [2, 0, true]);
    assertEquals([requests, commands], [report.subrequests, report.commands]);

    const [evicted, call] = await eventsOf(() => store.evict("a", "b", "never"));
    assertEquals([evicted, (call as Call).keys], [{ type: "evicted", keys: 2 }, 3]);

    const dumps = 2 * (await raw("DUMP", "c") as Uint8Array).length;
    const [restored, ensured] = await eventsOf(() => store.ensureKs("a", "b", "c"));
    assertEquals(restored, { type: "restored", keys: 2, bytes: dumps });
    assert((ensured as Call).bytesFetched > dumps / 2, String((ensured as Call).bytesFetched));
    assertEquals(await stack.get("a"), "value of a");
  });

  it("tell failures by code: of keys, of calls, of ticks", async () => {
    assertEquals(await eventsOf(() => store.dirty("missing", "gone")), [
      { type: "failed", call: "dirty", code: "MISSING", keys: 2 },
      { type: "call", call: "dirty", keys: 2, requests: 1, ...none, commands: 4, code: "MISSING" },
    ]);
    await archived("a", "b");
    await store.evict("a", "b");
    for (const name of stack.objectNames()) if (!name.includes("~owner")) stack.s3.objects(BUCKET).delete(name);
    const [lost, call] = await eventsOf(() => store.ensureKs("a", "b"));
    assertEquals(lost, { type: "failed", call: "ensureKs", code: "LOST", keys: 2 });
    assertEquals((call as Call).code, "ENSURE_FAILED");
    const refusing = stack.datastore();
    const tell = (event: TundraEvent) => void events.push(event);
    const failing = stack.store({
      datastore: { ...refusing, putKey: () => Promise.reject(new Error("no room")) },
      onEvent: tell,
    });
    await stack.flush();
    await set("c");
    await failing.dirty("c");
    const told = await eventsOf(() => failing.tick()) as TundraEvent[];
    assertEquals(told.filter(({ type }) => type === "failed"), [
      { type: "failed", call: "tick", code: "UNAVAILABLE", keys: 0 },
    ]);
  });

  it("tell of sweeps and verifications, also within ticks; not of a dry run's", async () => {
    await archived(...names(5));
    const told = async (act: () => Promise<unknown>) =>
      (await eventsOf(act) as TundraEvent[]).filter(({ type }) => type === "swept" || type === "verified");
    const found: TundraEvent = { type: "verified", checked: 10, damaged: 0, missing: 0 };
    assertEquals(await told(() => verify(store)), [found]);
    assertEquals(await told(() => sweep(store)), [{ type: "swept", deleted: 0, moved: 0, failed: 0 }]);
    assertEquals(await told(() => sweep(store, { dryRun: true })), []);
    assertEquals(await told(() => store.tick({ sweepMs: 1_000, verifyKeys: 100 })), [
      { type: "swept", deleted: 0, moved: 0, failed: 0 },
      found,
    ]);
  });

  it("hold no key and no secret", async () => {
    const all: TundraEvent[] = [];
    const telling = stack.store({ onEvent: (event) => void all.push(event) });
    const key = "a-name-of-its-own";
    await set(key);
    await telling.dirty(key);
    await telling.tick();
    await telling.evict(key);
    await telling.ensureKs(key);
    for await (const _ of list(telling));
    const [first] = await versions(telling, key);
    await restoreVersion(telling, key, first!.version);
    await tundraError("MISSING", () => telling.dirty(`${key}:missing`));
    assert(all.length >= 7, String(all.length));
    const text = JSON.stringify(all);
    assert(!text.includes(key) && !text.includes(stack.server.token), text);
  });

  it("of calls at once are told apart", async () => {
    await archived(...names(3));
    await eventsOf(() => Promise.all([store.ensureKs("k:0"), store.ensureKs("k:1", "k:2"), store.status()]));
    const calls = events.filter((event): event is Call => event.type === "call");
    assertEquals(
      calls.map(({ call, keys, requests }) => `${call} ${keys} ${requests}`).sort(),
      ["ensureKs 1 1", "ensureKs 2 1", "status 0 1"],
    );
  });

  it("of a worker's ticks are told as those of other ticks", async () => {
    await set("a");
    await store.dirty("a");
    events = [];
    const worker = store.worker();
    await until("a tick's event", () => events.some(({ type }) => type === "tick"));
    await worker.stop();
    const [tick] = events;
    assertEquals(tick?.type === "tick" && tick.report.frozen, 1);
  });

  it("change nothing if the listener throws, and a call makes the same requests without one", async () => {
    const throwing = stack.store({
      onEvent() {
        throw new Error("a listener's mistake");
      },
    });
    const plain = stack.store();
    const requests = async (of: TundraStore) => {
      await stack.flush();
      await stack.server.resetCounters();
      await set("a");
      await of.dirty("a");
      await of.tick();
      await of.evict("a");
      await of.ensureKs("a");
      assertEquals(await stack.get("a"), "value of a");
      return [stack.server.requests, await stack.server.billable()];
    };
    await requests(plain); // scripts are known from now on
    assertEquals(await requests(throwing), await requests(plain));
    const mistaken = { onEvent: 1 as unknown as () => void };
    assertThrows(() => stack.store(mistaken), TundraError, "onEvent must be a function");
  });

  it("go with a row for each hour and each day, which activity() reads", async () => {
    await archived("a", "b", "c");
    await store.evict("a");
    assertEquals(await activity(store), { hours: [], runs: [] });
    await raw("SET", KEYS.lostRecordsCursor, "0 ");
    await set("d");
    await stack.store({ freezeDelayMs: 60_000 }).dirty("d");
    await store.tick();
    const { hours, runs: none } = await activity(store);
    const nowMs = await stack.nowMs();
    const { atMs, oldestDueMs, totals, ...counts } = hours[0]!;
    assert(nowMs - atMs < 60_000 && atMs <= nowMs && oldestDueMs >= 0, `${atMs} ${oldestDueMs}`);
    assertEquals(counts, { dirty: 1, due: 0, resident: 2, evicted: 1, dead: 0, purge: 0 });
    assertEquals([hours.length, totals.frozen, totals.evicted, none], [1, 3, 1, []]);

    await verify(store);
    await sweep(store, { dryRun: true });
    await sweep(store);
    await verify(store, { maxKeys: 1 });
    const { runs: [last, before, ...more] } = await activity(store);
    assertEquals([last!.operation, last!.done, more], ["verify", false, []]);
    assertEquals(last!.counts, { checked: 9, damaged: 0, missing: 0, failed: 0 });
    assertEquals([before!.operation, before!.done, before!.counts.deleted], ["sweep", true, 0]);
    assert(last!.atMs >= before!.atMs && nowMs - before!.atMs < 60_000);
  });

  it("leave rows of the last 14 days, whatever was there before", async () => {
    await archived("a");
    const nowMs = await stack.nowMs();
    const HOUR_MS = 60 * 60 * 1000;
    const rows = [1, 2, 335, 337].flatMap((ago) => {
      const at = Math.floor(nowMs) - ago * HOUR_MS;
      return [
        String(Math.floor(at / HOUR_MS) % 336),
        `${at} 5 4 1 2 ${at - 1500} frozen ${1000 - ago} archived 9 evicted 3`,
      ];
    });
    await raw("HSET", KEYS.hours, ...rows.slice(2)); // the oldest one's place is that of an hour ago
    const { hours } = await activity(store);
    const ago = (atMs: number) => Math.round((nowMs - atMs) / HOUR_MS);
    assertEquals(hours.map(({ atMs }) => ago(atMs)), [335, 2]);
    const { atMs: _, ...row } = hours[0]!;
    const totals = { frozen: 665, evicted: 3, restored: 0, rescued: 0, removed: 0, bytes: 0 };
    assertEquals(row, { dirty: 6, due: 4, resident: 6, evicted: 3, dead: 1, purge: 2, oldestDueMs: 1500, totals });

    const day = Math.floor(nowMs / 86_400_000);
    await raw("HSET", KEYS.runs, `sweep:${day % 14}`, `${day - 14} 1000 1 7 7 7 7`);
    await sweep(store);
    const { runs } = await activity(store);
    assertEquals(runs.map(({ operation, counts }) => [operation, counts.deleted, counts.moved]), [["sweep", 0, 0]]);
    await sweep(store);
    assertEquals(await raw("HLEN", KEYS.runs), 1);
  });
});
