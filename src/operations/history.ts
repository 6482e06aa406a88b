/**
 * The history of one key: the versions that the archive holds, wherever they lie.
 *
 * Objects of the key's own are listed, and the youngest packs are asked by their directories. What lies in older packs
 * is found by the chain: each version names the one before.
 * @module
 */
import type { ArchiveRecord, Tombstone } from "../archive/encoding.ts";
import type { LargeRecord } from "../archive/large.ts";
import { placeOf } from "../archive/place.ts";
import { asTundraError, isDamage, isNotFound, show, type TundraError } from "../base/errors.ts";
import { goneOf, objectPrefix, packPrefix, versionMicros } from "../base/keys.ts";
import { fetchArchived, thawArchived } from "../core/fetch_archived.ts";
import { listPacks, readDirectory, wordOf } from "../core/newest_version.ts";
import { listPages } from "../datastores/guarded.ts";
import { inParallel } from "../datastores/parallel.ts";
import { type Bounds, checkTime } from "./bounds.ts";

/** Directories or versions that are read at a time: a Worker has six connections. */
const WAVE = 6;
/** Requests that are kept back for reading versions, if their number is bounded. */
const KEPT_REQUESTS = 4;
/** The packs whose directories are read, unless an option says otherwise. */
export const MOST_PACKS = 256;

/** One version of a key. */
export interface Kept {
  ver: string;
  /** Words that name its places: several if it lies in two packs, as it was moved. */
  words: string[];
  gone?: Tombstone["gone"];
  /** The key's own expiry; `undefined`: not known. */
  exp?: number;
  /** The word of the version before; `undefined`: not known. */
  prev?: string;
  /** Bytes of the payload, once it was read. */
  bytes?: number;
  /** The reason why its bytes cannot be read. */
  error?: TundraError;
}

/** The versions of one key. */
export interface History {
  /** The newest first. */
  kept: Kept[];
  /** Packs whose directories were not read; `Infinity` if the datastore cannot list. */
  unreadPacks: number;
}

/** Chooses from the versions found so far, the newest first, those to read next. */
export type Choice = (kept: Kept[], unreadPacks: number) => Kept[];

/**
 * Finds the versions of a key. `named` gives the word that its record names, once listings and directories have been
 * read; `choose` says which versions are read. One that proves to be absent is left out.
 *
 * @throws TundraError `UNAVAILABLE` if the archive does not answer, or the requests do not suffice
 */
export async function historyOf(
  bounds: Bounds,
  key: string,
  named: () => Promise<string>,
  maxPacks: number,
  choose: Choice,
): Promise<History> {
  const found = new Map<string, Kept>();
  const search: PackSearch = { seen: new Set(), left: maxPacks, unread: 0 };
  await findShown(bounds, key, found, search);
  add(found, await named());
  let absent = 0;
  const tried = new Set<string>();
  const isRead = ({ bytes, error }: Kept) => bytes !== undefined || error !== undefined;
  const isTried = ({ words }: Kept) => words.every((word) => tried.has(word));
  for (;;) {
    for (const { prev } of [...found.values()]) if (prev) add(found, prev);
    const kept = newestFirst(found).filter((each) => isRead(each) || !isTried(each)); // without those that are absent
    const wave = choose(kept, search.unread).filter((each) => !isRead(each)).slice(0, WAVE);
    if (wave.length === 0) {
      const isSettled = found.size - kept.length === absent;
      if (isSettled) return { kept, unreadPacks: search.unread };
      absent = found.size - kept.length; // they may have been moved meanwhile
      await findInPacks(bounds, key, found, search);
      continue;
    }
    checkTime(bounds, `search for the versions of ${show(key)}`, [key]);
    await inParallel(wave, WAVE, async (each) => {
      for (const word of each.words) tried.add(word);
      await readVersion(bounds, key, each);
    });
    bounds.progress(tried.size);
  }
}

/** A search through packs. */
interface PackSearch {
  /** Those that it has listed. */
  readonly seen: Set<string>;
  /** The number of those that it may still read. */
  left: number;
  /** The number of those that it has not read; `Infinity` if the datastore cannot list. */
  unread: number;
}

/** Finds what a listing of the key's objects and directories of packs show. */
async function findShown(bounds: Bounds, key: string, found: Map<string, Kept>, search: PackSearch): Promise<void> {
  const { context } = bounds;
  const { datastore } = context;
  if (!datastore.listKeys) return void (search.unread = Infinity);
  const prefix = await objectPrefix(context, key);
  await bounds.counted(async (call) => {
    for await (const names of listPages(datastore, prefix, call)) {
      for (const name of names) {
        const ver = name.slice(prefix.length);
        const gone = goneOf(ver);
        const kept = add(found, ver);
        if (kept && gone) kept.gone = gone;
      }
    }
  });
  await findInPacks(bounds, key, found, search);
}

/** Looks into the packs that it has not listed before. The versions of one that has gone lie in younger ones. */
async function findInPacks(bounds: Bounds, key: string, found: Map<string, Kept>, search: PackSearch): Promise<void> {
  const { context } = bounds;
  if (!context.datastore.listKeys) return;
  for (let again = true; again;) {
    again = false;
    const all = await bounds.counted((call) => listPacks(context, packPrefix(context.tqname), call));
    const packs = all.filter((pack) => !search.seen.has(pack));
    for (const pack of packs) search.seen.add(pack);
    const affordable = Math.floor((bounds.requestsLeft() - KEPT_REQUESTS) / 2);
    const read = Math.max(0, Math.min(search.left, packs.length, affordable));
    search.left -= read;
    search.unread += packs.length - read;
    await inParallel(read > 0 ? packs.slice(-read).toReversed() : [], WAVE, async (pack) => {
      const was = await findInPack(bounds, key, pack, found);
      if (was === "damaged") search.unread++;
      again ||= was === "gone";
    });
  }
}

/** Finds a key's versions in one pack. Cost: 2 requests. */
export async function findInPack(
  bounds: Bounds,
  key: string,
  pack: string,
  found: Map<string, Kept>,
): Promise<"read" | "gone" | "damaged"> {
  checkTime(bounds, `search for the versions of ${show(key)}`, [key]);
  try {
    // each is read for itself: all directories together may be larger than the memory
    const { entries } = await readDirectory(bounds.context, pack, new Map(), (act) => bounds.counted(act));
    for (const entry of entries) {
      if (entry.key !== key) continue;
      const { exp, prev, gone } = entry;
      const kept = add(found, wordOf(pack, entry));
      if (kept) Object.assign(kept, { exp, prev }, gone && { gone });
    }
    return "read";
  } catch (thrown) {
    const error = asTundraError(thrown, "read the directory of a pack");
    if (isNotFound(error.cause)) return "gone"; // it was moved, and its versions with it
    if (!isDamage(error)) throw error;
    return "damaged";
  }
}

function add(found: Map<string, Kept>, word: string): Kept | undefined {
  const { ver, pack } = placeOf(word);
  if (versionMicros(ver) === 0) return undefined;
  let kept = found.get(ver);
  if (!kept) found.set(ver, kept = { ver, words: [] });
  if (!kept.words.includes(word)) {
    if (pack === "") kept.words.unshift(word);
    else kept.words.push(word);
  }
  return kept;
}

/** Versions in order; of two with the same time nothing says which came last. */
function newestFirst(found: Map<string, Kept>): Kept[] {
  return [...found.values()].sort((a, b) => versionMicros(b.ver) - versionMicros(a.ver) || (a.ver < b.ver ? 1 : -1));
}

/** Reads one version, wherever it lies. It stays as it is if none of its places holds it. */
async function readVersion(bounds: Bounds, key: string, kept: Kept): Promise<void> {
  const archived = await thawFirst(bounds, key, kept);
  if (archived === undefined) return;
  delete kept.error;
  kept.prev = archived.prev ?? "";
  if ("gone" in archived) Object.assign(kept, { gone: archived.gone, exp: 0, bytes: 0 });
  else Object.assign(kept, { exp: archived.exp, bytes: "dump" in archived ? archived.dump.length : archived.bytes });
}

/**
 * The archived record of a version, from the first of its places that has it; `undefined` if none has, and then its
 * `error` says if any is damaged.
 */
export async function thawFirst(
  bounds: Bounds,
  key: string,
  kept: Pick<Kept, "words" | "error">,
): Promise<ArchiveRecord | LargeRecord | Tombstone | undefined> {
  const { context } = bounds;
  for (const ver of kept.words) {
    try {
      const [fetched] = await bounds.counted((call) => fetchArchived(context, [{ key, ver }], { call }));
      if (!isNotFound(fetched!.object)) return await thawArchived(context, fetched!);
    } catch (thrown) {
      const error = asTundraError(thrown, "read a version");
      if (!isDamage(error)) throw error;
      kept.error = error;
    }
  }
  return undefined;
}

/**
 * Finds a version and reads it. If it is absent it may have been moved meanwhile: it is searched for again as long as it
 * lies in places that were not tried before, unless those tried before are damaged. An older one that is found instead
 * is not what was meant: the version was deleted meanwhile.
 */
export async function readFound(
  bounds: Bounds,
  key: string,
  find: () => Promise<Kept | undefined>,
  before: Pick<Kept, "words" | "error"> = { words: [] },
) {
  const tried = new Set(before.words);
  let meant = "";
  for (;;) {
    const kept = await find();
    if (kept === undefined) return undefined;
    if (kept.ver < meant) return { ver: meant, value: undefined, error: undefined };
    meant = kept.ver;
    const value = await thawFirst(bounds, key, kept);
    const isFresh = kept.words.some((word) => !tried.has(word));
    if (value || kept.error || before.error || !isFresh) return { ver: kept.ver, value, error: kept.error };
    for (const word of kept.words) tried.add(word);
  }
}
