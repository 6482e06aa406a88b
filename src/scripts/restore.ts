/**
 * restore: archived values come back into Redis.
 * @module
 */
import { type CallOptions, text } from "../upstash/connection.ts";
import { BYTES } from "../upstash/payload.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, layout, PRELUDE } from "./prelude.ts";

/** Stands for a payload if the version is a tombstone; no payload is that short. */
export const TOMBSTONE = "gone";

/** A value to bring back. */
export interface Thawed {
  key: string;
  /** The record that the decision was based on. */
  expected: string;
  ver: string;
  /** The key's own expiry, ms since 1970; 0: none. */
  exp: number;
  /** The payload as `encodePayload` gives it; or {@linkcode TOMBSTONE}. */
  payload: string;
}

/** The outcome of one value. */
export type RestoreOutcome = "restored" | "resident" | "again" | "expired" | "removed" | { refused: string };

/**
 * Archived values come back, each only if its key is missing and its record is what the decision was based on.
 *
 *     KEYS  idle, stats, purge, n records, n keys
 *     ARGV  for each key: expected record, ver, exp, payload ('gone': a tombstone)
 *     OUT   for each key: code, message. R restored   X resident already   A read again   P past its own expiry
 *             F Redis refused it
 *             G removed, which the record did not know
 *     INV   1, 4, 5, 8: nothing newer is undone, nothing removed or expired comes back; a late copy does nothing
 *
 * - A tombstone or an expiry that the record did not know goes into it: else a client that creates the key anew would
 *   always be told to bring it back first.
 * - The records are written before RESTORE: should the script end in between, the keys are missing and still evictable.
 * - The fingerprint is taken again: RESTORE may order a large hash or set anew.
 */
const RESTORE = defineScript(
  "restore",
  [],
  restoreLua("string.gsub(ARGV[4 * i], '[\\194-\\197][\\128-\\191]', BYTES)"),
);

/** The Lua of a restoration; `payload` is where the payload comes from, `begin` and `end` are what else it does. */
export function restoreLua(payload: string, begin = BYTES, end = ""): string {
  return `
${PRELUDE}
local IDLE, STATS, PURGE = KEYS[1], KEYS[2], KEYS[3]
local n = math.floor((#KEYS - 3) / 2)
local texts = redis.call('MGET', unpack(KEYS, 4, 3 + n))
local there = existing(4 + n, n)
${begin}
local out, wanted, first, changes, purge = {}, {}, {}, {}, {}
for i = 1, n do
  local r, exp = parse(texts[i]), tonumber(ARGV[4 * i - 1])
  local code = 'A'
  if r and there[i] then
    if r.flag ~= 'e' then code = 'X' end
  elseif r and texts[i] == ARGV[4 * i - 3] then
    local gone = ARGV[4 * i] == 'gone'
    if gone or (exp > 0 and exp <= now) then
      code = gone and 'G' or 'P'
      if gone or exp ~= r.exp then
        if gone then r.flag, r.fp, r.kb = 'g', '-', 0 end
        r.ver, r.exp = ARGV[4 * i - 2], exp
        if exp > 0 then push(purge, int(exp + EXPIRED_MS), KEYS[3 + n + i]) end
        push(changes, KEYS[3 + i], r)
      end
    else
      code = 'R'
      wanted[i] = r
      r.flag, r.touch = 'r', now
      push(first, KEYS[3 + i], format(r))
    end
  end
  out[2 * i - 1], out[2 * i] = code, ''
end

if #first > 0 then redis.call('MSET', unpack(first)) end

local idle = {}
for i = 1, n do
  local r = wanted[i]
  if r then
    local key = KEYS[3 + n + i]
    local payload = ${payload}
    local reply = redis.pcall('RESTORE', key, ARGV[4 * i - 1], payload, 'ABSTTL')
    if type(reply) == 'table' and reply.err then
      out[2 * i - 1], out[2 * i] = 'F', reply.err
      r = parse(texts[i])
    else
      local dump = redis.call('DUMP', key)
      local exp = tonumber(ARGV[4 * i - 1])
      if exp > 0 and (r.ver ~= ARGV[4 * i - 2] or r.exp ~= exp) then push(purge, int(exp + EXPIRED_MS), key) end
      r.fp, r.kb = redis.sha1hex(dump), math.floor((#dump + 1023) / 1024)
      r.ver, r.exp = ARGV[4 * i - 2], exp
      push(idle, int(now), key)
    end
    push(changes, KEYS[3 + i], r)
  end
end
save(changes)
zadd(IDLE, nil, idle)
zadd(PURGE, 'NX', purge)
tally(STATS, changes, -#idle / 2, { 'restored', #idle / 2 })
${end}return out
`;
}

export const OUTCOMES = { R: "restored", X: "resident", A: "again", P: "expired", G: "removed" } as const;

/** One request, 2 billable commands a key and 8; outcomes in order. */
export async function restore(index: Index, thawed: Thawed[], call?: CallOptions): Promise<RestoreOutcome[]> {
  const { idle, stats, purge } = index.keys;
  const reply = await index.scripts.run(
    RESTORE,
    layout(index, [idle, stats, purge], thawed.map((t) => t.key)),
    thawed.flatMap((t) => [t.expected, t.ver, String(t.exp), t.payload]),
    call,
  ) as string[];
  return thawed.map((_, i) => {
    const code = reply[2 * i]!;
    return code === "F" ? { refused: text(reply[2 * i + 1]!) } : OUTCOMES[code as keyof typeof OUTCOMES];
  });
}
