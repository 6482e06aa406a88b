/**
 * tick: archives what is due and evicts what is idle, batch after batch, until a bound is reached.
 *
 * Two batches overlap: while one is uploaded, the next is claimed and read. Suspects, keys over which a tick died, are
 * claimed apart. Which come first, fresh keys or suspects, is drawn by lot: whatever ends ticks early, both have their
 * turn.
 * @module
 */
import { monotonicMs, random } from "./ambient.ts";
import type { Context } from "./context.ts";
import { asTundraError, show, TundraError } from "./errors.ts";
import { evictIdle, isBlindWrite } from "./evict.ts";
import { holdsNamed } from "./held_versions.ts";
import { checkIdentity, checkOwner, establishIdentity, isConfirmed } from "./identity.ts";
import { unsupportedRecord } from "./key_errors.ts";
import { failure, giveBack, type Lease, recordFailures, recordTrouble, releaseAll, uploadsEnd } from "./leases.ts";
import { lookForLosses } from "./lost_records.ts";
import { keepForPurges, purgeClaimed, purgeRest } from "./purge.ts";
import { freezeLease } from "./read_keys.ts";
import { type Claim, claim } from "./scripts/claim.ts";
import { look } from "./scripts/look.ts";
import { freezeSuspects, SUSPECT_REQUESTS, suspectsToClaim } from "./suspects.ts";
import { checkTickOptions, type TickOptions, type TickReport } from "./tick_options.ts";
import { type TickRun, tickRun } from "./tick_run.ts";
import { text } from "./upstash/connection.ts";
import { asMany } from "./upstash/requests.ts";
import { ask } from "./upstash/script.ts";

/** Suspects that come first get a quarter of a tick; where they come last, fresh keys leave them that much. */
const SUSPECTS_SHARE = 0.25;
/** Where requests are bounded, eviction gets a quarter of them: asked for key by key, idle keys would leave none to freeze. */
const EVICTION_SHARE = 0.25;
/** What an eviction needs besides a question to the archive for each old key: records, the script, and its source. */
const EVICTION_REQUESTS = 3;

/** What a claim may take. */
interface Wanted {
  maxKeys: number;
  maxSuspects: number;
  maxIdle: number;
}

/** What the queue holds, as the last claim saw it. */
interface Seen {
  left: number;
  suspects: number;
  idle: boolean;
}

/** A lease, and what else its claim has found. */
type Claimed = Lease & Pick<Claim, "id" | "suspects" | "idle" | "purge">;

/** Runs one tick; see {@linkcode TundraStore.tick}. */
export async function tick(context: Context, options?: TickOptions): Promise<TickReport> {
  const run = tickRun(context, checkTickOptions(options));
  const { report } = run;
  const startedAt = monotonicMs();
  const seen: Seen = { left: 0, suspects: 0, idle: false };
  try {
    await freezeDue(run, seen);
    while (seen.suspects > 0 && mayClaim(run, 1) && run.requestsLeft() >= SUSPECT_REQUESTS) {
      const most = suspectsToClaim(run, run.requestsLeft() - 1);
      const lease = await claimLease(run, seen, { maxKeys: 0, maxSuspects: most, maxIdle: 0 }, false);
      if (lease === undefined || lease.keys.length === 0) break;
      await freezeSuspects(run, lease, Infinity);
    }
  } finally {
    await releaseAll(run);
    const stopped = run.stopped();
    await purgeRest(run);
    report.remaining = seen.left + run.queuedAgain;
    report.done = report.remaining === 0 && !seen.idle && report.purging === 0 && !run.unfinished && !stopped;
    report.durationMs = Math.round(monotonicMs() - startedAt);
  }
  return { ...report };
}

/** Fresh keys, and what is idle; if the lot says so, some suspects before them. */
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
      if (first) underWay.push(lookForLosses(run, lease));
      if (first && overlap === 0) {
        // of a bounded number of requests uploads would leave none: what it has spent is missing for the last keys
        await underWay[0];
        const kept = lease.suspects ? lease.keys.length : Math.max(0, run.requestsLeft() - 2);
        await giveBack(run, lease, lease.keys.splice(kept));
      }
      if (lease.purge.length > 0) {
        keepForPurges(run, lease.purge.length);
        underWay.push(purgeClaimed(run, lease.purge, lease.nowUs / 1000));
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
      if (seen.left <= seen.suspects && !seen.idle) break;
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
  };
}

/** A batch, but no more than what the bounds on keys and requests leave: claim, snapshot and owner go off the latter. */
function keysToClaim(run: TickRun, evicting: boolean): number {
  const { settings, report } = run;
  const requests = run.requestsLeft() - 2 - (run.archiveChecked ? 0 : 1);
  const least = EVICTION_REQUESTS + 2; // a commit, and one question
  const kept = evicting && requests >= 2 * least && requests < Infinity
    ? Math.max(least, Math.floor(requests * EVICTION_SHARE))
    : 0;
  return Math.min(settings.batchKeys, settings.maxKeys - report.claimed, requests - kept);
}

/** Claims, and says what is left; `undefined` where the tick has to end. */
async function claimLease(
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
  run.report.purging += claimed.purgeLeft;
  run.report.claimed += claimed.keys.length;
  const lease = { ...claimed, endsAt, begun: false };
  return await archiveIsMine(run, lease) ? lease : undefined;
}

/** The next batch; `undefined` where the tick has to end, which is an error only for its first claim. */
async function claimNext(run: TickRun, most: Wanted, first: boolean): Promise<Claim | undefined> {
  const { context, settings } = run;
  const evicting = most.maxIdle > 0;
  const ask = () =>
    claim(context.index, {
      ...most,
      leaseMs: settings.leaseMs,
      redisTtlMs: context.redisTtlMs ?? 0,
      first,
      maxPurge: first ? settings.batchKeys : 0,
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
    await establishIdentity(context, claimed.id, run.closing);
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

/**
 * Asks, once a tick and before it does anything, whether the archive is still this index's. If not, all that was claimed
 * is given back and the tick fails. `false`: the archive did not say, so all keys wait for it, or the tick was stopped.
 */
async function archiveIsMine(run: TickRun, claimed: Claimed): Promise<boolean> {
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

/** Evicts what a claim found idle; `false`: there were requests for some of it only; `undefined`: it failed. */
async function evictClaimed(run: TickRun, { idle, idleLimitMs, nowUs }: Claim): Promise<boolean | undefined> {
  try {
    return await evictKeys(run, idle, idleLimitMs, nowUs / 1000) === idle.length;
  } catch (thrown) {
    run.unfinished = true;
    if (!run.stopped()) run.fail(asTundraError(thrown, "evict idle keys"));
    return undefined;
  }
}

/** A Redis that is too full even for a claim must be emptied all the same; were any keys evicted? */
async function evictUnclaimed(run: TickRun): Promise<boolean> {
  const { connection, index, redisTtlMs } = run.context;
  const what = "read idle keys";
  try {
    const [seconds] = await ask(connection, what, ["TIME"], run.call) as string[];
    const nowMs = Number(seconds) * 1000;
    const limitMs = nowMs - redisTtlMs!;
    const keys = await asMany(run.settings.batchKeys, async (most) => {
      const range = ["ZRANGEBYSCORE", index.keys.idle, "-inf", limitMs, "LIMIT", 0, most];
      return (await ask(connection, what, range, run.call) as string[]).map(text);
    });
    const { id } = await look(index, [], run.call);
    if (!isConfirmed(id) || await checkIdentity(run.context, id, run.call)) return false;
    const nothing = { keys: [], suspects: false, purge: [], token: "", begun: false };
    const endsAt = uploadsEnd(run.settings.leaseMs);
    if (!await archiveIsMine(run, { ...nothing, id, idle: keys, nowUs: nowMs * 1000, endsAt })) return false;
    const before = run.report.evicted;
    await evictKeys(run, keys, limitMs, nowMs);
    return run.report.evicted > before;
  } catch {
    return false; // the claim's own error says more
  }
}

/** It has left the idle ones, so this is said once, until it is used again. */
function reportUnstable(run: TickRun, key: string): void {
  const error = new TundraError(
    "UNSUPPORTED",
    `Cannot evict ${show(key)} as its bytes must be those archived: they were others four times in a row; it is ` +
      `changed without dirty(), or this server's DUMP is not stable. It stays in Redis until dirty()`,
    { keys: [key] },
  );
  run.fail(error);
}

/** Where nobody can be asked, ensureKs() will say what it is. */
async function reportBlindWrite(run: TickRun, key: string): Promise<void> {
  try {
    if (run.requestsLeft() <= EVICTION_REQUESTS || !await isBlindWrite(run.context, key, run.call)) return;
  } catch {
    return;
  }
  const error = new TundraError(
    "CONFLICT",
    `Cannot evict ${show(key)} as it was written while evicted: evict({ discard: true }, ...) drops what was written`,
    { keys: [key] },
  );
  run.fail(error);
}

/** Returns how many it has looked at. */
async function evictKeys(run: TickRun, keys: string[], limitMs: number, nowMs: number): Promise<number> {
  const questionsLeft = () => run.requestsLeft() - EVICTION_REQUESTS + 1;
  const outcomes = await evictIdle(run.context, keys, { limitMs, nowMs, questionsLeft }, run.call);
  for (const { key, outcome } of outcomes) {
    if (outcome === "evicted") run.report.evicted++;
    if (outcome === "rescued") run.report.rescued++;
    if (outcome === "unstable") reportUnstable(run, key);
    if (outcome === "conflict") await reportBlindWrite(run, key);
    if (outcome === "unsupported") run.fail(unsupportedRecord("evict", key));
  }
  return outcomes.length;
}
