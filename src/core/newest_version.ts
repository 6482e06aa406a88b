/**
 * The newest version of a key that the archive holds, in an object of its own or in a pack.
 * @module
 */
import { type Directory, directoryPlace, PACK_HEAD, type PackEntry, thawDirectory } from "../archive/pack.ts";
import { placeOf, placeWord } from "../archive/place.ts";
import { isNotFound, show, TundraError } from "../base/errors.ts";
import { newestOf, objectPrefix, packName, packPrefix, versionMicros } from "../base/keys.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import { listPages } from "../datastores/guarded.ts";
import type { Context } from "./context.ts";
import { readRanges } from "./read_ranges.ts";

/** The most directories that a search reads. */
const MOST_DIRECTORIES = 256;

/** Directories that a call has read already, by pack. */
export type Directories = Map<string, Promise<Directory>>;

/** Names and directories of packs that a call has read already. */
export interface KnownPacks {
  /** The names of all packs. */
  listed?: Promise<string[]>;
  directories: Directories;
}

/** Makes one call of the datastore: a tick counts each. */
export type EachRead = <T>(act: (call: DatastoreCallOptions | undefined) => Promise<T>) => Promise<T>;

/**
 * Finds the newest versions of a key, as {@linkcode newestOf} has them, by the words that name their places: among the
 * objects of its own, and in the directories of packs that are younger than a version. Cost: a request for each 1,000
 * objects of the key, a request for each 1,000 packs, two for each younger pack.
 *
 * @throws TundraError `UNAVAILABLE` if there are more packs than it may read
 */
export async function newestVersions(
  context: Context,
  key: string,
  packs: KnownPacks,
  than = "",
): Promise<string[]> {
  const own = await newestOwn(context, key);
  let packed: string[] = [];
  const since = () => Math.max(...[own[0], packed[0]].map((word = "") => versionMicros(word)), versionMicros(than) + 1);
  // of several places of a version the last one counts: that in the youngest pack, as the others are to be deleted
  for await (const words of youngerPacked(context, key, packs, than, since)) packed = newestOf([...words, ...packed]);
  return newestOf([...own, ...packed]);
}

/**
 * Finds the version that a word names in a pack younger than the one that it names, as a sweep has moved it there;
 * `undefined` if none holds it. Cost: as above.
 *
 * @throws TundraError `UNAVAILABLE` if there are more packs than it may read
 */
export async function movedTo(
  context: Context,
  key: string,
  word: string,
  packs: KnownPacks,
): Promise<string | undefined> {
  const { ver, pack } = placeOf(word);
  if (pack === "") return undefined;
  for await (const words of youngerPacked(context, key, packs, pack, () => versionMicros(pack) + 1)) {
    const moved = words.find((each) => placeOf(each).ver === ver);
    if (moved !== undefined) return moved;
  }
  return undefined;
}

/** The versions of a key in packs since then, the youngest first: an older one holds nothing newer than its own name. */
async function* youngerPacked(
  context: Context,
  key: string,
  packs: KnownPacks,
  than: string,
  since: () => number,
): AsyncGenerator<string[]> {
  packs.listed ??= listPacks(context, packPrefix(context.tqname));
  const younger = (await packs.listed).filter((pack) => versionMicros(pack) >= since());
  let read = 0;
  for (const pack of younger.toReversed()) {
    if (versionMicros(pack) < since()) return;
    if (read++ >= MOST_DIRECTORIES) {
      const must = `at most ${MOST_DIRECTORIES} packs may be younger than ${show(than)}: there are more`;
      throw new TundraError("UNAVAILABLE", `Cannot search the archive for ${show(key)} as ${must}`, { keys: [key] });
    }
    const { entries } = await readDirectory(context, pack, packs.directories, (act) => act(undefined));
    yield entries.filter((entry) => entry.key === key).map((entry) => wordOf(pack, entry));
  }
}

/** Finds the newest versions of a key among the objects of its own. Cost: a request for each 1,000 of them. */
export async function newestOwn(context: Context, key: string, call?: DatastoreCallOptions): Promise<string[]> {
  const prefix = await objectPrefix(context, key);
  let newest: string[] = [];
  for await (const names of listPages(context.datastore, prefix, call)) {
    newest = newestOf([...newest, ...names.map((name) => name.slice(prefix.length))]);
  }
  return newest;
}

/** The names of packs that begin with `prefix`, without `<tqname>/~packs/`, in ascending order. */
export async function listPacks(context: Context, prefix: string, call?: DatastoreCallOptions): Promise<string[]> {
  const all: string[] = [];
  for await (const names of listPages(context.datastore, prefix, call)) all.push(...names);
  return packsIn(context, all);
}

/** The packs among names of objects, without `<tqname>/~packs/`, in ascending order. */
export function packsIn({ tqname }: Context, names: readonly string[]): string[] {
  const prefix = packPrefix(tqname);
  const packs = names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  return packs.filter((pack) => versionMicros(pack) > 0).sort();
}

/** The word that names an entry's place. */
export function wordOf(pack: string, { ver, offset, length }: PackEntry): string {
  return placeWord({ ver, pack, offset, length });
}

/** Reads the directory of a pack. Cost: 2 requests, none if this call has read it already. */
export function readDirectory(
  context: Context,
  pack: string,
  directories: Directories,
  each: EachRead,
): Promise<Directory> {
  const known = directories.get(pack);
  if (known) return known;
  const directory = readUncached(context, pack, each);
  directories.set(pack, directory);
  return directory;
}

async function readUncached(context: Context, pack: string, each: EachRead): Promise<Directory> {
  const name = packName(context.tqname, pack);
  const read = async (offset: number, length: number) => {
    const [bytes] = await each((call) => readRanges(context, [{ name, offset, length }], call));
    if (isNotFound(bytes)) {
      const why = `Cannot read the directory of ${show(name)} as the pack went meanwhile`;
      throw new TundraError("UNAVAILABLE", why, { cause: bytes });
    }
    if (bytes instanceof Error) throw bytes;
    return bytes!;
  };
  const { offset, length } = directoryPlace(await read(0, PACK_HEAD), name);
  return await thawDirectory(await read(offset, Math.max(1, length)), name, context.freezers);
}
