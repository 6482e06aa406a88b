/**
 * Records as CBOR: `{ v: 1, key, ver, at, exp, dump }`, or `{ v: 1, key, ver, at, gone }` for a tombstone.
 *
 * Own code, as a record needs five kinds of CBOR items, and must have the same bytes for ever. They are those that cbor-x
 * writes for the same map; a test holds them equal.
 * @see https://www.rfc-editor.org/rfc/rfc8949
 * @module
 */
import { TundraError } from "../errors.ts";

/** One archived version of a key. */
export interface ArchiveRecord {
  key: string;
  /** The version's name. */
  ver: string;
  /** When it was archived: milliseconds since 1970. */
  at: number;
  /** The key's own expiry: milliseconds since 1970, 0 for none. */
  exp: number;
  /** What `DUMP` replied. */
  dump: Uint8Array;
}

/** Says that a key was removed. */
export interface Tombstone {
  key: string;
  /** The version's name. */
  ver: string;
  /** When it was archived: milliseconds since 1970. */
  at: number;
  /** `true`: on purpose; `"inferred"`: a tick did not find the key, and nobody had said why. */
  gone: true | "inferred";
}

const RECORD_VERSION = 1;
/** Of any version: nobody fills the memory with fields. */
const MOST_FIELDS = 23;

// The kinds of items: major types, and two values.
const UNSIGNED = 0;
const BYTES = 2;
const TEXT = 3;
const MAP = 5;
const TRUE = 0xf5;
const FLOAT64 = 0xfb;

type Item = string | number | true | Uint8Array;

/** The bytes of a record, the same on every runtime. */
export function encodeRecord(record: ArchiveRecord | Tombstone): Uint8Array {
  const { key, ver, at } = record;
  const fields: Record<string, Item> = "gone" in record
    ? { v: RECORD_VERSION, key, ver, at, gone: record.gone }
    : { v: RECORD_VERSION, key, ver, at, exp: record.exp, dump: record.dump };
  const items = Object.entries(fields);
  return joined([head(MAP, items.length), ...items.flat().flatMap(encodeItem)]);
}

/**
 * The record that `bytes` hold, which must be exactly what {@linkcode encodeRecord} makes of it: nothing else is ever
 * trusted. `what` begins the messages.
 *
 * @throws TundraError `CORRUPT`; `UNSUPPORTED` for an unknown version of the record
 */
export function decodeRecord(
  bytes: Uint8Array,
  expected: { key: string; ver: string },
  what: string,
): ArchiveRecord | Tombstone {
  const corrupt = (must: string, cause?: unknown) =>
    new TundraError("CORRUPT", `${what} must ${must}`, { keys: [expected.key], cause });
  const fields = new Map<unknown, unknown>();
  let failure: unknown;
  try {
    decodeMap(bytes, fields);
  } catch (error) {
    failure = error;
  }
  const v = fields.get("v"); // comes first: what else an unknown version holds need not be understood
  if (Number.isSafeInteger(v) && v as number > RECORD_VERSION) {
    throw new TundraError("UNSUPPORTED", `${what} must have record version ${RECORD_VERSION}: current value is ${v}`, {
      keys: [expected.key],
    });
  }
  if (failure !== undefined) throw corrupt("hold the CBOR map of a record: it cannot be decoded", failure);
  const at = fields.get("at");
  const exp = fields.get("exp");
  const dump = fields.get("dump");
  const { key, ver } = expected;
  let record: ArchiveRecord | Tombstone | undefined;
  const gone = fields.get("gone");
  if (isTime(at) && (gone === true || gone === "inferred")) record = { key, ver, at, gone };
  else if (isTime(at) && isTime(exp) && dump instanceof Uint8Array) record = { key, ver, at, exp, dump };
  if (record === undefined) throw corrupt("hold all fields of a record: some are missing or have a wrong type");
  // Encoding it again with the expected names settles everything else: the names, unknown or repeated fields, other
  // spellings of the same items, trailing bytes.
  if (!sameBytes(encodeRecord(record), bytes)) {
    throw corrupt(`hold exactly this key and version: it holds another, or more`);
  }
  return record;
}

/** A time as it may stand in a record. */
export function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0;
}

function encodeItem(item: Item): (number[] | Uint8Array)[] {
  if (item === true) return [[TRUE]];
  if (typeof item === "string") {
    const bytes = new TextEncoder().encode(item);
    return [head(TEXT, bytes.length), bytes];
  }
  if (typeof item !== "number") return [head(BYTES, item.length), item];
  if (item < 2 ** 32) return [head(UNSIGNED, item)];
  const float = new DataView(new ArrayBuffer(9)); // holds every safe integer exactly
  float.setUint8(0, FLOAT64);
  float.setFloat64(1, item);
  return [new Uint8Array(float.buffer)];
}

/** A major type, and its number: the value, or how many bytes or fields follow. */
function head(type: number, n: number): number[] {
  const first = type << 5;
  if (n < 24) return [first | n];
  if (n < 0x100) return [first | 24, n];
  if (n < 0x10000) return [first | 25, n >>> 8, n & 255];
  return [first | 26, n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
}

/** Reads a map into `fields`; throws at the first item that no record has, or at the end of `bytes`. */
function decodeMap(bytes: Uint8Array, fields: Map<unknown, unknown>): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  const headOf = (): [type: number, n: number] => {
    const first = view.getUint8(at++);
    const n = first & 31;
    if (n < 24) return [first >> 5, n];
    const start = at;
    at += 2 ** (n - 24);
    if (n === 24) return [first >> 5, view.getUint8(start)];
    if (n === 25) return [first >> 5, view.getUint16(start)];
    if (n === 26) return [first >> 5, view.getUint32(start)];
    throw new RangeError(`an item begins with ${first}`);
  };
  const item = (): Item => {
    const first = view.getUint8(at);
    if (first === TRUE) return at++, true;
    if (first === FLOAT64) return view.getFloat64((at += 9) - 8);
    const [type, n] = headOf();
    if (type === UNSIGNED) return n;
    if (type !== BYTES && type !== TEXT) throw new RangeError(`an item has type ${type}`);
    const value = bytes.slice(at, at += n);
    return type === BYTES ? value : new TextDecoder().decode(value);
  };
  const [type, n] = headOf();
  if (type !== MAP || n > MOST_FIELDS) throw new RangeError("it is no small map");
  for (let i = 0; i < n; i++) fields.set(item(), item());
}

function joined(parts: (number[] | Uint8Array)[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) {
    all.set(part, end);
    end += part.length;
  }
  return all;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
