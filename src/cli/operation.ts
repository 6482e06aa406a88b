/**
 * Operations that may take several calls: called until they are done, with progress, a bound on time, and an end that
 * says how to go on.
 * @module
 */
import { sleep } from "../base/abort.ts";
import { counted } from "../base/counts.ts";
import type { OperationOptions, OperationReport } from "../operations/bounds.ts";
import type { Run } from "./run.ts";

/** The plan by which an operation is run. */
export interface OperationPlan<R extends OperationReport> {
  /** The word for its progress: `adopt`. */
  what: string;
  /** The unit of its progress: `key`. */
  unit: string;
  /** `true`: nothing is changed; it is one call, as no place is kept between two. */
  dryRun: boolean;
  /** Calls it. */
  call(options: OperationOptions): Promise<R>;
  /** The report of two calls as one; without it the last one's stands for all. */
  sum?(before: R, now: R): R;
  /** Milliseconds to wait before the next call; it ends if it is to wait for longer than `MOST_WAIT_MS` in a row. */
  waitMs?(report: R): number;
  /** `true`: it is one call, however long it takes; the operation keeps its place if it fails. */
  isOneCall?: boolean;
  /** Tells that a call got nowhere, as something failed: it ends after `MOST_STUCK` of them in a row. */
  isStuck?(report: R): boolean;
}

const LONGEST_MS = 12 * 60 * 60 * 1000;
/** A call ends after this time and keeps its place, so that a process that is killed loses no more. */
const CALL_MS = 25_000;
const LEAST_MS = 1_000;
const MOST_WAIT_MS = 90_000;
const MOST_STUCK = 3;

/** Calls an operation until it is done, a deadline is reached, or the run is interrupted; the report of all calls. */
export async function runOperation<R extends OperationReport>(run: Run, plan: OperationPlan<R>): Promise<R> {
  const { what, dryRun, unit } = plan;
  const from = performance.now();
  const deadlineMs = run.args.durationMs("deadline") ?? Infinity;
  let total: R | undefined;
  let before = 0; // by the calls before this one
  let came = 0;
  let waited = 0;
  let stuck = 0;
  try {
    for (;;) {
      const leftMs = deadlineMs - (performance.now() - from);
      const report = await plan.call({
        deadlineMs: Math.max(LEAST_MS, Math.min(dryRun || plan.isOneCall ? LONGEST_MS : CALL_MS, leftMs)),
        signal: run.signal,
        onProgress: ({ done, total, perSecond }) => {
          came = before + done;
          run.progress(what, { done: came, perSecond, ...(total !== undefined && { total: before + total }) });
        },
      });
      total = total === undefined ? report : sumOf(plan, total, report);
      before = came;
      const isOver = performance.now() - from >= deadlineMs - LEAST_MS;
      stuck = plan.isStuck?.(report) ? stuck + 1 : 0;
      if (report.done || dryRun || plan.isOneCall || isOver || run.signal?.aborted || stuck >= MOST_STUCK) break;
      const waitMs = plan.waitMs?.(report) ?? 0;
      waited = waitMs > 0 ? waited + waitMs : 0;
      if (waited > MOST_WAIT_MS) break;
      if (waitMs > 0) await sleep(waitMs, run.signal).catch(() => {});
    }
  } catch (thrown) {
    if (came > 0) await run.say(`It came to ${counted(came, unit)}. ${goOn(dryRun)}`);
    throw thrown;
  }
  if (!total.done) await run.say(`Not done: it came to ${counted(came, unit)}. ${goOn(dryRun)}`);
  return total;
}

function sumOf<R extends OperationReport>({ sum }: OperationPlan<R>, before: R, now: R): R {
  const report = sum ? sum(before, now) : now;
  return {
    ...report,
    subrequests: before.subrequests + now.subrequests,
    commands: before.commands + now.commands,
    durationMs: before.durationMs + now.durationMs,
  };
}

function goOn(dryRun: boolean): string {
  if (dryRun) return "Nothing was changed; the numbers are those of a part.";
  return "Nothing is half done: the same command goes on from there.";
}

/** The sums of numbers by name. */
export function sumNumbers<T extends Partial<Record<string, number>>>(a: T, b: T): T {
  const sum: Partial<Record<string, number>> = { ...a };
  for (const [name, value] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + (value ?? 0);
  return sum as T;
}

/** Lists of errors as one, of which as many are kept as an operation reports. */
export function joined<T>(a: readonly T[], b: readonly T[], most = 100): T[] {
  return [...a, ...b].slice(0, most);
}

/** Says that nothing was done, if so. */
export async function sayDry(run: Run, dryRun: boolean, isWorth = true): Promise<void> {
  if (dryRun && isWorth && !run.signal?.aborted) await run.say("Nothing was changed. Add --yes to do it");
}
