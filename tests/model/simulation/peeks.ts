/**
 * Schedules in which one key is peeked at while it is archived, evicted and written anew, again and again.
 * @module
 */
import type { Choices } from "./choices.ts";
import { peekAt } from "./histories.ts";
import {
  drainOnce,
  makeBench,
  makeSandbox,
  type Outcome,
  PACK_BYTES,
  playOut,
  recover,
  runAll,
  runningProcess,
  START_US,
  type Subject,
} from "./simulation.ts";
import { command, dirty, evict, type Operation, type SimulatedBench, tick } from "./workload.ts";

const KEY = "k0";
const MINUTE_US = 60_000_000;

/** Plays one; the same choices, the same schedule. */
export async function runPeeks(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const mode = "network";
  const box = makeSandbox(subject, choices, [KEY], START_US, log);
  box.packBytes = choices.pick(PACK_BYTES);
  const played = await playOut(box, async () => {
    await drainOnce(box, "first", MINUTE_US); // the index has its id
    box.world.pace = { reorder: 500, timers: 0, late: 0 };
    const plans: Operation[][] = [[rewrite, rewrite, rewrite], Array<Operation>(8).fill((bench) => peekAt(box, bench))];
    await runAll(box, plans.map((plan, i) => runningProcess(makeBench(box, `p${i}`), plan)), () => {});
    await recover(box, mode);
  });
  return { mode, ...played };
}

/** Writes the key over what was evicted, and archives and evicts that. */
async function rewrite(bench: SimulatedBench): Promise<void> {
  await command(bench, [KEY], () => bench.store.redis.set(KEY, bench.fresh()));
  await dirty(bench, [KEY], { overwrite: true });
  await tick(bench, {});
  await evict(bench, [KEY]);
}
