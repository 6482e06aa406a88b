/**
 * Sweeps in calls of few requests, on a datastore that takes a request for each name as S3 does: each call gets on, and
 * together they do what one call does.
 */
import { beforeEach, describe, it } from "node:test";
import { assertEquals, assertLessOrEqual } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import { erase, sweep, type SweepOptions, type SweepReport } from "../../src/operations/mod.ts";
import { names, tundraError, withArchive } from "../support/fixtures.ts";
import { withIndex } from "../support/index.ts";
import { type OldArchive, oldArchive, type OldVersion } from "../support/old_archive.ts";
import { type NotedArchive, notedArchive } from "../support/packs.ts";
import { telling } from "../support/telling.ts";
import { DAY_MS } from "../support/times.ts";

describe("sweep() in calls of few requests", () => {
  const stack = withArchive();
  const tools = withIndex(stack);
  let archive: NotedArchive;
  let store: TundraStore;
  let old: OldArchive;

  beforeEach(() => begin());

  /** Begins with an empty archive that takes a request for each `perDeletion` objects deleted. */
  async function begin(perDeletion?: number): Promise<void> {
    await stack.flush();
    archive = notedArchive((inner) => telling(inner, perDeletion));
    store = stack.store({ datastore: archive.datastore });
    await store.tick(); // gives the index its id
    old = oldArchive(archive, await tools.nowUs(), String(await stack.raw("GET", "tundra:default:id")));
  }

  /** Evicted keys whose records name these versions. */
  async function evicted(words: Record<string, string>): Promise<void> {
    const record = (ver: string) => ({ ver, flag: "e" as const, fp: "a".repeat(40) });
    await tools.setRecords(Object.fromEntries(Object.entries(words).map(([key, ver]) => [key, record(ver)])));
  }

  /** Sweeps to the end, in at most so many calls of 50 requests; sums of their reports. */
  async function sweepAll(
    most: number,
    options: SweepOptions = { maxSubrequests: 50 },
    between?: () => Promise<void>,
  ): Promise<SweepReport> {
    const sums = { deleted: 0, moved: 0, kept: 0, objects: 0 };
    for (let calls = 1;; calls++) {
      assertLessOrEqual(calls, most, "it does not end");
      const report = await sweep(store, options);
      assertLessOrEqual(report.subrequests, options.maxSubrequests ?? Infinity);
      for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += report[name];
      if (report.done) return { ...report, ...sums };
      await between?.();
    }
  }

  /** Lets a day pass, and a bit, by what the state says of its age. */
  async function nextDay(): Promise<void> {
    const cursor = "tundra:default:cursor:sweep";
    const state = JSON.parse(String(await stack.raw("GET", cursor)));
    state.begunUs -= DAY_MS * 1_001;
    await stack.raw("SET", cursor, JSON.stringify(state));
  }

  /** Keys whose names are shortened: their objects must be read. */
  const longNames = (n: number) => names(n, "x".repeat(250));

  it("gets through more keys of shortened names than a call may read", async () => {
    for (const key of longNames(100)) {
      await old.own(20, { key });
      await old.own(10, { key });
    }
    await evicted(Object.fromEntries(longNames(100).map((key) => [key, old.version(10)])));
    const { deleted, kept } = await sweepAll(10);
    assertEquals([deleted, kept, archive.own().length], [100, 100, 100]);
  });

  it("gets through such keys in ticks", async () => {
    for (const key of longNames(60)) await old.own(1, { key });
    for (let ticks = 1; (await store.tick({ sweepMs: 1_000, maxSubrequests: 50 })).swept !== undefined; ticks++) {
      if (await stack.raw("EXISTS", "tundra:default:cursor:sweep") === 0) return;
      assertLessOrEqual(ticks, 5, "it does not end");
    }
  });

  it("leaves an erasure by a pattern room to get through such keys", async () => {
    for (const key of longNames(60)) await old.own(1, { key });
    for (let calls = 1;; calls++) {
      assertLessOrEqual(calls, 12, "it does not end");
      if ((await erase(store, { match: "y*" }, { maxSubrequests: 50 })).done) return;
    }
  });

  it("deletes a pack whose versions go for more objects than a call may ask for", async () => {
    await old.pack(20, names(100).map((key) => ({ key })));
    for (const key of names(100)) await old.own(3, { key, gone: true });
    const { deleted } = await sweepAll(8);
    assertEquals([deleted, archive.packs().length, archive.own().length], [100, 0, 100]);
  });

  it("keeps such a pack if one of those objects is missing", async () => {
    await old.pack(20, names(100).map((key) => ({ key })));
    for (const key of names(100)) await old.own(3, { key, gone: true });
    const gone = new Set<string>();
    const { hasKeys } = archive.datastore;
    archive.datastore.hasKeys = async (asked, options) => {
      if (gone.size === 0) gone.add(asked.at(-1)!);
      return (await hasKeys(asked, options)).map((answer, i) => answer === true && !gone.has(asked[i]!));
    };
    store = stack.store({ datastore: archive.datastore });
    const { deleted, kept } = await sweepAll(8);
    assertEquals([deleted, kept, archive.packs().length], [0, 200, 1]);
  });

  it("deletes objects that go for more of them than a call may ask for", async () => {
    for (const key of names(100)) {
      await old.own(20, { key });
      await old.own(3, { key, gone: true });
    }
    const { deleted } = await sweepAll(8);
    assertEquals([deleted, archive.own().length], [100, 100]);
  });

  it("deletes objects where each takes a request, and reports each that it has deleted", async () => {
    await begin(1);
    for (const days of [20, 10]) for (const key of names(100)) await old.own(days, { key });
    await evicted(Object.fromEntries(names(100).map((key) => [key, old.version(10)])));
    const before = archive.own().length;
    const { deleted } = await sweep(store, { maxSubrequests: 50 });
    assertEquals([deleted > 20, archive.own().length], [true, before - deleted]);
    assertEquals([(await sweepAll(8)).deleted, archive.own().length], [before / 2 - deleted, before / 2]);
  });

  it("deletes many objects in a call where a request takes many", async () => {
    for (const days of [20, 10]) for (const key of names(900)) await old.own(days, { key });
    await evicted(Object.fromEntries(names(900).map((key) => [key, old.version(10)])));
    assertEquals((await sweep(store, { maxSubrequests: 50 })).deleted, 900);
  });

  it("deletes versions of a key that changes so often that a call cannot read all of its last days", async () => {
    for (const [maxSubrequests, calls] of [[50, 3], [20, 40]] as const) {
      await begin();
      let prev = "";
      for (let days = 14; days > 0; days -= 1 / 16) prev = await old.own(days, { key: "hot", prev });
      await evicted({ hot: prev });
      // as by one call: of the 81 that are 9 days old the newest stays, and the one before that it names
      assertEquals((await sweepAll(calls, { maxSubrequests })).deleted, 79);
    }
  });

  it("gets on with a call a day, though none has the requests to look at all that may go", async () => {
    const words: Record<string, string> = {};
    const tombstones: OldVersion[] = [];
    for (let i = 0; i < 20; i++) {
      const keys = names(3, `p${i}:`);
      const list = await old.pack(40 - i, keys.map((key) => ({ key })));
      words[keys[0]!] = list[0]!;
      tombstones.push(...keys.slice(1).map((key) => ({ key, gone: true as const })));
    }
    await old.pack(3, tombstones);
    await evicted(words);
    const { moved } = await sweepAll(8, undefined, nextDay);
    assertEquals(moved, 20);
  });

  it("deletes with a call a day what it must search for, if a call is enough for the search", async () => {
    const exp = Date.now() - 3 * DAY_MS;
    for (let i = 0; i < 12; i++) await old.pack(40 - i, names(2, `p${i}:`).map((key) => ({ key, exp })));
    for (let days = 1; archive.packs().length > 0; days++) {
      assertLessOrEqual(days, 30, "it does not end");
      if (!(await sweep(store, { maxSubrequests: 50 })).done) await nextDay();
    }
  });

  it("gets on with a call a day, though none has the requests to search for what may go", async () => {
    const exp = Date.now() - 3 * DAY_MS;
    for (let i = 0; i < 40; i++) await old.pack(40 - i / 10, names(2, `p${i}:`).map((key) => ({ key, exp })));
    assertEquals((await sweepAll(20, undefined, nextDay)).deleted, 0);
    assertEquals((await sweepAll(40)).deleted, 80);
  });

  it("passes over a pack of more versions than a call has requests for, and says so", async () => {
    await old.pack(30, names(4, "other").map((key) => ({ key })));
    const many = names(12_000);
    await old.pack(20, many.map((key) => ({ key, dump: new Uint8Array(1) })));
    await old.pack(3, [...many, ...names(4, "other")].slice(-1_004).map((key) => ({ key, gone: true })));
    let passed = 0;
    for (let calls = 1, done = false; !done; calls++) {
      assertLessOrEqual(calls, 20, "it does not end");
      const report = await sweep(store, { maxSubrequests: 20 });
      assertLessOrEqual(report.subrequests, 20);
      passed += report.errors.filter(({ code }) => code === "TOO_LARGE").length;
      done = report.done;
    }
    assertEquals([passed, archive.packs().length], [1, 2]);
  });

  it("reads what is left of a pack with a request, however it is scattered", async () => {
    const keys = names(32);
    const dump = () => crypto.getRandomValues(new Uint8Array(30_000));
    const words = await old.pack(20, keys.map((key) => ({ key, dump: dump() })));
    const named = Object.fromEntries(keys.map((key, i) => [key, words[i]!]));
    const changed = keys.filter((_, i) => i % 4 > 0);
    (await old.pack(15, changed.map((key) => ({ key })))).forEach((word, i) => named[changed[i]!] = word);
    await evicted(named);
    assertEquals((await sweepAll(6, { maxSubrequests: 20 })).moved, 8);
  });

  it("begins anew if the datastore does not know the cursor any more, as after a move to another bucket", async () => {
    for (const key of names(2_500)) {
      archive.objects.set(`default/${key.replace(":", ".3A")}/${old.version(1)}`, new Uint8Array(1));
    }
    const { listKeys } = archive.datastore;
    let bucket = 1;
    archive.datastore.listKeys = async (prefix, cursor, options) => {
      const [of, at] = cursor === undefined ? [bucket] : JSON.parse(cursor);
      if (of !== bucket) throw new TundraError("UNAVAILABLE", "400 InvalidArgument", { retryable: false });
      const page = await listKeys(prefix, at, options);
      return { ...page, ...(page.cursor !== undefined && { cursor: JSON.stringify([bucket, page.cursor]) }) };
    };
    store = stack.store({ datastore: archive.datastore });
    assertEquals((await sweep(store, { maxKeys: 500 })).done, false);
    bucket = 2;
    assertEquals((await tundraError("UNAVAILABLE", () => sweep(store))).retryable, false);
    const { done, kept } = await sweep(store);
    assertEquals([done, kept], [true, 2_500]);
  });
});
