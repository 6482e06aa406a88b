/**
 * Reading and archiving the keys of a lease, in requests that are halved if a reply is too large, or if one key makes
 * the whole request fail.
 * @module
 */
import { asTundraError, type TundraError } from "../base/errors.ts";
import { showsOthers, type Snapshot, snapshot } from "../scripts/snapshot.ts";
import { isAboutEndpoint } from "../upstash/dump.ts";
import { type Commits, commitsOf } from "./commits.ts";
import { freezeViews } from "./freeze.ts";
import { failure, giveBack, isOver, type Lease, recordFailures, recordTrouble } from "./leases.ts";
import type { TickRun } from "./run.ts";

/** The two halves of what was too large for one reply. */
interface Halves {
  /** Keys of the larger one. */
  size: number;
  /** Bytes of each half that was read. */
  bytes: number[];
  tooLarge: number;
}

/** Keys that are read in one request. */
interface Group {
  keys: string[];
  /**
   * Half of a request that failed though Redis answers: some key in it is the reason. It is sent once, without retries.
   */
  spoilt: boolean;
  /** `true` once it has failed alone: if it fails again, the reason is specific to that key. */
  again?: boolean;
  of?: Halves;
}

/** Reads a lease's keys and freezes them; resolves when the last of them has its outcome. */
export async function freezeLease(run: TickRun, lease: Lease): Promise<void> {
  const commits = commitsOf(run, lease);
  const large: string[] = [];
  try {
    await freezeGroups(run, lease, commits, large);
    // last, as each may take as long as all the others
    while (large.length > 0 && run.mayBegin() && !isOver(lease)) {
      await (await import("./freeze_large.ts")).freezeLarge(run, lease, large.shift()!, commits);
    }
    await giveBack(run, lease, large, true);
  } finally {
    await commits.end();
  }
}

/** Puts those into `large` that no reply or request can carry. */
async function freezeGroups(run: TickRun, lease: Lease, commits: Commits, large: string[]): Promise<void> {
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
      if (!await resolved(run, lease, group, waiting, large, error)) return;
      continue;
    }
    learn(run, group, views.reduce((sum, { dump }) => sum + (dump?.length ?? 0), 0));
    await freezeViews(run, lease, await shown(run, lease, views), commits, large);
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
 * Halves a request that failed. The key that is alone in it is large, or its failure is recorded. `false`: Redis shows no key at
 * all, and nothing is left to do.
 */
async function resolved(
  run: TickRun,
  lease: Lease,
  group: Group,
  waiting: Group[],
  large: string[],
  error: TundraError,
): Promise<boolean> {
  const { keys, spoilt, again, of } = group;
  const tooLarge = error.code === "TOO_LARGE";
  const anyKeys = isAboutEndpoint(error);
  if (tooLarge) {
    learn(run, group);
    if (keys.length > 1 && !of) {
      const known = await (await import("./freeze_large.ts")).knownLarge(run, keys);
      large.push(...known);
      if (known.length > 0) {
        const others = keys.filter((key) => !known.includes(key));
        if (others.length > 0) waiting.unshift({ keys: others, spoilt });
        return true;
      }
    }
  }
  if (!anyKeys && keys.length > 1 && (spoilt || tooLarge || await redisAnswers(run))) {
    const middle = Math.ceil(keys.length / 2);
    const half: Omit<Group, "keys"> = tooLarge
      ? { spoilt, of: { size: middle, bytes: [], tooLarge: 0 } }
      : { spoilt: true };
    waiting.unshift({ ...half, keys: keys.slice(0, middle) }, { ...half, keys: keys.slice(middle) });
    return true;
  }
  if (anyKeys || keys.length > 1 || !(tooLarge || await redisAnswers(run))) {
    // Redis refused or did not answer: the reason is not specific to a key
    const all = [...keys, ...waiting.splice(0).flatMap((group) => group.keys)];
    await recordTrouble(run, lease, all.map((key) => failure(run, lease, key, error, 0, "passing")), error);
    return false;
  }
  if (tooLarge) {
    large.push(keys[0]!);
    return true;
  }
  if (!again) {
    waiting.unshift({ keys, spoilt: true, again: true });
    return true;
  }
  await recordFailures(run, lease, [{ ...failure(run, lease, keys[0]!, error, 0, "own"), alone: true }]);
  return true;
}

/**
 * Learns the size of later batches from the two halves of a reply that was too large; `bytes` is absent if this half is
 * too large as well. If neither fits, or both do and have much the same size, later batches are smaller. Else one value
 * is large, and once it is alone batches have their former size.
 */
function learn(run: TickRun, { keys, of }: Group, bytes?: number): void {
  if (of === undefined) return;
  if (bytes !== undefined) of.bytes.push(bytes);
  else if (++of.tooLarge === 2) run.snapshotKeys = Math.min(run.snapshotKeys, Math.ceil(of.size / 2));
  const alike = of.bytes.length === 2 && 2 * Math.min(...of.bytes) >= Math.max(...of.bytes);
  if (alike) run.snapshotKeys = Math.min(run.snapshotKeys, of.size);
  else if (keys.length === 1) run.snapshotKeys = run.settings.batchKeys;
}

/** The views of keys that Redis shows. An error of another is specific to that key, as long as Redis shows any key. */
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

/** Waits this long for Redis to answer at all. */
const PROBE_MS = 2_000;

function redisAnswers(run: TickRun): Promise<boolean> {
  const { connection, index } = run.context;
  return showsOthers(connection, index, { ...run.closing, timeoutMs: PROBE_MS, retries: 0 });
}

/**
 * Gives groups back. Keys of a half come alone from now on, or the next tick would fail with the whole request again.
 */
async function giveBackAll(run: TickRun, lease: Lease, groups: Group[]): Promise<void> {
  for (const { keys, spoilt } of groups) await giveBack(run, lease, keys, spoilt);
}
