/**
 * release: what a tick claimed and has not begun goes back to the queue.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, PRELUDE } from "./record.ts";

/**
 * Gives leases back: due at once, nothing counted.
 *
 *     KEYS  dirty
 *     ARGV  token, then for each key: key, suspect (0 1)
 *     OUT   a code a key: R released   S stale, nothing changed
 *     INV   3: only with the latest token; 7: a suspect stays one (.5), or a poison key would hide in the next batch
 */
const RELEASE = defineScript(
  "release",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, token = KEYS[1], tonumber(ARGV[1])
local keys = {}
for i = 2, #ARGV, 2 do keys[#keys + 1] = ARGV[i] end
local scores = redis.call('ZMSCORE', DIRTY, unpack(keys))
local out, queue = {}, {}
for i = 1, #keys do
  if scores[i] and tonumber(scores[i]) == token then
    push(queue, int(now) .. (ARGV[2 * i + 1] == '1' and '.5' or ''), keys[i])
    out[i] = 'R'
  else
    out[i] = 'S'
  end
end
zadd(DIRTY, 'XX', queue)
return table.concat(out)
`,
);

/** One request, 4 billable commands; how many were released. */
export async function release(
  index: Index,
  keys: { key: string; suspect: boolean }[],
  token: string,
  call?: CallOptions,
): Promise<number> {
  const outcomes = await inRequests(keys, ({ key }) => keyBytes(key), index.scripts.requestLimit, async (batch) => {
    const args = batch.flatMap(({ key, suspect }) => [key, suspect ? 1 : 0]);
    return codes(await index.scripts.run(RELEASE, [index.keys.dirty], [token, ...args], call));
  });
  return outcomes.filter((code) => code === "R").length;
}
