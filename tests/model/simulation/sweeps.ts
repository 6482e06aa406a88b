/**
 * Schedules of weeks: keys change, expire and are removed while sweeps delete and move, beside ticks and applications,
 * over listings that lag, with processes that die or are frozen for days, and a Redis that goes back by less than 48
 * hours. Each ends with the simulation's own last look at every key, and with sweeps until nothing is left to do.
 * @module
 */
import { versionMicros } from "../../../src/base/keys.ts";
import type { SweepReport } from "../../../src/operations/mod.ts";
import { HOUR_US } from "../../support/times.ts";
import type { Choices } from "./choices.ts";
import { kill, type Network } from "./network.ts";
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
  runningProcess,
  type Sandbox,
  START_US,
  type Subject,
} from "./simulation.ts";
import {
  applicationOperation,
  call,
  command,
  del,
  dirty,
  type Operation,
  type SimulatedBench,
  tick,
  tickOperation,
} from "./workload.ts";

const KEYS = ["k0", "k1", "k2", "k3"];
const DAY_US = 24 * HOUR_US;
/** Redis goes back by less than this. */
const SAFE_US = 47 * HOUR_US;
const MODES = ["network", "crashes", "rollback", "listing", "network", "all"] as const;
type Mode = typeof MODES[number];

/** Plays one; the same choices, the same schedule. */
export async function runSweeps(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const mode = choices.pick(MODES);
  const box = makeSandbox(subject, choices, KEYS.slice(0, 2 + choices.int(3)), START_US, log);
  box.retries = choices.pick([0, 1]);
  box.packBytes = choices.pick(PACK_BYTES);
  const sweeps = { keepUs: choices.pick([7, 0, 1]) * DAY_US, keepOrphansUs: choices.pick([30, 2, 4]) * DAY_US };
  box.oracle.leniency.sweeps = sweeps;
  log?.push(`mode ${mode}, keeps ${sweeps.keepUs / DAY_US} and ${sweeps.keepOrphansUs / DAY_US} days`);
  const played = await playOut(box, async () => {
    await drainOnce(box, "first", HOUR_US); // the index has its id
    for (let week = choices.pick([2, 1, 3]); week > 0; week--) {
      await live(box);
      await disturb(box, mode);
    }
    await settle(box);
  });
  return { mode, ...played };
}

/** Some days in which nothing fails: keys are written, removed, expire, and are archived. */
export async function live(box: Sandbox): Promise<void> {
  const { world, keys } = box;
  const { choices } = world;
  const bench = makeBench(box, "app", box.network, { packBytes: choices.pick(PACK_BYTES) });
  for (let day = choices.pick([3, 2, 5]); day > 0; day--) {
    const written = choices.chance(600) ? [...keys] : [choices.pick(keys)];
    await complete(box, bench, change(bench, written));
    await complete(box, bench, tick(bench, {}));
    if (choices.chance(300)) await complete(box, bench, bench.store.evict(...keys));
    pass(box, choices.pick([30, 3, 50, 9 * 24, 32 * 24]) * HOUR_US);
  }
}

async function change(bench: SimulatedBench, keys: readonly string[]): Promise<void> {
  const { choices, store } = bench;
  if (choices.chance(250)) {
    for (const key of keys.slice(0, 1 + choices.int(keys.length))) await del(bench, key);
    return;
  }
  const values = Object.fromEntries(keys.map((key) => [key, bench.fresh()]));
  if (!await command(bench, keys, () => store.redis.mset(values))) return;
  if (choices.chance(150)) {
    const at = Math.floor(bench.world.redisUs() / 1000) + choices.pick([40, 5, 90]) * 3_600_000;
    await command(bench, keys, () => store.redis.pexpireat(keys[0]!, at));
  }
  await dirty(bench, keys, { overwrite: true });
}

/** Sweeps, ticks and applications at once, with faults. */
async function disturb(box: Sandbox, mode: Mode): Promise<void> {
  const { world, network } = box;
  const { choices } = world;
  const { faults } = network;
  world.pace = { reorder: choices.pick([300, 0, 700]), timers: choices.pick([0, 0, 10]), late: choices.pick([0, 20]) };
  faults.left = choices.pick([0, 1, 2, 4]);
  faults.redis = faults.store = choices.pick([30, 100]);
  const archive = mode === "listing" || mode === "all" ? laggingListings(box) : network;
  const processes = [
    ...some(
      choices.pick([1, 2]),
      (i) => process(box, `sweep${i}`, archive, [sweepOperation(box), sweepOperation(box)]),
    ),
    ...some(
      choices.pick([1, 0, 2]),
      (i) => process(box, `tick${i}`, network, [tickOperation(choices), tickOperation(choices)]),
    ),
    ...some(choices.pick([1, 0, 2]), (i) => process(box, `app${i}`, network, [applicationOperation(choices)])),
    ...some(
      box.subject.encrypted ? choices.pick([1, 0, 2]) : 0,
      (i) => process(box, `rotate${i}`, archive, [rotateOperation(box), rotateOperation(box)], "next"),
    ),
  ];
  await runAll(box, processes, adversary(box, mode, processes));
  for (const { bench } of processes) kill(bench.process, box.oracle);
  Object.assign(faults, { left: 0 });
  world.pace = { reorder: 0, timers: 0, late: 0 };
  while (world.ready.length > 0) await world.step();
  for (const happening of world.late.splice(0)) happening.run();
}

/** So many of them. */
export function some<T>(n: number, make: (i: number) => T): T[] {
  return Array.from({ length: n }, (_, i) => make(i));
}

/** A process that does one thing after another. */
export function process(
  box: Sandbox,
  name: string,
  archive: Pick<Network, "datastoreFor">,
  plan: Operation[],
  current = box.subject.encrypted ? box.world.choices.pick(["main", "next"]) : "main",
): Running {
  const bench = makeBench(box, name, archive, { packBytes: box.world.choices.pick(PACK_BYTES), current });
  return runningProcess(bench, plan);
}

/** A sweep, in one call or in several of few requests. */
export function sweepOperation(box: Sandbox): Operation {
  const { choices } = box.world;
  const options = {
    ...(choices.chance(300) ? { maxSubrequests: 20 + choices.int(20) } : {}),
    ...(choices.chance(150) ? { maxKeys: 1 + choices.int(4) } : {}),
    ...(choices.chance(80) ? { dryRun: true } : {}),
  };
  return (bench) => sweepOnce(box, bench, options).then(() => {});
}

/** A rotation, in one call or in several of few requests. */
export function rotateOperation(box: Sandbox): Operation {
  const { choices } = box.world;
  const options = {
    ...(choices.chance(300) ? { maxSubrequests: 30 + choices.int(20) } : {}),
    ...(choices.chance(150) ? { maxObjects: 1 + choices.int(4) } : {}),
    ...(choices.chance(80) ? { dryRun: true } : {}),
  };
  return (bench) => rotateOnce(box, bench, options).then(() => {});
}

/** One call of a rotation; the number of versions that it moved, and if it was the last one. */
async function rotateOnce(
  box: Sandbox,
  bench: SimulatedBench,
  options: { maxSubrequests?: number; dryRun?: boolean; maxObjects?: number } = {},
): Promise<{ moved: number; done: boolean } | undefined> {
  const deadlineMs = 12 * 3_600_000;
  const report = await call(bench, "rotate", [], () => box.subject.rotate(bench.store, { deadlineMs, ...options }));
  for (const { code, message } of report?.errors ?? []) {
    if (code !== "UNAVAILABLE") throw new Violation(`no ${code} without a cause`, `rotate: ${message}`);
  }
  return report;
}

/** Rotates to the end: an interrupted one, what came since it began, and once more, when nothing is left to move. */
async function rotateToEnd(box: Sandbox): Promise<void> {
  const bench = makeBench(box, "rotator", box.network, { current: "next" });
  for (let [calls, ends] = [0, 0]; ends < 3; calls++) {
    if (calls === 50) throw new Violation("7 a rotation ends", "it did not in 50 calls");
    await complete(
      box,
      bench,
      rotateOnce(box, bench).then((report) => {
        if (ends === 2 && report?.moved) throw new Violation("a rotation moves once", `${report.moved} more versions`);
        if (report?.done) ends++;
      }),
    );
  }
  kill(bench.process, box.oracle);
}

/** One call of a sweep. */
export async function sweepOnce(
  box: Sandbox,
  bench: SimulatedBench,
  options: { maxSubrequests?: number; dryRun?: boolean; maxKeys?: number } = {},
): Promise<SweepReport | undefined> {
  const { keepUs, keepOrphansUs } = box.oracle.leniency.sweeps!;
  const limits = { keepMs: keepUs / 1000, keepOrphansMs: keepOrphansUs / 1000, deadlineMs: 12 * 3_600_000 };
  const report = await call(bench, "sweep", [], () => box.subject.sweep(bench.store, { ...limits, ...options }));
  for (const { code, message } of report?.errors ?? []) {
    if (code !== "UNAVAILABLE") throw new Violation(`no ${code} without a cause`, `sweep: ${message}`);
  }
  return report;
}

/** Listings that miss what was put lately, and show what was deleted lately. */
function laggingListings({ network, oracle, world }: Sandbox): Pick<Network, "datastoreFor"> {
  let before = [...oracle.archive.keys()];
  return {
    datastoreFor(process) {
      const inner = network.datastoreFor(process) as Required<ReturnType<Network["datastoreFor"]>>;
      return {
        ...inner,
        async listKeys(prefix, cursor, options) {
          const { names } = await inner.listKeys(prefix, cursor, options);
          const then = before.filter((name) => name.startsWith(prefix));
          before = [...oracle.archive.keys()];
          if (prefix.includes("~owner") || !world.choices.chance(400)) return { names };
          world.note(() => `${process.name} is shown an earlier listing of ${prefix}`);
          return { names: world.choices.chance(500) ? then.sort() : [...new Set([...names, ...then])].sort() };
        },
      };
    },
  };
}

function adversary(box: Sandbox, mode: Mode, processes: Running[]): () => void {
  const { world, oracle, redis } = box;
  const { choices } = world;
  const acts: (() => void)[] = [
    () => {
      const us = choices.pick([3, 13, 26, 50, 5 * 24, 31 * 24]) * HOUR_US;
      world.note(() => `${us / HOUR_US} hours pass: who is under way was frozen`);
      pass(box, us);
    },
  ];
  if (mode === "crashes" || mode === "all") {
    acts.push(() => {
      const victim = choices.pick(processes);
      if (victim.bench.process.dead) return;
      world.note(() => `${victim.bench.process.name} dies`);
      kill(victim.bench.process, oracle);
    });
  }
  if (mode === "rollback" || mode === "all") {
    let point = { atUs: world.nowUs, redis: redis.save(), truths: oracle.truths() };
    acts.push(() => {
      oracle.look();
      point = { atUs: world.nowUs, redis: redis.save(), truths: oracle.truths() };
    });
    acts.push(() => {
      if (world.nowUs - point.atUs > SAFE_US) return;
      world.note(() => "Redis goes back to an earlier state");
      oracle.rollBack(point.redis, point.truths);
    });
  }
  const rate = choices.pick([15, 5, 40]);
  let left = choices.pick([1, 2, 4]);
  return () => {
    if (left <= 0 || !choices.chance(rate)) return;
    left--;
    choices.pick(acts)();
  };
}

/** Faults have stopped: the queue drains, every key is right, and sweeps leave only what is needed. */
async function settle(box: Sandbox): Promise<void> {
  const { oracle, world } = box;
  const { keepUs, keepOrphansUs } = oracle.leniency.sweeps!;
  const { rolledBack } = oracle.leniency;
  world.note(() => "---- the faults have stopped");
  const mode = rolledBack ? "rollback" : "crashes";
  await drain(box, mode, []);
  if (box.subject.encrypted) await rotateToEnd(box);
  await lookAtAll(box, false);
  const enough = Math.max(keepUs, keepOrphansUs) + 50 * HOUR_US;
  const rounds = [50 * HOUR_US, keepUs + 50 * HOUR_US];
  for (let round = 0, changed = true; changed || round <= rounds.length; round++) {
    if (round === 20) throw new Violation("7 sweeps come to an end", "there is always something to delete or to move");
    pass(box, rounds[round] ?? enough);
    await drainOnce(box, "later", HOUR_US);
    await drain(box, mode, []);
    changed = await sweepToEnd(box);
  }
  await lookAtAll(box, true);
  if (!rolledBack) onlyNeededIsLeft(box);
}

/** Tells if the sweep has changed anything. */
async function sweepToEnd(box: Sandbox): Promise<boolean> {
  const bench = makeBench(box, "sweeper");
  let [done, changed] = [false, false];
  for (let calls = 0; !done; calls++) {
    if (calls === 50) throw new Violation("7 a sweep ends", "it did not in 50 calls");
    await complete(
      box,
      bench,
      sweepOnce(box, bench).then((report) => {
        done = report?.done ?? false;
        changed ||= (report?.deleted ?? 0) + (report?.moved ?? 0) > 0;
      }),
    );
  }
  kill(bench.process, box.oracle);
  return changed;
}

/** Objects of keys' own are named or are tombstones that something needs; packs are half full of such. */
function onlyNeededIsLeft({ oracle, keys, world }: Sandbox): void {
  const youngUs = world.redisUs() - oracle.leniency.sweeps!.keepOrphansUs;
  for (const [name, { entries }] of oracle.archive) {
    const needed = entries.filter(({ key, ver, word, state }) =>
      !keys.includes(key) || oracle.record(key).ver === word ||
      (state === null && versionMicros(name.slice(name.lastIndexOf("/") + 1)) > youngUs) ||
      // an older value would come to light: of a removed key, or of one that has expired
      ((state === null || oracle.record(key).ver === "") &&
        [...oracle.archive.values()].some((other) => other.entries.some((each) => each.key === key && each.ver < ver)))
    );
    if (entries.length > 0 && 2 * needed.length < entries.length) {
      throw new Violation("R6 nothing piles up", `${name}: ${entries.map(({ key, word }) => `${word} of ${key}`)}`);
    }
    for (const { key, ver, state } of entries) {
      if (state !== null && oracle.isRemoved(key, ver)) {
        throw new Violation("R5 b removed bytes leave the archive", `${ver} of ${key} in ${name}`);
      }
    }
  }
  if ([...oracle.archive.keys()].some((name) => name.includes("/~sweep/"))) {
    throw new Violation("a sweep cleans up", "its state is left");
  }
}
