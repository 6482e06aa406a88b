/**
 * Markers: tombstones in a pack for keys whose own objects are deleted while older versions may lie in packs.
 *
 * - Of an expired key: without one, an older version would be its newest, and a search would take it for its value.
 * - Of a key that was removed on purpose and made anew before a tick came: nothing else in the archive says that the
 *   versions before were removed, so that a sweep deletes them.
 *
 * Deleting an expired key's objects also deletes tombstones of removals on purpose: the pack holds them too.
 * @module
 */
import { freezePack } from "../archive/pack.ts";
import { placeOf } from "../archive/place.ts";
import type { Tombstone } from "../archive/record.ts";
import { goneOf, packName, packPrefix, versionAfter, versionMicros, versionOfObject } from "../base/keys.ts";
import type { Context } from "../core/context.ts";
import type { Purge } from "../scripts/purged.ts";
import type { TickRun } from "./run.ts";

/** One key of which something is to be deleted, and the names of its objects. */
export interface Marked {
  each: Purge;
  names: readonly string[];
}

/** Tells if something newer than a marker would be is in the archive, or will be: nothing may have its time. */
function hasRoom({ upTo, anew }: Purge): boolean {
  return anew === undefined || versionMicros(anew) > versionMicros(upTo) + 1;
}

/** Told of keys whose markers could not be put, and why. */
export type OnUnmarked = (some: Marked[], thrown: unknown) => void;

/**
 * Puts a pack of tombstones, each just above the version that expired or was removed, and so below whatever the key is
 * or becomes later. A key whose tombstone cannot be frozen spoils no other: those have packs without it.
 */
export async function putMarkers(
  run: TickRun,
  id: string,
  nowUs: number,
  all: Marked[],
  signal: AbortSignal,
  onUnmarked: OnUnmarked,
): Promise<void> {
  const { context, report } = run;
  const marked = all.filter(({ each }) => hasRoom(each));
  if (marked.length === 0 || !await mayHoldPacks(run, signal)) return;
  for (const { some, name, bytes } of await freezeMarkers(context, id, nowUs, marked, onUnmarked)) {
    try {
      await run.counted((call) => context.datastore.putKey(name, bytes, call), signal, "purging");
      report.bytesWritten += bytes.length;
    } catch (thrown) {
      onUnmarked(some, thrown);
    }
  }
}

interface MarkerPack {
  some: Marked[];
  name: string;
  bytes: Uint8Array;
}

/** One pack of all, or halves of what cannot be frozen together. */
async function freezeMarkers(
  context: Context,
  id: string,
  nowUs: number,
  some: Marked[],
  onUnmarked: OnUnmarked,
): Promise<MarkerPack[]> {
  const records = some.flatMap((each) => tombstonesOf(each, id, nowUs));
  const newest = records.map(({ ver }) => ver).sort().at(-1)!;
  const name = packName(context.tqname, versionAfter(nowUs, newest));
  try {
    const { bytes } = await freezePack(records, name, context.freezers, Infinity, id);
    return [{ some, name, bytes }];
  } catch (thrown) {
    if (some.length === 1) {
      onUnmarked(some, thrown);
      return [];
    }
    const middle = Math.ceil(some.length / 2);
    const half = (of: Marked[]) => freezeMarkers(context, id, nowUs, of, onUnmarked);
    return [...await half(some.slice(0, middle)), ...await half(some.slice(middle))];
  }
}

function tombstonesOf({ each: { key, upTo, anew }, names }: Marked, id: string, nowUs: number): Tombstone[] {
  const { ver } = placeOf(upTo);
  // the same name each time: whoever marks the same key meanwhile, marks it alike
  const after = String(versionMicros(ver) + 1).padStart(16, "0") + ver.slice(16);
  const head = { key, at: Math.floor(nowUs / 1000), index: id };
  const marker: Tombstone = { ...head, ver: after, prev: upTo, gone: anew !== undefined || "inferred" };
  // a marker of a removal says all that the tombstones before it say
  const removals = anew === undefined ? names.map(versionOfObject).filter((each) => goneOf(each) === true) : [];
  return [marker, ...removals.map((ver): Tombstone => ({ ...head, ver, prev: "", gone: true }))];
}

/** Packs may be in the archive although this store makes none: made by another one, or by this one earlier. */
async function mayHoldPacks(run: TickRun, signal: AbortSignal): Promise<boolean> {
  const { context } = run;
  if (context.packBytes > 0 || !context.datastore.listKeys) return context.packBytes > 0;
  const prefix = packPrefix(context.tqname);
  const { names } = await run.counted(
    (call) => context.datastore.listKeys!(prefix, undefined, call),
    signal,
    "purging",
  );
  return names.length > 0;
}
