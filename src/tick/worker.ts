/**
 * worker: runs ticks in a loop, for processes that live long.
 * @module
 */
import { linkSignals, sleep } from "../base/abort.ts";
import { checkBoolean, checkFunction, checkNames } from "../base/arguments.ts";
import { ignoreErrors } from "../base/callbacks.ts";
import { asTundraError, type TundraError } from "../base/errors.ts";
import type { Context } from "../core/context.ts";
import { told } from "../core/told.ts";
import {
  checkBackoff,
  checkDuration,
  checkTickOptions,
  TICK_OPTION_NAMES,
  type TickOptions,
  type TickReport,
} from "./options.ts";
import { tick } from "./tick.ts";

/** Options of {@linkcode TundraStore.worker}: those of each tick, and of the loop. */
export interface WorkerOptions extends TickOptions {
  /**
   * Milliseconds to wait if nothing is due, by the number of times in a row (from 1): 0 to 43,200,000.
   *
   * @default {1 s, doubled each time, at most a minute}
   */
  eoqBackoffMs?: number | ((n: number) => number);
  /**
   * Milliseconds to wait between two ticks while there is work: 0 to 43,200,000.
   *
   * @default {0}
   */
  throttleMs?: number;
  /** Called after each tick. An error that it throws is ignored. */
  monitor?: (event: WorkerEvent) => void;
  /**
   * `true`: the loop starts at once.
   *
   * @default {true}
   */
  autoStart?: boolean;
}

/** The event that a worker's monitor gets after each tick. */
export interface WorkerEvent {
  /** The tick's report; absent if it failed as a whole. */
  report?: TickReport;
  /** The error if it failed as a whole: Redis or the archive does not answer, or the index was lost. */
  error?: TundraError;
  /** Totals of this worker so far. */
  stats: WorkerStats;
}

/** Totals of one worker. */
export interface WorkerStats {
  /** Ticks run, failed ones included. */
  ticks: number;
  /** Ticks that failed as a whole. */
  failedTicks: number;
  /** Values archived. */
  frozen: number;
  /** Keys that left Redis. */
  evicted: number;
  /** Failures to archive a key, summed over all ticks. */
  failed: number;
  /** Keys that have used up their attempts. */
  dead: number;
}

/** A loop of ticks. */
export interface TundraWorker {
  /** Starts the loop; `false` if it runs already. */
  start(): boolean;
  /** Ends the loop after the tick that is under way; `false` if it was not running. */
  stop(): Promise<boolean>;
  /** `true` while the loop runs. */
  readonly running: boolean;
  /** Totals since this worker was made. */
  readonly stats: WorkerStats;
}

/** Makes a worker; see {@linkcode TundraStore.worker}. */
export function worker(context: Context, options: WorkerOptions = {}): TundraWorker {
  const what = "make a worker";
  checkNames(what, options, [...TICK_OPTION_NAMES, "eoqBackoffMs", "throttleMs", "monitor", "autoStart"]);
  const { eoqBackoffMs, throttleMs = 0, monitor, autoStart = true, ...tickOptions } = options;
  checkTickOptions(tickOptions, what);
  checkDuration(what, "throttleMs", throttleMs);
  const pauseMs = checkBackoff(what, "eoqBackoffMs", eoqBackoffMs, 60_000);
  checkFunction(what, "monitor", monitor);
  checkBoolean(what, "autoStart", autoStart);

  const stats: WorkerStats = { ticks: 0, failedTicks: 0, frozen: 0, evicted: 0, failed: 0, dead: 0 };
  let loop: { stopping: AbortController; ended: Promise<void> } | undefined;

  const runOnce = async (): Promise<boolean> => {
    stats.ticks++;
    try {
      const report = await told(context, "tick", 0, (counting) => tick(counting, tickOptions));
      for (const name of ["frozen", "evicted", "failed", "dead"] as const) stats[name] += report[name];
      ignoreErrors(() => monitor?.({ report, stats: { ...stats } }));
      const { frozen, evicted, rescued, missing, purged, claimed, failed, errors, done } = report;
      return frozen + evicted + rescued + missing + purged > 0 ||
        (!done && claimed > 0 && failed + errors.length === 0);
    } catch (thrown) {
      const error = asTundraError(thrown, "tick");
      stats.failedTicks++;
      ignoreErrors(() => tickOptions.onError?.(error));
      ignoreErrors(() => monitor?.({ error, stats: { ...stats } }));
      return false;
    }
  };

  const run = async (signal: AbortSignal) => {
    let idleTicks = 0;
    while (!signal.aborted) {
      idleTicks = await runOnce() ? 0 : idleTicks + 1;
      await sleep(idleTicks === 0 ? throttleMs : pauseMs(idleTicks), signal).catch(() => {});
    }
  };

  const self: TundraWorker = {
    start() {
      if (loop) return false;
      const stopping = new AbortController();
      const link = linkSignals([stopping.signal, tickOptions.signal]);
      const ended = run(link.signal).finally(() => {
        link.release();
        loop = undefined;
      });
      loop = { stopping, ended };
      return true;
    },
    async stop() {
      if (!loop) return false;
      const { stopping, ended } = loop;
      stopping.abort();
      await ended;
      return true;
    },
    get running() {
      return loop !== undefined;
    },
    get stats() {
      return { ...stats };
    },
  };
  if (autoStart) self.start();
  return self;
}
