/**
 * Packs of an archive in memory: their names, what they hold, and what was read of them.
 * @module
 */
import { type Datastore, deflateFreezer, type Freezer, memoryDatastore } from "../../mod.ts";
import { type Block, recordOf, thawBlock } from "../../src/archive/block.ts";
import { directoryPlace, freezePack, type PackEntry, thawDirectory } from "../../src/archive/pack.ts";
import { placeOf } from "../../src/archive/place.ts";
import type { ArchiveRecord, Tombstone } from "../../src/archive/record.ts";

/** An archive in memory that notes its calls. */
export interface NotedArchive {
  readonly objects: Map<string, Uint8Array>;
  readonly datastore: Required<Datastore>;
  /** Names of objects but those that say whose the archive is, ascending. */
  names(): string[];
  /** Names of packs, ascending. */
  packs(): string[];
  /** Names of objects that are neither owners nor packs, ascending. */
  own(): string[];
  /** The entries of a pack. */
  entries(name: string): Promise<PackEntry[]>;
  /** Requests: objects put, objects and ranges asked for, since the last call of `forget()`. */
  readonly puts: string[];
  readonly gets: string[];
  readonly ranges: { name: string; offset: number; length: number }[];
  forget(): void;
}

/** Makes an archive; `hooks` replace some of its functions, and are given the original ones. */
export function notedArchive(hooks: (inner: Required<Datastore>) => Partial<Datastore> = () => ({})): NotedArchive {
  const inner = memoryDatastore();
  const { objects } = inner;
  const [puts, gets, ranges]: [string[], string[], NotedArchive["ranges"]] = [[], [], []];
  const hooked = { ...inner, ...hooks(inner) } as Required<Datastore>;
  const datastore: Required<Datastore> = {
    ...hooked,
    putKey: (name, ...rest) => (puts.push(name), hooked.putKey(name, ...rest)),
    fetchKeys: (names, ...rest) => (gets.push(...names), hooked.fetchKeys(names, ...rest)),
    fetchRanges: (reads, ...rest) => (ranges.push(...reads), hooked.fetchRanges(reads, ...rest)),
  };
  const names = () => [...objects.keys()].filter((name) => !/\/~(owner|former|copying)\//.test(name)).sort();
  return {
    objects,
    datastore,
    names,
    packs: () => names().filter((name) => name.includes("/~packs/")),
    own: () => names().filter((name) => !name.includes("/~packs/")),
    entries: (name) => entriesOfPack(objects.get(name)!, name),
    puts,
    gets,
    ranges,
    forget: () => [puts, gets, ranges].forEach((list) => list.splice(0)),
  };
}

/** The entries of a pack, by its directory. */
export async function entriesOfPack(
  bytes: Uint8Array,
  name: string,
  freezers: readonly Freezer[] = [deflateFreezer()],
): Promise<PackEntry[]> {
  const { offset, length } = directoryPlace(bytes, name);
  return (await thawDirectory(bytes.subarray(offset, offset + length), name, freezers)).entries;
}

/** The records of a pack, in the order of its entries. */
export async function recordsOfPack(
  bytes: Uint8Array,
  name: string,
  freezers: readonly Freezer[] = [deflateFreezer()],
): Promise<(ArchiveRecord | Tombstone)[]> {
  const blocks = new Map<number, Block>();
  const records: (ArchiveRecord | Tombstone)[] = [];
  for (const { key, ver, offset, length } of await entriesOfPack(bytes, name, freezers)) {
    let block = blocks.get(offset);
    if (!block) {
      blocks.set(offset, block = await thawBlock(bytes.subarray(offset, offset + length), name, freezers, []));
    }
    records.push(recordOf(block, { key, ver }));
  }
  return records;
}

/** Copies the records of a pack into another one, as a sweep will, and removes it; its new entries. */
export async function movePack({ objects }: NotedArchive, from: string, to: string): Promise<PackEntry[]> {
  const freezers = [deflateFreezer()];
  const { bytes, entries } = await freezePack(
    await recordsOfPack(objects.get(from)!, from),
    to,
    freezers,
    Infinity,
    "",
  );
  objects.set(to, bytes);
  objects.delete(from);
  return entries;
}

/** A datastore on which a pack is moved, as an erasure of other keys does it, just before the read of this number. */
export function movingBefore(archive: NotedArchive, read: number, from: string, to: string): Datastore {
  let reads = 0;
  const perhaps = async () => {
    if (reads++ === read) await movePack(archive, from, to);
  };
  return {
    ...archive.datastore,
    async listKeys(...args) {
      await perhaps();
      return await archive.datastore.listKeys!(...args);
    },
    async fetchRanges(...args) {
      await perhaps();
      return await archive.datastore.fetchRanges!(...args);
    },
  };
}

/** The number of different blocks of some entries. */
export function blocksOf(entries: PackEntry[]): number {
  return new Set(entries.map(({ offset }) => offset)).size;
}

/** The block that a record's word names: the pack's version and the offset; "" for an object of its own. */
export function blockOf(word: string): string {
  const { pack, offset } = placeOf(word);
  return pack === "" ? "" : `${pack}:${offset}`;
}

/** Tells if an object of a key's own is a tombstone; the version of a value may end with a "d", too. */
export function isTombstone(name: string): boolean {
  return /-[0-9a-f]{8}d$/.test(name);
}
