/**
 * Names: of the application's keys, of Tundra's own Redis keys, of archive objects.
 *
 * Tundra's own Redis keys, all under `tundra:<tqname>:` (`tundra:default:rec:user:1`):
 *
 * | key | type | holds |
 * | --- | --- | --- |
 * | `rec:<key>` | string | the record of one key, see src/scripts/prelude.ts |
 * | `dirty` | zset | key -> time (ms) from which it may be claimed; while leased, the fencing token |
 * | `idle` | zset | clean archived key -> its last touch (ms) |
 * | `dead` | zset | dead key -> when it died (ms) |
 * | `purge` | zset | key with objects to delete -> time (ms) from which that may be tried |
 * | `tmp:<uuid>` | any | an archived value to compare with or to read, with a TTL |
 * | `id` | string | id of this index; the archive's owner object holds the same |
 * | `tick` | string | when a tick last began (ms); the seal of the id |
 * | `lost_records_cursor` | string | when a tick last searched for lost records (ms), and the next search's cursor |
 * | `stats` | hash | totals since the beginning |
 * | `hours` | hash | hour, modulo 336 -> what there was then, see src/scripts/note_hour.ts |
 * | `runs` | hash | operation, and day modulo 14 -> what it did then, see src/scripts/note_run.ts |
 * | `erased` | string | when an erasure last began to look what is left (us) |
 * | `cursor:<name>` | string | where an operation goes on that a bound has interrupted |
 *
 * Archive objects: `<tqname>/<segment>/<version>`, packs of many versions, `<tqname>/~packs/<version>`, and small ones
 * that say whose it is: `<tqname>/~owner/...`, `<tqname>/~former/...`, `<tqname>/~copying/...`. The segment of a key:
 *
 * | key | segment |
 * | --- | --- |
 * | no `A-Z`, at most 200 characters url-safe | the key, url-safe: `user:1` is `user.3A1` |
 * | with `A-Z` | that, `~`, and 32 digits of its SHA-256: a disk that ignores case tells them apart |
 * | longer | its first 167 characters, `~`, and the digits: a part of a path may have 255 bytes on a disk |
 * | empty | `~` |
 * | any, if a freezer hides keys | `h~`, and 32 digits that the freezer makes of the key |
 *
 * No key's segment begins with `~` and goes on: such names (`~owner`, `~packs`, ...) are Tundra's own.
 * @module
 */
import { badArgument, show } from "./errors.ts";
import { hexDigest, nonce } from "./platform.ts";

/**
 * Upstash's limit of a key.
 *
 * @see https://upstash.com/docs/redis/troubleshooting/max_key_size_exceeded
 */
const MAX_KEY_BYTES = 32 * 1024;
/** A disk takes 255 bytes (NAME_MAX of Linux); stores put endings of their own behind a name. */
const MAX_SEGMENT = 200;
const HASH_DIGITS = 32;
/** The segments of hidden keys begin so: no key is shortened to that. */
const HIDDEN = "h";
const utf8 = new TextEncoder();

/**
 * A name of which every character is `A-Z a-z 0-9 _ -` or `.XX` (a UTF-8 byte in upper-case hexadecimal): never escaped
 * twice, signed differently or normalised, and still readable in a bucket browser.
 *
 * @throws {TundraError} `BAD_ARGUMENT` if `s` holds a lone surrogate
 * @example
 * ```ts
 * import { fromUrlsafe, toUrlsafe } from "@tundra/store";
 *
 * console.log(toUrlsafe("user:1/é")); // user.3A1.2F.C3.A9
 * console.log(fromUrlsafe("user.3A1.2F.C3.A9")); // user:1/é
 * ```
 */
export function toUrlsafe(s: string): string {
  if (typeof s !== "string" || !s.isWellFormed()) {
    throw badArgument("make a url-safe name", "it", "well-formed text", s);
  }
  return s.replace(/[^A-Za-z0-9_-]/gu, (character) => {
    let escaped = "";
    for (const byte of utf8.encode(character)) escaped += "." + byte.toString(16).toUpperCase().padStart(2, "0");
    return escaped;
  });
}

/**
 * The inverse of {@linkcode toUrlsafe}.
 *
 * @throws {TundraError} `BAD_ARGUMENT` if `toUrlsafe` cannot have made `s`
 * @example
 * ```ts
 * import { fromUrlsafe } from "@tundra/store";
 *
 * console.log(fromUrlsafe("a.2Eb")); // a.b
 * ```
 */
export function fromUrlsafe(s: string): string {
  try {
    const text = decodeURIComponent(s.replace(/\./g, "%"));
    if (toUrlsafe(text) === s) return text;
  } catch {
    // not UTF-8, or not text at all: refused below
  }
  throw badArgument("read a url-safe name", "it", "made by toUrlsafe()", s);
}

/** Checks names of application keys before anything is sent; each once, in order. `...keys` may be one array. */
export function checkKeys(what: string, keys: readonly unknown[]): string[] {
  const list = keys.length === 1 && Array.isArray(keys[0]) ? keys[0] as unknown[] : keys;
  for (const key of list) {
    if (typeof key !== "string") throw badArgument(what, "a key", "a string", key);
    if (!key.isWellFormed()) throw badArgument(what, "a key", "well-formed text (no lone surrogate)", key);
    if (key.length > MAX_KEY_BYTES || (key.length * 3 > MAX_KEY_BYTES && utf8.encode(key).length > MAX_KEY_BYTES)) {
      throw badArgument(what, "a key", `at most ${MAX_KEY_BYTES} bytes of UTF-8`, key);
    }
    if (key.startsWith("tundra:")) {
      throw badArgument(what, "a key", "one of the application's (tundra:... is Tundra's own)", key);
    }
  }
  return [...new Set(list as string[])];
}

/** Checks a queue name. */
export function checkTqname(tqname: unknown): string {
  if (typeof tqname !== "string" || !/^[A-Za-z0-9_-]{1,64}$/.test(tqname)) {
    throw badArgument("make a store", "tqname", "1 to 64 characters A-Z a-z 0-9 _ -", tqname);
  }
  return tqname;
}

/** The Redis keys of one store. */
export interface RedisKeys {
  readonly dirty: string;
  readonly idle: string;
  readonly dead: string;
  readonly purge: string;
  readonly id: string;
  readonly tick: string;
  readonly lostRecordsCursor: string;
  readonly stats: string;
  readonly hours: string;
  readonly runs: string;
  readonly erased: string;
  record(key: string): string;
  /** Of an operation that a bound has interrupted. */
  cursor(name: string): string;
  /** With a TTL. */
  temporary(name: string): string;
}

/** The Redis keys of the store `tqname`. */
export function redisKeys(tqname: string): RedisKeys {
  const prefix = `tundra:${tqname}:`;
  return {
    dirty: prefix + "dirty",
    idle: prefix + "idle",
    dead: prefix + "dead",
    purge: prefix + "purge",
    id: prefix + "id",
    tick: prefix + "tick",
    lostRecordsCursor: prefix + "lost_records_cursor",
    stats: prefix + "stats",
    hours: prefix + "hours",
    runs: prefix + "runs",
    erased: prefix + "erased",
    record: (key) => `${prefix}rec:${key}`,
    cursor: (name) => `${prefix}cursor:${name}`,
    temporary: (name) => `${prefix}tmp:${name}`,
  };
}

/**
 * The prefix of the names of owner objects. `~` begins no key's segment but the empty key's.
 */
export function ownerPrefix(tqname: string): string {
  return `${tqname}/~owner/`;
}

/** The name of one owner object: `uuid` is its index's, or `first` for the one that the first index puts. */
export function ownerObject(tqname: string, uuid: string): string {
  return ownerPrefix(tqname) + uuid;
}

/** The prefix of the names of objects that name ids which the archive had before: `<prefix><uuid>`. */
export function formerPrefix(tqname: string): string {
  return `${tqname}/~former/`;
}

/** The prefix of the name of the object that is there while the archive is a copy that is not complete. */
export function copyingPrefix(tqname: string): string {
  return `${tqname}/~copying/`;
}

/** The names of a store's objects: its `tqname`, and digits in place of its keys if these are to be hidden. */
export interface Naming {
  readonly tqname: string;
  /** 32 hexadecimal digits for a key. */
  readonly hideKey?: ((key: string, tqname: string) => Promise<string>) | undefined;
}

/** The common beginning of the names of all versions of one key, and of no other's, whatever their case. */
export async function objectPrefix({ tqname, hideKey }: Naming, key: string): Promise<string> {
  return `${tqname}/${hideKey ? `${HIDDEN}~${await hideKey(key, tqname)}` : await segmentOf(key)}/`;
}

/** The part of an object's name that names the key; see the head of this file. */
async function segmentOf(key: string): Promise<string> {
  const whole = toUrlsafe(key);
  if (whole === "") return "~";
  // the hexadecimal digits of what is escaped are no letters of the key: they always come out in upper case
  if (whole.length <= MAX_SEGMENT && !/[A-Z]/.test(key)) return whole;
  const digits = (await hexDigest("SHA-256", utf8.encode(key))).slice(0, HASH_DIGITS);
  const room = MAX_SEGMENT - 1 - HASH_DIGITS;
  const start = whole.length <= room ? whole : whole.slice(0, room).replace(/\.[0-9A-F]?$/, ""); // no half escape
  return `${start}~${digits}`;
}

/** The key whose object has this name; `undefined` if the name is shortened (its record names the key) or no key's. */
export async function keyOfObject(name: string): Promise<string | undefined> {
  const segment = name.split("/")[1] ?? "";
  if (segment === "~") return "";
  try {
    const key = fromUrlsafe(segment.split("~")[0]!);
    return key !== "" && await segmentOf(key) === segment ? key : undefined;
  } catch {
    return undefined;
  }
}

/** The name of one version of one key. */
export async function objectName(of: Naming, key: string, version: string): Promise<string> {
  return await objectPrefix(of, key) + version;
}

/** The prefix of the names of packs. */
export function packPrefix(tqname: string): string {
  return `${tqname}/~packs/`;
}

/** The name of one pack. */
export function packName(tqname: string, pack: string): string {
  return packPrefix(tqname) + pack;
}

/** A version's time, microseconds; its nonce and its place tell no order. 0 if it is no version. */
export function versionMicros(ver: string): number {
  return /^\d{16}-[0-9a-f]+(@|$)/.test(ver) ? Number(ver.slice(0, 16)) : 0;
}

/**
 * A name for the next version: Redis time in microseconds, later than the version before, and a nonce. `tries`: names
 * for it that were used in vain, each of which is a microsecond earlier.
 */
export function versionAfter(nowUs: number, previous: string, tries = 0): string {
  const micros = Math.max(nowUs, versionMicros(previous) + 1) + tries;
  return `${String(micros).padStart(16, "0")}-${nonce()}`;
}

/**
 * The version of a tombstone in an object of its own: a ninth digit behind the nonce, so that its name tells a listing
 * that the key was removed, on purpose (`d`) or not (`e`). A pack's directory says so of what is in the pack.
 */
export function tombstoneVersion(ver: string, onPurpose: boolean): string {
  return ver + (onPurpose ? "d" : "e");
}

/** The kind of tombstone that the name of an object of its own tells; `undefined` for a value. */
export function goneOf(ver: string): true | "inferred" | undefined {
  const [, mark] = /^\d{16}-[0-9a-f]{8}([de])$/.exec(ver) ?? [];
  return mark === undefined ? undefined : mark === "d" || "inferred";
}

/** The version that an object's name ends with. */
export function versionOfObject(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

/**
 * The version of a large value, whose object has segments: a ninth digit behind the nonce. So a record and a listing
 * tell that the object is not to be read as a whole.
 */
export function largeVersion(ver: string): string {
  return ver + "a";
}

/** Tells if a version, or the name of an object, is that of a large value. */
export function isLarge(ver: string): boolean {
  return /\d{16}-[0-9a-f]{8}a$/.test(ver);
}

/** The newest of some versions. It is several if they have the same time: nothing says which of them came last. */
export function newestOf(versions: readonly string[]): string[] {
  const lastUs = Math.max(0, ...versions.map(versionMicros));
  if (lastUs === 0) return [];
  const newest = versions.filter((ver) => versionMicros(ver) === lastUs);
  return [...new Map(newest.map((ver) => [ver.split("@")[0], ver])).values()]; // one may lie in two packs, as it was moved
}

/** `1 key` or `7 keys`, for messages. */
export function countKeys({ length }: readonly unknown[]): string {
  return length === 1 ? "1 key" : `${length} keys`;
}

/** `user:1, user:2 and 3 more`, for messages. */
export function showKeys(keys: readonly string[]): string {
  const shown = keys.slice(0, 3).map(show).join(", ");
  return keys.length > 3 ? `${shown} and ${keys.length - 3} more` : shown;
}
