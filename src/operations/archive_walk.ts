/**
 * Walks through an archive: the objects of keys' own in the order of their names, and packs.
 * @module
 */
import type { PackEntry } from "../archive/pack.ts";
import { asTundraError, isNotFound, type TundraError } from "../base/errors.ts";
import { keyOfObject, packPrefix, versionMicros } from "../base/keys.ts";
import { isShortened, learnKey } from "../core/learn_key.ts";
import { type Directories, listPacks, readDirectory, wordOf } from "../core/newest_version.ts";
import type { Bounds } from "./bounds.ts";

/** One version in an object of a key's own. */
export interface OwnVersion {
  key: string;
  ver: string;
  /** The object's name. */
  name: string;
}

/** Objects under a shortened name whose key cannot be read. */
export interface Hidden {
  prefix: string;
  error: TundraError;
}

/** A page of the listing: whole keys, and where the next one begins; `undefined` at the end. */
export interface OwnPage {
  versions: OwnVersion[];
  /** Those of which a put has left something, and no object, as far as their keys are known. */
  unfinished: OwnVersion[];
  /** Names that no Tundra has put there, or whose key cannot be read. */
  unknown: string[];
  /** The reasons, of names that are shortened. */
  hidden: Hidden[];
  next: OwnCursor | undefined;
}

/**
 * The point at which such a listing goes on: the datastore's cursor, names of a key of which more follow, and the last
 * name of them and of that page that was dealt with, if a bound came before their end.
 */
export interface OwnCursor {
  cursor: string | undefined;
  rest: string[];
  after?: string;
}

/** The most names of one key that are kept for the next page. */
const MOST_REST = 2_000;
/** Requests left for what is done with a page, and those that read one key at most. */
const REQUESTS = { kept: 6, read: 3 };

/** The beginning of the listing. */
export const OWN_START: OwnCursor = { cursor: undefined, rest: [] };

/**
 * One page of objects of keys' own, or as much of it as the bounds leave room for. The last key of a page is left to the
 * next one, which may have more of it. Cost: a request, and one for each key whose name is shortened, up to `mostRead`.
 */
export async function ownPage(
  bounds: Bounds,
  { cursor, rest, after = "" }: OwnCursor,
  mostRead = Infinity,
): Promise<OwnPage> {
  const { datastore, tqname } = bounds.context;
  const page = await bounds.counted((call) => datastore.listKeys!(`${tqname}/`, cursor, call));
  // "~" comes after all other characters of names: what begins with it and goes on is Tundra's own
  const isOwn = (name: string) => !/^~./.test(name.slice(tqname.length + 1).split("/")[0]!);
  const more = page.cursor !== undefined && page.names.every(isOwn);
  const groups = byPrefix([...rest, ...page.names.filter(isOwn)].filter((name) => name > after));
  let kept: string[] = [];
  if (more && groups.size > 0) {
    const [last, group] = [...groups].at(-1)!;
    if (group.length < MOST_REST) {
      groups.delete(last);
      kept = group;
    }
  }
  const found: Omit<OwnPage, "next" | "unfinished"> = { versions: [], unknown: [], hidden: [] };
  const { versions, unknown, hidden } = found;
  const keys = new Map<string, string>();
  const unfinished = (page.unfinished ?? []).filter(isOwn);
  let [read, done] = [0, after];
  for (const [prefix, group] of groups) {
    const understood = group.filter((name) => versionMicros(name.slice(prefix.length)) > 0);
    let key = await keyOfObject(prefix);
    if (key === undefined && understood.length > 0) {
      const isRoom = read < mostRead && bounds.mayBegin(REQUESTS.kept + REQUESTS.read);
      if (read > 0 && !isRoom) {
        return {
          ...found,
          unfinished: await unfinishedOf(unfinished, keys, false),
          next: { cursor, rest: rest.filter((name) => name > done), after: done },
        };
      }
      read++;
      key = await shortenedKey(bounds, prefix, understood, hidden);
      if (key !== undefined) keys.set(prefix, key);
    }
    unknown.push(...group.filter((name) => key === undefined || !understood.includes(name)));
    if (key !== undefined) {
      for (const name of understood) versions.push({ key, ver: name.slice(prefix.length), name });
    }
    done = group.at(-1)!;
  }
  return {
    ...found,
    unfinished: await unfinishedOf(unfinished, keys, true),
    next: more ? { cursor: page.cursor, rest: kept } : undefined,
  };
}

/**
 * Versions of puts that have not ended, by keys that were just read; at the end of a page those whose name tells the key,
 * too.
 */
async function unfinishedOf(
  names: string[],
  keys: ReadonlyMap<string, string>,
  isEnd: boolean,
): Promise<OwnVersion[]> {
  const versions: OwnVersion[] = [];
  for (const name of names) {
    const end = name.lastIndexOf("/") + 1;
    const [prefix, ver] = [name.slice(0, end), name.slice(end)];
    const key = keys.get(prefix) ?? (isEnd ? await keyOfObject(prefix) : undefined);
    if (key !== undefined && versionMicros(ver) > 0) versions.push({ key, ver, name });
  }
  return versions;
}

/** Names of objects by their beginnings, up to the last `/`. */
export function byPrefix(names: readonly string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const name of names) {
    const prefix = name.slice(0, name.lastIndexOf("/") + 1);
    const group = groups.get(prefix);
    if (group) group.push(name);
    else groups.set(prefix, [name]);
  }
  return groups;
}

/** The key of objects whose name is shortened; `undefined` if it cannot be told. */
async function shortenedKey(
  bounds: Bounds,
  prefix: string,
  names: string[],
  hidden: Hidden[],
): Promise<string | undefined> {
  try {
    const versions = names.map((name) => name.slice(prefix.length));
    return await learnKey(bounds.context, prefix, versions, (act) => bounds.counted(act));
  } catch (thrown) {
    const error = asTundraError(thrown, "read a key");
    if (error.code === "UNAVAILABLE") throw thrown;
    if (isShortened(prefix)) hidden.push({ prefix, error });
    return undefined;
  }
}

/** All packs, the youngest first. */
export async function packsYoungestFirst(bounds: Bounds): Promise<string[]> {
  const { context } = bounds;
  return (await bounds.counted((call) => listPacks(context, packPrefix(context.tqname), call))).reverse();
}

/** An entry of a pack's directory, and the word for its place. */
export type Listed = PackEntry & { word: string };

/** The directory of a pack; `undefined` if the pack is gone. Cost: 2 requests. */
export async function packEntries(
  bounds: Bounds,
  pack: string,
  directories: Directories,
): Promise<{ index: string; entries: Listed[] } | undefined> {
  try {
    const { index, entries } = await readDirectory(bounds.context, pack, directories, (act) => bounds.counted(act));
    return { index, entries: entries.map((entry) => ({ ...entry, word: wordOf(pack, entry) })) };
  } catch (thrown) {
    if (isNotFound((thrown as Error).cause)) return undefined;
    throw thrown;
  }
}
