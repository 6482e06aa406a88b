/**
 * Checks of the server as such: its clock, transactions, limits, and whether it removes keys by itself. And all checks
 * of a server, each of which works on keys of its own, with a TTL: nothing of it touches an index.
 * @module
 */
import { wallClockMs } from "../../base/platform.ts";
import type { RedisCommand } from "../../upstash/connection.ts";
import { SCRIPT_BYTES } from "../../upstash/requests.ts";
import { results } from "../../upstash/script.ts";
import { proveSize } from "../prove_size.ts";
import { scan, SCAN_START } from "../scan.ts";
import { SCRIPT_CHECKS, SCRIPT_KEYS } from "./scripts.ts";
import { answerOf, ask, expect, Refuted, type ServerCheck, type ServerProbe } from "./server_probe.ts";
import { VALUE_CHECKS, VALUE_KEYS } from "./values.ts";

/** Clocks may differ by so much: signatures of S3 allow for 15 minutes. */
const CLOCK_MS = 5 * 60 * 1000;
async function clock(probe: ServerProbe): Promise<string> {
  const from = wallClockMs();
  const [seconds, micros] = await ask(probe, "read the time", "TIME") as [string, string];
  const here = (from + wallClockMs()) / 2;
  const ahead = Math.round(1000 * Number(seconds) + Number(micros) / 1000 - here);
  const seen = `Redis' clock is ${Math.abs(ahead)} ms ${ahead < 0 ? "behind" : "ahead of"} this machine's`;
  expect(
    Number.isFinite(ahead),
    `TIME replies ${String(seconds)} ${String(micros)}: it must reply seconds and microseconds`,
  );
  expect(Math.abs(ahead) <= CLOCK_MS, `${seen}: set the clock that is wrong; S3 refuses signatures of a wrong one`);
  return seen;
}

async function transaction(probe: ServerProbe): Promise<string> {
  const name = probe.key("transaction");
  const commands: RedisCommand[] = [
    ["SET", name, "1", "PX", probe.ttlMs],
    ["MGET", name, probe.key("missing")],
    ["PEXPIRETIME", name],
    ["DUMP", name],
  ];
  const [, values, expires, dump] = results("run a transaction", await probe.connection.multi(commands, probe.call));
  const holds = Array.isArray(values) && values[0] === "1" && values[1] === null && Number(expires) > 0 &&
    typeof dump === "string";
  expect(holds, `a transaction of MGET, PEXPIRETIME and DUMP replies ${JSON.stringify([values, expires])}`);
  return "MGET, PEXPIRETIME and DUMP in one transaction give one view";
}

async function eviction(probe: ServerProbe): Promise<string> {
  const answer = await answerOf(probe, "INFO");
  const off =
    "see that Eviction is off in the database's settings (Upstash), and maxmemory-policy noeviction elsewhere";
  if (answer.error !== undefined) return `INFO is refused (${answer.error}): ${off}`;
  const info = String(answer.result);
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
  if (policy === undefined) return `INFO does not say if Redis removes keys by itself: ${off}`;
  const limit = /^maxmemory:(\d+)/m.exec(info)?.[1];
  const means =
    "it takes changes before they are archived, and records, without which archived keys are absent; switch it off";
  expect(policy === "noeviction" || limit === "0", `maxmemory-policy is ${policy}: ${means} (noeviction)`);
  return policy === "noeviction"
    ? "maxmemory-policy is noeviction"
    : `maxmemory-policy is ${policy}, but no limit is set`;
}

async function requestLimit(probe: ServerProbe): Promise<string> {
  const { call, connection } = probe;
  const wanted = connection.requestLimit();
  const set = (most: number) =>
    `set redis.maxRequestBytes to ${most}, in every process, so that no value is evicted that could not come back`;
  try {
    await proveSize(probe, Math.max(1, wanted - SCRIPT_BYTES), call);
  } catch (thrown) {
    if (connection.requestLimit() >= wanted) throw thrown;
    await proveSize(probe, Math.max(1, connection.requestLimit() - SCRIPT_BYTES), call).catch(() => {});
    throw new Refuted(`a request of ${wanted} bytes is refused: ${set(connection.requestLimit())}`);
  }
  return `a request of ${wanted} bytes is taken`;
}

async function scanning(probe: ServerProbe): Promise<string> {
  const { call, connection } = probe;
  const { cursor } = await scan(connection, "scan keys", SCAN_START, { match: `${probe.key("bytes")}*` }, call);
  expect(typeof cursor === "string", "SCAN replies no cursor");
  return "SCAN goes step by step";
}

async function memoryUsage(probe: ServerProbe): Promise<string> {
  const answer = await answerOf(probe, "MEMORY", "USAGE", probe.key("bytes"));
  if (answer.error === undefined) return "it is known";
  return `it is refused (${answer.error}): adopt() with minBytes and advise() need it, nothing else does`;
}

/** All checks of a server; they may be tried in any order. */
export const SERVER_CHECKS: readonly ServerCheck[] = [
  { name: "redis: clock", try: clock },
  ...VALUE_CHECKS,
  ...SCRIPT_CHECKS,
  { name: "redis: MULTI", try: transaction },
  { name: "redis: nothing removes keys by itself", try: eviction },
  { name: "redis: size of a request", try: requestLimit },
  { name: "redis: SCAN", try: scanning },
  { name: "redis: MEMORY USAGE", try: memoryUsage },
];

/** Removes the keys of a probe. One command. */
export async function removeProbeKeys(probe: ServerProbe): Promise<void> {
  const names = [...VALUE_KEYS, ...SCRIPT_KEYS, "transaction"].map(probe.key);
  results("remove the probe's keys", [await probe.connection.command(["UNLINK", ...names], probe.call)]);
}
