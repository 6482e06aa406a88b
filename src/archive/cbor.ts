/**
 * Records as CBOR: `{ v: 1, key, ver, at, exp, dump }`, or `{ v: 1, key, ver, at, gone: true }` for a tombstone.
 * @module
 */
import { Decoder } from "cbor-x/decode";
import { Encoder } from "cbor-x/encode";
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

/** Says that a key was deleted. */
export interface Tombstone {
  key: string;
  /** The version's name. */
  ver: string;
  /** When it was archived: milliseconds since 1970. */
  at: number;
  gone: true;
}

const RECORD_VERSION = 1;
const EMPTY = new Uint8Array(0);
// These options make the bytes the same on every runtime, and plain CBOR without tags.
const encoder = new Encoder({ tagUint8Array: false, variableMapSize: true, useRecords: false });
// Maps, so that no property of an object is ever named by what the archive holds.
const decoder = new Decoder({ mapsAsObjects: false, useRecords: false });

/** The bytes of a record, the same on every runtime. */
export function encodeRecord(record: ArchiveRecord | Tombstone): Uint8Array {
  if ("gone" in record) return encodeHead(record);
  const head = encodeHead(record);
  const dumpHead = byteStringHead(record.dump.length);
  const bytes = new Uint8Array(head.length + dumpHead.length + record.dump.length);
  bytes.set(head);
  bytes.set(dumpHead, head.length);
  bytes.set(record.dump, head.length + dumpHead.length);
  return bytes;
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
  let fields: unknown;
  try {
    fields = decoder.decode(bytes);
  } catch (error) {
    throw corrupt("hold a CBOR map: it cannot be decoded", error);
  }
  if (!(fields instanceof Map)) throw corrupt("hold a CBOR map: it holds something else");
  const v = fields.get("v");
  if (Number.isSafeInteger(v) && v > RECORD_VERSION) {
    throw new TundraError("UNSUPPORTED", `${what} must have record version ${RECORD_VERSION}: current value is ${v}`, {
      keys: [expected.key],
    });
  }
  const at = fields.get("at");
  const exp = fields.get("exp");
  const dump = fields.get("dump");
  const { key, ver } = expected;
  let record: ArchiveRecord | Tombstone | undefined;
  if (isTime(at) && fields.get("gone") === true) record = { key, ver, at, gone: true };
  else if (isTime(at) && isTime(exp) && dump instanceof Uint8Array) {
    record = { key, ver, at, exp, dump: new Uint8Array(dump) };
  }
  if (record === undefined) throw corrupt("hold all fields of a record: some are missing or have a wrong type");
  // Encoding it again with the expected names settles everything else: the names, unknown or repeated fields, tags,
  // trailing bytes. (The decoded names are not compared: cbor-x drops a key's leading U+FEFF.)
  if (!sameBytes(encodeRecord(record), bytes)) {
    throw corrupt(`hold exactly this key and version: it holds another, or more`);
  }
  return record;
}

/** A time as it may stand in a record. */
export function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0;
}

/** All but the dump. cbor-x never sees that: it would keep a buffer of the largest one for ever. */
function encodeHead(record: ArchiveRecord | Tombstone): Uint8Array {
  const { key, ver, at } = record;
  const map = "gone" in record
    ? { v: RECORD_VERSION, key, ver, at, gone: true }
    : { v: RECORD_VERSION, key, ver, at, exp: record.exp, dump: EMPTY };
  const bytes = new Uint8Array(encoder.encode(map)); // a copy: cbor-x returns a view of its shared buffer
  return "gone" in record ? bytes : bytes.subarray(0, -1); // without the byte that says "0 bytes follow"
}

/** The CBOR head of a byte string. */
function byteStringHead(length: number): number[] {
  if (length < 24) return [0x40 | length];
  if (length < 0x100) return [0x58, length];
  if (length < 0x10000) return [0x59, length >>> 8, length & 255];
  return [0x5a, length >>> 24, (length >>> 16) & 255, (length >>> 8) & 255, length & 255];
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
