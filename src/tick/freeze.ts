/**
 * Archiving the keys of a snapshot: freeze, put, commit. Keys that fail are queued again, keys not begun are released.
 * @module
 */
import { freezeRecord } from "../archive/record.ts";
import { asTundraError, isKeysOwn, show, TundraError } from "../base/errors.ts";
import { objectName, versionAfter } from "../base/keys.ts";
import { after } from "../base/platform.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import { type Archived, commit } from "../scripts/commit.ts";
import type { Failure } from "../scripts/fail.ts";
import type { Snapshot } from "../scripts/snapshot.ts";
import { sha1Hex } from "../upstash/script.ts";
import { failure, giveBack, isOver, type Lease, recordFailures, recordTrouble } from "./leases.ts";
import { checkRestorable } from "./restorable.ts";
import type { TickRun } from "./run.ts";

/** Uploads are committed this long after the first of them has ended, so that little is lost if the tick is killed. */
const COMMIT_MS = 1_000;

/** A key that could not be put, and who has refused it. */
interface Refused {
  key: string;
  error: TundraError;
  attempts: number;
  by: "us" | "the archive" | "the lease's end";
}

/** Puts the keys of a snapshot, and leaves the rest to `commits`. */
export async function freezeViews(run: TickRun, lease: Lease, views: Snapshot[], commits: Commits): Promise<void> {
  const refused: Refused[] = [];
  const untouched: string[] = [];
  let stored = 0;
  let waiting = views.length;
  await Promise.all(views.map(async (view) => {
    const { key, record } = view;
    run.report.bytesRead += view.dump?.length ?? 0;
    const done = await run.uploads.acquire();
    waiting--;
    try {
      if (record === undefined) throw unsupportedRecord("archive", key);
      if (!run.mayBegin() || isOver(lease)) untouched.push(key);
      else {
        const object = await put(run, lease, view);
        if (object.bytes > 0) stored++;
        commits.add(object, waiting);
      }
    } catch (thrown) {
      if (run.stopped()) untouched.push(key);
      else refused.push(refusal(lease, key, record?.attempts ?? 0, thrown));
    } finally {
      done();
    }
  }));
  await recordRefused(run, lease, refused, stored);
  await giveBack(run, lease, untouched);
}

/** An error that the archive or a freezer has thrown. */
class ArchiveRefused {
  constructor(readonly cause: unknown) {}
}

function refusal(lease: Lease, key: string, attempts: number, thrown: unknown): Refused {
  const archives = thrown instanceof ArchiveRefused;
  const error = asTundraError(archives ? thrown.cause : thrown, `archive ${show(key)}`);
  const by = !archives ? "us" : isOver(lease) && !isKeysOwn(error) ? "the lease's end" : "the archive";
  return { key, error, attempts, by };
}

/**
 * Records refusals by their reason. If the archive has refused all of several objects, that is its own trouble. A
 * refusal with a reason specific to its key counts as an attempt (`own`). Trouble that meets this key while the archive
 * takes others is `odd`; any other trouble is `passing`.
 */
async function recordRefused(run: TickRun, lease: Lease, refused: Refused[], stored: number): Promise<void> {
  const byArchive = refused.filter(({ by }) => by === "the archive");
  run.refusals = stored > 0 ? 0 : run.refusals + byArchive.length;
  if (refused.length === 0) return;
  const others = byArchive.length > 1 ? stored : run.stored;
  const fault = ({ error, by }: Refused): Failure["fault"] => {
    if (isKeysOwn(error)) return "own";
    return by === "the archive" && others >= byArchive.length ? "odd" : "passing";
  };
  const failures = (some: Refused[]) =>
    some.map((each) => {
      const made = failure(run, lease, each.key, each.error, each.attempts, fault(each));
      // if only the time ran out, the key is due at once, for a tick that has more
      return each.by === "the lease's end" ? { ...made, backoffMs: 0 } : made;
    });
  if (refused.some(({ by }) => by === "the lease's end")) run.unfinished = true;
  const isTrouble = stored === 0 && byArchive.length > 1;
  if (isTrouble) await recordTrouble(run, lease, failures(byArchive), byArchive[0]!.error);
  const single = isTrouble ? refused.filter(({ by }) => by !== "the archive") : refused;
  if (single.length > 0) await recordFailures(run, lease, failures(single));
}

/** Objects that were put under one lease, until they are committed. */
export interface Commits {
  add(put: PutObject, waiting: number): void;
  /** Commits the rest; resolves when all are committed. */
  end(): Promise<void>;
}

/** Commits of one lease: soon after the first upload has ended, again and again, and at the end. */
export function commitsOf(run: TickRun, lease: Lease): Commits {
  let ready: PutObject[] = [];
  let cancel: (() => void) | undefined;
  let requestsWanted = 0;
  const underWay: Promise<void>[] = [];
  const commitReady = () => {
    cancel?.();
    cancel = undefined;
    if (ready.length > 0) underWay.push(commitArchived(run, lease, ready));
    ready = [];
  };
  const early = () => {
    cancel = undefined;
    // if requests are bounded, an upload is worth more than a commit that can be joined with another
    if (run.requestsLeft() > requestsWanted) commitReady();
  };
  return {
    add(put, waiting) {
      if (put.bytes > 0) run.stored++;
      ready.push(put);
      requestsWanted = waiting + run.settings.nthreads;
      cancel ??= after(COMMIT_MS, early);
    },
    async end() {
      commitReady();
      await Promise.all(underWay);
    },
  };
}

/** An object that was put, and the version that it replaces. */
interface PutObject extends Archived {
  previous: string;
  /** Objects up to this version were removed on purpose; "" for none. */
  old: string;
  /**
   * For a tombstone: the key was removed on purpose, its own expiry has passed, or it is missing for an unknown reason.
   */
  gone?: "removed" | "expired" | "missing";
}

/** Puts one value, or a tombstone, under a name that was never used before. */
async function put(run: TickRun, lease: Lease, view: Snapshot): Promise<PutObject> {
  const { context } = run;
  const { key, exp, dump } = view;
  const record = view.record!;
  const ver = versionAfter(lease.nowUs, record.ver);
  const name = await objectName(context.tqname, key, ver);
  const at = Math.floor(lease.nowUs / 1000);
  const base = { key, rev: record.rev, ver, exp, previous: record.ver, old: record.old };
  if (dump === undefined) {
    // evicted, or not dirty at all: the archived value lives, and commit only takes the key out of the queue
    if (record.flag === "e" || record.rev === 0) return { ...base, fp: "", bytes: 0, kb: 0 };
    const removed = record.flag === "g";
    const tombstone = await theirs(() =>
      freezeRecord({ key, ver, at, gone: removed || "inferred" }, name, context.freezers)
    );
    await putObject(run, lease, name, tombstone);
    const gone = removed ? "removed" : record.exp > 0 && record.exp <= at ? "expired" : "missing";
    return { ...base, fp: "", bytes: tombstone.length, kb: 0, gone };
  }
  if (record.flag === "e" && (record.exp === 0 || record.exp > at)) {
    throw new TundraError(
      "CONFLICT",
      `Cannot archive ${show(key)} as it must not be written while evicted: call ensureKs() and see its error`,
      { keys: [key], retryable: true },
    );
  }
  await checkRestorable(run, key, dump);
  const object = await theirs(() => freezeRecord({ key, ver, at, exp, dump }, name, context.freezers));
  const fp = await sha1Hex(dump);
  await putObject(run, lease, name, object);
  return { ...base, fp, bytes: object.length, kb: Math.ceil(dump.length / 1024) };
}

/** Marks what the archive or a freezer throws as theirs. */
async function theirs<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    throw new ArchiveRefused(thrown);
  }
}

async function putObject(run: TickRun, lease: Lease, name: string, object: Uint8Array): Promise<void> {
  const { context } = run;
  const { signal, release } = run.until(lease.endsAt);
  try {
    await theirs(() => run.counted((call) => context.datastore.putKey(name, object, call), signal));
  } finally {
    release();
  }
  run.report.bytesWritten += object.length;
}

async function commitArchived(run: TickRun, lease: Lease, archived: PutObject[]): Promise<void> {
  const { context, report } = run;
  try {
    const outcomes = await commit(
      context.index,
      archived,
      { token: lease.token, leaseMs: run.settings.leaseMs, freezeDelayMs: context.freezeDelayMs },
      run.closing,
    );
    outcomes.forEach((outcome, i) => {
      const { key, old } = archived[i]!;
      if (old !== "" && (outcome === "clean" || outcome === "removed")) run.purges.push({ key, upTo: old });
      if (outcome === "clean") report.frozen++;
      else if (outcome === "requeued" && archived[i]!.fp !== "") {
        report.frozen++;
        report.requeued++;
        if (context.freezeDelayMs === 0) run.queuedAgain++;
      } else if (outcome === "removed") {
        report.missing++;
        const { gone, previous } = archived[i]!;
        if (gone === "missing" && previous !== "") reportMissing(run, key, previous);
      } else if (outcome === "gone" || outcome === "recreated" || outcome === "requeued") {
        report.missing++;
        run.queuedAgain++;
      } else if (outcome === "stale") run.unfinished = true;
      else if (outcome === "unsupported") run.fail(unsupportedRecord("archive", key));
    });
  } catch (thrown) {
    // the lease ends, and the keys are claimed again: only the work is lost
    const error = asTundraError(thrown, "commit what was archived");
    report.failed += archived.length;
    run.unfinished = true;
    run.fail(error);
    if (lease.begun) await giveBack(run, lease, archived.map(({ key }) => key));
  }
}

/**
 * Reports a key that is missing although its last version and a change since were acknowledged: no del(), no expiry.
 */
function reportMissing(run: TickRun, key: string, previous: string): void {
  const error = new TundraError(
    "MISSING",
    `Cannot archive ${show(key)} as it must be in Redis, or removed by del() or dirty({ missing: "del" }): ` +
      `it is missing; the archive keeps ${previous}`,
    { keys: [key] },
  );
  run.fail(error);
}
