/**
 * activity: what ticks, sweeps and verifications have noted of the last 14 days.
 * @module
 */
import { checkNames, checkSignal } from "../base/arguments.ts";
import { type Context, contextOf } from "../core/context.ts";
import { told } from "../core/told.ts";
import { KEPT_HOURS } from "../scripts/note_hour.ts";
import { KEPT_DAYS } from "../scripts/note_run.ts";
import { readActivity } from "../scripts/read_activity.ts";
import { keysOf, type Totals, totalsOf } from "../scripts/status.ts";
import type { TundraStore } from "../store_interface.ts";

/** Options of {@linkcode activity}. */
export interface ActivityOptions {
  /** Aborts the call. */
  signal?: AbortSignal;
}

/** Counts of keys in one hour. */
export interface Hour {
  /** The time of the note, by Redis' clock, in milliseconds since 1970. */
  atMs: number;
  /** Keys with a change that is not archived yet, dead ones included. */
  dirty: number;
  /** Those of them that could be claimed then. */
  due: number;
  /** Keys that are archived and in Redis. */
  resident: number;
  /** Keys that have left Redis. */
  evicted: number;
  /** Keys that have used up their attempts. */
  dead: number;
  /** Removed and expired keys with objects to delete. */
  purge: number;
  /** Milliseconds for which the oldest due key had been waiting; 0 if none was due. */
  oldestDueMs: number;
  /** Totals since the index was made: the difference of two hours is what was done in between. */
  totals: Totals;
}

/** The work of sweeps or verifications on one day, by Redis' clock (UTC). */
export interface DailyRun {
  /** The end of the last call, in milliseconds since 1970. */
  atMs: number;
  /** The operation. */
  operation: "sweep" | "verify";
  /** `true` if the last call came to the end: the next one begins at the beginning. */
  done: boolean;
  /**
   * Numbers of versions, summed over the day: a sweep's `deleted`, `moved`, `kept` and `failed`; a verification's
   * `checked`, `damaged`, `missing` and `failed`.
   */
  counts: Record<string, number>;
}

/** The notes of the last 14 days; see {@linkcode activity}. */
export interface Activity {
  /** An entry for each hour in which a tick ran, the oldest first. */
  hours: Hour[];
  /** An entry for each day and operation, the youngest first. */
  runs: DailyRun[];
}

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;

/** The names of the numbers that `noteRun` was given. */
const NUMBERS: Record<string, readonly string[]> = {
  sweep: ["deleted", "moved", "kept", "failed"],
  verify: ["checked", "damaged", "missing", "failed"],
};

/**
 * Reads what the last 14 days were like: one row an hour, which the first tick of the hour has noted, and one row a day
 * for sweeps and for verifications. Ticks and operations note it by themselves. It is a record for people: a request
 * that came twice may have counted twice there.
 *
 * Cost: 1 request, 3 commands. Noting it costs 8 commands an hour, 4 for each call of a sweep or a verification, and
 * some 70 KB of Redis.
 *
 * @throws {TundraError} `UNAVAILABLE`, `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { activity } from "@tundra/store/operations";
 *
 * export async function evictedOverTime(): Promise<void> {
 *   const { hours } = await activity(tundraFromEnv());
 *   for (const { atMs, evicted } of hours) console.log(new Date(atMs).toISOString(), evicted);
 * }
 * ```
 */
export async function activity(store: TundraStore, options: ActivityOptions = {}): Promise<Activity> {
  const what = "read the activity";
  return await told(contextOf(what, store), "activity", 0, (context) => activityOf(what, context, options));
}

async function activityOf(what: string, context: Context, options: ActivityOptions): Promise<Activity> {
  checkNames(what, options, ["signal"]);
  checkSignal(what, "signal", options.signal);
  const { hours, runs, nowMs } = await readActivity(context, what, { signal: options.signal });
  return { hours: hoursOf(hours, nowMs), runs: runsOf(runs, nowMs) };
}

/** Rows as note_hour.ts writes them; those that are older are of hours in which no tick has run since. */
function hoursOf(rows: string[], nowMs: number): Hour[] {
  const hours = rows.map((row): Hour => {
    const [atMs, dirty, due, dead, purge, oldestMs, ...words] = row.split(" ");
    const totals: Record<string, number> = {};
    for (let i = 0; i + 1 < words.length; i += 2) totals[words[i]!] = Number(words[i + 1]);
    return {
      atMs: Number(atMs),
      dirty: Number(dirty) + Number(dead),
      due: Number(due),
      ...keysOf(totals),
      dead: Number(dead),
      purge: Number(purge),
      oldestDueMs: Math.max(0, Math.floor(Number(atMs) - Number(oldestMs))),
      totals: totalsOf(totals),
    };
  });
  return hours.filter(({ atMs }) => atMs > nowMs - KEPT_HOURS * HOUR_MS).sort((a, b) => a.atMs - b.atMs);
}

/** Rows as note_run.ts writes them. */
function runsOf(rows: [field: string, row: string][], nowMs: number): DailyRun[] {
  const runs = rows.map(([field, row]): DailyRun => {
    const operation = field.split(":")[0] as DailyRun["operation"];
    const [, atMs, done, ...numbers] = row.split(" ").map(Number);
    const counts = Object.fromEntries((NUMBERS[operation] ?? []).map((name, at) => [name, numbers[at] ?? 0]));
    return { atMs: atMs!, operation, done: done === 1, counts };
  });
  return runs.filter(({ atMs }) => atMs > nowMs - KEPT_DAYS * DAY_MS).sort((a, b) => b.atMs - a.atMs);
}

/** The findings of the verification that is under way, and of the one that ended before it; `undefined`: none ever ran. */
export function lastVerification(
  runs: readonly DailyRun[],
): { atMs: number; checked: number; damaged: number; missing: number } | undefined {
  let found: ReturnType<typeof lastVerification>;
  let ended = 0;
  for (const { operation, atMs, done, counts } of runs) {
    if (operation !== "verify") continue;
    if (done && ++ended > 1) break;
    found ??= { atMs, checked: 0, damaged: 0, missing: 0 };
    for (const name of ["checked", "damaged", "missing"] as const) found[name] += counts[name] ?? 0;
  }
  return found;
}
