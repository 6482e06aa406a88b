/**
 * openTelemetryMetrics: a store's events and status through the application's own OpenTelemetry.
 * @module
 */
import { checkFunction, checkMethods, checkNames } from "../base/arguments.ts";
import { checkTqname } from "../base/keys.ts";
import { wallClockMs } from "../base/platform.ts";
import type { TundraEvent } from "../core/events.ts";
import type { TundraStore } from "../store_interface.ts";
import { checkBuckets, checkStore } from "./checks.ts";
import type { MeterLike, TracerLike } from "./open_telemetry_types.ts";
import { type ActivityReader, DOWN, readIndex } from "./read_index.ts";
import { type Add, begin, record } from "./record.ts";
import { BUCKETS, INDEX, type Metric, PROCESS, UP, UPKEEP } from "./table.ts";

/** Options of {@linkcode openTelemetryMetrics}. */
export interface OpenTelemetryOptions {
  /** The application's meter: `metrics.getMeter("tundra")` of `@opentelemetry/api`. */
  meter: MeterLike;
  /** The application's tracer, if each call is to be a span: `trace.getTracer("tundra")`. */
  tracer?: TracerLike;
  /**
   * The attribute `tqname` of all values: that of the store.
   *
   * @default {"default"}
   */
  tqname?: string;
  /**
   * Upper bounds of the buckets of durations, in seconds, ascending: an advice, which a view may replace.
   *
   * @default {0.005 to 60, in 13 steps}
   */
  buckets?: readonly number[];
  /**
   * The function `activity` of `@tundra/store/operations`: with it, each collection tells too when a sweep and a
   * verification last ended, and what the latter found, in whichever process. That is 1 request and 3 commands more.
   *
   * @default {undefined}
   */
  activity?: ActivityReader;
}

/** A store's metrics in OpenTelemetry. */
export interface OpenTelemetryMetrics {
  /** The listener for `onEvent` of the store's options. */
  readonly onEvent: (event: TundraEvent) => void;
  /**
   * Observes the index of a store at each collection.
   *
   * Cost: that of `status()` at each collection: 1 request, 10 commands; and that of `activity` if it is given.
   *
   * @returns a function that ends it
   * @throws {TundraError} `BAD_ARGUMENT`
   */
  observe(store: TundraStore): () => void;
}

const CLIENT_SPAN = 2; // SpanKind.CLIENT
const ERROR_STATUS = 2; // SpanStatusCode.ERROR

/**
 * Counts what a store does, through OpenTelemetry. Nothing of it is imported: the application passes its meter, and a
 * tracer if it wants a span for each call. The names are those of `prometheusMetrics`, with a dot after `tundra`, so
 * that the dashboard and the alerts fit both. No key is ever named.
 *
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts ignore
 * import { metrics, trace } from "@opentelemetry/api";
 * import { tundraFromEnv } from "@tundra/store";
 * import { openTelemetryMetrics } from "@tundra/store/metrics";
 *
 * const telemetry = openTelemetryMetrics({ meter: metrics.getMeter("tundra"), tracer: trace.getTracer("tundra") });
 * const store = tundraFromEnv({ onEvent: telemetry.onEvent });
 * telemetry.observe(store);
 * ```
 */
export function openTelemetryMetrics(options: OpenTelemetryOptions): OpenTelemetryMetrics {
  const what = "make OpenTelemetry metrics";
  checkNames(what, options, ["meter", "tracer", "tqname", "buckets", "activity"]);
  const { meter, tracer, activity } = options;
  checkFunction(what, "activity", activity);
  const needed = ["createCounter", "createHistogram", "createObservableGauge", "createObservableCounter"];
  checkMethods(what, "meter", meter, needed, "a Meter");
  if (tracer !== undefined) checkMethods(what, "tracer", tracer, ["startSpan"], "a Tracer");
  const tqname = checkTqname(options.tqname ?? "default");
  const explicitBucketBoundaries = [...checkBuckets(what, options.buckets ?? BUCKETS)];

  const adders = new Map<Metric, (value: number, labels: Record<string, string>) => void>();
  for (const metric of Object.values(PROCESS) as Metric[]) {
    const settings = describe(metric);
    if (metric.kind === "counter") {
      const counter = meter.createCounter(nameOf(metric), settings);
      adders.set(metric, (value, labels) => counter.add(value, labels));
    } else {
      const histogram = meter.createHistogram(nameOf(metric), { ...settings, advice: { explicitBucketBoundaries } });
      adders.set(metric, (value, labels) => histogram.record(value, labels));
    }
  }
  const add: Add = (metric, value, labels) => adders.get(metric)!(value, { tqname, ...labels });
  begin(add);
  return {
    onEvent(event) {
      record(event, add);
      if (tracer && event.type === "call") addSpan(tracer, event, tqname);
    },
    observe(store) {
      checkStore(store, tqname);
      return observeIndex(
        meter,
        tqname,
        activity ? [UP, ...INDEX, ...UPKEEP] : [UP, ...INDEX],
        () => readIndex(store, activity),
      );
    },
  };
}

function observeIndex(
  meter: MeterLike,
  tqname: string,
  metrics: readonly Metric[],
  read: () => ReturnType<typeof readIndex>,
): () => void {
  const instruments = new Map(metrics.map((metric) => [
    metric,
    metric.kind === "gauge"
      ? meter.createObservableGauge(nameOf(metric), describe(metric))
      : meter.createObservableCounter(nameOf(metric), describe(metric)),
  ]));
  const all = [...instruments.values()];
  const collect: Parameters<MeterLike["addBatchObservableCallback"]>[0] = async (result) => {
    for (const [metric, value] of await read() ?? DOWN) result.observe(instruments.get(metric)!, value, { tqname });
  };
  meter.addBatchObservableCallback(collect, all);
  return () => meter.removeBatchObservableCallback(collect, all);
}

/** The call is over: its span is made of its duration, under the span that is active where it was awaited. */
function addSpan(tracer: TracerLike, event: TundraEvent & { type: "call" }, tqname: string): void {
  const endMs = wallClockMs();
  const span = tracer.startSpan(`tundra ${event.call}`, {
    kind: CLIENT_SPAN,
    startTime: endMs - event.durationMs,
    attributes: {
      "tundra.tqname": tqname,
      "tundra.call": event.call,
      "tundra.keys": event.keys,
      "tundra.requests": event.requests,
      "tundra.commands": event.commands,
      "tundra.archive.fetched_bytes": event.bytesFetched,
      "tundra.archive.put_bytes": event.bytesPut,
      ...event.code === undefined ? {} : { "error.type": event.code },
    },
  });
  if (event.code !== undefined) span.setStatus({ code: ERROR_STATUS, message: event.code });
  span.end(endMs);
}

/** OpenTelemetry adds `_total` by itself when it exports to Prometheus. */
function nameOf({ name }: Metric): string {
  return name.replace(/^tundra_/, "tundra.").replace(/_total$/, "");
}

function describe({ name, help }: Metric): { description: string; unit?: string } {
  const unit = /_seconds$/.test(name) ? "s" : /_bytes(_total)?$/.test(name) ? "By" : undefined;
  return { description: help, ...unit && { unit } };
}
