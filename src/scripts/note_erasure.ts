/**
 * note_erasure: an erasure looks what is left.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/**
 * From now on nothing that was read before comes into the archive by a move: what `erased` says has changed.
 *
 *     KEYS  erased
 *     OUT   what it says now: Redis time (microseconds), later than what it said before
 *     INV   4, with relocate: an operation that moves versions may hold a value whose key is erased meanwhile
 */
const NOTE_ERASURE = defineScript(
  "note_erasure",
  ["allow-oom"],
  `
${PRELUDE}
local at = int(math.max(now_us, tonumber(redis.call('GET', KEYS[1]) or '0') + 1))
redis.call('SET', KEYS[1], at)
return at
`,
);

/** One request, 4 billable commands; the time, microseconds. */
export async function noteErasure(index: Index, call?: CallOptions): Promise<number> {
  return Number(await index.scripts.run(NOTE_ERASURE, [index.keys.erased], [], call));
}
