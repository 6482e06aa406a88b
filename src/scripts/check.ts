/**
 * check: which keys are not simply there? The hot path of ensureKs.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, layout, PRELUDE } from "./prelude.ts";

/** The use of a key is noted again after so long: a quarter of the least `redisTtlMs`. */
export const TOUCH_MS = 9_000_000;

/** A key that needs something; all others are resident, or were never archived. */
export interface CheckFinding {
  key: string;
  /**
   * `touch`: in use again; `evicted`: bring it back; `reconcile`: there, and the record says evicted; `unknown`: Redis
   * knows nothing of it.
   */
  needs: "touch" | "evicted" | "reconcile" | "unsupported" | "unknown";
  /** With `unknown`: Redis time, ms. */
  record: string;
}

/** The findings of a check. */
export interface Checked {
  /** The id of the index. */
  id: string;
  findings: CheckFinding[];
}

/**
 * Which keys are not simply there? Takes read locks only: ensureKs() must not write to what others share. `no-writes`
 * implies `allow-oom`: it asks for both, so that it is known which of them a mark in a pipeline may ask for.
 *
 *     KEYS  id, tick, n records, n keys
 *     ARGV  name the unknown ones (0 1)
 *     OUT   id, then for each key that needs something: index, code, record
 *             T touch   E evicted   R reconcile: there, and the record says evicted   U record of another version
 *             N neither key nor record: Redis time instead of a record
 *     INV   4, 5: removed, dirty or expired and missing: absent, never brought back
 */
const CHECK = defineScript(
  "check",
  ["no-writes", "allow-oom"],
  `
${PRELUDE}
local TOUCH_MS = ${TOUCH_MS}
local n = (#KEYS - 2) / 2
local texts = redis.call('MGET', unpack(KEYS, 1, 2 + n))
local there = existing(3 + n, n)
local out = { sealed(texts[1], texts[2]) }
for i = 1, n do
  local text = texts[i + 2]
  local r, code = parse(text), nil
  if not r then
    code = 'U'
  elseif there[i] then
    if r.flag == 'e' then
      if not expired(r) then code = 'R' end
    elseif text and r.touch < now - TOUCH_MS then
      code = 'T'
    end
  elseif evictable(r) then
    code = 'E'
  elseif not text and ARGV[1] == '1' then
    code, text = 'N', int(now)
  end
  if code then
    out[#out + 1] = i
    push(out, code, text)
  end
end
return out
`,
);

const NEEDS = { T: "touch", E: "evicted", R: "reconcile", U: "unsupported", N: "unknown" } as const;

/** One request, 4 billable commands if all keys exist or none does. */
export async function check(
  index: Index,
  keys: string[],
  nameUnknown = false,
  call?: CallOptions,
): Promise<Checked> {
  const reply = await index.scripts.run(CHECK, layout(index, [index.keys.id, index.keys.tick], keys), [
    nameUnknown ? 1 : 0,
  ], call) as (string | number)[];
  return checkedOf(reply, keys);
}

/** Reads a reply: the id, then for each key that needs something its index, a code, its record. */
export function checkedOf([id, ...found]: (string | number)[], keys: readonly string[]): Checked {
  const findings: CheckFinding[] = [];
  for (let i = 0; i < found.length; i += 3) {
    findings.push({
      key: keys[Number(found[i]) - 1]!,
      needs: NEEDS[found[i + 1] as keyof typeof NEEDS],
      record: found[i + 2] as string,
    });
  }
  return { id: id as string, findings };
}
