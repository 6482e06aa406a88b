/**
 * archiveIsMine: checks once a tick, before anything is put, evicted or purged, that the archive is still this index's.
 * @module
 */
import { asTundraError } from "../base/errors.ts";
import { holdsNamed } from "../core/held_versions.ts";
import { checkOwner } from "../core/identity.ts";
import type { Claim } from "../scripts/claim.ts";
import { failure, giveBack, type Lease, recordFailures, recordTrouble } from "./leases.ts";
import type { TickRun } from "./run.ts";

/** A lease, and the other findings of its claim. */
export type Claimed = Lease & Pick<Claim, "suspects" | "idle" | "purge">;

/**
 * Checks, once a tick and before it does anything, that the archive is still this index's. If it is not, all claimed
 * keys are given back and the tick fails. `false`: the archive did not answer, so that all keys wait for it, or the
 * tick was stopped.
 */
export async function archiveIsMine(run: TickRun, claimed: Claimed): Promise<boolean> {
  const { id, keys, idle, purge, suspects, endsAt } = claimed;
  if (run.archiveChecked || keys.length + idle.length + purge.length === 0) return true;
  const { signal, release } = run.until(endsAt);
  const sample = [...keys, ...idle];
  try {
    await run.counted((call) => checkOwner(run.context, id, () => holdsNamed(run.context, sample, call), call), signal);
    run.archiveChecked = true;
    return true;
  } catch (thrown) {
    const error = asTundraError(thrown, "ask the archive for its owner");
    const stopped = run.stopped();
    if (error.code !== "UNAVAILABLE" || stopped || suspects || keys.length === 0) {
      await giveBack(run, claimed, keys, suspects);
      if (error.code !== "UNAVAILABLE" && !stopped) throw error;
      if (!stopped) run.fail(error);
    } else {
      const failures = keys.map((key) => failure(run, claimed, key, error, 0, "passing"));
      if (failures.length === 1) await recordFailures(run, claimed, failures);
      else await recordTrouble(run, claimed, failures, error);
    }
    if (idle.length + purge.length > 0) run.unfinished = true;
    return false;
  } finally {
    release();
  }
}
