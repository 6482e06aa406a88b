/**
 * The state of a rebuild in Redis; and the end of the rebuild.
 * @module
 */
import { type CallOptions, type Connection, text } from "../upstash/connection.ts";
import { ask, defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/** Counts since the rebuild began. */
export interface RebuildCounts {
  keys: number;
  evicted: number;
  gone: number;
  resident: number;
  lost: number;
  objects: number;
  packs: number;
  copied: number;
}

/** The state of a rebuild in Redis. */
export interface RebuildState {
  /** The index's id; "" for none. */
  id: string;
  /** The place that it has come to; "" for its beginning, or if the id is not this rebuild's. */
  at: string;
  counts: RebuildCounts;
}

/**
 * The rebuild has ended: its index's id is confirmed.
 *
 *     KEYS  id, tick, lost_records_cursor, stats, state
 *     ARGV  id of the rebuild, id to be, where the rebuild must stand
 *     OUT   the id as it is now; '' for none
 *     INV   only if all that was walked is in Redis still: a failover takes records and state back together
 *
 * The index counts as one that has archived: it is never taken for a new one.
 */
const CONFIRM_REBUILD = defineScript(
  "confirm_rebuild",
  ["allow-oom"],
  `
${PRELUDE}
local found = redis.call('MGET', KEYS[1], KEYS[5])
local of, at = string.match(found[2] or '', '^(%S+) %d+ %d+ %d+ %d+ %d+ %d+ %d+ %d+ %d+ (.*)$')
if found[1] ~= ARGV[1] or of ~= ARGV[1] or at ~= ARGV[3] then return found[1] or '' end
redis.call('HINCRBY', KEYS[4], 'frozen', '0')
redis.call('MSET', KEYS[1], ARGV[2], KEYS[2], '0', KEYS[3], int(now))
redis.call('UNLINK', KEYS[5])
return ARGV[2]
`,
);

const STATE = /^(\S+) \d+ (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (.*)$/s;
const NO_COUNTS: RebuildCounts = {
  ...{ keys: 0, evicted: 0, gone: 0, resident: 0, lost: 0, objects: 0, packs: 0, copied: 0 },
};

/** The name of the Redis key that holds the state of a rebuild. */
export function stateKey(index: Index): string {
  return index.keys.cursor("rebuild");
}

/** Reads the state; one that another rebuild has left counts as none. */
export function stateOf(id: string, state: string): RebuildState {
  const [, of, keys, evicted, gone, resident, lost, objects, packs, copied, at = ""] = STATE.exec(state) ?? [];
  if (id === "" || of !== id) return { id, at: "", counts: { ...NO_COUNTS } };
  const numbers = [keys, evicted, gone, resident, lost, objects, packs, copied].map(Number);
  const names = Object.keys(NO_COUNTS) as (keyof RebuildCounts)[];
  return {
    id,
    at,
    counts: Object.fromEntries(names.map((name, i) => [name, numbers[i]!])) as unknown as RebuildCounts,
  };
}

/** Reads how far the rebuild with this id has come. One command. */
export async function readRebuild(
  { connection, index }: { connection: Connection; index: Index },
  id: string,
  call?: CallOptions,
): Promise<RebuildState> {
  const reply = await ask(connection, "read how far a rebuild has come", ["GET", stateKey(index)], call);
  return stateOf(id, typeof reply === "string" ? text(reply) : "");
}

/** One request, 6 billable commands; the id as it is now. */
export async function confirmRebuild(
  index: Index,
  id: string,
  to: string,
  at: string,
  call?: CallOptions,
): Promise<string> {
  const { id: name, tick, lostRecordsCursor, stats } = index.keys;
  const keys = [name, tick, lostRecordsCursor, stats, stateKey(index)];
  return await index.scripts.run(CONFIRM_REBUILD, keys, [id, to, at], call) as string;
}
