/**
 * The past of a store, as the page shows it.
 * @module
 */
import type { Status, TundraStore } from "../store_interface.ts";

/** @see activity() of operations */
export interface Activity {
  hours: {
    atMs: number;
    dirty: number;
    due: number;
    resident: number;
    evicted: number;
    dead: number;
    purge: number;
    oldestDueMs: number;
    totals: Status["totals"];
  }[];
  runs: { atMs: number; operation: "sweep" | "verify"; done: boolean; counts: Record<string, number> }[];
}

// deno-lint-ignore require-await
export async function activity(_store: TundraStore, _options: { signal?: AbortSignal } = {}): Promise<Activity> {
  return { hours: [], runs: [] };
}
