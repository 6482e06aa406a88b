/**
 * Metrics of a store: for Prometheus as text that it scrapes, or through the application's own OpenTelemetry.
 *
 * @example
 * ```ts ignore
 * import { tundraFromEnv } from "@tundra/store";
 * import { prometheusMetrics } from "@tundra/store/metrics";
 *
 * const metrics = prometheusMetrics();
 * const store = tundraFromEnv({ onEvent: metrics.onEvent });
 * const scrape = metrics.handler(store, { secret: Deno.env.get("METRICS_SECRET") });
 * Deno.serve((request) => new URL(request.url).pathname === "/metrics" ? scrape(request) : new Response("Hello"));
 * ```
 *
 * @module
 */
export { type OpenTelemetryMetrics, openTelemetryMetrics, type OpenTelemetryOptions } from "./open_telemetry.ts";
export type {
  AttributesLike,
  InstrumentOptionsLike,
  MeterLike,
  ObserverLike,
  TracerLike,
} from "./open_telemetry_types.ts";
export { type PrometheusMetrics, prometheusMetrics, type PrometheusOptions, type ScrapeOptions } from "./prometheus.ts";
export type { ActivityReader } from "./read_index.ts";
export type { UpkeepRun } from "./table.ts";
