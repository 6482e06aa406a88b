/**
 * relocate: a version lies in another pack by now.
 * @module
 */
import { versionMicros } from "../base/keys.ts";
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, PRELUDE } from "./prelude.ts";

/** A version that was copied into another pack. */
export interface Relocation {
  key: string;
  /** The word by which the record named it. */
  from: string;
  /** The word for its place in the new pack. */
  to: string;
}

/**
 * Records name another place of the same version, each only if it still names the one that was copied.
 *
 *     KEYS  n records
 *     ARGV  the new pack's time (microseconds), then for each key: word that the record must have, new word
 *     OUT   a code a key: M moved   A the record names another place, or there is none: nothing changed
 *             L the pack is older than 12 h: nothing changed. A sweep that was frozen for so long must not name a pack
 *             that another one may have found unnamed
 *             U record of another version
 *     INV   1: the new place holds the same bytes; nothing but the place changes, not even the record's TTL
 *
 * - A version that is to be deleted up to itself (`old`) stays so under its new name.
 */
const RELOCATE = defineScript(
  "relocate",
  ["allow-oom"],
  `
${PRELUDE}
local LATE_US = 43200000000
local texts = redis.call('MGET', unpack(KEYS))
local late = now_us > tonumber(ARGV[1]) + LATE_US
local out, plain = {}, {}
for i = 1, #KEYS do
  local r, from, to = parse(texts[i]), ARGV[2 * i], ARGV[2 * i + 1]
  if not r then
    out[i] = 'U'
  elseif late then
    out[i] = 'L'
  elseif not texts[i] or r.ver ~= from then
    out[i] = 'A'
  else
    local expires = r.rev == 0 and (r.flag == 'g' or r.flag == 'm') and r.old == '-'
    if r.old == from then r.old = to end
    r.ver = to
    out[i] = 'M'
    if expires then redis.call('SET', KEYS[i], format(r), 'KEEPTTL') else push(plain, KEYS[i], format(r)) end
  end
end
if #plain > 0 then redis.call('MSET', unpack(plain)) end
return table.concat(out)
`,
);

const OUTCOMES: Record<string, "moved" | "again" | "late" | "unsupported"> = {
  M: "moved",
  A: "again",
  L: "late",
  U: "unsupported",
};

/**
 * One request, 4 billable commands (and one for each removed key); outcomes in the order of `moves`, all into `pack`.
 */
export async function relocate(
  index: Index,
  pack: string,
  moves: readonly Relocation[],
  call?: CallOptions,
): Promise<("moved" | "again" | "late" | "unsupported")[]> {
  return await inRequests(moves, ({ key }) => keyBytes(key), index.scripts.requestLimit, async (batch) => {
    const reply = await index.scripts.run(
      RELOCATE,
      batch.map(({ key }) => index.keys.record(key)),
      [String(versionMicros(pack)), ...batch.flatMap(({ from, to }) => [from, to])],
      call,
    );
    return codes(reply).map((code) => OUTCOMES[code]!);
  });
}
