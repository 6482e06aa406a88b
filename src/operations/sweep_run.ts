/**
 * One call of a sweep, and what it keeps for the next one: a cursor in Redis, and an object of the archive if that
 * would be long.
 * @module
 */
import { seal, unseal } from "../archive/seal.ts";
import { asTundraError, isNotFound, show, TundraError, type TundraErrorCode } from "../base/errors.ts";
import { versionAfter, versionMicros, versionOfObject } from "../base/keys.ts";
import type { Context } from "../core/context.ts";
import type { Directories } from "../core/newest_version.ts";
import { readCursor } from "../scripts/cursor.ts";
import { noteRun, type Run } from "../scripts/note_run.ts";
import { OWN_START, type OwnCursor } from "./archive_walk.ts";
import type { Bounds, OperationReport } from "./bounds.ts";
import type { LastLook } from "./records_now.ts";
import { decodeNotes, emptyNotes, encodeNotes, type Notes, want } from "./sweep_notes.ts";
import { type Reason, SAFE_US, type Times } from "./sweep_rules.ts";

/** The report of `sweep()`. Numbers are of versions. */
export interface SweepReport extends OperationReport {
  /** Versions deleted. A pack goes once none of its versions is needed. */
  deleted: number;
  /** Versions moved into another pack. */
  moved: number;
  /** Versions that stay. */
  kept: number;
  /** Objects deleted, packs included. */
  objects: number;
  /** The reasons for which versions were deleted, and their numbers. */
  deletedFor: Partial<Record<Reason, number>>;
  /** The reasons for which versions stay or wait, and their numbers. `orphan`: newer than what the record names. */
  keptFor: Partial<Record<Reason, number>>;
  /** Objects that stay as they could not be read or understood, or as another index put them; at most 100. */
  errors: { name: string; code: TundraErrorCode; message: string }[];
}

/** One call. */
export interface SweepRun extends LastLook {
  readonly context: Context;
  readonly bounds: Bounds;
  readonly id: string;
  /** The uuids of this index and of those that the archive had before: what another one has put stays. */
  readonly ids: readonly string[];
  readonly times: Times;
  readonly dryRun: boolean;
  readonly maxKeys: number;
  /** The most notes of a kind. */
  readonly mostNotes: number;
  readonly report: SweepReport;
  /** Directories that this call has read. */
  readonly directories: Directories;
  /** Versions that this call has looked at. */
  looked: number;
  /** `true` once this call has got on: it has dealt with a page of the listing, or a pack. */
  gotOn: boolean;
  /** The most names that a request has deleted in this call. */
  namesPerDeletion: number;
}

/** The progress of a search. */
export interface Search {
  /** The time at which it began, microseconds; 0 if it has not. */
  sinceUs: number;
  /** The point at which the listing of objects of keys' own goes on; `undefined` at its end. */
  own: OwnCursor | undefined;
  /** The oldest pack whose directory was read; "" for none. */
  pack: string;
  /** Packs that were read, of those that may have been put since it began. */
  seen: string[];
  /** `true`: all packs were read. */
  packed: boolean;
  /** `true`: it has met a pack that it could not read. */
  blind: boolean;
}

/** A search that has not begun. */
export function newSearch(): Search {
  return { sinceUs: 0, own: OWN_START, pack: "", seen: [], packed: false, blind: false };
}

/** The progress of a sweep through the archive. */
export interface SweepState {
  part: "own" | "packs";
  step: "gather" | "search" | "act";
  /** The point at which the listing of objects of keys' own goes on; `undefined` at its end. */
  own: OwnCursor | undefined;
  /** The youngest pack that was not looked at; "" for the youngest of all, `undefined` at the end. */
  pack: string | undefined;
  search: Search;
  /** The subjects of this batch: versions in objects of keys' own by key, and packs. */
  ownActs: [key: string, vers: string[]][];
  packActs: string[];
  /** The number of those for which a search has begun anew; `undefined` if none has. */
  searchedFor: number | undefined;
  /** Names of objects that the first pack goes for, and that are known to be there. */
  proved: string[];
  /** The time at which the batch began: what it has searched for is of no use a day later. */
  begunUs: number;
  /** The time of the last erasure when the sweep began: after another one nothing is kept of what it has gathered. */
  erasedUs: number;
  /** The retention by which it has gathered: with another one it begins anew. */
  keepUs: number;
  keepOrphansUs: number;
  notes: Notes;
  /** The object that holds the state since the last call; "" for none. */
  object: string;
}

const CURSOR = "sweep";
/** A state of so many characters stands in Redis. */
const SHORT = 8_192;
/** The findings of a batch are used for so long. */
const KNOWN_US = SAFE_US / 2;
const PREFIX = "~sweep/";
/** Directories that are kept for a second look. */
const MOST_DIRECTORIES = 8;

function newState({ times, erasedUs, mostNotes }: SweepRun): SweepState {
  const { keepUs, keepOrphansUs } = times;
  return {
    part: "own",
    step: "gather",
    own: OWN_START,
    pack: "",
    search: newSearch(),
    ownActs: [],
    packActs: [],
    searchedFor: undefined,
    proved: [],
    begunUs: times.nowUs,
    ...{ erasedUs, keepUs, keepOrphansUs },
    notes: emptyNotes(mostNotes),
    object: "",
  };
}

/** Has a sweep begin anew. */
export function beginAnew(run: SweepRun, state: SweepState): void {
  Object.assign(state, newState(run), { object: state.object });
}

/**
 * The state that the last call has left, or a new one. What cannot be read, was gathered by another retention or before
 * an erasure, is done again.
 */
export async function readState(run: SweepRun): Promise<SweepState> {
  const { context, bounds } = run;
  if (run.dryRun) return newState(run);
  const cursor = await readCursor(context, CURSOR, bounds.call);
  if (cursor === undefined) return newState(run);
  let object = "";
  try {
    let text = cursor;
    if (!cursor.startsWith("{")) {
      object = cursor;
      const name = nameOf(run, object);
      const [bytes] = await bounds.counted((call) => context.datastore.fetchKeys([name], call));
      if (!(bytes instanceof Uint8Array)) throw bytes;
      text = new TextDecoder().decode(await unseal(bytes, name, context.freezers, "read a sweep's state", []));
    }
    const { notes, ...rest } = JSON.parse(text);
    const state: SweepState = {
      proved: [],
      searchedFor: undefined,
      ...rest,
      notes: decodeNotes(notes, run.mostNotes),
      object,
    };
    if (!isOfUse(run, state)) return { ...newState(run), object };
    return state.begunUs + KNOWN_US >= run.times.nowUs ? state : withoutFindings(run, state);
  } catch {
    return { ...newState(run), object };
  }
}

function isOfUse({ times, erasedUs }: SweepRun, state: SweepState): boolean {
  const isSame = state.keepUs === times.keepUs && state.keepOrphansUs === times.keepOrphansUs;
  return isSame && state.begunUs <= times.nowUs && state.erasedUs === erasedUs;
}

/**
 * A state of more than a day ago. The place that the sweep has come to stays, as do the subjects of its batch: it acts
 * on them by records, tombstones and copies, at which it looks once more. What it has searched for is not known any
 * more: a search begins anew, unless it has done so for the same subjects before. So calls that are too few for a search
 * get on with the rest.
 */
function withoutFindings({ times }: SweepRun, state: SweepState): SweepState {
  const { notes, ownActs, packActs, proved, searchedFor } = state;
  const subjects = ownActs.length + packActs.length;
  const keys = searchedFor === undefined || subjects < searchedFor ? [...notes.wanted.keys()] : [];
  Object.assign(notes, { wanted: new Map(), complete: false });
  for (const key of keys) want(notes, key);
  return {
    ...state,
    step: keys.length > 0 ? "search" : "act",
    search: newSearch(),
    searchedFor: subjects,
    proved: [],
    packActs: proved.length > 0 ? packActs.slice(1) : packActs, // a call has not enough requests for its proofs
    begunUs: times.nowUs,
  };
}

/**
 * Keeps the state for the next call, unless an erasure has looked meanwhile what is left: it names keys. So an object is
 * put first, and taken back if the script that is to keep its name finds that.
 */
export async function saveState(run: SweepRun, { object: before, ...state }: SweepState): Promise<void> {
  const { context, bounds, times } = run;
  if (run.dryRun) return;
  const isErased = run.erasedUs !== state.erasedUs;
  const text = isErased ? undefined : JSON.stringify({ ...state, notes: encodeNotes(state.notes) });
  const object = text !== undefined && text.length > SHORT ? versionAfter(times.nowUs, before) : "";
  let unwanted = [object];
  try {
    if (object !== "") await putState(run, object, text!);
    const expected = isErased ? undefined : state.erasedUs;
    const isKept = await noteRun(context, CURSOR, object || text, runOf(run, false), bounds.closing, expected);
    unwanted = isKept ? [before] : [before, object];
  } finally {
    const names = unwanted.filter((each) => each !== "").map((each) => nameOf(run, each));
    if (names.length > 0) await context.datastore.deleteKeys!(names, bounds.closing);
  }
}

async function putState(run: SweepRun, object: string, text: string): Promise<void> {
  const { context: { freezers, datastore }, bounds } = run;
  const name = nameOf(run, object);
  const bytes = await seal(new TextEncoder().encode(text), name, freezers, "keep a sweep's state", []);
  await datastore.putKey(name, bytes, bounds.closing);
}

/** Forgets the state at the end, and removes objects that calls which died have left. */
export async function dropState(run: SweepRun, { object }: SweepState): Promise<void> {
  const { context, bounds, times } = run;
  if (run.dryRun) return;
  await noteRun(context, CURSOR, undefined, runOf(run, true), bounds.closing);
  const { names } = await context.datastore.listKeys!(nameOf(run, ""), undefined, bounds.closing);
  const old = names.filter((name) => {
    const ver = versionOfObject(name);
    return ver === object || (versionMicros(ver) > 0 && versionMicros(ver) + SAFE_US < times.nowUs);
  });
  if (old.length > 0) await context.datastore.deleteKeys!(old, bounds.closing);
}

/** The numbers of a sweep that the index keeps: see `runsOf` of activity.ts. */
function runOf({ report: { deleted, moved, kept, errors } }: SweepRun, done: boolean): Run {
  return { operation: "sweep", done, numbers: [deleted, moved, kept, errors.length] };
}

function nameOf({ context }: SweepRun, object: string): string {
  return `${context.tqname}/${PREFIX}${object}`;
}

/** Counts a version by its reason. */
export function count(counts: Partial<Record<Reason, number>>, reason: Reason): void {
  counts[reason] = (counts[reason] ?? 0) + 1;
}

/** Counts a version that stays or waits. */
export function keep({ report }: SweepRun, reason: Reason): void {
  report.kept++;
  count(report.keptFor, reason);
}

/** Reports an object that stays as it is. */
export function reportKept({ report }: SweepRun, name: string, thrown: unknown): void {
  if (report.errors.length >= 100 || isNotFound(thrown)) return; // another sweep has deleted it meanwhile
  const { code, message }: TundraError = asTundraError(thrown, `read ${show(name)}`);
  report.errors.push({ name, code, message });
}

/**
 * Tells if so many requests are left for a pack; `false` if the next call may have them. Where this one has got on with
 * nothing else, none will: the pack is `passed` over, which is reported.
 */
export function roomFor(run: SweepRun, pack: string, requests: number): boolean | "passed" {
  const left = run.bounds.requestsLeft();
  if (left >= requests) return true;
  if (run.gotOn) return false;
  const must = `maxSubrequests must leave ${requests} requests for it: it leaves ${left}`;
  reportKept(run, pack, new TundraError("TOO_LARGE", `Cannot sweep a pack of so many versions as ${must}`));
  return "passed";
}

/** Keeps few directories in memory. */
export function trimDirectories({ directories }: SweepRun): void {
  for (const pack of directories.keys()) {
    if (directories.size <= MOST_DIRECTORIES) return;
    directories.delete(pack);
  }
}
