/**
 * same_staged: compares a large value's content, as `same` does for others.
 * @module
 */
import { uuid } from "../base/platform.ts";
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import type { Index } from "./prelude.ts";
import { sameLua } from "./same.ts";

/**
 * As `same`, with the payload in a temporary key.
 *
 *     KEYS  idle, temporary key, record, key, stats, temporary key with the payload
 *     ARGV  expected record, SHA-1 of the payload
 *     OUT   as of `same`; A also if the temporary key does not hold the whole payload
 *     INV   as of `same`
 */
const SAME_STAGED = defineScript(
  "same_staged",
  [],
  sameLua(`local payload = redis.call('GET', KEYS[6])
if not payload or redis.sha1hex(payload) ~= ARGV[2] then return 'A' end`),
);

/** One request, 12 billable commands, 15 if it heals. */
export async function sameStaged(
  index: Index,
  key: string,
  expected: string,
  staged: { name: string; sha1: string },
  call?: CallOptions,
): Promise<"healed" | "conflict" | "again"> {
  const { idle, record, stats, temporary } = index.keys;
  const keys = [idle, temporary(uuid()), record(key), key, stats, staged.name];
  const reply = await index.scripts.run(SAME_STAGED, keys, [expected, staged.sha1], call);
  return reply === "H" ? "healed" : reply === "C" ? "conflict" : "again";
}
