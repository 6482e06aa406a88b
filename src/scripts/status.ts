/**
 * status: how much waits, and the totals since the beginning.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/**
 * Counts.
 *
 *     KEYS  dirty, idle, dead, stats, purge, tick
 *     OUT   dirty, due, idle, dead, age of the oldest due key (ms), totals, keys with objects to delete by now, when a
 *           tick last began (ms)
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
  redis.call('GET', KEYS[6]) or '0',
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
  lastTickMs: number;
  totals: Record<string, number>;
}

/** One request, 10 billable commands. */
export async function readStatus(index: Index, call?: CallOptions): Promise<Counts> {
  const { dirty, idle, dead, stats, purge, tick } = index.keys;
  const reply = await index.scripts.run(STATUS, [dirty, idle, dead, stats, purge, tick], [], call);
  const [queued, due, idleKeys, deadKeys, oldestDueMs, fields, purges, lastTick] = reply as [
    number,
    number,
    number,
    number,
    number,
    string[],
    number,
    string,
  ];
  const totals: Record<string, number> = {};
  for (let i = 0; i < fields.length; i += 2) totals[fields[i]!] = Number(fields[i + 1]);
  return {
    queued,
    due,
    idle: idleKeys,
    dead: deadKeys,
    purge: purges,
    oldestDueMs,
    lastTickMs: Number(lastTick),
    totals,
  };
}

/** Counts of keys that the totals give. */
export function keysOf(totals: Record<string, number>): { resident: number; evicted: number } {
  const { evicted = 0, restored = 0, archived = 0, left = 0 } = totals;
  const away = evicted - restored - left;
  return { resident: archived - away, evicted: away };
}

/** Totals as an application sees them. */
export interface Totals {
  /** Values archived. */
  frozen: number;
  /** Keys that left Redis. */
  evicted: number;
  /** Keys brought back. */
  restored: number;
  /** Keys that an eviction found changed without a mark, and marked. */
  rescued: number;
  /** Keys that were removed on purpose and whose removal was archived. */
  removed: number;
  /** Bytes of all values' archive objects ever put. It is not what the archive holds now: old versions stay. */
  bytes: number;
}

/** The totals that an application sees. */
export function totalsOf(totals: Record<string, number>): Totals {
  const { frozen = 0, evicted = 0, restored = 0, rescued = 0, removed = 0, bytes = 0 } = totals;
  return { frozen, evicted, restored, rescued, removed, bytes };
}
