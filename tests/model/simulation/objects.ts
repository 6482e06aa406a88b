/**
 * Archive objects as the oracle reads them, by its own eyes: a container is a head, the ids of the freezers (here at
 * most one), CBOR maps. A pack is a head of its own, containers, and a directory.
 * @module
 */
import { Decoder } from "cbor-x/decode";
import { parseDump, sha1 } from "../redis/redis.ts";
import { AES_GCM, openFrame, tenantOf } from "./encryption.ts";

/** A value and its own expiry (ms, 0 for none); `null`: none. */
export type ValueState = { value: string; exp: number } | null;

/** One version in the archive. */
export interface ArchiveEntry {
  key: string;
  ver: string;
  /** What a record calls it: the version, and its place in a pack. */
  word: string;
  state: ValueState;
  /** The index that wrote it, and what the key's record named before. */
  index: string;
  prev: string;
  /** `true` for a tombstone of a removal on purpose. */
  removal: boolean;
}

/** An archive object, read: one version, those of a pack, or none. */
export interface ArchiveObject {
  bytes: Uint8Array;
  entries: ArchiveEntry[];
}

/** The archive, by names of objects. */
export type Archive = Map<string, ArchiveObject>;

/** The freezer of the simulated processes. */
export const FREEZER_ID = "flip";
const CBOR_AT = 38;
const PACKS = "default/~packs/";
const PACK_HEAD = 16;
const decoder = new Decoder({ mapsAsObjects: false, useRecords: false });

/** The simulated freezer; its own inverse. */
export function flipInPlace(bytes: Uint8Array): Uint8Array {
  for (let i = 0; i < bytes.length; i++) bytes[i]! ^= 0xff;
  return bytes;
}

/** The versions of a key. */
export function versionsOf(archive: ReadonlyMap<string, ArchiveObject>, key: string): ArchiveEntry[] {
  return [...archive.values()].flatMap(({ entries }) => entries.filter((entry) => entry.key === key));
}

/** The name of the object that holds what a record names so. */
export function holderOf(key: string, word: string): string {
  const at = word.indexOf("@");
  if (at < 0) return `default/${key}/${word}`;
  return PACKS + (word.slice(at + 1, word.indexOf(":", at)) || word.slice(0, at));
}

/** True for objects that say whose the archive is. */
export function saysWhose(name: string): boolean {
  return /\/~(owner|former|copying)\//.test(name);
}

/** The versions in an object; those that say whose the archive is hold none. `wrong` is told what must not be. */
export function readEntries(name: string, bytes: Uint8Array, wrong: (what: string) => never): ArchiveEntry[] {
  if (saysWhose(name)) return [];
  if (name.startsWith(PACKS)) return readPack(name.slice(PACKS.length), bytes, wrong);
  if (bytes[3] === 0x4c) return [readLarge(name, bytes, wrong)];
  const [fields, ...more] = mapsIn(bytes, name, wrong);
  const entry = entryOf(fields!, (ver) => ver);
  if (more.length > 0 || name !== `default/${entry.key}/${entry.ver}`) wrong(`${name}: ${entry.ver} of ${entry.key}`);
  const mark = { true: "d", inferred: "e" }[String(fields!.get("gone"))] ?? "";
  if (name.slice(name.lastIndexOf("-") + 9) !== mark) wrong(`${name} holds gone: ${fields!.get("gone")}`);
  return [entry];
}

/** Its segments, in their order, are just the payload that its head names. */
function readLarge(name: string, bytes: Uint8Array, wrong: (what: string) => never): ArchiveEntry {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let at = 12 + view.getUint32(8);
  const [head] = mapsIn(bytes.subarray(12, at), name, wrong);
  let dump = "";
  for (let part = 0;; part++) {
    const length = view.getUint32(at);
    at += 4;
    if (length === 0) break;
    const [segment] = mapsIn(bytes.subarray(at, at += length), name, wrong);
    if (segment!.get("part") !== part) wrong(`${name} has part ${segment!.get("part")} in the place of ${part}`);
    for (const field of ["key", "ver"]) if (segment!.get(field) !== head!.get(field)) wrong(`${name}: ${field}`);
    for (const byte of segment!.get("dump") as Uint8Array) dump += String.fromCharCode(byte);
    if (part >= (head!.get("parts") as number)) wrong(`${name} has more than ${head!.get("parts")} parts`);
  }
  if (at !== bytes.length) wrong(`${name} ends at ${at}, and has ${bytes.length} bytes`);
  if (sha1(dump) !== head!.get("sha1") || dump.length !== head!.get("bytes")) wrong(`${name} holds another payload`);
  const fields = new Map(head!).set("dump", Uint8Array.from(dump, (character) => character.charCodeAt(0)));
  const entry = entryOf(fields, (ver) => ver);
  if (name !== `default/${entry.key}/${entry.ver}` || !/-[0-9a-f]{8}a$/.test(name)) wrong(`${name}: ${entry.ver}`);
  return entry;
}

type Fields = Map<string, unknown>;

/** The maps in a container. If it is encrypted, then under the key of the records' keys, or of what names many. */
function mapsIn(container: Uint8Array, name: string, wrong: (what: string) => never): Fields[] {
  const last = container[CBOR_AT - 1] === 1 ? String.fromCharCode(...container.subarray(CBOR_AT + 1, CBOR_AT + 8)) : "";
  if (last === AES_GCM) {
    const { id, bytes } = openFrame(container.subarray(CBOR_AT + 1 + AES_GCM.length), name, wrong);
    const maps = decoder.decodeMultiple(bytes) as Fields[];
    const isDirectory = maps[0]!.has("pack");
    for (const map of isDirectory ? maps.slice(0, 1) : maps) {
      const must = (isDirectory ? undefined : tenantOf(map.get("key") as string)) ?? (id === "next" ? id : "main");
      if (id !== must) wrong(`${name} has ${map.get("key")} under the key ${id}, not ${must}`);
    }
    return maps;
  }
  const frozen = container[CBOR_AT - 1] === 1;
  const start = frozen ? CBOR_AT + 1 + FREEZER_ID.length : CBOR_AT;
  const sequence = container.slice(start);
  return decoder.decodeMultiple(frozen ? flipInPlace(sequence) : sequence) as Fields[];
}

/** Its directory says just what is in its blocks, and these fill it. */
function readPack(pack: string, bytes: Uint8Array, wrong: (what: string) => never): ArchiveEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [at, length] = [view.getUint32(8), view.getUint32(12)];
  const [head, ...rest] = mapsIn(bytes.subarray(at, at + length), PACKS + pack, wrong);
  const blocks = rest.splice(0, head!.get("blocks") as number);
  if (head!.get("pack") !== PACKS + pack) wrong(`${pack} has the directory of ${head!.get("pack")}`);
  let end = PACK_HEAD;
  const entries = blocks.flatMap((block) => {
    const [offset, size] = [block.get("offset") as number, block.get("length") as number];
    if (offset !== end) wrong(`a block of ${pack} is at ${offset}, not ${end}`);
    end += size;
    return mapsIn(bytes.subarray(offset, end), PACKS + pack, wrong).map((fields) =>
      entryOf(fields, (ver) => `${ver}@${ver === pack ? "" : pack}:${offset}:${size}`)
    );
  });
  if (end !== at || at + length !== bytes.length) wrong(`${pack} has ${bytes.length} bytes, not ${at} and ${length}`);
  const listed = rest.map((each) => {
    const offset = blocks[each.get("block") as number]!.get("offset");
    return [each.get("key"), each.get("ver"), each.get("exp"), each.get("gone") === 0, each.get("prev"), offset].join();
  });
  const held = entries.map(({ key, ver, state, prev, word }) =>
    [key, ver, state?.exp ?? 0, state !== null, prev, word.split(":").at(-2)].join()
  );
  if (listed.join(" ") !== held.join(" ")) wrong(`the directory of ${pack} says ${listed}, its blocks hold ${held}`);
  if (entries.length < 2 && entries[0]?.ver === pack) wrong(`${pack} is a pack of one`);
  return entries;
}

function entryOf(fields: Fields, word: (ver: string) => string): ArchiveEntry {
  const text = (name: string) => fields.get(name) as string;
  const [key, ver, index, prev] = ["key", "ver", "index", "prev"].map(text) as [string, string, string, string];
  const entry = { key, ver, word: word(ver), index, prev, removal: fields.get("gone") === true };
  if (fields.has("gone")) return { ...entry, state: null };
  let dump = "";
  for (const byte of fields.get("dump") as Uint8Array) dump += String.fromCharCode(byte);
  return { ...entry, state: { value: parseDump(dump)!, exp: fields.get("exp") as number } };
}
