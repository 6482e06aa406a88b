/**
 * Archiving the keys of a snapshot: freeze, put, commit. Keys that fail are queued again, keys not begun are released.
 *
 * Small values share packs. A pack that cannot be frozen or put is halved, until those that cannot be are alone: so one
 * key's trouble spoils no other's, and only what fails alone counts as a failure specific to its key.
 * @module
 */
import { byGroup, groupOf } from "../archive/seal.ts";
import { asTundraError, isKeysOwn, show, type TundraError } from "../base/errors.ts";
import { random } from "../base/platform.ts";
import type { Failure } from "../scripts/fail.ts";
import type { Snapshot } from "../scripts/snapshot.ts";
import { type Change, changeOf, nothingToPut } from "./changes.ts";
import type { Commits } from "./commits.ts";
import { failure, giveBack, isOver, type Lease, recordFailures, recordTrouble } from "./leases.ts";
import { isRestorable } from "./restorable.ts";
import type { TickRun } from "./run.ts";
import { ArchiveRefused, isPackable, makePack, putOwn } from "./uploads.ts";

/** A key that could not be put, and who has refused it. */
interface Refused {
  key: string;
  error: TundraError;
  attempts: number;
  by: "us" | "the archive" | "the lease's end";
  /** `true` if an attempt was counted for the same reason, as the archive took others then. */
  again?: boolean;
  /** `true` if it was refused together with others, and not alone: nothing tells if it is to blame. */
  shared?: boolean;
}

/** One snapshot on its way into the archive. */
interface Batch {
  readonly run: TickRun;
  readonly lease: Lease;
  readonly commits: Commits;
  readonly refused: Refused[];
  readonly untouched: string[];
  /** Packs that failed before the archive had taken anything: it may be down. */
  readonly deferred: { changes: Change[]; thrown: unknown }[];
  /** Changes that may share packs. */
  small: number;
  /** Versions that the archive has taken. */
  stored: number;
  /** Uploads that wait to begin. */
  waiting: number;
  /** Uploads begun. */
  uploads: number;
  /** Packs that failed; since the last upload that did not. */
  failed: number;
  failedInARow: number;
}

/** Puts the keys of a snapshot, and leaves the rest to `commits`; those into `large` that no request can carry. */
export async function freezeViews(
  run: TickRun,
  lease: Lease,
  views: Snapshot[],
  commits: Commits,
  large: string[],
): Promise<void> {
  const counts = { small: 0, stored: 0, waiting: 0, uploads: 0, failed: 0, failedInARow: 0 };
  const batch: Batch = { run, lease, commits, refused: [], untouched: [], deferred: [], ...counts };
  const own: Change[] = [];
  const small: Change[] = [];
  for (const view of views) {
    run.report.bytesRead += view.dump?.length ?? 0;
    try {
      const change = changeOf(lease, view);
      if (change) groupOf(change.key, run.context.freezers); // a key without a group spoils no other
      if (change?.dump && !await isRestorable(run, change.key, change.dump)) large.push(change.key);
      else if (change === undefined) commits.add(nothingToPut(view), 0);
      else (isPackable(run.context, lease, change) ? small : own).push(change);
    } catch (thrown) {
      refuse(batch, [{ key: view.key, attempts: view.record?.attempts ?? 0 }], thrown);
    }
  }
  batch.waiting = own.length;
  batch.small = small.length;
  await Promise.all([
    ...own.map((change) => archiveOwn(batch, change)),
    small.length > 0 && archivePacks(batch, small),
  ]);
  await archiveDeferred(batch);
  if (run.context.packBytes > 0 && !lease.begun && views.length > 0) {
    run.uploadsPerKey = Math.min(1, batch.uploads / views.length);
  }
  await recordRefused(run, lease, batch.refused, batch.stored);
  await giveBack(run, lease, batch.untouched);
}

/** Archives one change as an object of its own. */
async function archiveOwn(batch: Batch, change: Change): Promise<void> {
  const { run, lease } = batch;
  const done = await run.uploads.acquire();
  batch.waiting--;
  try {
    if (!run.mayBegin() || isOver(lease)) batch.untouched.push(change.key);
    else await putAlone(batch, change);
  } finally {
    done();
  }
}

async function putAlone(batch: Batch, change: Change): Promise<void> {
  const { run, lease, commits } = batch;
  batch.uploads++;
  try {
    const object = await putOwn(run, lease, change, batch.failed);
    batch.stored++;
    batch.failedInARow = 0;
    commits.add(object, batch.waiting);
  } catch (thrown) {
    refuse(batch, [change], thrown);
  }
}

/** Archives changes in packs: while one is uploaded, the next is made. */
async function archivePacks(batch: Batch, changes: Change[]): Promise<void> {
  const { run, lease, commits } = batch;
  if (changes.length === 1) {
    batch.waiting++;
    return await archiveOwn(batch, changes[0]!);
  }
  let together = changes;
  let rest: Promise<void> | undefined;
  let failure: { thrown: unknown } | undefined;
  const done = await run.uploads.acquire();
  try {
    if (!run.mayBegin() || isOver(lease)) {
      batch.untouched.push(...changes.map(({ key }) => key));
      return;
    }
    const grouped = byGroup(changes, run.context.freezers);
    const pack = await makePack(run, lease, grouped, batch.failed);
    together = pack.changes;
    if (together.length < grouped.length) rest = archivePacks(batch, grouped.slice(together.length));
    if (together.length === 1) await putAlone(batch, together[0]!);
    else {
      batch.uploads++;
      const objects = await pack.put();
      batch.stored += objects.length;
      batch.failedInARow = 0;
      for (const object of objects) commits.add(object, batch.waiting);
    }
  } catch (thrown) {
    failure = { thrown };
  } finally {
    done();
  }
  if (failure) await halve(batch, together, failure.thrown);
  await rest;
}

/**
 * Archives the two halves of a pack that failed. Halving ends at single keys, but earlier if nothing but failures comes
 * of it: then the archive is down, or refuses everything.
 */
async function halve(batch: Batch, changes: Change[], thrown: unknown): Promise<void> {
  const { run, lease } = batch;
  batch.failed++;
  batch.failedInARow++;
  const error = errorOf(changes[0]!.key, thrown);
  const patience = isKeysOwn(error) || batch.stored > 0 ? 2 * Math.ceil(Math.log2(batch.small)) + 2 : 2;
  if (!run.stopped() && !isOver(lease) && batch.failedInARow <= patience) await archiveHalves(batch, changes);
  else if (batch.stored > 0 || run.stopped() || isOver(lease)) refuse(batch, changes, thrown);
  else batch.deferred.push({ changes, thrown });
}

async function archiveHalves(batch: Batch, changes: Change[]): Promise<void> {
  // in another order each time, so that two that fail come together in some half, and the other one is archived
  const shuffled = changes.map((change) => ({ change, at: random() })).sort((a, b) => a.at - b.at)
    .map(({ change }) => change);
  const middle = Math.ceil(changes.length / 2);
  for (const half of [shuffled.slice(0, middle), shuffled.slice(middle)]) {
    if (half.length > 0) await archivePacks(batch, half);
  }
}

/**
 * Archives what was put off, to its end if the archive takes anything at all: perhaps it takes small objects only. One
 * change alone shows that.
 */
async function archiveDeferred(batch: Batch): Promise<void> {
  for (const [i, { changes, thrown }] of batch.deferred.entries()) {
    const alone = batch.stored === 0 && i === 0 ? changes.splice(0, 1) : [];
    if (alone.length > 0) await archivePacks(batch, alone);
    if (batch.stored > 0) await archiveHalves(batch, changes);
    else refuse(batch, changes, thrown);
  }
}

function errorOf(key: string, thrown: unknown): TundraError {
  return asTundraError(thrown instanceof ArchiveRefused ? thrown.cause : thrown, `archive ${show(key)}`);
}

/** Notes that changes could not be archived, all for the same reason. */
function refuse(
  { run, lease, refused, untouched }: Batch,
  changes: { key: string; attempts: number; failed?: string }[],
  thrown: unknown,
) {
  for (const { key, attempts, failed } of changes) {
    const error = errorOf(key, thrown);
    if (run.stopped()) untouched.push(key);
    else if (!(thrown instanceof ArchiveRefused)) refused.push({ key, error, attempts, by: "us" });
    else {
      const by = isOver(lease) && !isKeysOwn(error) ? "the lease's end" : "the archive";
      refused.push({ key, error, attempts, by, again: failed === error.code, shared: changes.length > 1 });
    }
  }
}

/**
 * Records refusals by their reason. If the archive has refused all of several objects, that is its own trouble, but for
 * keys of which it is known that they alone were refused before. A refusal with a reason specific to its key counts as an
 * attempt (`own`). Trouble that meets this key while the archive takes others is `odd`; any other trouble is `passing`.
 */
async function recordRefused(run: TickRun, lease: Lease, refused: Refused[], stored: number): Promise<void> {
  const byArchive = refused.filter(({ by }) => by === "the archive");
  const shared = byArchive.filter((each) => each.shared);
  run.refusals = stored > 0 ? 0 : run.refusals + byArchive.length;
  if (refused.length === 0) return;
  const others = byArchive.length > 1 ? stored : run.stored;
  const fault = ({ error, by }: Refused): Failure["fault"] => {
    if (isKeysOwn(error)) return "own";
    return by === "the archive" && others >= byArchive.length - shared.length ? "odd" : "passing";
  };
  const failures = (some: Refused[]) =>
    some.map((each) => {
      const made = failure(run, lease, each.key, each.error, each.attempts, fault(each));
      // if only the time ran out, the key is due at once, for a tick that has more
      return each.by === "the lease's end" ? { ...made, backoffMs: 0 } : made;
    });
  if (refused.some(({ by }) => by === "the lease's end")) run.unfinished = true;
  const trouble = stored === 0 && byArchive.length > 1
    ? byArchive.filter(({ again, shared, error }) => !again || shared || !isKeysOwn(error))
    : shared;
  if (trouble.length > 0) await recordTrouble(run, lease, failures(trouble), trouble[0]!.error);
  const single = refused.filter((each) => !trouble.includes(each));
  if (single.length > 0) await recordFailures(run, lease, failures(single));
}
