/** rebuild: the index from the archive alone. */
import { beforeEach, describe, it } from "node:test";
import type { Buffer } from "node:buffer";
import process from "node:process";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import {
  adopt,
  erase,
  list,
  moveIndex,
  peek,
  probe,
  rebuild,
  type RebuildOptions,
  type RebuildReport,
  restoreVersion,
  sweep,
  verify,
  versions,
  warm,
} from "../../src/operations/mod.ts";
import { type NotedArchive, notedArchive } from "../support/packs.ts";
import { assertBetween } from "../support/index.ts";
import { changesNothing } from "../support/operations.ts";
import { smallPages } from "../support/small_pages.ts";
import { withStack } from "../support/stack.ts";
import { archiveOf, type Fault, faulty, indexOf, type LostIndex, smallPacks, worthNow } from "./lost_index.ts";

/** What differs between runtimes is no rule of the protocol. */
const STEP = process.versions.deno ? 1 : 5;

/** Calls until it is done; the last report. */
async function untilDone(store: TundraStore, options: RebuildOptions = {}): Promise<RebuildReport> {
  for (let calls = 1;; calls++) {
    const report = await rebuild(store, options);
    if (report.done) return report;
    assert(calls < 100, "it never ends");
  }
}

describe("rebuild, after FLUSHDB", () => {
  const stack = withStack();
  let archive: NotedArchive;
  let lost: LostIndex;
  let saved: Map<string, Uint8Array> | undefined;
  let store: TundraStore;

  beforeEach(async () => {
    await stack.flush();
    if (!saved) {
      archive = notedArchive();
      lost = await archiveOf(stack, archive, 600);
      saved = new Map(archive.objects);
    }
    archive.objects.clear();
    for (const [name, bytes] of saved) archive.objects.set(name, bytes);
    await stack.flush();
    store = smallPacks(stack, archive.datastore);
  });

  it("brings every key back as it was, and what was removed stays removed", async () => {
    const { worth, gone } = lost;
    const report = await rebuild(store);
    const evicted = worth.size - gone.length;
    assertEquals([report.done, report.keys, report.evicted, report.gone], [true, worth.size, evicted, gone.length]);
    assertEquals([report.resident, report.lost, report.failed, report.errors], [0, 0, 0, []]);
    const status = await store.status();
    assertEquals([status.evicted, status.resident, status.dirty], [evicted, 0, 0]);
    assertEquals(await worthNow(stack, store, worth.keys()), worth);
  });

  it("reads no value but those whose names do not tell their keys, and costs what it says", async () => {
    await rebuild(store); // scripts are loaded
    await stack.raw("FLUSHDB");
    archive.forget();
    await stack.server.resetCounters();
    const report = await rebuild(store);
    const values = archive.gets.filter((name) => !name.includes("/~owner/"));
    assertEquals(values.map((name) => /~[0-9a-f]{32}\/\d{16}-/.test(name)), [true]); // one long name of two is packed
    assertEquals(archive.ranges.length, 2 * report.packs);
    assertEquals(report.commands, await stack.server.billable());
    const redis = 4 + Math.ceil(report.objects / 1_000) + report.packs;
    assertEquals(stack.server.requests, redis);
    assertBetween(report.subrequests - redis - 2 * report.packs - values.length, 8, 20);
    assertBetween(report.commands, 9 * report.packs, 20 * report.packs + report.gone);
  });

  it("goes on where a bound has ended it, and comes to the same end", async () => {
    await rebuild(store);
    const index = await indexOf(stack);
    await stack.raw("FLUSHDB");
    const reports: RebuildReport[] = [];
    while (!reports.at(-1)?.done) {
      reports.push(await rebuild(store, { maxSubrequests: 40 }));
      assert(reports.at(-1)!.subrequests <= 40 && reports.length < 20, String(reports.at(-1)!.subrequests));
    }
    assert(reports.length > 1);
    assertEquals(await indexOf(stack), index);
    assertEquals(reports.at(-1)!.keys, lost.worth.size); // counts go on from call to call
  });

  it("aborted in the middle of each call goes on in the next, and comes to the same end", async () => {
    await rebuild(store);
    const index = await indexOf(stack);
    await stack.raw("FLUSHDB");
    let calls = 0;
    for (let known = 0, done = false; !done; calls++) {
      assert(calls < 100, "it never ends");
      const controller = new AbortController();
      const report = await rebuild(store, { signal: controller.signal, onProgress: () => controller.abort() });
      assert(report.done || report.keys > known || calls > 0, "it gets nowhere");
      ({ done, keys: known } = report);
    }
    assert(calls > 3, `${calls} calls`);
    assertEquals(await indexOf(stack), index);
  });

  it("deals with at most maxKeys keys in a call, and comes to the same end", async () => {
    await rebuild(store);
    const index = await indexOf(stack);
    for (const [maxKeys, least] of [[7, lost.worth.size / 7], [500, 2], [100_000, 1]] as const) {
      await stack.raw("FLUSHDB");
      let calls = 0;
      for (let known = 0, done = false; !done; calls++) {
        assert(calls < 1_000, "it never ends");
        let dealt = 0;
        const report = await rebuild(store, { maxKeys, onProgress: ({ done }) => dealt = done });
        assert(report.keys - known <= maxKeys, `${report.keys - known} keys`);
        assert(dealt <= maxKeys, `${dealt} keys`); // the progress is that of this call
        ({ done, keys: known } = report);
      }
      assert(calls >= least, `${calls} calls`);
      assertEquals(await indexOf(stack), index);
    }
    await stack.raw("FLUSHDB");
    const plan = await changesNothing(stack, () => rebuild(store, { maxKeys: 7, dryRun: true }), archive.objects);
    assertEquals([plan.done, plan.keys > 0 && plan.keys <= 7], [false, true]);
  });

  it("begins its listing anew in the call after one in which the archive did not know its cursor", async () => {
    const whole = await rebuild(store);
    const index = await indexOf(stack);
    await stack.raw("FLUSHDB");
    const { datastore, move } = smallPages(archive.datastore, 10);
    const moved = smallPacks(stack, datastore);
    let part = await rebuild(moved, { maxKeys: 150 });
    while (part.packs === 0) part = await rebuild(moved, { maxKeys: 150 });
    assertEquals(part.done, false);
    move();
    await assertRejects(() => rebuild(moved), TundraError, "400 InvalidArgument");
    const { done, keys, objects, packs } = await untilDone(moved);
    assertEquals([done, keys, objects, packs], [true, whole.keys, whole.objects, whole.packs]);
    assertEquals(await indexOf(stack), index);
  });

  it("changes nothing once the index is whole, nor if the archive was never used", async () => {
    const store = smallPacks(stack, notedArchive().datastore);
    assertEquals((await rebuild(store)).keys, 0);
    assertEquals(await stack.raw("KEYS", "*"), []);
    const other = smallPacks(stack, archive.datastore);
    await rebuild(other);
    const { done, keys } = await changesNothing(stack, () => rebuild(other), archive.objects);
    assertEquals([done, keys], [true, 0]);
  });

  it("plans with dryRun: tells what it would do, and writes nothing", async () => {
    const key = [...lost.worth.keys()].find((key) => lost.worth.get(key))!;
    await stack.raw("SET", key, "new");
    const plan = await changesNothing(stack, () => rebuild(store, { dryRun: true }), archive.objects);
    const { keys, evicted, gone, resident, packs, objects, done } = await rebuild(store);
    assertEquals([plan.done, plan.keys, plan.evicted, plan.gone], [done, keys, evicted, gone]);
    assertEquals([plan.resident, plan.packs, plan.objects, resident], [resident, packs, objects, 1]);
  });

  it("queues what is in Redis, and never makes it evicted: it is archived again as a newer version", async () => {
    const [one, two, removed] = ["k:1", "large", lost.gone[0]!] as const;
    for (const key of [one, two, removed]) await stack.raw("SET", key, `new: ${key}`);
    await store.dirty(one); // marked before anybody knew that the index was lost
    const report = await rebuild(store);
    assertEquals([report.resident, (await store.status()).dirty], [2, 3]);
    assertEquals((await store.tick()).frozen, 3);
    assertEquals((await store.evict(one, two, removed)).evicted.length, 3);
    const found = await worthNow(stack, store, lost.worth.keys());
    const expected = new Map(lost.worth);
    for (const key of [one, two, removed]) expected.set(key, { value: `new: ${key}`, exp: 0 });
    assertEquals(found, expected);
  });

  it("makes the records that Redis has lost, once the id is deleted, and leaves all others as they are", async () => {
    await rebuild(store);
    const brought = ["k:2", "k:4", "large"];
    await store.ensureKs(brought);
    await stack.raw("SET", "k:4", "changed");
    await store.dirty("k:4");
    await store.del("k:6");
    const before = await indexOf(stack);
    for (const key of ["k:1", "k:2", "expires", lost.gone[0]!]) await stack.raw("DEL", `tundra:default:rec:${key}`);
    await stack.raw("DEL", "tundra:default:id");
    const report = await rebuild(store);
    assertEquals([report.done, report.keys, report.resident], [true, 4, 1]);
    const after = await indexOf(stack);
    const names = Object.keys({ ...before, ...after }).filter((name) => before[name] !== after[name]);
    const notTheStats = names.filter((name) => name.includes(":rec:") || name.endsWith(":dirty"));
    assertEquals(notTheStats, ["tundra:default:dirty", "tundra:default:rec:k:2"]); // in Redis: archived again
    assert(after["tundra:default:rec:k:4"]!.startsWith("dirty") && after["tundra:default:rec:k:6"]!.includes(" g "));
    assertEquals((await store.tick()).errors, []);
    const expected = new Map(lost.worth).set("k:4", { value: "changed", exp: 0 }).set("k:6", undefined);
    assertEquals(await worthNow(stack, store, lost.worth.keys()), expected);
  });

  it("refuses all other calls until it is done, and ticks archive nothing", async () => {
    await rebuild(store); // scripts are loaded
    await stack.raw("FLUSHDB");
    assertEquals((await rebuild(store, { maxSubrequests: 40 })).done, false);
    await stack.raw("SET", "new", "1");
    const calls: Record<string, () => Promise<unknown>> = {
      ensureKs: () => store.ensureKs("k:1"),
      dirty: () => store.dirty("new"),
      tick: () => store.tick(),
      evict: () => store.evict("k:1"),
      del: () => store.del("k:1"),
      dirtyIn: () => {
        const pipeline = store.redis.pipeline();
        pipeline.get("new");
        store.dirtyIn(pipeline, "new");
        return pipeline.exec();
      },
      list: async () => {
        for await (const _ of list(store));
      },
      verify: () => verify(store),
      "verify, dryRun": () => verify(store, { repair: true, dryRun: true }),
      versions: () => versions(store, "k:1"),
      restoreVersion: () => restoreVersion(store, "k:1", new Date()),
      adopt: () => adopt(store),
      "adopt, dryRun": () => adopt(store, { dryRun: true }),
      peek: () => peek(store, "k:1", () => 1),
      erase: () => erase(store, ["k:1"]),
      "erase, match": () => erase(store, { match: "k:*" }),
      warm: () => warm(store),
      "warm, nothing matches": () => warm(store, { match: "none:*" }),
      "warm, a list": () => warm(store, ["not known yet"]),
      sweep: () => sweep(store),
      "tick, sweepMs": () => store.tick({ sweepMs: 1_000 }),
      "tick, verifyKeys": () => store.tick({ verifyKeys: 10 }),
    };
    const all = async () => {
      for (const [name, call] of Object.entries(calls)) {
        const error = await assertRejects(call, TundraError);
        assertEquals(error.code, "LOST", name);
        assertMatch(error.message, /rebuild is under way/, name);
      }
      const error = await assertRejects(() => moveIndex(store), TundraError, "must have a confirmed id");
      assertEquals(error.code, "LOST");
      const { checks } = await probe(store); // it tries the rest all the same
      assertEquals(checks.filter(({ ok }) => !ok).map(({ name }) => name), ["index and archive belong together"]);
    };
    await changesNothing(stack, all, archive.objects);
    assert((await untilDone(store)).done);
    await store.dirty("new");
    assertEquals((await store.tick()).frozen, 1);
  });

  it("by two processes at once comes to the same end", async () => {
    await rebuild(store);
    const index = await indexOf(stack);
    await stack.raw("FLUSHDB");
    const other = smallPacks(stack, archive.datastore);
    const reports = await Promise.all([rebuild(store), rebuild(other)]);
    assertEquals(reports.map(({ done }) => done), [true, true]);
    assertEquals(await indexOf(stack), index);
  });

  it("begins again if Redis is emptied in the middle of it", async () => {
    await rebuild(store);
    const index = await indexOf(stack);
    await stack.raw("FLUSHDB");
    await rebuild(store, { maxSubrequests: 40 });
    await stack.raw("FLUSHDB");
    await untilDone(store, { maxSubrequests: 45 });
    assertEquals(await indexOf(stack), index);
    await stack.raw("FLUSHDB");
    let requests = 0;
    const flushing = smallPacks(stack, archive.datastore, {
      redis: {
        fetch: async (...args) => {
          if (++requests === 8) await stack.raw("FLUSHDB");
          return await fetch(...args);
        },
      },
    });
    const error = await assertRejects(() => rebuild(flushing), TundraError);
    assertEquals([error.code, await stack.raw("KEYS", "*")], ["UNAVAILABLE", []]);
    assert((await rebuild(store)).done);
    assertEquals(await indexOf(stack), index);
  });

  it("is not mistaken for a new store's index by a tick that meets it, if Redis is emptied then", async () => {
    let requests = 0;
    const ticking = smallPacks(stack, archive.datastore, {
      redis: {
        fetch: async (...args) => {
          if (++requests === 2) await stack.raw("SET", "tundra:default:id", stack.id("new:rebuild:u"));
          const response = await fetch(...args);
          if (requests === 2 || requests === 3) await response.clone().arrayBuffer();
          if (String(await stack.raw("GET", "tundra:default:id")).startsWith("new:rebuild:")) {
            await stack.raw("FLUSHDB");
          }
          return response;
        },
      },
    });
    for (let i = 0; i < 3; i++) await assertRejects(() => ticking.tick(), TundraError);
    assertEquals(await stack.raw("EXISTS", "tundra:default:id"), 0);
    assert((await rebuild(store)).done);
  });

  it("goes back with Redis, if that forgets its last writes", async () => {
    await rebuild(store);
    const index = await indexOf(stack);
    await stack.raw("FLUSHDB");
    let requests = 0;
    let names: string[] = [];
    let values: (Buffer | number)[][] = [];
    const failing = smallPacks(stack, archive.datastore, {
      redis: {
        fetch: async (...args) => {
          requests++;
          if (requests === 6) {
            names = (await stack.raw("KEYS", "*") as Buffer[]).map(String);
            values = await Promise.all(
              names.map(async (name) => [
                Math.max(0, await stack.raw("PTTL", name) as number),
                await stack.raw("DUMP", name) as Buffer,
              ]),
            );
          }
          if (requests === 12) {
            await stack.raw("FLUSHDB");
            for (const [i, name] of names.entries()) await stack.raw("RESTORE", name, ...values[i]!);
          }
          return await fetch(...args);
        },
      },
    });
    assert((await rebuild(failing)).done);
    assert(names.length > 10 && requests > 16, `${names.length} keys, ${requests} requests`);
    assertEquals(await indexOf(stack), index);
  });
});

describe("rebuild, interrupted at any request", () => {
  const stack = withStack();

  for (const kind of ["lost request", "lost answer"] as const) {
    it(`and repeated comes to the same end: ${kind}`, async () => {
      await stack.flush();
      const archive = notedArchive();
      const { worth } = await archiveOf(stack, archive, 60);
      const saved = new Map(archive.objects);
      await stack.flush();
      const store = smallPacks(stack, archive.datastore);
      assert((await rebuild(store)).done);
      const index = await indexOf(stack);
      let met = true;
      for (let at = 0; met; at += STEP) {
        await stack.flush();
        archive.objects.clear();
        for (const [name, bytes] of saved) archive.objects.set(name, bytes);
        const fault: Fault = { at, kind };
        const network = faulty(fault);
        const failing = smallPacks(stack, network.around(archive.datastore), { redis: { fetch: network.fetch } });
        met = await rebuild(failing).then(() => false, () => true);
        assert(met || at > 25, `${at}`);
        assert((await rebuild(store)).done);
        assertEquals(await indexOf(stack), index, `at ${at}`);
        if (at % 10 === 0) assertEquals(await worthNow(stack, store, worth.keys()), worth);
      }
    });
  }
});
