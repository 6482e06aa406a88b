/**
 * Commands of a tick once an hour: Redis' eviction policy, and the notes of how far the search for lost records has come
 * and of what there is.
 * @module
 */
import type { CallOptions, Connection } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import type { Index } from "./prelude.ts";

/** So many hours are kept. */
export const KEPT_HOURS = 14 * 24;
const HOUR_MS = 60 * 60 * 1000;

/**
 * Notes the search, and a row of `hours`: when, dirty, due, dead, to be purged, when the oldest was due, and the totals
 * as name, number, ... Rows of the same hour replace each other, so a late copy of it does no harm.
 *
 *     KEYS  lost_records_cursor, hours, dirty, dead, purge, stats
 *     ARGV  time of the search (ms) and cursor, that time, field of the hour
 *     OUT   OK
 */
const NOTE_HOUR = defineScript(
  "note_hour",
  [],
  `
local row = { ARGV[2], redis.call('ZCARD', KEYS[3]), redis.call('ZCOUNT', KEYS[3], '-inf', ARGV[2]),
  redis.call('ZCARD', KEYS[4]), redis.call('ZCOUNT', KEYS[5], '-inf', ARGV[2]) }
local oldest = redis.call('ZRANGE', KEYS[3], '0', '0', 'WITHSCORES')
row[#row + 1] = oldest[2] or ARGV[2]
local totals = redis.call('HGETALL', KEYS[6])
for i = 1, #totals do row[#row + 1] = totals[i] end
redis.call('HSET', KEYS[2], ARGV[3], table.concat(row, ' '))
return redis.call('SET', KEYS[1], ARGV[1])
`,
  true,
);

/**
 * The `maxmemory-policy` by which Redis removes keys; `undefined` if it removes none or does not say. One command.
 *
 * @see https://redis.io/docs/latest/develop/reference/eviction/
 */
export async function readEvictionPolicy(connection: Connection, call?: CallOptions): Promise<string | undefined> {
  const info = String((await connection.command(["INFO"], call)).result);
  return /^maxmemory:0\s/m.test(info) ? undefined : /^maxmemory_policy:(?!noeviction)(\S+)/m.exec(info)?.[1];
}

/**
 * Notes when a search took place (ms), the cursor of the archive's listing at which the next one begins ("" for its
 * beginning), and the counts of keys as they are. One request, 9 billable commands.
 */
export async function noteHour(
  { index }: { index: Index },
  atMs: number,
  cursor: string,
  call?: CallOptions,
): Promise<void> {
  const { lostRecordsCursor, hours, dirty, dead, purge, stats } = index.keys;
  const keys = [lostRecordsCursor, hours, dirty, dead, purge, stats];
  const args = [`${atMs} ${cursor}`, String(atMs), String(Math.floor(atMs / HOUR_MS) % KEPT_HOURS)];
  await index.scripts.run(NOTE_HOUR, keys, args, call);
}
