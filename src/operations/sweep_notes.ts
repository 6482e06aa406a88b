/**
 * Notes of a sweep: what it has learned of keys whose versions it may delete. They are bounded in number: a key of
 * which nothing is noted keeps its versions.
 * @module
 */
import { placeOf } from "../archive/place.ts";
import { versionMicros } from "../base/keys.ts";
import { type Facts, type Held, NO_FACTS, SAFE_US, type Times } from "./sweep_rules.ts";

/** The most keys of each kind of note, and the most packs and objects that one batch acts on. */
export const MOST_NOTES = 100_000;
export const MOST_ACTS = 10_000;

/** The newest tombstones of a key, by the words for their places; "" for none. */
interface Gone {
  removed: string;
  inferred: string;
}

/** The findings of a search through all versions of a key. */
interface Found {
  /** The oldest version, and the oldest in any other object: versions of one pack go together. */
  oldest: [us: number, holder: string];
  otherUs: number;
  /** Of those that are still kept as history: the oldest that one of them says was named before. */
  youngPrevUs: number;
  /** Of those that are older: when they were archived, and what was named before. */
  chain: [us: number, prevUs: number][];
  /** Versions in objects of their own, whose names do not say what was named before. */
  own: string[];
}

/** The findings of a sweep so far. */
export interface Notes {
  gone: Map<string, Gone>;
  /** Younger packs that hold a copy, by version and key. */
  copies: Map<string, string>;
  /** The keys that all versions are searched for. */
  wanted: Map<string, Found>;
  /** `true` once that search is over. */
  complete: boolean;
}

/** Notes of nothing. */
export function emptyNotes(): Notes {
  return { gone: new Map(), copies: new Map(), wanted: new Map(), complete: false };
}

/** Notes a tombstone, and a copy for which another pack may be deleted; the copy that a record names needs no note. */
export function noteVersion({ gone, copies }: Notes, held: Held, isNamed: boolean): void {
  const { key, ver, word, pack, gone: kind } = held;
  if (kind !== undefined && (gone.has(key) || gone.size < MOST_NOTES)) {
    const known = gone.get(key) ?? { removed: "", inferred: "" };
    const name = kind === true ? "removed" : "inferred";
    if (versionMicros(word) > versionMicros(known[name])) known[name] = word;
    gone.set(key, known);
  }
  if (pack !== "" && pack !== ver && !isNamed && copies.size < MOST_NOTES) {
    const id = `${ver} ${key}`;
    if (versionMicros(pack) > versionMicros(copies.get(id) ?? "")) copies.set(id, pack);
  }
}

/** Has all versions of a key searched for, if there is room. */
export function want({ wanted }: Notes, key: string): void {
  if (wanted.size >= MOST_NOTES || wanted.has(key)) return;
  const never = Number.MAX_SAFE_INTEGER;
  wanted.set(key, { oldest: [never, ""], otherUs: never, youngPrevUs: never, chain: [], own: [] });
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

/** The time at which what a word names was put. */
function putUs(word: string): number {
  return Math.max(versionMicros(word), versionMicros(placeOf(word).pack));
}

/** The facts that the notes hold of a version. */
export function factsOf({ gone, copies, wanted, complete }: Notes, { key, ver, pack }: Held): Facts {
  const tombstones = gone.get(key);
  const found = complete ? wanted.get(key) : undefined;
  const copy = copies.get(`${ver} ${key}`) ?? "";
  return {
    ...NO_FACTS,
    removedUs: versionMicros(tombstones?.removed ?? ""),
    inferredUs: versionMicros(tombstones?.inferred ?? ""),
    removedSinceUs: putUs(tombstones?.removed ?? ""),
    inferredSinceUs: putUs(tombstones?.inferred ?? ""),
    copy: copy === pack ? "" : copy,
    ...(found && {
      supersededUs: supersededUs(found),
      oldestUs: pack !== "" && pack === found.oldest[1] ? found.otherUs : found.oldest[0],
    }),
  };
}

/** The words of the versions for whose sake this one goes, as far as they are tombstones. */
export function tombstonesOf({ gone }: Notes, key: string): string[] {
  const { removed = "", inferred = "" } = gone.get(key) ?? {};
  return [removed, inferred].filter((word) => word !== "");
}

/** Notes as text, and back. */
export function encodeNotes({ gone, copies, wanted, complete }: Notes): unknown {
  return { gone: [...gone], copies: [...copies], wanted: [...wanted], complete };
}

/** The inverse of {@linkcode encodeNotes}. */
export function decodeNotes(value: unknown): Notes {
  const { gone, copies, wanted, complete } = value as Record<keyof Notes, never>;
  return { gone: new Map(gone), copies: new Map(copies), wanted: new Map(wanted), complete };
}
