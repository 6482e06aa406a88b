/**
 * Records as CBOR: `{ v: 1, key, ver, at, exp, dump }`, or `{ v: 1, key, ver, at, gone: true }` for a tombstone.
 *
 * Own code, as it is one map of known fields: a library that reads any CBOR is a sixth of a whole Worker. The bytes are
 * those that cbor-x writes for the same map; a test holds them equal.
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

// CBOR: major types, and the two other first bytes that a record has.
const UNSIGNED = 0x00;
const BYTES = 0x40;
const TEXT = 0x60;
const MAP = 0xa0;
const TRUE = 0xf5;
const FLOAT64 = 0xfb;

/** The bytes of a record, the same on every runtime. */
export function encodeRecord(record: ArchiveRecord | Tombstone): Uint8Array {
  const start = [...beginning(record, "gone" in record ? 5 : 6), time(record.at)];
  if ("gone" in record) return join([...start, text("gone"), [TRUE]]);
  const { exp, dump } = record;
  return join([...start, text("exp"), time(exp), text("dump"), head(BYTES, dump.length), dump]);
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
  const { key, ver } = expected;
  const corrupt = (must: string) => new TundraError("CORRUPT", `${what} must ${must}`, { keys: [key] });
  const v = versionOf(bytes);
  if (v === undefined) throw corrupt("hold a CBOR map that begins with its version: it holds something else");
  if (v > RECORD_VERSION) {
    throw new TundraError("UNSUPPORTED", `${what} must have record version ${RECORD_VERSION}: current value is ${v}`, {
      keys: [key],
    });
  }
  const record = readFields(bytes, expected);
  if (record === undefined) throw corrupt("hold this key and version and all fields of a record: it does not");
  // Writing it again with the expected names settles everything else: the names, unknown or repeated fields, other ways
  // to write the same, trailing bytes.
  if (!sameBytes(encodeRecord({ ...record, key, ver }), bytes)) {
    throw corrupt(`hold exactly this key and version: it holds another, or more`);
  }
  return record;
}

/** A time as it may stand in a record. */
export function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0;
}

/** The version of the record, where a map begins with it. */
function versionOf(bytes: Uint8Array): number | undefined {
  const map = bytes[0] ?? 0;
  if (map < MAP || map > (MAP | 23) || !sameBytes(bytes.subarray(1, 3), text("v"))) return undefined;
  const v = numberAt(bytes, 3)?.value;
  return Number.isSafeInteger(v) && v! > 0 ? v : undefined;
}

/** Reads the fields where they must be; whether everything else is right is not asked here. */
function readFields(bytes: Uint8Array, { key, ver }: { key: string; ver: string }) {
  let at = join(beginning({ key, ver }, 6)).length;
  const nextTime = (): number | undefined => {
    const found = numberAt(bytes, at);
    if (!found || !isTime(found.value)) return undefined;
    at = found.end;
    return found.value;
  };
  const pass = (name: string): boolean => {
    const wanted = text(name);
    if (!sameBytes(bytes.subarray(at, at + wanted.length), wanted)) return false;
    at += wanted.length;
    return true;
  };
  const madeAt = nextTime();
  if (madeAt === undefined) return undefined;
  if (pass("gone")) return bytes[at] === TRUE ? { key, ver, at: madeAt, gone: true as const } : undefined;
  const exp = pass("exp") ? nextTime() : undefined;
  if (exp === undefined || !pass("dump")) return undefined;
  const size = [1, 2, 3, 5][Math.max(0, bytes[at]! - (BYTES | 23))];
  return size ? { key, ver, at: madeAt, exp, dump: bytes.slice(at + size) } : undefined;
}

/** All up to the name of the field `at`. */
function beginning({ key, ver }: { key: string; ver: string }, fields: number): Part[] {
  const version = head(UNSIGNED, RECORD_VERSION);
  return [head(MAP, fields), text("v"), version, text("key"), text(key), text("ver"), text(ver), text("at")];
}

type Part = number[] | Uint8Array;

function join(parts: Part[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) {
    joined.set(part, end);
    end += part.length;
  }
  return joined;
}

/** A major type with its number: of fields, of bytes, or the value itself. */
function head(type: number, n: number): number[] {
  if (n < 24) return [type | n];
  if (n < 0x100) return [type | 24, n];
  if (n < 0x10000) return [type | 25, n >>> 8, n & 255];
  return [type | 26, n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
}

function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return join([head(TEXT, bytes.length), bytes]);
}

/** A whole number; above 32 bits as a float, which holds it exactly. */
function time(ms: number): Part {
  if (ms <= 0xffff_ffff) return head(UNSIGNED, ms);
  const bytes = Uint8Array.of(FLOAT64, 0, 0, 0, 0, 0, 0, 0, 0);
  new DataView(bytes.buffer).setFloat64(1, ms);
  return bytes;
}

function numberAt(bytes: Uint8Array, at: number): { value: number; end: number } | undefined {
  const first = bytes[at];
  if (first === undefined) return undefined;
  if (first < 24) return { value: first, end: at + 1 };
  const size = first === FLOAT64 ? 8 : first <= 26 ? 2 ** (first - 24) : 0;
  if (size === 0 || at + 1 + size > bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at + 1, size);
  const value = size === 8
    ? view.getFloat64(0)
    : size === 4
    ? view.getUint32(0)
    : size === 2
    ? view.getUint16(0)
    : view.getUint8(0);
  return { value, end: at + 1 + size };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
