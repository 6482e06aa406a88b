/**
 * touch: keys are in use, so they stay in Redis for another redisTtlMs.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, layout, PRELUDE } from "./prelude.ts";

/**
 * Keys are in use.
 *
 *     KEYS  idle, n records, n keys
 *     ARGV  for each key: the least bytes of a value that may be evicted
 *     OUT   indexes of keys that have been evicted since they were checked
 *     INV   a key that ensureKs() has just seen is not evicted for redisTtlMs, or is reported here
 *
 * A value that stays in Redis does not come into idle; one that is there all the same, or may be, as its size is known
 * to a KB only, is in use as well.
 */
const TOUCH = defineScript(
  "touch",
  ["allow-oom"],
  `
${PRELUDE}
local IDLE = KEYS[1]
local n = (#KEYS - 1) / 2
local texts = redis.call('MGET', unpack(KEYS, 2, 1 + n))
local there = existing(2 + n, n)
local out, changes, idle, small = {}, {}, {}, {}
for i = 1, n do
  local r = parse(texts[i])
  if r and texts[i] then
    if there[i] and r.flag ~= 'e' then
      r.touch = now
      push(changes, KEYS[1 + i], r)
      if r.rev == 0 and r.flag == 'r' and r.ver ~= '-' then
        push(r.kb > 0 and 1024 * r.kb <= tonumber(ARGV[i]) and small or idle, int(now), KEYS[1 + n + i])
      end
    elseif r.flag == 'e' then
      out[#out + 1] = i
    end
  end
end
save(changes)
zadd(IDLE, nil, idle)
zadd(IDLE, 'XX', small)
return out
`,
);

/**
 * One request, 6 billable commands (and one for each key with an expiry of its own; one if some stay and some do not);
 * replies the keys evicted meanwhile. `leastBytes`: of each value that may be evicted.
 */
export async function touch(
  index: Index,
  keys: string[],
  leastBytes: (key: string) => number,
  call?: CallOptions,
): Promise<string[]> {
  const reply = await index.scripts.run(
    TOUCH,
    layout(index, [index.keys.idle], keys),
    keys.map(leastBytes),
    call,
  ) as number[];
  return reply.map((i) => keys[i - 1]!);
}
