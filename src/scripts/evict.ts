/**
 * evict: keys leave Redis, but only if their bytes are provably those in the archive.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { roomIn } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, layout, PRELUDE } from "./prelude.ts";

/** A key that may leave Redis. */
export interface Candidate {
  key: string;
  /**
   * `ask`: evict it, unless its version is over a day old; `mark`: the archive lost it, archive it again; `keep`: the
   * archive did not say, ask again in an hour; `stay`: no tick evicts it; `drop`: what is in Redis was written while
   * evicted, and may go.
   */
  action: "evict" | "ask" | "mark" | "keep" | "stay" | "drop";
  /** Act on this version only; "": on any. With `drop`: on this record only. */
  ver: string;
}

/** The outcome of one key. */
export type EvictOutcome =
  | "evicted"
  | "missing"
  | "never archived"
  | "dirty"
  | "in use"
  | "stays"
  | "rescued"
  | "conflict"
  | "unknown"
  | "unstable"
  | "ask"
  | "moved on"
  | "too large"
  | "unsupported";

/**
 * Keys leave Redis if their bytes and their own expiry are those archived. What was changed without a mark is
 * marked.
 *
 *     KEYS  dirty, idle, dead, id, stats, tick, n records, n keys
 *     ARGV  idle limit (ms; '' from evict()), room in a request, database, the least bytes of a value that may be
 *           evicted, then for each key: action (evict ask mark keep stay drop), ver ('' any; with drop the record that the
 *           decision was based on)
 *     OUT   id, versions to ask the archive for, a code a key:
 *             E evicted   M missing   N never archived   D dirty   I in use   R rescued: marked
 *             C conflict: written while evicted   K unknown to the archive: later   V another version by now
 *             L too large for one request to bring it back: later   U record of another version
 *             Z found changed without a mark by the last three evictions, too: left alone, resident
 *             S stays: too small, or the store's policy says so; no longer idle
 *             A over a day old: ask the archive whether it still has this version
 *     INV   2: bytes are compared in the same atomic step that removes them; UNLINK comes last
 *           1: a tick evicts only versions that are an hour old: a failover of Redis forgets what is younger, key by
 *           key, and a forgotten commit must not meet an eviction that was remembered
 *
 * - Z: it is changed again and again without a mark, or this server's DUMP of an unchanged value differs from one time
 *   to the next: to archive it each time would never end. It waits for a mark.
 * - drop: what was written over an evicted value leaves Redis, and the archived value stays what it was.
 * - An evicted key whose own expiry has passed may be created anew: that is no conflict.
 * - restorable: what the payload takes of a request, see encodePayload. A large value comes back in pieces.
 * - A version later than tomorrow is of a clock that ran ahead, and counts as old.
 */
const EVICT = defineScript(
  "evict",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, IDLE, DEAD, STATS = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local n = (#KEYS - 6) / 2
local limit, room, least = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local marks = redis.call('MGET', KEYS[4], KEYS[6])
local id = sealed(marks[1], marks[2])
if id == '' or not confirmed(id) or foreign(id, ARGV[3]) then return { id, {}, '' } end

local texts = redis.call('MGET', unpack(KEYS, 7, 6 + n))
local queued = redis.call('ZMSCORE', DIRTY, unpack(KEYS, 7 + n, 6 + 2 * n))
local touched = limit and redis.call('ZMSCORE', IDLE, unpack(KEYS, 7 + n, 6 + 2 * n))
local out, changes, queue, later, settled, gone, asked = {}, {}, {}, {}, {}, {}, {}

local MOST_RESCUES = 3
local function rescue(i, r, changed)
  if changed and r.rescues >= MOST_RESCUES then return 'Z' end
  r.rescues = changed and r.rescues + 1 or 0
  bump(r)
  made_anew(r)
  r.flag = 'r'
  if r.touch == 0 then r.touch = now end
  push(changes, KEYS[6 + i], r)
  push(queue, int(now), KEYS[6 + n + i])
  return 'R'
end

local function restorable(key, dump)
  local left = room - 12 * #key - 1000
  if 2 * #dump <= left then return true end
  local _, twice = string.gsub(dump, '[%c"\\\\\\128-\\255]', '')
  return #dump + twice <= left
end

local function ask(r)
  asked[#asked + 1] = r.ver
  return 'A', true
end

local function one(i, r)
  local key, action, ver = KEYS[6 + n + i], ARGV[2 * i + 3], ARGV[2 * i + 4]
  if limit and not (touched[i] and tonumber(touched[i]) <= limit) then return 'I', true end
  if r.rev ~= 0 then
    if not queued[i] and not redis.call('ZSCORE', DEAD, key) then push(queue, int(now), key) end
    return 'D'
  end
  if queued[i] then return 'D' end
  if r.ver == '-' then return 'N' end
  if action == 'stay' and r.flag ~= 'e' then return 'S' end
  if action == 'drop' then
    if texts[i] ~= ver or r.flag ~= 'e' or expired(r) then return 'V', true end
    gone[#gone + 1] = key
    return 'E'
  end
  local made = tonumber(string.match(r.ver, '^%d+') or '0') / 1000
  if limit and made > now - HOUR_MS and made < now + DAY_MS then
    push(later, int(limit + made + HOUR_MS - now), key)
    return 'I', true
  end
  if ver ~= '' and ver ~= r.ver then return 'V', true end
  if action == 'keep' then
    push(later, int((limit or now) + HOUR_MS), key)
    return 'K', true
  end
  local old = action == 'ask' and made < now - DAY_MS
  if old and r.flag ~= 'e' then return ask(r) end
  local dump = redis.call('DUMP', key)
  if not dump then return r.flag == 'e' and not expired(r) and 'E' or 'M' end
  if r.flag == 'e' and expired(r) then return rescue(i, r) end
  if old then return ask(r) end
  if r.flag == 'e' then
    if redis.sha1hex(dump) ~= r.fp then return 'C' end
    if action == 'mark' then return rescue(i, r) end
  elseif action == 'mark' or r.flag == 'g' or redis.sha1hex(dump) ~= r.fp then
    return rescue(i, r, action ~= 'mark' and r.flag == 'r')
  end
  if math.max(0, redis.call('PEXPIRETIME', key)) ~= r.exp then
    if r.flag == 'e' then return 'C' end
    return rescue(i, r)
  end
  if #dump < least and r.flag ~= 'e' then return 'S' end
  if not large(r.ver) and not restorable(key, dump) then
    push(later, int((limit or now) + HOUR_MS), key)
    return 'L', true
  end
  r.flag, r.rescues = 'e', 0
  push(changes, KEYS[6 + i], r)
  gone[#gone + 1] = key
  return 'E'
end

local rescued = 0
for i = 1, n do
  local r, code, stays = parse(texts[i]), 'U', true
  if r then
    code, stays = one(i, r)
  elseif limit then
    push(later, int(limit + HOUR_MS), KEYS[6 + n + i])
  end
  if code == 'R' then rescued = rescued + 1 end
  if not stays then settled[#settled + 1] = KEYS[6 + n + i] end
  out[i] = code
end

save(changes)
zadd(DIRTY, 'NX', queue)
zadd(IDLE, 'XX', later)
zrem(IDLE, settled)
tally(STATS, changes, #gone, { 'evicted', #gone, 'rescued', rescued })
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
return { id, asked, table.concat(out) }
`,
);

const OUTCOMES: Record<string, EvictOutcome> = {
  E: "evicted",
  M: "missing",
  N: "never archived",
  D: "dirty",
  I: "in use",
  S: "stays",
  R: "rescued",
  C: "conflict",
  K: "unknown",
  Z: "unstable",
  A: "ask",
  V: "moved on",
  L: "too large",
  U: "unsupported",
};

/**
 * One request, 2 billable commands a key and 9. Without a confirmed id of this database
 * nothing is evicted and `outcomes` is empty.
 */
export async function evict(
  index: Index,
  candidates: Candidate[],
  idleLimitMs: number | undefined,
  call?: CallOptions,
  leastBytes = 0,
): Promise<{ id: string; outcomes: EvictOutcome[]; asked: string[] }> {
  const { dirty, idle, dead, id, stats, tick } = index.keys;
  const reply = await index.scripts.run(
    EVICT,
    layout(index, [dirty, idle, dead, id, stats, tick], candidates.map((c) => c.key)),
    [
      idleLimitMs === undefined ? "" : idleLimitMs,
      roomIn(index.scripts.requestLimit()),
      index.database,
      leastBytes,
      ...candidates.flatMap((c) => [c.action, c.ver]),
    ],
    call,
  ) as [string, string[], string];
  return { id: reply[0], asked: reply[1], outcomes: codes(reply[2]).map((code) => OUTCOMES[code]!) };
}
