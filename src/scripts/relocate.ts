/**
 * relocate: a version lies in another pack by now.
 * @module
 */
import { versionMicros } from "../base/keys.ts";
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { codes, type Index, PRELUDE } from "./prelude.ts";
import type { IndexState } from "./read_index.ts";

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
 *     KEYS  id, tick, erased, n records
 *     ARGV  the new pack's time (microseconds); id and erased as they were before the copied versions were read; then for
 *           each key: word that the record must have, new word
 *     OUT   '-' or, if an erasure has looked since what is left or the index is another one, 'E'; then a code a key:
 *             M moved, now or by an earlier copy of the request   E as above: nothing changed
 *             A the record names another place, or there is none: nothing changed
 *             L the pack is older than 12 h: nothing changed. A sweep that was frozen for so long must not name a pack
 *             that another one may have found unnamed
 *             U record of another version
 *     INV   1: the new place holds the same bytes; nothing but the place changes, not even the record's TTL
 *           4: what was read before an erasure looked what is left does not come into the archive after that
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
local erased = sealed(texts[1], texts[2]) ~= ARGV[2] or (texts[3] or '0') ~= ARGV[3]
local late = now_us > tonumber(ARGV[1]) + LATE_US
local out, plain = { erased and 'E' or '-' }, {}
for i = 4, #KEYS do
  local r, from, to = parse(texts[i]), ARGV[2 * i - 4], ARGV[2 * i - 3]
  if not r then
    out[i - 2] = 'U'
  elseif texts[i] and r.ver == to then
    out[i - 2] = 'M'
  elseif erased then
    out[i - 2] = 'E'
  elseif late then
    out[i - 2] = 'L'
  elseif not texts[i] or r.ver ~= from then
    out[i - 2] = 'A'
  else
    local expires = r.rev == 0 and (r.flag == 'g' or r.flag == 'm') and r.old == '-'
    if r.old == from then r.old = to end
    r.ver = to
    out[i - 2] = 'M'
    if expires then redis.call('SET', KEYS[i], format(r), 'KEEPTTL') else push(plain, KEYS[i], format(r)) end
  end
end
if #plain > 0 then redis.call('MSET', unpack(plain)) end
return table.concat(out)
`,
);

/** The fate of the place that a record names. */
export type RelocationOutcome = "moved" | "again" | "late" | "unsupported" | "erased";

const OUTCOMES: Record<string, RelocationOutcome> = {
  M: "moved",
  A: "again",
  L: "late",
  U: "unsupported",
  E: "erased",
};

/**
 * One request for each 1,000 keys, at least one; 4 billable commands each, and one for each removed key. Outcomes in the
 * order of `moves`, all into `pack`; none for none, unless it is "erased".
 */
export async function relocate(
  index: Index,
  pack: string,
  seen: Pick<IndexState, "id" | "erasedUs">,
  moves: readonly Relocation[],
  call?: CallOptions,
): Promise<RelocationOutcome[]> {
  const { id, tick, erased, record } = index.keys;
  const head = [String(versionMicros(pack)), seen.id, String(seen.erasedUs)];
  const send = async (batch: readonly Relocation[]): Promise<RelocationOutcome[]> => {
    const keys = [id, tick, erased, ...batch.map(({ key }) => record(key))];
    const args = [...head, ...batch.flatMap(({ from, to }) => [from, to])];
    const reply = await index.scripts.run(RELOCATE, keys, args, call);
    const [erasure, ...found] = codes(reply);
    return (batch.length === 0 && erasure === "E" ? ["E"] : found).map((code) => OUTCOMES[code]!);
  };
  if (moves.length === 0) return await send([]);
  return await inRequests(moves, ({ key }) => keyBytes(key), index.scripts.requestLimit, send);
}
