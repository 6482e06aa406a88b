/** adopt: an existing database is taken in, each key once, whatever the application does meanwhile. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import { adopt, type AdoptReport } from "../../src/operations/mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { seenKeys } from "../../src/operations/seen_keys.ts";
import { names, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing } from "../support/operations.ts";
import { HOUR_MS } from "../support/times.ts";

const KEYS = redisKeys("default");
const NOTHING = { known: 0, small: 0, inUse: 0, missing: 0 };

describe("adopt", () => {
  const stack = withArchive({ upstash: { record: true } });
  const { raw } = stack;
  let store: TundraStore;
  beforeEach(async () => {
    await stack.flush();
    store = stack.store();
  });

  const set = async (keys: string[], value = "v") => {
    for (let i = 0; i < keys.length; i += 5_000) {
      await raw("MSET", ...keys.slice(i, i + 5_000).flatMap((key) => [key, value]));
    }
  };
  /** Calls until it is done; the sum of what was marked. */
  const toTheEnd = async (options: Parameters<typeof adopt>[1] = {}) => {
    const reports: AdoptReport[] = [];
    do {
      reports.push(await adopt(store, options));
      assert(reports.length < 1_000, "it does not end");
    } while (!reports.at(-1)!.done);
    return {
      calls: reports.length,
      marked: reports.reduce((sum, { marked }) => sum + marked, 0),
      last: reports.at(-1)!,
    };
  };

  it("marks every key that has no record, and a tick archives them", async () => {
    const keys = names(2_500);
    await set(keys);
    await raw("HSET", "hash", "f", "1");
    const named: string[] = [];
    const report = await adopt(store, { onKeys: (some) => void named.push(...some) });
    assertEquals(
      [report.done, report.marked, report.left, report.failed, report.errors, report.bytes],
      [true, 2_501, NOTHING, 0, [], undefined],
    );
    assertEquals(named.sort(), [...keys, "hash"].sort());
    assertEquals((await store.status()).due, 2_501);
    assertEquals((await store.tick()).frozen, 2_501);
    assertEquals((await stack.versions()).length, 2_501);
    const again = await adopt(store);
    assertEquals([again.done, again.marked, again.left.known], [true, 0, 2_501]);
    assertEquals(await raw("EXISTS", KEYS.cursor("adopt:[null,null]")), 0);
  });

  it("costs 2 requests and 8 commands for each 1,000 keys", async () => {
    await set(names(5_000));
    await adopt(store, { match: "k:0" }); // sends the scripts
    await stack.server.resetCounters();
    const report = await adopt(store);
    const steps = stack.server.log.filter(({ commands }) => commands[0]?.[0] === "SCAN").length;
    assertEquals([report.marked, report.subrequests], [4_999, stack.server.requests + 1]); // a new store lists once
    const billed = await stack.server.billable();
    assertEquals(report.commands, billed);
    assert(steps <= 11, `${steps} steps`); // its own records are keys too
    assert(stack.server.requests <= 2 * steps + 4, `${stack.server.requests} requests`);
    assert(billed <= 8 * steps + 7, `${billed} commands`);
  });

  it("leaves what has a record, and what is Tundra's own, of any tqname", async () => {
    await set(["marked", "plain"]);
    await store.dirty("marked");
    const rev = (await stack.record("marked"))!.rev;
    await raw("SET", "tundra:other:rec:plain", "1 0 - r - 0 0 0 - - - 0 0 ");
    const report = await adopt(store);
    assertEquals([report.marked, report.left], [1, { ...NOTHING, known: 1 }]);
    assertEquals((await stack.record("marked"))!.rev, rev);
    assertEquals((await stack.members("dirty")).sort(), ["marked", "plain"]);
  });

  it("takes keys by pattern, type, size and last use", async () => {
    await set(["a:1", "b:1", "a*"], "v".repeat(10));
    await set(["a:large"], "v".repeat(10_000));
    await raw("RPUSH", "a:list", "1");
    const marked = async (options: Parameters<typeof adopt>[1]) => {
      const keys: string[] = [];
      const report = await adopt(store, { ...options, dryRun: true, onKeys: (some) => void keys.push(...some) });
      assertEquals(report.marked, keys.length);
      return { keys: keys.sort(), left: report.left };
    };
    assertEquals((await marked({ match: "a:*" })).keys, ["a:1", "a:large", "a:list"]);
    assertEquals((await marked({ match: "a\\*" })).keys, ["a*"]);
    assertEquals((await marked({ type: "list" })).keys, ["a:list"]);
    assertEquals(await marked({ minBytes: 5_000 }), { keys: ["a:large"], left: { ...NOTHING, small: 4 } });
    assertEquals(await marked({ idleOnly: HOUR_MS }), { keys: [], left: { ...NOTHING, inUse: 5 } });
    assertEquals((await marked({ idleOnly: 0 })).keys.length, 5);
    const real = await adopt(store, { match: "a:*", minBytes: 5_000 });
    assertEquals([real.marked, real.left.small, await stack.members("dirty")], [1, 2, ["a:large"]]);
    assert(real.bytes! > 10_000 && real.bytes! < 12_000, `${real.bytes} bytes`);
  });

  it("is interrupted by any bound, and goes on from where it was until all are marked", async () => {
    await set(names(12_000));
    const requests = await toTheEnd({ maxSubrequests: 12 });
    assert(requests.calls > 3, `${requests.calls} calls`);
    assertEquals([requests.marked, (await store.status()).dirty], [12_000, 12_000]);
    await stack.flush();
    await set(names(5_000));
    const bounded = await toTheEnd({ maxKeys: 700 });
    assert(bounded.calls >= 8, `${bounded.calls} calls`);
    assertEquals(bounded.marked, 5_000);
    await stack.flush();
    await set(names(5_000));
    const { signal } = { signal: AbortSignal.abort() };
    assertEquals([(await adopt(store, { signal })).done, await stack.members("dirty")], [false, []]);
    const controller = new AbortController();
    const aborted = await adopt(store, { signal: controller.signal, onProgress: () => controller.abort() });
    assert(!aborted.done && aborted.marked > 0 && aborted.marked < 5_000, JSON.stringify(aborted));
    assertEquals(aborted.marked + (await toTheEnd()).marked, 5_000);
  });

  it("marks each key once if two run at once, beside an application that marks, writes and deletes", async () => {
    const keys = names(6_000);
    await set(keys);
    let working = true;
    let at = 0;
    const application = (async () => {
      for (let i = 0; working; i++) {
        // the table grows and shrinks while it is scanned, so that SCAN answers keys twice
        const some = names(500, `new:${i}`);
        await set(some);
        const mine = keys.slice(at, at + 10);
        if (mine.length > 0) await store.dirty(mine);
        at += mine.length;
        await raw("UNLINK", ...some);
      }
    })();
    const counts = new Map<string, number>();
    const onKeys = (some: string[]) => {
      for (const key of some) counts.set(key, (counts.get(key) ?? 0) + 1);
    };
    const [first, second] = await Promise.all([adopt(store, { onKeys }), adopt(store, { onKeys })]);
    working = false;
    await application;
    assertEquals([first.done, second.done], [true, true]);
    assertEquals(Math.max(...counts.values()), 1);
    assertEquals(first.marked + second.marked, counts.size);
    for (const key of keys) assert((await stack.score("dirty", key)) !== undefined || counts.has(key), key);
    const records = await raw("EXISTS", ...keys.map(KEYS.record));
    assertEquals(records, keys.length);
  });

  it("with dryRun counts keys and bytes, names each once, and changes nothing", async () => {
    await set(names(3_000), "v".repeat(100));
    await store.dirty("k:0");
    const named: string[] = [];
    const onKeys = (some: string[]) => void named.push(...some);
    const report = await changesNothing(stack, () => adopt(store, { dryRun: true, onKeys }));
    assertEquals([report.done, report.marked, new Set(named).size], [true, 2_999, 2_999]);
    assertEquals(report.left, { ...NOTHING, known: 1 });
    assert(report.bytes! > 2_999 * 100 && report.bytes! < 2_999 * 300, `${report.bytes} bytes`);
    const bounded = await changesNothing(stack, () => adopt(store, { dryRun: true, maxSubrequests: 12 }));
    assert(!bounded.done && bounded.marked < 2_999);
  });

  it("reports keys that no call could name, and marks the others", async () => {
    await set(["fine", "\ufffd", "\ufeffmark"]);
    await raw("SET", new Uint8Array([0x6b, 0xff]), "1");
    await raw("SET", KEYS.record("later"), "9 later");
    await raw("SET", "later", "1");
    const report = await adopt(store);
    assertEquals([report.done, report.marked, report.failed], [true, 3, 2]);
    assertEquals(report.errors.map(({ key, code }) => [key, code]).sort(), [
      ["k\ufffd", "BAD_ARGUMENT"],
      ["later", "UNSUPPORTED"],
    ]);
    assertEquals(await stack.members("dirty"), ["fine", "\ufeffmark", "\ufffd"]);
  });

  it("changes nothing in a copy of a database, or if the index was lost", async () => {
    await set(["a"]);
    await store.dirty("a");
    await store.tick();
    await set(["b"]);
    const copy = stack.store({ databaseId: "elsewhere" });
    const before = await stack.everything();
    for (const dryRun of [false, true]) await tundraError("LOST", () => adopt(copy, { dryRun }));
    assertEquals(await stack.everything(), before);
    await raw("DEL", KEYS.id);
    const lost = await stack.everything();
    await tundraError("LOST", () => adopt(store));
    assertEquals(await stack.everything(), lost);
  });

  it("refuses bad options before anything is sent", async () => {
    const bad: [string, unknown][] = [
      ...[["match", 1], ["match", "\ud800"], ["match", "x".repeat(2_000)], ["type", ""], ["type", "a b"]],
      ...[["minBytes", -1], ["minBytes", 1.5], ["idleOnly", -1], ["idleOnly", true], ["maxKeys", 0]],
      ...[["dryRun", 1], ["onKeys", 1], ["deadlineMs", 1], ["maxSubrequests", 11], ["keys", 1]],
    ] as [string, unknown][];
    for (const [name, value] of bad) {
      const error = await tundraError("BAD_ARGUMENT", () => adopt(store, { [name]: value }));
      assert(error.message.startsWith("Cannot adopt keys as "), error.message);
    }
    await tundraError("BAD_ARGUMENT", () => adopt({} as TundraStore));
    assertEquals(stack.server.requests, 0);
    const idle = stack.store({ redisTtlMs: 10 * HOUR_MS });
    await set(["a"]);
    assertEquals((await adopt(idle, { idleOnly: true })).left.inUse, 1);
  });
});

describe("a set of keys that were seen", () => {
  it("knows each of its keys, and forgets those that it has no room for", () => {
    const seen = seenKeys(100_000);
    const keys = names(100_000, "session");
    assert(keys.every((key) => seen.add(key)));
    assert(!keys.some((key) => seen.add(key)));
    assert(seen.add("one more") && seen.add("one more"));
  });
});
