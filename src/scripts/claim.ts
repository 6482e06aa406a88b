/**
 * claim: a tick takes a batch of due keys under a lease.
 * @module
 */
import { type CallOptions, type Reply, text } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./record.ts";

/** What a tick asks for. */
export interface ClaimOptions {
  /** At most this many dirty keys. */
  maxKeys: number;
  leaseMs: number;
  /** At most this many idle keys... */
  maxIdle: number;
  /** ... that were last touched this long ago. */
  redisTtlMs: number;
}

/** What a tick got. */
export interface Claim {
  /** The index id; "" for none, `new:...` for one that is not confirmed: then nothing was claimed. */
  id: string;
  /** Redis time, microseconds. */
  nowUs: number;
  /** The fencing token of all keys claimed. */
  token: string;
  keys: string[];
  /** Those of them whose last lease expired: a tick died over that batch. */
  suspects: string[];
  /** Clean keys that are due for eviction, last touched at or before `idleLimitMs`. */
  idle: string[];
  idleLimitMs: number;
  /** Due keys that are left. */
  left: number;
}

/**
 * The first due keys, under a lease; and keys that are due for eviction.
 *
 *     KEYS  dirty, idle, id
 *     ARGV  maxKeys, leaseMs, maxIdle, redisTtlMs
 *     OUT   id, now (us), token, keys, suspects (0 or 1 a key), idle keys, idle limit (ms), due keys left
 *     INV   3: the score of a leased key is its fencing token. Two leases share one only where the first was given
 *           back in
 *           the millisecond of both claims: a late copy then costs work, never data. Nothing is claimed without an id
 */
const CLAIM = defineScript(
  "claim",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, IDLE, ID = KEYS[1], KEYS[2], KEYS[3]
local max, lease, max_idle = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local limit = int(now - tonumber(ARGV[4]))
local id = redis.call('GET', ID)
if not id or string.sub(id, 1, 4) == 'new:' then return { id or '', int(now_us), '', {}, '', {}, limit, 0 } end

local DAY_MS = 86400000
local due, left = {}, 0
if max > 0 then
  due = redis.call('ZRANGEBYSCORE', DIRTY, '-inf', int(now), 'WITHSCORES', 'LIMIT', '0', int(max))
  if #due == 2 * max then
    left = redis.call('ZCOUNT', DIRTY, '-inf', int(now)) - max
  else -- queued by a clock that ran ahead
    local ahead = redis.call('ZRANGEBYSCORE', DIRTY, '(' .. int(now + DAY_MS), '+inf', 'WITHSCORES', 'LIMIT', '0',
      int(max - #due / 2))
    for i = 1, #ahead do due[#due + 1] = ahead[i] end
  end
end
local idle = {}
if max_idle > 0 then idle = redis.call('ZRANGEBYSCORE', IDLE, '-inf', limit, 'LIMIT', '0', int(max_idle)) end

local token = string.format('%.1f', now + lease + 0.5)
local keys, suspects, scores = {}, {}, {}
for i = 1, #due, 2 do
  keys[#keys + 1] = due[i]
  suspects[#suspects + 1] = tonumber(due[i + 1]) % 1 == 0.5 and '1' or '0'
  push(scores, token, due[i])
end
zadd(DIRTY, 'XX', scores)
return { id, int(now_us), token, keys, table.concat(suspects), idle, limit, left }
`,
);

/** One request, 6 billable commands (5 where nothing is due), one more with `maxIdle`. */
export async function claim(index: Index, options: ClaimOptions, call?: CallOptions): Promise<Claim> {
  const { dirty, idle, id } = index.keys;
  const reply = await index.scripts.run(
    CLAIM,
    [dirty, idle, id],
    [options.maxKeys, options.leaseMs, options.maxIdle, options.redisTtlMs],
    call,
  ) as [string, string, string, string[], string, string[], string, number];
  const keys = reply[3].map(text);
  return {
    id: reply[0],
    nowUs: Number(reply[1]),
    token: reply[2],
    keys,
    suspects: keys.filter((_, i) => reply[4][i] === "1"),
    idle: reply[5].map(text),
    idleLimitMs: Number(reply[6]),
    left: reply[7] as Reply as number,
  };
}
