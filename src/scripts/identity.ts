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
 *     ARGV  uuid
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
 * The owner object holds this uuid: the id is final.
 *
 *     KEYS  id
 *     ARGV  uuid
 *     OUT   the id as it is now; '' for none
 *     INV   only where it is still what was proposed
 */
const CONFIRM = defineScript(
  "confirm",
  ["allow-oom"],
  `
${PRELUDE}
local id = redis.call('GET', KEYS[1])
if id == 'new:' .. ARGV[1] then
  id = ARGV[1]
  redis.call('SET', KEYS[1], id)
end
return id or ''
`,
);

/** One request, 4 billable commands. */
export async function proposeId(index: Index, uuid: string, call?: CallOptions): Promise<string> {
  return await index.scripts.run(PROPOSE, [index.keys.id], [uuid], call) as string;
}

/** One request, 4 billable commands. */
export async function confirmId(index: Index, uuid: string, call?: CallOptions): Promise<string> {
  return await index.scripts.run(CONFIRM, [index.keys.id], [uuid], call) as string;
}
