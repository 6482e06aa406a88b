/**
 * Schedules in which Redis is emptied, and processes rebuild the index of the archive alone: several at once, killed at
 * any moment, while applications and ticks go on, Redis is emptied again or goes back, and days pass. Nothing comes back
 * but the newest archived value, removed keys stay removed, and in the end all archived keys are there.
 * @module
 */
import { HOUR_US } from "../../support/times.ts";
import type { Choices } from "./choices.ts";
import { kill } from "./network.ts";
import { Violation } from "./oracle.ts";
import {
  complete,
  drain,
  drainOnce,
  lookAtAll,
  makeBench,
  makeSandbox,
  type Outcome,
  PACK_BYTES,
  pass,
  playOut,
  runAll,
  type Running,
  type Sandbox,
  START_US,
  type Subject,
} from "./simulation.ts";
import { live, process, some, sweepOnce } from "./sweeps.ts";
import {
  applicationOperation,
  call,
  del,
  type Operation,
  type SimulatedBench,
  tick,
  tickOperation,
} from "./workload.ts";

const ID = "tundra:default:id";
const KEYS = ["k0", "k1", "k2", "k3"];
const MODES = ["network", "time", "crashes", "emptied again", "rollback", "all"] as const;
type Mode = typeof MODES[number];

/** Plays one; the same choices, the same schedule. */
export async function runRebuilds(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const mode = choices.pick(MODES);
  const box = makeSandbox(subject, choices, KEYS.slice(0, 2 + choices.int(3)), START_US, log);
  box.retries = choices.pick([0, 1]);
  box.packBytes = choices.pick(PACK_BYTES);
  const { oracle, world } = box;
  oracle.leniency.sweeps = { keepUs: 7 * 24 * HOUR_US, keepOrphansUs: 30 * 24 * HOUR_US };
  watchId(box);
  log?.push(`mode ${mode}`);
  const played = await playOut(box, async () => {
    await drainOnce(box, "first", HOUR_US); // the index has its id
    for (let left = choices.pick([1, 2]); left > 0; left--) {
      await live(box);
      if (choices.chance(400)) await moveSome(box);
    }
    if (choices.chance(400)) await removeOne(box);
    world.note(() => "---- Redis is emptied");
    oracle.empty();
    await disturb(box, mode);
    await settle(box);
  });
  return { mode, ...played };
}

/** Tells the oracle at once when the index counts as rebuilt. */
export function watchId({ oracle, redis }: Sandbox): void {
  const { empty, rebuilt, rollBack, run } = oracle;
  let isLost = false;
  oracle.empty = () => {
    empty();
    isLost = true;
  };
  oracle.rebuilt = () => {
    isLost = false;
    rebuilt();
  };
  oracle.rollBack = (...args) => {
    rollBack(...args);
    oracle.leniency.rolledBack = false; // nothing that was acknowledged went
  };
  oracle.run = (command, ops) => {
    try {
      return run(command, ops);
    } finally {
      if (isLost && !(redis.peek(ID)?.value ?? "new:").startsWith("new:")) oracle.rebuilt();
    }
  };
}

/** A key is removed, and its tombstone is alone in its object: the walk meets it before older values in packs. */
async function removeOne(box: Sandbox): Promise<void> {
  const bench = makeBench(box, "remover");
  await complete(box, bench, del(bench, box.world.choices.pick(box.keys)));
  await complete(box, bench, tick(bench, {}));
}

/** Sweeps copy versions into other packs: then they lie in two. */
async function moveSome(box: Sandbox): Promise<void> {
  pass(box, box.world.choices.pick([10, 40]) * 24 * HOUR_US);
  const bench = makeBench(box, "sweeper");
  await complete(box, bench, sweepOnce(box, bench));
  kill(bench.process, box.oracle);
}

/** Rebuilds, ticks and applications at once, with faults. */
async function disturb(box: Sandbox, mode: Mode): Promise<void> {
  const { world, network } = box;
  const { choices } = world;
  const { faults } = network;
  world.pace = { reorder: choices.pick([300, 0, 700]), timers: choices.pick([0, 0, 10]), late: choices.pick([0, 50]) };
  faults.left = choices.pick([0, 1, 2, 4]);
  faults.redis = faults.store = choices.pick([30, 100]);
  const processes = [
    ...some(
      choices.pick([1, 2, 3]),
      (i) => process(box, `rebuild${i}`, network, [rebuildOperation(box), rebuildOperation(box)]),
    ),
    ...some(choices.pick([0, 1]), (i) => process(box, `tick${i}`, network, [tickOperation(choices)])),
    // what an application marks may be forgotten if Redis goes back
    ...some(
      mode === "rollback" || mode === "all" ? 0 : choices.pick([0, 1, 2]),
      (i) => process(box, `app${i}`, network, [applicationOperation(choices), applicationOperation(choices)]),
    ),
  ];
  await runAll(box, processes, adversary(box, mode, processes));
  for (const { bench } of processes) kill(bench.process, box.oracle);
  Object.assign(faults, { left: 0 });
  world.pace = { reorder: 0, timers: 0, late: 0 };
  while (world.ready.length > 0) await world.step();
  for (const happening of world.late.splice(0)) happening.run();
}

/** A rebuild, in one call or in several of few requests. */
export function rebuildOperation(box: Sandbox): Operation {
  const { choices } = box.world;
  const options = {
    ...(choices.chance(400) ? { maxSubrequests: 40 + choices.int(8) } : {}),
    ...(choices.chance(80) ? { dryRun: true } : {}),
  };
  return (bench) => rebuildOnce(box, bench, options).then(() => {});
}

/** One call of a rebuild; tells if it is done. */
export async function rebuildOnce(
  box: Sandbox,
  bench: SimulatedBench,
  options: { maxSubrequests?: number; dryRun?: boolean; takeOver?: boolean } = {},
): Promise<boolean> {
  const rebuild = () => box.subject.rebuild(bench.store, { deadlineMs: 12 * 3_600_000, ...options });
  const report = await call(bench, "rebuild", [], rebuild);
  for (const { key, code, message } of report?.errors ?? []) {
    throw new Violation(`no ${code} without a cause`, `rebuild of ${key}: ${message}`);
  }
  return report?.done === true;
}

function adversary(box: Sandbox, mode: Mode, processes: Running[]): () => void {
  const { world, oracle, redis } = box;
  const { choices } = world;
  const isLost = () => (redis.peek(ID)?.value ?? "new:").startsWith("new:");
  const acts: (() => void)[] = [];
  if (mode !== "rollback") {
    acts.push(() => {
      const us = choices.pick([1, 26, 6 * 24, 9 * 24]) * HOUR_US;
      world.note(() => `${us / HOUR_US} hours pass`);
      pass(box, us);
    });
  }
  if (mode === "crashes" || mode === "emptied again" || mode === "all") {
    acts.push(() => {
      const victim = choices.pick(processes);
      if (victim.bench.process.dead) return;
      world.note(() => `${victim.bench.process.name} dies`);
      kill(victim.bench.process, oracle);
    });
  }
  if (mode === "emptied again" || mode === "all") {
    acts.push(() => {
      if (!isLost()) return;
      world.note(() => "Redis is emptied again");
      oracle.empty();
    });
  }
  if (mode === "rollback" || mode === "all") {
    const now = () => ({ redis: redis.save(), truths: oracle.truths() });
    let point = now();
    acts.push(() => {
      if (isLost()) point = now();
    });
    acts.push(() => {
      if (!isLost()) return;
      world.note(() => "Redis goes back to an earlier state");
      oracle.rollBack(point.redis, point.truths);
    });
  }
  const rate = mode === "rollback" ? choices.pick([150, 40, 400]) : choices.pick([40, 15, 150]);
  let left = choices.pick(mode === "rollback" ? [8, 20] : [2, 4, 8]);
  return () => {
    if (left <= 0 || !choices.chance(rate)) return;
    left--;
    choices.pick(acts)();
  };
}

/** Rebuilds until it is done, with no faults. */
export async function rebuildToEnd(box: Sandbox): Promise<void> {
  const bench = makeBench(box, "last rebuild");
  let done = false;
  for (let calls = 1; !done; calls++) {
    if (calls > 10) throw new Violation("7 a rebuild ends", "it did not in 10 calls");
    await complete(box, bench, rebuildOnce(box, bench).then((is) => done = is));
  }
  kill(bench.process, box.oracle);
}

/** Rebuilds until it is done; then every key is right, and the queue drains. */
async function settle(box: Sandbox): Promise<void> {
  const { oracle, redis, world } = box;
  world.note(() => "---- the faults have stopped");
  await rebuildToEnd(box);
  const isUsed = [...oracle.archive.values()].some(({ entries }) => entries.length > 0);
  if (isUsed && (redis.peek(ID)?.value ?? "new:").startsWith("new:")) {
    throw new Violation("R10 a rebuild that is done has confirmed the id", String(redis.peek(ID)?.value));
  }
  oracle.leniency.lostIndex = false;
  await drain(box, "crashes", []);
  await lookAtAll(box, false);
  await lookAtAll(box, true);
}
