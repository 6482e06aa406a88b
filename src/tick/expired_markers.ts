/**
 * Markers: a tombstone in a pack for each expired key whose own objects are deleted. Older versions of the key may lie
 * in packs; without a newer one they would be its newest, and a search would take them for its value.
 * @module
 */
import { freezePack } from "../archive/pack.ts";
import { placeOf } from "../archive/place.ts";
import { packName, packPrefix, versionAfter, versionMicros } from "../base/keys.ts";
import type { Purge } from "../scripts/purged.ts";
import type { TickRun } from "./run.ts";

/** Puts a pack of tombstones, each just above the version that expired, and so below whatever the key becomes later. */
export async function putMarkers(run: TickRun, id: string, nowUs: number, purges: Purge[], signal: AbortSignal) {
  const { context } = run;
  if (!await mayHoldPacks(run, signal)) return;
  const records = purges.map(({ key, upTo }) => {
    const { ver } = placeOf(upTo);
    // the same name each time: whoever marks the same key meanwhile, marks it alike
    const after = String(versionMicros(ver) + 1).padStart(16, "0") + ver.slice(16);
    return { key, ver: after, at: Math.floor(nowUs / 1000), index: id, prev: upTo, gone: "inferred" as const };
  });
  const newest = records.map(({ ver }) => ver).sort().at(-1)!;
  const name = packName(context.tqname, versionAfter(nowUs, newest));
  const { bytes } = await freezePack(records, name, context.freezers, Infinity, id);
  await run.counted((call) => context.datastore.putKey(name, bytes, call), signal, "purging");
  run.report.bytesWritten += bytes.length;
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
