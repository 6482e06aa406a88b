/**
 * Blocks: records one after another (a CBOR sequence), frozen once and sealed in one container. A block is the unit of
 * reading, checking and compression.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";
import { type ArchiveRecord, decodeRecord, labelOf, splitMaps, type Tombstone } from "./encoding.ts";
import type { Freezer } from "./freezer.ts";
import { seal, unseal } from "./seal.ts";

/** A block, thawed: the records in it, which nothing has checked yet. */
export type Block = { key: unknown; ver: unknown; bytes: Uint8Array }[];

/** The bytes of a block; `name` is its pack's, `keys` are those of the records. */
export async function freezeBlock(
  records: Uint8Array[],
  name: string,
  freezers: readonly Freezer[],
  keys: string[],
): Promise<Uint8Array> {
  return await seal(join(records), name, freezers, `freeze ${records.length} values`, keys);
}

/**
 * A block's records. `keys` are those that the caller looks for: a failure concerns these.
 *
 * @throws TundraError as `unseal` does; `CORRUPT` if it is no sequence of records
 */
export async function thawBlock(
  bytes: Uint8Array,
  name: string,
  freezers: readonly Freezer[],
  keys: string[],
): Promise<Block> {
  const what = `thaw a block of ${show(name)}`;
  const records = splitMaps(await unseal(bytes, name, freezers, what, keys));
  if (records === undefined) {
    throw new TundraError("CORRUPT", `Cannot ${what} as it must hold records: it holds something else`, { keys });
  }
  return records.map((record) => ({ ...labelOf(record), bytes: record }));
}

/**
 * One record of a block.
 *
 * @throws TundraError `CORRUPT` if the block does not hold this version of this key; `UNSUPPORTED` for an unknown
 * version of the record
 */
export function recordOf(block: Block, expected: { key: string; ver: string }): ArchiveRecord | Tombstone {
  const { key, ver } = expected;
  const what = `Cannot thaw ${show(key)} as its block`;
  const found = block.find((each) => each.key === key && each.ver === ver);
  if (found) return decodeRecord(found.bytes, expected, what);
  throw new TundraError("CORRUPT", `${what} must hold its version ${ver}: it does not`, { keys: [key] });
}

/** Arrays, one after another. */
export function join(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
