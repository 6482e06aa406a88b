/**
 * Erasures: no byte of a key's name or value stays in the bucket, and every other key comes back.
 */
import process from "node:process";
import { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { deflateFreezer, TundraError, type TundraStore } from "../../mod.ts";
import {
  erase,
  type EraseOptions,
  type EraseReport,
  rebuild,
  restoreVersion,
  sweep,
  versions,
} from "../../src/operations/mod.ts";
import { unseal } from "../../src/archive/seal.ts";
import { directoryPlace } from "../../src/archive/pack.ts";
import { placeOf } from "../../src/archive/place.ts";
import { parseRecord } from "../../src/scripts/prelude.ts";
import { objectName, toUrlsafe } from "../../src/base/keys.ts";
import { names, tundraError, withArchive } from "../support/fixtures.ts";
import { withIndex } from "../support/index.ts";
import { changesNothing, costOf } from "../support/operations.ts";
import { oldArchive } from "../support/old_archive.ts";
import { isTombstone, type NotedArchive, notedArchive } from "../support/packs.ts";
import { HOUR_MS } from "../support/times.ts";
import { gate } from "../support/waiting.ts";

/** Keys besides those of the person: `TUNDRA_KEYS=100000` was played too, which takes half a minute. */
const OTHERS = Number(process.env.TUNDRA_KEYS ?? (process.versions.deno ? 16_000 : 5_000));

describe("erase()", () => {
  const stack = withArchive();
  const tools = withIndex(stack);
  let archive: NotedArchive;
  let store: TundraStore;

  beforeEach(async () => {
    await stack.flush();
    archive = notedArchive();
    store = stack.store({ datastore: archive.datastore });
    await store.tick();
  });

  /** Whatever the bucket holds, names included, decompressed. */
  async function everyByte(): Promise<string> {
    const texts: string[] = [];
    for (const [name, bytes] of archive.objects) {
      texts.push(name);
      if (name.includes("/~owner/")) continue;
      const parts: Uint8Array[] = [];
      if (!name.includes("/~packs/")) parts.push(bytes);
      else {
        const { offset, length } = directoryPlace(bytes.subarray(0, 16), name);
        parts.push(bytes.subarray(offset, offset + length));
        for (const [at, size] of new Map((await archive.entries(name)).map((entry) => [entry.offset, entry.length]))) {
          parts.push(bytes.subarray(at, at + size));
        }
      }
      for (const part of parts) {
        texts.push(Buffer.from(await unseal(part, name, [deflateFreezer()], "look", [])).toString("latin1"));
      }
    }
    return texts.join("\n");
  }

  async function archived(values: Record<string, string>): Promise<void> {
    await stack.raw("MSET", ...Object.entries(values).flat());
    await store.dirty(Object.keys(values));
    assertEquals((await store.tick({ maxKeys: 100_000 })).errors, []);
  }

  /** Erases to the end, in calls with these options. */
  async function eraseAll(keys: string[] | { match: string }, options: EraseOptions = {}) {
    const sums = { versions: 0, objects: 0, moved: 0 };
    for (let calls = 1;; calls++) {
      assertLessOrEqual(calls, 100, "it does not end");
      const report = await erase(store, keys, options);
      assertLessOrEqual(report.subrequests, options.maxSubrequests ?? Infinity);
      for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += report[name];
      if (report.done) return { ...report, ...sums, calls };
    }
  }

  /** Erases keys of a pattern in calls of one key, until it is to erase values, but has no clock to tell them by. */
  async function eraseUntilValues(match: string): Promise<void> {
    let [name, state] = ["", { step: "" }];
    while (state.step !== "values") {
      await erase(store, { match }, { maxKeys: 1 });
      [name] = await stack.raw("KEYS", "tundra:default:cursor:erase*") as [string];
      state = JSON.parse(String(await stack.raw("GET", name)));
    }
    await stack.raw("SET", name, JSON.stringify({ ...state, sinceUs: 0 }));
  }

  it(`leaves no byte of one person's 50 keys among ${OTHERS}, in packs and alone, and every other key comes back`, async () => {
    const others = names(OTHERS, "other");
    const mine = names(50, "person:7");
    const old = oldArchive(archive, await tools.nowUs(), String(await stack.raw("GET", "tundra:default:id")));
    const value = (key: string, of: string) => new TextEncoder().encode(`the value of ${key} ${of}`);
    const records: Record<string, string> = {};
    const PACK = 4_000;
    for (let i = 0; i * PACK < OTHERS; i++) {
      const some = others.slice(i * PACK, (i + 1) * PACK);
      some.splice(17, 0, ...mine.filter((_, j) => j % Math.ceil(OTHERS / PACK) === i));
      const words = await old.pack(20 - i / 10, some.map((key) => ({ key, dump: value(key, "secret") })));
      some.forEach((key, j) => records[key] = words[j]!);
    }
    for (const key of mine.slice(0, 9)) {
      records[key] = await old.own(3, { key, dump: value(key, "alone"), prev: records[key]! });
    }
    await old.own(1, { key: mine[5]!, dump: value(mine[5]!, "orphan") });
    const list = Object.entries(records);
    for (let i = 0; i < list.length; i += 5_000) {
      await tools.setRecords(
        Object.fromEntries(
          list.slice(i, i + 5_000).map(([key, ver]) => [key, { ver, flag: "e" as const, fp: "a".repeat(40) }]),
        ),
      );
    }
    const texts = new Map<string, string>();
    const recordText = async (key: string) => {
      if (texts.size === 0) {
        for (let i = 0; i < others.length; i += 10_000) {
          const some = others.slice(i, i + 10_000);
          const found = await stack.raw("MGET", ...some.map((each) => `tundra:default:rec:${each}`)) as unknown[];
          some.forEach((each, j) => texts.set(each, String(found[j])));
        }
      }
      return texts.get(key);
    };
    const before = await everyByte();
    for (const text of ["person:7:3 secret", "person:7:3 alone", "person:7:5 orphan"]) {
      assert(before.includes(text), text);
    }

    const report = await eraseAll(mine);
    assertEquals([report.erased, report.failed, report.waiting], [50, 0, 0]);
    assertEquals(report.proof, { objects: 0, packs: archive.packs().length });
    const after = await everyByte();
    assert(!after.includes("person:7:") && !after.includes(toUrlsafe("person:7:")), "a name or a value is left");
    assertEquals(after.includes("other:3 secret"), true);
    const there = new Set<string>();
    for (const pack of archive.packs()) {
      for (const { key, ver, offset } of await archive.entries(pack)) {
        there.add(`${key} ${ver} ${pack.split("/")[2]} ${offset}`);
      }
    }
    for (const key of others) { // each record names a place that holds it
      const { ver, pack, offset } = placeOf(parseRecord((await recordText(key))!)!.ver);
      assert(there.has(`${key} ${ver} ${pack} ${offset}`), key);
    }
  });

  it("takes removals that ticks have archived before, tombstones and what a sweep has kept too", async () => {
    await archived({ "a:1": "one", "a:2": "two", "b:1": "three", "b:2": "four" });
    await archived({ "a:1": "newer" });
    await store.del("a:1", "b:2");
    await store.tick();
    await sweep(store, { maxKeys: 1 }); // leaves its state
    const report = await eraseAll({ match: "a:*" });
    assertEquals([report.erased, report.failed], [2, 0]);
    const left = await everyByte();
    assert(!/a:1|a:2|a\.3A/.test(left), left);
    await store.ensureKs("b:1", "a:1");
    assertEquals([await stack.get("b:1"), await stack.exists("a:1", "a:2")], ["three", 0]);
    assertEquals((await versions(store, "a:1")).length, 0);
    await tundraError("NOT_FOUND", () => restoreVersion(store, "a:1", new Date()));
  });

  it("in calls of few requests ends as one call does, and its other keys come back", async () => {
    const keys = names(60);
    await archived(Object.fromEntries(keys.map((key) => [key, `of ${key}.`])));
    await archived(Object.fromEntries(keys.slice(0, 30).map((key) => [key, `newer of ${key}.`])));
    await store.evict(keys);
    const report = await eraseAll(keys.slice(10, 20), { maxSubrequests: 30 });
    assert(report.calls > 1, `${report.calls} calls`);
    assertEquals([report.failed, (await everyByte()).includes("of k:15.")], [0, false]);
    await store.ensureKs(keys);
    for (const [i, key] of keys.entries()) {
      const expected = i >= 10 && i < 20 ? null : i < 30 ? `newer of ${key}.` : `of ${key}.`;
      assertEquals([key, await stack.get(key)], [key, expected]);
    }
  });

  for (const chosen of [names(40), { match: "k:*" }]) {
    it(`aborted in the middle of each call ends as one call does: ${Array.isArray(chosen) ? "a list" : "a pattern"}`, async () => {
      store = stack.store({ datastore: archive.datastore, packBytes: 2_000 });
      const value = () => Array.from({ length: 20 }, () => Math.random()).join();
      await archived(Object.fromEntries([...names(40), ...names(40, "other")].map((key) => [key, value()])));
      assert(archive.packs().length > 5);
      let calls = 0;
      for (let done = false; !done; calls++) {
        assertLessOrEqual(calls, 200, "it does not end");
        const controller = new AbortController();
        let told = 0;
        const onProgress = () => void (++told > 2 && controller.abort());
        const report = await erase(store, chosen, { signal: controller.signal, onProgress });
        assertEquals(report.errors, []);
        ({ done } = report);
      }
      assert(calls > 5, `${calls} calls`);
      assertEquals((await everyByte()).includes("k:7"), false);
      await store.evict(names(40, "other"));
      await store.ensureKs(...names(40), ...names(40, "other"));
      assertEquals([await stack.exists(...names(40)), await stack.exists(...names(40, "other"))], [0, 40]);
    });
  }

  it("aborted in the middle of its tick lets that end what it has begun: the next call waits for no lease", async () => {
    await archived({ a: "1", b: "2" });
    const controller = new AbortController();
    const { putKey } = archive.datastore;
    const aborting = stack.store({
      datastore: {
        ...archive.datastore,
        putKey(...args) {
          controller.abort();
          return putKey(...args);
        },
      },
    });
    const { signal } = controller;
    assertEquals([(await erase(aborting, ["a"], { signal })).done, signal.aborted], [false, true]);
    const { done, waiting } = await erase(store, ["a"]);
    assertEquals([done, waiting, (await store.status()).dirty], [true, 0, 0]);
  });

  it("by a pattern among 30,000 names in Redis gets on with each call of few requests, and ends", async () => {
    await archived({ "user:7:a": "one", "user:7:b": "two", other: "another's" });
    for (let i = 0; i < 30_000; i += 5_000) {
      await stack.raw("MSET", ...names(5_000, `beside:${i}`).flatMap((key) => [key, "x"]));
    }
    const { proof, failed, erased } = await eraseAll({ match: "user:7:*" }, { maxSubrequests: 30 });
    assertEquals([proof?.packs, failed, erased], [1, 0, 2]);
    assertEquals([await stack.exists("user:7:a", "user:7:b"), await stack.exists("other", "beside:0:1")], [0, 2]);
  });

  it("ends though a call had no request left for the clock that its values go by", async () => {
    await archived({ "a:1": "one", "a:2": "two", b: "other" });
    await eraseUntilValues("a:*");
    assertEquals((await eraseAll({ match: "a:*" })).calls, 1);
  });

  it("keeps tombstones above a value that stays as its key's newest removal was not archived when it looked", async () => {
    await archived({ "a:1": "one" });
    const value = [...archive.objects].at(-1)!;
    await eraseUntilValues("a:*");
    archive.objects.set(...value); // a request that arrives late
    await stack.raw("SET", "a:1", "two");
    await store.dirty({ overwrite: true }, "a:1");
    const [reading, purging] = [gate(), gate()];
    const { fetchKeys, listKeys, deleteKeys } = archive.datastore;
    const late = stack.store({
      datastore: {
        ...archive.datastore,
        async fetchKeys(...args) {
          await reading.wait();
          return await fetchKeys(...args);
        },
        async deleteKeys(...args) {
          await purging.wait();
          await deleteKeys!(...args);
        },
      },
    }).tick();
    await reading.reached;
    await store.del("a:1");
    const meanwhile = stack.store({
      datastore: {
        ...archive.datastore,
        async listKeys(prefix, ...rest) {
          if (prefix.includes("~packs")) { // its own values are erased, but for this one
            reading.open();
            await purging.reached;
          }
          return await listKeys!(prefix, ...rest);
        },
      },
    });
    const { done, errors: [error] } = await erase(meanwhile, { match: "a:*" });
    assertEquals([done, error?.code], [false, "CONFLICT"]);
    const left = () => [...archive.objects.keys()].filter((each) => each.startsWith("default/a")).sort();
    const [first, ...tombstones] = left();
    assertEquals([first, tombstones.length > 0 && tombstones.every(isTombstone)], [value[0], true]);
    purging.open();
    assertEquals((await late).claimed, 1);
    await eraseAll({ match: "a:*" });
    assertEquals(left(), []);
  });

  it("of 6,000 listed keys gets on with each call of few requests, in whatever order they are listed", async () => {
    const keys = names(6_000);
    await archived({ "k:5999": "last" });
    const stepOf = async () => {
      const [name] = await stack.raw("KEYS", "tundra:default:cursor:erase*") as string[];
      return name === undefined ? undefined : JSON.parse(String(await stack.raw("GET", name))).step;
    };
    for (let calls = 1; calls === 1 || /removal|ticks/.test(await stepOf()); calls++) {
      assertLessOrEqual(calls, 10, "it does not get on");
      await erase(store, calls % 2 === 0 ? keys : keys.toReversed(), { maxSubrequests: 30 });
    }
    assertEquals([await stack.exists("k:5999"), (await eraseAll(keys)).erased], [0, 1]);
  });

  for (const chosen of [names(7), { match: "k:*" }]) {
    it(`in calls of few keys ends as one call does: ${JSON.stringify(chosen)}`, async () => {
      await archived(Object.fromEntries([...names(7), "x"].map((key) => [key, `of ${key}.`])));
      await archived({ "k:3": "newer", "k:4": "newer" });
      const report = await eraseAll(chosen, { maxKeys: 1 });
      assert(report.calls > 7, `${report.calls} calls`);
      assertEquals([report.erased, report.failed, await stack.exists("x", ...names(7))], [7, 0, 1]);
      assertEquals(/k:\d|newer/.test(await everyByte()), false);
    });
  }

  it("for different keys, which take turns, all end", async () => {
    const sets = [["a:1", "a:2"], { match: "b:*" }, ["c:1"]];
    const all = ["a:1", "a:2", "b:1", "b:2", "c:1", "d"];
    await archived(Object.fromEntries(all.map((key) => [key, `of ${key}.`])));
    for (let [left, calls] = [sets, 1]; left.length > 0; calls++) {
      assertLessOrEqual(calls, 100, "they do not end");
      const reports: EraseReport[] = [];
      for (const keys of left) reports.push(await erase(store, keys, { maxKeys: 1 }));
      left = left.filter((_, i) => !reports[i]!.done);
    }
    assertEquals([await stack.exists(...all), /[abc]:\d/.test(await everyByte())], [1, false]);
    assertEquals(await stack.raw("KEYS", "tundra:default:cursor:*"), []);
  });

  it("keeps its progress for half a day, under a name that tells no key", async () => {
    await archived({ "user:7": "one", b: "two" });
    await erase(store, ["user:7"], { maxKeys: 1 });
    const [name] = await stack.raw("KEYS", "tundra:default:cursor:*") as string[];
    assertEquals([/erase:[0-9a-f]{16}$/.test(name!), /user/.test(String(await stack.raw("GET", name!)))], [
      true,
      false,
    ]);
    const ttlMs = Number(await stack.raw("PTTL", name!));
    assert(ttlMs > 11.9 * HOUR_MS && ttlMs <= 12 * HOUR_MS, `${ttlMs} ms`);
  });

  it("by a pattern takes keys that no record tells of, and none of Tundra's own", async () => {
    await archived({ "user:7:a": "one" });
    const never = ["user:7:b", "user:7:\u00e9", "a user:7:c"];
    await stack.raw("MSET", ...never.flatMap((key) => [key, "never marked"]), "tundra:other:rec:user:7:x", "not ours");
    const dryRun = () => erase(store, { match: "user:7:?" }, { dryRun: true });
    assertEquals((await changesNothing(stack, dryRun, archive.objects)).versions, 1);
    await eraseAll({ match: "user:7:?" });
    assertEquals([await stack.exists("user:7:a"), await stack.exists(...never)], [0, 1]);
    await archived({ "user:8": "one" });
    await eraseAll({ match: "*" });
    assertEquals([await stack.exists(...never, "user:8"), await stack.exists("tundra:other:rec:user:7:x")], [0, 1]);
    assertEquals([(await store.tick()).errors, await stack.exists("tundra:default:id")], [[], 1]);
  });

  it("by a pattern erases the others, and gives no proof, if one that matches is no UTF-8", async () => {
    await archived({ "user:7:a": "one" });
    const odd = new Uint8Array([...new TextEncoder().encode("user:7:"), 0xff]);
    await stack.raw("SET", odd, "binary");
    const report = await erase(store, { match: "user:7:*" });
    assertEquals([report.done, report.errors.map(({ key, code }) => [key, code])], [false, [[
      "user:7:\ufffd",
      "BAD_ARGUMENT",
    ]]]);
    assertEquals([await stack.exists("user:7:a"), archive.names()], [0, []]);
    await stack.raw("DEL", odd);
    assertEquals((await eraseAll({ match: "user:7:*" })).failed, 0);
  });

  it("by a pattern gives no proof while a key without a record comes anew", async () => {
    await archived({ "user:7:a": "one" });
    const { listKeys } = archive.datastore;
    let lists = 0;
    const racing = stack.store({
      datastore: {
        ...archive.datastore,
        async listKeys(...args) {
          if (++lists === 5) await stack.raw("SET", "user:7:b", "written in the middle of it");
          return await listKeys(...args);
        },
      },
    });
    const first = await erase(racing, { match: "user:7:*" });
    assert(lists > 5, `${lists} listings`);
    assertEquals([first.done, await stack.exists("user:7:b")], [false, 1]);
    assertEquals([(await erase(racing, { match: "user:7:*" })).done, await stack.exists("user:7:b")], [true, 0]);
  });

  it("by a pattern counts what it has listed for its proof, and of a list only those under the names of its keys", async () => {
    const alone = stack.store({ datastore: archive.datastore, packBytes: 0 });
    await stack.raw("MSET", "user:7", "one", "user:8", "two", "user:9", "three");
    await alone.dirty("user:7", "user:8", "user:9");
    await alone.tick();
    assertEquals((await eraseAll({ match: "user:7" })).proof, { objects: 2, packs: 0 });
    assertEquals((await eraseAll(["user:8"])).proof, { objects: 0, packs: 0 });
  });

  const between: [string, () => Promise<unknown>][] = [
    ["though no tick has archived it", async () => {
      await stack.raw("SET", "k:2", "anew");
      await store.dirty("k:2");
    }],
    ["archived and removed again", async () => {
      await archived({ "k:2": "anew", "k:4": "beside" });
      await store.del("k:2");
      await store.tick();
    }],
  ];
  for (const chosen of [["k:1", "k:2"], { match: "k:[12]" }]) {
    for (const [what, write] of between) {
      it(`removes what was written between two calls, ${what}: ${JSON.stringify(chosen)}`, async () => {
        let calls = 2;
        for (let before = 2; before <= calls; before++) { // whichever call it is written before
          await stack.flush();
          archive.objects.clear();
          await store.tick();
          await archived({ "k:1": "old one", "k:2": "old two", "k:30": "another's" });
          let report = await erase(store, chosen, { maxSubrequests: 30 });
          for (calls = 1; !report.done; calls++) {
            if (calls + 1 === before) await write();
            assertLessOrEqual(calls, 100, "it does not end");
            report = await erase(store, chosen, { maxSubrequests: 30 });
          }
          assertEquals([report.failed, await stack.exists("k:1", "k:2"), await stack.exists("k:30")], [0, 0, 1]);
          await store.tick();
          assertEquals(/anew|k:[12]\b/.test(await everyByte()), false, `before call ${before}`);
        }
        assert(calls > 3, `${calls} calls`);
      });
    }
  }

  it("costs what it says: for each key three listings and that of its tick, for each pack six reads", async () => {
    store = stack.store();
    const OPERATIONS = ["PutObject", "GetObject", "DeleteObject", "ListObjectsV2"] as const;
    const cost = async (keys: string[]) => {
      const before = OPERATIONS.map(stack.s3Count);
      const { redis, billable } = await costOf(stack, () => eraseAll(keys));
      return [redis, billable, ...OPERATIONS.map((each, i) => stack.s3Count(each) - before[i]!)];
    };
    await archived(Object.fromEntries(names(100).map((key) => [key, `of ${key}`])));
    await cost(["k:0"]); // sends the scripts
    // the pack, which is rewritten, and that of its tombstone, which then goes
    assertEquals(await cost(["k:1"]), [19, 74, 2, 9, 2, 9]);
    assertEquals((await cost(["k:2", "k:3", "k:4"])).slice(0, 2), [19, 80]);
    const removed = names(4).map((_, i) => `k:${10 + i}`);
    await store.del(removed);
    await store.tick();
    assertEquals((await cost(removed)).slice(0, 2), [13, 36]); // no tick
    const listed = await cost(["k:20"]);
    await archived({ "other:1": "in another", "other:2": "pack" });
    assertEquals(await cost(["k:21"]), listed.map((each, i) => OPERATIONS[i - 2] === "GetObject" ? each + 6 : each));
    const [, , , , , lists] = await cost(["k:22", "k:23"]);
    assertEquals(lists, listed[5]! + 4);
  });

  for (const maxSubrequests of [Infinity, 45, 30]) {
    it(`counts each request and command, those of its ticks too, and makes ${maxSubrequests} requests at most`, async () => {
      store = stack.store();
      await archived(Object.fromEntries(names(100).map((key) => [key, `of ${key}`])));
      await erase(store, ["k:0"]); // sends the scripts
      const ofArchive = () =>
        (["PutObject", "GetObject", "DeleteObject", "ListObjectsV2"] as const)
          .reduce((sum, each) => sum + stack.s3Count(each), 0);
      for (let calls = 1, done = false; !done; calls++) {
        assertLessOrEqual(calls, 20, "it does not end");
        const before = ofArchive();
        await stack.server.resetCounters();
        const report = await erase(store, names(30), { maxSubrequests });
        const made = stack.server.requests + ofArchive() - before;
        assertEquals([report.subrequests, report.commands], [made, await stack.server.billable()]);
        assertLessOrEqual(made, maxSubrequests);
        ({ done } = report);
      }
    });
  }

  it("changes nothing in a dry run, and says what it would erase", async () => {
    await archived({ a: "1", b: "2" });
    await archived({ a: "3" });
    for (const chosen of [["a"], { match: "a*" }]) {
      const dryRun = () => erase(store, chosen, { dryRun: true });
      const { erased, versions, objects, proof } = await changesNothing(stack, dryRun, archive.objects);
      assertEquals([erased, versions, objects, proof], [1, 2, 2, undefined]);
    }
  });

  it("never takes what was written anew meanwhile: that key fails, the others go", async () => {
    await archived({ a: "1", b: "2", c: "3" });
    const del = archive.datastore.listKeys;
    let written = false;
    const racing = stack.store({
      datastore: {
        ...archive.datastore,
        async listKeys(...args) {
          if (!written && args[0] === "default/a/") {
            written = true;
            await archived({ a: "anew", x: "y" });
          }
          return await del(...args);
        },
      },
    });
    const report = await erase(racing, ["a", "b"]);
    assertEquals([report.done, report.errors[0]?.code, report.errors[0]?.key], [false, "CONFLICT", "a"]);
    await store.evict("a");
    await store.ensureKs("a", "c");
    assertEquals([await stack.get("a"), await stack.get("c"), await stack.exists("b")], ["anew", "3", 0]);
    assertEquals((await eraseAll(["a", "b"])).failed, 0);
    assertEquals(/anew/.test(await everyByte()), false);
  });

  for (const [where, isInRedis] of [["in Redis", true], ["evicted", false]] as const) {
    it(`erases the others if one has a record of another version, and names that: ${where}`, async () => {
      await archived({ a: "secret one", b: "secret two" });
      await archived({ c: "secret three", d: "four" });
      if (!isInRedis) await store.evict("c");
      await stack.raw("SET", "tundra:default:rec:c", "9 of another version");
      const options = { maxSubrequests: 30 };
      const seen = new Set<string>();
      for (let calls = 1; /secret (one|two)/.test(await everyByte()) || seen.size === 0; calls++) {
        assertLessOrEqual(calls, 30, "it does not get on");
        const { done, errors } = await erase(store, ["a", "b", "c"], options);
        assertEquals(done, false);
        for (const { key, code } of errors) seen.add(`${key} ${code}`);
      }
      assertEquals([...seen], ["c UNSUPPORTED"]);
      await erase(store, ["a", "b", "c"]);
      const { done, failed } = await erase(store, ["a", "b", "c"]); // from the beginning
      assertEquals([done, failed], [false, 1]);
      assertEquals([await stack.exists("a", "b"), /secret (one|two)/.test(await everyByte())], [0, false]);
      assert((await everyByte()).includes("secret three"));
    });
  }

  it("begins with the removal if a key was written after a call that a bound has interrupted", async () => {
    await stack.raw("MSET", "x", "1", "y", "2");
    await store.dirty("x", "y");
    await store.tick();
    let report = await erase(store, ["x"], { maxKeys: 1 });
    while ((await stack.exists("x")) + (await stack.record("x"))!.rev > 0) {
      report = await erase(store, ["x"], { maxKeys: 1 });
    }
    assertEquals(report.done, false);
    await stack.raw("SET", "x", "written again");
    await store.dirty("x");
    await store.tick();
    report = await erase(store, ["x"]);
    assertEquals([report.errors, await stack.exists("x")], [[], 0]);
    while (!report.done) report = await erase(store, ["x"]);
    assertEquals([report.failed, (await everyByte()).includes("written again")], [0, false]);
  });

  it("names a key whose removal has become a dead letter, and ends once that is tried again", async () => {
    let ill = false;
    const groupOf = (key: string) => {
      if (ill && key === "x") throw new TundraError("UNSUPPORTED", "no such tenant", { retryable: false });
      return "";
    };
    const options = { datastore: archive.datastore, freezer: { ...deflateFreezer(), groupOf } };
    store = stack.store(options);
    await stack.raw("MSET", "x", "1", "y", "2");
    await store.dirty("x", "y");
    await store.tick();
    await store.del("x");
    ill = true;
    while ((await store.tick({ retryBackoffMs: 0 })).dead === 0);
    const { done, waiting, failed, errors } = await erase(store, ["x"]);
    assertEquals([done, waiting, failed, errors.map(({ key, code }) => [key, code])], [false, 1, 1, [[
      "x",
      "UNSUPPORTED",
    ]]]);
    assert(errors[0]!.message.includes("retryDead"), errors[0]!.message);
    ill = false;
    await store.retryDead("x");
    let report: EraseReport;
    do report = await erase(store, ["x"]); while (!report.done && report.failed === 0);
    assertEquals([report.done, report.failed], [true, 0]);
  });

  describe("beside damage", () => {
    /** A text that no compression makes much shorter: it fills a block. */
    const noise = (seed: number) => {
      let [state, made] = [seed, ""];
      while (made.length < 30_000) made += (state = (state * 48_271) % 2_147_483_647).toString(36);
      return made;
    };

    /** A pack with a block for each key, of which that of one key is damaged; and one with a value of `a` besides. */
    async function damaged(key: string): Promise<string> {
      await archived({ a: noise(3), b: noise(5), c: noise(7) });
      const [pack] = archive.packs();
      const entries = await archive.entries(pack!);
      assertEquals(new Set(entries.map(({ offset }) => offset)).size, 3);
      const { offset } = entries.find((entry) => entry.key === key)!;
      archive.objects.get(pack!)![offset + 50]! ^= 1;
      await archived({ a: "newer", d: "beside it" });
      return pack!;
    }

    /** The versions of a key in packs but one. */
    const held = async (key: string, but?: string) => {
      const packs = await Promise.all(archive.packs().filter((pack) => pack !== but).map(archive.entries));
      return packs.flat().filter((entry) => entry.key === key);
    };

    it("of a block that holds other keys leaves the pack, erases the rest, and says so in each call", async () => {
      const pack = await damaged("c");
      for (let call = 1; call <= 3; call++) {
        const { done, proof, errors } = await erase(store, ["a"]);
        assertEquals([done, proof, errors.map(({ code }) => code)], [false, undefined, ["CORRUPT"]]);
        assert(errors[0]!.message.includes(pack) && errors[0]!.message.includes("backup"), errors[0]!.message);
        assertEquals([archive.packs().includes(pack), (await everyByte().catch(String)).includes("newer")], [
          true,
          false,
        ]);
      }
      await store.evict("d");
      await store.ensureKs("d");
      assertEquals(await stack.get("d"), "beside it");
    });

    it("of a block that holds chosen keys alone needs not read it, and ends", async () => {
      const pack = await damaged("a");
      const { failed, proof } = await eraseAll(["a"]);
      assertEquals([failed, proof?.packs, archive.packs().includes(pack)], [0, archive.packs().length, false]);
      await store.evict("b", "c", "d");
      await store.ensureKs("b", "c", "d");
      assertEquals([await stack.get("b"), await stack.get("c"), await stack.get("d")], [
        noise(5),
        noise(7),
        "beside it",
      ]);
    });

    it("of a pack's directory, which may name the keys, erases what it can, and ends once that pack is gone", async () => {
      await archived({ x: "1", y: "2" });
      const [unreadable] = archive.packs();
      const bytes = archive.objects.get(unreadable!)!;
      const { offset } = directoryPlace(bytes.subarray(0, 16), unreadable!);
      bytes[offset + 20]! ^= 1;
      await archived({ a: "secret", b: "2" });
      await archived({ a: "secret too", b: "3" });
      const dry = await changesNothing(stack, () => erase(store, ["a"], { dryRun: true }), archive.objects);
      assertEquals([dry.done, dry.versions, dry.errors.map(({ code }) => code)], [true, 2, ["CORRUPT"]]);
      for (let call = 1; call <= 3; call++) {
        const { done, proof, errors } = await erase(store, ["a"]);
        assertEquals([done, proof, errors.map(({ code }) => code)], [false, undefined, ["CORRUPT"]]);
        assert(errors[0]!.message.includes(unreadable!) && errors[0]!.message.includes("copy"), errors[0]!.message);
        assertEquals((await held("a", unreadable)).filter(({ gone }) => gone === undefined), [], `call ${call}`);
      }
      archive.objects.delete(unreadable!);
      const { failed, proof } = await eraseAll(["a"]);
      assertEquals([failed, proof?.packs, /secret/.test(await everyByte())], [0, archive.packs().length, false]);
      await store.evict("b");
      await store.ensureKs("b");
      assertEquals(await stack.get("b"), "3");
    });

    it("of an object whose name tells no key erases by a pattern what it can, and gives no proof", async () => {
      await archived({ a: "1", b: "2" });
      const name = await objectName({ tqname: "default" }, "a".repeat(300), "1764000000000001-0a1b2c3d");
      archive.objects.set(name, new Uint8Array(500));
      for (let call = 1; call <= 2; call++) {
        const { done, errors } = await erase(store, { match: "a*" });
        assertEquals([done, errors.map(({ code }) => code)], [false, ["CORRUPT"]]);
        assertEquals((await held("a")).filter(({ gone }) => gone === undefined), []);
        assert(errors[0]!.message.includes(name.slice(0, name.lastIndexOf("/") + 1)), errors[0]!.message);
      }
      archive.objects.delete(name);
      assertEquals((await eraseAll({ match: "a*" })).failed, 0);
    });
  });

  it("brings nothing back if it dies after any deletion and Redis is lost: moved values lie behind their tombstones", async () => {
    let dies = 1;
    for (let died = true; died; dies++) {
      await stack.flush();
      archive.objects.clear();
      await store.tick();
      await archived({ a: "1", b: "2", c: "3", d: "4", e: "5" });
      await store.del("a", "d", "e");
      await store.tick();
      assertEquals(archive.packs().length, 2);
      await eraseAll(["b"]); // so the value of a moves to a pack younger than its tombstone's
      died = false;
      let deletions = 0;
      const dying = stack.store({
        datastore: {
          ...archive.datastore,
          async deleteKeys(...args) {
            await archive.datastore.deleteKeys!(...args);
            if (++deletions !== dies) return;
            died = true;
            throw new TundraError("UNAVAILABLE", "it dies");
          },
        },
      });
      for (let done = false; !done && !died;) ({ done } = await erase(dying, ["a"]).catch(() => ({ done: false })));
      await stack.flush();
      for (let done = false; !done;) ({ done } = await rebuild(stack.store({ datastore: archive.datastore })));
      await store.ensureKs("a", "c");
      assertEquals([await stack.get("a"), await stack.get("c")], [null, "3"], `dies after deletion ${dies}`);
    }
    assert(dies > 3, `${dies - 2} deletions`);
  });

  it("has no error if another erasure deletes a pack while it reads it", async () => {
    await archived({ alpha: "1", beta: "2", gamma: "3" });
    const { fetchRanges } = archive.datastore;
    let reads = 0;
    const racing = stack.store({
      datastore: {
        ...archive.datastore,
        async fetchRanges(...args) {
          if (++reads === 3) assertEquals((await eraseAll(["beta"])).failed, 0); // directories are read in two
          return await fetchRanges!(...args);
        },
      },
    });
    const { errors } = await erase(racing, ["alpha"]);
    assert(reads > 3, `${reads} reads`);
    assertEquals([errors, (await eraseAll(["alpha"])).failed], [[], 0]);
    assertEquals(/alpha|beta/.test(await everyByte()), false); // longer names: a byte of a time may be an "a"
    await store.evict("gamma");
    await store.ensureKs("gamma");
    assertEquals(await stack.get("gamma"), "3");
  });

  describe("beside another operation that has read a value of the key, and puts it into a pack later", () => {
    /** An erasure of `b`, which holds values that lie beside it: `act` runs before their new pack is put. */
    const moving = (act: () => Promise<void>) => {
      const { putKey } = archive.datastore;
      let acted = false;
      const slow = stack.store({
        datastore: {
          ...archive.datastore,
          async putKey(...args) {
            if (!acted && args[0].includes("/~packs/")) {
              acted = true;
              await act();
            }
            return await putKey(...args);
          },
        },
      });
      return async () => {
        for (let calls = 1;; calls++) {
          const report = await erase(slow, ["b"]);
          if (acted) return report;
          assertLessOrEqual(calls, 100, "it does not come to that");
        }
      };
    };

    it("leaves no byte: the other operation takes its pack back, and says so", async () => {
      await archived({ a: "secret one", b: "two", c: "three" });
      const report = await moving(async () => assertEquals((await eraseAll(["a"])).failed, 0))();
      assertEquals(report.errors.map(({ code }) => code), ["UNAVAILABLE"]);
      assertEquals(/secret/.test(await everyByte()), false);
      assertEquals((await eraseAll(["b"])).failed, 0);
      await store.evict("c");
      await store.ensureKs("c");
      assertEquals([await stack.get("c"), /secret|two/.test(await everyByte())], ["three", false]);
    });

    it("does not erase a tombstone before that pack is looked into: a rebuild brings nothing back", async () => {
      await archived({ a: "secret one", b: "two", c: "three" });
      let [reach, goOn] = [() => {}, () => {}];
      const reached = new Promise<void>((resolve) => reach = resolve);
      const moved = new Promise<void>((resolve) => goOn = resolve);
      const dying = stack.store({
        datastore: {
          ...archive.datastore,
          async deleteKeys(names, options) {
            await archive.datastore.deleteKeys(names, options);
            if (!names.some(isTombstone)) return;
            reach();
            await moved;
            throw new TundraError("UNAVAILABLE", "it dies");
          },
        },
      });
      let dead: Promise<unknown> | undefined;
      await moving(() => {
        dead = erase(dying, ["a"]).catch(() => {});
        return reached;
      })();
      goOn();
      await dead;
      await stack.flush();
      for (let done = false; !done;) ({ done } = await rebuild(stack.store({ datastore: archive.datastore })));
      await store.ensureKs("a", "c");
      assertEquals([await stack.get("a"), await stack.get("c")], [null, "three"]);
    });
  });

  it("by two at once ends as well, of the same keys and of others: each gives its proof, and neither fails", async () => {
    const keys = names(20);
    const of = (from: number) => keys.slice(from, from + 5);
    await archived(Object.fromEntries(keys.map((key) => [key, `of ${key}.`])));
    for (const [one, two] of [[of(0), of(0)], [of(5), of(10)]] as const) {
      for (const { proof, waiting } of await Promise.all([eraseAll(one), eraseAll(two)])) {
        assertEquals([proof!.objects, proof!.packs > 0, waiting], [0, true, 0]);
      }
    }
    const left = await everyByte();
    assertEquals(keys.filter((key) => left.includes(`of ${key}.`)), keys.slice(15));
    await store.evict(keys);
    await store.ensureKs(keys);
    assertEquals(await Promise.all(keys.map((key) => stack.get(key))), [
      ...Array(15).fill(null),
      ...keys.slice(15).map((key) => `of ${key}.`),
    ]);
  });

  it("refuses what is no key, no pattern, no option, and an index that is gone", async () => {
    for (const wrong of ["a", {}, { match: 1 }, { match: "*", keys: [] }, [1], ["tundra:x"], undefined]) {
      await tundraError("BAD_ARGUMENT", () => erase(store, wrong as never));
    }
    await tundraError("BAD_ARGUMENT", () => erase(store, ["a"], { maxSubrequests: 20 }));
    await tundraError("BAD_ARGUMENT", () => erase(store, ["a"], { maxKeys: 0 }));
    await archived({ a: "1", b: "2" });
    await stack.raw("DEL", "tundra:default:id");
    await tundraError("LOST", () => erase(store, ["a"]));
    assertEquals(archive.packs().length, 1);
  });
});
