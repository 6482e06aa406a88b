/**
 * Records as CBOR: `{ v: 2, key, ver, at, index, prev, exp, dump }`, or `{ v: 2, key, ver, at, index, prev, gone }` for
 * a tombstone. Version 1 has neither `index` nor `prev`. A block holds records one after another.
 *
 * Written and read by cbor-x. Its decoder knows more than records need (nesting, tags, extensions that an application
 * has registered), so it is only ever given plain items, whose lengths are true. Texts are read by a decoder of our own:
 * that of cbor-x drops a byte order mark at the beginning of a text of more than 64 bytes.
 * @see https://www.rfc-editor.org/rfc/rfc8949
 * @module
 */
import { Decoder } from "cbor-x/decode";
import { Encoder } from "cbor-x/encode";
import { TundraError } from "../base/errors.ts";

/** The fields of every archived version of a key. */
export interface ArchiveHead {
  key: string;
  /** The version's name. */
  ver: string;
  /** The time at which it was archived: milliseconds since 1970. */
  at: number;
  /** The id of the index that wrote it; absent in records of version 1. */
  index?: string;
  /** The place of the version before, as the key's record named it; "" for none, absent in records of version 1. */
  prev?: string;
}

/** One archived version of a key. */
export interface ArchiveRecord extends ArchiveHead {
  /** The key's own expiry: milliseconds since 1970, 0 for none. */
  exp: number;
  /** The payload. */
  dump: Uint8Array;
}

/** Says that a key was removed. */
export interface Tombstone extends ArchiveHead {
  /** `true`: on purpose; `"inferred"`: a tick did not find the key, and nobody had said why. */
  gone: true | "inferred";
}

const RECORD_VERSION = 2;
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
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * The bytes of a record, the same on every runtime.
 *
 * @throws {TundraError} `UNSUPPORTED` if an extension of cbor-x, registered by the application, makes it write others
 */
export function encodeRecord(record: ArchiveRecord | Tombstone): Uint8Array {
  const { key, ver, at, index, prev } = record;
  const map: Record<string, unknown> = index === undefined
    ? { v: 1, key, ver, at }
    : { v: RECORD_VERSION, key, ver, at, index, prev };
  if ("gone" in record) map.gone = record.gone;
  else {
    map.exp = record.exp;
    map.dump = record.dump;
  }
  return encodeMap(map);
}

/**
 * The bytes of one flat map, the same on every runtime.
 *
 * @throws TundraError `UNSUPPORTED` if an extension of cbor-x, registered by the application, makes it write others
 */
export function encodeMap(map: object): Uint8Array {
  const view: Uint8Array = encoder.encode(map);
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
  const v = checkVersion(bytes, what, expected.key); // comes first: the rest of another version need not be understood
  const fields = decodeMap(bytes);
  if (fields === undefined) throw corrupt("hold the CBOR map of a record: it does not");
  const at = fields.get("at");
  const exp = fields.get("exp");
  const dump = fields.get("dump");
  const { key, ver } = expected;
  const [index, prev] = [fields.get("index"), fields.get("prev")];
  const written = v < RECORD_VERSION || (typeof index === "string" && typeof prev === "string");
  let record: ArchiveRecord | Tombstone | undefined;
  const gone = fields.get("gone");
  if (isTime(at) && written) {
    const head: ArchiveHead = { key, ver, at, ...(v === RECORD_VERSION && { index: `${index}`, prev: `${prev}` }) };
    if (gone === true || gone === "inferred") record = { ...head, gone };
    else if (isTime(exp) && dump instanceof Uint8Array) {
      record = { ...head, exp, dump: new Uint8Array(dump) }; // the decoder's is a view of `bytes`
    }
  }
  if (record === undefined) throw corrupt("hold all fields of a record: some are missing or of a wrong type");
  // Encoding it again with the expected names settles everything else: the names, unknown or repeated fields, other
  // spellings of the same items, trailing bytes.
  if (!sameBytes(encodeRecord(record), bytes)) {
    throw corrupt(`hold exactly this key and version: it holds another, or more`);
  }
  return record;
}

/**
 * The version of the record, or of the directory, that begins here.
 *
 * @throws TundraError `UNSUPPORTED` if it is an unknown one
 */
export function checkVersion(bytes: Uint8Array, what: string, ...keys: string[]): number {
  const v = versionOf(bytes);
  if (v <= RECORD_VERSION) return v;
  const must = `${what} must have record version ${RECORD_VERSION}: current value is ${v}`;
  throw new TundraError("UNSUPPORTED", must, { keys });
}

/** The fields of one flat map; `undefined` if `bytes` are anything else. */
export function decodeMap(bytes: Uint8Array): Map<unknown, unknown> | undefined {
  if (!isPlainMap(bytes)) return undefined;
  const fields = new Map<unknown, unknown>();
  for (let start = 1; start < bytes.length;) {
    const middle = itemEnd(bytes, start);
    const end = itemEnd(bytes, middle);
    fields.set(itemOf(bytes, start, middle), itemOf(bytes, middle, end));
    start = end;
  }
  return fields;
}

/** The flat maps that lie one after another, as views of `bytes`; `undefined` if there is anything else. */
export function splitMaps(bytes: Uint8Array): Uint8Array[] | undefined {
  const maps: Uint8Array[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = mapEnd(bytes, start);
    if (Number.isNaN(end)) return undefined;
    maps.push(bytes.subarray(start, end));
    start = end;
  }
  return maps;
}

/** Key and version of a record, which nothing has checked yet. */
export function labelOf(record: Uint8Array): { key: unknown; ver: unknown } {
  let at = 1;
  const found: unknown[] = [];
  for (let i = 0; i < 6 && !Number.isNaN(at); i++) { // "v", its number, "key", the key, "ver", the version
    const end = itemEnd(record, at);
    if (i === 3 || i === 5) found.push(itemOf(record, at, end));
    at = end;
  }
  return { key: found[0], ver: found[1] };
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
  const v = itemOf(bytes, start, end);
  return isTime(v) ? v : 0;
}

/**
 * Tells if `bytes` are one map of the kinds of items that a record has, and nothing else. It reads their heads only.
 */
function isPlainMap(bytes: Uint8Array): boolean {
  return mapEnd(bytes, 0) === bytes.length;
}

/** The end of the map that begins at `start`, or NaN if there is none of the kinds of items that a record has. */
function mapEnd(bytes: Uint8Array, start: number): number {
  const fields = fieldsOf(bytes, start);
  let end = fields > 0 ? start + 1 : NaN;
  for (let i = 0; i < 2 * fields; i++) end = itemEnd(bytes, end);
  return end;
}

/** The number of the map's fields; 0 if there is no map, or a larger one. */
function fieldsOf(bytes: Uint8Array, start = 0): number {
  const fields = (bytes[start] ?? 0) - MAP;
  return fields >= 0 && fields <= MOST_FIELDS ? fields : 0;
}

/** The item from `start` to its end; `undefined` if there is none. Bytes are a view of `bytes`. */
function itemOf(bytes: Uint8Array, start: number, end: number): unknown {
  if (Number.isNaN(end)) return undefined;
  const first = bytes[start]!;
  const [type, content] = [first >> 5, start + headLength(first)];
  if (type === TEXT) return utf8.decode(bytes.subarray(content, end));
  if (type === BYTES) return bytes.subarray(content, end);
  return decoder.decode(bytes.subarray(start, end));
}

/** The length of an item's first byte and of the number that may follow it. */
function headLength(first: number): number {
  const short = first & 31;
  return short < 24 ? 1 : 1 + 2 ** (short - 24);
}

/** The end of the item that begins at `start`, or NaN if it is of no kind that a record has, or is incomplete. */
function itemEnd(bytes: Uint8Array, start: number): number {
  const first = bytes[start] ?? NaN;
  if (first === TRUE) return start + 1;
  if (first === FLOAT64) return start + 9 <= bytes.length ? start + 9 : NaN;
  const type = first >> 5;
  const short = first & 31;
  if (Number.isNaN(first) || short > 26 || (type !== UNSIGNED && type !== BYTES && type !== TEXT)) return NaN;
  const head = headLength(first);
  let length = short;
  if (head > 1) {
    length = 0;
    for (let i = 1; i < head; i++) length = length * 256 + (bytes[start + i] ?? NaN);
  }
  const end = start + head + (type === UNSIGNED ? 0 : length);
  return end <= bytes.length ? end : NaN;
}

/** Tells if two arrays hold the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
