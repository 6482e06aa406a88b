/**
 * Records as CBOR: `{ v: 1, key, ver, at, exp, dump }`, or `{ v: 1, key, ver, at, gone }` for a tombstone.
 *
 * Written and read by cbor-x. Its decoder knows more than records need (nesting, tags, extensions that an application
 * has registered), so it is only ever given a flat map of plain items, whose lengths are true.
 * @see https://www.rfc-editor.org/rfc/rfc8949
 * @module
 */
import { Decoder } from "cbor-x/decode";
import { Encoder } from "cbor-x/encode";
import { TundraError } from "../base/errors.ts";

/** One archived version of a key. */
export interface ArchiveRecord {
  key: string;
  /** The version's name. */
  ver: string;
  /** The time at which it was archived: milliseconds since 1970. */
  at: number;
  /** The key's own expiry: milliseconds since 1970, 0 for none. */
  exp: number;
  /** The payload. */
  dump: Uint8Array;
}

/** Says that a key was removed. */
export interface Tombstone {
  key: string;
  /** The version's name. */
  ver: string;
  /** The time at which it was archived: milliseconds since 1970. */
  at: number;
  /** `true`: on purpose; `"inferred"`: a tick did not find the key, and no call had removed it. */
  gone: true | "inferred";
}

const RECORD_VERSION = 1;
/** Of any version: the head of a map of so many fields is one byte. */
const MOST_FIELDS = 23;
/** The encoder's buffer is kept for the next record unless it has grown beyond this. */
const KEPT_BYTES = 64 * 1024;
/** So small that the encoder replaces it at the next record by one of its own. */
const NO_BUFFER_BYTES = 64;

// The first bytes of the items that a record has: major types with a length in the other five bits, and two values.
const UNSIGNED = 0;
const BYTES = 2;
const TEXT = 3;
const MAP = 0xa0;
const TRUE = 0xf5;
const FLOAT64 = 0xfb;
/** The text "v": the name of the first field, of every version. */
const V = [0x61, 0x76];

// With these options the bytes are the same on every runtime.
const encoder = new Encoder({ tagUint8Array: false, variableMapSize: true, useRecords: false }) as Encoder & {
  useBuffer(buffer: Uint8Array): void; // documented, but its types lack it
};
const decoder = new Decoder({ mapsAsObjects: false, useRecords: false });

/**
 * The bytes of a record, the same on every runtime.
 *
 * @throws {TundraError} `UNSUPPORTED` if an extension of cbor-x, registered by the application, makes it write others
 */
export function encodeRecord(record: ArchiveRecord | Tombstone): Uint8Array {
  const { key, ver, at } = record;
  const view: Uint8Array = encoder.encode(
    "gone" in record
      ? { v: RECORD_VERSION, key, ver, at, gone: record.gone }
      : { v: RECORD_VERSION, key, ver, at, exp: record.exp, dump: record.dump },
  );
  const bytes = new Uint8Array(view); // the encoder's own buffer is written over
  if (view.buffer.byteLength > KEPT_BYTES) encoder.useBuffer(new Uint8Array(NO_BUFFER_BYTES));
  if (!isPlainMap(bytes)) {
    throw new TundraError(
      "UNSUPPORTED",
      "Cannot encode a record as cbor-x must write plain CBOR: an extension for Uint8Array is registered",
    );
  }
  return bytes;
}

/**
 * The record that `bytes` hold, which must be exactly what {@linkcode encodeRecord} makes of it: nothing else is ever
 * trusted. `what` begins the messages.
 *
 * @throws {TundraError} `CORRUPT`; `UNSUPPORTED` for an unknown version of the record
 */
export function decodeRecord(
  bytes: Uint8Array,
  expected: { key: string; ver: string },
  what: string,
): ArchiveRecord | Tombstone {
  const corrupt = (must: string, cause?: unknown) =>
    new TundraError("CORRUPT", `${what} must ${must}`, { keys: [expected.key], cause });
  const v = versionOf(bytes); // comes first: the rest of an unknown version need not be understood
  if (v > RECORD_VERSION) {
    throw new TundraError("UNSUPPORTED", `${what} must have record version ${RECORD_VERSION}: current value is ${v}`, {
      keys: [expected.key],
    });
  }
  if (!isPlainMap(bytes)) throw corrupt("hold the CBOR map of a record: it does not");
  let fields: Map<unknown, unknown>;
  try {
    fields = decoder.decode(bytes);
  } catch (error) {
    throw corrupt("hold the CBOR map of a record: it cannot be decoded", error);
  }
  const at = fields.get("at");
  const exp = fields.get("exp");
  const dump = fields.get("dump");
  const { key, ver } = expected;
  let record: ArchiveRecord | Tombstone | undefined;
  const gone = fields.get("gone");
  if (isTime(at) && (gone === true || gone === "inferred")) record = { key, ver, at, gone };
  else if (isTime(at) && isTime(exp) && dump instanceof Uint8Array) {
    record = { key, ver, at, exp, dump: new Uint8Array(dump) }; // the decoder's is a view of `bytes`
  }
  if (record === undefined) throw corrupt("hold all fields of a record: some are missing or of a wrong type");
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

/** The number in the field `v` that a record of any version begins with, or 0. */
function versionOf(bytes: Uint8Array): number {
  if (fieldsOf(bytes) === 0 || V.some((byte, i) => bytes[1 + i] !== byte)) return 0;
  const start = 1 + V.length;
  const end = itemEnd(bytes, start);
  if (!(end - start <= 9)) return 0; // no number is longer
  const v: unknown = decoder.decode(bytes.slice(start, end));
  return isTime(v) ? v : 0;
}

/** True if `bytes` are one map of the kinds of items that a record has, and nothing else. It reads their heads only. */
function isPlainMap(bytes: Uint8Array): boolean {
  const fields = fieldsOf(bytes);
  let end = 1;
  for (let i = 0; i < 2 * fields; i++) end = itemEnd(bytes, end);
  return fields > 0 && end === bytes.length;
}

/** The number of the map's fields; 0 if there is no map, or a larger one. */
function fieldsOf(bytes: Uint8Array): number {
  const fields = (bytes[0] ?? 0) - MAP;
  return fields >= 0 && fields <= MOST_FIELDS ? fields : 0;
}

/** The end of the item that begins at `start`, or NaN if it is of no kind that a record has, or is incomplete. */
function itemEnd(bytes: Uint8Array, start: number): number {
  const first = bytes[start] ?? NaN;
  if (first === TRUE) return start + 1;
  if (first === FLOAT64) return start + 9 <= bytes.length ? start + 9 : NaN;
  const type = first >> 5;
  const short = first & 31;
  if (Number.isNaN(first) || short > 26 || (type !== UNSIGNED && type !== BYTES && type !== TEXT)) return NaN;
  const head = short < 24 ? 1 : 1 + 2 ** (short - 24);
  let length = short;
  if (head > 1) {
    length = 0;
    for (let i = 1; i < head; i++) length = length * 256 + (bytes[start + i] ?? NaN);
  }
  const end = start + head + (type === UNSIGNED ? 0 : length);
  return end <= bytes.length ? end : NaN;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
