/**
 * Events: what a store tells the application's listener.
 * @module
 */
import type { TundraErrorCode } from "../base/errors.ts";

/**
 * A call of a store, or an operation on it. `command`: a command of a transparent client that runs in a script; what that
 * client sends as it is, and its pipelines and transactions, are not told.
 */
export type TundraCall =
  | ("ensureKs" | "dirty" | "evict" | "del" | "tick" | "status" | "deadLetters" | "retryDead")
  | ("activity" | "adopt" | "advise" | "erase" | "moveIndex" | "peek" | "probe" | "rebuild" | "restoreVersion")
  | ("sweep" | "verify" | "versions" | "warm" | "rotate" | "encryptionStatus" | "command");

/** The numbers of a tick's report. */
export interface TickCounts {
  /** Keys leased. */
  claimed: number;
  /** Values archived. */
  frozen: number;
  /** Those of them that changed again meanwhile, so they are still dirty. */
  requeued: number;
  /** Keys that left Redis. */
  evicted: number;
  /** Idle keys that had been changed without a mark, and are marked now. */
  rescued: number;
  /** Claimed keys that were no longer in Redis: a tombstone was archived. */
  missing: number;
  /** Keys that could not be archived this time; the dead ones included. */
  failed: number;
  /** Keys that have used up their attempts. */
  dead: number;
  /** Keys that are due and not archived yet, as far as this tick knows. */
  remaining: number;
  /** Removed or expired keys whose objects were deleted from the archive. */
  purged: number;
  /** Keys that have objects to delete by now, as far as this tick knows. */
  purging: number;
  /** HTTP requests made. */
  subrequests: number;
  /** Redis commands run, those inside scripts too, as Upstash bills them; without those whose reply was lost. */
  commands: number;
  /** Bytes of values read from Redis. */
  bytesRead: number;
  /** Bytes of archive objects written. */
  bytesWritten: number;
  /** Versions that a sweep has deleted, if `sweepMs` was given. */
  swept?: number;
  /** Versions and records that were verified, if `verifyKeys` was given. */
  verified?: number;
  /** Versions that were found damaged or missing. */
  damaged?: number;
  /** Duration in milliseconds. */
  durationMs: number;
  /**
   * `true` if no due key is left that this tick knows of: no bound was reached, no eviction failed, no lease ended
   * before its keys were archived.
   */
  done: boolean;
}

/**
 * An event of a store. It holds numbers and codes: no key, no secret.
 *
 * | type | when |
 * | --- | --- |
 * | `call` | a call of the store, or an operation, has ended; `code` if it threw |
 * | `tick` | a tick has ended, with the numbers of its report |
 * | `evicted` | keys have left Redis |
 * | `restored` | keys came back, by whichever call; `bytes` of their `DUMP` payloads |
 * | `failed` | keys failed within a call or a tick, by code; 0 `keys` if it concerns none of them by name |
 * | `swept` | a call of a sweep, or a tick's part of one, has ended |
 * | `verified` | a call of a verification, or a tick's part of one, has ended |
 */
export type TundraEvent =
  | {
    type: "call";
    call: TundraCall;
    /** Keys given; for a tick: claimed. 0 if a call takes none. */
    keys: number;
    durationMs: number;
    /** HTTP requests to Redis and to the archive. */
    requests: number;
    /** Billable commands of Redis. */
    commands: number;
    /** Bytes that came from the archive. */
    bytesFetched: number;
    /** Bytes that were put there. */
    bytesPut: number;
    code?: TundraErrorCode;
  }
  | { type: "tick"; report: TickCounts }
  | { type: "evicted"; keys: number }
  | { type: "restored"; keys: number; bytes: number }
  | { type: "failed"; call: TundraCall; code: TundraErrorCode; keys: number }
  | { type: "swept"; deleted: number; moved: number; failed: number }
  | { type: "verified"; checked: number; damaged: number; missing: number };
