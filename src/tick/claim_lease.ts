/**
 * claimLease: claims the next batch, as large as a tick's bounds allow.
 * @module
 */
import { asTundraError } from "../base/errors.ts";
import { checkIdentity, establishIdentity, isConfirmed } from "../core/identity.ts";
import { type Claim, claim } from "../scripts/claim.ts";
import { archiveIsMine } from "./archive_check.ts";
import { EVICTION_REQUESTS, EVICTION_SHARE, evictUnclaimed } from "./evict_idle.ts";
import { type Lease, uploadsEnd } from "./leases.ts";
import type { TickRun } from "./run.ts";

/** The most that a claim may take. */
export interface Wanted {
  maxKeys: number;
  maxSuspects: number;
  maxIdle: number;
  maxPurge: number;
}

/** The contents of the queue, as the last claim saw it. */
export interface Seen {
  left: number;
  suspects: number;
  idle: boolean;
}

/**
 * The size of the next batch, within the bounds on keys and requests: claim, snapshot and owner take some of the
 * latter.
 */
export function keysToClaim(run: TickRun, evicting: boolean): number {
  const { settings, report } = run;
  const requests = run.requestsLeft() - 2 - (run.archiveChecked ? 0 : 1);
  const least = EVICTION_REQUESTS + 2; // a commit, and one question
  const kept = evicting && requests >= 2 * least && requests < Infinity
    ? Math.max(least, Math.floor(requests * EVICTION_SHARE))
    : 0;
  const uploads = Math.floor((requests - kept) / run.uploadsPerKey);
  return Math.min(settings.batchKeys, settings.maxKeys - report.claimed, requests > kept ? uploads : 0);
}

/** Claims a batch, and notes in `seen` what is left; `undefined` if the tick has to end. */
export async function claimLease(
  run: TickRun,
  seen: Seen,
  most: Wanted,
  first: boolean,
): Promise<(Claim & Lease) | undefined> {
  const endsAt = uploadsEnd(run.settings.leaseMs);
  const queuedBefore = run.queuedAgain;
  const claimed = await claimNext(run, most, first);
  if (claimed === undefined) return undefined;
  run.queuedAgain -= queuedBefore; // the claim has seen those
  seen.left = claimed.left;
  seen.suspects = claimed.passed;
  seen.idle = claimed.idleLeft > 0 || (most.maxIdle > 0 && claimed.idle.length === run.settings.batchKeys);
  run.unfinished ||= claimed.unheard;
  if (most.maxPurge > 0) {
    run.purgeLeft = claimed.purgeLeft;
    run.asksPurges = false;
  }
  run.report.claimed += claimed.keys.length;
  const lease = { ...claimed, endsAt, begun: false };
  return await archiveIsMine(run, lease) ? lease : undefined;
}

/** The next batch; `undefined` if the tick has to end, which is an error only for its first claim. */
async function claimNext(run: TickRun, most: Wanted, first: boolean): Promise<Claim | undefined> {
  const { context, settings } = run;
  const evicting = most.maxIdle > 0;
  const ask = () =>
    claim(context.index, {
      ...most,
      leaseMs: settings.leaseMs,
      redisTtlMs: context.redisTtlMs ?? 0,
      first,
    }, run.call);
  try {
    let claimed: Claim;
    try {
      claimed = await ask();
    } catch (thrown) {
      if (!evicting || !(await evictUnclaimed(run))) throw thrown;
      claimed = await ask();
    }
    if (isConfirmed(claimed.id)) {
      await checkIdentity(context, claimed.id, run.call); // a copy of a database is refused
      return claimed;
    }
    await establishIdentity(context, claimed.id, { ...run.closing, signal: settings.signal });
    run.archiveChecked = true;
    if (keysToClaim(run, evicting) <= 0) return undefined;
    claimed = await ask();
    return isConfirmed(claimed.id) ? claimed : undefined;
  } catch (thrown) {
    const error = asTundraError(thrown, "claim dirty keys");
    if (run.stopped()) return undefined;
    if (first) throw error;
    run.unfinished = true;
    run.fail(error);
    return undefined;
  }
}
