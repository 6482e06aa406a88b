/**
 * The options of a tick, and what it reports.
 * @module
 */
import { checkFunction, checkNames, checkNumber, checkSignal } from "../base/arguments.ts";
import { ignoreErrors } from "../base/callbacks.ts";
import type { TundraError, TundraErrorCode } from "../base/errors.ts";
import { leastDurationMs } from "../base/platform.ts";
import type { TickCounts } from "../core/events.ts";
import { type Upkeep, upkeepOf } from "../core/upkeep.ts";

/**
 * Bounds of one {@linkcode TundraStore.tick}. A tick ends at the first bound that it reaches; the next one does the
 * rest.
 */
export interface TickOptions {
  /**
   * Keys to claim in all: 1 to 1,000,000. If no packs are made, the default is 1,000.
   *
   * @default {10_000}
   */
  maxKeys?: number;
  /**
   * Keys to claim at a time: 1 to 1000. If no packs are made, the default is 100.
   *
   * @default {1_000}
   */
  batchKeys?: number;
  /**
   * No work is begun after this many milliseconds: 1,000 to 43,200,000. Work under way is completed, so leave some time
   * until the platform's own limit: the default fits one of 10 s.
   *
   * @default {8_000}
   */
  deadlineMs?: number;
  /**
   * HTTP requests in all, to Redis and to the archive, retries included: at least 12 (Workers' free plan: 50).
   *
   * @default {Infinity}
   * @see https://developers.cloudflare.com/workers/platform/limits/
   */
  maxSubrequests?: number;
  /**
   * Bytes to read from Redis in all, at least 1. The batch that passes it is completed.
   *
   * @default {268_435_456}
   */
  maxBytes?: number;
  /**
   * Uploads at once: 1 to 1000. A Worker has six connections.
   *
   * @default {6}
   * @see https://developers.cloudflare.com/workers/platform/limits/
   */
  nthreads?: number;
  /**
   * A lease lasts this many milliseconds: 1,000 to 43,200,000 (12 h). Let it outlast the uploads of a batch.
   *
   * @default {60_000}
   */
  leaseMs?: number;
  /**
   * A key that fails this many times for a reason specific to that key is dead: 1 to 1000. A reason is specific to a
   * key if the archive refuses its object while it takes others. So is trouble that may pass, if it meets this key in
   * ten ticks in a row and other keys in none of them.
   *
   * @default {3}
   */
  nattempts?: number;
  /**
   * Milliseconds until a failed key is due again, by its attempts so far (from 1): 0 to 43,200,000.
   *
   * @default {1 s, doubled each time, at most an hour}
   */
  retryBackoffMs?: number | ((attempt: number) => number);
  /**
   * Milliseconds of `deadlineMs` that are kept for a sweep, which deletes from the archive what is no longer needed:
   * 0, or 1,000 to `deadlineMs`. It goes on where the last one ended. It needs `import "@tundra/store/operations"` and, if requests
   * are bounded, 20 that are left.
   *
   * @default {0}
   */
  sweepMs?: number;
  /**
   * Archived versions, and then records, that are verified in this tick, as `verify()` does it: 0 to 1,000,000. The next
   * tick goes on from there, and begins anew at the end. What is damaged or missing is one of the tick's errors; if it is
   * in Redis, it is marked. It needs `import "@tundra/store/operations"`, up to 5 s more, and if requests are bounded, 20
   * that are left.
   *
   * @default {0}
   */
  verifyKeys?: number;
  /** Aborts: uploads under way are given up, all claimed keys go back to the queue, the report is returned. */
  signal?: AbortSignal;
  /** Called for each failure. An error that it throws is ignored. */
  onError?: (error: TundraError) => void;
}

/** The report of a tick. */
export interface TickReport extends TickCounts {
  /**
   * All failures. A failure of the tick or of the archive has the key "" and comes once, however many keys it concerns.
   */
  errors: { key: string; code: TundraErrorCode; message: string; attempt: number }[];
}

/** Durations above this are `BAD_ARGUMENT`: a claim treats scores a day ahead as those of a clock that ran ahead. */
export const MAX_DURATION_MS = 12 * 60 * 60 * 1000;

/** Default, least and most. The least of durations is {@linkcode leastDurationMs}. */
const BOUNDS = {
  maxKeys: [1_000, 1, 1_000_000],
  batchKeys: [100, 1, 1_000],
  deadlineMs: [8_000, 0, MAX_DURATION_MS],
  maxSubrequests: [Infinity, 12, Infinity],
  maxBytes: [256 * 1024 * 1024, 1, Infinity],
  nthreads: [6, 1, 1_000],
  leaseMs: [60_000, 0, MAX_DURATION_MS],
  nattempts: [3, 1, 1_000],
} as const;

/** Defaults if small values share packs. */
const WITH_PACKS: Partial<Record<Bounded, number>> = { maxKeys: 10_000, batchKeys: 1_000 };

type Bounded = keyof typeof BOUNDS;
type UpkeepName = keyof Upkeep;

/** Checked options, with all defaults filled in. */
export type TickSettings = Record<Bounded | UpkeepName, number> & {
  backoffMs: (attempt: number) => number;
  signal: AbortSignal | undefined;
  onError: (error: TundraError) => void;
};

/** The names of all tick options. */
export const TICK_OPTION_NAMES: readonly string[] = [
  ...Object.keys(BOUNDS),
  "sweepMs",
  "verifyKeys",
  "retryBackoffMs",
  "signal",
  "onError",
];

/** Checks options and fills in the defaults. */
export function checkTickOptions(options: TickOptions = {}, what = "tick", packs = false): TickSettings {
  checkNames(what, options, TICK_OPTION_NAMES);
  const settings = {} as Record<Bounded, number>;
  for (const name of Object.keys(BOUNDS) as Bounded[]) {
    const { [name]: value = packs && WITH_PACKS[name] || BOUNDS[name][0] } = options;
    const [, least, most] = BOUNDS[name];
    settings[name] = name.endsWith("Ms")
      ? checkDuration(what, name, value, leastDurationMs())
      : checkNumber(what, name, value, least, most);
  }
  const { retryBackoffMs, signal, onError, sweepMs = 0, verifyKeys = 0 } = options;
  if (sweepMs !== 0) checkNumber(what, "sweepMs", sweepMs, leastDurationMs(), settings.deadlineMs, " of milliseconds");
  checkNumber(what, "verifyKeys", verifyKeys, 0, 1_000_000);
  if (sweepMs > 0) upkeepOf("sweepMs", sweepMs);
  if (verifyKeys > 0) upkeepOf("verifyKeys", verifyKeys);
  checkSignal(what, "signal", signal);
  checkFunction(what, "onError", onError);
  return {
    ...settings,
    deadlineMs: settings.deadlineMs - sweepMs,
    sweepMs,
    verifyKeys,
    backoffMs: checkBackoff(what, "retryBackoffMs", retryBackoffMs, 3_600_000),
    signal,
    onError: (error) => ignoreErrors(() => onError?.(error)),
  };
}

/** Checks for milliseconds that are no more than {@linkcode MAX_DURATION_MS}, or nothing. */
export function checkDuration(what: string, name: string, value: unknown, leastMs = 0): number {
  return checkNumber(what, name, value, leastMs, MAX_DURATION_MS, " of milliseconds");
}

/** The wait before the n-th time, as the option says: by default 1 s, doubled each time, at most `mostMs`. */
export function checkBackoff(
  what: string,
  name: string,
  given: number | ((n: number) => number) | undefined,
  mostMs: number,
): (n: number) => number {
  if (typeof given !== "function") checkDuration(what, name, given);
  if (typeof given === "number") return () => given;
  return (n) => {
    let ms: unknown;
    if (given) ignoreErrors(() => ms = given(n));
    else ms = Math.min(1_000 * 2 ** (n - 1), mostMs);
    return typeof ms === "number" && ms >= 0 ? Math.min(ms, MAX_DURATION_MS) : 1_000;
  };
}
