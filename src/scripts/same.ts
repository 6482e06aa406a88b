/**
 * same: compares the content of a key that exists, although its record says evicted, with the archived value.
 * @module
 */
import { uuid } from "../base/platform.ts";
import type { CallOptions } from "../upstash/connection.ts";
import { BYTES } from "../upstash/payload.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/**
 * Compares content, not bytes: a server that was restarted orders large sets and hashes anew, so an eviction that was
 * half undone shows other bytes than those archived.
 *
 *     KEYS  idle, temporary key, record, key, stats
 *     ARGV  expected record, payload
 *     OUT   H healed: the same content, resident   C conflict: other content, or of a type that only bytes can prove
 *           A the record moved on: read it again
 *     INV   8: a partial value never passes for the whole one; 6: a late copy finds another record
 *
 * The archived value is restored under the temporary key, which the script deletes; should it die, it has a TTL.
 */
const SAME = defineScript(
  "same",
  [],
  sameLua(`${BYTES}
local payload = string.gsub(ARGV[2], '[\\194-\\197][\\128-\\191]', BYTES)`),
);

/** The Lua of a comparison; `payload` is what it compares with. */
export function sameLua(payload: string): string {
  return `
${PRELUDE}
local IDLE, TMP, RECORD, KEY = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local text = redis.call('GET', RECORD)
local dump = redis.call('DUMP', KEY)
if text ~= ARGV[1] or not dump then return 'A' end
${payload}
local reply = redis.pcall('RESTORE', TMP, '60000', payload)
if type(reply) == 'table' and reply.err then return 'C' end

local function equal(ours, theirs)
  if #ours ~= #theirs then return false end
  for i = 1, #ours do
    if ours[i] ~= theirs[i] then return false end
  end
  return true
end

local function equal_fields(ours, theirs)
  if #ours ~= #theirs then return false end
  local values = {}
  for i = 1, #theirs, 2 do values[theirs[i]] = theirs[i + 1] end
  for i = 1, #ours, 2 do
    if values[ours[i]] ~= ours[i + 1] then return false end
  end
  return true
end

local function same()
  local kind = redis.call('TYPE', TMP).ok
  if kind ~= redis.call('TYPE', KEY).ok then return false end
  if kind == 'string' then return redis.call('GET', TMP) == redis.call('GET', KEY) end
  if kind == 'hash' then return equal_fields(redis.call('HGETALL', TMP), redis.call('HGETALL', KEY)) end
  if kind == 'list' then return equal(redis.call('LRANGE', TMP, '0', '-1'), redis.call('LRANGE', KEY, '0', '-1')) end
  if kind == 'zset' then
    return equal(redis.call('ZRANGE', TMP, '0', '-1', 'WITHSCORES'), redis.call('ZRANGE', KEY, '0', '-1', 'WITHSCORES'))
  end
  if kind == 'set' then
    return redis.call('SCARD', TMP) == redis.call('SCARD', KEY) and #redis.call('SDIFF', TMP, KEY) == 0
  end
  return redis.call('DUMP', TMP) == dump
end

local code = same() and 'H' or 'C'
if code == 'H' then
  local r = parse(text)
  r.flag, r.touch, r.fp = 'r', now, redis.sha1hex(dump)
  save({ RECORD, r })
  redis.call('ZADD', IDLE, int(now), KEY)
  tally(KEYS[5], { RECORD, r }, 0, {})
end
redis.call('UNLINK', TMP)
return code
`;
}

/** One request, 11 billable commands, 14 if it heals; the payload travels along. */
export async function same(
  index: Index,
  key: string,
  expected: string,
  payload: string,
  call?: CallOptions,
): Promise<"healed" | "conflict" | "again"> {
  const { idle, record, stats, temporary } = index.keys;
  const reply = await index.scripts.run(
    SAME,
    [idle, temporary(uuid()), record(key), key, stats],
    [expected, payload],
    call,
  );
  return reply === "H" ? "healed" : reply === "C" ? "conflict" : "again";
}
