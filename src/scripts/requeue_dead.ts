/**
 * requeue_dead: dead keys get another chance.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/**
 * Dead keys go back into the queue with all their attempts.
 *
 *     KEYS  dirty, dead, n records
 *     ARGV  n keys
 *     OUT   how many were dead
 *     INV   1: what is archived already only leaves dead: were it made dirty while evicted, it would count as removed
 *           7: nothing else is touched
 *
 * A dead key whose record says nothing has lost it, and gets a new revision.
 */
const REQUEUE_DEAD = defineScript(
  "requeue_dead",
  [],
  `
${PRELUDE}
local DIRTY, DEAD = KEYS[1], KEYS[2]
local died = redis.call('ZMSCORE', DEAD, unpack(ARGV))
local texts = redis.call('MGET', unpack(KEYS, 3))
local changes, queue, requeued = {}, {}, {}
for i = 1, #ARGV do
  local r = parse(texts[i])
  if died[i] and r then
    r.attempts, r.error = 0, ''
    if r.rev == 0 and r.ver == '-' then bump(r) end
    push(changes, KEYS[2 + i], r)
    if r.rev ~= 0 then push(queue, int(now), ARGV[i]) end
    requeued[#requeued + 1] = ARGV[i]
  end
end
save(changes)
zadd(DIRTY, 'NX', queue)
zrem(DEAD, requeued)
return #requeued
`,
);

/** One request, 7 billable commands; how many keys were dead. */
export async function requeueDead(index: Index, keys: string[], call?: CallOptions): Promise<number> {
  const { dirty, dead, record } = index.keys;
  return await index.scripts.run(REQUEUE_DEAD, [dirty, dead, ...keys.map(record)], keys, call) as number;
}
