/**
 * Acts on a batch of a sweep: looks at the records once more, deletes, and moves what lives.
 * @module
 */
import { holderName, placeOf } from "../archive/place.ts";
import { TundraError } from "../base/errors.ts";
import { objectName, packName, versionMicros } from "../base/keys.ts";
import { monotonicMs } from "../base/platform.ts";
import { readOwner, uuidOf } from "../core/owner.ts";
import { inGroups } from "../upstash/requests.ts";
import { type Records, recordsNow } from "./records_now.ts";
import { ownHeld, packHeld, readPack } from "./sweep_gather.ts";
import { type Move, type Mover, moverOf } from "./sweep_move.ts";
import { factsOf, tombstonesOf } from "./sweep_notes.ts";
import { type Held, judge, type Reason, SAFE_US, type Verdict } from "./sweep_rules.ts";
import { count, keep, reportKept, type SweepRun, type SweepState } from "./sweep_run.ts";

/** Requests to act on a group of keys or a pack: two parts of it, records, proofs, the owner, the deletion. */
const REQUESTS = 8;
/** Keys whose objects are deleted together; S3 takes 1,000 names in a request. */
const GROUP = 500;
/** A look at the records counts for so long. */
const LOOK_MS = 60_000;
/** A pack that a sweep has made is not rewritten again for what was removed within a day. */
const REST_US = SAFE_US / 2;

/** A version that is to be deleted, and the reason. */
interface Doomed {
  held: Held;
  reason: Reason;
}

/** Versions that may go, by the records as they are now. */
interface Look {
  verdicts: Map<Held, Verdict>;
  records: Records;
  /** The time at which it was taken, by the monotonic clock. */
  atMs: number;
}

/** Acts on all that the batch has gathered; `false` if a bound was reached. */
export async function actOnBatch(run: SweepRun, state: SweepState): Promise<boolean> {
  const { bounds } = run;
  while (state.ownActs.length > 0) {
    if (!bounds.mayBegin(REQUESTS)) return false;
    await actOnOwn(run, state, state.ownActs.slice(0, GROUP));
    state.ownActs.splice(0, GROUP);
  }
  const mover = moverOf(run, (pack, thrown) => reportKept(run, pack, thrown));
  while (state.packActs.length > 0 && bounds.mayBegin(REQUESTS + mover.requests)) {
    await actOnPack(run, state, state.packActs[0]!, mover);
    state.packActs.shift();
  }
  await mover.flush();
  return state.packActs.length === 0;
}

/** The verdicts on versions, by records and clock of this moment. */
async function look(run: SweepRun, state: SweepState, versions: Held[]): Promise<Look> {
  const atMs = monotonicMs();
  const records = await recordsNow(run, versions.map(({ key }) => key), () => changedHands(run));
  const judged = (besideRemoved: boolean) =>
    new Map(versions.map((held) => {
      const { key } = held;
      return [held, judge(held, records.get(key), factsOf(state.notes, held), run.times, besideRemoved)];
    }));
  const first = judged(false);
  const besideRemoved = [...first.values()].some(({ reason }) => reason === "removed");
  return { verdicts: besideRemoved ? judged(true) : first, records, atMs };
}

async function actOnOwn(run: SweepRun, state: SweepState, acts: [string, string[]][]): Promise<void> {
  const versions = acts.flatMap(([key, vers]) => vers.map((ver) => ownHeld({ key, ver })));
  const { verdicts, records, atMs } = await look(run, state, versions);
  const doomed: Doomed[] = [];
  for (const [held, { goes, reason }] of verdicts) {
    if (goes) doomed.push({ held, reason });
    else keep(run, reason);
  }
  const proved = await withProof(run, state, doomed, records);
  for (const group of inGroups(proved, () => 1, Infinity)) {
    const names = await Promise.all(group.map(({ held: { key, ver } }) => objectName(run.context, key, ver)));
    await remove(run, names, group, atMs);
  }
}

async function actOnPack(run: SweepRun, state: SweepState, pack: string, mover: Mover): Promise<void> {
  const directory = await readPack(run, pack);
  if (directory === undefined) return; // another sweep has deleted it
  const { entries } = directory;
  const held = entries.map((entry) => packHeld(pack, entry));
  const { verdicts, records, atMs } = await look(run, state, held);
  const all = held.map((each) => ({ held: each, ...verdicts.get(each)! }));
  const doomed = all.filter(({ goes }) => goes);
  const proved = doomed.length === all.length ? await withProof(run, state, doomed, records) : [];
  if (proved.length === all.length) {
    run.directories.delete(pack);
    return await remove(run, [packName(run.context.tqname, pack)], proved, atMs);
  }
  for (const { reason } of all) keep(run, reason);
  const live = all.filter(({ ends, goes }) => !ends && !goes);
  if (live.length === 0 || !isWorthIt(run, pack, all)) return;
  const moves = live.map(({ held: { key, word }, reason }): Move => ({ key, ver: word, isNamed: reason === "named" }));
  await mover.add(pack, moves);
}

/**
 * Tells if a pack is to be rewritten: less than half of it is needed, or it holds what was removed. The second only
 * once a day for what a sweep has moved before.
 */
function isWorthIt({ times, context }: SweepRun, pack: string, all: (Verdict & { held: Held })[]): boolean {
  if (!context.datastore.fetchRanges) return false;
  const ageUs = times.nowUs - versionMicros(pack);
  const wasMoved = all.some(({ held }) => held.ver !== pack);
  if (all.some(({ reason }) => reason === "removed")) return !wasMoved || ageUs > REST_US;
  return ageUs > SAFE_US && all.filter(({ goes }) => !goes).length * 2 < all.length;
}

/**
 * Those for which what they go for is still in the archive: a tombstone, or the same version in another place. The
 * record's word is no proof of that: an erasure deletes packs at once, and a commit may come after it.
 */
async function withProof(
  run: SweepRun,
  { notes }: SweepState,
  doomed: Doomed[],
  records: Records,
): Promise<Doomed[]> {
  const { context, bounds } = run;
  const proofs = new Map<Doomed, string[]>();
  for (const each of doomed) {
    const { held, reason } = each;
    const { copy } = factsOf(notes, held);
    const words = reason === "removed" || (reason === "superseded") ? tombstonesOf(notes, held.key) : [];
    const names = await Promise.all(words.map((word) => holderName(context, held.key, word)));
    if (reason === "moved") {
      const { ver } = records.get(held.key) ?? { ver: "" };
      const isThere = placeOf(ver).ver === held.ver;
      names.push(isThere ? await holderName(context, held.key, ver) : packName(context.tqname, copy));
    }
    proofs.set(each, names);
  }
  const asked = [...new Set([...proofs.values()].flat())];
  if (asked.length === 0) return doomed;
  const { datastore } = context;
  const answers = datastore.hasKeys
    ? await bounds.counted((call) => datastore.hasKeys!(asked, call))
    : (await bounds.counted((call) => datastore.fetchKeys(asked, call))).map((object) => object instanceof Uint8Array);
  const there = new Set(asked.filter((_, i) => answers[i] === true));
  return doomed.filter((each) => {
    const proved = proofs.get(each)!.every((name) => there.has(name));
    if (!proved) keep(run, each.reason);
    return proved;
  });
}

/** Deletes objects, if the archive is still this index's and the look at the records is not old. */
async function remove(run: SweepRun, names: string[], doomed: Doomed[], lookedAtMs: number): Promise<void> {
  const { context, bounds, report } = run;
  if (names.length === 0) return;
  if (!run.dryRun) {
    const owner = await bounds.counted((call) => readOwner(context, uuidOf(run.id), call));
    if (owner !== run.id) throw changedHands(run);
    if (monotonicMs() - lookedAtMs > LOOK_MS) { // it was frozen meanwhile: the next call looks again
      throw new TundraError("UNAVAILABLE", "Cannot delete what was looked at more than a minute ago");
    }
    await bounds.counted((call) => context.datastore.deleteKeys!(names, call));
  }
  report.objects += names.length;
  report.deleted += doomed.length;
  for (const { reason } of doomed) count(report.deletedFor, reason);
}

/** The error if the index has another id, or the archive another owner. */
function changedHands({ id }: SweepRun): TundraError {
  return new TundraError(
    "LOST",
    `Cannot sweep further as the archive must stay this index's, ${id}: it has changed hands`,
  );
}
