/**
 * Reading the keys of a lease, and freezing them: in requests that are halved where a reply is too large, or where a key
 * spoils it for others.
 * @module
 */
import { asTundraError, type TundraError } from "./errors.ts";
import { freezeViews } from "./freeze.ts";
import { failure, giveBack, type Lease, recordFailures, recordTrouble } from "./leases.ts";
import { showsOthers, type Snapshot, snapshot } from "./scripts/snapshot.ts";
import type { TickRun } from "./tick_run.ts";

/** Keys that are read in one request. */
interface Group {
  keys: string[];
  /** Half of a request that failed though Redis answers: some key in it is to blame. Tried once, not again and again. */
  spoilt: boolean;
}

/** Reads a lease's keys and freezes them; resolves when the last of them has its outcome. */
export async function freezeLease(run: TickRun, lease: Lease): Promise<void> {
  const waiting: Group[] = [{ keys: lease.keys, spoilt: false }];
  while (waiting.length > 0) {
    if (!run.mayBegin()) return await giveBackAll(run, lease, waiting);
    const group = nextGroup(run, waiting);
    let views: Snapshot[];
    try {
      const call = group.spoilt ? { ...run.call, retries: 0 } : run.call;
      views = await snapshot(run.context.connection, run.context.index, group.keys, call);
    } catch (thrown) {
      const error = asTundraError(thrown, "read keys to archive");
      if (run.stopped()) return await giveBackAll(run, lease, [group, ...waiting]);
      if (!await resolved(run, lease, group, waiting, error)) return;
      continue;
    }
    if (group.keys.length === 1) run.snapshotKeys = run.settings.batchKeys; // it was too much for those beside it
    await freezeViews(run, lease, await shown(run, lease, views));
  }
}

/** The first keys that wait: no more than replies have room for. */
function nextGroup(run: TickRun, waiting: Group[]): Group {
  const { keys, spoilt } = waiting[0]!;
  if (spoilt || keys.length <= run.snapshotKeys) return waiting.shift()!;
  waiting[0] = { keys: keys.slice(run.snapshotKeys), spoilt };
  return { keys: keys.slice(0, run.snapshotKeys), spoilt };
}

/**
 * A request failed: halves it, or says so of the key that is alone in it. `false`: Redis shows nothing at all, and nothing
 * is left to do.
 */
async function resolved(
  run: TickRun,
  lease: Lease,
  { keys, spoilt }: Group,
  waiting: Group[],
  error: TundraError,
): Promise<boolean> {
  const tooLarge = error.code === "TOO_LARGE";
  if (keys.length > 1 && (spoilt || tooLarge || await redisAnswers(run))) {
    const middle = Math.ceil(keys.length / 2);
    if (tooLarge) run.snapshotKeys = middle;
    const halves = [keys.slice(0, middle), keys.slice(middle)];
    waiting.unshift(...halves.map((each) => ({ keys: each, spoilt: spoilt || !tooLarge })));
    return true;
  }
  if (keys.length > 1 || !(tooLarge || await redisAnswers(run))) {
    // Redis refused or did not answer: that is no key's own fault
    const all = [...keys, ...waiting.splice(0).flatMap((group) => group.keys)];
    await recordTrouble(run, lease, all.map((key) => failure(run, lease, key, error, 0, "passing")), error);
    return false;
  }
  run.snapshotKeys = run.settings.batchKeys; // it was too much for those beside it
  await recordFailures(run, lease, [{ ...failure(run, lease, keys[0]!, error, 0, "own"), alone: true }]);
  return true;
}

/** The views of keys that Redis shows; the others' errors are their own, as long as it shows anything. */
async function shown(run: TickRun, lease: Lease, views: Snapshot[]): Promise<Snapshot[]> {
  const refused = views.filter(({ error }) => error !== undefined);
  if (refused.length === 0) return views;
  const own = refused.length < views.length || await redisAnswers(run);
  const failures = refused.map(({ key, error, record }) =>
    failure(run, lease, key, error!, record?.attempts ?? 0, own ? "own" : "passing")
  );
  await (own ? recordFailures(run, lease, failures) : recordTrouble(run, lease, failures, refused[0]!.error!));
  return views.filter(({ error }) => error === undefined);
}

/** Waits this long for an answer to the question whether there is one. */
const PROBE_MS = 2_000;

function redisAnswers(run: TickRun): Promise<boolean> {
  const { connection, index } = run.context;
  return showsOthers(connection, index, { ...run.closing, timeoutMs: PROBE_MS, retries: 0 });
}

/** Each half of what failed comes alone from now on: the next tick would fail over the whole again. */
async function giveBackAll(run: TickRun, lease: Lease, groups: Group[]): Promise<void> {
  for (const { keys, spoilt } of groups) await giveBack(run, lease, keys, spoilt);
}
