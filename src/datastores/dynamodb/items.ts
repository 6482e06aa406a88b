/**
 * The items of a table: which one holds what, and how large one may be.
 *
 * | item | `p` (partition key) | `s` (sort key) | holds |
 * | --- | --- | --- | --- |
 * | head | `!` and a shard, `0` to `f` | the object's name | `h`: SHA-256 of the object; `t`: which call put it; `v`: the object; or `n`: its parts, `z`: its bytes |
 * | part | the name, `!`, the part's number | 24 digits of the SHA-256, and `t` | `v`: some bytes of the object |
 * | note | as the head | the name and `!` | `b`: for each put in parts that began, those 32 digits and how many |
 *
 * An object is there if its head is. All heads lie in 16 partitions, sorted by name, as a listing must come in ascending
 * order: partitions come out of a Scan in no order at all. The shard is a hash of the first two parts of the name, so
 * that all versions of a key lie in one: one Query lists them. Parts lie in partitions of their own, as one partition
 * takes about 1 MB a second. Each put has parts of its own: two never mix, and one that fails deletes only its own. No
 * name holds a `!`.
 * @module
 */
import { hex } from "../../base/platform.ts";

/** An attribute as DynamoDB writes it in JSON; bytes are base64. */
export interface Attribute {
  S?: string;
  B?: string;
  SS?: string[];
}

/** An item, or a part of it. */
export type Item = Record<string, Attribute | undefined>;

/** The primary key of an item. */
export interface ItemKey {
  p: { S: string };
  s: { S: string };
}

/** All shards: the partition keys of heads. */
export const SHARDS: readonly string[] = Array.from({ length: 16 }, (_, i) => `!${i.toString(16)}`);

/**
 * The most bytes of an item, names and values of its attributes together: 400 KB.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
 */
export const MAX_ITEM_BYTES = 409_600;

/** The end of a note's sort key: lower than every character of a name. */
const NOTE = "!";
const PART_DIGITS = 5;
const PUT_DIGITS = 32;
const utf8 = new TextEncoder();

/** A primary key. */
export function itemKey(p: string, s: string): ItemKey {
  return { p: { S: p }, s: { S: s } };
}

/** A text that tells an item from all others. */
export function idOf({ p, s }: ItemKey): string {
  return `${p.S}\n${s.S}`;
}

/** The shard of a name, or of a prefix that ends behind its second slash. */
export function shardOf(name: string): string {
  let hash = 0x811c9dc5;
  for (const character of name.split("/", 2).join("/")) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  }
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return SHARDS[(hash ^ (hash >>> 13)) & 15]!;
}

/** The shards in which names with this prefix lie: one if it holds two slashes, else all. */
export function shardsUnder(prefix: string): readonly string[] {
  return prefix.split("/").length > 2 ? [shardOf(prefix)] : SHARDS;
}

/** The key of an object's head. */
export function headKey(name: string): ItemKey {
  return itemKey(shardOf(name), name);
}

/** The key of the note on puts in parts. */
export function noteKey(name: string): ItemKey {
  return itemKey(shardOf(name), name + NOTE);
}

/** Tells if this is the sort key of a note. */
export function isNote(sortKey: string): boolean {
  return sortKey.endsWith(NOTE);
}

/** The name whose put a note with this sort key tells of. */
export function nameOfNote(sortKey: string): string {
  return sortKey.slice(0, -NOTE.length);
}

/** The digits that tell one put from all others: of the object's SHA-256, and of the call that puts it. */
export function putDigits(hash: Uint8Array, call: string): string {
  return hex(hash).slice(0, PUT_DIGITS - call.length) + call;
}

/** The keys of the parts of one put, in their order. */
export function partKeys(name: string, put: string, count: number): ItemKey[] {
  return Array.from({ length: count }, (_, i) => itemKey(`${name}!${String(i).padStart(PART_DIGITS, "0")}`, put));
}

/** The word of a note for one put. */
export function noteWord(put: string, count: number): string {
  return `${put}.${count}`;
}

/** The keys of the parts that a note's word tells of; `undefined` for another text. */
export function partKeysOf(name: string, word: string): ItemKey[] | undefined {
  const [, digits, count] = /^([0-9a-f]{32})\.([1-9]\d{0,4})$/.exec(word) ?? [];
  return digits === undefined ? undefined : partKeys(name, digits, Number(count));
}

/**
 * The bytes of an item, as DynamoDB counts them: of each attribute its name in UTF-8 and its value. A string counts in
 * UTF-8, a binary value by its own bytes, a set by its elements.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
 */
export function itemBytes(item: Item): number {
  let bytes = 0;
  for (const [name, value = {}] of Object.entries(item)) {
    bytes += textBytes(name) + textBytes(value.S ?? "");
    for (const element of value.SS ?? []) bytes += textBytes(element);
    if (value.B !== undefined) bytes += base64Bytes(value.B);
  }
  return bytes;
}

/** The bytes that an item has left for an attribute `v`. */
export function roomIn(item: Item): number {
  return MAX_ITEM_BYTES - itemBytes(item) - "v".length;
}

/** The bytes of one part of an object with this name; the last part may have fewer. */
export function partRoom(name: string): number {
  return roomIn({ ...partKeys(name, "0".repeat(PUT_DIGITS), 1)[0] });
}

function textBytes(text: string): number {
  return utf8.encode(text).length;
}

function base64Bytes(text: string): number {
  return text.length / 4 * 3 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0);
}
