/**
 * Schedules of all operations at once: erasures with their sweeps, rotations and rebuilds, beside restored, listed and
 * read versions, verifications that repair, keys that are adopted and values that are brought back ahead of need.
 * @module
 */
import { HOUR_US } from "../../support/times.ts";
import type { Choices } from "./choices.ts";
import { playErasures } from "./erasures.ts";
import { list, OTHER, peekAt, restore, restoreAsOf } from "./histories.ts";
import { type Outcome, type Sandbox, START_US, type Subject } from "./simulation.ts";
import { process, some } from "./sweeps.ts";
import { call, evict, type Operation, type SimulatedBench, tick } from "./workload.ts";

/** A version of long ago. */
const VERSION = `${START_US - 90 * 24 * HOUR_US}-0000000a`;
const HALF_A_DAY_MS = 12 * 3_600_000;

/** Plays one; the same choices, the same schedule. */
export async function runTogether(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  return await playErasures(subject, choices, log, {
    keys: [OTHER],
    objects: [`default2/k0/${VERSION}`, `default2/~packs/${VERSION}`],
    processes: (box, archive) =>
      some(choices.pick([2, 1, 3]), (i) => process(box, `other${i}`, archive, some(3, () => operationOf(box)))),
  });
}

function operationOf(box: Sandbox): Operation {
  return box.world.choices.pick<Operation>([
    (bench) => peekAt(box, bench),
    (bench) => restore(box, bench),
    (bench) => restoreAsOf(box, bench),
    (bench) => list(box, bench),
    (bench) => verify(box, bench),
    (bench) => adopt(box, bench),
    (bench) => warm(box, bench),
    (bench) => tickAndEvict(bench),
  ]);
}

/** Bounds of one call. */
function bounds({ choices }: SimulatedBench): { deadlineMs: number; maxKeys?: number; maxSubrequests?: number } {
  return {
    deadlineMs: HALF_A_DAY_MS,
    ...(choices.chance(300) ? { maxKeys: 1 + choices.int(4) } : {}),
    ...(choices.chance(300) ? { maxSubrequests: 20 + choices.int(20) } : {}),
  };
}

/** Checks what the archive holds, and has damaged keys that are in Redis archived again. */
async function verify({ subject }: Sandbox, bench: SimulatedBench): Promise<void> {
  const options = { ...bounds(bench), repair: bench.choices.chance(500) };
  await call(bench, "verify", bench.keys, () => subject.verify(bench.store, options));
}

/** Marks keys in Redis that have no record. */
async function adopt({ subject }: Sandbox, bench: SimulatedBench): Promise<void> {
  const options = { ...bounds(bench), dryRun: bench.choices.chance(200) };
  await call(bench, "adopt", bench.keys, () => subject.adopt(bench.store, options));
}

/** Brings evicted keys back. */
async function warm({ subject }: Sandbox, bench: SimulatedBench): Promise<void> {
  await call(bench, "warm", bench.keys, () => subject.warm(bench.store, [...bench.keys], bounds(bench)));
}

async function tickAndEvict(bench: SimulatedBench): Promise<void> {
  await tick(bench, {});
  await evict(bench, bench.keys);
}
