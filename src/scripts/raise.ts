/**
 * raise: records are made of what a part of the archive holds, or raised to a newer version.
 * @module
 */
import { type CallOptions, text } from "../upstash/connection.ts";
import { inParts, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, layout, PRELUDE } from "./prelude.ts";
import { type RebuildCounts, type RebuildState, stateKey, stateOf } from "./rebuild.ts";

/** The newest version of a key that a part of the archive holds. */
export interface ArchivedKey {
  key: string;
  /** The version and its place. */
  ver: string;
  /** `rivals`: several versions are the newest, and nothing says which came last. */
  what: "value" | "gone" | "missing" | "rivals";
  /** The key's own expiry as far as it is known, ms since 1970; 0 for none. */
  exp: number;
  /** Size of the DUMP payload at most, KB of 1,024 bytes; 0: not known. */
  kb: number;
}

/** The outcome of one key. */
export type RaiseOutcome = "made" | "raised" | "kept" | "rivals" | "unsupported";

/** One step of a rebuild. */
export interface RebuildStep {
  /** The id that says that this rebuild is under way. */
  id: string;
  /** The place that it has come to, and the one that it comes to. */
  at: string;
  next: string;
  /** The place where it begins again if it has taken too long; "": it does not. */
  again: string;
  /** Additions to the counts. */
  adds: Pick<RebuildCounts, "objects" | "packs" | "copied">;
}

/**
 * Records of archived keys are made, or raised to a newer version; and the rebuild has come further.
 *
 *     KEYS  dirty, dead, purge, stats, id, state, n records, n keys
 *     ARGV  id, at, next, again, objects, packs, copied, then for each key: version, kind (e value g m tombstone
 *             l several are the newest), exp, kb
 *     OUT   id, state, a code a key: M made   R raised   K kept: it names this version or a newer one   L several
 *             are the newest: lost   U record of another version.
 *             No codes: nothing was done, as the id is another one or the rebuild stands elsewhere
 *     INV   8: nothing but a newer version changes what a record names, so batches come in any order, and twice
 *           1: what is in Redis is newer than all that is archived: it is queued, and never becomes evicted
 *           6: a batch whose rebuild has come further, has ended or has gone back with Redis changes nothing
 *           4: the record of a removed key outlives the walk, or an older value would take its place
 *
 * - state: `<id> <began> <counts, eight of them> <at>`; one of another id counts as none. A walk that takes longer than
 *   WALK_MS begins again: the records of removed keys, which it makes again, are kept for KEPT_MS.
 * - A key of which several versions are the newest is evicted by a version just below them, which no object ever had:
 *   so ensureKs() is LOST and names them.
 * - What expired long ago counts as missing: nothing of it is to be purged that a sweep does not find.
 */
const RAISE = defineScript(
  "raise",
  [],
  `
${PRELUDE}
local WALK_MS, KEPT_MS = 604800000, 691200000
local DIRTY, DEAD, PURGE, STATS, STATE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6]
local n = (#KEYS - 6) / 2
local found = redis.call('MGET', unpack(KEYS, 5, 6 + n))
local id = ARGV[1]
if found[1] ~= id then return { found[1] or '', '', '' } end

local of, began, keys, evicted, away, resident, lost, objects, packs, copied, at =
  string.match(found[2] or '', '^(%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (.*)$')
local ALL, EVICTED, GONE, RESIDENT, LOST = 1, 2, 3, 4, 5
local counts = { 0, 0, 0, 0, 0 }
if of == id then
  counts = { tonumber(keys), tonumber(evicted), tonumber(away), tonumber(resident), tonumber(lost) }
else
  began, objects, packs, copied, at = int(now), '0', '0', '0', ''
end

local function state()
  return string.format('%s %s %d %d %d %d %d %s %s %s %s', id, began, counts[1], counts[2], counts[3], counts[4], counts[5],
    objects, packs, copied, at)
end

if ARGV[4] ~= '' and at ~= '' and now > tonumber(began) + WALK_MS then
  began, at = int(now), ARGV[4]
  redis.call('SET', STATE, state())
end
if at ~= ARGV[2] then return { id, state(), '' } end

local there = n > 0 and existing(7 + n, n)
local out, changes, saved, queue, tried, purge = {}, {}, {}, {}, {}, {}

local function micros(word) return tonumber(string.match(word, '^%d+') or '0') end
local function version(word) return string.match(word, '^[^@]+') end
local function held_since(word)
  if not string.match(word, '@') then return 0 end
  return tonumber(string.match(word, '@(%d+)') or string.match(word, '^%d+'))
end
local function is_lost(r) return r.rev == 0 and r.flag == 'e' and string.match(r.error, '^LOST ') end
local function is_gone(r) return r.rev == 0 and (r.flag == 'g' or r.flag == 'm') end
local function kind(r)
  if is_lost(r) then return LOST end
  if is_gone(r) then return GONE end
  return r.rev == 0 and r.flag == 'e' and EVICTED or RESIDENT
end

local function change(i, r)
  local key = KEYS[6 + i]
  push(changes, key, r)
  if is_gone(r) and r.old == '-' then
    redis.call('SET', key, format(r), 'PXAT', int(now + KEPT_MS))
  else
    push(saved, key, r)
  end
end

local function raise(i, r, ver, what, exp, kb)
  if what == 'e' and exp > 0 and exp + EXPIRED_MS <= now then what = 'm' end
  local value = what == 'e' or what == 'l'
  if r.rev ~= 0 then
    r.ver = ver
    if r.flag == 'g' then remove(r) end
  elseif there[i] then
    r.ver, r.flag, r.touch, r.attempts, r.rescues, r.error = ver, 'r', now, 0, 0, ''
    bump(r)
  elseif what == 'l' then
    r.ver, r.flag = int(micros(ver) - 1) .. '-00000000', 'e'
    r.error = 'LOST several versions have the same time, and nothing says which came last'
  else
    r.ver, r.flag, r.error = ver, what, ''
  end
  r.fp, r.exp, r.kb = value and '?' or '-', what == 'e' and exp or 0, what == 'e' and kb or 0
  change(i, r)
end

local function one(i, r)
  local a = 4 * i + 4
  local ver, what, exp, kb = ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local has, is = micros(r.ver), micros(ver)
  if is_lost(r) then has = has + 1 end
  if is > has then
    raise(i, r, ver, what, exp, kb)
    return is_lost(r) and 'L' or found[2 + i] and 'R' or 'M'
  end
  if is < has or r.rev ~= 0 and (what == 'l' or version(ver) ~= version(r.ver)) then return 'K' end
  if is_lost(r) then return 'L' end
  if what == 'l' or version(ver) ~= version(r.ver) then
    raise(i, r, ver, 'l', 0, 0)
    return is_lost(r) and 'L' or 'R'
  end
  local moved = held_since(ver) > held_since(r.ver)
  if moved then
    if r.old == r.ver then r.old = ver end
    r.ver = ver
  end
  if moved or is_gone(r) then change(i, r) end
  return 'K'
end

for i = 1, n do
  local r = parse(found[2 + i])
  if not r then
    out[i] = 'U'
  else
    local was, key = found[2 + i] and kind(r), KEYS[6 + n + i]
    out[i] = one(i, r)
    local is = kind(r)
    if was ~= is then
      if was then counts[was] = math.max(0, counts[was] - 1) else counts[ALL] = counts[ALL] + 1 end
      counts[is] = counts[is] + 1
    end
    if r.rev ~= 0 then
      if r.attempts > 0 then tried[#tried + 1] = key else push(queue, int(now), key) end
    elseif expires(r) then
      push(purge, int(r.exp + EXPIRED_MS), key)
    end
  end
end
if #tried > 0 then
  local dead = redis.call('ZMSCORE', DEAD, unpack(tried))
  for i = 1, #tried do
    if not dead[i] then push(queue, int(now), tried[i]) end
  end
end

save(saved)
zadd(DIRTY, 'NX', queue)
zadd(PURGE, 'NX', purge)
tally(STATS, changes, 0, {})
objects, packs, copied = int(tonumber(objects) + tonumber(ARGV[5])), int(tonumber(packs) + tonumber(ARGV[6])),
  int(tonumber(copied) + tonumber(ARGV[7]))
at = ARGV[3]
redis.call('SET', STATE, state())
return { id, state(), table.concat(out) }
`,
);

const KINDS = { value: "e", gone: "g", missing: "m", rivals: "l" } as const;
const OUTCOMES: Record<string, RaiseOutcome> = { M: "made", R: "raised", K: "kept", L: "rivals", U: "unsupported" };
/**
 * Takes one step. If the id is another one by now, or the rebuild stands elsewhere, nothing is done: `outcomes` is
 * empty, and the state says what is true. No key may stand twice in `archived`.
 *
 * Cost: a request for each 1,000 keys, 8 to 14 billable commands and one for each removed key.
 */
export async function raise(
  index: Index,
  { id, at, next, again, adds }: RebuildStep,
  archived: readonly ArchivedKey[],
  call?: CallOptions,
): Promise<RebuildState & { outcomes: RaiseOutcome[] }> {
  const { dirty, dead, purge, stats } = index.keys;
  const outcomes: RaiseOutcome[] = [];
  let state: RebuildState | undefined;
  let isOff = false;
  const part = async (some: readonly ArchivedKey[], isLast: boolean) => {
    if (isOff) return;
    const reply = await index.scripts.run(
      RAISE,
      layout(index, [dirty, dead, purge, stats, index.keys.id, stateKey(index)], some.map(({ key }) => key)),
      [
        ...[id, at, isLast ? next : at, again],
        ...(isLast ? [adds.objects, adds.packs, adds.copied] : [0, 0, 0]),
        ...some.flatMap(({ ver, what, exp, kb }) => [ver, KINDS[what], String(exp), kb]),
      ],
      call,
    ) as [string, string, string];
    state = stateOf(reply[0], text(reply[1]));
    outcomes.push(...codes(reply[2]).map((code) => OUTCOMES[code]!));
    isOff = state.id !== id || state.at !== (isLast ? next : at);
  };
  if (archived.length === 0) {
    await part([], true);
    return { ...state!, outcomes };
  }
  let done = 0;
  await inParts(archived, ({ key }) => keyBytes(key), index.scripts.requestLimit, async (some) => {
    await part(some, done + some.length === archived.length);
    done += some.length;
  });
  return { ...state!, outcomes };
}
