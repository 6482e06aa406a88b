/**
 * Schedules of stores that keep some values in Redis: small ones, and a key that the policy names. First the calls and
 * faults of any schedule, with values of sizes around the limit; the oracle refuses each eviction by a tick that the
 * policy forbids. Then, without faults, what must go on: no value that stays is among the idle ones, and none that may
 * leave stays.
 * @module
 */
import { HOUR_US } from "../../support/times.ts";
import type { Choices } from "./choices.ts";
import { act } from "./liveness.ts";
import { Violation } from "./oracle.ts";
import {
  complete,
  drain,
  drainOnce,
  lookAtAll,
  makeBench,
  makeSandbox,
  type Mode,
  type Outcome,
  PACK_BYTES,
  pass,
  play,
  playOut,
  type Sandbox,
  START_US,
  type Subject,
} from "./simulation.ts";
import { command, dirty, ensure, evict } from "./workload.ts";

const LEAST_BYTES = 2048;
/** A payload takes 13 bytes besides such a value. */
const LEAST_LENGTH = LEAST_BYTES - 13;
/** Lengths of values: some that stay; the least that may leave, which in KB is no more than one that stays; more. */
const LENGTHS = [10, LEAST_LENGTH, LEAST_LENGTH - 1, 1_500, 2_500];
const IDLE = "tundra:default:idle";
const MODES: readonly Mode[] = ["network", "network", "crashes", "outages", "time"];
const KEPT = "kept";
/** The keys, and the lengths of their values at the end. */
const AT_THE_END: Record<string, number> = {
  small: LEAST_LENGTH - 1,
  least: LEAST_LENGTH,
  large: 2_500,
  [KEPT]: 2_500,
};
const LEAVE = ["large", "least"];

/** Plays one; the same choices, the same schedule. */
export async function runPolicy(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const mode = choices.pick(MODES);
  const box = makeSandbox(subject, choices, Object.keys(AT_THE_END), START_US, log);
  box.packBytes = choices.pick(PACK_BYTES);
  box.policy = { minEvictBytes: LEAST_BYTES, evictable: (key) => key !== KEPT };
  box.oracle.policy.leastBytes = (key) => key === KEPT ? Infinity : LEAST_BYTES;
  const { fresh } = box;
  box.fresh = () => fresh().padEnd(choices.pick(LENGTHS), "x");
  log?.push(`mode ${mode}`);
  const played = await playOut(box, async () => {
    await play(box, mode, () => atTheEnd(box, fresh));
    await lookAtAll(box, true);
  });
  return { mode, ...played };
}

async function atTheEnd(box: Sandbox, fresh: () => string): Promise<void> {
  await act(box, "writer", async (bench) => {
    const values = Object.fromEntries(box.keys.map((key) => [key, fresh().padEnd(AT_THE_END[key]!, "x")]));
    await ensure(bench, box.keys); // so they are among the idle ones
    await command(bench, box.keys, () => bench.store.redis.mset(values));
    await dirty(bench, box.keys, { overwrite: true });
  });
  await drain(box, "network", []);
  isIdle(box, "archived", LEAVE);
  pass(box, 3 * HOUR_US);
  await act(box, "reader", (bench) => ensure(bench, box.keys));
  isIdle(box, "used", LEAVE);
  pass(box, 8 * HOUR_US);
  await drainOnce(box, "too early", HOUR_US);
  isThere(box, box.keys);
  for (let i = 0; i < 3; i++) await drainOnce(box, `later${i}`, 11 * HOUR_US);
  isThere(box, ["small", KEPT]);

  // what came back may be looked at once
  const bench = makeBench(box, "by hand");
  await complete(box, bench, evict(bench, box.keys));
  isThere(box, []);
  await complete(box, bench, ensure(bench, box.keys));
  pass(box, HOUR_US);
  for (let i = 0; i < 3; i++) await drainOnce(box, `again${i}`, 11 * HOUR_US);
  isThere(box, ["small", KEPT]);
  isIdle(box, "looked at", []);
}

function isIdle({ redis }: Sandbox, what: string, expected: readonly string[]): void {
  const idle = [...redis.members(IDLE).keys()].sort();
  if (idle.join() !== expected.join()) {
    throw new Violation("what stays is not looked at", `${what}: ${idle || "none"}, not ${expected}`);
  }
}

function isThere({ keys, redis }: Sandbox, expected: readonly string[]): void {
  const there = keys.filter((key) => redis.peek(key));
  if (there.join() !== expected.join()) {
    throw new Violation("7 idle keys leave Redis, others stay", `${there || "none"}, not ${expected}`);
  }
}
