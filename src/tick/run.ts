/**
 * The state of one tick: its bounds, its counters, its report.
 * @module
 */
import { type LinkedSignal, linkSignals } from "../base/abort.ts";
import { TundraError } from "../base/errors.ts";
import { monotonicMs } from "../base/platform.ts";
import { type Semaphore, semaphore } from "../base/semaphore.ts";
import type { Context, RequestOptions } from "../core/context.ts";
import type { Claim } from "../scripts/claim.ts";
import type { Purge } from "../scripts/purged.ts";
import type { Release } from "../scripts/release.ts";
import type { TickReport, TickSettings } from "./options.ts";
import { type RequestBudget, requestBudget } from "./request_budget.ts";

/** The state that all parts of a tick share. */
export interface TickRun {
  readonly context: Context;
  readonly settings: TickSettings;
  readonly report: TickReport;
  /** For requests that begin work: aborted with the tick, refused when only the closing ones are left. */
  readonly call: RequestOptions;
  /** For requests that end work: never aborted, or leases and attempts would be left behind. */
  readonly closing: RequestOptions;
  /** For requests that purge: they may use what is kept back for them. */
  readonly purging: RequestOptions;
  /** The requests that it has made and may still make. */
  readonly requests: RequestBudget;
  /** Keys for which this tick has archived an object that supersedes others, under this lease or before. */
  readonly purges: Purge[];
  lease?: { readonly id: string; readonly nowUs: number };
  /** Names keys with objects to delete for which there were too few requests beside the work of the tick. */
  purgesLast?: Claim;
  /** `true`: the next claim is to name keys with objects to delete. Those of the one before are dealt with. */
  asksPurges: boolean;
  /** Due keys with objects to delete for which the last claim that named such had no room. */
  purgeLeft: number;
  /** Uploads at once. */
  readonly uploads: Semaphore;
  /** Keys to read at a time; fewer if their values are large. */
  snapshotKeys: number;
  /** Uploads that a key takes, by the last snapshot: 1 if it cannot tell, less if keys share packs. */
  uploadsPerKey: number;
  /** Keys that this tick has queued again and that are due. */
  queuedAgain: number;
  /** `true` once the archive is known to be this index's. Before that nothing is put, evicted or deleted. */
  archiveChecked: boolean;
  /** `true` if due work is left that `remaining` does not count: an eviction that failed, a lease that ended. */
  unfinished: boolean;
  /** `true` once it has begun to archive or evict a key. */
  busy: boolean;
  /** Objects that the archive has taken in this tick. */
  stored: number;
  /** Objects that failed since it last took one. */
  refusals: number;
  /** Tells if several uploads have failed and none succeeded, so that no more is claimed. */
  storeIsDown(): boolean;
  /** Keys to give back when the tick ends, in one request for all leases. */
  readonly toRelease: Release[];
  /** Tells if it was aborted, or its requests are used up. */
  stopped(): boolean;
  /** Tells if work may still be begun. */
  mayBegin(): boolean;
  /** Milliseconds since it began. */
  elapsedMs(): number;
  /** Tells if purging may go on. */
  mayPurge(): boolean;
  /** Requests left for work. */
  requestsLeft(): number;
  /** Calls the datastore; counts one request if the datastore counts none. */
  counted: RequestBudget["counted"];
  /** A signal that also ends at `endsAt` of the monotonic clock; `release()` when done. */
  until(endsAt: number): LinkedSignal;
  /** Reports a failure: of the key that the error names, or of the tick itself. */
  fail(error: TundraError, attempt?: number): void;
}

/** Begins a tick: its clock runs from now on. */
export function tickRun(context: Context, settings: TickSettings): TickRun {
  const startedAt = monotonicMs();
  const requests = requestBudget(settings.maxSubrequests);
  const report = emptyReport(requests);
  const { signal } = settings;
  const onCommands = (count: number) => void (report.commands += count);
  const run: TickRun = {
    context,
    settings,
    report,
    call: { signal, onRequest: requests.work, onCommands },
    closing: { onRequest: requests.close, onCommands },
    purging: { signal, onRequest: requests.purge, onCommands },
    requests,
    purges: [],
    asksPurges: true,
    purgeLeft: 0,
    uploads: semaphore(settings.nthreads),
    snapshotKeys: settings.batchKeys,
    uploadsPerKey: 1,
    queuedAgain: 0,
    archiveChecked: false,
    unfinished: false,
    busy: false,
    stored: 0,
    refusals: 0,
    storeIsDown: () => run.refusals > 1,
    toRelease: [],
    stopped: () => signal?.aborted === true || run.requestsLeft() <= 0,
    mayBegin: () => !run.stopped() && run.elapsedMs() < settings.deadlineMs,
    mayPurge: () =>
      signal?.aborted !== true && run.elapsedMs() < settings.deadlineMs &&
      (settings.maxSubrequests === Infinity || requests.keptForPurges > 0),
    elapsedMs: () => monotonicMs() - startedAt,
    requestsLeft: requests.left,
    counted: requests.counted,
    until(endsAt) {
      const link = linkSignals([signal]);
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

/** The report of a tick that has done nothing yet. */
function emptyReport(requests: RequestBudget): TickReport {
  return {
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
      return requests.made;
    },
    commands: 0,
    bytesRead: 0,
    bytesWritten: 0,
    durationMs: 0,
    done: false,
    errors: [],
  };
}
