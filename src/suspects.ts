/**
 * Suspects: keys over which a tick died. Each begins alone, so that one that kills ticks delays no other.
 * @module
 */
import { asTundraError, show } from "./errors.ts";
import { giveBack, type Lease, queueUnsupported, takeBack, uploadsEnd } from "./leases.ts";
import { freezeLease } from "./read_keys.ts";
import { begin } from "./scripts/begin.ts";
import { parseRecord } from "./scripts/record.ts";
import type { TickRun } from "./tick_run.ts";
import { batches, keyBytes } from "./upstash/requests.ts";
import { results } from "./upstash/script.ts";

/** Suspects under one lease: what is not dealt with in time is given back. */
const MOST_SUSPECTS = 16;
/** Requests that a suspect takes: begin, snapshot, upload, commit. */
export const SUSPECT_REQUESTS = 4;

/** How many suspects to claim where so many requests may be spent on them: those that can be dealt with. */
export function suspectsToClaim(run: TickRun, requests: number): number {
  const { settings, report } = run;
  const fit = Math.max(1, Math.floor((requests - 1) / SUSPECT_REQUESTS)); // one asks for their attempts
  return Math.min(MOST_SUSPECTS, settings.batchKeys, settings.maxKeys - report.claimed, fit);
}

/** Freezes suspects one by one until the tick has lasted so long, but at least one; the others are given back. */
export async function freezeSuspects(run: TickRun, lease: Lease, untilMs: number): Promise<void> {
  let waiting = lease.keys;
  let last: string | undefined;
  try {
    if (waiting.length > 1 && run.mayBegin()) waiting = await byAttempts(run, waiting);
    while (waiting.length > 0 && mayBeginOne(run) && (last === undefined || run.elapsedMs() < untilMs)) {
      [last] = waiting;
      waiting = waiting.slice(1);
      await freezeAlone(run, lease, last!);
    }
  } catch (thrown) {
    if (!run.stopped()) run.fail(asTundraError(thrown, "archive suspects"));
  }
  await giveBack(run, lease, waiting, true);
}

function mayBeginOne(run: TickRun): boolean {
  return run.mayBegin() && run.requestsLeft() > 2 && !run.storeIsDown();
}

async function freezeAlone(run: TickRun, lease: Lease, key: string): Promise<void> {
  const { context, settings, report } = run;
  const endsAt = uploadsEnd(settings.leaseMs);
  let begun: Awaited<ReturnType<typeof begin>>;
  try {
    // not aborted: whoever does not know whether it began cannot take the attempt back
    begun = await begin(context.index, key, { ...settings, token: lease.token }, { onRequest: run.call.onRequest! });
  } catch (thrown) {
    await takeBack(run, lease, [key]); // it may have begun all the same
    throw thrown;
  }
  if (typeof begun === "object") {
    await freezeLease(run, { keys: [key], token: begun.token, nowUs: lease.nowUs, endsAt, begun: true });
  } else if (begun === "unsupported") {
    await queueUnsupported(run, lease, key);
  } else if (begun === "dead") {
    report.failed++;
    report.dead++;
    const { nattempts } = settings;
    const message = `Cannot archive ${show(key)} as a tick must live through it: ${nattempts} did not`;
    run.error(key, "UNAVAILABLE", message, nattempts);
  }
}

/** Fewest attempts first: what has killed ticks before comes after what was only near it. */
async function byAttempts(run: TickRun, keys: string[]): Promise<string[]> {
  const { connection, index } = run.context;
  const rated: { key: string; attempts: number }[] = [];
  for (const batch of batches(keys, keyBytes, connection.requestLimit())) {
    const command = ["MGET", ...batch.map(index.keys.record)];
    const [records] = results("read records", [await connection.command(command, run.call)]);
    batch.forEach((key, i) => {
      rated.push({ key, attempts: parseRecord((records as (string | null)[])[i])?.attempts ?? 0 });
    });
  }
  return rated.sort((a, b) => a.attempts - b.attempts).map(({ key }) => key);
}
