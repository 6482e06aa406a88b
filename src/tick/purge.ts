/**
 * Purging: deletes the objects of keys that were removed on purpose or have expired. The queue `purge` in Redis holds
 * the keys with objects to delete, and their records name the last version to delete, so a later tick goes on if one
 * ends.
 * @module
 */
import { placeOf } from "../archive/place.ts";
import { asTundraError, TundraError } from "../base/errors.ts";
import { countKeys, goneOf, objectPrefix, showKeys, versionMicros, versionOfObject } from "../base/keys.ts";
import { monotonicMs } from "../base/platform.ts";
import type { Context } from "../core/context.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import { listPages } from "../datastores/guarded.ts";
import type { Claim } from "../scripts/claim.ts";
import { type Purge, purgeableUpTo, purged } from "../scripts/purged.ts";
import { readRecords } from "../scripts/read_records.ts";
import { inGroups } from "../upstash/requests.ts";
import type { Marked } from "./markers.ts";
import type { TickRun } from "./run.ts";

/** Requests of a round besides one to list each key: their records, markers, a deletion, the script, and its source. */
const ROUND_REQUESTS = 5;
/**
 * If requests are bounded, purging gets a quarter of them, and at the end of the tick those that are left. If there are
 * too few for a round while others work, half of them are kept until then.
 */
const SHARE = 0.25;
/**
 * Names in one call: as many as S3 takes in a request.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
 */
const MOST_NAMES = 1_000;

/** Keeps requests back for these keys, if requests are bounded. */
export function keepForPurges(run: TickRun, keys: number): void {
  if (keys === 0 || run.settings.maxSubrequests === Infinity) return;
  run.requests.keptForPurges = 0;
  const left = run.requestsLeft();
  const share = Math.max(ROUND_REQUESTS + 1, Math.floor(left * SHARE));
  const most = Math.max(left - ROUND_REQUESTS, Math.floor(left / 2));
  run.requests.keptForPurges = Math.max(0, Math.min(keys + ROUND_REQUESTS, share, most));
}

/**
 * Deletes, with all requests that are left, what a claim named and there were too few requests for, and objects that
 * this tick has superseded. All other work has ended. Never throws.
 */
export async function purgeRest(run: TickRun): Promise<void> {
  if (run.settings.maxSubrequests < Infinity) {
    run.requests.endWork();
    run.requests.keptForPurges += Math.max(0, run.requestsLeft());
  }
  if (run.purgesLast) await purgeNamed(run, run.purgesLast);
  await purge(run, run.purges, run.lease);
}

/** Purges keys that a claim found in the queue, and lets the next claim name more if there may be any; never throws. */
export async function purgeClaimed(run: TickRun, claim: Claim): Promise<void> {
  const { requests, settings, report } = run;
  if (settings.maxSubrequests < Infinity && requests.keptForPurges <= ROUND_REQUESTS) {
    run.purgesLast = claim;
    return;
  }
  const before = report.purging;
  await purgeNamed(run, claim);
  run.asksPurges = report.purging === before && claim.purge.length + claim.purgeLeft >= settings.batchKeys;
}

async function purgeNamed(run: TickRun, { purge: keys, id, nowUs }: Claim): Promise<void> {
  if (!run.mayPurge()) return leave(run, keys.length);
  try {
    const records = await readRecords(run.context, keys, run.purging);
    const purges = keys.map((key, i): Purge => {
      const record = records[i];
      if (record === undefined) return { key, upTo: "" }; // of another version, and left to that: due again later
      const { ver, flag, exp } = record;
      const upTo = purgeableUpTo(record, nowUs / 1000);
      const hasTombstone = upTo !== ver && flag === "m"; // one that a tick inferred
      const expired = upTo !== "" && (upTo === ver || (hasTombstone && exp > 0));
      const anew = upTo !== "" && !expired && flag !== "g" ? ver : undefined;
      return { key, upTo, expired, hasTombstone, ...(anew && { anew }) };
    });
    await purge(run, purges, { id, nowUs });
  } catch (thrown) {
    leave(run, keys.length);
    if (!hasEnded(run)) run.fail(asTundraError(thrown, "read what is to be deleted"));
  }
}

/** Tells if the tick itself has ended what it purged: it was aborted, or its requests are used up. */
function hasEnded(run: TickRun): boolean {
  return run.settings.signal?.aborted === true || run.requests.purgeRefused;
}

/**
 * Deletes objects of keys, each up to the version that its record names. A newer one means that Redis lost a commit,
 * and it may be the last copy. If the datastore cannot list, only that version is deleted; if it cannot delete, none.
 * Keys whose objects cannot be deleted now stay queued. Never throws.
 *
 * Cost: a request to list for each key, and for each 1,000 objects one call to delete and one to Redis.
 */
async function purge(run: TickRun, purges: Purge[], claim?: Pick<Claim, "id" | "nowUs">): Promise<void> {
  const room = run.settings.maxSubrequests === Infinity ? Infinity : run.requests.keptForPurges - ROUND_REQUESTS + 1;
  const begun = run.mayPurge() ? purges.slice(0, Math.max(0, room)) : [];
  leave(run, purges.length - begun.length);
  if (begun.length === 0) return;
  const { signal, release } = run.until(monotonicMs() + run.settings.leaseMs);
  try {
    const failed: Purge[] = [];
    let failure: unknown;
    // one by one to the end: after its report a tick must have nothing under way
    const listed = await Promise.all(begun.map(async (each) => {
      const done = await run.uploads.acquire();
      try {
        return { each, names: await namesOf(run, each, signal) };
      } catch (thrown) {
        failed.push(each);
        failure ??= thrown;
      } finally {
        done();
      }
    }));
    let done = listed.filter((one) => one !== undefined);
    const marked = done.filter(needsMarker);
    if (claim && marked.length > 0) {
      const left = new Set<Marked>();
      const leaveOut = (some: Marked[], thrown: unknown) => {
        for (const one of some) left.add(one);
        failure ??= thrown;
      };
      await import("./markers.ts")
        .then(({ putMarkers }) => putMarkers(run, claim.id, claim.nowUs, marked, signal, leaveOut))
        .catch((thrown) => leaveOut(marked, thrown));
      failed.push(...[...left].map(({ each }) => each));
      done = done.filter((one) => !left.has(one));
    }
    for (const group of inGroups(done, ({ names }) => names.length, MOST_NAMES)) {
      const some = group.map(({ each }) => each);
      try {
        const names = group.flatMap(({ names }) => names);
        if (names.length > 0) {
          await run.counted((call) => run.context.datastore.deleteKeys!(names, call), signal, "purging");
        }
      } catch (thrown) {
        failed.push(...some);
        failure ??= thrown;
        continue;
      }
      run.report.purged += await settle(run, some, true);
    }
    await giveUp(run, failed, failure);
  } finally {
    release();
  }
}

/** Tells if a marker must be put before the objects are deleted: see markers.ts. */
function needsMarker({ each: { expired, hasTombstone, anew }, names }: Marked): boolean {
  const isRemoval = (name: string) => goneOf(versionOfObject(name)) === true;
  return anew !== undefined || (expired === true && names.some((name) => !hasTombstone || isRemoval(name)));
}

/** Reports keys whose objects could not be deleted, each time; a later tick tries again. */
async function giveUp(run: TickRun, failed: Purge[], failure: unknown): Promise<void> {
  if (failed.length === 0) return;
  leave(run, failed.length);
  if (hasEnded(run)) return; // due as before
  const { message, retryable } = asTundraError(failure, "delete objects");
  run.fail(
    new TundraError(
      "UNAVAILABLE",
      `Cannot delete what ${countKeys(failed)} (${
        showKeys(failed.map(({ key }) => key))
      }) left in the archive: ${message}`,
      { retryable, cause: failure },
    ),
  );
  await settle(run, failed, false);
}

/** Notes in Redis what was deleted; returns the number of keys that have nothing left to delete. */
async function settle(run: TickRun, purges: Purge[], deleted: boolean): Promise<number> {
  try {
    const left = await purged(run.context.index, purges, deleted, run.purging);
    if (!deleted) return 0;
    leave(run, left);
    return purges.filter(({ upTo }) => upTo !== "").length - left;
  } catch (thrown) {
    if (deleted) leave(run, purges.length);
    if (!hasEnded(run)) run.fail(asTundraError(thrown, "say what was deleted"));
    return 0;
  }
}

function leave(run: TickRun, keys: number): void {
  run.report.purging += keys;
}

async function namesOf(run: TickRun, { key, upTo }: Purge, signal: AbortSignal): Promise<string[]> {
  const { context } = run;
  if (upTo === "" || !context.datastore.deleteKeys) return [];
  const prefix = await objectPrefix(context, key);
  // what a pack holds goes with the pack
  if (!context.datastore.listKeys) return placeOf(upTo).pack === "" ? [prefix + upTo] : [];
  return await run.counted((call) => listUpTo(context, prefix, upTo, call), signal, "purging");
}

async function listUpTo(
  context: Context,
  prefix: string,
  last: string,
  call: DatastoreCallOptions,
): Promise<string[]> {
  const names: string[] = [];
  for await (const page of listPages(context.datastore, prefix, call, { unfinished: true })) {
    for (const name of page) {
      const micros = versionMicros(name.slice(prefix.length));
      if (micros > 0 && micros <= versionMicros(last)) names.push(name);
    }
  }
  return names;
}
