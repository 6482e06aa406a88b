/**
 * The walk of a rotation: objects of keys' own in the order of their names, then packs, the oldest first.
 * @module
 */
import { asTundraError, isNotFound, show, TundraError } from "../base/errors.ts";
import { isLarge, packName, packPrefix, versionMicros } from "../base/keys.ts";
import { listPacks, wordOf } from "../core/newest_version.ts";
import type { AesGcmParts } from "../freezers/aes_gcm.ts";
import { OWN_START, type OwnCursor, ownPage, type OwnVersion } from "../operations/archive_walk.ts";
import type { KeyErrors } from "../operations/key_errors.ts";
import { indexWent } from "../operations/owned_index.ts";
import { NO_LOOK, recordsNow } from "../operations/records_now.ts";
import { type Move, type Mover, moverOf, type MovingRun } from "../operations/sweep_move.ts";
import { noUnit, ownIds, packUnits } from "./units.ts";

/** One call. */
export interface RotateRun extends MovingRun {
  readonly parts: AesGcmParts;
  readonly errors: KeyErrors;
  readonly maxObjects: number;
  /** Objects that were looked at. */
  looked: number;
  readonly mover: Mover;
  /** The last failure of the mover. */
  failure: unknown;
  /** The state as text, as of when nothing waited to be put: what comes before it is done for good. */
  noted: string;
  note(state: RotateState): void;
}

/** The progress of a rotation. */
export interface RotateState {
  /** The key id that it rotates to: with another one it begins anew. */
  current: string;
  /** The point of the listing of objects of keys' own, `undefined` at its end; and the last object that is done. */
  own: OwnCursor | undefined;
  after: string;
  /** Packs up to this one are done; what was put since `sinceUs` is not looked at. */
  pack: string;
  sinceUs: number;
}

/** Requests for a page or a pack besides those of its mover: lists, parts, records, reads. */
const REQUESTS = 8;
/** Those of an object of a key's own: its head, its bytes, and one more. */
const OBJECT_REQUESTS = 3;
/** Objects of keys' own that are looked at together. */
const WAVE = 100;
/** KB of values that are read together. */
const READ_KB = 4_096;

/** Begins a call. */
export function rotateRun(
  given: Pick<RotateRun, "context" | "bounds" | "id" | "dryRun" | "report" | "parts" | "errors" | "maxObjects">,
): RotateRun {
  // without ranges a whole pack is read for each of its versions: then each has one of its own
  const packBytes = given.context.datastore.fetchRanges ? {} : { packBytes: 1 };
  const moving = {
    ...given,
    ...packBytes,
    ...NO_LOOK,
    looked: 0,
    failure: undefined as unknown,
    noted: "",
  };
  const mover = moverOf(moving, (_pack, thrown) => moving.failure = thrown);
  return Object.assign(moving, {
    mover,
    note(state: RotateState) {
      if (mover.requests === 0) moving.noted = JSON.stringify(state);
    },
  });
}

/** The beginning. */
export function freshState({ clockUs, parts }: RotateRun): RotateState {
  return { current: parts.idFor(), own: OWN_START, after: "", pack: "", sinceUs: clockUs };
}

function mayGoOn({ bounds, looked, maxObjects, mover }: RotateRun): boolean {
  return bounds.mayBegin(REQUESTS + mover.requests) && looked < maxObjects;
}

/** Goes through objects of keys' own; `false` if a bound was reached. */
export async function rotateOwn(run: RotateRun, state: RotateState): Promise<boolean> {
  const { bounds } = run;
  const versionRequests = run.context.datastore.fetchRanges ? OBJECT_REQUESTS : 5; // each alone in a pack
  while (state.own !== undefined) {
    if (!mayGoOn(run)) return false;
    const mostRead = Math.floor((bounds.requestsLeft() - REQUESTS) / (1 + versionRequests));
    const { versions, next } = await ownPage(bounds, state.own, mostRead);
    const waiting = versions.filter(({ name, ver }) => name > state.after && versionMicros(ver) < state.sinceUs);
    while (waiting.length > 0) {
      if (!mayGoOn(run)) return false;
      const left = Math.max(1, Math.floor((bounds.requestsLeft() - REQUESTS) / versionRequests));
      const some = waiting.splice(0, Math.min(WAVE, left, run.maxObjects - run.looked));
      await rotateSome(run, some);
      run.looked += some.length;
      bounds.progress(run.looked);
      state.after = some.at(-1)!.name;
      run.note(state);
    }
    Object.assign(state, { own: next, after: "" });
    run.note(state);
  }
  return true;
}

/** Moves those that their records name and another key has encrypted. */
async function rotateSome(run: RotateRun, versions: OwnVersion[]): Promise<void> {
  const { bounds, parts, errors } = run;
  const records = await recordsNow(run, versions.map(({ key }) => key), indexWent);
  const named = versions.filter(({ key, ver }) => isNamed(records.get(key), ver));
  if (named.length === 0) return;
  const ids = await ownIds(bounds, named.map(({ name }) => name));
  let [moves, kb]: [Move[], number] = [[], 0];
  for (const [i, { key, ver, name }] of named.entries()) {
    const is = idIn(run, ids[i] ?? noUnit(name));
    const must = idFor(parts, key);
    if (must instanceof TundraError) errors.add(key, must);
    if (is === undefined || must instanceof TundraError || is === must) continue;
    if (isLarge(ver)) {
      const why =
        `a value that no request can carry must be archived anew: call ensureKs() and dirty(), and run a tick`;
      errors.add(
        key,
        new TundraError("TOO_LARGE", `Cannot rotate the key of ${show(name)} as ${why}`, { keys: [key] }),
      );
      continue;
    }
    const size = records.get(key)!.kb || READ_KB; // it may not be known
    if (kb + size > READ_KB && moves.length > 0) {
      await move(run, moves.map((each) => [each]));
      [moves, kb] = [[], 0];
    }
    moves.push({ key, ver, isNamed: true });
    kb += size;
  }
  await move(run, moves.map((each) => [each]));
}

/** A key id that could be told; a failure is reported, unless it may pass. */
function idIn({ errors }: RotateRun, id: string | Error): string | undefined {
  if (typeof id === "string" || isNotFound(id)) return typeof id === "string" ? id : undefined;
  const error = asTundraError(id, "read an object");
  if (error.retryable) throw error;
  errors.add("", error);
  return undefined;
}

/** The id that a key's value is to have; an error if there is no such key: it stays as it is. */
function idFor(parts: AesGcmParts, key: string): string | TundraError {
  try {
    return parts.idFor(key);
  } catch (thrown) {
    return asTundraError(thrown, `choose a key for ${show(key)}`);
  }
}

/** Moves groups of versions together, or, if some cannot be read, each group by itself. */
async function move(run: RotateRun, groups: Move[][]): Promise<void> {
  const { mover, errors } = run;
  if (groups.length === 0) return;
  run.failure = undefined;
  await mover.add("", groups.flat());
  if (run.failure === undefined) return;
  const error = asTundraError(run.failure, "read versions");
  if (error.retryable) throw error;
  if (groups.length > 1) { for (const group of groups) await move(run, [group]); }
  else if (!isNotFound(run.failure)) errors.add(groups[0]![0]!.key, error); // a sweep has deleted it, as it was moved
}

/** Moves what still waits; throws if it could not be moved. */
export async function moveRest(run: RotateRun): Promise<void> {
  run.failure = undefined;
  await run.mover.flush();
  if (run.failure !== undefined) throw run.failure;
}

function isNamed(record: { ver: string; flag: string } | null | undefined, word: string): boolean {
  return record?.ver === word && (record.flag === "r" || record.flag === "e");
}

/** Goes through packs, the oldest first; `false` if a bound was reached. */
export async function rotatePacks(run: RotateRun, state: RotateState): Promise<boolean> {
  const { context, bounds } = run;
  if (!mayGoOn(run)) return false;
  const all = await bounds.counted((call) => listPacks(context, packPrefix(context.tqname), call));
  for (const pack of all) {
    if (pack <= state.pack || versionMicros(pack) >= state.sinceUs) continue;
    if (!mayGoOn(run)) return false;
    await rotatePack(run, pack);
    bounds.progress(++run.looked);
    state.pack = pack;
    run.note(state);
  }
  return true;
}

async function rotatePack(run: RotateRun, pack: string): Promise<void> {
  const { bounds, context, parts, errors } = run;
  const name = packName(context.tqname, pack);
  const units = await packUnits(bounds, pack).catch((thrown) => {
    const error = asTundraError(thrown, `read ${show(name)}`);
    if (error.retryable) throw error;
    errors.add("", error);
    return undefined;
  });
  if (units === undefined) return; // a sweep has deleted it, or it cannot be read
  const isStale = units.directoryId !== parts.idFor();
  const must = new Map(units.entries.map((entry) => [entry, idFor(parts, entry.key)]));
  const blocks = [...units.blockIds].map(([offset, id]) => {
    const is = idIn(run, id ?? noUnit(name));
    return is === undefined ? [] : units.entries.filter((entry) => {
      return entry.offset === offset && (isStale || must.get(entry) !== is);
    });
  });
  if (blocks.every(({ length }) => length === 0)) return;
  const records = await recordsNow(run, blocks.flat().map(({ key }) => key), indexWent);
  const groups = blocks.map((entries) =>
    entries.filter((entry) => {
      const id = must.get(entry);
      if (!isNamed(records.get(entry.key), wordOf(pack, entry))) return false;
      if (id instanceof TundraError) errors.add(entry.key, id);
      return typeof id === "string";
    }).map((entry) => ({ key: entry.key, ver: wordOf(pack, entry), isNamed: true }))
  );
  await move(run, groups.filter(({ length }) => length > 0));
}
