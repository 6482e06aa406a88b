/**
 * Key ids of encrypted units, as their first bytes tell: nothing is decrypted.
 * @module
 */
import { FREEZER_ID } from "../archive/container.ts";
import type { Freezer } from "../archive/freezer.ts";
import { type Directory, directoryPlace, PACK_HEAD, type PackEntry, thawDirectory } from "../archive/pack.ts";
import { isNotFound, show, TundraError } from "../base/errors.ts";
import { isLarge, packName, versionMicros } from "../base/keys.ts";
import type { Context } from "../core/context.ts";
import { fetchArchived } from "../core/fetch_archived.ts";
import { wordOf } from "../core/newest_version.ts";
import { readRanges } from "../core/read_ranges.ts";
import { AES_GCM_ID, type AesGcmParts, aesGcmParts, keyIdOf } from "../freezers/aes_gcm.ts";
import type { Bounds } from "../operations/bounds.ts";

/** The key id of a unit; "" if it is not encrypted, `undefined` if that cannot be told. */
export type UnitId = string | undefined;

/** No encrypted object is shorter, and a chain of two freezers and an id of 64 characters are within. */
const FIRST_BYTES = 120;
/** Objects that are in memory as a whole at a time. */
const WHOLE = 4;
const MAGIC = "TNDR";
/** The object of a large value begins otherwise, and its head is a container; all its segments have the same key. */
const [LARGE, LARGE_HEAD] = ["TNDL", 12];
/** Bytes of a container before the ids of its freezers, and the place of their number. */
const IDS = 38;

/**
 * The parts of the store's freezer that encrypts.
 *
 * @throws TundraError `UNSUPPORTED` if there is none, or others come after it; `BAD_ARGUMENT`
 */
export function encryptionOf(what: string, context: Context): AesGcmParts {
  const last: Freezer | undefined = context.freezers.at(-1);
  const parts = last && aesGcmParts(last);
  if (parts) return parts;
  throw new TundraError("UNSUPPORTED", `Cannot ${what} as the store's last freezer must be aesGcmFreezer's: it is not`);
}

/** The key id of a container, of which these are the first bytes. */
export function unitId(bytes: Uint8Array): UnitId {
  if (String.fromCharCode(...bytes.subarray(0, 4)) === LARGE) return unitId(bytes.subarray(LARGE_HEAD));
  if (bytes.length < IDS || String.fromCharCode(...bytes.subarray(0, 4)) !== MAGIC) return undefined;
  let at = IDS;
  let last = "";
  for (let i = 0; i < bytes[IDS - 1]!; i++) {
    const end = at + 1 + (bytes[at] ?? NaN);
    last = String.fromCharCode(...bytes.subarray(at + 1, end));
    if (!(end <= bytes.length) || !FREEZER_ID.test(last)) return undefined;
    at = end;
  }
  return last === AES_GCM_ID ? keyIdOf(bytes.subarray(at)) : "";
}

/**
 * The key ids of whole objects; an error for one that cannot be read. Cost: a request for the first bytes of each, or,
 * if the datastore cannot read ranges or an object is shorter, for all of it.
 */
export async function ownIds(bounds: Bounds, names: string[]): Promise<(UnitId | Error)[]> {
  const { context: { datastore }, counted } = bounds;
  if (datastore.fetchRanges === undefined) return await wholeIds(bounds, names);
  const reads = names.map((name) => ({ name, offset: 0, length: FIRST_BYTES + (isLarge(name) ? LARGE_HEAD : 0) }));
  const ids = (await counted((call) => datastore.fetchRanges!(reads, call))).map(idOf);
  const again = names.filter((_, i) => !isNotFound(ids[i]) && typeof ids[i] !== "string");
  const whole = await wholeIds(bounds, again);
  return ids.map((id, i) => {
    const at = again.indexOf(names[i]!);
    return at < 0 ? id : whole[at];
  });
}

/** The same of objects that are fetched as a whole, a few at a time. */
async function wholeIds({ context, counted }: Bounds, names: string[]): Promise<(UnitId | Error)[]> {
  const ids: (UnitId | Error)[] = [];
  for (let from = 0; from < names.length; from += WHOLE) {
    const some = names.slice(from, from + WHOLE);
    ids.push(...(await counted((call) => context.datastore.fetchKeys(some, call))).map(idOf));
  }
  return ids;
}

function idOf(object: Uint8Array | Error): UnitId | Error {
  return object instanceof Error ? object : unitId(object);
}

/** The units of a pack. */
export interface PackUnits extends Directory {
  /** The key id of the directory. */
  directoryId: UnitId;
  /** Those of the blocks, by offset; an error for one that cannot be read. */
  blockIds: Map<number, UnitId | Error>;
}

/**
 * The key ids of a pack's directory and blocks; `undefined` if the pack is gone. Cost: 2 requests, and one for each MB.
 *
 * @throws TundraError as `thawDirectory` does: its key must be there
 */
export async function packUnits(bounds: Bounds, pack: string): Promise<PackUnits | undefined> {
  const { context } = bounds;
  const name = packName(context.tqname, pack);
  const read = async (offset: number, length: number) => {
    const [bytes] = await bounds.counted((call) => readRanges(context, [{ name, offset, length }], call));
    if (bytes instanceof Error) throw bytes;
    return bytes!;
  };
  try {
    const { offset, length } = directoryPlace(await read(0, PACK_HEAD), name);
    const sealed = await read(offset, Math.max(1, length));
    const directory = await thawDirectory(sealed, name, context.freezers);
    const blocks = [...new Map(directory.entries.map((entry) => [entry.offset, entry])).values()];
    return { ...directory, directoryId: unitId(sealed), blockIds: await idsOfBlocks(bounds, pack, blocks) };
  } catch (thrown) {
    if (isNotFound(thrown)) return undefined;
    throw thrown;
  }
}

async function idsOfBlocks(bounds: Bounds, pack: string, blocks: PackEntry[]): Promise<PackUnits["blockIds"]> {
  const wanted = blocks.map((entry) => ({ key: entry.key, ver: wordOf(pack, entry), offset: entry.offset }));
  const fetched = await bounds.counted((call) => fetchArchived(bounds.context, wanted, { call }));
  return new Map(fetched.map(({ offset, object }) => [offset, object instanceof Error ? object : unitId(object)]));
}

/** Tells if this is the name of an object with one version: "~" begins no key's segment but the empty key's. */
export function isOwnObject(tqname: string, name: string): boolean {
  const [segment = "", ver = "", ...more] = name.slice(tqname.length + 1).split("/");
  return !/^~./.test(segment) && more.length === 0 && versionMicros(ver) > 0;
}

/** The error of an object whose key id cannot be told. */
export function noUnit(name: string): TundraError {
  return new TundraError("CORRUPT", `Cannot tell the key id of ${show(name)} as it must be a container: it is not`);
}
