/**
 * One event of each type, and a store whose every metric has a value.
 * @module
 */
import type { TundraStore } from "../../mod.ts";
import type { TundraEvent } from "../../src/core/events.ts";
import { sweep, verify } from "../../src/operations/mod.ts";

const call = {
  type: "call",
  keys: 3,
  durationMs: 20,
  requests: 4,
  commands: 18,
  bytesFetched: 700,
  bytesPut: 0,
} as const;
const report = {
  ...{ claimed: 100, frozen: 100, requeued: 0, evicted: 40, rescued: 1, missing: 0, failed: 0, dead: 0, remaining: 0 },
  ...{ purged: 0, purging: 0, subrequests: 4, commands: 221, bytesRead: 9_000, bytesWritten: 9_000, durationMs: 900 },
  done: true,
};

/** The first is a call, and so is the second, of a tick. */
export const EVENTS: TundraEvent[] = [
  { ...call, call: "ensureKs" },
  { ...call, call: "tick", keys: 0, durationMs: 900, commands: 221, bytesFetched: 0, bytesPut: 9_000 },
  { type: "tick", report },
  { type: "evicted", keys: 40 },
  { type: "restored", keys: 3, bytes: 2_100 },
  { type: "failed", call: "ensureKs", code: "CORRUPT", keys: 2 },
  { type: "failed", call: "tick", code: "UNSUPPORTED", keys: 0 },
  { type: "failed", call: "ensureKs", code: "UNAVAILABLE", keys: 0 },
  { type: "swept", deleted: 7, moved: 5, failed: 0 },
  { type: "verified", checked: 50, damaged: 2, missing: 1 },
];

/** The store, after a tick, a sweep and a verification. */
export async function kept(store: TundraStore): Promise<TundraStore> {
  await store.tick();
  await sweep(store);
  await verify(store);
  return store;
}
