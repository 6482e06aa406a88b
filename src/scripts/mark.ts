/**
 * mark: keys have changed (or gone) and are queued for archiving.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript, type Script } from "../upstash/script.ts";
import { type Index, layout, PRELUDE } from "./prelude.ts";

/** The effect of a mark on keys that do not exist, and with keys whose record says evicted. */
export interface MarkOptions {
  freezeDelayMs: number;
  /** `del`: a resident key that is missing was removed, and that is a change too. */
  missing: "throw" | "del";
  /**
   * `report`: blind writes are not marked yet, and an evicted key must exist; `cas`: marks them if the record still is
   * the one given; `now`: marks them in any state (a pipeline cannot wait for a report).
   */
  overwrite: "never" | "report" | "cas" | "now";
  /** With `cas`: the records that the decision was based on, in the order of the keys. */
  expected?: string[];
}

/**
 * A key that was not marked, and why: `record` is its record if the record is the reason, or the index's id if that is
 * another database's, or says that a rebuild is under way (`copy`).
 */
export interface MarkException {
  key: string;
  why: "missing" | "blind write" | "blind removal" | "again" | "unsupported" | "copy";
  record: string;
}

/**
 * Lua of every script that marks: `mark(i, record, flag)` notes that the i-th key has changed (`r`) or was removed
 * (`g`). It needs KEYS dirty, dead, stats, id, n records, n keys, and the locals `n` and `delay`.
 */
export const MARKING = `
local changes, queue, failed = {}, {}, {}
local function mark(i, r, flag)
  if r.rev == 0 and flag == 'r' then r.touch = now end
  bump(r)
  made_anew(r)
  r.flag, r.rescues = flag, 0
  if flag == 'g' then remove(r) end
  push(changes, KEYS[4 + i], r)
  push(queue, int(now + delay), KEYS[4 + n + i])
  if r.attempts > 0 then push(failed, KEYS[4 + n + i], r) end
end
`;

/** Lua of every script that marks: writes the marks. What had failed before begins anew. */
export const MARKED = `
local requeued = {}
if #failed > 0 then
  local names = {}
  for i = 1, #failed, 2 do names[#names + 1] = failed[i] end
  local died = redis.call('ZMSCORE', DEAD, unpack(names))
  for i = 1, #names do
    if died[i] then
      failed[2 * i].attempts = 0
      requeued[#requeued + 1] = names[i]
    end
  end
end

save(changes)
zadd(DIRTY, 'NX', queue)
zrem(DEAD, requeued)
tally(KEYS[3], changes, 0, {})
`;

/**
 * Keys have changed: a new revision each, and into the queue.
 *
 *     KEYS  dirty, dead, stats, id, n records, n keys
 *     ARGV  database, freezeDelayMs, missing (throw del), overwrite (never report cas now),
 *             with cas: n expected records
 *     OUT   the id if it is another database's, or if a rebuild is under way: nothing was marked; else for each key
 *             that was not marked: index, code, record
 *             M missing   C conflict: written while evicted   B conflict: removed while evicted
 *             A the record moved on: read it again   U record of another version
 *           (a missing key that is evicted counts as marked: those bytes are archived)
 *     INV   1, 8: a partial value never replaces an evicted one; a late copy marks at most once more, with
 *           cas not even that
 */
const MARK = defineScript(
  "mark",
  [],
  `
${PRELUDE}
local DIRTY, DEAD = KEYS[1], KEYS[2]
local n = (#KEYS - 4) / 2
local delay, missing, overwrite = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local found, texts = redis.call('MGET', unpack(KEYS, 4, 4 + n)), {}
if foreign(found[1], ARGV[1]) or string.match(found[1] or '', '^new:rebuild:') then return found[1] end
for i = 1, n do texts[i] = found[i + 1] end
local there = existing(5 + n, n)
local out = {}

local function except(i, code)
  out[#out + 1] = i
  push(out, code, texts[i] or '')
end

${MARKING}
for i = 1, n do
  local r = parse(texts[i])
  local evicted = r and r.flag == 'e' and not expired(r)
  if not r then
    except(i, 'U')
  elseif overwrite == 'cas' and (texts[i] or '') ~= ARGV[4 + i] then
    except(i, 'A')
  elseif there[i] then
    if not evicted or overwrite == 'now' or overwrite == 'cas' then
      mark(i, r, 'r')
    else
      except(i, 'C')
    end
  elseif missing == 'del' then
    if evicted then
      except(i, 'B')
    elseif r.flag == 'm' or r.flag == 'r' and (r.rev > 0 or evictable(r)) then
      mark(i, r, 'g')
    end
  elseif not evicted or overwrite ~= 'never' then
    except(i, 'M')
  end
end

${MARKED}return out
`,
);

/**
 * The mark in a pipeline. It runs at Redis' memory limit too, as a command before it that removes something does: without
 * its mark what was removed would come back. A record is small.
 */
export const INLINE_MARK: Script = { ...MARK, flags: [...MARK.flags, "allow-oom"] };

const WHY = {
  M: "missing",
  C: "blind write",
  B: "blind removal",
  A: "again",
  U: "unsupported",
} as const;

/** KEYS and ARGV of a mark, also for a pipeline. */
export function markArguments(index: Index, keys: string[], options: MarkOptions): [string[], (string | number)[]] {
  return [
    layout(index, [index.keys.dirty, index.keys.dead, index.keys.stats, index.keys.id], keys),
    [index.database, options.freezeDelayMs, options.missing, options.overwrite, ...(options.expected ?? [])],
  ];
}

/** The reply of a mark. */
export function markExceptions(keys: string[], reply: unknown): MarkException[] {
  if (typeof reply === "string") return keys.map((key) => ({ key, why: "copy", record: reply }));
  const flat = reply as (number | string)[];
  const exceptions: MarkException[] = [];
  for (let i = 0; i < flat.length; i += 3) {
    exceptions.push({
      key: keys[Number(flat[i]) - 1]!,
      why: WHY[flat[i + 1] as keyof typeof WHY],
      record: String(flat[i + 2]),
    });
  }
  return exceptions;
}

/**
 * One request, 6 billable commands if all keys exist, none is dead or evicted; replies the keys that were not marked.
 */
export async function mark(
  index: Index,
  keys: string[],
  options: MarkOptions,
  call?: CallOptions,
): Promise<MarkException[]> {
  return markExceptions(keys, await index.scripts.run(MARK, ...markArguments(index, keys, options), call));
}
