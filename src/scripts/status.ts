/**
 * status: how much waits, and the totals since the beginning.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./record.ts";

/**
 * Counts.
 *
 *     KEYS  dirty, idle, dead, stats, purge
 *     OUT   dirty, due, idle, dead, age of the oldest due key (ms), totals, keys with objects to delete by now
 */
const STATUS = defineScript(
  "status",
  ["no-writes"],
  `
${PRELUDE}
local oldest = redis.call('ZRANGE', KEYS[1], '0', '0', 'WITHSCORES')
return {
  redis.call('ZCARD', KEYS[1]),
  redis.call('ZCOUNT', KEYS[1], '-inf', int(now)),
  redis.call('ZCARD', KEYS[2]),
  redis.call('ZCARD', KEYS[3]),
  oldest[2] and math.max(0, math.floor(now - tonumber(oldest[2]))) or 0,
  redis.call('HGETALL', KEYS[4]),
  redis.call('ZCOUNT', KEYS[5], '-inf', int(now)),
}
`,
);

/** Counts as they are now. */
export interface Counts {
  queued: number;
  due: number;
  idle: number;
  dead: number;
  purge: number;
  oldestDueMs: number;
  totals: Record<string, number>;
}

/** One request, 9 billable commands. */
export async function readStatus(index: Index, call?: CallOptions): Promise<Counts> {
  const { dirty, idle, dead, stats, purge } = index.keys;
  const reply = await index.scripts.run(STATUS, [dirty, idle, dead, stats, purge], [], call);
  const [queued, due, idleKeys, deadKeys, oldestDueMs, fields, purges] = reply as [
    number,
    number,
    number,
    number,
    number,
    string[],
    number,
  ];
  const totals: Record<string, number> = {};
  for (let i = 0; i < fields.length; i += 2) totals[fields[i]!] = Number(fields[i + 1]);
  return { queued, due, idle: idleKeys, dead: deadKeys, purge: purges, oldestDueMs, totals };
}
