/**
 * Events, as the store gives them.
 * @module
 */
import type { TundraErrorCode } from "../base/errors.ts";
import type { TickReport } from "../tick/options.ts";

/** An event of a store. */
export type TundraEvent =
  | {
    type: "call";
    call: string;
    keys: number;
    durationMs: number;
    requests: number;
    commands: number;
    bytesFetched: number;
    bytesPut: number;
    code?: TundraErrorCode;
  }
  | { type: "tick"; report: Omit<TickReport, "errors"> }
  | { type: "evicted"; keys: number }
  | { type: "restored"; keys: number; bytes: number }
  | { type: "failed"; call: string; code: TundraErrorCode; keys: number }
  | { type: "swept"; deleted: number; moved: number; failed: number }
  | { type: "verified"; checked: number; damaged: number; missing: number };
