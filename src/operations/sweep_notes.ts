/**
 * Notes of a sweep: what it has learned of keys whose versions it may delete. They are bounded in number: of keys for
 * which there is no room all versions are searched for, a batch at a time.
 * @module
 */
import { versionMicros } from "../base/keys.ts";
import { decodeForgotten, encodeForgotten, forget, type Forgotten, mayBeForgotten } from "./sweep_forgotten.ts";
import { type Facts, type Held, NO_FACTS, SAFE_US, type Times } from "./sweep_rules.ts";

/** The most notes of a kind, and the most packs and objects that one batch acts on. */
export const MOST_NOTES = 100_000;
export const MOST_ACTS = 10_000;

/** The newest tombstones of a key, by the words for their places, and since when they are there; "" and 0 for none. */
interface Gone {
  removed: [word: string, sinceUs: number];
  inferred: [word: string, sinceUs: number];
}

/** Packs by the version that they hold. */
type Copies = Record<string, string>;

/** The findings of a search through all versions of a key. */
export interface Found {
  /** The oldest version, and the oldest in any other object: versions of one pack go together. */
  oldest: [us: number, holder: string];
  otherUs: number;
  /** Of those that are still kept as history: the oldest that one of them says was named before. */
  youngPrevUs: number;
  /** Of those that are older: when they were archived, and what was named before. */
  chain: [us: number, prevUs: number][];
  /** Versions in objects of their own, whose names do not say what was named before; and if these are chosen to be read. */
  own: string[];
  isChosen?: boolean;
  /** Its newest tombstones, and packs that hold copies by version, for which the notes had no room. */
  gone: Gone;
  copies: Copies;
}

/** The findings of a sweep so far. */
export interface Notes {
  gone: Map<string, Gone>;
  /** The youngest packs that hold a copy, by key and version; and the number of those versions. */
  copies: Map<string, Copies>;
  copied: number;
  /** The keys that all versions are searched for: a batch ends before the object with which they would be too many. */
  wanted: Map<string, Found>;
  /** `true` once that search is over. */
  complete: boolean;
  /** Keys with tombstones or copies for which there was no room. */
  forgotten: Forgotten;
  /** The most tombstones, and the most copies. */
  readonly most: number;
}

/** Notes of nothing. */
export function emptyNotes(most: number): Notes {
  const maps = { gone: new Map(), copies: new Map(), wanted: new Map() };
  return { ...maps, copied: 0, complete: false, forgotten: undefined, most };
}

function notYet(): Gone {
  return { removed: ["", 0], inferred: ["", 0] };
}

/** Notes a tombstone, and a copy for which another pack may be deleted; the copy that a record names needs no note. */
export function noteVersion(notes: Notes, held: Held, isNamed: boolean): void {
  const { gone, copies, wanted, most } = notes;
  const { key, ver, pack, gone: kind } = held;
  if (kind !== undefined) {
    if (!gone.has(key) && gone.size < most) gone.set(key, notYet());
    if (!gone.has(key)) notes.forgotten = forget(notes.forgotten, key); // what is wanted is so for this batch only
    const known = gone.get(key) ?? wanted.get(key)?.gone;
    const name = kind === true ? "removed" : "inferred";
    if (known) known[name] = newerOf(known[name], held);
  }
  if (pack === "" || pack === ver || isNamed) return;
  const known = copies.get(key) ?? {};
  if (known[ver] === undefined && notes.copied >= most) {
    notes.forgotten = forget(notes.forgotten, key);
    return;
  }
  if (known[ver] === undefined) notes.copied++;
  if (versionMicros(pack) > versionMicros(known[ver] ?? "")) known[ver] = pack;
  copies.set(key, known);
}

/**
 * The newer tombstone. It is as old as its version, wherever it was moved since, but for a marker: that is as old as the
 * oldest pack that has it.
 */
function newerOf(known: Gone["removed"], { ver, word, pack, isMarker }: Held): Gone["removed"] {
  const [before, beforeUs] = known;
  const us = versionMicros(ver);
  const sinceUs = isMarker ? Math.max(us, versionMicros(pack)) : us;
  if (us === versionMicros(before)) return [before, Math.min(sinceUs, beforeUs)];
  return us > versionMicros(before) ? [word, sinceUs] : known;
}

/**
 * The packs that hold copies of what a tombstone removes, if it is the first one that says so: they are younger than its
 * own pack, and were met before it.
 */
export function copiesUnder(notes: Notes, { key, ver, pack, gone }: Held): string[] {
  if (gone !== true || versionMicros(ver) <= versionMicros(newestGone(notes, key).removed[0])) return [];
  const copies = Object.entries(notes.copies.get(key) ?? {});
  return copies.flatMap(([copy, holder]) =>
    holder !== pack && versionMicros(copy) < versionMicros(ver) ? [holder] : []
  );
}

/** Has all versions of a key searched for. */
export function want({ wanted }: Notes, key: string): void {
  if (wanted.has(key)) return;
  const never = Number.MAX_SAFE_INTEGER;
  wanted.set(key, {
    ...{ oldest: [never, ""], otherUs: never, youngPrevUs: never, chain: [], own: [] },
    ...{ gone: notYet(), copies: {} },
  });
}

/** Notes one of all versions; `prev` is the word of the one before, `undefined` if only an object of its own says. */
export function noteFound(
  { wanted }: Notes,
  { key, ver, pack = "" }: Pick<Held, "key" | "ver"> & { pack?: string },
  prev: string | undefined,
  times: Times,
): void {
  const found = wanted.get(key);
  if (found === undefined) return;
  const us = versionMicros(ver);
  if (pack !== "" && pack !== ver && versionMicros(pack) > versionMicros(found.copies[ver] ?? "")) {
    found.copies[ver] = pack;
  }
  const [oldestUs, holder] = found.oldest;
  if (pack === holder && pack !== "") found.oldest = [Math.min(oldestUs, us), holder];
  else if (us < oldestUs) {
    found.otherUs = oldestUs;
    found.oldest = [us, pack];
  } else found.otherUs = Math.min(found.otherUs, us);
  if (prev === undefined) return void found.own.push(ver);
  if (us + SAFE_US + times.keepUs <= times.nowUs) found.chain.push([us, versionMicros(prev)]);
  else found.youngPrevUs = Math.min(found.youngPrevUs, versionMicros(prev));
}

/** See {@linkcode Facts.supersededUs}. Redis may have gone back: what a newer version names as the one before counts. */
function supersededUs({ youngPrevUs, chain }: Found): number {
  let namedSince = youngPrevUs;
  let last = 0;
  for (const [, prevUs] of chain.toSorted(([a], [b]) => b - a)) {
    namedSince = Math.min(namedSince, prevUs);
    last = Math.max(last, namedSince);
  }
  return last;
}

/** The facts that the notes hold of a version. */
export function factsOf(notes: Notes, { key, ver, pack }: Held): Facts {
  const { copies, wanted, complete, forgotten } = notes;
  const { removed: [removed, removedSinceUs], inferred: [inferred, inferredSinceUs] } = newestGone(notes, key);
  const found = complete ? wanted.get(key) : undefined;
  const copy = copies.get(key)?.[ver] ?? found?.copies[ver] ?? "";
  return {
    ...NO_FACTS,
    removedUs: versionMicros(removed),
    inferredUs: versionMicros(inferred),
    removedSinceUs,
    inferredSinceUs,
    copy: copy === pack ? "" : copy,
    isPartial: found === undefined && mayBeForgotten(forgotten, key),
    ...(found && {
      supersededUs: supersededUs(found),
      oldestUs: pack !== "" && pack === found.oldest[1] ? found.otherUs : found.oldest[0],
    }),
  };
}

/** The newest tombstones of a key. */
function newestGone({ gone, wanted }: Notes, key: string): Gone {
  return gone.get(key) ?? wanted.get(key)?.gone ?? notYet();
}

/** The words of the versions for whose sake this one goes, as far as they are tombstones. */
export function tombstonesOf(notes: Notes, key: string): string[] {
  const { removed, inferred } = newestGone(notes, key);
  return [removed, inferred].map(([word]) => word).filter((word) => word !== "");
}

/** Notes as text, and back. */
export function encodeNotes({ gone, copies, wanted, forgotten, ...rest }: Notes): unknown {
  const maps = { gone: [...gone], copies: [...copies], wanted: [...wanted] };
  return { ...rest, ...maps, forgotten: encodeForgotten(forgotten) };
}

/** The inverse of {@linkcode encodeNotes}. */
export function decodeNotes(value: unknown, most: number): Notes {
  const { gone, copies, wanted, forgotten, ...rest } = value as Record<keyof Notes, never>;
  return {
    ...rest,
    ...{ gone: new Map(gone), copies: new Map(copies), wanted: new Map(wanted) },
    ...{ forgotten: decodeForgotten(forgotten), most },
  };
}
