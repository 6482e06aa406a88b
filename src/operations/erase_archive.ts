/**
 * Erases versions from the archive, and proves that none is left. Values go before the tombstones that say that they
 * were removed, wherever both lie: an erasure that is interrupted brings nothing back, not even to a rebuild.
 * @module
 */
import { asTundraError, isDamage, isNotFound, TundraError } from "../base/errors.ts";
import { goneOf, objectPrefix, packName, packPrefix, versionMicros } from "../base/keys.ts";
import { listPacks } from "../core/newest_version.ts";
import { listPages } from "../datastores/guarded.ts";
import { writeCursor } from "../scripts/cursor.ts";
import { noteErasure } from "../scripts/note_erasure.ts";
import { type Hidden, type Listed, ownPage, type OwnVersion } from "./archive_walk.ts";
import { areHidden, listedIn, OTHERS, reportAhead, reportDamage, reportRecord } from "./erase_damage.ts";
import { isRemoved } from "./erase_redis.ts";
import { anew, type EraseRun, type EraseState, mayGoOn } from "./erase_run.ts";
import { indexWent } from "./owned_index.ts";
import { type Records, recordsNow } from "./records_now.ts";
import { moverOf } from "./sweep_move.ts";

/** Requests for a page of objects, and for a pack. */
const REQUESTS = 10;
/** Names in one deletion. */
const MOST_NAMES = 500;
/** Packs whose names are kept for the next call: some 25 KB. */
const MOST_NOTED = 1_000;

type Kind = "values" | "tombstones";

/** Erases objects of keys' own; `false` if a bound was reached. */
export async function eraseOwn(run: EraseRun, state: EraseState, kind: Kind): Promise<boolean> {
  if (kind === "values" && state.sinceUs === 0) {
    await recordsOf(run, []); // for Redis' clock
    state.sinceUs = run.clockUs;
  }
  return await forOwnVersions(run, state, async ({ versions, hidden }) => {
    if (areHidden(run, hidden)) state.someStay = true;
    const some = versions.filter(({ ver }) => isOfKind(state, kind, ver, goneOf(ver) !== undefined));
    const later = versions.filter((each) => goneOf(each.ver) !== undefined && !some.includes(each));
    if (kind === "tombstones") await reportAhead(run, later);
    for (let i = 0; i < some.length; i += MOST_NAMES) {
      const part = some.slice(i, i + MOST_NAMES);
      const records = await recordsOf(run, part.map(({ key }) => key));
      const names = part.filter(({ key, ver }) => mayGo(run, key, ver, records)).map(({ name }) => name);
      // Its record may let a tombstone of that key go by then.
      if (kind === "values" && names.length < part.length) state.someStay = true;
      await remove(run, names, names.length);
    }
    return true;
  });
}

/** Tells values from tombstones, and leaves those that came after the values were erased. */
function isOfKind({ sinceUs }: EraseState, kind: Kind, ver: string, isTombstone: boolean): boolean {
  return kind === "values" ? !isTombstone : isTombstone && versionMicros(ver) < sinceUs;
}

/** Objects of keys' own that were listed. */
interface Part {
  /** Versions of the chosen keys. */
  versions: OwnVersion[];
  hidden: readonly Hidden[];
  /** The number of those that are not of the chosen keys, or tell no key. */
  others: number;
}

/** Acts on versions in objects of the keys' own, some at a time; `false` if a bound was reached, or `act` says so. */
async function forOwnVersions(
  run: EraseRun,
  state: EraseState,
  act: (part: Part) => Promise<boolean>,
): Promise<boolean> {
  const { bounds, keys } = run;
  while (keys === undefined && state.own !== undefined) {
    if (!mayGoOn(run, REQUESTS)) return false;
    const { versions: all, unfinished, unknown, hidden, next } = await ownPage(bounds, state.own);
    const chosen = all.filter(({ key }) => run.isChosen(key));
    const versions = [...chosen, ...unfinished.filter(({ key }) => run.isChosen(key))];
    if (!await act({ versions, hidden, others: all.length - chosen.length + unknown.length })) return false;
    run.looked += all.length;
    bounds.progress(run.looked);
    state.own = next;
  }
  for (; keys !== undefined && state.keys < keys.length; state.keys++) {
    if (!mayGoOn(run, REQUESTS)) return false;
    if (!await act({ versions: await versionsAlone(run, keys[state.keys]!), hidden: [], others: 0 })) return false;
    run.looked++;
    bounds.progress(run.looked);
  }
  return true;
}

async function versionsAlone({ context, bounds }: EraseRun, key: string): Promise<OwnVersion[]> {
  const prefix = await objectPrefix(context, key);
  return await bounds.counted(async (call) => {
    const versions: OwnVersion[] = [];
    for await (const names of listPages(context.datastore, prefix, call, { unfinished: true })) {
      versions.push(...names.map((name) => ({ key, name, ver: name.slice(prefix.length) })));
    }
    return versions;
  });
}

/** Rewrites packs that hold versions of the keys; `false` if a bound was reached. */
export async function erasePacks(run: EraseRun, state: EraseState, kind: Kind): Promise<boolean> {
  const noted = kind === "tombstones" && state.tombstonePacks !== undefined ? new Set(state.tombstonePacks) : undefined;
  return await forPacks(run, state, async (pack) => {
    if (noted?.has(pack) ?? true) await erasePack(run, state, pack, kind);
    return true;
  });
}

/** Acts on packs, the oldest first; `false` if a bound was reached, or `act` says so. */
async function forPacks(run: EraseRun, state: EraseState, act: (pack: string) => Promise<boolean>): Promise<boolean> {
  const { context, bounds } = run;
  const packs = await bounds.counted((call) => listPacks(context, packPrefix(context.tqname), call));
  for (const pack of packs) {
    if (pack <= state.pack) continue;
    if (!mayGoOn(run, REQUESTS)) return false;
    if (!await act(pack)) return false;
    if (!run.dryRun) state.pack = pack;
    bounds.progress(run.looked);
  }
  return true;
}

/** The versions of the keys in a pack; `undefined` if it went meanwhile, or is unreadable. */
async function chosenIn(run: EraseRun, pack: string): Promise<Listed[] | undefined> {
  return (await listedIn(run, pack))?.filter(({ key }) => run.isChosen(key));
}

/**
 * Looks if packs hold values still, before any tombstone goes; `false` if a bound was reached, or some do. Another
 * operation may have put one meanwhile. Notes where tombstones are.
 */
export async function proveValues(run: EraseRun, state: EraseState): Promise<boolean> {
  if (state.someStay) return anew(state);
  if (state.pack === "") {
    await noteErasure(run.context.index, run.bounds.call);
    state.tombstonePacks = [];
  }
  return await forPacks(run, state, async (pack) => {
    const chosen = await chosenIn(run, pack);
    if (chosen?.every(({ gone }) => gone !== undefined) !== true) return anew(state);
    if (chosen.length > 0) state.tombstonePacks?.push(pack);
    if ((state.tombstonePacks?.length ?? 0) > MOST_NOTED) state.tombstonePacks = undefined;
    return true;
  });
}

async function erasePack(run: EraseRun, state: EraseState, pack: string, kind: Kind): Promise<void> {
  const { context } = run;
  const entries = await listedIn(run, pack) ?? [];
  const chosen = entries.filter(({ key, ver, gone }) =>
    run.isChosen(key) && isOfKind(state, kind, ver, gone !== undefined)
  );
  const later = entries.filter((each) => run.isChosen(each.key) && each.gone !== undefined && !chosen.includes(each));
  if (kind === "tombstones") await reportAhead(run, later);
  if (chosen.length === 0) return;
  if (!context.datastore.fetchRanges) {
    throw new TundraError("UNSUPPORTED", "Cannot erase as the datastore must be able to read ranges: it is not");
  }
  const records = await recordsOf(run, entries.map(({ key }) => key));
  const unsupported = entries.find(({ key }) => records.get(key) === undefined);
  if (unsupported !== undefined) return reportRecord(run, unsupported.key);
  const goes = new Set(chosen.filter(({ key, word }) => mayGo(run, key, word, records)));
  const kept = entries.filter((entry) => !goes.has(entry));
  if (goes.size === 0 || !await moveOthers(run, pack, kept, records)) return;
  await remove(run, [packName(context.tqname, pack)], goes.size);
}

/** Moves the other versions of a pack; `false` if some of them are damaged: then the pack stays, which is reported. */
async function moveOthers(run: EraseRun, pack: string, kept: Listed[], records: Records): Promise<boolean> {
  if (kept.length === 0) return true;
  let failure: unknown;
  const mover = moverOf(run, (_pack, thrown) => failure = thrown);
  await mover.add(pack, kept.map(({ key, word }) => ({ key, ver: word, isNamed: records.get(key)?.ver === word })));
  await mover.flush();
  if (failure === undefined) return true;
  if (isDamage(failure)) reportDamage(run, packName(run.context.tqname, pack), failure, OTHERS);
  else if (!isNotFound(failure)) run.errors.add("", asTundraError(failure, `rewrite the pack ${pack}`));
  return false; // another erasure may have deleted it
}

async function recordsOf(run: EraseRun, keys: string[]): Promise<Records> {
  return await recordsNow(run, keys, indexWent);
}

/** Tells if a version may be erased: not if its key was written anew meanwhile, or nobody has removed it. */
function mayGo(run: EraseRun, key: string, word: string, records: Records): boolean {
  const record = records.get(key);
  if (record === undefined && !run.dryRun) {
    reportRecord(run, key);
    return false;
  }
  if (!(record === null || isRemoved(record)) && !run.dryRun) {
    const message = `Cannot erase ${word} of the key as it must stay removed meanwhile: it was written again`;
    run.errors.add(key, new TundraError("CONFLICT", message, { keys: [key] }));
    return false;
  }
  if (!run.erased.has(key)) run.erased.add(key);
  return true;
}

async function remove(run: EraseRun, names: string[], versions: number): Promise<void> {
  const { context, bounds, report } = run;
  if (names.length === 0) return;
  if (!run.dryRun) await bounds.counted((call) => context.datastore.deleteKeys!(names, call));
  report.objects += names.length;
  report.versions += versions;
}

/** Removes what interrupted sweeps have kept, as it names keys. */
async function eraseStates({ context, bounds }: EraseRun): Promise<void> {
  const prefix = `${context.tqname}/~sweep/`;
  const { names } = await bounds.counted((call) => context.datastore.listKeys!(prefix, undefined, call));
  if (names.length > 0) await bounds.counted((call) => context.datastore.deleteKeys!(names, call));
  await writeCursor(context, "sweep", undefined, bounds.call);
}

/** Looks into all packs once more; `false` if a bound was reached, or some hold the keys. */
export async function provePacks(run: EraseRun, state: EraseState): Promise<boolean> {
  if (state.pack === "") {
    // a sweep that began before keeps nothing from now on, so none keeps names once these are gone
    state.provedUs = await noteErasure(run.context.index, run.bounds.call);
    await eraseStates(run);
    state.proof = { objects: 0, packs: 0 };
  }
  return await forPacks(run, state, async (pack) => {
    if ((await chosenIn(run, pack))?.length !== 0) return anew(state);
    state.proof.packs++;
    return true;
  });
}

/** Lists objects of the keys' own once more; `false` if a bound was reached, or there are some, or may be. */
export async function proveObjects(run: EraseRun, state: EraseState): Promise<boolean> {
  return await forOwnVersions(run, state, ({ versions, hidden, others }) => {
    if (versions.length > 0 || areHidden(run, hidden)) return Promise.resolve(anew(state));
    state.proof.objects += others;
    return Promise.resolve(true);
  });
}
