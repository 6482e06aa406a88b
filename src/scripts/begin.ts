/**
 * begin: a tick says that it starts on a suspect, a key over whose batch a tick died.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { defineScript } from "../upstash/script.ts";
import { errorText, type Index, PRELUDE } from "./prelude.ts";

/**
 * Counts an attempt before the work begins, so that a key that kills ticks is found out.
 *
 *     KEYS  dirty, dead, record
 *     ARGV  key, token, leaseMs, nattempts, error
 *     OUT   the new token and now (us); D dead: it had its attempts; S stale, nothing changed; U record of another version
 *     INV   6: a repeat with the old token is answered with the new one and counts nothing; 7: a poison key ends dead
 *           3: stale is also what comes 12 h after the lease ended, whatever the token, as a commit is: a process that
 *           was suspended renews no lease that another may long count as ended
 */
const BEGIN = defineScript(
  "begin",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, DEAD, RECORD = KEYS[1], KEYS[2], KEYS[3]
local key, token = ARGV[1], ARGV[2]
local score = redis.call('ZSCORE', DIRTY, key)
local r = parse(redis.call('GET', RECORD))
if not r then return 'U' end
if not score then return 'S' end
if tonumber(score) ~= tonumber(token) then
  if r.before == token and tonumber(score) == tonumber(r.after) then return { r.after, int(now_us) } end
  return 'S'
end
if now > tonumber(token) + 12 * HOUR_MS then return 'S' end
if r.attempts >= tonumber(ARGV[4]) then
  r.error = ARGV[5]
  save({ RECORD, r })
  redis.call('ZADD', DEAD, int(now), key)
  redis.call('ZREM', DIRTY, key)
  return 'D'
end
r.attempts = r.attempts + 1
r.before = token
r.after = string.format('%.1f', math.max(now + tonumber(ARGV[3]) + 0.5, tonumber(token) + 1))
save({ RECORD, r })
redis.call('ZADD', DIRTY, 'XX', r.after, key)
return { r.after, int(now_us) }
`,
);

/**
 * One request, 6 billable commands (7 if the key dies); the new fencing token and Redis' time, or the reason for
 * none.
 */
export async function begin(
  index: Index,
  key: string,
  options: { token: string; leaseMs: number; nattempts: number },
  call?: CallOptions,
): Promise<{ token: string; nowUs: number } | "dead" | "stale" | "unsupported"> {
  const { dirty, dead, record } = index.keys;
  const error = errorText("UNAVAILABLE", `${options.nattempts} ticks ended before they had archived it`);
  const reply = await index.scripts.run(
    BEGIN,
    [dirty, dead, record(key)],
    [key, options.token, options.leaseMs, options.nattempts, error],
    call,
  ) as string | [string, string];
  if (reply === "D") return "dead";
  if (reply === "S") return "stale";
  if (reply === "U") return "unsupported";
  return { token: reply[0]!, nowUs: Number(reply[1]) };
}
