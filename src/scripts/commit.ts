/**
 * commit: what was put into the archive becomes the record's version.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, layout, PRELUDE } from "./prelude.ts";

/** One archived key, or a tombstone. */
export interface Archived {
  key: string;
  /** The record's revision at the snapshot. */
  rev: number;
  /** The version and its place; "" if nothing was archived, as nothing had to be. */
  ver: string;
  /** SHA-1 of the DUMP payload; "" for a tombstone. */
  fp: string;
  exp: number;
  /** Size of the archive object. */
  bytes: number;
  /** Size of the DUMP payload, KB of 1,024 bytes, rounded up; 0 for a tombstone. */
  kb: number;
  /** `true`: the value stays in Redis, so evictions need not look at it. */
  stays?: boolean;
}

/** The outcome of one key. */
export type CommitOutcome =
  | "clean"
  | "requeued"
  | "gone"
  | "removed"
  | "expired"
  | "recreated"
  | "evicted"
  | "stale"
  | "unsupported";

/**
 * The archive holds these bytes (or tombstones): the records say so if the lease is still this tick's.
 *
 *     KEYS  dirty, idle, stats, purge, n records, n keys
 *     ARGV  token, leaseMs, freezeDelayMs, then for each key: rev, ver ('' for nothing), fp ('' for a tombstone or
 *             nothing), exp, bytes, kb, stays (0 1)
 *     OUT   a code a key: C clean   Q changed meanwhile: queued again   G archived, but gone by now: tombstone next
 *             T tombstone: removed, on purpose (flag g) or not (m)   O tombstone: its own expiry has passed (m)
 *             R tombstone or nothing, but changed since: queued again   X tombstone, but there again: queued again
 *             E missing, but evicted or not dirty: the archived value lives
 *             S stale, nothing changed. Stale is also what comes 12 h after the lease ended, whatever the token: no
 *             lease lasts longer, so a day after its claim no object can become named any more
 *             U record of another version: due again in an hour
 *     INV   1, 4: rev is 0 only if just these bytes (or this removal) are archived; 3: only with the latest token
 *           9: a missing key never becomes one that was removed on purpose: only del() and a marked removal say that
 *
 * - A missing key that no call has removed becomes flag m: its own expiry has removed it, or the reason is not known.
 * - stays: it is in no queue of evictions, and leaves it if it was in there.
 * - A key that was removed, and not made anew: what was just archived is to be deleted, too.
 * - Redis lost the record of a missing key, and begin wrote one that says nothing: it goes, or the loss would not be
 *   noticed.
 */
const COMMIT = defineScript(
  "commit",
  ["allow-oom"],
  `
${PRELUDE}
local LATE_MS = 43200000
local DIRTY, IDLE, STATS, PURGE = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local n = (#KEYS - 4) / 2
local token, delay = tonumber(ARGV[1]), tonumber(ARGV[3])
local stale = now > token + LATE_MS
local soon = again(token, tonumber(ARGV[2]))
local scores = redis.call('ZMSCORE', DIRTY, unpack(KEYS, 5 + n, 4 + 2 * n))
local texts = redis.call('MGET', unpack(KEYS, 5, 4 + n))
local there = existing(5 + n, n)
local out, changes, queue, idle, purge, done, left, empty = {}, {}, {}, {}, {}, {}, {}, {}
local frozen, bytes, removed = 0, 0, 0

local function purge_from(at, r, key)
  if r.old ~= '-' and r.old ~= r.ver then push(purge, int(at), key) end
end

local function one(i, r)
  local key, a = KEYS[4 + n + i], 7 * i - 3
  local same, ver, fp, exp = r.rev == tonumber(ARGV[a]), ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  if fp == '' then
    if there[i] then
      push(queue, int(soon), key)
      return 'X'
    end
    if r.flag == 'e' or r.rev == 0 then
      done[#done + 1] = key
      if texts[i] and r.rev == 0 and r.ver == '-' and r.old == '-' then empty[#empty + 1] = KEYS[4 + i] end
      return 'E'
    end
    if ver == '' then
      push(queue, int(soon), key)
      return 'R'
    end
    if same and r.flag ~= 'g' then r.flag = 'm' end
    local explained = r.flag == 'm' and expired(r)
    local over = explained and r.ver ~= '-' and r.old == '-'
    if over then r.old = r.ver else r.exp = 0 end
    r.ver, r.fp, r.kb, r.attempts = ver, '-', 0, 0
    purge_from(over and r.exp + EXPIRED_MS or now, r, key)
    push(changes, KEYS[4 + i], r)
    if not same then
      push(queue, int(soon), key)
      return 'R'
    end
    r.rev = 0
    if r.flag == 'g' then removed = removed + 1 end
    done[#done + 1] = key
    left[#left + 1] = key
    return explained and 'O' or 'T'
  end
  if not there[i] and (r.flag == 'e' or r.rev == 0) then
    done[#done + 1] = key
    return 'E'
  end
  frozen, bytes = frozen + 1, bytes + tonumber(ARGV[a + 4])
  r.ver, r.fp, r.exp, r.kb, r.attempts, r.error = ver, fp, exp, tonumber(ARGV[a + 5]), 0, ''
  if r.flag == 'g' and not (same and there[i]) then remove(r) end
  purge_from(now, r, key)
  push(changes, KEYS[4 + i], r)
  if not there[i] then
    push(queue, int(soon), key)
    return 'G'
  end
  r.flag = 'r'
  if r.touch == 0 then r.touch = now end
  if not same then
    push(queue, int(math.max(soon, now + delay)), key)
    return 'Q'
  end
  r.rev = 0
  done[#done + 1] = key
  if ARGV[a + 6] == '1' then left[#left + 1] = key else push(idle, int(r.touch), key) end
  if exp > 0 and r.old == '-' then push(purge, int(exp + EXPIRED_MS), key) end
  return 'C'
end

for i = 1, n do
  local r = parse(texts[i])
  if stale or not scores[i] or tonumber(scores[i]) ~= token then
    out[i] = 'S'
  elseif not r then
    push(queue, int(now + HOUR_MS), KEYS[4 + n + i])
    out[i] = 'U'
  else
    out[i] = one(i, r)
  end
end

save(changes)
zadd(IDLE, nil, idle)
zadd(PURGE, nil, purge)
zadd(DIRTY, 'XX', queue)
zrem(DIRTY, done)
zrem(IDLE, left)
if #empty > 0 then redis.call('UNLINK', unpack(empty)) end
tally(STATS, changes, 0, { 'frozen', frozen, 'bytes', bytes, 'removed', removed })
return table.concat(out)
`,
);

const OUTCOMES: Record<string, CommitOutcome> = {
  C: "clean",
  Q: "requeued",
  G: "gone",
  T: "removed",
  O: "expired",
  R: "requeued",
  X: "recreated",
  E: "evicted",
  S: "stale",
  U: "unsupported",
};

/**
 * One request, 10 billable commands (11 if a key has an expiry of its own or objects to delete; one more if some stay
 * and some do not); outcomes in the order of `archived`.
 *
 * @param onPart told of each request's outcomes, as a later one may fail
 */
export async function commit<T extends Archived>(
  index: Index,
  archived: T[],
  options: { token: string; leaseMs: number; freezeDelayMs: number },
  call?: CallOptions,
  onPart?: (part: T[], outcomes: CommitOutcome[]) => void,
): Promise<CommitOutcome[]> {
  const { dirty, idle, stats, purge } = index.keys;
  return await inRequests(archived, ({ key }) => keyBytes(key), index.scripts.requestLimit, async (batch) => {
    const reply = await index.scripts.run(
      COMMIT,
      layout(index, [dirty, idle, stats, purge], batch.map((a) => a.key)),
      [
        options.token,
        options.leaseMs,
        options.freezeDelayMs,
        ...batch.flatMap((a) => [String(a.rev), a.ver, a.fp, String(a.exp), a.bytes, a.kb, a.stays ? 1 : 0]),
      ],
      call,
    );
    const outcomes = codes(reply).map((code) => OUTCOMES[code]!);
    onPart?.(batch, outcomes);
    return outcomes;
  });
}
