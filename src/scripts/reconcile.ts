/**
 * reconcile: a key is there although its record says evicted.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, layout, PRELUDE } from "./prelude.ts";

/**
 * The key is there although its record says evicted: an eviction half undone, or a blind write.
 *
 *     KEYS  idle, stats, n records, n keys
 *     ARGV  n expected records
 *     OUT   a code a key: H healed: resident   C conflict: other bytes than those archived   A read again
 *     INV   8: a partial value never passes for the whole one
 */
const RECONCILE = defineScript(
  "reconcile",
  ["allow-oom"],
  `
${PRELUDE}
local IDLE = KEYS[1]
local n = (#KEYS - 2) / 2
local texts = redis.call('MGET', unpack(KEYS, 3, 2 + n))
local out, changes, idle = {}, {}, {}
for i = 1, n do
  local r = parse(texts[i])
  local dump = r and texts[i] == ARGV[i] and redis.call('DUMP', KEYS[2 + n + i])
  if not dump then
    out[i] = 'A'
  elseif redis.sha1hex(dump) ~= r.fp then
    out[i] = 'C'
  else
    r.flag, r.touch = 'r', now
    push(changes, KEYS[2 + i], r)
    push(idle, int(now), KEYS[2 + n + i])
    out[i] = 'H'
  end
end
save(changes)
zadd(IDLE, nil, idle)
tally(KEYS[2], changes, 0, {})
return table.concat(out)
`,
);

const OUTCOMES: Record<string, "healed" | "conflict" | "again"> = { H: "healed", C: "conflict", A: "again" };

/** One request, 1 billable command a key and 6; outcomes in the order of `found`. */
export async function reconcile(
  index: Index,
  found: { key: string; record: string }[],
  call?: CallOptions,
): Promise<("healed" | "conflict" | "again")[]> {
  const reply = await index.scripts.run(
    RECONCILE,
    layout(index, [index.keys.idle, index.keys.stats], found.map((f) => f.key)),
    found.map((f) => f.record),
    call,
  );
  return codes(reply).map((code) => OUTCOMES[code]!);
}
