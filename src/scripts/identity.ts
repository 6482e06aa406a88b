/**
 * identity: which index this is. The archive's owner object holds the same id.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./record.ts";

/**
 * The first one to come gives the index an id, not confirmed yet.
 *
 *     KEYS  id
 *     ARGV  id
 *     OUT   the id as it is now
 */
const PROPOSE = defineScript(
  "propose",
  ["allow-oom"],
  `
${PRELUDE}
redis.call('SET', KEYS[1], 'new:' .. ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
`,
);

/**
 * The id is confirmed, withdrawn for another proposal, or moved to another database.
 *
 *     KEYS  id
 *     ARGV  id as it was read, id to be
 *     OUT   the id as it is now; '' for none
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
  redis.call('SET', KEYS[1], id)
end
return id or ''
`,
);

/** One request, 4 billable commands. */
export async function proposeId(index: Index, id: string, call?: CallOptions): Promise<string> {
  return await index.scripts.run(PROPOSE, [index.keys.id], [id], call) as string;
}

/** One request, 4 billable commands. */
export async function replaceId(index: Index, seen: string, id: string, call?: CallOptions): Promise<string> {
  return await index.scripts.run(REPLACE, [index.keys.id], [seen, id], call) as string;
}
