/**
 * read_state: records and existence as the primary has them.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, layout, PRELUDE } from "./prelude.ts";

/** A key and its record. */
export interface KeyState {
  key: string;
  /** The record as it is; "" for none. */
  record: string;
  exists: boolean;
  /** Missing, and to be brought back before it is used. */
  evictable: boolean;
}

/**
 * Records and existence. It could be read-only, and is not: a script that may write is answered by the primary.
 *
 *     KEYS  id, tick, n records, n keys
 *     OUT   id, now (ms), then for each key: record ('' for none), state: 1 exists   2 missing, to be brought back   0 neither
 */
const READ_STATE = defineScript(
  "read_state",
  ["allow-oom"],
  `
${PRELUDE}
local n = (#KEYS - 2) / 2
local texts = redis.call('MGET', unpack(KEYS, 1, 2 + n))
local out = { sealed(texts[1], texts[2]), now }
if n > 0 then
  local there = existing(3 + n, n)
  for i = 1, n do
    local r = parse(texts[i + 2])
    push(out, texts[i + 2] or '', there[i] and 1 or r and evictable(r) and 2 or 0)
  end
end
return out
`,
);

/** One request, 4 billable commands if all keys exist or none does. */
export async function readState(
  index: Index,
  keys: string[],
  call?: CallOptions,
): Promise<{ id: string; nowMs: number; states: KeyState[] }> {
  const reply = await index.scripts.run(
    READ_STATE,
    layout(index, [index.keys.id, index.keys.tick], keys),
    [],
    call,
  ) as (string | number)[];
  return {
    id: reply[0] as string,
    nowMs: reply[1] as number,
    states: keys.map((key, i) => ({
      key,
      record: reply[2 * i + 2] as string,
      exists: reply[2 * i + 3] === 1,
      evictable: reply[2 * i + 3] === 2,
    })),
  };
}
