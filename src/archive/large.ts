/**
 * Large values: one object with a head and segments, so that neither who writes it nor who reads it has more than a
 * few segments in memory.
 *
 * | offset | bytes | what |
 * | --- | --- | --- |
 * | 0 | 4 | magic `TNDL` |
 * | 4 | 1 | format number, 1 |
 * | 5 | 3 | zero |
 * | 8 | 4 | length of the head, big-endian |
 * | 12 | | the head, a container |
 * | | 4 | length of the first segment |
 * | | | the first segment, a container |
 * | | | and so on: the length of each, and the segment |
 * | | 4 | zero |
 * @module
 */
import { show, TundraError } from "../base/errors.ts";
import { join } from "./block.ts";
import { type ArchiveHead, decodeMap, encodeMap, isTime, sameBytes } from "./encoding.ts";
import type { Freezer } from "./freezer.ts";
import { seal, unseal } from "./seal.ts";

const MAGIC = [0x54, 0x4e, 0x44, 0x4c];
const FORMAT = 1;
const VERSION = 3;
/** Bytes before the head. */
export const LARGE_HEAD = 12;
/** Bytes of a length. */
export const LENGTH_BYTES = 4;
/** The bytes that a head takes, at most, whose key has 32 KB. */
const MOST_HEAD_BYTES = 1_048_576;
/** The payload's bytes in a segment: at most. */
export const SEGMENT_BYTES = 4 * 1024 * 1024;
/** The bytes that a segment takes, at most: a freezer may double its bytes. */
const MOST_SEGMENT_BYTES = 2 * SEGMENT_BYTES + 65_536;

/** The head of a large value: its record without the payload. */
export interface LargeHead extends ArchiveHead {
  index: string;
  prev: string;
  /** The key's own expiry: milliseconds since 1970, 0 for none. */
  exp: number;
  /** Bytes of the payload. */
  bytes: number;
  /** The number of its segments. */
  parts: number;
  /** Of the payload. */
  sha1: string;
}

/** A head that was read, and where the first segment is. */
export interface LargeRecord extends LargeHead {
  first: { offset: number; length: number };
}

/**
 * The bytes of an object up to its first segment's length.
 *
 * @throws TundraError as `seal` does; `TOO_LARGE` if readers would refuse what the freezers made
 */
export async function freezeHead(
  head: LargeHead,
  name: string,
  freezers: readonly Freezer[],
): Promise<Uint8Array> {
  const what = `freeze ${show(head.key)}`;
  const sealed = await seal(encodeHead(head), name, freezers, what, [head.key]);
  return join([new Uint8Array([...MAGIC, FORMAT, 0, 0, 0]), withLength(sealed, MOST_HEAD_BYTES, what, head.key)]);
}

/**
 * A segment with its length before it.
 *
 * @throws TundraError as {@linkcode freezeHead}
 */
export async function freezeSegment(
  { key, ver }: LargeHead,
  part: number,
  dump: Uint8Array,
  name: string,
  freezers: readonly Freezer[],
): Promise<Uint8Array> {
  const what = `freeze segment ${part} of ${show(key)}`;
  const sealed = await seal(encodeMap({ v: VERSION, key, ver, part, dump }), name, freezers, what, [key]);
  return withLength(sealed, MOST_SEGMENT_BYTES, what, key);
}

/** Bytes with their length before them, unless a reader would refuse it. */
function withLength(sealed: Uint8Array, mostBytes: number, what: string, key: string): Uint8Array {
  if (sealed.length <= mostBytes) return join([uint32(sealed.length), sealed]);
  const must = `its freezers must make at most ${mostBytes} bytes of it: they made ${sealed.length}`;
  throw new TundraError("TOO_LARGE", `Cannot ${what} as ${must}`, { keys: [key] });
}

/** The bytes that end an object. */
export const LARGE_END: () => Uint8Array = () => uint32(0);

function encodeHead({ key, ver, at, index, prev, exp, bytes, parts, sha1 }: LargeHead): Uint8Array {
  return encodeMap({ v: VERSION, key, ver, at, index, prev, exp, bytes, parts, sha1 });
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(LENGTH_BYTES);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** The length that stands at an offset. */
export function lengthAt(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset);
}

/**
 * The length of an object's head, as the first {@linkcode LARGE_HEAD} bytes say.
 *
 * @throws TundraError `CORRUPT`, `UNSUPPORTED`
 */
export function headLength(bytes: Uint8Array, name: string): number {
  const what = `Cannot read ${show(name)} as it must`;
  if (bytes.length < LARGE_HEAD || MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw new TundraError("CORRUPT", `${what} begin with Tundra's mark: it begins otherwise`);
  }
  if (bytes[4] !== FORMAT) {
    throw new TundraError("UNSUPPORTED", `${what} have format ${FORMAT} of large values: current value is ${bytes[4]}`);
  }
  const length = lengthAt(bytes, 8);
  if (bytes.subarray(5, 8).some((byte) => byte !== 0) || length > MOST_HEAD_BYTES) {
    throw new TundraError("CORRUPT", `${what} have a head as Tundra writes it: it has another`);
  }
  return length;
}

/**
 * The head of a large value, which must be exactly what {@linkcode freezeHead} makes; `bytes` end with the length of
 * the first segment or later. Without an expected key, any key.
 *
 * @throws TundraError as `unseal` does; `CORRUPT` for another key's or version's
 */
export async function thawHead(
  bytes: Uint8Array,
  expected: { key?: string; ver: string },
  name: string,
  freezers: readonly Freezer[],
): Promise<LargeRecord> {
  const end = LARGE_HEAD + headLength(bytes, name);
  const keys = expected.key === undefined ? [] : [expected.key];
  const what = `thaw ${show(expected.key ?? name)}`;
  const must = `Cannot ${what} as its archive object must`;
  if (bytes.length < end + LENGTH_BYTES) {
    throw new TundraError("CORRUPT", `${must} hold its head: it is cut off`, { keys });
  }
  const map = await unseal(bytes.subarray(LARGE_HEAD, end), name, freezers, what, keys);
  const fields = checkedFields(map, `${must} hold the head of a large value`, keys);
  const [at, exp, size, parts] = ["at", "exp", "bytes", "parts"].map((field) => fields.get(field));
  const { key = String(fields.get("key")), ver } = expected;
  const [index, prev, sha1] = ["index", "prev", "sha1"].map((field) => String(fields.get(field)));
  const numbers = isTime(at) && isTime(exp) && isTime(size) && isTime(parts);
  const head = numbers && { key, ver, at, index: index!, prev: prev!, exp, bytes: size, parts, sha1: sha1! };
  // Encoding it again settles everything else: key and version, unknown fields, other spellings of the same items.
  if (!head || !sameBytes(encodeHead(head), map)) {
    throw new TundraError("CORRUPT", `${must} hold exactly this key and version: it holds another, or more`, { keys });
  }
  return { ...head, first: { offset: end + LENGTH_BYTES, length: segmentLength(bytes, end, name) } };
}

/** The length of a segment, as it stands before it. */
export function segmentLength(bytes: Uint8Array, offset: number, name: string): number {
  const length = lengthAt(bytes, offset);
  if (length <= MOST_SEGMENT_BYTES) return length;
  throw new TundraError(
    "CORRUPT",
    `Cannot read ${show(name)} as its segments must be as Tundra writes them: one is not`,
  );
}

/**
 * The part of the payload that a segment holds.
 *
 * @throws TundraError as `unseal` does; `CORRUPT` for a segment of another version, or another one of the same
 */
export async function thawSegment(
  sealed: Uint8Array,
  { key, ver }: LargeHead,
  part: number,
  name: string,
  freezers: readonly Freezer[],
): Promise<Uint8Array> {
  const what = `thaw segment ${part} of ${show(key)}`;
  const map = await unseal(sealed, name, freezers, what, [key]);
  const dump = checkedFields(map, `Cannot ${what} as it must be a segment`, [key]).get("dump");
  if (dump instanceof Uint8Array && sameBytes(encodeMap({ v: VERSION, key, ver, part, dump }), map)) return dump;
  throw new TundraError("CORRUPT", `Cannot ${what} as it must be that segment of version ${ver}: it is another`, {
    keys: [key],
  });
}

function checkedFields(map: Uint8Array, must: string, keys: string[]): Map<unknown, unknown> {
  const fields = decodeMap(map);
  if (fields?.get("v") === VERSION) return fields;
  const v = fields?.get("v");
  if (isTime(v) && v > VERSION) {
    throw new TundraError("UNSUPPORTED", `${must} of version ${VERSION}: current value is ${v}`, { keys });
  }
  throw new TundraError("CORRUPT", `${must}: it does not`, { keys });
}
