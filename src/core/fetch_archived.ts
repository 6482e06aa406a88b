/**
 * Archived versions by their places: objects of their own, and blocks of packs. Blocks that lie close together are read
 * in one request, and each is thawed once a call.
 * @module
 */
import { type Block, recordOf, thawBlock } from "../archive/block.ts";
import type { ArchiveRecord, Tombstone } from "../archive/encoding.ts";
import type { LargeRecord } from "../archive/large.ts";
import { holderName, placeOf } from "../archive/place.ts";
import { thawRecord } from "../archive/record.ts";
import { asTundraError, isNotFound, show, TundraError } from "../base/errors.ts";
import { isLarge } from "../base/keys.ts";
import { monotonicMs } from "../base/platform.ts";
import type { DatastoreCallOptions, RangeRead } from "../datastores/datastore.ts";
import type { Context, SingleFlight } from "./context.ts";
import { readRanges } from "./read_ranges.ts";

/** Blocks of one pack with at most this between them, or as the caller says, are read in one request ... */
const GAP_BYTES = 64 * 1024;
/** ... of at most this. */
export const READ_BYTES = 1024 * 1024;

/** A fetch begun longer ago than this is not shared with further calls: it may hang, and one of their own succeed. */
const SHARED_MS = 5_000;

/** A version of a key, by the word that names its place. */
export interface Named {
  key: string;
  ver: string;
}

/** A version whose bytes were fetched: an object of its own, or its block. */
export interface Fetched extends Named {
  /** Names what was fetched: several versions may lie in one block. */
  unit: string;
  /** The object's name, or the pack's. */
  name: string;
  /** Its bytes; of a large value those of its head. */
  object: Uint8Array | Error;
}

/** The unit in which a version is fetched: its block, or an object of its own. */
export function unitOf({ key, ver }: Named): string {
  const { pack, offset } = placeOf(ver);
  return pack === "" ? `${ver} ${key}` : `${pack}:${offset}`;
}

interface Unit extends RangeRead {
  id: string;
}

/** Fetches versions; in the order of `wanted`. */
export async function fetchArchived<T extends Named>(
  context: Context,
  wanted: T[],
  options: { flights?: SingleFlight | undefined; call?: DatastoreCallOptions; gapBytes?: number } = {},
): Promise<(T & Fetched)[]> {
  const { flights = new Map() as SingleFlight, call, gapBytes = GAP_BYTES } = options;
  const units = await Promise.all(wanted.map(async (each): Promise<Unit> => {
    const { offset, length } = placeOf(each.ver);
    return { id: unitOf(each), name: await holderName(context, each.key, each.ver), offset, length };
  }));
  const now = monotonicMs();
  const fresh = units.filter(({ id }) => now >= (flights.get(id)?.sharedUntil ?? -Infinity));
  const list = [...new Map(fresh.map((unit) => [unit.id, unit])).values()];
  if (list.length > 0) {
    const under = fetchUnits(context, list, gapBytes, call);
    for (const { id } of list) {
      const flight = { object: under.then((objects) => objects.get(id)!), sharedUntil: now + SHARED_MS };
      flights.set(id, flight);
      void under.then(() => flights.get(id) === flight && flights.delete(id));
    }
  }
  const objects = await Promise.all(units.map(({ id }) => flights.get(id)!.object));
  return wanted.map((each, i) => ({ ...each, unit: units[i]!.id, name: units[i]!.name, object: objects[i]! }));
}

async function fetchUnits(
  context: Context,
  units: Unit[],
  gapBytes: number,
  call: DatastoreCallOptions | undefined,
): Promise<Map<string, Uint8Array | Error>> {
  const found = new Map<string, Uint8Array | Error>();
  const own = units.filter(({ length, name }) => length === 0 && !isLarge(name));
  const large = units.filter(({ name }) => isLarge(name));
  const reads = mergedReads(units.filter(({ length }) => length > 0), gapBytes);
  const all = async (some: unknown[], fetch: () => Promise<(Uint8Array | Error)[]>) => {
    try {
      return some.length > 0 ? await fetch() : [];
    } catch (thrown) {
      return some.map(() => asTundraError(thrown, "fetch objects"));
    }
  };
  const [objects, ranges, heads] = await Promise.all([
    all(own, () => context.datastore.fetchKeys(own.map(({ name }) => name), call)),
    all(reads, () => readRanges(context, reads, call)),
    all(large, async () => await (await import("./large.ts")).fetchHeads(context, large.map(({ name }) => name), call)),
  ]);
  own.forEach(({ id }, i) => found.set(id, objects[i]!));
  large.forEach(({ id }, i) => found.set(id, heads[i]!));
  const alone: Unit[] = [];
  reads.forEach((read, i) => {
    const bytes = ranges[i]!;
    if (bytes instanceof Error && read.units.length > 1 && concernsSome(bytes)) alone.push(...read.units);
    for (const { id, offset, length } of read.units) {
      const from = offset - read.offset;
      found.set(id, bytes instanceof Error ? bytes : bytes.subarray(from, from + length));
    }
  });
  const again = await all(alone, () => readRanges(context, alone, call));
  alone.forEach(({ id }, i) => found.set(id, again[i]!));
  return found;
}

/** Tells if an error of blocks that were read together may concern some of them only, as if a pack was cut off. */
function concernsSome(error: Error): boolean {
  return !isNotFound(error) && !asTundraError(error, "fetch blocks").retryable;
}

/** Reads of blocks, joined where they lie close together. */
function mergedReads(blocks: Unit[], gapBytes: number): (RangeRead & { units: Unit[] })[] {
  const reads: (RangeRead & { units: Unit[] })[] = [];
  for (const unit of blocks.toSorted((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : a.offset - b.offset)) {
    const last = reads.at(-1);
    const end = unit.offset + unit.length;
    if (
      last?.name === unit.name && unit.offset - (last.offset + last.length) <= gapBytes &&
      end - last.offset <= READ_BYTES
    ) {
      last.length = Math.max(last.length, end - last.offset);
      last.units.push(unit);
    } else reads.push({ name: unit.name, offset: unit.offset, length: unit.length, units: [unit] });
  }
  return reads;
}

/**
 * Thaws what was fetched, of a large value only its head; `blocks` holds those that this call has thawed already.
 *
 * @throws TundraError `CORRUPT`, `UNSUPPORTED`, or what a freezer threw; the object's own error
 */
export async function thawArchived(
  context: Context,
  { key, ver: word, unit, name, object }: Fetched,
  blocks: Map<string, Promise<Block>> = new Map(),
): Promise<ArchiveRecord | LargeRecord | Tombstone> {
  if (object instanceof Error) throw asTundraError(object, `fetch ${show(key)}`);
  const { ver, pack } = placeOf(word);
  if (isLarge(word)) {
    return await (await import("../archive/large.ts")).thawHead(object, { key, ver }, name, context.freezers);
  }
  if (pack === "") return await thawRecord(object, { key, ver }, name, context.freezers);
  let block = blocks.get(unit);
  if (!block) blocks.set(unit, block = thawBlock(object, name, context.freezers, [key]));
  try {
    return recordOf(await block, { key, ver });
  } catch (thrown) {
    const { code, message, retryable, cause } = asTundraError(thrown, `thaw ${show(key)}`);
    throw new TundraError(code, message, { keys: [key], retryable, cause });
  }
}
