/**
 * The numbers of the index, as Redis has them now.
 * @module
 */
import type { TundraStore } from "../store_interface.ts";
import { INDEX, type Metric, UP, UPKEEP, type UpkeepRun } from "./table.ts";

/** `activity` of `@tundra/store/operations`. */
export type ActivityReader = (store: TundraStore) => Promise<{ runs: readonly UpkeepRun[] }>;

/** Values by metric, the first of which tells if Redis answered. */
export type IndexValues = [metric: Metric, value: number][];

/** Asks Redis; `undefined` if it does not answer. The event of the failed call has its code. */
export async function readIndex(
  store: TundraStore,
  activity: ActivityReader | undefined,
): Promise<IndexValues | undefined> {
  try {
    const [status, notes] = await Promise.all([store.status(), activity?.(store)]);
    const values: IndexValues = [[UP, 1], ...INDEX.map((metric): [Metric, number] => [metric, metric.read(status)])];
    for (const metric of notes ? UPKEEP : []) {
      const value = metric.read(notes!.runs);
      if (value !== undefined) values.push([metric, value]);
    }
    return values;
  } catch {
    return undefined;
  }
}

/** The values if Redis does not answer. */
export const DOWN: IndexValues = [[UP, 0]];
