/**
 * list: the keys that Tundra knows, wherever their values are.
 * @module
 */
import { checkNumber } from "../base/arguments.ts";
import { badArgument, TundraError } from "../base/errors.ts";
import { countKeys, showKeys, versionMicros } from "../base/keys.ts";
import { checkMatch } from "../base/patterns.ts";
import { contextOf } from "../core/context.ts";
import { type KeyRecord, parseRecord } from "../scripts/prelude.ts";
import type { TundraStore } from "../store_interface.ts";
import { beginOperation, checkTime, type OperationOptions } from "./bounds.ts";
import { checkIndex } from "./check_index.ts";
import { readClock, scanRecords } from "./known_keys.ts";
import { seenKeys } from "./seen_keys.ts";

/**
 * The state of a key, by its record:
 *
 * | state | meaning |
 * | --- | --- |
 * | `dirty` | it has a change that is not archived yet |
 * | `resident` | it is archived, and in Redis; if it was deleted there without `del()`, `ensureKs()` brings it back |
 * | `evicted` | it is archived, and no longer in Redis; `ensureKs()` brings it back |
 * | `dead` | it has used up its attempts; see `deadLetters()` |
 * | `gone` | it was removed, or it has expired; its record goes a day or two later |
 */
export type KeyStateName = "dirty" | "resident" | "evicted" | "dead" | "gone";

/**
 * Options of {@linkcode list}. The list ends early at `maxKeys` alone: at any other bound the iteration throws, so that a
 * part is never taken for the whole.
 */
export interface ListOptions extends OperationOptions {
  /** Keys to list, as a pattern of Redis' `SCAN`: `user:*`. */
  match?: string;
  /** Keys in this state only. */
  state?: KeyStateName;
  /**
   * The most keys to list, at least 1: then the iteration ends.
   *
   * @default {Infinity}
   */
  maxKeys?: number;
  /**
   * The iteration throws `UNAVAILABLE` if it has more to ask for after this many milliseconds, those included that pass
   * between two keys: 1,000 to 43,200,000 (12 h).
   *
   * @default {Infinity}
   */
  deadlineMs?: number;
}

/** A key that Tundra knows. */
export interface ListedKey {
  /** The key. */
  key: string;
  /** Its state. */
  state: KeyStateName;
  /** The archived version, without its place; "" if there is none. */
  version: string;
  /** The time at which that version was archived, by Redis' clock, ms since 1970; 0 if there is none. */
  atMs: number;
  /** The size of the archived value's payload, bytes, rounded up to 1,024; 0 if there is none. */
  bytes: number;
  /** Its own expiry as archived, ms since 1970; 0 for none. */
  expMs: number;
  /** Its last use, to a few hours, ms since 1970; 0 if it is not known. */
  usedMs: number;
  /** Code and message of the last failure to archive it; "" for none. */
  error: string;
}

/** No request is kept back: there is no position to keep. */
const LIMITS = { least: 12, closing: 0, deadlineMs: Infinity };
const STATES: readonly KeyStateName[] = ["dirty", "resident", "evicted", "dead", "gone"];

/**
 * Lists the keys that Tundra knows, in no order: also those that `SCAN` no longer shows, as they are evicted. A key
 * whose record Redis has lost is not among them; the records are read, and neither values nor the archive.
 *
 * It is no snapshot. A key that has a record from the first step to the last is listed, in the state in which its step
 * found it; one whose record comes or goes meanwhile may be. Each key is listed once among a million; of more, one may
 * come twice. Memory does not depend on their number: 16 MB at most for names, and 1,000 records.
 *
 * Cost: for each 1,000 keys of the database, Tundra's own too, 1 request and 1 command; for each step that finds records
 * 2 requests and 2 commands more, 3 if some of them have failed.
 *
 * @throws {TundraError} `UNSUPPORTED` at the end, for records of another version, with their keys; `LOST` if the index
 * was lost or is a copy; `UNAVAILABLE`, also for an abort, `deadlineMs` and `maxSubrequests`; `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { list } from "@tundra/store/operations";
 *
 * export async function printEvicted(): Promise<void> {
 *   for await (const { key, bytes } of list(tundraFromEnv(), { match: "cart:*", state: "evicted" })) {
 *     console.log(key, bytes);
 *   }
 * }
 * ```
 */
export function list(store: TundraStore, options: ListOptions = {}): AsyncIterable<ListedKey> {
  const what = "list keys";
  const context = contextOf(what, store);
  const begin = () => beginOperation(what, context, options, ["match", "state", "maxKeys"], LIMITS);
  begin(); // checks the options
  const { match, state, maxKeys = Infinity } = options;
  checkMatch(what, match);
  checkNumber(what, "maxKeys", maxKeys, 1, Infinity);
  if (state !== undefined && !STATES.includes(state)) {
    throw badArgument(what, "state", `one of ${STATES.join()}`, state);
  }
  return {
    async *[Symbol.asyncIterator]() {
      const bounds = begin();
      const { call } = bounds;
      await checkIndex(context, call);
      const seen = seenKeys();
      const unsupported: string[] = [];
      let count = 0;
      for await (const { texts, next } of scanRecords(context, what, match, undefined, call)) {
        const records = new Map([...texts].map(([key, text]) => [key, parseRecord(text)]));
        const { dead, nowMs } = await readClock(context, what, records, call);
        for (const [key, record] of records) {
          if (!seen.add(key)) continue;
          const listed = record && entryOf(key, record, dead.has(key), nowMs);
          if (listed === undefined) unsupported.push(key);
          else if (state === undefined || listed.state === state) {
            yield listed;
            if (++count === maxKeys) return bounds.progress(count);
          }
        }
        bounds.progress(count);
        if (next !== undefined) checkTime(bounds, what);
      }
      if (unsupported.length > 0) throw unsupportedRecords(unsupported);
    },
  };
}

/** A key as its record tells it. */
export function entryOf(key: string, record: KeyRecord, isDead: boolean, nowMs: number): ListedKey {
  const { error, exp, kb, touch, ver } = record;
  return {
    key,
    state: stateOf(record, isDead, nowMs),
    version: ver.split("@")[0]!,
    atMs: Math.floor(versionMicros(ver) / 1000),
    bytes: 1024 * kb,
    expMs: exp,
    usedMs: touch,
    error: isRestored(error) ? "" : error,
  };
}

/** `true` for the note that restoreVersion() leaves in the place of an error. */
function isRestored(note: string): boolean {
  return note.startsWith("RESTORED ");
}

function stateOf({ exp, flag, rev }: KeyRecord, isDead: boolean, nowMs: number): KeyStateName {
  if (flag === "g" || flag === "m") return "gone";
  if (rev > 0) return isDead ? "dead" : "dirty";
  if (exp > 0 && exp <= nowMs) return "gone";
  return flag === "e" ? "evicted" : "resident";
}

function unsupportedRecords(keys: string[]): TundraError {
  return new TundraError(
    "UNSUPPORTED",
    `Cannot list ${countKeys(keys)} as their records must be of a version that is known: ${showKeys(keys)}`,
    { keys },
  );
}
