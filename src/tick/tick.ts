/**
 * tick: archives due keys and evicts idle ones, batch after batch, until a bound is reached.
 *
 * Two batches overlap: while one is uploaded, the next is claimed and read. Suspects are claimed apart from fresh keys.
 * Which of the two come first is drawn by lot, so that both have their turn even if all ticks end early.
 * @module
 */
import { monotonicMs, random } from "../base/platform.ts";
import type { Context } from "../core/context.ts";
import { claimLease, keysToClaim, type Seen, type Wanted } from "./claim_lease.ts";
import { evictClaimed, EVICTION_REQUESTS } from "./evict_idle.ts";
import { onceAnHour } from "./hourly.ts";
import { keepUp } from "./keep_up.ts";
import { giveBack, releaseAll } from "./leases.ts";
import { checkTickOptions, type TickOptions, type TickReport } from "./options.ts";
import { keepForPurges, purgeClaimed, purgeRest } from "./purge.ts";
import { freezeLease } from "./read_keys.ts";
import { type TickRun, tickRun } from "./run.ts";
import { freezeSuspects, SUSPECT_REQUESTS, suspectsToClaim } from "./suspects.ts";

/** Suspects that come first get a quarter of a tick; if they come last, fresh keys leave them that much. */
const SUSPECTS_SHARE = 0.25;
/** Runs one tick; see {@linkcode TundraStore.tick}. */
export async function tick(context: Context, options?: TickOptions): Promise<TickReport> {
  const run = tickRun(context, checkTickOptions(options, "tick", context.packBytes > 0));
  const { report } = run;
  const startedAt = monotonicMs();
  const seen: Seen = { left: 0, suspects: 0, idle: false };
  try {
    await freezeDue(run, seen);
    while (seen.suspects > 0 && mayClaim(run, 1) && run.requestsLeft() >= SUSPECT_REQUESTS) {
      const most = suspectsToClaim(run, run.requestsLeft() - 1);
      const lease = await claimLease(run, seen, { maxKeys: 0, maxSuspects: most, maxIdle: 0, maxPurge: 0 }, false);
      if (lease === undefined || lease.keys.length === 0) break;
      await freezeSuspects(run, lease, Infinity);
    }
  } finally {
    await releaseAll(run);
    const stopped = run.stopped();
    await purgeRest(run);
    report.purging += run.purgeLeft;
    run.unfinished ||= run.asksPurges; // there may be more
    report.remaining = seen.left + run.queuedAgain;
    report.done = report.remaining === 0 && !seen.idle && report.purging === 0 && !run.unfinished && !stopped;
  }
  await keepUp(run);
  report.durationMs = Math.round(monotonicMs() - startedAt);
  return { ...report };
}

/** Archives fresh keys and evicts idle ones; if the lot says so, archives some suspects before them. */
async function freezeDue(run: TickRun, seen: Seen): Promise<void> {
  const { settings } = run;
  const underWay: Promise<void>[] = [];
  // with a bound on requests, one batch at a time: its closing requests are kept back
  const overlap = settings.maxSubrequests === Infinity ? 1 : 0;
  let suspectsFirst = random() < 0.5;
  let evicting = run.context.redisTtlMs !== undefined;
  try {
    for (let first = true; mayClaim(run, seen.suspects > 0 ? 1 - SUSPECTS_SHARE : 1); first = false) {
      const lease = await claimLease(run, seen, wanted(run, suspectsFirst, evicting), first);
      if (lease === undefined) break;
      if (first) underWay.push(onceAnHour(run, lease));
      if (first && overlap === 0) {
        // uploads would leave none of a bounded number of requests: those spent here are missing for the last keys
        await underWay[0];
        const kept = lease.suspects ? lease.keys.length : Math.max(0, run.requestsLeft() - 2);
        await giveBack(run, lease, lease.keys.splice(kept));
      }
      if (lease.purge.length > 0) {
        keepForPurges(run, lease.purge.length);
        underWay.push(purgeClaimed(run, lease));
      }
      if (lease.suspects) await freezeSuspects(run, lease, settings.deadlineMs * SUSPECTS_SHARE);
      else if (lease.keys.length > 0) {
        run.busy = true;
        underWay.push(freezeLease(run, lease));
      }
      suspectsFirst = false;
      if (overlap === 0) await Promise.all(underWay.splice(0));
      if (lease.idle.length > 0) {
        run.busy = true;
        const all = run.requestsLeft() > EVICTION_REQUESTS && await evictClaimed(run, lease);
        evicting = all !== undefined;
        seen.idle = evicting && (seen.idle || !all);
      }
      while (underWay.length > overlap) await underWay.shift();
      if (seen.left <= seen.suspects && !seen.idle) {
        await Promise.all(underWay.splice(0));
        if (!run.asksPurges) break;
      }
    }
  } finally {
    await Promise.all(underWay);
  }
}

function mayClaim(run: TickRun, timeShare: number): boolean {
  const { settings, report } = run;
  return run.mayBegin() && run.elapsedMs() < settings.deadlineMs * timeShare && !run.storeIsDown() &&
    report.claimed < settings.maxKeys && report.bytesRead < settings.maxBytes && keysToClaim(run, false) > 0;
}

function wanted(run: TickRun, suspects: boolean, evicting: boolean): Wanted {
  const share = run.requestsLeft() === Infinity ? Infinity : Math.floor(run.requestsLeft() * SUSPECTS_SHARE);
  return {
    maxKeys: keysToClaim(run, evicting),
    maxSuspects: suspects && run.requestsLeft() >= SUSPECT_REQUESTS ? suspectsToClaim(run, share) : 0,
    maxIdle: evicting ? run.settings.batchKeys : 0,
    maxPurge: run.asksPurges ? run.settings.batchKeys : 0,
  };
}
