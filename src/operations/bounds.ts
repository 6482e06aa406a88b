/**
 * The bounds of an operation: its options, its clock, its requests, its progress.
 * @module
 */
import { checkFunction, checkNames, checkNumber, checkSignal } from "../base/arguments.ts";
import { ignoreErrors } from "../base/callbacks.ts";
import { TundraError } from "../base/errors.ts";
import { leastDurationMs, monotonicMs } from "../base/platform.ts";
import type { Context, RequestOptions } from "../core/context.ts";
import { countRequests } from "../datastores/count_requests.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";

/**
 * Bounds of one call of an operation. It ends at the first bound that it reaches; the next call goes on from there.
 */
export interface OperationOptions {
  /**
   * No work is begun after this many milliseconds: 1,000 to 43,200,000 (12 h). Work under way is completed.
   *
   * @default {25_000}
   */
  deadlineMs?: number;
  /**
   * HTTP requests in all, to Redis and to the archive, retries included: at least 12, for a sweep 20 (Workers' free
   * plan: 50).
   *
   * @default {Infinity}
   * @see https://developers.cloudflare.com/workers/platform/limits/
   */
  maxSubrequests?: number;
  /**
   * Aborts: work under way is given up, and nothing is half done that a second call would not complete. A call that
   * another one can go on from, or whose report is worth something in part, then reports `done: false`: if it was aborted
   * before it began, it sends nothing. `versions`, `restoreVersion`, `peek` and `list`, which have no part of an answer,
   * throw `UNAVAILABLE`, with the signal's reason as `cause`.
   */
  signal?: AbortSignal;
  /** Called as it goes on, and at the end by what gives one answer. An error that it throws is ignored. */
  onProgress?: (progress: Progress) => void;
}

/** The progress of an operation. */
export interface Progress {
  /** The number of keys, versions, objects or packs that this call has dealt with, at least 1 at the end of an answer. */
  done: number;
  /** Their number in all, where it is known. */
  total?: number;
  /** `done` per second. */
  perSecond: number;
}

/** The part of its report that all operations have in common. */
export interface OperationReport {
  /** `false` if a bound was reached: call it again. */
  done: boolean;
  /** HTTP requests made. */
  subrequests: number;
  /** Redis commands run, those inside scripts too, as Upstash bills them; without those whose reply was lost. */
  commands: number;
  /** Duration in milliseconds. */
  durationMs: number;
}

/** Names of {@linkcode OperationOptions}. */
export const BOUND_NAMES: readonly string[] = ["deadlineMs", "maxSubrequests", "signal", "onProgress"];

const MOST_MS = 12 * 60 * 60 * 1000;
const DEADLINE_MS = 25_000;
/** The least `maxSubrequests`, and how many of them are kept back for the cursor and the end of what is under way. */
const REQUESTS = { least: 12, closing: 4 };

/** The bounds that an operation has as its own. */
interface Limits {
  /** The least `maxSubrequests`, and how many of them are kept back. */
  least: number;
  closing: number;
  /** The default of the option. */
  deadlineMs?: number;
}

/** One run of an operation. */
export interface Bounds<C = Context> {
  readonly context: C;
  readonly signal: AbortSignal | undefined;
  /** For requests that work. */
  readonly call: RequestOptions;
  /** For requests that end work: never aborted, and never refused. */
  readonly closing: RequestOptions;
  /** Calls the datastore; counts one request if the datastore counts none. */
  counted<T>(act: (call: DatastoreCallOptions) => Promise<T>): Promise<T>;
  /** Tells if work may be begun that takes so many requests. */
  mayBegin(requests?: number): boolean;
  /** Requests left for work. */
  requestsLeft(): number;
  /** Reports progress. `done` never falls. */
  progress(done: number, total?: number): void;
  /** Reports the end of a call that gives one answer. */
  answered(): void;
  /** The report's common part. */
  report(done: boolean): OperationReport;
}

/** Checks the options that all operations have, and begins: the clock runs from now on. */
export function beginOperation<C = Context>(
  what: string,
  context: C,
  options: OperationOptions,
  names: readonly string[],
  { least, closing, deadlineMs: byDefaultMs = DEADLINE_MS }: Limits = REQUESTS,
): Bounds<C> {
  checkNames(what, options, [...BOUND_NAMES, ...names]);
  const { signal, onProgress } = options;
  const { deadlineMs = byDefaultMs, maxSubrequests = Infinity } = options;
  checkNumber(what, "deadlineMs", options.deadlineMs, leastDurationMs(), MOST_MS, " of milliseconds");
  checkNumber(what, "maxSubrequests", maxSubrequests, least, Infinity);
  checkSignal(what, "signal", signal);
  checkFunction(what, "onProgress", onProgress);
  const startedAt = monotonicMs();
  const elapsedMs = () => monotonicMs() - startedAt;
  let made = 0;
  let commands = 0;
  const spend = (kept: number) => {
    if (made >= maxSubrequests - kept) {
      const must = `send at most maxSubrequests requests: current value is ${maxSubrequests}`;
      throw new TundraError("UNAVAILABLE", `Cannot ${what} further as it may ${must}`);
    }
    made++;
  };
  const onCommands = (count: number) => void (commands += count);
  const requestsLeft = () => Math.max(0, maxSubrequests - closing - made);
  let dealt = 0;
  const progress = (done: number, total?: number) => {
    dealt = done;
    const perSecond = done / Math.max(0.001, elapsedMs() / 1000);
    ignoreErrors(() => onProgress?.({ done, ...(total !== undefined && { total }), perSecond }));
  };
  return {
    context,
    signal,
    call: { signal, onRequest: () => spend(closing), onCommands },
    closing: { onRequest: () => void made++, onCommands },
    async counted(act) {
      if (requestsLeft() <= 0) spend(closing);
      return await countRequests((onRequest) => act({ signal, onRequest }), () => spend(closing), () => void made++);
    },
    mayBegin: (requests = 1) => signal?.aborted !== true && elapsedMs() < deadlineMs && requestsLeft() >= requests,
    requestsLeft,
    progress,
    answered: () => progress(Math.max(1, dealt), Math.max(1, dealt)),
    report: (done) => ({ done, subrequests: made, commands, durationMs: Math.round(elapsedMs()) }),
  };
}

/** Throws if the call was aborted or its time is over: for what must not end early without an error. */
export function checkTime({ mayBegin, signal }: Bounds, what: string, keys: readonly string[] = []): void {
  if (mayBegin(0)) return;
  const { aborted = false, reason: cause } = signal ?? {};
  const must = aborted ? "not be aborted: it was" : "end within deadlineMs: it has not";
  throw new TundraError("UNAVAILABLE", `Cannot ${what} further as it must ${must}`, { keys: [...keys], cause });
}
