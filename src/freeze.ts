/**
 * Freezing one batch of claimed keys: snapshot, put, commit; what fails is queued again, what was not begun is released.
 * @module
 */
import { monotonicMs, nonce } from "./ambient.ts";
import { freezeRecord } from "./archive/record.ts";
import { buryOlder } from "./bury.ts";
import type { Context } from "./context.ts";
import { asTundraError, isKeysOwn, show, TundraError } from "./errors.ts";
import { unsupportedRecord } from "./key_errors.ts";
import { objectName, versionMicros } from "./keys.ts";
import { type Archived, commit } from "./scripts/commit.ts";
import { fail, type FailOutcome, type Failure } from "./scripts/fail.ts";
import { release } from "./scripts/release.ts";
import { encodePayload, payloadBytes } from "./scripts/restore.ts";
import { type Snapshot, snapshot } from "./scripts/snapshot.ts";
import type { TickRun } from "./tick_run.ts";
import { binary } from "./upstash/connection.ts";
import { keyBytes, roomIn } from "./upstash/requests.ts";
import { sha1Hex } from "./upstash/script.ts";

/** Keys under one lease. */
export interface Lease {
  keys: string[];
  token: string;
  /** Redis time of the claim, microseconds. */
  nowUs: number;
  /** The tick's own monotonic clock: uploads end here, a little before the lease does. */
  endsAt: number;
  /** A suspect that was begun: its attempt is counted already. */
  begun: boolean;
}

/** The rest of a lease is for saying what became of its keys: said too late, an attempt would stay counted. */
const UPLOADS_SHARE = 0.95;

/** When the uploads of a lease end that is asked for now. */
export function uploadsEnd(leaseMs: number): number {
  return monotonicMs() + UPLOADS_SHARE * leaseMs;
}

/** Have its uploads ended? A timer may fire a little early. */
function isOver(lease: Lease): boolean {
  return monotonicMs() >= lease.endsAt - 2;
}

/** Reads a lease's keys and freezes them; resolves when the last of them has its outcome. */
export async function freezeLease(run: TickRun, lease: Lease): Promise<void> {
  let waiting = lease.keys;
  while (waiting.length > 0) {
    if (!run.mayBegin()) return await giveBack(run, lease, waiting);
    const keys = waiting.slice(0, run.snapshotKeys);
    let views: Snapshot[];
    try {
      views = await snapshot(run.context.connection, run.context.index, keys, run.call);
    } catch (thrown) {
      const error = asTundraError(thrown, "read keys to archive");
      if (error.code === "TOO_LARGE" && keys.length > 1) {
        run.snapshotKeys = Math.ceil(keys.length / 2);
        continue;
      }
      if (run.stopped()) return await giveBack(run, lease, waiting);
      if (error.code !== "TOO_LARGE") {
        run.fail(error);
        // Redis refused or did not answer: that is no key's own fault
        const failures = waiting.map((key) => ({ ...failure(run, lease, key, error, 0), counted: false }));
        return await recordFailures(run, lease, failures);
      }
      await recordFailures(run, lease, [failure(run, lease, keys[0]!, error, 0)]);
      waiting = waiting.slice(1);
      continue;
    }
    waiting = waiting.slice(keys.length);
    await freezeViews(run, lease, views);
  }
}

/** Puts what a snapshot shows, and commits it. */
export async function freezeViews(run: TickRun, lease: Lease, views: Snapshot[]): Promise<void> {
  const archived: PutObject[] = [];
  const failures: Failure[] = [];
  const untouched: string[] = [];
  await Promise.all(views.map(async (view) => {
    const { key, record } = view;
    if (record === undefined) {
      failures.push(failure(run, lease, key, unsupportedRecord("archive", key), 0));
      return;
    }
    run.report.bytesRead += view.dump?.length ?? 0;
    const done = await run.uploads.acquire();
    try {
      if (!run.mayBegin() || isOver(lease)) untouched.push(key);
      else archived.push(await put(run, lease, view));
    } catch (thrown) {
      if (run.stopped()) untouched.push(key);
      else {
        const error = asTundraError(thrown, `archive ${show(key)}`);
        const failed = failure(run, lease, key, error, record.attempts);
        // where only the time ran out, the key is due at once, for whoever has more
        failures.push(isOver(lease) && !failed.counted ? { ...failed, backoffMs: 0 } : failed);
      }
    } finally {
      done();
    }
  }));
  if (archived.length === 0 && failures.length > 0 && failures.every((each) => !each.counted)) run.storeIsDown = true;
  if (archived.length > 0) await commitArchived(run, lease, archived);
  if (failures.length > 0) await recordFailures(run, lease, failures);
  if (untouched.length > 0) await giveBack(run, lease, untouched);
}

/** What was put, and the version that it replaces. */
interface PutObject extends Archived {
  previous: string;
  /** A tombstone: was the key removed on purpose, did its own expiry pass, or is it missing and nobody knows why? */
  gone?: "removed" | "expired" | "missing";
}

/** Puts one value, or a tombstone, under a name that was never used before. */
async function put(run: TickRun, lease: Lease, view: Snapshot): Promise<PutObject> {
  const { context } = run;
  const { key, exp, dump } = view;
  const record = view.record!;
  const ver = versionAfter(lease.nowUs, record.ver);
  const at = Math.floor(lease.nowUs / 1000);
  const base = { key, rev: record.rev, ver, exp, previous: record.ver };
  if (dump === undefined) {
    // evicted, or not dirty at all: the archived value lives, and commit only takes the key out of the queue
    if (record.flag === "e" || record.rev === 0) return { ...base, fp: "", bytes: 0 };
    const removed = record.flag === "g";
    const tombstone = await freezeRecord({ key, ver, at, gone: removed || "inferred" }, context.freezers);
    await putObject(run, lease, key, ver, tombstone);
    const gone = removed ? "removed" : record.exp > 0 && record.exp <= at ? "expired" : "missing";
    return { ...base, fp: "", bytes: tombstone.length, gone };
  }
  if (record.flag === "e" && (record.exp === 0 || record.exp > at)) {
    throw new TundraError(
      "CONFLICT",
      `Cannot archive ${show(key)} as it must not be written while evicted: call ensureKs() and see its error`,
      { keys: [key], retryable: true },
    );
  }
  checkRestorable(context, key, dump);
  const object = await freezeRecord({ key, ver, at, exp, dump }, context.freezers);
  const fp = await sha1Hex(dump);
  await putObject(run, lease, key, ver, object);
  return { ...base, fp, bytes: object.length };
}

async function putObject(run: TickRun, lease: Lease, key: string, ver: string, object: Uint8Array): Promise<void> {
  const { context } = run;
  const { signal, end } = run.until(lease.endsAt);
  try {
    const name = await objectName(context.tqname, key, ver);
    await run.counted((call) => context.datastore.putKey(name, object, call), signal);
  } finally {
    end();
  }
  run.report.bytesWritten += object.length;
}

/** Never archive (and so evict) what a request could not bring back. */
function checkRestorable({ connection }: Context, key: string, dump: Uint8Array): void {
  const most = roomIn(connection.requestLimit()) - keyBytes(key);
  if (2 * dump.length <= most) return;
  const bytes = payloadBytes(encodePayload(binary(dump)));
  if (bytes > most) {
    throw new TundraError(
      "TOO_LARGE",
      `Cannot archive ${show(key)} as its value must fit into one request to be restored, ` +
        `at most ${most} bytes: it takes ${bytes}; it stays in Redis`,
      { keys: [key] },
    );
  }
}

/** A name for the next version: Redis time in microseconds, later than the version before, and a nonce. */
export function versionAfter(nowUs: number, previous: string): string {
  const micros = Math.max(nowUs, versionMicros(previous) + 1);
  return `${String(micros).padStart(16, "0")}-${nonce()}`;
}

async function commitArchived(run: TickRun, lease: Lease, archived: PutObject[]): Promise<void> {
  const { context, report } = run;
  let removed: PutObject[] = [];
  try {
    const outcomes = await commit(
      context.index,
      archived,
      { token: lease.token, freezeDelayMs: context.freezeDelayMs },
      run.closing,
    );
    removed = archived.filter(({ previous, gone }, i) =>
      outcomes[i] === "removed" && gone === "removed" && previous !== ""
    );
    outcomes.forEach((outcome, i) => {
      if (outcome === "clean") report.frozen++;
      else if (outcome === "requeued" && archived[i]!.fp !== "") {
        report.frozen++;
        report.requeued++;
        if (context.freezeDelayMs === 0) run.queuedAgain++;
      } else if (outcome === "removed") {
        report.missing++;
        const { key, gone, previous } = archived[i]!;
        if (gone === "missing" && previous !== "") reportMissing(run, key, previous);
      } else if (outcome === "gone" || outcome === "recreated" || outcome === "requeued") {
        report.missing++;
        run.queuedAgain++;
      } else if (outcome === "unsupported") run.fail(unsupportedRecord("archive", archived[i]!.key));
    });
  } catch (thrown) {
    // the lease ends, and the keys are claimed again: nothing is lost but the work
    const error = asTundraError(thrown, "commit what was archived");
    report.failed += archived.length;
    run.fail(error);
    if (lease.begun) await giveBack(run, lease, archived.map(({ key }) => key));
  }
  await buryOlder(run, lease.endsAt, removed);
}

/** Its last version was acknowledged, and so was a change since: neither del() nor an expiry says why it is not there. */
function reportMissing(run: TickRun, key: string, previous: string): void {
  run.error(
    key,
    "MISSING",
    `Cannot archive ${show(key)} as it must be in Redis or have been removed by del() or dirty({ missing: "del" }): ` +
      `it is missing; the archive keeps its versions up to ${previous}`,
    0,
  );
}

/** A failure of one key. What says that the store is to blame counts no attempt. */
function failure(run: TickRun, lease: Lease, key: string, error: TundraError, attempts: number): Failure {
  return {
    key,
    code: error.code,
    message: error.message,
    counted: isKeysOwn(error),
    begun: lease.begun,
    backoffMs: run.settings.backoffMs(attempts + (lease.begun ? 0 : 1)),
  };
}

async function recordFailures(run: TickRun, lease: Lease, failures: Failure[]): Promise<void> {
  const { report } = run;
  report.failed += failures.length;
  try {
    const outcomes = await queueAgain(run, lease, failures);
    outcomes.forEach(({ outcome, attempts }, i) => {
      if (outcome === "dead") report.dead++;
      const { key, code, message } = failures[i]!;
      run.error(key, code as TundraError["code"], message, attempts);
    });
  } catch (thrown) {
    for (const { key, code, message } of failures) run.error(key, code as TundraError["code"], message, 0);
    run.fail(asTundraError(thrown, "queue failed keys again"));
  }
}

async function queueAgain(run: TickRun, lease: Lease, failures: Failure[]): Promise<FailOutcome[]> {
  const { context, settings, closing } = run;
  return await fail(context.index, failures, { token: lease.token, nattempts: settings.nattempts }, closing);
}

/** Puts a key aside whose record is of another version. */
export async function queueUnsupported(run: TickRun, lease: Lease, key: string): Promise<void> {
  await recordFailures(run, lease, [failure(run, lease, key, unsupportedRecord("archive", key), 0)]);
}

/** Gives keys back that were not begun. */
export async function giveBack(run: TickRun, lease: Lease, keys: string[]): Promise<void> {
  if (lease.begun) { // takes the counted attempt back
    const stopped = new TundraError("UNAVAILABLE", "The tick reached a bound before it had archived the key");
    const failures = keys.map((key) => ({ ...failure(run, lease, key, stopped, 0), backoffMs: 0 }));
    try {
      await queueAgain(run, lease, failures);
      run.queuedAgain += keys.length;
    } catch (thrown) {
      run.fail(asTundraError(thrown, "release keys"));
    }
    return;
  }
  await releaseKeys(run, lease.token, keys.map((key) => ({ key, suspect: false })));
}

/** Releases keys; a lease that cannot be given back ends by itself. */
export async function releaseKeys(
  run: TickRun,
  token: string,
  keys: { key: string; suspect: boolean }[],
): Promise<void> {
  if (keys.length === 0) return;
  try {
    run.queuedAgain += await release(run.context.index, keys, token, run.closing);
  } catch (thrown) {
    run.fail(asTundraError(thrown, "release keys"));
  }
}
