/**
 * Suspects: keys whose lease ran out, which may mean that one of them ended its tick. Each is archived alone, so that a
 * key that ends ticks delays no other.
 * @module
 */
import { asTundraError, show, TundraError } from "../base/errors.ts";
import { begin } from "../scripts/begin.ts";
import { readRecords } from "../scripts/read_records.ts";
import { giveBack, type Lease, queueUnsupported, takeBack, uploadsEnd } from "./leases.ts";
import { freezeLease } from "./read_keys.ts";
import type { TickRun } from "./run.ts";

/** Suspects under one lease; those not begun in time are given back. */
const MOST_SUSPECTS = 16;
/** A tick is early for so many milliseconds: a platform that ends ticks gives them more time. */
const EARLY_MS = 250;
/** Requests that a suspect takes: begin, snapshot, upload, commit. */
export const SUSPECT_REQUESTS = 4;

/** The number of suspects to claim if `requests` may be spent on them. */
export function suspectsToClaim(run: TickRun, requests: number): number {
  const { settings, report } = run;
  const fit = Math.max(1, Math.floor((requests - 1) / SUSPECT_REQUESTS)); // one request reads their attempts
  return Math.min(MOST_SUSPECTS, settings.batchKeys, settings.maxKeys - report.claimed, fit);
}

/** A suspect, and the failed attempts that its record counts. */
interface Suspect {
  key: string;
  attempts: number;
}

/**
 * Archives suspects one by one until the tick has lasted `untilMs`, but at least one; gives the others back. The last
 * attempt at a key is made early in a tick. If a platform ends each tick in the middle of some key, that is otherwise
 * taken for a reason specific to that key.
 */
export async function freezeSuspects(run: TickRun, lease: Lease, untilMs: number): Promise<void> {
  const lastAttempt = Math.max(1, run.settings.nattempts - 1);
  let waiting: Suspect[] = lease.keys.map((key) => ({ key, attempts: 0 }));
  try {
    if ((waiting.length > 1 || run.busy) && run.mayBegin()) waiting = await byAttempts(run, lease.keys);
    for (let first = true; waiting.length > 0 && mayBeginOne(run); first = false) {
      const { key, attempts } = waiting[0]!;
      if ((!first && run.elapsedMs() >= untilMs) || (attempts === lastAttempt && !isEarly(run))) break;
      waiting = waiting.slice(1);
      run.busy = true;
      await freezeAlone(run, lease, key);
    }
  } catch (thrown) {
    if (!run.stopped()) run.fail(asTundraError(thrown, "archive suspects"));
  }
  await giveBack(run, lease, waiting.map(({ key }) => key), true);
}

/** Tells if the tick has done nothing yet, or has just begun. */
function isEarly(run: TickRun): boolean {
  return !run.busy || run.elapsedMs() < EARLY_MS;
}

function mayBeginOne(run: TickRun): boolean {
  return run.mayBegin() && run.requestsLeft() > 2 && !run.storeIsDown();
}

async function freezeAlone(run: TickRun, lease: Lease, key: string): Promise<void> {
  const { context, settings, report } = run;
  const endsAt = uploadsEnd(settings.leaseMs);
  let begun: Awaited<ReturnType<typeof begin>>;
  try {
    // not aborted: without the reply the attempt could not be taken back
    begun = await begin(context.index, key, { ...settings, token: lease.token }, {
      onRequest: run.call.onRequest!,
      onCommands: run.call.onCommands!,
    });
  } catch (thrown) {
    await takeBack(run, lease, [key]); // it may have begun all the same
    throw thrown;
  }
  if (typeof begun === "object") {
    const nowUs = Math.max(lease.nowUs, begun.nowUs); // its object is as old as this lease, or a commit might come too late
    await freezeLease(run, { ...lease, keys: [key], token: begun.token, nowUs, endsAt, begun: true });
  } else if (begun === "unsupported") {
    await queueUnsupported(run, lease, key);
  } else if (begun === "stale") {
    run.unfinished = true;
  } else {
    report.failed++;
    report.dead++;
    const { nattempts } = settings;
    const message = `Cannot archive ${show(key)} as its tick must go on until it is archived: ${nattempts} ticks ended`;
    run.fail(new TundraError("UNAVAILABLE", message, { keys: [key] }), nattempts);
  }
}

/** Sorts suspects by attempts, fewest first: a key that has ended ticks comes after keys that only shared its lease. */
async function byAttempts(run: TickRun, keys: string[]): Promise<Suspect[]> {
  const records = await readRecords(run.context, keys, run.call);
  const suspects = keys.map((key, i) => ({ key, attempts: records[i]?.attempts ?? 0 }));
  return suspects.sort((a, b) => a.attempts - b.attempts);
}
