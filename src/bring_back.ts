/**
 * bringBack: fetches the objects of evicted keys in waves, thaws them, and restores them by compare-and-set in as few
 * requests as their size allows. Records name the size of each value, so memory is bounded before anything is fetched.
 * @module
 */
import type { Block } from "./archive/block.ts";
import type { LargeRecord } from "./archive/large.ts";
import { placeOf } from "./archive/place.ts";
import type { ArchiveRecord, Tombstone } from "./archive/record.ts";
import { asTundraError, isNotFound, show, TundraError } from "./base/errors.ts";
import { isLarge, versionMicros } from "./base/keys.ts";
import type { Context } from "./core/context.ts";
import { fetchArchived, type Fetched, thawArchived, unitOf } from "./core/fetch_archived.ts";
import { formerIds } from "./core/former.ts";
import { type KnownPacks, movedTo, newestVersions } from "./core/newest_version.ts";
import { archivePlace, uuidOf } from "./core/owner.ts";
import type { CheckFinding } from "./scripts/check.ts";
import { parseRecord } from "./scripts/prelude.ts";
import { readState } from "./scripts/read_state.ts";
import { restore, type RestoreOutcome, type Thawed, TOMBSTONE } from "./scripts/restore.ts";
import { encodePayload, payloadBytes } from "./upstash/payload.ts";
import { batches, inParts, keyBytes } from "./upstash/requests.ts";

/** Objects and blocks fetched at a time, however small they are. */
const WAVE = 128;
/** Values that are thawed at a time. */
const THAWED_BYTES = 1_048_576;
/** Bytes of an object besides the value and its key. */
const OBJECT_BYTES = 1_024;

type Failures = Map<string, TundraError>;

/** Blocks and directories that a call has read already. */
interface Known {
  /** The id of the index. */
  id: string;
  blocks: Map<string, Promise<Block>>;
  packs: KnownPacks;
}

/** An evicted key. */
interface Evicted {
  key: string;
  record: string;
  ver: string;
  unit: string;
  /** Memory that its value takes, at most. */
  bytes: number;
  /** Bytes of its block, which it may share; 0 if it has an object of its own. */
  blockBytes: number;
}

/** A value that waits for its request. */
interface Ready extends Thawed {
  /** The head of a large value, which comes back by itself, and its object's name. */
  large?: { head: LargeRecord; name: string };
  /** Bytes that it takes of a request. */
  weight: number;
  /** Memory that it takes. */
  bytes: number;
}

/**
 * Brings keys back; puts those that fail into `failures`; returns the keys to check again. From fetch to restore at
 * most `maxBytesInFlight` bytes of values are in memory, or one value.
 */
export async function bringBack(
  context: Context,
  id: string,
  findings: CheckFinding[],
  failures: Failures,
): Promise<string[]> {
  const { connection } = context;
  const again: string[] = [];
  const sendPart = async (batch: Ready[]) => {
    try {
      const { large, expected } = batch[0] ?? {};
      const outcomes = large
        ? [await (await import("./core/restore_large.ts")).restoreLarge(context, { ...large, expected: expected! })]
        : await restore(context.index, batch);
      tellRestored(context, batch, outcomes);
      batch.forEach(({ key }, i) => {
        const outcome = outcomes[i]!;
        if (outcome === "again") again.push(key);
        if (typeof outcome === "object") failures.set(key, refused(key, outcome.refused));
      });
    } catch (thrown) {
      const error = asTundraError(thrown, "restore keys");
      if (error.code === "TOO_LARGE" && batch.length > 1) throw error;
      for (const { key } of batch) failures.set(key, error);
    }
  };

  const send = (batch: Ready[]) => inParts(batch, weigh, connection.requestLimit, sendPart);
  // versions of one block together, so that it is read once
  const waiting = findings.map(({ key, record }) => evicted(context, key, record))
    .sort((a, b) => a.unit < b.unit ? -1 : a.unit > b.unit ? 1 : 0);
  const known: Known = { id, blocks: new Map(), packs: { directories: new Map() } };
  const { blocks } = known;
  let ready: Ready[] = [];
  while (waiting.length > 0) {
    const room = context.maxBytesInFlight - ready.reduce((sum, { bytes }) => sum + bytes, 0);
    const wave = waiting.splice(0, fitting(firstUnits(waiting), room, ready.length === 0));
    if (wave.length === 0) await send(ready.splice(0));
    const fetched = wave.length > 0 ? await fetchArchived(context, wave, { flights: context.flights }) : [];
    while (fetched.length > 0) { // values that are thawed take several times their size
      const some = fetched.splice(0, fitting(fetched, THAWED_BYTES, true));
      for (const each of await thawAll(context, some, known, failures, again)) {
        if (each.large) await sendPart([each]);
        else ready.push(each);
      }
      // the next one may lie in the last block, and none of them in another
      for (const unit of blocks.keys()) if (unit !== some.at(-1)!.unit) blocks.delete(unit);
      const requests = batches(ready, weigh, connection.requestLimit());
      ready = requests.pop() ?? []; // the last one may still grow
      while (requests.length > 0) await send(requests.shift()!);
    }
  }
  await send(ready);
  return again;
}

/** Tells the application how many of them came back, and the bytes of their payloads. */
function tellRestored({ onEvent }: Context, batch: Ready[], outcomes: RestoreOutcome[]): void {
  const restored = batch.filter((_, i) => outcomes[i] === "restored");
  const bytesOf = ({ key, bytes, large }: Ready) => large ? large.head.bytes : bytes - inFlight(key, 0);
  if (restored.length > 0) {
    onEvent?.({
      type: "restored",
      keys: restored.length,
      bytes: restored.reduce((sum, each) => sum + bytesOf(each), 0),
    });
  }
}

const weigh = ({ weight }: Ready): number => weight;

function evicted({ connection }: Context, key: string, record: string): Evicted {
  const { ver, kb } = parseRecord(record)!;
  const valueBytes = isLarge(ver) ? 0 : kb > 0 ? 1024 * kb : connection.requestLimit();
  return {
    key,
    record,
    ver,
    unit: unitOf({ key, ver }),
    bytes: inFlight(key, valueBytes),
    blockBytes: placeOf(ver).length,
  };
}

/** Those in the first objects and blocks, as many as are fetched at a time. */
function firstUnits(waiting: Evicted[]): Evicted[] {
  const units = new Set<string>();
  const beyond = waiting.findIndex(({ unit }) => units.add(unit).size > WAVE);
  return beyond < 0 ? waiting : waiting.slice(0, beyond);
}

function inFlight(key: string, valueBytes: number): number {
  return valueBytes + 3 * key.length + OBJECT_BYTES;
}

/** The number of the first of them that there is room for; one that is larger than all the room is taken alone. */
function fitting(some: Evicted[], room: number, mayBeLarger: boolean): number {
  let size = 0;
  let block = "";
  for (const { bytes, blockBytes, unit } of some) {
    const more = bytes + (unit === block ? 0 : blockBytes);
    if (more > room && !(mayBeLarger && size === 0)) break;
    room -= more;
    block = unit;
    size++;
  }
  return size;
}

/** Thaws objects; puts a key that fails into `failures`, and one whose record has changed into `again`. */
async function thawAll(
  context: Context,
  some: (Evicted & Fetched)[],
  known: Known,
  failures: Failures,
  again: string[],
): Promise<Ready[]> {
  const thawed = await Promise.all(some.map(async (each) => {
    try {
      return await thaw(context, each, known);
    } catch (thrown) {
      const error = asTundraError(thrown, `ensure ${show(each.key)}`);
      // ticks and sweeps remove objects that records name no more: then nothing is lost, whatever a search has met
      if (isNotFound(each.object) && await hasMovedOn(context, each)) again.push(each.key);
      else failures.set(each.key, error);
    }
  }));
  return thawed.filter((each) => each !== undefined);
}

async function hasMovedOn(context: Context, { key, record }: Evicted): Promise<boolean> {
  try {
    const { states: [state] } = await readState(context.index, [key]);
    return state!.record !== record;
  } catch {
    return false; // the loss is reported
  }
}

async function thaw(context: Context, fetched: Fetched & { record: string }, known: Known): Promise<Ready> {
  if (isNotFound(fetched.object)) return await thawNewer(context, fetched, known);
  return readyOf(fetched, await thawArchived(context, fetched, known.blocks));
}

function readyOf(
  { key, record, ver, name }: Fetched & { record: string },
  archived: ArchiveRecord | LargeRecord | Tombstone,
): Ready {
  const head = { key, expected: record, ver };
  if ("gone" in archived) {
    return { ...head, exp: 0, payload: TOMBSTONE, weight: keyBytes(key), bytes: inFlight(key, 0) };
  }
  if (!("dump" in archived)) {
    const large = { head: archived, name };
    return { ...head, exp: archived.exp, payload: "", weight: 0, bytes: 0, large };
  }
  const { exp, dump } = archived;
  const weight = keyBytes(key) + payloadBytes(dump);
  return { ...head, exp, payload: encodePayload(dump), weight, bytes: inFlight(key, dump.length) };
}

/**
 * Thaws the version that the record names from another pack, as a sweep has moved it and Redis has forgotten that; or
 * a newer one, as the archive lacks it: Redis lost acknowledged writes, or the bucket lost objects. A newer one was
 * acknowledged later; an older one is never taken, nor one that the index of another archive wrote.
 */
async function thawNewer(
  context: Context,
  { key, record, ver }: { key: string; record: string; ver: string },
  { id, packs }: Known,
): Promise<Ready> {
  const lost = (rest: string) =>
    new TundraError(
      "LOST",
      `Cannot bring ${show(key)} back as the archive must hold version ${ver} or a newer one: ${rest}. ` +
        `It was looked for under ${archivePlace(context)}; bucket, prefix or tqname may be the wrong ones`,
      { keys: [key] },
    );
  const { datastore } = context;
  if (!datastore.listKeys) throw lost("it does not, and this datastore cannot list others");
  const moved = await movedTo(context, key, ver, packs);
  const [newest = "", rival] = moved ? [moved] : await newestVersions(context, key, packs, ver);
  if (!moved && versionMicros(newest) <= versionMicros(ver)) {
    throw lost(newest ? `its newest is ${newest}` : "it holds none");
  }
  if (rival !== undefined) throw lost(`its newest are ${newest} and ${rival}, and nothing says which came last`);
  const [fetched] = await fetchArchived(context, [{ key, record, ver: newest }]);
  if (isNotFound(fetched!.object)) throw lost(`its newest, ${newest}, went before it was fetched`);
  const archived = await thawArchived(context, fetched!);
  const { index } = archived; // none in records of version 1
  if (index !== undefined && uuidOf(index) !== uuidOf(id) && !(await formerIds(context)).includes(uuidOf(index))) {
    throw lost(`another index, ${index}, has written its newest, ${newest}`);
  }
  return readyOf(fetched!, archived);
}

function refused(key: string, message: string): TundraError {
  return new TundraError("UNSUPPORTED", `Cannot restore ${show(key)} as Redis must accept its payload: ${message}`, {
    keys: [key],
  });
}
