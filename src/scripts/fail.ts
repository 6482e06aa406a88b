/**
 * fail: keys that a tick could not archive go back into the queue, or die.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { errorText, type Index, PRELUDE } from "./prelude.ts";

/** One failure. */
export interface Failure {
  key: string;
  code: string;
  message: string;
  /**
   * `own`: the key's own fault, counts an attempt. `passing`: the store's, counts none. `odd`: the store's by its code,
   * but others fared well meanwhile: counts none until that has happened in {@linkcode MAX_ODD} ticks in a row.
   */
  fault: "own" | "passing" | "odd";
  /** Begun alone: its attempt is counted already. */
  begun: boolean;
  /** It comes alone from now on, as suspects do: it spoils what it shares a request with. */
  alone: boolean;
  /** Due again after this long. */
  backoffMs: number;
}

/**
 * So often in a row the store's trouble may meet one key while others fare well; from then on each time is an attempt.
 */
export const MAX_ODD = 10;

/** The outcome of one key. */
export interface FailOutcome {
  outcome: "queued" | "dead" | "stale" | "unsupported";
  attempts: number;
}

/**
 * A key that could not be archived waits for its next attempt; one that had all its attempts is dead: resident, never
 * evicted.
 *
 *     KEYS  dirty, dead, n records
 *     ARGV  token, leaseMs, nattempts, most odd ones, then for each key: key, backoffMs, fault (own passing odd),
 *           begun (0 1), alone (0 1), error
 *     OUT   for each key: code, attempts. Q queued   D dead   S stale, nothing changed
 *             U record of another version: queued
 *     INV   3: only with the latest token, so a repeat does nothing. The token before a begin is one too: its reply may
 *           not have come
 *           7: an outage of the store counts no attempt
 *
 * - A suspect about which nothing was learned stays one: its score keeps the .5.
 * - How often in a row a key was the odd one stands before its error: "UNAVAILABLE (4 in a row) ...". What passes
 *   leaves it as it is.
 */
const FAIL = defineScript(
  "fail",
  ["allow-oom"],
  `
${PRELUDE}
local DIRTY, DEAD = KEYS[1], KEYS[2]
local n = #KEYS - 2
local token, nattempts, most_odd = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local soon = again(token, tonumber(ARGV[2]))
local keys = {}
for i = 1, n do keys[i] = ARGV[6 * i - 1] end
local scores = redis.call('ZMSCORE', DIRTY, unpack(keys))
local texts = redis.call('MGET', unpack(KEYS, 3, 2 + n))
local out, changes, queue, dead, died = {}, {}, {}, {}, {}

local function one(i, r, begun)
  local a = 6 * i - 1
  local backoff, fault, alone, error = tonumber(ARGV[a + 1]), ARGV[a + 2], ARGV[a + 4] == '1', ARGV[a + 5]
  local odd = tonumber(string.match(r.error, '^%S+ %((%d+) in a row%) ') or '0')
  if fault == 'odd' then odd = odd + 1 end
  local counted = fault == 'own' or (fault == 'odd' and odd >= most_odd)
  if fault ~= 'own' and odd > 0 then
    local code, message = string.match(error, '^(%S+) (.*)$')
    error = code .. ' (' .. int(odd) .. ' in a row) ' .. message
  end
  if counted and not begun then r.attempts = r.attempts + 1 end
  if begun and not counted then r.attempts = math.max(0, r.attempts - 1) end
  r.error = error
  push(changes, KEYS[2 + i], r)
  if counted and r.attempts >= nattempts then
    push(dead, int(now), keys[i])
    died[#died + 1] = keys[i]
    push(out, 'D', r.attempts)
  else
    push(queue, int(math.max(soon, now + backoff)) .. ((alone or (begun and not counted)) and '.5' or ''), keys[i])
    push(out, 'Q', r.attempts)
  end
end

for i = 1, n do
  local r = parse(texts[i])
  local score = scores[i] and tonumber(scores[i])
  local unheard = r and r.before == ARGV[1] and score == tonumber(r.after)
  if not score or not (score == token or unheard) then
    push(out, 'S', 0)
  elseif not r then
    push(queue, int(now + HOUR_MS), keys[i])
    push(out, 'U', 0)
  else
    one(i, r, unheard or ARGV[6 * i + 2] == '1')
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

/** One request, 6 billable commands (2 more if some of the keys die); outcomes in the order of `failures`. */
export async function fail(
  index: Index,
  failures: Failure[],
  options: { token: string; leaseMs: number; nattempts: number },
  call?: CallOptions,
): Promise<FailOutcome[]> {
  const { dirty, dead, record } = index.keys;
  return await inRequests(failures, ({ key }) => keyBytes(key), index.scripts.requestLimit, async (batch) => {
    const reply = await index.scripts.run(
      FAIL,
      [dirty, dead, ...batch.map((f) => record(f.key))],
      [
        options.token,
        options.leaseMs,
        options.nattempts,
        MAX_ODD,
        ...batch.flatMap((f) => [
          f.key,
          Math.round(f.backoffMs),
          f.fault,
          f.begun ? 1 : 0,
          f.alone ? 1 : 0,
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
