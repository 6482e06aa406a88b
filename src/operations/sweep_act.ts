/**
 * Acts on a batch of a sweep: looks at the records once more, deletes, and moves what lives.
 * @module
 */
import { holderName, placeOf } from "../archive/place.ts";
import { TundraError } from "../base/errors.ts";
import { objectName, packName, versionMicros } from "../base/keys.ts";
import { monotonicMs } from "../base/platform.ts";
import { readOwner, uuidOf } from "../core/owner.ts";
import { inGroups, keyBytes, roomIn } from "../upstash/requests.ts";
import { type Records, recordsNow } from "./records_now.ts";
import { ownHeld, packHeld, readPack, requestsToLook } from "./sweep_gather.ts";
import { type Move, type Mover, moverOf, requestsToMove } from "./sweep_move.ts";
import { factsOf, tombstonesOf } from "./sweep_notes.ts";
import { type Held, judge, type Reason, SAFE_US, type Verdict } from "./sweep_rules.ts";
import { count, keep, reportKept, roomFor, type SweepRun, type SweepState } from "./sweep_run.ts";

/** Requests to act on a group of keys or a pack: two parts of it, records, proofs, the owner, the deletion. */
const REQUESTS = 8;
/** Keys whose objects are looked at together, and the most names in one deletion: S3 takes 1,000 in a request. */
const GROUP = 500;
const MOST_NAMES = 1_000;
/** A look at the records counts for so long. */
const LOOK_MS = 60_000;
/** A pack that a sweep has made is not rewritten again for what was removed within a day. */
const REST_US = SAFE_US / 2;

/** A version that is to be deleted, the reason, and names of objects that must be there for it. */
interface Doomed {
  held: Held;
  reason: Reason;
  proofs: string[];
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
    await actOnOwn(run, state);
    run.gotOn = true;
  }
  return await actOnPacks(run, state);
}

async function actOnPacks(run: SweepRun, state: SweepState): Promise<boolean> {
  const { packActs } = state;
  const mover = moverOf(run, (pack, thrown) => reportKept(run, pack, thrown));
  let acted = 0;
  // as long as versions of a pack wait, the state names it: an abort loses what waits
  const settle = () => {
    if (mover.requests > 0) return;
    packActs.splice(0, acted);
    acted = 0;
  };
  while (acted < packActs.length && run.bounds.mayBegin(REQUESTS + mover.requests)) {
    try {
      if (!await actOnPack(run, state, packActs[acted]!, mover)) break;
    } catch (thrown) {
      if (mover.requests > 0 && run.bounds.signal?.aborted !== true) { // a bound, or what concerns this pack only
        await mover.flush();
        settle();
      }
      throw thrown;
    }
    state.proved = [];
    acted++;
    run.gotOn = true;
    settle();
  }
  await mover.flush();
  settle();
  return packActs.length === 0;
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

/** Acts on the first keys. What may go, but there are no requests left for, waits for the next time. */
async function actOnOwn(run: SweepRun, state: SweepState): Promise<void> {
  const { context } = run;
  const most = roomIn(context.index.scripts.requestLimit());
  const acts = inGroups(state.ownActs.slice(0, GROUP), ([key]) => keyBytes(key), most)[0]!;
  const versions = acts.flatMap(([key, vers]) => vers.map((ver) => ownHeld({ key, ver })));
  const { verdicts, records, atMs } = await look(run, state, versions);
  const doomed: Doomed[] = [];
  for (const [held, { goes, reason }] of verdicts) {
    if (goes) doomed.push({ held, reason, proofs: await proofsOf(run, state, { held, reason }, records) });
    else keep(run, reason);
  }
  const some = doomed.slice(0, fitting(run, doomed));
  const there = await areThere(run, some.flatMap(({ proofs }) => proofs));
  const proved = some.filter(({ proofs, reason }) => {
    const isProved = proofs.every((name) => there.has(name));
    if (!isProved) keep(run, reason);
    return isProved;
  });
  const names = await Promise.all(proved.map(({ held: { key, ver } }) => objectName(context, key, ver)));
  await remove(run, names, proved, atMs);
  const left = new Map<string, string[]>();
  for (const { held: { key, ver } } of doomed.slice(some.length)) left.set(key, [...left.get(key) ?? [], ver]);
  state.ownActs.splice(0, acts.length, ...left);
}

/** The number of the first of some versions for whose proofs and deletion there are requests; one at least. */
function fitting({ bounds, namesPerDeletion }: SweepRun, doomed: Doomed[]): number {
  const left = bounds.requestsLeft() - 1; // the owner
  const asked = new Set<string>();
  const beyond = doomed.findIndex(({ proofs }, i) => {
    for (const name of proofs) asked.add(name);
    return i >= MOST_NAMES || (i > 0 && asked.size + Math.ceil((i + 1) / namesPerDeletion) > left);
  });
  return beyond < 0 ? doomed.length : beyond;
}

/** Acts on a pack; `false` if there are not enough requests for it, or for all of its proofs. */
async function actOnPack(run: SweepRun, state: SweepState, pack: string, mover: Mover): Promise<boolean> {
  const directory = await readPack(run, pack);
  if (directory === undefined) return true; // another sweep has deleted it
  const { entries } = directory;
  let room = roomFor(run, pack, requestsToLook(entries) + mover.requests);
  if (room !== true) return room === "passed";
  const held = entries.map((entry) => packHeld(pack, entry));
  const { verdicts, records, atMs } = await look(run, state, held);
  const all = held.map((each) => ({ held: each, ...verdicts.get(each)! }));
  const doomed = all.every(({ goes }) => goes)
    ? await Promise.all(all.map(async (each) => ({ ...each, proofs: await proofsOf(run, state, each, records) })))
    : undefined;
  const proof = doomed && await provePack(run, state, doomed, mover);
  if (proof === "later") return false;
  if (doomed && proof === "there") {
    run.directories.delete(pack);
    await remove(run, [packName(run.context.tqname, pack)], doomed, atMs);
    return true;
  }
  const live = all.filter(({ ends, goes }) => !ends && !goes);
  const moves = live.map(({ held: { key, word }, reason }): Move => ({ key, ver: word, isNamed: reason === "named" }));
  const isMoved = moves.length > 0 && isWorthIt(run, pack, all);
  if (isMoved) room = roomFor(run, pack, requestsToMove(moves) + mover.requests);
  if (room === false) return false;
  for (const { reason } of all) keep(run, reason);
  if (isMoved && room === true) await mover.add(pack, moves);
  return true;
}

/**
 * Tells if all that a pack goes for is there. What was found to be is not asked for again by the next call: it stays as
 * long as the pack, whose versions it stands for.
 */
async function provePack(
  run: SweepRun,
  state: SweepState,
  doomed: Doomed[],
  mover: Mover,
): Promise<"there" | "absent" | "later"> {
  const known = new Set(state.proved);
  const names = [...new Set(doomed.flatMap(({ proofs }) => proofs))].filter((name) => !known.has(name));
  const left = run.bounds.requestsLeft() - mover.requests - 2; // the owner, and the deletion
  const asked = names.slice(0, Math.max(0, left));
  const there = await areThere(run, asked);
  if (asked.some((name) => !there.has(name))) return "absent";
  state.proved.push(...asked);
  return asked.length < names.length || left < 0 ? "later" : "there";
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
 * Names of the objects that must be in the archive still if a version is to go: what it goes for, a tombstone, or the
 * same version in another place. The record's word is no proof of that: an erasure deletes packs at once, and a commit
 * may come after it.
 */
async function proofsOf(
  { context }: SweepRun,
  { notes }: SweepState,
  { held, reason }: Pick<Doomed, "held" | "reason">,
  records: Records,
): Promise<string[]> {
  const { copy } = factsOf(notes, held);
  if (reason === "removed" || reason === "superseded") {
    return await Promise.all(tombstonesOf(notes, held.key).map((word) => holderName(context, held.key, word)));
  }
  if (reason !== "moved") return [];
  const { ver } = records.get(held.key) ?? { ver: "" };
  const isThere = placeOf(ver).ver === held.ver;
  return [isThere ? await holderName(context, held.key, ver) : packName(context.tqname, copy)];
}

/** Those names of objects that the archive has. */
async function areThere({ context: { datastore }, bounds }: SweepRun, names: string[]): Promise<Set<string>> {
  const asked = [...new Set(names)];
  if (asked.length === 0) return new Set();
  const answers = datastore.hasKeys
    ? await bounds.counted((call) => datastore.hasKeys!(asked, call))
    : (await bounds.counted((call) => datastore.fetchKeys(asked, call))).map((object) => object instanceof Uint8Array);
  return new Set(asked.filter((_, i) => answers[i] === true));
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
    const before = bounds.report(false).subrequests;
    await bounds.counted((call) => context.datastore.deleteKeys!(names, call));
    const used = Math.max(1, bounds.report(false).subrequests - before);
    run.namesPerDeletion = Math.max(run.namesPerDeletion, Math.floor(names.length / used));
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
