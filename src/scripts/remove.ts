/**
 * remove: keys leave Redis for good; the tick takes care of the archive.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, layout, PRELUDE } from "./prelude.ts";

/**
 * Keys are deleted: gone, with a new revision, so that a tick archives a tombstone.
 *
 *     KEYS  dirty, idle, dead, stats, n records, n keys
 *     ARGV  may there be objects of keys without a record (0 1), n expected records ('' for none)
 *     OUT   a code a key: D deleted   A the record moved on: read it again, nothing changed
 *             U record of another version
 *     INV   4: deleted stays deleted; it always changes the record, so that a late copy does nothing
 *
 * A key without a record was never seen by a tick: it needs no tombstone. If a record may have been lost, it gets
 * one, and all its objects are deleted.
 */
const REMOVE = defineScript(
  "remove",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, IDLE, DEAD = KEYS[1], KEYS[2], KEYS[3]
local n = (#KEYS - 4) / 2
local texts = redis.call('MGET', unpack(KEYS, 5, 4 + n))
local out, changes, queue, gone = {}, {}, {}, {}
for i = 1, n do
  local r, key = parse(texts[i]), KEYS[4 + n + i]
  if not r then
    out[i] = 'U'
  elseif (texts[i] or '') ~= ARGV[1 + i] then
    out[i] = 'A'
  else
    local lost = not texts[i] and ARGV[1] == '1'
    if lost then r.ver = string.format('%016.0f-00000000', now_us) end -- later than any that there is
    remove(r)
    r.attempts, r.error = 0, ''
    if texts[i] or lost then
      bump(r)
      push(queue, int(now), key)
    end
    push(changes, KEYS[4 + i], r)
    gone[#gone + 1] = key
    out[i] = 'D'
  end
end
save(changes)
zadd(DIRTY, 'NX', queue)
zrem(IDLE, gone)
zrem(DEAD, gone)
tally(KEYS[4], changes, 0, {})
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
return table.concat(out)
`,
);

const OUTCOMES: Record<string, "deleted" | "again" | "unsupported"> = { D: "deleted", A: "again", U: "unsupported" };

/**
 * One request, 9 billable commands (10 if some are evicted, and one for each key that has no record, unless
 * `mayBeLost`); outcomes in the order of `seen`.
 */
export async function remove(
  index: Index,
  seen: { key: string; record: string }[],
  mayBeLost = false,
  call?: CallOptions,
): Promise<("deleted" | "again" | "unsupported")[]> {
  const { dirty, idle, dead, stats } = index.keys;
  const reply = await index.scripts.run(
    REMOVE,
    layout(index, [dirty, idle, dead, stats], seen.map((s) => s.key)),
    [mayBeLost ? 1 : 0, ...seen.map((s) => s.record)],
    call,
  );
  return codes(reply).map((code) => OUTCOMES[code]!);
}
