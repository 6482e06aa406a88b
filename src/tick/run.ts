/**
 * One tick under way: its bounds, its counters, its report.
 * @module
 */
import { type LinkedSignal, linkSignals } from "../base/abort.ts";
import { TundraError } from "../base/errors.ts";
import { monotonicMs } from "../base/platform.ts";
import type { Context } from "../core/context.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import type { Purge } from "../scripts/purged.ts";
import type { Release } from "../scripts/release.ts";
import type { CallOptions } from "../upstash/connection.ts";
import type { TickReport, TickSettings } from "./options.ts";

/** Requests that are kept back for commit, fail and one release, each of which may have to send its script once more. */
const CLOSING_REQUESTS = 6;

/** The state that all parts of a tick share. */
export interface TickRun {
  readonly context: Context;
  readonly settings: TickSettings;
  readonly report: TickReport;
  /** For requests that begin work: aborted with the tick, refused when only the closing ones are left. */
  readonly call: CallOptions & DatastoreCallOptions;
  /** For requests that end work: never aborted, or leases and attempts would be left behind. */
  readonly closing: CallOptions & DatastoreCallOptions;
  /** For requests that purge: they may use what is kept back for them. */
  readonly purging: CallOptions & DatastoreCallOptions;
  /** Of a bounded number of requests: those that only purging may use. */
  keptForPurges: number;
  /** Keys of which this tick has archived what supersedes objects to delete. */
  readonly purges: Purge[];
  /** Uploads at once. */
  readonly uploads: Semaphore;
  /** Keys to read at a time; less where their values are large. */
  snapshotKeys: number;
  /** Keys that this tick has put back and that are due again. */
  queuedAgain: number;
  /** Was the archive asked whether it is this index's? Before that nothing is put, evicted or deleted. */
  archiveChecked: boolean;
  /** Something due is left that `remaining` does not count: an eviction that failed, a lease that ended. */
  unfinished: boolean;
  /** It has begun to archive or evict something. */
  busy: boolean;
  /** Objects that the archive has taken in this tick. */
  stored: number;
  /** Objects that failed since it last took one. */
  refusals: number;
  /** One after the other failed, and none succeeded: no use in claiming more. */
  storeIsDown(): boolean;
  /** Keys to give back when the tick ends: one request for all leases. */
  readonly toRelease: Release[];
  /** Was it aborted, or are its requests used up? */
  stopped(): boolean;
  /** May work still be begun? */
  mayBegin(): boolean;
  /** Milliseconds since it began. */
  elapsedMs(): number;
  /** May purging go on? */
  mayPurge(): boolean;
  /** Requests left for work. */
  requestsLeft(): number;
  /**
   * Calls the datastore; counts one request where it does not count by itself.
   */
  counted<T>(
    act: (call: DatastoreCallOptions) => Promise<T>,
    signal: AbortSignal,
    kind?: "purging",
  ): Promise<T>;
  /** A signal that also ends at `endsAt` of the monotonic clock; `release()` when done. */
  until(endsAt: number): LinkedSignal;
  /** Reports a failure: of the key that the error names, or of the tick itself. */
  fail(error: TundraError, attempt?: number): void;
}

export function tickRun(context: Context, settings: TickSettings): TickRun {
  const startedAt = monotonicMs();
  let subrequests = 0;
  const report: TickReport = {
    claimed: 0,
    frozen: 0,
    requeued: 0,
    evicted: 0,
    rescued: 0,
    missing: 0,
    failed: 0,
    dead: 0,
    remaining: 0,
    purged: 0,
    purging: 0,
    get subrequests() {
      return subrequests;
    },
    bytesRead: 0,
    bytesWritten: 0,
    durationMs: 0,
    done: false,
    errors: [],
  };
  const most = settings.maxSubrequests;
  const spend = (kept: number) => {
    if (subrequests >= most - kept) {
      throw new TundraError(
        "UNAVAILABLE",
        `Cannot send another request as a tick may make maxSubrequests: current value is ${most}`,
      );
    }
    subrequests++;
  };
  const open = () => spend(CLOSING_REQUESTS + run.keptForPurges);
  const openPurge = () => {
    if (most < Infinity && run.keptForPurges === 0) return open();
    spend(CLOSING_REQUESTS);
    if (run.keptForPurges > 0) run.keptForPurges--;
  };
  const run: TickRun = {
    context,
    settings,
    report,
    call: { signal: settings.signal, onRequest: open },
    closing: { onRequest: () => spend(0) },
    purging: { signal: settings.signal, onRequest: openPurge },
    keptForPurges: 0,
    purges: [],
    uploads: semaphore(settings.nthreads),
    snapshotKeys: settings.batchKeys,
    queuedAgain: 0,
    archiveChecked: false,
    unfinished: false,
    busy: false,
    stored: 0,
    refusals: 0,
    storeIsDown: () => run.refusals > 1,
    toRelease: [],
    stopped: () => settings.signal?.aborted === true || run.requestsLeft() <= 0,
    mayBegin: () => !run.stopped() && run.elapsedMs() < settings.deadlineMs,
    mayPurge: () =>
      settings.signal?.aborted !== true && run.elapsedMs() < settings.deadlineMs &&
      (most === Infinity || run.keptForPurges > 0),
    elapsedMs: () => monotonicMs() - startedAt,
    requestsLeft: () => most - CLOSING_REQUESTS - run.keptForPurges - subrequests,
    async counted(act, signal, kind) {
      let counts = false;
      const count = kind === "purging" ? openPurge : open;
      const onRequest = () => {
        counts = true;
        count();
      };
      if (kind !== "purging" && run.requestsLeft() <= 0) open();
      try {
        return await act({ signal, onRequest });
      } finally {
        if (!counts) {
          subrequests++;
          if (kind === "purging" && run.keptForPurges > 0) run.keptForPurges--;
        }
      }
    },
    until(endsAt) {
      const link = linkSignals([settings.signal]);
      link.limit(
        Math.max(0, endsAt - monotonicMs()),
        () => new TundraError("UNAVAILABLE", "Cannot go on with an upload as its lease has ended"),
      );
      return link;
    },
    fail(error, attempt = 0) {
      const { code, message, keys: [key = ""] } = error;
      report.errors.push({ key, code, message, attempt });
      settings.onError(error);
    },
  };
  return run;
}

/** At most so many at once, in the order in which they asked. */
export interface Semaphore {
  /** Resolves when there is room; call the result, once, to give it back. */
  acquire(): Promise<() => void>;
}

function semaphore(most: number): Semaphore {
  let free = most;
  const waiting: (() => void)[] = [];
  const giveBack = () => {
    const next = waiting.shift();
    if (next) next();
    else free++;
  };
  return {
    async acquire() {
      if (free > 0) free--;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      return giveBack;
    },
  };
}
