/**
 * Leases of a tick, and the ways out of them for keys that were not archived: keys that failed are queued again, keys
 * not begun are released.
 * @module
 */
import { asTundraError, TundraError } from "../base/errors.ts";
import { countKeys } from "../base/keys.ts";
import { monotonicMs } from "../base/platform.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import { fail, type Failure } from "../scripts/fail.ts";
import { release } from "../scripts/release.ts";
import type { TickRun } from "./run.ts";

/** Keys under one lease. */
export interface Lease {
  /** The index's id. */
  id: string;
  keys: string[];
  token: string;
  /** Redis time of the claim, microseconds. */
  nowUs: number;
  /** The tick's own monotonic clock: uploads end here, a little before the lease does. */
  endsAt: number;
  /** A suspect that was begun: its attempt is counted already. */
  begun: boolean;
}

/** The rest of a lease is for reporting outcomes: a late report leaves the attempt counted. */
const UPLOADS_SHARE = 0.95;

/** The time at which the uploads end of a lease that is claimed now. */
export function uploadsEnd(leaseMs: number): number {
  return monotonicMs() + UPLOADS_SHARE * leaseMs;
}

/** Tells if its time for uploads has ended. A timer may fire a little early. */
export function isOver(lease: Lease): boolean {
  return monotonicMs() >= lease.endsAt - 2;
}

/** A failure of one key; `attempts`: those that it had before. */
export function failure(
  run: TickRun,
  lease: Lease,
  key: string,
  error: TundraError,
  attempts: number,
  fault: Failure["fault"],
): Failure {
  return {
    key,
    code: error.code,
    message: error.message,
    fault,
    begun: lease.begun,
    alone: false,
    backoffMs: run.settings.backoffMs(attempts + (lease.begun ? 0 : 1)),
  };
}

/** Queues keys again that failed, and reports each. */
export async function recordFailures(run: TickRun, lease: Lease, failures: Failure[]): Promise<void> {
  const { report } = run;
  report.failed += failures.length;
  const attempts = await queueAgain(run, lease, failures);
  failures.forEach(({ key, code, message }, i) => {
    run.fail(new TundraError(code as TundraError["code"], message, { keys: [key] }), attempts[i]);
  });
}

/** Queues keys again after trouble of the archive or of Redis: no attempt counts, and it is reported once. */
export async function recordTrouble(
  run: TickRun,
  lease: Lease,
  failures: Failure[],
  error: TundraError,
): Promise<void> {
  run.report.failed += failures.length;
  const { code, retryable } = error;
  const message = `Cannot archive ${countKeys(failures)}: ${error.message}`;
  run.fail(new TundraError(code, message, { retryable, cause: error }));
  await queueAgain(run, lease, failures.map((each) => ({ ...each, fault: "passing" as const })));
}

/** Puts a key aside whose record is of another version. */
export async function queueUnsupported(run: TickRun, lease: Lease, key: string): Promise<void> {
  await recordFailures(run, lease, [failure(run, lease, key, unsupportedRecord("archive", key), 0, "own")]);
}

/** Gives back keys that were not begun; as suspects if they must be archived alone from now on. */
export async function giveBack(run: TickRun, lease: Lease, keys: string[], alone = false): Promise<void> {
  if (keys.length === 0) return;
  if (lease.begun) await takeBack(run, lease, keys);
  else run.toRelease.push(...keys.map((key) => ({ key, token: lease.token, suspect: alone })));
}

/**
 * Gives suspects back and takes off the attempts that were counted. The token from before a begin is accepted too, as
 * the begin's reply may be lost.
 */
export async function takeBack(run: TickRun, lease: Lease, keys: string[]): Promise<void> {
  const stopped = new TundraError("UNAVAILABLE", "The tick ended before it had archived the key");
  const failures = keys.map((key) => ({
    ...failure(run, lease, key, stopped, 0, "passing"),
    alone: true,
    backoffMs: 0,
  }));
  run.queuedAgain += (await queueAgain(run, lease, failures)).length;
}

/** Queues keys again and returns the attempts of each; an empty array if Redis does not answer. */
async function queueAgain(run: TickRun, lease: Lease, failures: Failure[]): Promise<number[]> {
  const { context, settings, closing, report } = run;
  try {
    const outcomes = await fail(context.index, failures, { ...settings, token: lease.token }, closing);
    outcomes.forEach(({ outcome }) => {
      if (outcome === "dead") report.dead++;
      if (outcome === "stale") run.unfinished = true;
    });
    return outcomes.map(({ attempts }) => attempts);
  } catch (thrown) {
    run.unfinished = true;
    run.fail(asTundraError(thrown, "queue failed keys again"));
    return [];
  }
}

/** Releases all keys that are given back, in one call for all leases. If that fails, their leases end by themselves. */
export async function releaseAll(run: TickRun): Promise<void> {
  const { context, settings, closing } = run;
  const keys = run.toRelease.splice(0);
  if (keys.length === 0) return;
  try {
    const released = await release(context.index, keys, settings.leaseMs, closing);
    run.queuedAgain += released;
    if (released < keys.length) run.unfinished = true;
  } catch (thrown) {
    run.unfinished = true;
    run.fail(asTundraError(thrown, "release keys"));
  }
}
