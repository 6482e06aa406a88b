/** Metrics and spans through OpenTelemetry: its own SDK, whose exporters keep what they are given. */
import { afterEach, before, beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { TundraError } from "../../mod.ts";
import { activity } from "../../src/operations/mod.ts";
import { type MeterLike, openTelemetryMetrics, prometheusMetrics, type TracerLike } from "../../src/metrics/mod.ts";
import { installTools, load } from "../runtimes/tools.ts";
import { withArchive } from "../support/fixtures.ts";
import { EVENTS, kept } from "../support/metrics.ts";

interface DataPoint {
  attributes: Record<string, string>;
  value: number | { buckets: { boundaries: number[]; counts: number[] }; sum: number; count: number };
}

interface MetricData {
  descriptor: { name: string; unit: string; description: string };
  dataPoints: DataPoint[];
}

interface ResourceMetrics {
  scopeMetrics: { scope: { name: string }; metrics: MetricData[] }[];
}

/** The part of the SDK for metrics that is used. */
interface MetricsSdk {
  MeterProvider: new (
    options: { readers: unknown[] },
  ) => { getMeter(name: string): MeterLike; shutdown(): Promise<void> };
  PeriodicExportingMetricReader: new (options: { exporter: unknown; exportIntervalMillis: number }) => {
    forceFlush(): Promise<void>;
  };
  InMemoryMetricExporter: new (temporality: number) => { getMetrics(): ResourceMetrics[] };
}

interface ReadableSpan {
  name: string;
  kind: number;
  duration: [number, number];
  attributes: Record<string, unknown>;
  status: { code: number; message?: string };
  parentSpanContext?: { spanId: string };
}

/** The part of the SDK for traces that is used. */
interface TracesSdk {
  BasicTracerProvider: new (options: { spanProcessors: unknown[] }) => { getTracer(name: string): TracerLike };
  SimpleSpanProcessor: new (exporter: unknown) => unknown;
  InMemorySpanExporter: new () => { getFinishedSpans(): ReadableSpan[] };
}

/** The part of the API that is used. */
interface Api {
  context: {
    setGlobalContextManager(manager: unknown): boolean;
    disable(): void;
    with<T>(context: object, act: () => T): T;
    active(): object;
  };
  trace: { setSpan(context: object, span: unknown): object };
}

describe("openTelemetryMetrics", () => {
  const stack = withArchive();
  const shutDown: (() => Promise<void>)[] = [];
  before(() => installTools());
  beforeEach(() => stack.flush());
  afterEach(async () => {
    for (const end of shutDown.splice(0)) await end();
  });

  /** The SDK with an exporter in memory. */
  function sdk() {
    const { MeterProvider, PeriodicExportingMetricReader, InMemoryMetricExporter } = load<MetricsSdk>(
      "@opentelemetry/sdk-metrics",
    );
    const exporter = new InMemoryMetricExporter(1); // cumulative
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    const provider = new MeterProvider({ readers: [reader] });
    shutDown.push(() => provider.shutdown());
    const last = async (): Promise<ResourceMetrics> => {
      await reader.forceFlush();
      return exporter.getMetrics().at(-1)!;
    };
    return {
      meter: provider.getMeter("tundra"),
      last,
      async value(name: string, attributes: Record<string, string> = {}): Promise<DataPoint["value"] | undefined> {
        const all = (await last()).scopeMetrics.flatMap(({ metrics }) => metrics);
        const points = all.find(({ descriptor }) => descriptor.name === name)?.dataPoints ?? [];
        const wanted = Object.entries({ tqname: "default", ...attributes });
        return points.find((point) =>
          Object.keys(point.attributes).length === wanted.length &&
          wanted.every(([name, value]) => point.attributes[name] === value)
        )?.value;
      },
    };
  }

  it("counts each event, by call and code", async () => {
    const { meter, value } = sdk();
    const { onEvent } = openTelemetryMetrics({ meter });
    EVENTS.forEach(onEvent);
    onEvent({ ...EVENTS[0]!, type: "call", code: "LOST" } as (typeof EVENTS)[0]);
    assertEquals(await value("tundra.calls", { call: "ensureKs", code: "OK" }), 1);
    assertEquals(await value("tundra.calls", { call: "ensureKs", code: "LOST" }), 1);
    assertEquals(await value("tundra.commands", { call: "tick" }), 221);
    assertEquals(await value("tundra.archive_put_bytes", { call: "tick" }), 9000);
    assertEquals(await value("tundra.errors", { scope: "key", code: "CORRUPT" }), 2);
    assertEquals(await value("tundra.swept_versions", { outcome: "moved" }), 5);
    assertEquals(await value("tundra.damaged_versions"), 2);
    const durations = await value("tundra.call_duration_seconds", { call: "ensureKs" });
    assert(typeof durations === "object");
    assertEquals([durations.count, durations.sum, durations.buckets.counts[2]], [2, 0.04, 2]);
    assertEquals(durations.buckets.boundaries.slice(0, 3), [0.005, 0.01, 0.025]);
  });

  it("observes the index at each collection, for one request, until it is ended", async () => {
    const { meter, value, last } = sdk();
    const { observe } = openTelemetryMetrics({ meter });
    const store = stack.store();
    await stack.raw("MSET", "a", "1", "b", "2");
    await store.dirty("a", "b");
    await store.tick();
    await store.dirty("b");
    const end = observe(store);
    assertEquals(await value("tundra.index_dirty_keys"), 1);
    assertEquals(await value("tundra.index_frozen_keys"), 2);
    assertEquals(await value("tundra.index_up"), 1);
    const before = stack.server.requests;
    await last();
    assertEquals(stack.server.requests - before, 1);
    end();
    await last();
    assertEquals(stack.server.requests - before, 1);
  });

  it("says that Redis does not answer", async () => {
    const { meter, value } = sdk();
    openTelemetryMetrics({ meter }).observe(stack.store({ redis: { url: "http://127.0.0.1:9", retry: false } }));
    assertEquals([await value("tundra.index_up"), await value("tundra.index_dirty_keys")], [0, undefined]);
  });

  it("has, exported to Prometheus, the names, types and labels of prometheusMetrics", async () => {
    const { meter, last } = sdk();
    const telemetry = openTelemetryMetrics({ meter, activity });
    const metrics = prometheusMetrics({ activity });
    for (const event of EVENTS) for (const { onEvent } of [telemetry, metrics]) onEvent(event);
    const store = await kept(stack.store());
    telemetry.observe(store);
    const { PrometheusSerializer } = load<{
      PrometheusSerializer: new (...options: unknown[]) => { serialize(metrics: ResourceMetrics): string };
    }>("@opentelemetry/exporter-prometheus");
    const exported = new PrometheusSerializer(undefined, false, undefined, true, true).serialize(await last());
    const series = (text: string, seen: RegExp) => [...text.matchAll(seen)].map(([line]) => line).sort();
    const [theirs, ours] = [exported, await metrics.text(store)];
    assertEquals(series(theirs, /^# TYPE .*$/gm), series(ours, /^# TYPE .*$/gm));
    const labels = (text: string) =>
      series(text, /^tundra_\w+\{.*\}/gm).map((line) => {
        const [, name, all] = /^(\w+)\{(.*)\}$/.exec(line)!;
        return `${name} ${all!.split(",").sort().join()}`;
      }).sort();
    assertEquals(labels(theirs), labels(ours));
    assert(labels(ours).length > 60, String(labels(ours).length));
  });

  it("makes a span of each call, under the one that is active, and a failed one says so", async () => {
    const { BasicTracerProvider, SimpleSpanProcessor, InMemorySpanExporter } = load<TracesSdk>(
      "@opentelemetry/sdk-trace-base",
    );
    const { AsyncLocalStorageContextManager } = load<
      { AsyncLocalStorageContextManager: new () => { enable(): object } }
    >(
      "@opentelemetry/context-async-hooks",
    );
    const { context, trace } = load<Api>("@opentelemetry/api");
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    try {
      const exporter = new InMemorySpanExporter();
      const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).getTracer("shop");
      const { onEvent } = openTelemetryMetrics({ meter: sdk().meter, tracer });
      const outer = tracer.startSpan("GET /carts/7");
      await context.with(trace.setSpan(context.active(), outer), async () => {
        await Promise.resolve();
        EVENTS.forEach(onEvent);
        onEvent({ ...EVENTS[0]!, type: "call", code: "UNAVAILABLE" } as (typeof EVENTS)[0]);
      });
      outer.end();
      const spans = exporter.getFinishedSpans();
      const parent = (outer as unknown as { spanContext(): { spanId: string } }).spanContext().spanId;
      assertEquals(spans.map(({ name }) => name), [
        "tundra ensureKs",
        "tundra tick",
        "tundra ensureKs",
        "GET /carts/7",
      ]);
      assertEquals(spans.slice(0, 3).map(({ parentSpanContext }) => parentSpanContext?.spanId), [
        parent,
        parent,
        parent,
      ]);
      const [call, , failed] = spans;
      assertEquals([call!.kind, call!.status.code, call!.attributes["tundra.commands"]], [2, 0, 18]);
      assertAlmostEquals(call!.duration[0] * 1000 + call!.duration[1] / 1e6, 20, 1);
      assertEquals(failed!.status, { code: 2, message: "UNAVAILABLE" });
      assertEquals(failed!.attributes["error.type"], "UNAVAILABLE");
    } finally {
      context.disable();
    }
  });

  it("refuses wrong arguments, and a store of another tqname", () => {
    const { meter } = sdk();
    const calls: [() => unknown, RegExp][] = [
      [() => openTelemetryMetrics({} as { meter: MeterLike }), /meter must be a Meter with createCounter/],
      [() => openTelemetryMetrics({ meter, tracer: {} as TracerLike }), /tracer must be a Tracer with startSpan/],
      [() => openTelemetryMetrics({ meter, buckets: [1, 1] }), /buckets/],
      [() => openTelemetryMetrics({ meter, tqname: "" }), /tqname/],
      [() => openTelemetryMetrics({ meter }).observe(stack.store({ tqname: "other" })), /tqname of the store/],
    ];
    for (const [call, message] of calls) {
      const error = assertThrows(call, TundraError);
      assertEquals(error.code, "BAD_ARGUMENT");
      assertMatch(error.message, message);
    }
  });
});
