/**
 * fail: keys that a tick could not archive go back into the queue, or die.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { errorText, type Index, PRELUDE } from "./record.ts";

/** One failure. */
export interface Failure {
  key: string;
  code: string;
  message: string;
  /** The key's own fault, not the store's: counts an attempt. */
  counted: boolean;
  /** Begun alone: its attempt is counted already. */
  begun: boolean;
  /** Due again after this long. */
  backoffMs: number;
}

/** What became of the key. */
export interface FailOutcome {
  outcome: "queued" | "dead" | "stale" | "unsupported";
  attempts: number;
}

/**
 * What could not be archived waits for its next attempt; what had all its attempts is dead: resident, never evicted.
 *
 *     KEYS  dirty, dead, n records
 *     ARGV  token, nattempts, then for each key: key, backoffMs, counted (0 1), begun (0 1), error
 *     OUT   for each key: code, attempts. Q queued   D dead   S stale, nothing changed
 *             U record of another version: queued
 *     INV   3: only with the latest token, so a repeat does nothing; 7: an outage of the store counts no attempt
 *
 * A suspect about which nothing was learned stays one: its score keeps the .5.
 */
const FAIL = defineScript(
  "fail",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, DEAD = KEYS[1], KEYS[2]
local n = #KEYS - 2
local token, nattempts = tonumber(ARGV[1]), tonumber(ARGV[2])
local keys = {}
for i = 1, n do keys[i] = ARGV[5 * i - 2] end
local scores = redis.call('ZMSCORE', DIRTY, unpack(keys))
local texts = redis.call('MGET', unpack(KEYS, 3, 2 + n))
local out, changes, queue, dead, died = {}, {}, {}, {}, {}
for i = 1, n do
  local a = 5 * i - 2
  local backoff, counted, begun = tonumber(ARGV[a + 1]), ARGV[a + 2] == '1', ARGV[a + 3] == '1'
  local r = parse(texts[i])
  if not scores[i] or tonumber(scores[i]) ~= token then
    push(out, 'S', 0)
  elseif not r then
    push(queue, int(now + HOUR_MS), keys[i])
    push(out, 'U', 0)
  else
    if counted and not begun then r.attempts = r.attempts + 1 end
    if begun and not counted then r.attempts = math.max(0, r.attempts - 1) end
    r.error = ARGV[a + 4]
    push(changes, KEYS[2 + i], r)
    if counted and r.attempts >= nattempts then
      push(dead, int(now), keys[i])
      died[#died + 1] = keys[i]
      push(out, 'D', r.attempts)
    else
      push(queue, int(now + backoff) .. (begun and not counted and '.5' or ''), keys[i])
      push(out, 'Q', r.attempts)
    end
  end
end
save(changes)
zadd(DEAD, nil, dead)
zadd(DIRTY, 'XX', queue)
zrem(DIRTY, died)
return out
`,
);

const OUTCOMES = { Q: "queued", D: "dead", S: "stale", U: "unsupported" } as const;

/** One request, 6 billable commands (2 more where some of the keys die); outcomes in the order of `failures`. */
export async function fail(
  index: Index,
  failures: Failure[],
  options: { token: string; nattempts: number },
  call?: CallOptions,
): Promise<FailOutcome[]> {
  const { dirty, dead, record } = index.keys;
  return await inRequests(failures, ({ key }) => keyBytes(key), index.scripts.requestLimit, async (batch) => {
    const reply = await index.scripts.run(
      FAIL,
      [dirty, dead, ...batch.map((f) => record(f.key))],
      [
        options.token,
        options.nattempts,
        ...batch.flatMap((f) => [
          f.key,
          Math.round(f.backoffMs),
          f.counted ? 1 : 0,
          f.begun ? 1 : 0,
          errorText(f.code, f.message),
        ]),
      ],
      call,
    ) as (string | number)[];
    return batch.map((_, i) => ({
      outcome: OUTCOMES[reply[2 * i] as keyof typeof OUTCOMES],
      attempts: Number(reply[2 * i + 1]),
    }));
  });
}
