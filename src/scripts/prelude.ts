/**
 * The record of one key: a line of text under `tundra:<tqname>:rec:<key>`, and the Lua that all scripts begin with.
 *
 *   <layout> <rev> <ver> <flag> <fp> <exp> <touch> <attempts> <before> <after> <old> <rescues> <kb> <error>
 *
 * | field | what |
 * | --- | --- |
 * | layout | 1, 2 if `ver` or `old` name a place in a pack, 3 if `ver` is a large value's; any other spoils that key only (UNSUPPORTED) |
 * | rev | dirty revision, microseconds; 0: everything is archived |
 * | ver | the archived version and its place, see src/archive/place.ts; `-` for none. One opaque word to the scripts |
 * | flag | r resident, e evicted, g gone (removed on purpose), m missing (gone for a reason that no call gave) |
 * | fp | fingerprint: SHA-1 of the archived DUMP payload, `-` for none |
 * | exp | the key's own expiry as archived, ms since 1970; 0: none |
 * | touch | last use, ms |
 * | attempts | failed attempts to freeze it that were its own fault |
 * | before, after | the tokens of the last begin |
 * | old | objects up to this version were removed on purpose and are to be deleted, `-` for none |
 * | rescues | how many evictions in a row have found bytes that were neither archived nor marked |
 * | kb | size of the archived DUMP payload, KB of 1,024 bytes, rounded up; 0: none, or not known |
 * | error | `CODE message` of the last failure, printable ASCII |
 * @module
 */
import type { RedisKeys } from "../base/keys.ts";
import type { Reply } from "../upstash/connection.ts";
import type { ScriptRunner } from "../upstash/script.ts";

/** Tundra's side of Redis: what each script's wrapper needs. */
export interface Index {
  readonly scripts: ScriptRunner;
  readonly keys: RedisKeys;
  /** The name of the database, as the index's id carries it. */
  readonly database: string;
}

/** A record, read. */
export interface KeyRecord {
  rev: number;
  /** "" for none */
  ver: string;
  flag: "r" | "e" | "g" | "m";
  fp: string;
  exp: number;
  touch: number;
  attempts: number;
  /** "" for none */
  old: string;
  rescues: number;
  /** Size of the archived DUMP payload, KB of 1,024 bytes; 0: none, or not known. */
  kb: number;
  error: string;
}

/** The record that a missing one counts as. */
const EMPTY = "1 0 - r - 0 0 0 - - - 0 0 ";
// As the Lua below reads it, byte by byte: its %S knows ASCII's white space only, its dot takes line ends too.
const LAYOUT =
  /^[123] (\d+) ([^ \t-\r]+) ([regm]) ([^ \t-\r]+) (\d+) (\d+) (\d+) [^ \t-\r]+ [^ \t-\r]+ ([^ \t-\r]+) (\d+) (\d+) (.*)$/s;

// A version, and its place in a pack.
const WORD = /^(-|\d{16}-[0-9a-f]+(@(\d{16}-[0-9a-f]+)?:\d+:\d+)?)$/;

/**
 * Reads a record; a missing one counts as an empty one; `undefined` for another layout, or a word that is no version.
 */
export function parseRecord(text: Reply | undefined): KeyRecord | undefined {
  const fields = LAYOUT.exec(typeof text === "string" ? text : EMPTY);
  if (!fields || !WORD.test(fields[2]!) || !WORD.test(fields[8]!)) return undefined;
  const [, rev, ver, flag, fp, exp, touch, attempts, old, rescues, kb, error] = fields as unknown as string[];
  return {
    rev: Number(rev),
    ver: ver === "-" ? "" : ver!,
    flag: flag as KeyRecord["flag"],
    fp: fp === "-" ? "" : fp!,
    exp: Number(exp),
    touch: Number(touch),
    attempts: Number(attempts),
    old: old === "-" ? "" : old!,
    rescues: Number(rescues),
    kb: Number(kb),
    error: error!,
  };
}

/** `CODE message` as a record can hold it: printable ASCII, at most 300 characters. */
export function errorText(code: string, message: string): string {
  return `${code} ${message}`.replace(/[^\x20-\x7e]/g, "?").slice(0, 300);
}

/** KEYS of a script: `fixed`, then the records of `keys`, then `keys`. */
export function layout(index: Index, fixed: string[], keys: string[]): string[] {
  return [...fixed, ...keys.map(index.keys.record), ...keys];
}

/** A reply that is a string of one code a key. */
export function codes(reply: Reply): string[] {
  return [...reply as string];
}

/** The time for which an expired key stays in the archive, and its record in Redis. */
export const EXPIRED_MS = 48 * 60 * 60 * 1000;

/**
 * All scripts begin with this. Its heads and theirs are outside of the Lua, as every Worker carries that.
 *
 * - GRACE_MS: how long the record of a removed key outlives it, so that a request that comes late still finds the
 *   record changed. EXPIRED_MS: how long what expired stays in the archive, and its record. HOUR_MS: when to try again
 *   what cannot be dealt with now.
 * - parse: nil for another layout, or a version that is none: it must not count as older than everything. A touch of a
 *   clock that ran ahead by more than a day counts for none: the key's next use is noted, and a script that puts it
 *   into idle takes now.
 * - state: r archived and resident, e evicted; false for a key of which the archive holds nothing, or nothing that is
 *   to stay
 * - large: is this the version of a large value? See `isLarge` in src/base/keys.ts
 * - save: record key, record, ...; a gone one expires a grace period later, once its objects are deleted
 * - tally: totals, as field, delta, ...; and what the changes that were saved are to the counts of archived and evicted
 *   keys: `archived`, and in `left` those that no longer are evicted though they were not restored (`moved`: evicted
 *   less restored, as the totals have it). One command for one field, two for more
 * - bump: a change is a new revision, even if the clock went back
 * - remove: on purpose; what the record names, and what is older, is to be deleted from the archive
 * - purgeable (`purgeableUpTo` of purged.ts says the same in TypeScript): the version up to which objects may be
 *   deleted, and from when. Those removed on purpose, once something newer is archived; what has expired, after
 *   EXPIRED_MS. Such a key stands in `purge`: the script that makes a record purgeable puts it there
 * - made_anew: a key that had expired lives again: its old versions are not to be deleted for that any more
 * - evictable: archived, and nothing has happened since: if it is missing, it is to be brought back
 * - again: when a key is due that its tick gives back: now, but not in the millisecond of its claim, in which the same
 *   token could be given once more
 * - confirmed: is this id final? Before that nothing is archived or evicted.
 * - sealed: the id as it counts: a confirmed one without its seal, the time of the last tick, counts as none. It was
 *   put back by hand, or Redis removes keys by itself
 * - foreign: does this id name another database? Then this one is a copy.
 * - existing: which of the n keys from KEYS[first] on exist: one command if all or none do, else by halves
 */
export const PRELUDE = `
local GRACE_MS = 86400000
local EXPIRED_MS = ${EXPIRED_MS}
local HOUR_MS = 3600000
local DAY_MS = 86400000
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)

local function int(x) return string.format('%.0f', x) end

local function state(r) return r.fp ~= '-' and r.old ~= r.ver and (r.flag == 'r' or r.flag == 'e') and r.flag end

local VERSION = '${"%d".repeat(16)}%-[0-9a-f]+'
local function is_version(word)
  return word == '-' or string.match(word, '^' .. VERSION .. '@:%d+:%d+$') or string.match(word, '^' .. VERSION .. '$')
    or string.match(word, '^' .. VERSION .. '@' .. VERSION .. ':%d+:%d+$')
end

local function parse(text)
  local rev, ver, flag, fp, exp, touch, attempts, before, after, old, rescues, kb, error =
    string.match(text or '${EMPTY}', '^[123] (%d+) (%S+) ([regm]) (%S+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+) (%d+) (%d+) (.*)$')
  if not rev or not is_version(ver) or not is_version(old) then return nil end
  touch = tonumber(touch)
  if touch > now + DAY_MS then touch = 0 end
  local r = { rev = tonumber(rev), ver = ver, flag = flag, fp = fp, exp = tonumber(exp), touch = touch,
    attempts = tonumber(attempts), before = before, after = after, old = old,
    rescues = tonumber(rescues), kb = tonumber(kb), error = error }
  r.was = state(r)
  return r
end

local function large(ver) return string.sub(ver, 26) == 'a' end

local function format(r)
  return string.format('%d %.0f %s %s %s %.0f %.0f %d %s %s %s %d %d %s',
    large(r.ver) and 3 or string.match(r.ver .. r.old, '@') and 2 or 1, r.rev, r.ver, r.flag, r.fp, r.exp, r.touch, r.attempts, r.before, r.after, r.old, r.rescues, r.kb, r.error)
end

local function save(changes)
  local plain = {}
  for i = 1, #changes, 2 do
    local key, r = changes[i], changes[i + 1]
    if r.rev == 0 and (r.flag == 'g' or r.flag == 'm') and r.old == '-' then
      redis.call('SET', key, format(r), 'PXAT', int(now + GRACE_MS))
    else
      plain[#plain + 1] = key
      plain[#plain + 1] = format(r)
    end
  end
  if #plain > 0 then redis.call('MSET', unpack(plain)) end
end

local function bump(r) r.rev = math.max(now_us, r.rev + 1) end

local function expired(r) return r.exp > 0 and r.exp <= now end

local function remove(r)
  r.flag = 'g'
  if r.ver ~= '-' then r.old = r.ver end
end

local function made_anew(r)
  if r.flag == 'm' and r.exp > 0 then r.old = '-' end
end

local function expires(r) return r.rev == 0 and r.exp > 0 and (r.flag == 'r' or r.flag == 'e') end

local function purgeable(r)
  if r.old ~= '-' and r.old ~= r.ver then return r.old, r.flag == 'm' and r.exp > 0 and r.exp + EXPIRED_MS or 0 end
  if expires(r) then return r.ver, r.exp + EXPIRED_MS end
end

local function evictable(r) return r.ver ~= '-' and r.rev == 0 and (r.flag == 'r' or r.flag == 'e') and not expired(r) end

local function confirmed(id) return id and string.sub(id, 1, 4) ~= 'new:' end

local function sealed(id, seal) return id and (seal or not confirmed(id)) and id or '' end

local function foreign(id, database) return id and string.sub(id, -#database - 1) ~= '@' .. database end

local function push(list, a, b)
  list[#list + 1] = a
  list[#list + 1] = b
end

local function tally(stats, changes, moved, totals)
  local archived, left = 0, moved
  for i = 2, #changes, 2 do
    local was, is = changes[i].was, state(changes[i])
    if is and not was then archived = archived + 1 end
    if was and not is then archived = archived - 1 end
    if was == 'e' and is ~= 'e' then left = left + 1 end
    if is == 'e' and was ~= 'e' then left = left - 1 end
  end
  local fields, deltas = {}, {}
  local function add(field, delta)
    if delta == 0 then return end
    fields[#fields + 1] = string.format('%s', field) -- text, whatever the list holds besides
    deltas[#deltas + 1] = delta
  end
  for i = 1, #totals, 2 do add(totals[i], totals[i + 1]) end
  add('archived', archived)
  add('left', left)
  if #fields == 1 then
    redis.call('HINCRBY', stats, fields[1], int(deltas[1]))
  elseif #fields > 1 then
    local sums, now_are = redis.call('HMGET', stats, unpack(fields)), {}
    for i = 1, #fields do push(now_are, fields[i], int(tonumber(sums[i] or '0') + deltas[i])) end
    redis.call('HSET', stats, unpack(now_are))
  end
end

local function zadd(key, how, list)
  if #list == 0 then return end
  if how then redis.call('ZADD', key, how, unpack(list)) else redis.call('ZADD', key, unpack(list)) end
end

local function zrem(key, list)
  if #list > 0 then redis.call('ZREM', key, unpack(list)) end
end

local function again(token, lease)
  return math.floor(token) - lease == now and now + 1 or now
end

local function existing(first, n)
  local there = {}
  local function search(from, to, count)
    if count == 0 or count == to - from + 1 then
      for i = from, to do there[i] = count > 0 end
      return
    end
    local middle = math.floor((from + to) / 2)
    local left = redis.call('EXISTS', unpack(KEYS, first + from - 1, first + middle - 1))
    search(from, middle, left)
    search(middle + 1, to, count - left)
  end
  search(1, n, redis.call('EXISTS', unpack(KEYS, first, first + n - 1)))
  return there
end
`;
