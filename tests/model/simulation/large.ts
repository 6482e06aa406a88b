/**
 * Schedules of large values: requests may have 32,768 bytes, and most values take more, so that they are staged, archived
 * in segments, and brought back in pieces, under the faults of any schedule. In the end each of them comes back, twice,
 * and no temporary key is left.
 * @module
 */
import { HOUR_US } from "../../support/times.ts";
import type { Choices } from "./choices.ts";
import { Violation } from "./oracle.ts";
import {
  complete,
  drainOnce,
  makeBench,
  makeSandbox,
  type Mode,
  type Outcome,
  PACK_BYTES,
  pass,
  play,
  playOut,
  playSmallRequests,
  type Sandbox,
  START_US,
  type Subject,
} from "./simulation.ts";
import { command, dirty, evict } from "./workload.ts";

const MODES: readonly Mode[] = [
  "network",
  "network",
  "crashes",
  "outages",
  "time",
  "broken scripts",
  "full",
  "killer",
  "stale",
  "rollback",
  "flushed scripts",
];
const KEYS = ["one", "two", "three"];
/** Lengths of values: a request carries the shortest only; of the others a few pieces. */
const LENGTHS = [32_000, 17_000, 10, 24_000];

/** Plays one; the same choices, the same schedule. */
export async function runLarge(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const mode = choices.pick(MODES);
  const box = makeSandbox(subject, choices, KEYS.slice(0, 1 + choices.int(KEYS.length)), START_US, log);
  box.packBytes = choices.pick(PACK_BYTES);
  playSmallRequests(box, LENGTHS);
  log?.push(`mode ${mode}, keys ${box.keys}`);
  const played = await playOut(box, async () => {
    await begin(box);
    await play(box, mode);
    pass(box, HOUR_US);
    noneIsLeft(box);
  });
  return { mode, ...played };
}

/** Each key has a large value: evicted, or changed since. */
async function begin(box: Sandbox): Promise<void> {
  const bench = makeBench(box, "first");
  const change = async (keys: readonly string[]) => {
    for (const key of keys) {
      const value = box.fresh().padEnd(LENGTHS[0]!, "x");
      await complete(box, bench, command(bench, [key], () => bench.store.redis.set(key, value)));
      await complete(box, bench, dirty(bench, [key]));
    }
  };
  await change(box.keys);
  await drainOnce(box, "first tick", 1_000_000);
  const [first, ...others] = box.keys;
  await complete(box, bench, evict(bench, [first!, ...others.slice(1)]));
  await change(others.slice(0, 1));
}

function noneIsLeft({ redis }: Sandbox): void {
  const left = redis.keys().filter((name) => name.includes(":tmp:"));
  if (left.length > 0) throw new Violation("temporary keys go", left.join());
}
