/**
 * release: what a tick claimed and has not begun goes back to the queue.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, PRELUDE } from "./prelude.ts";

/** A key that its tick gives back. */
export interface Release {
  key: string;
  /** Its fencing token. */
  token: string;
  suspect: boolean;
}

/**
 * Gives leases back: due at once, nothing counted.
 *
 *     KEYS  dirty
 *     ARGV  leaseMs, then for each key: token, key, suspect (0 1)
 *     OUT   a code a key: R released   S stale, nothing changed
 *     INV   3: only with the latest token; 7: a suspect stays one (.5), or a poison key would hide in the next batch
 */
const RELEASE = defineScript(
  "release",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, lease = KEYS[1], tonumber(ARGV[1])
local keys = {}
for i = 3, #ARGV, 3 do keys[#keys + 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', DIRTY, unpack(keys))
local out, queue = {}, {}
for i = 1, #keys do
  local token = tonumber(ARGV[3 * i - 1])
  if scores[i] and tonumber(scores[i]) == token then
    push(queue, int(again(token, lease)) .. (ARGV[3 * i + 1] == '1' and '.5' or ''), keys[i])
    out[i] = 'R'
  else
    out[i] = 'S'
  end
end
zadd(DIRTY, 'XX', queue)
return table.concat(out)
`,
);

/** One request, 4 billable commands, whatever the number of leases; how many keys were released. */
export async function release(
  index: Index,
  keys: Release[],
  leaseMs: number,
  call?: CallOptions,
): Promise<number> {
  const outcomes = await inRequests(keys, ({ key }) => keyBytes(key), index.scripts.requestLimit, async (batch) => {
    const args = batch.flatMap(({ key, token, suspect }) => [token, key, suspect ? 1 : 0]);
    return codes(await index.scripts.run(RELEASE, [index.keys.dirty], [leaseMs, ...args], call));
  });
  return outcomes.filter((code) => code === "R").length;
}
