/** warm: evicted keys come back ahead of need, bounded. */
import { beforeEach, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { type Datastore, memoryDatastore, TundraError, type TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { type Progress, warm, type WarmOptions, type WarmReport } from "../../src/operations/mod.ts";
import { BUCKET, describePackings, hooked, names, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing, costOf, refusedIfNotItsOwn } from "../support/operations.ts";

const KEYS = redisKeys("default");

describePackings("warm", (packBytes) => {
  const stack = withArchive({ packBytes });
  const { raw } = stack;
  let store: TundraStore;
  beforeEach(async () => {
    await stack.flush();
    store = stack.store();
  });

  /** Sets, archives and evicts keys. */
  async function evicted(keys: string[], value = (key: string) => `value of ${key}`, of = store): Promise<void> {
    await raw("MSET", ...keys.flatMap((key) => [key, value(key)]));
    await of.dirty(keys);
    while (!(await of.tick({ maxKeys: 10_000 })).done);
    assertEquals((await of.evict(keys)).evicted.length, keys.length);
  }
  const toTheEnd = async (options: WarmOptions) => {
    const reports: WarmReport[] = [];
    do {
      reports.push(await warm(store, options));
      assert(reports.length < 300, "it does not end");
    } while (!reports.at(-1)!.done);
    return {
      calls: reports.length,
      warmed: reports.reduce((sum, { warmed }) => sum + warmed, 0),
      enough: reports.filter(({ enough }) => enough).length,
      last: reports.at(-1)!,
    };
  };

  it("brings back what matches, and counts the rest as left", async () => {
    await evicted(["a:1", "a:2", "b:1", "A:1"]);
    await raw("SET", "a:resident", "1");
    await store.dirty("a:resident");
    const report = await warm(store, { match: "a:*" });
    assertEquals(
      [report.done, report.warmed, report.bytes, report.left, report.failed, report.errors],
      [true, 2, 2_048, 1, 0, []],
    );
    assertEquals([await stack.get("a:1"), await stack.get("a:2")], ["value of a:1", "value of a:2"]);
    assertEquals(await stack.exists("b:1", "A:1"), 0);
    assertEquals((await warm(store)).warmed, 2);
    assertEquals((await store.status()).evicted, 0);
    assertEquals(await raw("EXISTS", KEYS.cursor("warm:[null]"), KEYS.cursor('warm:["a:*"]')), 0);
  });

  it("takes a list of keys", async () => {
    await evicted(names(5));
    await raw("SET", "unknown", "1");
    const report = await warm(store, ["k:1", "k:3", "unknown", "missing", "k:1"]);
    assertEquals([report.done, report.warmed, report.left], [true, 2, 2]);
    assertEquals(await stack.exists(...names(5)), 2);
    assertEquals((await warm(store, [])).subrequests, 0);
    assertEquals((await warm(store, names(5), { maxKeys: 2 })).done, false);
    assertEquals((await warm(store, names(5))).done, true);
    assertEquals(await stack.exists(...names(5)), 5);
  });

  it("stops at each bound and goes on from there, by the code of ensureKs", async () => {
    const keys = names(60);
    await evicted(keys);
    const before = (await store.status()).totals.restored;
    const byRequests = await toTheEnd({ maxSubrequests: 12 });
    assertEquals([byRequests.warmed, await stack.exists(...keys)], [60, 60]);
    assert(packBytes > 0 || byRequests.calls > 5, `${byRequests.calls} calls`);
    assertEquals((await store.status()).totals.restored - before, 60);
    await store.evict(keys);
    const byKeys = await toTheEnd({ maxKeys: 7 });
    assertEquals([byKeys.warmed, byKeys.calls], [60, 9]);
    assertEquals([byRequests.enough, byKeys.enough], [0, 8]);
    await store.evict(keys);
    const byBytes = await toTheEnd({ maxBytes: 10_240 });
    assertEquals([byBytes.warmed, byBytes.calls, byBytes.enough], [60, 6, 5]);
    await store.evict(keys);
    assertEquals((await toTheEnd({ maxBytes: 1 })).calls, 60);
    for (const key of keys) assertEquals(await stack.get(key), `value of ${key}`);
    await store.evict(keys);
    const aborted = await warm(store, { signal: AbortSignal.abort() });
    assertEquals([aborted.done, aborted.warmed, await stack.exists(...keys)], [false, 0, 0]);
  });

  it("aborted in the middle of each call, of a pattern or a list, goes on in the next until all are back", async () => {
    const keys = names(1_500);
    await evicted(keys);
    for (const chosen of [{ match: "k:*" }, keys]) {
      await store.evict(keys);
      let [calls, warmed] = [0, 0];
      for (let done = false; !done; calls++) {
        assert(calls < 100, "it does not end");
        const controller = new AbortController();
        const back = Array.isArray(chosen) ? warmed : 0; // a call for a list passes over those
        const onProgress = ({ done }: Progress) => done > back && controller.abort();
        const options = { signal: controller.signal, onProgress };
        const report = Array.isArray(chosen)
          ? await warm(store, chosen, options)
          : await warm(store, { ...chosen, ...options });
        assertEquals(report.errors, []);
        ({ done } = report);
        warmed += report.warmed;
      }
      assert(calls > 1, `${calls} calls`);
      assertEquals([warmed, await stack.exists(...keys)], [1_500, 1_500]);
    }
  });

  it("costs what ensureKs costs, and a scan", async () => {
    const keys = names(500);
    await evicted(keys);
    await store.ensureKs("k:0");
    await store.evict("k:0");
    await stack.server.resetCounters();
    const report = await warm(store);
    const gets = stack.s3Count("GetObject");
    const billed = await stack.server.billable();
    assertEquals([report.done, report.warmed], [true, 500]);
    assertEquals([report.commands, report.subrequests], [billed, stack.server.requests + (packBytes > 0 ? 1 : 500)]);
    assert(gets >= (packBytes > 0 ? 1 : 500));
    // objects of their own are brought back 128 at a time
    const groups = packBytes > 0 ? 1 : 4;
    assert(billed <= 2 * 500 + 12 * groups + 10, `${billed} commands`);
    assert(stack.server.requests <= 2 * groups + 6, `${stack.server.requests} requests`);
  });

  it("costs 4 requests and 6 commands if nothing is evicted; of a list 2 and 4", async () => {
    await evicted(names(10));
    await store.ensureKs(names(10));
    assertEquals(await costOf(stack, () => warm(store)), { redis: 4, billable: 6 });
    assertEquals(await costOf(stack, () => warm(store, names(10))), { redis: 2, billable: 4 });
  });

  it("brings each key back if two run at once", async () => {
    const keys = names(300);
    await evicted(keys);
    const [first, second] = await Promise.all([warm(store), warm(stack.store())]);
    assertEquals([first.done, second.done, first.failed, second.failed], [true, true, 0, 0]);
    assertEquals(await stack.exists(...keys), 300);
    for (const key of keys) assertEquals(await stack.get(key), `value of ${key}`);
  });

  it("with dryRun counts, and changes nothing", async () => {
    await evicted(names(20));
    const report = await changesNothing(stack, () => warm(store, { dryRun: true }));
    assertEquals([report.done, report.warmed, report.bytes], [true, 20, 20_480]);
    const part = await changesNothing(stack, () => warm(store, names(20), { dryRun: true, maxKeys: 3 }));
    assertEquals([part.done, part.warmed], [false, 3]);
  });

  it("reports keys that fail, brings the others back, and goes on behind them", async () => {
    const keys = names(40);
    const archive = memoryDatastore();
    store = stack.store({ datastore: archive, packBytes: 0 });
    await evicted(keys, undefined, store);
    for (const name of archive.objects.keys()) if (/k\.3A(0|17)\//.test(name)) archive.objects.delete(name);
    await raw("SET", KEYS.record("later"), "9 later");
    const reports: WarmReport[] = [];
    do reports.push(await warm(store, { maxKeys: 5 })); while (!reports.at(-1)!.done && reports.length < 50);
    assert(reports.at(-1)!.done);
    const errors = reports.flatMap(({ errors }) => errors).map(({ key, code }) => [key, code]).sort();
    assertEquals(errors, [["k:0", "LOST"], ["k:17", "LOST"], ["later", "UNSUPPORTED"]]);
    assertEquals(await stack.exists(...keys), 38);
  });

  it("gets on though one key takes more requests than a call has: reports it, and goes on behind it", async () => {
    store = stack.store({ packBytes: 2_000 });
    await evicted(["a"], undefined, stack.store({ packBytes: 0 }));
    for (let i = 0; i < 30; i++) { // younger packs, in which it is looked for
      const keys = [`b:${i}`, `c:${i}`];
      await raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
      await store.dirty(keys);
      await store.tick();
    }
    await store.evict("b:1", "c:2");
    const alone = stack.objectNames().filter((name) => name.startsWith("default/a/"));
    for (const name of alone) stack.s3.objects(BUCKET).delete(name);
    const errors: string[] = [];
    let warmed = 0;
    for (let calls = 1, done = false; !done; calls++) {
      assert(calls <= 6, "it does not get on");
      const report = await warm(store, { maxSubrequests: 40 });
      for (const { key, code } of report.errors) errors.push(`${key} ${code}`);
      warmed += report.warmed;
      ({ done } = report);
    }
    assertEquals([errors, warmed, await stack.exists("b:1", "c:2")], [["a TOO_LARGE"], 2, 2]);
    const [error] = (await warm(store, ["a"], { maxSubrequests: 40 })).errors;
    assertEquals([error!.key, error!.code], ["a", "TOO_LARGE"]);
    await store.evict("b:1");
    const together = await warm(store, ["a", "b:1"], { maxSubrequests: 40 });
    assertEquals([together.done, together.errors.map(({ key, code }) => `${key} ${code}`)], [false, [" TOO_LARGE"]]);
    assertEquals((await warm(store)).errors.map(({ key, code }) => `${key} ${code}`), ["a LOST"]);
    assertEquals(await stack.exists("b:1"), 1);
  });

  it("fails if the archive is down, and begins again there", async () => {
    const keys = names(10);
    const archive = memoryDatastore();
    let down = false;
    const unavailable = new TundraError("UNAVAILABLE", "down");
    const datastore: Required<Datastore> = hooked(archive, {
      fetchKeys: (names, options) => down ? Promise.reject(unavailable) : archive.fetchKeys(names, options),
      fetchRanges: (reads, options) => down ? Promise.reject(unavailable) : archive.fetchRanges(reads, options),
    });
    store = stack.store({ datastore });
    await evicted(keys, undefined, store);
    down = true;
    const error = await tundraError("ENSURE_FAILED", () => warm(store));
    assert(error.retryable);
    down = false;
    assertEquals((await warm(store)).warmed, 10);
  });

  it("refuses a copy and a lost index though it would find nothing to bring back, and keeps no cursor there", async () => {
    await evicted(names(2));
    await store.ensureKs(names(2));
    const ways: [string[] | WarmOptions, WarmOptions?][] = [[{}], [{ match: "k:*" }], [{ match: "none" }], [names(2)]];
    for (const [keys, options] of ways) {
      await refusedIfNotItsOwn(stack, (store) => warm(store, keys as string[], options));
    }
    await raw("FLUSHDB");
    for (const [keys, options] of ways) {
      await changesNothing(stack, () => tundraError("LOST", () => warm(store, keys as string[], options)));
    }
  });

  it("refuses a copy, a lost index, and bad options", async () => {
    await evicted(["a"]);
    const before = await stack.everything();
    const copy = stack.store({ databaseId: "elsewhere" });
    for (const dryRun of [true, false]) await tundraError("LOST", () => warm(copy, { dryRun }));
    assertEquals(await stack.everything("[^t]*"), {});
    assertEquals((await stack.everything())["tundra:default:rec:a"], before["tundra:default:rec:a"]);
    await raw("DEL", KEYS.id);
    for (const dryRun of [true, false]) await tundraError("LOST", () => warm(store, { dryRun }));
    assertEquals(await stack.exists("a"), 0);
    await stack.server.resetCounters();
    const bad: unknown[][] = [
      ...[[{ match: 1 }], [{ maxKeys: 0 }], [{ maxBytes: 0 }], [{ dryRun: 1 }], [{ state: "evicted" }]],
      ...[[["a"], { match: "a" }], [["tundra:x"]], [[1]], ["a"], [null]],
    ];
    for (const [keys, options] of bad) {
      await tundraError("BAD_ARGUMENT", () => warm(store, keys as string[], options as WarmOptions));
    }
    assertEquals(stack.server.requests, 0);
  });
});
