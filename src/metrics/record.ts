/**
 * Events to numbers.
 * @module
 */
import type { TundraErrorCode } from "../base/errors.ts";
import type { TundraEvent } from "../core/events.ts";
import { type Metric, PROCESS } from "./table.ts";

/** Names and values of labels; never a key's name. */
export type Labels = Readonly<Record<string, string>>;

/** A counter is added to, a histogram gets one more value. */
export type Add = (metric: Metric, value: number, labels?: Labels) => void;

const CODES: Record<TundraErrorCode, true> = {
  BAD_ARGUMENT: true,
  MISSING: true,
  ENSURE_FAILED: true,
  UNAVAILABLE: true,
  CONFLICT: true,
  CORRUPT: true,
  LOST: true,
  NOT_FOUND: true,
  TOO_LARGE: true,
  UNSUPPORTED: true,
};

/**
 * Makes the counters that alerts watch, with 0: Prometheus sees no increase of a series that begins with 1.
 */
export function begin(add: Add): void {
  const { errors, frozen, evicted, restored, restoredBytes, rescued, swept, verified, damaged, missing } = PROCESS;
  for (const scope of ["call", "tick", "key"]) for (const code of Object.keys(CODES)) add(errors, 0, { scope, code });
  for (const metric of [frozen, evicted, restored, restoredBytes, rescued, verified, damaged, missing]) add(metric, 0);
  for (const outcome of ["deleted", "moved", "failed"]) add(swept, 0, { outcome });
}

/** Adds what one event tells. */
export function record(event: TundraEvent, add: Add): void {
  switch (event.type) {
    case "call": {
      const { call, code } = event;
      add(PROCESS.calls, 1, { call, code: code ?? "OK" });
      if (code !== undefined) add(PROCESS.errors, 1, { scope: "call", code });
      add(PROCESS.duration, event.durationMs / 1000, { call });
      add(PROCESS.keys, event.keys, { call });
      add(PROCESS.requests, event.requests, { call });
      add(PROCESS.commands, event.commands, { call });
      add(PROCESS.fetchedBytes, event.bytesFetched, { call });
      return add(PROCESS.putBytes, event.bytesPut, { call });
    }
    case "tick":
      add(PROCESS.frozen, event.report.frozen);
      return add(PROCESS.rescued, event.report.rescued);
    case "evicted":
      return add(PROCESS.evicted, event.keys);
    case "restored":
      add(PROCESS.restored, event.keys);
      return add(PROCESS.restoredBytes, event.bytes);
    case "failed": {
      const { call, code, keys } = event;
      if (keys > 0) {
        add(PROCESS.failedKeys, keys, { call, code });
        return add(PROCESS.errors, keys, { scope: "key", code });
      }
      // of the archive or of the index as a whole; another call throws it, and its own event has the code
      return call === "tick" ? add(PROCESS.errors, 1, { scope: "tick", code }) : undefined;
    }
    case "swept":
      for (const outcome of ["deleted", "moved", "failed"] as const) add(PROCESS.swept, event[outcome], { outcome });
      return;
    case "verified":
      add(PROCESS.verified, event.checked);
      add(PROCESS.damaged, event.damaged);
      return add(PROCESS.missing, event.missing);
  }
}
