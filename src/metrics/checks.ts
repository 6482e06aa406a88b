/**
 * Checks of arguments that both kinds of metrics make.
 * @module
 */
import { badArgument } from "../base/errors.ts";
import { contextOf } from "../core/context.ts";
import type { TundraStore } from "../store_interface.ts";

/** Refuses a store whose numbers would get another store's label. */
export function checkStore(store: TundraStore, tqname: string): void {
  const what = "read metrics";
  const { tqname: is } = contextOf(what, store);
  if (is !== tqname) throw badArgument(what, "the tqname of the store", `that of the metrics, ${tqname}`, is);
}

/** Checks for ascending bounds. */
export function checkBuckets(what: string, buckets: unknown): readonly number[] {
  const good = Array.isArray(buckets) && buckets.length > 0 && buckets.length <= 100 &&
    buckets.every((bound, i) => Number.isFinite(bound) && bound > (buckets[i - 1] ?? 0));
  if (!good) throw badArgument(what, "buckets", "1 to 100 ascending numbers above 0", buckets);
  return [...buckets as number[]];
}
