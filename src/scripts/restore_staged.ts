/**
 * restore_staged: a large archived value comes back into Redis, from the temporary key that its pieces are in.
 * @module
 */
import { type CallOptions, text } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, layout } from "./prelude.ts";
import { OUTCOMES, restoreLua, type RestoreOutcome, type Thawed } from "./restore.ts";

/**
 * As `restore`, for one key, whose payload is what the temporary key holds.
 *
 *     KEYS  idle, stats, purge, record, key, temporary key
 *     ARGV  expected record, ver, exp, '', SHA-1 of the payload
 *     OUT   code, message, as of `restore`. A also if the temporary key does not hold the whole payload
 *     INV   those of `restore`. 2: only what has the fingerprint of the archived payload comes back
 *           6: the temporary key goes last, so that a late copy finds none
 */
const RESTORE_STAGED = defineScript(
  "restore_staged",
  [],
  restoreLua(
    "staged",
    `local staged = redis.call('GET', KEYS[6])
if not there[1] and not (staged and redis.sha1hex(staged) == ARGV[5]) then return { 'A', '' } end
`,
    "redis.call('UNLINK', KEYS[6])\n",
  ),
);

/** One request, 11 billable commands. */
export async function restoreStaged(
  index: Index,
  thawed: Omit<Thawed, "payload"> & { name: string; sha1: string },
  call?: CallOptions,
): Promise<RestoreOutcome> {
  const { idle, stats, purge } = index.keys;
  const { key, expected, ver, exp, name, sha1 } = thawed;
  const [code, message] = await index.scripts.run(
    RESTORE_STAGED,
    [...layout(index, [idle, stats, purge], [key]), name],
    [expected, ver, String(exp), "", sha1],
    call,
  ) as [keyof typeof OUTCOMES | "F", string];
  return code === "F" ? { refused: text(message) } : OUTCOMES[code];
}
