/**
 * identity: which index this is. The archive's owner object holds the same id.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/**
 * The first one to come gives the index an id, not confirmed yet.
 *
 *     KEYS  id, tick
 *     ARGV  id
 *     OUT   the id as it is now
 *     INV   a confirmed id without its seal counts as none: the caller has made sure that the archive is unused
 */
const PROPOSE = defineScript(
  "propose",
  ["allow-oom"],
  `
${PRELUDE}
local found = redis.call('MGET', KEYS[1], KEYS[2])
local id = sealed(found[1], found[2])
if id == '' then
  id = 'new:' .. ARGV[1]
  redis.call('SET', KEYS[1], id)
end
return id
`,
);

/**
 * The id is confirmed, withdrawn for another proposal, or moved to another database.
 *
 *     KEYS  id, tick, lost_records_cursor
 *     ARGV  id as it was read, id to be
 *     OUT   the id as it is now; '' for none
 *           The id's seal comes with it, and the first search for lost records is an hour later
 *     INV   only if it still is as it was read; a uuid that was withdrawn never comes back
 */
const REPLACE = defineScript(
  "replace",
  ["allow-oom"],
  `
${PRELUDE}
local id = redis.call('GET', KEYS[1])
if id == ARGV[1] then
  id = ARGV[2]
  redis.call('MSET', KEYS[1], id, KEYS[2], '0', KEYS[3], int(now))
end
return id or ''
`,
);

/** One request, 4 billable commands. */
export async function proposeId(index: Index, id: string, call?: CallOptions): Promise<string> {
  return await index.scripts.run(PROPOSE, [index.keys.id, index.keys.tick], [id], call) as string;
}

/** One request, 4 billable commands. */
export async function replaceId(index: Index, expected: string, id: string, call?: CallOptions): Promise<string> {
  const { id: name, tick, lostRecordsCursor } = index.keys;
  return await index.scripts.run(REPLACE, [name, tick, lostRecordsCursor], [expected, id], call) as string;
}
