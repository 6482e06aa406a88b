/**
 * Checks of scripts: their flags, and the commands in them that a server might answer otherwise than Redis does.
 * @module
 */
import { saidOf, saysUnsupported } from "../../upstash/said.ts";
import type { ScriptFlag } from "../../upstash/script.ts";
import { answerOf, expect, run, type ServerCheck, type ServerProbe } from "./server_probe.ts";

/** Flags without which Tundra works, and what it costs. */
function flag(name: ScriptFlag, without: string): (probe: ServerProbe) => Promise<string> {
  return async (probe) => {
    const answer = await answerOf(probe, "EVAL", `#!lua flags=${name}\nreturn 1`, 0);
    if (answer.error === undefined) return "scripts may have it";
    const said = saidOf(answer) ?? answer.error;
    expect(
      /flag|shebang|near '#'|unexpected|unknown|compil/i.test(said),
      `a script with this flag fails: ${answer.error}`,
    );
    return `it is refused (${answer.error}), and Tundra works without: ${without}`;
  };
}

async function readOnly(probe: ServerProbe): Promise<string> {
  const answer = await answerOf(probe, "EVAL_RO", "return 7", 0);
  if (answer.error === undefined) {
    expect(answer.result === 7, `EVAL_RO of "return 7" replies ${String(answer.result)}`);
    return "it is known";
  }
  expect(saysUnsupported(saidOf(answer) ?? ""), `EVAL_RO fails: ${answer.error}`);
  return "it is not known, and Tundra works without: reads of ensureKs() go to the primary";
}

async function bySha(probe: ServerProbe): Promise<string> {
  const answer = await answerOf(probe, "EVALSHA", "0".repeat(40), 0);
  const said = saidOf(answer) ?? "";
  const seen = answer.error ?? String(answer.result);
  expect(said.startsWith("NOSCRIPT"), `EVALSHA of a script that nobody has sent must say NOSCRIPT: it says ${seen}`);
  return "a script that is not known is NOSCRIPT, so its text is sent once";
}

/** A script that replies 1 if what it tries works. */
function works(source: string, names: string[], detail: string): (probe: ServerProbe) => Promise<string> {
  return async (probe) => {
    const reply = await run(probe, "run a script", source, names, [probe.ttlMs]);
    expect(reply === 1, `it replies otherwise than Redis 7 does (${String(reply)}): use Upstash, or Redis 7 or later`);
    return detail;
  };
}

const TIME_IN_SCRIPT = `
local clock = redis.call('TIME')
return #clock == 2 and tonumber(clock[1]) > 1500000000 and tonumber(clock[2]) < 1000000 and 1 or 0`;
const ZMSCORE = `
redis.call('ZADD', KEYS[1], '1700000000000.5', 'a')
redis.call('ZADD', KEYS[1], 'NX', '1', 'a', '2', 'b')
redis.call('ZADD', KEYS[1], 'XX', '3', 'b', '4', 'c')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local scores = redis.call('ZMSCORE', KEYS[1], 'a', 'b', 'c')
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '3', 'LIMIT', '0', '5')
return tonumber(scores[1]) == 1700000000000.5 and tonumber(scores[2]) == 3 and not scores[3] and #due == 1 and 1 or 0`;
const EXPIRIES = `
local clock = redis.call('TIME')
local at = string.format('%.0f', clock[1] * 1000 + ARGV[1])
redis.call('SET', KEYS[1], '1', 'PXAT', at)
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return redis.call('PEXPIRETIME', KEYS[1]) == tonumber(at) and redis.call('PTTL', KEYS[2]) > 0 and 1 or 0`;

/** All of them. */
export const SCRIPT_CHECKS: readonly ServerCheck[] = [
  {
    name: "redis: script flag allow-key-locking",
    try: flag("allow-key-locking", "on Upstash each script then locks the whole database"),
  },
  { name: "redis: script flag no-writes", try: flag("no-writes", "reads of ensureKs() go to the primary") },
  {
    name: "redis: script flag allow-oom",
    try: flag("allow-oom", "a full database may refuse the evictions that would empty it"),
  },
  { name: "redis: EVAL_RO", try: readOnly },
  { name: "redis: EVALSHA", try: bySha },
  { name: "redis: TIME in a script", try: works(TIME_IN_SCRIPT, [], "scripts read the clock") },
  {
    name: "redis: ZMSCORE in a script",
    try: works(ZMSCORE, ["zset scores"], "sorted sets keep exact scores, NX and XX"),
  },
  { name: "redis: expiries in a script", try: works(EXPIRIES, ["at", "in"], "PX, PXAT and PEXPIRETIME agree") },
];

/** Names of the keys that these checks may leave. */
export const SCRIPT_KEYS: readonly string[] = ["zset scores", "at", "in"];
