/**
 * Packs: one immutable object with the versions of many keys.
 *
 * | offset | bytes | what |
 * | --- | --- | --- |
 * | 0 | 4 | magic `TNDP` |
 * | 4 | 1 | format number, 1 |
 * | 5 | 3 | zero |
 * | 8 | 4 | offset of the directory, big-endian |
 * | 12 | 4 | length of the directory |
 * | 16 | | blocks, each a container |
 * | | | the directory, a container: which versions are in which block |
 *
 * Whoever reads one version knows its block from the key's record; only a search needs the directory.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";
import { freezeBlock, join } from "./block.ts";
import {
  type ArchiveRecord,
  checkVersion,
  decodeMap,
  encodeMap,
  isTime,
  sameBytes,
  splitMaps,
  type Tombstone,
} from "./encoding.ts";
import type { Freezer } from "./freezer.ts";
import { checkedBytes } from "./record.ts";
import { groupOf, seal, unseal } from "./seal.ts";

const MAGIC = [0x54, 0x4e, 0x44, 0x50];
const FORMAT = 1;
/** Bytes before the first block. */
export const PACK_HEAD = 16;
const DIRECTORY_VERSION = 2;
/** Bytes of records in a block: large enough to compress well, small enough to read for one key. */
const BLOCK_BYTES = 32 * 1024;

/** One version in a pack, as the directory has it. */
export interface PackEntry {
  key: string;
  ver: string;
  /** The key's own expiry: milliseconds since 1970, 0 for none. */
  exp: number;
  /** For a tombstone: if the key was removed on purpose. */
  gone?: Tombstone["gone"];
  /** The place of the version before; "" for none. */
  prev: string;
  /** Offset and length of its block. */
  offset: number;
  length: number;
}

/** A pack that was made. */
export interface Pack {
  bytes: Uint8Array;
  /** The entries of the records that it holds: the first of those given. */
  entries: PackEntry[];
}

/** The directory of a pack. */
export interface Directory {
  /** The id of the index that wrote the pack. */
  index: string;
  entries: PackEntry[];
}

/** Makes a pack of the first records, as many as fit into `maxBytes`, but at least a block; `index` puts it. */
export async function freezePack(
  records: readonly (ArchiveRecord | Tombstone)[],
  name: string,
  freezers: readonly Freezer[],
  maxBytes: number,
  index: string,
): Promise<Pack> {
  const parts: Uint8Array[] = [];
  const entries: PackEntry[] = [];
  let end = PACK_HEAD;
  while (entries.length < records.length) {
    const some = blockOf(records, entries.length, Math.min(BLOCK_BYTES, maxBytes), freezers);
    const keys = some.map(({ record }) => record.key);
    const block = await freezeBlock(some.map(({ bytes }) => bytes), name, freezers, keys);
    if (parts.length > 0 && end + block.length > maxBytes) break;
    for (const { record } of some) {
      const { key, ver, prev = "" } = record;
      const own = "gone" in record ? { exp: 0, gone: record.gone } : { exp: record.exp };
      entries.push({ key, ver, ...own, prev, offset: end, length: block.length });
    }
    parts.push(block);
    end += block.length;
  }
  const maps = directoryMaps(name, index, entries);
  const directory = await seal(join(maps), name, freezers, "freeze the directory of a pack", []);
  return { bytes: join([head(end, directory.length), ...parts, directory]), entries };
}

/** The next records that share a block: all of one group. */
function blockOf(
  records: readonly (ArchiveRecord | Tombstone)[],
  from: number,
  most: number,
  freezers: readonly Freezer[],
) {
  const group = groupOf(records[from]!.key, freezers);
  const some: { record: ArchiveRecord | Tombstone; bytes: Uint8Array }[] = [];
  let size = 0;
  for (let i = from; i < records.length; i++) {
    const record = records[i]!;
    const bytes = checkedBytes(record);
    if (size > 0 && (size + bytes.length > most || groupOf(record.key, freezers) !== group)) break;
    some.push({ record, bytes });
    size += bytes.length;
  }
  return some;
}

function head(offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(PACK_HEAD);
  bytes.set([...MAGIC, FORMAT]);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, offset);
  view.setUint32(12, length);
  return bytes;
}

/** The directory before it is frozen: a map about the pack, one for each block, one for each entry. */
function directoryMaps(pack: string, index: string, entries: readonly PackEntry[]): Uint8Array[] {
  const blocks: PackEntry[] = [];
  const numbers = new Map<number, number>();
  for (const entry of entries) {
    if (numbers.has(entry.offset)) continue;
    numbers.set(entry.offset, blocks.length);
    blocks.push(entry);
  }
  return [
    encodeMap({ v: DIRECTORY_VERSION, pack, index, blocks: blocks.length }),
    ...blocks.map(({ offset, length }) => encodeMap({ offset, length })),
    ...entries.map(({ key, ver, exp, gone, prev, offset }) =>
      encodeMap({ key, ver, exp, gone: gone ?? 0, prev, block: numbers.get(offset)! })
    ),
  ];
}

/**
 * Offset and length of the directory, as the first {@linkcode PACK_HEAD} bytes of a pack say.
 *
 * @throws TundraError `CORRUPT`, `UNSUPPORTED`
 */
export function directoryPlace(bytes: Uint8Array, name: string): { offset: number; length: number } {
  const what = `Cannot read the pack ${show(name)} as it must`;
  if (bytes.length < PACK_HEAD || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new TundraError("CORRUPT", `${what} begin with Tundra's mark: it begins otherwise`);
  }
  if (bytes[4] !== FORMAT) {
    throw new TundraError("UNSUPPORTED", `${what} have pack format ${FORMAT}: current value is ${bytes[4]}`);
  }
  if (bytes.subarray(5, 8).some((byte) => byte !== 0)) {
    throw new TundraError("CORRUPT", `${what} have three zeros behind its format: it has other bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return { offset: view.getUint32(8), length: view.getUint32(12) };
}

/**
 * The directory of a pack, which must be exactly what {@linkcode freezePack} writes.
 *
 * @throws TundraError as `unseal` does; `CORRUPT` for another pack's directory, or one that is malformed
 */
export async function thawDirectory(
  bytes: Uint8Array,
  name: string,
  freezers: readonly Freezer[],
): Promise<Directory> {
  const what = `read the directory of ${show(name)}`;
  const sequence = await unseal(bytes, name, freezers, what, []);
  checkVersion(sequence, `Cannot ${what} as it`);
  const maps = splitMaps(sequence)?.map(decodeMap) ?? [];
  const count = maps[0]?.get("blocks");
  const index = maps[0]?.get("index");
  const blocks = isTime(count) ? maps.slice(1, 1 + count) : [];
  const entries = maps.slice(1 + blocks.length).map((map) => entryOf(map, blocks));
  // Encoding it again settles everything else: the pack's name, unknown fields, other spellings of the same items.
  if (
    typeof index === "string" && entries.every((entry) => entry !== undefined) &&
    sameBytes(join(directoryMaps(name, index, entries)), sequence)
  ) return { index, entries };
  throw new TundraError("CORRUPT", `Cannot ${what} as it must name this pack's versions: it holds something else`);
}

type Fields = Map<unknown, unknown> | undefined;

function entryOf(map: Fields, blocks: Fields[]): PackEntry | undefined {
  const [key, ver, exp, gone, prev] = ["key", "ver", "exp", "gone", "prev"].map((field) => map?.get(field));
  const block = blocks[map?.get("block") as number];
  const [offset, length] = [block?.get("offset"), block?.get("length")];
  if (typeof key !== "string" || typeof ver !== "string" || typeof prev !== "string" || !isTime(exp)) return undefined;
  if (!isTime(offset) || !isTime(length)) return undefined;
  if (gone !== 0 && gone !== true && gone !== "inferred") return undefined;
  return { key, ver, exp, ...(gone !== 0 && { gone }), prev, offset, length };
}
