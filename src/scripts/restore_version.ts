/**
 * restore_version: an archived version becomes a key's value again, as a new change.
 * @module
 */
import { type CallOptions, text } from "../upstash/connection.ts";
import { BYTES } from "../upstash/payload.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/** A version to bring back. */
export interface Revival {
  /** The key that is to hold it. */
  key: string;
  /** The record that the decision was based on; "" for none. */
  expected: string;
  /** Printable ASCII that no other call uses: by it a repeated request knows what an earlier copy has done. */
  note: string;
  /** The value's own expiry, ms since 1970; 0: none. */
  exp: number;
  /** `true`: if that has passed, the value is restored without one. */
  expired: boolean;
  /** `true`: the key must hold nothing. */
  fresh: boolean;
  /** `true`: nothing is written. */
  dryRun: boolean;
  /** The payload as `encodePayload` gives it; of a large value its SHA-1. */
  payload: string;
  /** For a large value: the temporary key that holds its payload. */
  staged?: string;
}

/** The outcome: the own expiry that the restored value has (0 for none), or why it was not restored. */
export type RevivalOutcome =
  | { expMs: number }
  | "again"
  | "dirty"
  | "unmarked"
  | "blind write"
  | "occupied"
  | "expired"
  | "unsupported"
  | "no index"
  | { refused: string };

/**
 * An archived value becomes a key's value, with a new revision, so that a tick archives it as a newer version. It
 * replaces only what the archive holds: a value whose bytes and own expiry are those archived, an evicted one, none.
 *
 *     KEYS  dirty, stats, id, tick, record, key
 *     ARGV  database, expected record ('' for none), note, own expiry, restore what is past it (0 1),
 *             the key must hold nothing (0 1), write (0 1), payload
 *     OUT   id, code, message. R restored, by this request or an earlier copy of it: its expiry now (0 for none)
 *             A the record moved on: read again
 *             D dirty: a change is not archived yet   W changed without a mark, or never archived
 *             C conflict: written while evicted   X there is a key of that name, or an evicted one
 *             P past its own expiry   F Redis refused it   U record of another version
 *             I no confirmed id, or another database's
 *     INV   1: nothing that is not archived is replaced; 6: a late copy finds another record, or its own note
 *           4: what was removed on purpose is still deleted from the archive: the new version is newer than that
 *
 * The value is written before the record. Should the script end in between, it is a write that nobody has marked: of a
 * clean key the next eviction marks it, of an evicted key it is a conflict, until it expires.
 */
const RESTORE_VERSION = defineScript(
  "restore_version",
  [],
  restoreVersionLua(`${BYTES}
local payload = string.gsub(ARGV[8], '[\\194-\\197][\\128-\\191]', BYTES)`),
);

/**
 * The same for a large value, whose payload is in a temporary key.
 *
 *     KEYS  as above, and the temporary key
 *     ARGV  as above, with the SHA-1 of the payload in place of it
 *     OUT   as above; A also if the temporary key does not hold the whole payload
 *     INV   as above
 */
const RESTORE_VERSION_STAGED = defineScript(
  "restore_version_staged",
  [],
  restoreVersionLua(`local payload = redis.call('GET', KEYS[7])
if not payload or redis.sha1hex(payload) ~= ARGV[8] then return { id, 'A', '' } end`),
);

function restoreVersionLua(payload: string): string {
  return `
${PRELUDE}
local DIRTY, STATS, RECORD, KEY = KEYS[1], KEYS[2], KEYS[5], KEYS[6]
local note, exp, fresh = ARGV[3], tonumber(ARGV[4]), ARGV[6] == '1'
local marks = redis.call('MGET', KEYS[3], KEYS[4], RECORD)
local id, text = sealed(marks[1], marks[2]), marks[3]
if id == '' or not confirmed(id) or foreign(id, ARGV[1]) then return { id, 'I', '' } end
local r = parse(text)
if not r then return { id, 'U', '' } end
local over = exp > 0 and exp <= now
if over and ARGV[5] == '1' then exp = 0 end
if r.error == note then return { id, 'R', int(exp) } end
if (text or '') ~= ARGV[2] then return { id, 'A', '' } end
if over and exp > 0 then return { id, 'P', '' } end
if r.rev ~= 0 then return { id, 'D', '' } end
local dump = redis.call('DUMP', KEY)
if fresh and (dump or evictable(r)) then return { id, 'X', '' } end
if dump then
  local blind = r.flag == 'e' and not expired(r)
  if not state(r) or redis.sha1hex(dump) ~= r.fp or math.max(0, redis.call('PEXPIRETIME', KEY)) ~= r.exp then
    return { id, blind and 'C' or 'W', '' }
  end
end
if ARGV[7] ~= '1' then return { id, 'R', int(exp) } end

${payload}
local reply = redis.pcall('RESTORE', KEY, int(exp), payload, 'REPLACE', 'ABSTTL')
if type(reply) == 'table' and reply.err then return { id, 'F', reply.err } end
r.touch = now
bump(r)
made_anew(r)
r.flag, r.rescues, r.error = 'r', 0, note
save({ RECORD, r })
zadd(DIRTY, 'NX', { int(now), KEY })
tally(STATS, { RECORD, r }, 0, {})
return { id, 'R', int(exp) }
`;
}

const OUTCOMES: Record<string, RevivalOutcome> = {
  A: "again",
  D: "dirty",
  W: "unmarked",
  C: "blind write",
  X: "occupied",
  P: "expired",
  U: "unsupported",
  I: "no index",
};

/** One request, 7 to 9 billable commands, 1 more for a large value; the payload travels along. */
export async function restoreVersion(
  index: Index,
  revival: Revival,
  call?: CallOptions,
): Promise<{ id: string; outcome: RevivalOutcome }> {
  const { dirty, stats, id, tick, record } = index.keys;
  const { key, expected, note, exp, expired, fresh, dryRun, payload, staged } = revival;
  const flag = (is: boolean) => is ? 1 : 0;
  const reply = await index.scripts.run(
    staged === undefined ? RESTORE_VERSION : RESTORE_VERSION_STAGED,
    [dirty, stats, id, tick, record(key), key, ...(staged === undefined ? [] : [staged])],
    [index.database, expected, note, String(exp), flag(expired), flag(fresh), flag(!dryRun), payload],
    call,
  ) as [string, string, string];
  const [seen, code, message] = reply;
  if (code === "R") return { id: seen, outcome: { expMs: Number(message) } };
  return { id: seen, outcome: code === "F" ? { refused: text(message) } : OUTCOMES[code]! };
}
