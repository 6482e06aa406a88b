/** Metrics for Prometheus: what is counted, what a scrape costs, and that Prometheus' own parsers take it. */
import { before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { TundraError, type TundraStore } from "../../mod.ts";
import { activity, sweep, verify } from "../../src/operations/mod.ts";
import { prometheusMetrics } from "../../src/metrics/mod.ts";
import { INDEX, type Metric, PROCESS, UP, UPKEEP } from "../../src/metrics/table.ts";
import { BUCKET, tundraError, withArchive } from "../support/fixtures.ts";
import { EVENTS, kept } from "../support/metrics.ts";
import { installTools, load } from "../runtimes/tools.ts";
import { findPromtool, promtool } from "../support/promtool.ts";

const SECRET = "a-secret-for-scrapes";

interface Family {
  name: string;
  type: string;
  help: string;
  metrics: {
    value?: string;
    labels?: Record<string, string>;
    buckets?: Record<string, string>;
  }[];
}

/** A parser of Prometheus' format that nobody here wrote. */
const parse = (text: string): Family[] => load<(text: string) => Family[]>("parse-prometheus-text-format")(text);

/** The value of one series; `undefined`: there is none. */
function valueOf(text: string, name: string, labels: Record<string, string> = {}): number | undefined {
  const family = parse(text).find((family) => family.name === name);
  const wanted = Object.entries({ tqname: "default", ...labels });
  const series = family?.metrics.filter(({ labels = {} }) =>
    wanted.length === Object.keys(labels).length && wanted.every(([name, value]) => labels[name] === value)
  );
  assert((series?.length ?? 0) <= 1, name);
  return series?.[0]?.value === undefined ? undefined : Number(series[0].value);
}

describe("prometheusMetrics", () => {
  const stack = withArchive();
  before(() => {
    installTools();
    findPromtool();
  });
  beforeEach(() => stack.flush());

  it("counts each event, by call and code", async () => {
    const { onEvent, text } = prometheusMetrics();
    EVENTS.forEach(onEvent);
    onEvent({ ...EVENTS[0]!, type: "call", code: "LOST" } as (typeof EVENTS)[0]);
    const now = await text();
    const values: [name: string, labels: Record<string, string>, value: number][] = [
      ["tundra_calls_total", { call: "ensureKs", code: "OK" }, 1],
      ["tundra_calls_total", { call: "ensureKs", code: "LOST" }, 1],
      ["tundra_calls_total", { call: "tick", code: "OK" }, 1],
      ["tundra_call_keys_total", { call: "ensureKs" }, 6],
      ["tundra_requests_total", { call: "ensureKs" }, 8],
      ["tundra_commands_total", { call: "tick" }, 221],
      ["tundra_archive_fetched_bytes_total", { call: "ensureKs" }, 1400],
      ["tundra_archive_put_bytes_total", { call: "tick" }, 9000],
      ["tundra_errors_total", { scope: "call", code: "LOST" }, 1],
      ["tundra_errors_total", { scope: "key", code: "CORRUPT" }, 2],
      ["tundra_errors_total", { scope: "tick", code: "UNSUPPORTED" }, 1],
      ["tundra_errors_total", { scope: "tick", code: "UNAVAILABLE" }, 0],
      ["tundra_errors_total", { scope: "key", code: "UNAVAILABLE" }, 0],
      ["tundra_failed_keys_total", { call: "ensureKs", code: "CORRUPT" }, 2],
      ["tundra_frozen_keys_total", {}, 100],
      ["tundra_evicted_keys_total", {}, 40],
      ["tundra_restored_keys_total", {}, 3],
      ["tundra_restored_bytes_total", {}, 2100],
      ["tundra_rescued_keys_total", {}, 1],
      ["tundra_swept_versions_total", { outcome: "deleted" }, 7],
      ["tundra_swept_versions_total", { outcome: "moved" }, 5],
      ["tundra_swept_versions_total", { outcome: "failed" }, 0],
      ["tundra_verified_versions_total", {}, 50],
      ["tundra_damaged_versions_total", {}, 2],
      ["tundra_missing_versions_total", {}, 1],
    ];
    for (const [name, labels, value] of values) assertEquals(valueOf(now, name, labels), value, name);
  });

  it("counts what a real store does: calls, requests, commands, bytes, keys, damage", async () => {
    const metrics = prometheusMetrics();
    const store = stack.store({ onEvent: metrics.onEvent });
    await stack.raw("MSET", "a", "1", "b", "2", "c", "3");
    await store.dirty("a", "b", "c");
    await store.tick();
    await store.evict("a", "b");
    await store.ensureKs("a", "c");
    const [requests, commands] = [stack.server.requests, await stack.server.billable()];
    await store.ensureKs("a", "c");
    const spent = [stack.server.requests - requests, await stack.server.billable() - commands];
    const before = await metrics.text();
    await store.ensureKs("a", "c");
    for (const name of stack.objectNames()) stack.s3.objects(BUCKET).delete(name);
    await tundraError("ENSURE_FAILED", () => store.ensureKs("b"));
    await verify(store);
    const now = await metrics.text();
    const values: [name: string, labels: Record<string, string>, value: number][] = [
      ["tundra_calls_total", { call: "dirty", code: "OK" }, 1],
      ["tundra_calls_total", { call: "ensureKs", code: "OK" }, 3],
      ["tundra_calls_total", { call: "ensureKs", code: "ENSURE_FAILED" }, 1],
      ["tundra_calls_total", { call: "verify", code: "OK" }, 1],
      ["tundra_call_keys_total", { call: "dirty" }, 3],
      ["tundra_call_keys_total", { call: "tick" }, 3],
      ["tundra_failed_keys_total", { call: "ensureKs", code: "LOST" }, 1],
      ["tundra_errors_total", { scope: "key", code: "LOST" }, 1],
      ["tundra_frozen_keys_total", {}, 3],
      ["tundra_evicted_keys_total", {}, 2],
      ["tundra_restored_keys_total", {}, 1],
      ["tundra_missing_versions_total", {}, 3],
    ];
    for (const [name, labels, value] of values) {
      assertEquals(valueOf(now, name, labels), value, `${name} ${labels.call}`);
    }
    assert(valueOf(now, "tundra_archive_put_bytes_total", { call: "tick" })! > 100);
    assert(valueOf(now, "tundra_archive_fetched_bytes_total", { call: "ensureKs" })! > 10);
    assert(valueOf(now, "tundra_restored_bytes_total")! > 0);
    for (const [i, name] of ["tundra_requests_total", "tundra_commands_total"].entries()) {
      const difference = valueOf(now, name, { call: "ensureKs" })! - valueOf(before, name, { call: "ensureKs" })!;
      assert(difference > spent[i]!, `${name}: ${difference}, of which one call is ${spent[i]}`);
      const one = prometheusMetrics();
      await stack.store({ onEvent: one.onEvent }).ensureKs("a", "c");
      assertEquals(valueOf(await one.text(), name, { call: "ensureKs" }), spent[i], name);
    }
  });

  it("counts a lost index as a call that failed with LOST, also that of a tick, and no tick seems to have run", async () => {
    const metrics = prometheusMetrics();
    const store = stack.store({ onEvent: metrics.onEvent });
    await stack.raw("SET", "a", "1");
    await store.dirty("a");
    await store.tick();
    await stack.raw("FLUSHDB");
    await tundraError("LOST", () => store.ensureKs("a"));
    await tundraError("LOST", () => store.tick());
    const now = await metrics.text();
    assertEquals(valueOf(now, "tundra_errors_total", { scope: "call", code: "LOST" }), 2);
    // what a process sees that has no such counter: TundraTickMissing fires
    assertEquals(valueOf(await metrics.text(store), "tundra_index_last_tick_timestamp_seconds"), 0);
  });

  it("has what alerts watch from the beginning, so that the first increase is one", async () => {
    const now = await prometheusMetrics().text();
    assertEquals(valueOf(now, "tundra_errors_total", { scope: "call", code: "LOST" }), 0);
    assertEquals(valueOf(now, "tundra_damaged_versions_total"), 0);
    assertEquals(valueOf(now, "tundra_missing_versions_total"), 0);
  });

  it("puts durations into cumulative buckets", async () => {
    const { onEvent, text } = prometheusMetrics({ buckets: [0.05, 1] });
    for (const durationMs of [50, 51, 1000, 5000]) {
      onEvent({ ...EVENTS[0]!, durationMs } as (typeof EVENTS)[0]);
    }
    const now = await text();
    const [series] = parse(now).find(({ name }) => name === "tundra_call_duration_seconds")!.metrics;
    assertEquals(series!.buckets, { "0.05": "1", "1": "3", "+Inf": "4" });
    // that parser drops these two if a histogram has labels
    const labels = 'tqname="default",call="ensureKs"';
    assertMatch(now, new RegExp(`^tundra_call_duration_seconds_sum{${labels}} 6\\.101$`, "m"));
    assertMatch(now, new RegExp(`^tundra_call_duration_seconds_count{${labels}} 4$`, "m"));
  });

  it("tells what the index holds, for one request and ten commands", async () => {
    const store = stack.store();
    await stack.raw("MSET", "a", "1", "b", "2", "c", "3");
    await store.dirty("a", "b");
    await store.tick();
    await store.evict("a");
    await store.dirty("c");
    const metrics = prometheusMetrics({ maxAgeMs: 0 });
    await store.status(); // the script is loaded
    const before = [stack.server.requests, await stack.server.billable()];
    const now = await metrics.text(store);
    assertEquals([stack.server.requests - before[0]!, await stack.server.billable() - before[1]!], [1, 10]);
    const status = await store.status();
    const values = INDEX.filter(({ name }) => name !== "tundra_index_oldest_due_seconds")
      .map((metric) => [metric.name, valueOf(now, metric.name), metric.read(status)] as const);
    for (const [name, value, should] of values) assertEquals(value, should, name);
    assertEquals(valueOf(now, "tundra_index_evicted_keys"), 1);
    assertEquals(valueOf(now, "tundra_index_frozen_keys_total"), 2);
    assertEquals(valueOf(now, "tundra_index_due_keys"), 1);
    assert(valueOf(now, "tundra_index_oldest_due_seconds")! < 30);
    const ageS = Date.now() / 1000 - valueOf(now, "tundra_index_last_tick_timestamp_seconds")!;
    assert(ageS > -5 && ageS < 60, String(ageS));
    assertEquals(valueOf(now, "tundra_index_up"), 1);
  });

  it("tells with activity() what upkeep found, in whichever process, for one request and three commands more", async () => {
    const store = stack.store();
    const metrics = prometheusMetrics({ maxAgeMs: 0, activity });
    const values = async () => {
      const now = await metrics.text(store);
      const names = [
        "verify_damaged_versions",
        "verify_missing_versions",
        "verify_timestamp_seconds",
        "sweep_timestamp_seconds",
      ];
      return names.map((name) => valueOf(now, `tundra_index_${name}`));
    };
    assertEquals(await values(), [undefined, undefined, undefined, undefined]);
    await stack.raw("SET", "a", "1");
    await store.dirty("a");
    await store.tick();
    await sweep(stack.store());
    stack.s3.objects(BUCKET).delete(stack.objectNames()[0]!);
    await verify(stack.store()); // another process
    const before = [stack.server.requests, await stack.server.billable()];
    const [damaged, missing, ...atS] = await values();
    assertEquals([stack.server.requests - before[0]!, await stack.server.billable() - before[1]!], [2, 13]);
    assertEquals([damaged, missing], [0, 1]);
    for (const at of atS) assert(Math.abs(Date.now() / 1000 - at!) < 60, String(at));
  });

  it("asks Redis once in maxAgeMs", async () => {
    const store = stack.store();
    const [kept, each] = [prometheusMetrics(), prometheusMetrics({ maxAgeMs: 0 })];
    const first = await kept.text(store);
    const before = stack.server.requests;
    await stack.raw("SET", "a", "1");
    assertEquals(await kept.text(store), first);
    assertEquals(stack.server.requests - before, 0);
    await each.text(store);
    await each.text(store);
    assertEquals(stack.server.requests - before, 2);
  });

  it("says that Redis does not answer, and still gives its own counts", async () => {
    const { onEvent, text } = prometheusMetrics({ maxAgeMs: 0 });
    EVENTS.forEach(onEvent);
    const store = stack.store({ redis: { url: "http://127.0.0.1:9", retry: false } });
    const now = await text(store);
    assertEquals([valueOf(now, "tundra_index_up"), valueOf(now, "tundra_index_dirty_keys")], [0, undefined]);
    assertEquals(valueOf(now, "tundra_frozen_keys_total"), 100);
  });

  it("gives each metric of its table, and promtool, Prometheus' own linter, finds nothing to say", async () => {
    const { onEvent, text } = prometheusMetrics({ activity });
    EVENTS.forEach(onEvent);
    const now = await text(await kept(stack.store()));
    const all: Metric[] = [...Object.values(PROCESS), UP, ...INDEX, ...UPKEEP];
    const families = parse(now);
    assertEquals(families.map(({ name }) => name).sort(), all.map(({ name }) => name).sort());
    for (const { name, kind, help } of all) {
      const family = families.find((family) => family.name === name)!;
      assertEquals([family.type, family.help], [kind.toUpperCase(), help]);
    }
    assertEquals(promtool(["check", "metrics"], now), "");
    const wrong: [string, string, number, RegExp][] = [
      ["tqname=", "=", 1, /error/],
      ["_seconds", "_milliseconds", 3, /use base unit/],
    ];
    for (const [from, to, status, message] of wrong) {
      assertMatch(promtool(["check", "metrics"], now.replaceAll(from, to), status), message);
    }
  });

  it("never names a key", async () => {
    const metrics = prometheusMetrics({ maxAgeMs: 0 });
    const store = stack.store();
    await stack.raw("SET", "cart:of-ada", "1");
    await store.dirty("cart:of-ada");
    await store.tick();
    assert(!(await metrics.text(store)).includes("of-ada"));
  });

  it("answers scrapes: 200 with the media type, 401 without the secret, 405 to a POST, 500 without a store", async () => {
    const metrics = prometheusMetrics();
    const open = metrics.handler(stack.store());
    const response = await open(new Request("http://app.example/metrics"));
    assertEquals(response.status, 200);
    assertEquals(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assertEquals(valueOf(await response.text(), "tundra_index_up"), 1);
    assertEquals((await open(new Request("http://app.example/metrics", { method: "POST" }))).status, 405);

    const closed = metrics.handler(() => stack.store(), { secret: SECRET });
    const scrape = (secret: string) =>
      closed(new Request("http://app.example/", { headers: { authorization: `Bearer ${secret}` } }));
    const statuses = await Promise.all([
      scrape(SECRET),
      scrape(`${SECRET}x`),
      closed(new Request("http://a.example/")),
    ]);
    assertEquals(statuses.map(({ status }) => status), [200, 401, 401]);

    const none = metrics.handler(() => Promise.reject(new Error(SECRET)));
    const failed = await none(new Request("http://app.example/"));
    assertEquals([failed.status, (await failed.text()).includes(SECRET)], [500, false]);
  });

  it("refuses wrong arguments, and a store of another tqname", async () => {
    const store = stack.store({ tqname: "other" });
    const calls: [() => unknown, RegExp][] = [
      [() => prometheusMetrics({ tqname: "a b" }), /tqname/],
      [() => prometheusMetrics({ buckets: [2, 1] }), /buckets/],
      [() => prometheusMetrics({ buckets: [] }), /buckets/],
      [() => prometheusMetrics({ maxAgeMs: -1 }), /maxAgeMs/],
      [() => prometheusMetrics({ activity: {} } as object), /activity/],
      [() => prometheusMetrics({ maxAge: 1 } as object), /maxAge/],
      [() => prometheusMetrics().handler(store), /the tqname of the store must be that of the metrics, default/],
      [() => prometheusMetrics({ tqname: "other" }).handler(store, { secret: undefined }), /secret/],
      [() => prometheusMetrics().handler({} as TundraStore), /store/],
    ];
    for (const [call, message] of calls) {
      const error = assertThrows(call, TundraError);
      assertEquals(error.code, "BAD_ARGUMENT");
      assertMatch(error.message, message);
    }
    assertMatch(await prometheusMetrics({ tqname: "other" }).text(store), /tundra_index_up\{tqname="other"\} 1/);
  });
});
