/**
 * The metrics that there are: names, kinds, units and what they mean. Prometheus and OpenTelemetry share this table.
 * @module
 */
import type { Status } from "../store_interface.ts";

/** One metric. Its name ends as Prometheus wants it: with the unit, and `_total` for a counter. */
export interface Metric {
  readonly name: string;
  readonly kind: "counter" | "histogram" | "gauge";
  readonly help: string;
}

/** A metric of the index, read from `status()`. */
export interface IndexMetric extends Metric {
  read(status: Status): number;
}

const counter = (name: string, help: string): Metric => ({ name: `tundra_${name}_total`, kind: "counter", help });

/** Counters and histograms of this process, from its events. */
export const PROCESS = {
  calls: counter("calls", "Calls of the store by name and by outcome: OK, or the code of the error that was thrown."),
  duration: {
    name: "tundra_call_duration_seconds",
    kind: "histogram",
    help: "Durations of calls of the store.",
  } as Metric,
  keys: counter("call_keys", "Keys that calls were given."),
  requests: counter("requests", "HTTP requests to Redis and to the archive."),
  commands: counter("commands", "Billable Redis commands, those inside scripts too."),
  fetchedBytes: counter("archive_fetched_bytes", "Bytes fetched from the archive."),
  putBytes: counter("archive_put_bytes", "Bytes put into the archive."),
  errors: counter(
    "errors",
    "Errors by code: thrown by calls (scope call), of ticks but of no single key (tick), of single keys (key).",
  ),
  failedKeys: counter("failed_keys", "Keys that failed, by call and code."),
  frozen: counter("frozen_keys", "Values archived by ticks."),
  evicted: counter("evicted_keys", "Keys that left Redis."),
  restored: counter("restored_keys", "Keys brought back into Redis."),
  restoredBytes: counter("restored_bytes", "Bytes of values brought back into Redis."),
  rescued: counter("rescued_keys", "Idle keys that ticks found changed without a mark, and marked."),
  swept: counter("swept_versions", "Versions that sweeps dealt with, by outcome: deleted, moved, failed."),
  verified: counter("verified_versions", "Archived versions and records that were verified."),
  damaged: counter("damaged_versions", "Versions that verification found damaged."),
  missing: counter("missing_versions", "Versions that verification found missing in the archive."),
} as const satisfies Record<string, Metric>;

const gauge = (name: string, help: string, read: (status: Status) => number): IndexMetric => ({
  name: `tundra_index_${name}`,
  kind: "gauge",
  help,
  read,
});

const total = (name: string, help: string, read: (totals: Status["totals"]) => number): IndexMetric => ({
  name: `tundra_index_${name}_total`,
  kind: "counter",
  help: `${help} since the index was made, by all processes.`,
  read: (status) => read(status.totals),
});

/** Tells if `status()` answered. */
export const UP: Metric = {
  name: "tundra_index_up",
  kind: "gauge",
  help: "1 if Redis answered for the other metrics of the index, else 0.",
};

/** Metrics of the index in Redis: the same from every process. */
export const INDEX: readonly IndexMetric[] = [
  gauge("dirty_keys", "Keys with a change that is not archived yet, dead ones included.", (status) => status.dirty),
  gauge("due_keys", "Dirty keys that a tick may claim now.", (status) => status.due),
  gauge("idle_keys", "Keys that ticks check for eviction.", (status) => status.idle),
  gauge("resident_keys", "Archived keys that are in Redis.", (status) => status.resident),
  gauge("evicted_keys", "Keys that have left Redis and can be brought back.", (status) => status.evicted),
  gauge("dead_keys", "Keys that have used up their attempts.", (status) => status.dead),
  gauge("purge_keys", "Removed and expired keys whose objects are to be deleted.", (status) => status.purge),
  gauge(
    "oldest_due_seconds",
    "Time for which the oldest due key has been waiting.",
    (status) => status.oldestDueMs / 1000,
  ),
  gauge(
    "last_tick_timestamp_seconds",
    "Time at which a tick last began, by Redis' clock; 0 if none ever did.",
    (status) => status.lastTickMs / 1000,
  ),
  total("frozen_keys", "Values archived", (totals) => totals.frozen),
  total("evicted_keys", "Keys that left Redis", (totals) => totals.evicted),
  total("restored_keys", "Keys brought back", (totals) => totals.restored),
  total("rescued_keys", "Keys found changed without a mark", (totals) => totals.rescued),
  total("removed_keys", "Removals archived", (totals) => totals.removed),
  total("archived_bytes", "Bytes of archive objects put", (totals) => totals.bytes),
];

/** Numbers of the last day on which a sweep or a verification ran; `read` gives `undefined` if there was none. */
export interface UpkeepMetric extends Metric {
  read(runs: readonly UpkeepRun[]): number | undefined;
}

/** The part of a day's notes that is read; see `activity()` of the operations. */
export interface UpkeepRun {
  /** The end of its last call, in milliseconds since 1970. */
  atMs: number;
  /** `sweep` or `verify`. */
  operation: string;
  /** Numbers of versions by what became of them. */
  counts: Record<string, number>;
}

const upkeep = (
  operation: "sweep" | "verify",
  name: string,
  help: string,
  read: (run: UpkeepRun) => number,
): UpkeepMetric => ({
  name: `tundra_index_${operation}_${name}`,
  kind: "gauge",
  help,
  read(runs) {
    const last = runs.find((run) => run.operation === operation); // the youngest stands first
    return last && read(last);
  },
});

/** Metrics of upkeep by whichever process, if the application gives `activity`. */
export const UPKEEP: readonly UpkeepMetric[] = [
  upkeep("sweep", "timestamp_seconds", "Time at which a sweep last ended.", ({ atMs }) => atMs / 1000),
  upkeep("verify", "timestamp_seconds", "Time at which a verification last ended.", ({ atMs }) => atMs / 1000),
  upkeep(
    "verify",
    "damaged_versions",
    "Damaged versions that were found on the last day of verification.",
    ({ counts }) => counts.damaged ?? 0,
  ),
  upkeep(
    "verify",
    "missing_versions",
    "Missing versions that were found on the last day of verification.",
    ({ counts }) => counts.missing ?? 0,
  ),
];

/** Upper bounds of the buckets of durations, in seconds: from one request nearby to a long tick. */
export const BUCKETS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
