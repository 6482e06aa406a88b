/**
 * The end of one call of an operation that goes on from call to call: where the next one goes on, and what this one did.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { CURSOR_KEPT_MS } from "./cursor.ts";
import type { Index } from "./prelude.ts";

/** So many days are kept. */
export const KEPT_DAYS = 14;

/**
 * Keeps or drops a cursor, and adds four numbers to the operation's row of `runs` for this day: the day, when it was last
 * added to (ms), 1 if the operation came to its end then, and the numbers. A row of 14 days before is replaced. A copy
 * of it that comes late adds them twice.
 *
 *     KEYS  cursor, runs, erased
 *     ARGV  cursor ("" for none), its time to live (ms), operation, 1 if it came to its end, four numbers; what `erased`
 *           must say ("" for anything)
 *     OUT   OK; 'E' if an erasure has looked since what is left: the numbers are added, the cursor is not kept
 *     INV   4: what was gathered before an erasure looked what is left does not stand in Redis after that
 */
const NOTE_RUN = defineScript(
  "note_run",
  [],
  `
local clock = redis.call('TIME')
local day = string.format('%.0f', math.floor(clock[1] / 86400))
local field = ARGV[3] .. ':' .. string.format('%.0f', tonumber(day) % ${KEPT_DAYS})
local before, a, b, c, d =
  string.match(redis.call('HGET', KEYS[2], field) or '', '^(%d+) %d+ %d (%d+) (%d+) (%d+) (%d+)$')
if before ~= day then a, b, c, d = 0, 0, 0, 0 end
redis.call('HSET', KEYS[2], field, string.format('%s %.0f %s %.0f %.0f %.0f %.0f', day,
  clock[1] * 1000 + math.floor(clock[2] / 1000), ARGV[4], a + ARGV[5], b + ARGV[6], c + ARGV[7], d + ARGV[8]))
if ARGV[9] ~= '' and (redis.call('GET', KEYS[3]) or '0') ~= ARGV[9] then return 'E' end
if ARGV[1] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 'OK'
`,
  true,
);

/** One call of an operation. */
export interface Run {
  operation: "sweep" | "verify";
  /** `true` if it came to its end: the next call begins at the beginning. */
  done: boolean;
  numbers: readonly [number, number, number, number];
}

/**
 * Keeps the cursor of an operation for 30 days, or removes it if there is none, and notes what the call did. One
 * request, 5 billable commands, 6 with `erasedUs`.
 *
 * @param erasedUs the time of the last erasure when the cursor's first part was read, microseconds: the cursor is kept
 * only if none has looked since
 * @returns `false` if one has, and the cursor was not kept
 */
export async function noteRun(
  { index }: { index: Index },
  name: string,
  cursor: string | undefined,
  { operation, done, numbers }: Run,
  call?: CallOptions,
  erasedUs?: number,
): Promise<boolean> {
  const keys = [index.keys.cursor(name), index.keys.runs, index.keys.erased];
  const args = [cursor ?? "", CURSOR_KEPT_MS, operation, Number(done), ...numbers, String(erasedUs ?? "")];
  return await index.scripts.run(NOTE_RUN, keys, args, call) !== "E";
}
