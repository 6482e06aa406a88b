/**
 * Names: of the application's keys, of Tundra's own Redis keys, of archive objects.
 *
 * Tundra's own Redis keys, all under `tundra:<tqname>:` (`tundra:default:rec:user:1`):
 *
 * | key | type | holds |
 * | --- | --- | --- |
 * | `rec:<key>` | string | the record of one key, see src/scripts/record.ts |
 * | `dirty` | zset | key -> time (ms) from which it may be claimed; while leased, the fencing token |
 * | `idle` | zset | clean archived key -> its last touch (ms) |
 * | `dead` | zset | dead key -> when it died (ms) |
 * | `id` | string | id of this index; the archive's owner object holds the same |
 * | `stats` | hash | totals since the beginning |
 *
 * Archive objects: `<tqname>/<key>/<version>`, the key url-safe; and `<tqname>/~owner`.
 * @module
 */
import { digest } from "./ambient.ts";
import { badArgument, show } from "./errors.ts";

const MAX_KEY_BYTES = 32 * 1024; // Upstash's limit
const MAX_SEGMENT = 768;
const utf8 = new TextEncoder();

/**
 * A name of which every character is `A-Z a-z 0-9 _ -` or `.XX` (a UTF-8 byte in upper-case hexadecimal): never escaped
 * twice, signed differently or normalised, and still readable in a bucket browser.
 *
 * @throws TundraError `BAD_ARGUMENT` where `s` holds a lone surrogate
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
 * @throws TundraError `BAD_ARGUMENT` where `toUrlsafe` cannot have made `s`
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
    // not UTF-8, or not text at all: said below
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
  readonly id: string;
  readonly stats: string;
  record(key: string): string;
}

/** The Redis keys of the store `tqname`. */
export function redisKeys(tqname: string): RedisKeys {
  const prefix = `tundra:${tqname}:`;
  return {
    dirty: prefix + "dirty",
    idle: prefix + "idle",
    dead: prefix + "dead",
    id: prefix + "id",
    stats: prefix + "stats",
    record: (key) => `${prefix}rec:${key}`,
  };
}

/** The name of the object that says whose archive this is. `~` begins no key's segment but the empty key's. */
export function ownerObject(tqname: string): string {
  return `${tqname}/~owner`;
}

/** The common beginning of the names of all versions of one key. A long key becomes a prefix and a SHA-256. */
export async function objectPrefix(tqname: string, key: string): Promise<string> {
  const segment = toUrlsafe(key);
  if (segment === "") return `${tqname}/~/`;
  if (segment.length <= MAX_SEGMENT) return `${tqname}/${segment}/`;
  const hash = await digest("SHA-256", utf8.encode(key));
  const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${tqname}/${segment.slice(0, MAX_SEGMENT - 65)}~${hex}/`;
}

/** The name of one version of one key. */
export async function objectName(tqname: string, key: string, version: string): Promise<string> {
  return await objectPrefix(tqname, key) + version;
}

/** A version's time, microseconds; its nonce says nothing about order. 0 for what is no version. */
export function versionMicros(ver: string): number {
  return /^\d{16}-[0-9a-f]+$/.test(ver) ? Number(ver.slice(0, 16)) : 0;
}

/** `user:1, user:2 and 3 more`, for messages. */
export function showKeys(keys: readonly string[]): string {
  const shown = keys.slice(0, 3).map(show).join(", ");
  return keys.length > 3 ? `${shown} and ${keys.length - 3} more` : shown;
}
