/**
 * claim: a tick takes a batch of due keys under a lease.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { type CallOptions, text } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/** The request of a tick. */
export interface ClaimOptions {
  /** At most this many fresh keys: marked, failed before or given back, but no suspects. */
  maxKeys: number;
  /** The most suspects, 0 for none; if there are any, no fresh keys are claimed. */
  maxSuspects: number;
  leaseMs: number;
  /** At most this many idle keys... */
  maxIdle: number;
  /** ... that were last touched this long ago. */
  redisTtlMs: number;
  /**
   * A tick's first claim: its time is noted, and if none is idle, those that a clock touched which ran ahead are put
   * right.
   */
  first: boolean;
  /** At most this many keys with objects to delete. */
  maxPurge: number;
}

/** The reply to a tick. */
export interface Claim {
  /**
   * The index id; "" for none, `new:...` for one that is not confirmed. With these, or another database's, nothing was
   * claimed.
   */
  id: string;
  /** Redis time, microseconds. */
  nowUs: number;
  /** The fencing token of all keys claimed. */
  token: string;
  keys: string[];
  /** The keys are suspects: their last lease ran out, so a tick died over their batch. Else all of them are fresh. */
  suspects: boolean;
  /** Clean keys that are due for eviction, last touched at or before `idleLimitMs`. */
  idle: string[];
  idleLimitMs: number;
  /** The number of those for which there was no room. */
  idleLeft: number;
  /** Keys with objects to delete. */
  purge: string[];
  /** The number of those for which there was no room. */
  purgeLeft: number;
  /** A reply was refused for its size, so keys were leased that no tick knows of. */
  unheard: boolean;
  /** The time of the last search for lost records (ms), and the cursor of the archive's listing for the next one. */
  lastSearch: string;
  /** Due keys that are left. */
  left: number;
  /** Of those: suspects that stand before the last key that was read. */
  passed: number;
}

/**
 * The first due keys, fresh ones or suspects, under a lease; and keys that are due for eviction.
 *
 *     KEYS  dirty, idle, id, purge, tick, lost_records_cursor
 *     ARGV  maxKeys, maxSuspects, leaseMs, maxIdle, redisTtlMs, first (0 1), maxPurge, database, bytes of names
 *     OUT   id, now (us), token, keys, suspects (0 or 1), idle keys, idle limit (ms), due keys left, suspects passed,
 *           keys with objects to delete, lost_records_cursor,
 *           how many idle keys and keys with objects to delete there was no room for
 *     INV   3: the score of a leased key is its fencing token. Under one leaseMs none repeats for a key: what is given
 *           back in the millisecond of its claim is due in the next one. Under two it may: a late copy then costs
 *           work, never data. Nothing is claimed without a confirmed id of
 *           this database
 *           7: suspects and fresh keys are claimed apart, so neither wait behind the other, and what suspects do to
 *           a tick befalls no fresh key
 *           7: no more is leased than the reply has room for: names may be long, and a tick that does not hear of its
 *           leases archives nothing
 *
 * - Fresh keys are found behind any number of suspects, a command for each 1,000 of those; suspects only among
 *   as many keys as are asked for: older keys come first, and so their turn comes.
 * - Leased keys take half of the room, idle ones half of the rest, but one of each is always replied.
 * - What a clock queued or touched that ran ahead by more than a day counts as now: due, or in use just now.
 */
const CLAIM = defineScript(
  "claim",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, IDLE, PURGE, TICK = KEYS[1], KEYS[2], KEYS[4], KEYS[5]
local max, max_suspects, lease, max_idle = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local limit = int(now - tonumber(ARGV[5]))
local marks = redis.call('MGET', KEYS[3], TICK, KEYS[6])
local id = sealed(marks[1], marks[2])
if id == '' or not confirmed(id) or foreign(id, ARGV[8]) then
  return { id, int(now_us), '', {}, 0, {}, limit, 0, 0, {}, '', 0, 0 }
end
if ARGV[6] == '1' then redis.call('SET', TICK, int(now)) end

local WINDOW, MOST_WINDOWS = 1000, 100
local fresh, suspects, passed, seen, left = {}, {}, 0, 0, 0

local function scan(from, to, size)
  local window = redis.call('ZRANGEBYSCORE', DIRTY, from, to, 'WITHSCORES', 'LIMIT', int(seen), int(size))
  for i = 1, #window, 2 do
    if tonumber(window[i + 1]) % 1 == 0 then
      if #fresh < max then fresh[#fresh + 1] = window[i] end
    elseif #suspects < max_suspects then
      suspects[#suspects + 1] = window[i]
    else
      passed = passed + 1
    end
  end
  seen = seen + #window / 2
  return #window == 2 * size
end

if max + max_suspects > 0 then
  local size = max == 0 and WINDOW or max + max_suspects
  local full = scan('-inf', int(now), size)
  local windows = 0
  while full and #suspects == 0 and #fresh < max and windows < MOST_WINDOWS do
    windows = windows + 1
    full = scan('-inf', int(now), WINDOW)
  end
  if full then
    left = redis.call('ZCOUNT', DIRTY, '-inf', int(now))
  else
    left = seen
    seen = 0
    scan('(' .. int(now + DAY_MS), '+inf', size)
    left = left + seen
  end
end

local room = tonumber(ARGV[9])
local function within(names)
  local some, size = {}, 0
  for i = 1, #names do
    size = size + #names[i] + 4
    if i > 1 and size > room / 2 then break end
    some[i] = names[i]
  end
  room = room - size
  return some
end

local keys = within(#suspects > 0 and suspects or fresh)
if #suspects > 0 then passed = passed + #suspects - #keys end

local idle = {}
if max_idle > 0 then
  idle = redis.call('ZRANGEBYSCORE', IDLE, '-inf', limit, 'LIMIT', '0', int(max_idle))
  if #idle == 0 and ARGV[6] == '1' then
    local touched = {}
    local ahead = redis.call('ZRANGEBYSCORE', IDLE, '(' .. int(now + DAY_MS), '+inf', 'LIMIT', '0', int(max_idle))
    for i = 1, #ahead do push(touched, int(now), ahead[i]) end
    zadd(IDLE, 'XX', touched)
  end
end
local purge = {}
if tonumber(ARGV[7]) > 0 then
  purge = redis.call('ZRANGEBYSCORE', PURGE, '-inf', int(now), 'LIMIT', '0', ARGV[7])
end
local some_idle, some_purge = within(idle), within(purge)

local token = string.format('%.1f', now + lease + 0.5)
local scores = {}
for i = 1, #keys do push(scores, token, keys[i]) end
zadd(DIRTY, 'XX', scores)
return { id, int(now_us), token, keys, #suspects > 0 and 1 or 0, some_idle, limit, left - #keys, passed, some_purge,
  marks[3] or '', #idle - #some_idle, #purge - #some_purge }
`,
);

/** Bytes of names in one reply: what every server takes, and more than 1,000 names that are not long. */
const MOST_NAME_BYTES = 131_072;
/** A reply that is refused with less than this is too large by a single name. */
const LEAST_NAME_BYTES = 16_384;
/** Bytes of names that an index' server replies, if it has refused more. */
const learned = new WeakMap<Index, number>();

/**
 * One request, 6 billable commands (5 if nothing is due), with `first` one more, and one for each 1,000 suspects before
 * the fresh keys; with `maxIdle` one more, two if nothing is idle and `first` is set; with `maxPurge` one more. More
 * requests if the server refuses replies of a size that it takes in requests, until that is learned.
 */
export async function claim(index: Index, options: ClaimOptions, call?: CallOptions): Promise<Claim> {
  for (let unheard = false;; unheard = true) {
    const nameBytes = Math.min(namesThatFit(index.scripts.replyLimit()), learned.get(index) ?? MOST_NAME_BYTES);
    try {
      return { ...await claimNames(index, options, nameBytes, call), unheard };
    } catch (thrown) {
      const tooLarge = thrown instanceof TundraError && thrown.code === "TOO_LARGE";
      if (!tooLarge || nameBytes < LEAST_NAME_BYTES) throw thrown;
      learned.set(index, nameBytes / 2);
    }
  }
}

/** Names travel in base64. */
function namesThatFit(replyBytes: number): number {
  return Math.max(0, 0.75 * replyBytes - 500);
}

async function claimNames(
  index: Index,
  options: ClaimOptions,
  nameBytes: number,
  call?: CallOptions,
): Promise<Omit<Claim, "unheard">> {
  const { dirty, idle, id, purge, tick, lostRecordsCursor } = index.keys;
  const reply = await index.scripts.run(
    CLAIM,
    [dirty, idle, id, purge, tick, lostRecordsCursor],
    [
      options.maxKeys,
      options.maxSuspects,
      options.leaseMs,
      options.maxIdle,
      options.redisTtlMs,
      options.first ? 1 : 0,
      options.maxPurge,
      index.database,
      Math.floor(nameBytes),
    ],
    call,
  ) as [string, string, string, string[], number, string[], string, number, number, string[], string, number, number];
  return {
    id: reply[0],
    nowUs: Number(reply[1]),
    token: reply[2],
    keys: reply[3].map(text),
    suspects: reply[4] === 1,
    idle: reply[5].map(text),
    idleLimitMs: Number(reply[6]),
    left: reply[7],
    passed: reply[8],
    purge: reply[9].map(text),
    lastSearch: reply[10],
    idleLeft: reply[11],
    purgeLeft: reply[12],
  };
}
