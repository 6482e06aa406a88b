/**
 * tick: archives what is due and evicts what is idle, batch after batch, until a bound is reached.
 *
 * Two batches overlap: while one is uploaded, the next is claimed and read. Keys over which a tick died come last and
 * alone, so that one that kills ticks delays no other.
 * @module
 */
import { monotonicMs } from "./ambient.ts";
import type { Context } from "./context.ts";
import { asTundraError, show } from "./errors.ts";
import { evictIdle } from "./evict.ts";
import { freezeLease, type Lease, queueUnsupported, releaseKeys, uploadsEnd } from "./freeze.ts";
import { establishIdentity, isConfirmed } from "./identity.ts";
import { unsupportedRecord } from "./key_errors.ts";
import { begin } from "./scripts/begin.ts";
import { type Claim, claim } from "./scripts/claim.ts";
import { parseRecord } from "./scripts/record.ts";
import { checkTickOptions, type TickOptions, type TickReport } from "./tick_options.ts";
import { type TickRun, tickRun } from "./tick_run.ts";
import { text } from "./upstash/connection.ts";
import { batches, keyBytes } from "./upstash/requests.ts";
import { results } from "./upstash/script.ts";

/** A tick gives the last quarter of its time to suspects, if there are any. */
const SUSPECTS_SHARE = 0.25;
/** Where requests are bounded, eviction gets a quarter of them: asked for key by key, idle keys would leave none to freeze. */
const EVICTION_SHARE = 0.25;
/** What an eviction needs besides a question to the archive for each old key: records, the script, and its source. */
const EVICTION_REQUESTS = 3;

interface Suspect {
  key: string;
  lease: Lease;
}

/** Runs one tick; see {@linkcode TundraStore.tick}. */
export async function tick(context: Context, options?: TickOptions): Promise<TickReport> {
  const run = tickRun(context, checkTickOptions(options));
  const { report } = run;
  const startedAt = monotonicMs();
  const suspects: Suspect[] = [];
  const underWay: Promise<void>[] = [];
  // with a bound on requests, one batch at a time: its closing requests are kept back
  const overlap = run.settings.maxSubrequests === Infinity ? 1 : 0;
  let left = 0;
  let idleLeft = false;
  try {
    let evicting = context.redisTtlMs !== undefined;
    for (let first = true; mayClaim(run, suspects.length > 0, startedAt); first = false) {
      const endsAt = uploadsEnd(run.settings.leaseMs);
      const claimed = await claimNext(run, evicting, first);
      if (claimed === undefined) break;
      left = claimed.left;
      report.claimed += claimed.keys.length;
      const lease: Lease = { keys: [], token: claimed.token, nowUs: claimed.nowUs, endsAt, begun: false };
      const suspicious = new Set(claimed.suspects);
      for (const key of claimed.keys) {
        if (suspicious.has(key)) suspects.push({ key, lease });
        else lease.keys.push(key);
      }
      if (lease.keys.length > 0) underWay.push(freezeLease(run, lease));
      if (overlap === 0) await Promise.all(underWay.splice(0));
      idleLeft = claimed.idle.length === run.settings.batchKeys;
      if (claimed.idle.length > 0) {
        const all = run.requestsLeft() > EVICTION_REQUESTS && await evictClaimed(run, claimed);
        evicting = all !== undefined;
        idleLeft = evicting && (idleLeft || !all);
      }
      while (underWay.length > overlap) await underWay.shift();
      if (left === 0 && !idleLeft) break;
    }
  } finally {
    await Promise.all(underWay);
    await freezeSuspects(run, suspects);
    report.remaining = left + run.queuedAgain;
    report.done = report.remaining === 0 && !idleLeft && !run.stopped();
    report.durationMs = Math.round(monotonicMs() - startedAt);
  }
  return { ...report };
}

function mayClaim(run: TickRun, suspects: boolean, startedAt: number): boolean {
  const { settings, report } = run;
  const timeMs = settings.deadlineMs * (suspects ? 1 - SUSPECTS_SHARE : 1);
  return run.mayBegin() && monotonicMs() - startedAt < timeMs && !run.storeIsDown &&
    report.claimed < settings.maxKeys && report.bytesRead < settings.maxBytes && keysToClaim(run, false) > 0;
}

/** A batch, but no more than what the bounds on keys and requests leave: a claim and a snapshot go off the latter. */
function keysToClaim(run: TickRun, evicting: boolean): number {
  const { settings, report } = run;
  const requests = run.requestsLeft() - 2;
  const least = EVICTION_REQUESTS + 2; // a commit, and one question
  const kept = evicting && requests >= 2 * least && requests < Infinity
    ? Math.max(least, Math.floor(requests * EVICTION_SHARE))
    : 0;
  return Math.min(settings.batchKeys, settings.maxKeys - report.claimed, requests - kept);
}

/** The next batch; `undefined` where the tick has to end, which is an error only for its first claim. */
async function claimNext(run: TickRun, evicting: boolean, first: boolean): Promise<Claim | undefined> {
  const { context, settings } = run;
  const ask = () =>
    claim(context.index, {
      maxKeys: keysToClaim(run, evicting),
      leaseMs: settings.leaseMs,
      maxIdle: evicting ? settings.batchKeys : 0,
      redisTtlMs: context.redisTtlMs ?? 0,
    }, run.call);
  try {
    let claimed: Claim;
    try {
      claimed = await ask();
    } catch (thrown) {
      if (!evicting || !(await evictUnclaimed(run))) throw thrown;
      claimed = await ask();
    }
    if (isConfirmed(claimed.id)) return claimed;
    await establishIdentity(context, claimed.id, run.closing);
    if (keysToClaim(run, evicting) <= 0) return undefined;
    claimed = await ask();
    return isConfirmed(claimed.id) ? claimed : undefined;
  } catch (thrown) {
    const error = asTundraError(thrown, "claim dirty keys");
    if (run.stopped()) return undefined;
    if (first) throw error;
    run.fail(error);
    return undefined;
  }
}

/** Evicts what a claim found idle; `false`: there were requests for some of it only; `undefined`: it failed. */
async function evictClaimed(run: TickRun, { idle, idleLimitMs, nowUs }: Claim): Promise<boolean | undefined> {
  try {
    return await evictKeys(run, idle, idleLimitMs, nowUs / 1000) === idle.length;
  } catch (thrown) {
    if (!run.stopped()) run.fail(asTundraError(thrown, "evict idle keys"));
    return undefined;
  }
}

/** A Redis that is too full even for a claim must be emptied all the same; were any keys evicted? */
async function evictUnclaimed(run: TickRun): Promise<boolean> {
  const { connection, index, redisTtlMs } = run.context;
  const what = "read idle keys";
  try {
    const [time] = results(what, [await connection.command(["TIME"], run.call)]);
    const nowMs = Number((time as string[])[0]) * 1000;
    const limitMs = nowMs - redisTtlMs!;
    const range = ["ZRANGEBYSCORE", index.keys.idle, "-inf", limitMs, "LIMIT", 0, run.settings.batchKeys];
    const [idle] = results(what, [await connection.command(range, run.call)]);
    const before = run.report.evicted;
    await evictKeys(run, (idle as string[]).map(text), limitMs, nowMs);
    return run.report.evicted > before;
  } catch {
    return false; // the claim's own error says more
  }
}

/** Returns how many it has looked at. */
async function evictKeys(run: TickRun, keys: string[], limitMs: number, nowMs: number): Promise<number> {
  const questionsLeft = () => run.requestsLeft() - EVICTION_REQUESTS + 1;
  const outcomes = await evictIdle(run.context, keys, { limitMs, nowMs, questionsLeft }, run.call);
  for (const { key, outcome } of outcomes) {
    if (outcome === "evicted") run.report.evicted++;
    if (outcome === "rescued") run.report.rescued++;
    if (outcome === "conflict") {
      run.error(key, "CONFLICT", `Cannot evict ${show(key)} as it was written while evicted: call ensureKs()`, 0);
    }
    if (outcome === "unsupported") run.fail(unsupportedRecord("evict", key));
  }
  return outcomes.length;
}

/** Fewest attempts first: what has killed ticks before comes after what was only near it. */
async function freezeSuspects(run: TickRun, suspects: Suspect[]): Promise<void> {
  const { context, settings, report } = run;
  let waiting = suspects;
  try {
    if (waiting.length > 1 && run.mayBegin()) waiting = await byAttempts(run, waiting);
    while (waiting.length > 0 && run.mayBegin() && run.requestsLeft() > 2) {
      const { key, lease } = waiting[0]!;
      const endsAt = uploadsEnd(settings.leaseMs);
      // not aborted: whoever does not know whether it began cannot take the attempt back
      const call = { onRequest: run.call.onRequest };
      const begun = await begin(context.index, key, { ...settings, token: lease.token }, call);
      waiting = waiting.slice(1);
      if (typeof begun === "object") {
        await freezeLease(run, { keys: [key], token: begun.token, nowUs: lease.nowUs, endsAt, begun: true });
      } else if (begun === "unsupported") {
        await queueUnsupported(run, lease, key);
      } else if (begun === "dead") {
        report.failed++;
        report.dead++;
        run.error(
          key,
          "UNAVAILABLE",
          `Cannot archive ${show(key)} as a tick must live through it: ${settings.nattempts} did not`,
          settings.nattempts,
        );
      }
    }
  } catch (thrown) {
    if (!run.stopped()) run.fail(asTundraError(thrown, "archive suspects"));
  }
  for (const lease of new Set(waiting.map((suspect) => suspect.lease))) {
    const keys = waiting.filter((suspect) => suspect.lease === lease).map(({ key }) => ({ key, suspect: true }));
    await releaseKeys(run, lease.token, keys);
  }
}

async function byAttempts(run: TickRun, suspects: Suspect[]): Promise<Suspect[]> {
  const { connection, index } = run.context;
  const rated: { suspect: Suspect; attempts: number }[] = [];
  for (const batch of batches(suspects, ({ key }) => keyBytes(key), connection.requestLimit())) {
    const command = ["MGET", ...batch.map(({ key }) => index.keys.record(key))];
    const [records] = results("read records", [await connection.command(command, run.call)]);
    batch.forEach((suspect, i) => {
      rated.push({ suspect, attempts: parseRecord((records as (string | null)[])[i])?.attempts ?? 0 });
    });
  }
  return rated.sort((a, b) => a.attempts - b.attempts).map(({ suspect }) => suspect);
}
