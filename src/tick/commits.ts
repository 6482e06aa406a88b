/**
 * Commits of a lease: what was put into the archive becomes the records' versions.
 * @module
 */
import { asTundraError, show, TundraError } from "../base/errors.ts";
import { after } from "../base/platform.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import { type Archived, commit, type CommitOutcome } from "../scripts/commit.ts";
import { giveBack, type Lease } from "./leases.ts";
import type { TickRun } from "./run.ts";

/** Uploads are committed this long after the first of them has ended, so that little is lost if the tick is killed. */
const COMMIT_MS = 1_000;

/** A version that was put, and the one that it replaces. */
export interface PutObject extends Archived {
  previous: string;
  /** Objects up to this version were removed on purpose; "" for none. */
  old: string;
  /**
   * For a tombstone: the key was removed on purpose, its own expiry has passed, or it is missing for an unknown reason.
   */
  gone?: "removed" | "expired" | "missing";
}

/** Versions that were put under one lease, until they are committed. */
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

async function commitArchived(run: TickRun, lease: Lease, archived: PutObject[]): Promise<void> {
  const { context, report } = run;
  let committed = 0;
  try {
    await commit(
      context.index,
      archived,
      { token: lease.token, leaseMs: run.settings.leaseMs, freezeDelayMs: context.freezeDelayMs },
      run.closing,
      (part, outcomes) => {
        committed += part.length;
        part.forEach((put, i) => countCommitted(run, lease, put, outcomes[i]!));
      },
    );
  } catch (thrown) {
    // the lease ends, and the keys are claimed again: only the work is lost
    const error = asTundraError(thrown, "commit what was archived");
    const rest = archived.slice(committed);
    report.failed += rest.length;
    run.unfinished = true;
    run.fail(error);
    if (lease.begun) await giveBack(run, lease, rest.map(({ key }) => key));
  }
}

function countCommitted(run: TickRun, lease: Lease, put: PutObject, outcome: CommitOutcome): void {
  const { context, report } = run;
  const { key, ver, fp, old, gone, previous } = put;
  const isRemoved = outcome === "removed" || outcome === "expired";
  if (old !== "" && (outcome === "clean" || isRemoved)) {
    run.purges.push({ key, upTo: old, ...(gone !== "removed" && { anew: ver }) });
    run.lease = lease;
  }
  if (outcome === "clean") report.frozen++;
  else if (outcome === "requeued" && fp !== "") {
    report.frozen++;
    report.requeued++;
    if (context.freezeDelayMs === 0) run.queuedAgain++;
  } else if (isRemoved) {
    report.missing++;
    // the claim's clock may be older than the expiry: the commit's is not
    if (outcome === "removed" && gone === "missing" && previous !== "") reportMissing(run, key, previous);
  } else if (outcome === "gone" || outcome === "recreated" || outcome === "requeued") {
    report.missing++;
    run.queuedAgain++;
  } else if (outcome === "stale") run.unfinished = true;
  else if (outcome === "unsupported") run.fail(unsupportedRecord("archive", key));
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
