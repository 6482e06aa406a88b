/**
 * purged: a tick says which keys' objects it has deleted, and which it could not.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { EXPIRED_MS, type Index, type KeyRecord, PRELUDE } from "./prelude.ts";

/** One key whose objects a tick wanted to delete. */
export interface Purge {
  key: string;
  /** Objects up to this version; "" for none: the key stood in the queue for something that is no more. */
  upTo: string;
  /** `true`: the key has expired, and nothing of it is to stay. */
  expired?: boolean;
  /** `true`: a tick has found that it is gone, and put a tombstone of that. */
  hasTombstone?: boolean;
  /** The version of a key that was removed and made anew, or went missing then; its tombstone was never archived. */
  anew?: string;
}

/**
 * The version up to which objects may be deleted, "" for none. Lua's `purgeable` (prelude.ts) says the same, and the
 * script decides by that: this one only spares a request to list. A change of one is a change of both.
 */
export function purgeableUpTo(record: KeyRecord, nowMs: number): string {
  const { rev, ver, flag, exp, old } = record;
  const isOver = exp > 0 && nowMs >= exp + EXPIRED_MS;
  if (old !== "" && old !== ver) return flag !== "m" || exp === 0 || isOver ? old : "";
  return isOver && rev === 0 && (flag === "r" || flag === "e") ? ver : "";
}

/**
 * Objects have been deleted, or could not be: then again after as long as that has been tried, a minute at least and an
 * hour at most.
 *
 *     KEYS  purge, idle, stats, n records
 *     ARGV  deleted (0 1), then for each key: key, upTo ('-' for nothing)
 *     OUT   how many keys still have objects to delete that are due
 *     INV   6: a late copy finds another version to delete, or none; 4: what is to be deleted stays queued until it is
 *
 * - The record of an expired key goes with its objects; a removed key's expires a grace period later.
 * - A key leaves the queue only if its record says that there is nothing to wait for.
 */
const PURGED = defineScript(
  "purged",
  ["allow-oom"],
  `
${PRELUDE}
local MINUTE_MS = 60000
local PURGE, IDLE = KEYS[1], KEYS[2]
local n, deleted = #KEYS - 3, ARGV[1] == '1'
local texts = redis.call('MGET', unpack(KEYS, 4))
local changes, ended, expired_records, queue, done, idle, left = {}, {}, {}, {}, {}, {}, 0
for i = 1, n do
  local r, key, asked = parse(texts[i]), ARGV[2 * i], ARGV[2 * i + 1]
  local upto, from, at
  if r then upto, from = purgeable(r) end
  if not r then
    at = now + HOUR_MS
  elseif upto and from > now then
    at = from
  elseif upto and upto == asked and deleted then
    if r.old == upto then
      r.old = '-'
      push(changes, KEYS[3 + i], r)
      upto, at = purgeable(r)
    else
      r.flag = 'm'
      push(ended, KEYS[3 + i], r)
      expired_records[#expired_records + 1] = KEYS[3 + i]
      idle[#idle + 1] = key
    end
  elseif upto then
    local since = math.max(from, tonumber(string.match(r.ver, '^%d+') or '0') / 1000)
    at = upto == asked and now + math.max(MINUTE_MS, math.min(HOUR_MS, now - since)) or now
    left = left + 1
  end
  if at then push(queue, int(at), key) else done[#done + 1] = key end
end
save(changes)
zadd(PURGE, nil, queue)
tally(KEYS[3], ended, 0, {})
if #expired_records > 0 then redis.call('UNLINK', unpack(expired_records)) end
zrem(PURGE, done)
zrem(IDLE, idle)
return left
`,
);

/** One request, 5 to 10 billable commands; how many of the keys still have objects to delete that are due. */
export async function purged(index: Index, purges: Purge[], deleted: boolean, call?: CallOptions): Promise<number> {
  const { purge, idle, stats, record } = index.keys;
  const left = await inRequests(purges, ({ key }) => keyBytes(key), index.scripts.requestLimit, async (batch) => {
    const count = await index.scripts.run(
      PURGED,
      [purge, idle, stats, ...batch.map(({ key }) => record(key))],
      [deleted ? 1 : 0, ...batch.flatMap(({ key, upTo }) => [key, upTo === "" ? "-" : upTo])],
      call,
    );
    return [count as number];
  });
  return left.reduce((sum, one) => sum + one, 0);
}
