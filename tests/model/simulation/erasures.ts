/**
 * Schedules in which keys are erased, beside sweeps, rotations, other erasures, ticks and applications: over processes
 * that die and are frozen, and a Redis that is emptied and rebuilt meanwhile, beside sweeps again. Nothing else goes with
 * what is erased, nothing of it comes back, and what is proved to be gone is gone.
 * @module
 */
import { versionMicros } from "../../../src/base/keys.ts";
import type { EraseReport } from "../../../src/operations/mod.ts";
import { HOUR_US } from "../../support/times.ts";
import { scriptName, scriptOf } from "../redis/scripts.ts";
import type { Choices } from "./choices.ts";
import { kill, type Network, type Process } from "./network.ts";
import { versionsOf } from "./objects.ts";
import { type SimulatedOp, Violation } from "./oracle.ts";
import { rebuildOperation, rebuildToEnd, watchId } from "./rebuilds.ts";
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
import type { SimulatedWorld } from "./scheduler.ts";
import { live, process, rotateOperation, some, sweepOnce, sweepOperation } from "./sweeps.ts";
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
const MODES = ["network", "crashes", "time", "emptied", "network", "all"] as const;
type Mode = typeof MODES[number];
/** Operations that put copies of versions. */
const MOVERS = new Set(["sweep", "rotate", "erase"]);

/** What an erasure that is done has proved: up to these versions nothing of its keys is in the archive. */
interface Proof {
  op: SimulatedOp;
  /** When it began, by the oracle's time: whatever was put before has been seen. */
  since: number;
  upToUs: Map<string, number>;
}

/** What else is under way beside erasures, in a schedule of its own kind. */
export interface Company {
  /** Further keys, which are not erased. */
  keys: readonly string[];
  /** Objects of another queue in the same bucket. */
  objects: readonly string[];
  /** Processes with other operations. */
  processes(box: Sandbox, archive: Pick<Network, "datastoreFor">): Running[];
}

/** The erasures of a schedule. */
interface Erasures {
  chosen: readonly string[];
  company: Company | undefined;
  /** They are erased by a pattern, but at the end of all: else two of the same keys had two cursors. */
  isPattern: boolean;
  proofs: Proof[];
  /** The times at which operations have told the others, by the oracle's time. */
  told: Map<SimulatedOp, number>;
  /** The steps for which a process is paused still. */
  pausedFor: number;
  /** The last put of each object, and whether it came after its deletion. */
  puts: Map<string, { at: number; op: SimulatedOp | undefined; isLate: boolean }>;
}

/** Plays one; the same choices, the same schedule. */
export async function runErasures(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  return await playErasures(subject, choices, log);
}

/** Plays one; with company also by patterns, and in calls of few keys. */
export async function playErasures(
  subject: Subject,
  choices: Choices,
  log?: string[],
  company?: Company,
): Promise<Outcome> {
  const mode = choices.pick(MODES);
  const keys = [...KEYS.slice(0, 2 + choices.int(3)), ...company?.keys ?? []];
  const box = makeSandbox(subject, choices, keys, START_US, log);
  box.retries = choices.pick([0, 1]);
  box.packBytes = choices.pick(PACK_BYTES);
  box.oracle.leniency.sweeps = { keepUs: 7 * 24 * HOUR_US, keepOrphansUs: choices.pick([30, 4]) * 24 * HOUR_US };
  const own = keys.length - (company?.keys.length ?? 0);
  const erasures = watchErasures(box, keys.slice(0, 1 + choices.int(own - 1)), company);
  watchId(box);
  for (const name of company?.objects ?? []) box.oracle.archive.set(name, { bytes: new Uint8Array(8), entries: [] });
  log?.push(`mode ${mode}, erases ${erasures.chosen}${erasures.isPattern ? " by a pattern" : ""}`);
  const played = await playOut(box, async () => {
    if (choices.chance(100)) await eraseInNewStore(box, erasures);
    await drainOnce(box, "first", HOUR_US); // the index has its id
    for (let rounds = choices.pick([3, 2, 4]); rounds > 0; rounds--) {
      await live(box);
      // what was moved lies in packs that are younger than tombstones
      if (choices.chance(150)) await eraseToEnd(box, erasures, [box.keys.at(-1)!]);
      await disturb(box, erasures, mode, false);
    }
    if (mode === "emptied" || mode === "all") await loseAndRebuild(box, erasures, mode);
    await settle(box, erasures);
  });
  return { mode, ...played };
}

/** Notes what is put when and by which operation. */
function watchErasures({ oracle, redis, world }: Sandbox, chosen: readonly string[], company?: Company): Erasures {
  const isPattern = company !== undefined && world.choices.chance(300);
  const self: Erasures = {
    ...{ chosen, company, isPattern },
    ...{ proofs: [], told: new Map(), pausedFor: 0, puts: new Map() },
  };
  const dropped = new Set<string>();
  const { put, drop, run } = oracle;
  oracle.put = (name, bytes, ops) => {
    put(name, bytes, ops);
    self.puts.set(name, { at: oracle.time, op: ops[0], isLate: dropped.has(name) || (ops[0]?.endedAt ?? 0) > 0 });
  };
  oracle.drop = (names, ops) => {
    drop(names, ops);
    for (const name of names) dropped.add(name);
  };
  oracle.run = (command, ops) => {
    const source = scriptOf(command, redis);
    const reply = run(command, ops);
    if (source !== undefined && scriptName(source) === "note_erasure") {
      for (const op of ops) self.told.set(op, oracle.time);
    }
    return reply;
  };
  return self;
}

/** Erasures, and what else moves and writes, with faults; `isLost`: after Redis was emptied. */
async function disturb(box: Sandbox, erasures: Erasures, mode: Mode, isLost: boolean): Promise<void> {
  const { world } = box;
  const { choices } = world;
  const { faults } = box.network;
  const network = pausing(box, erasures);
  world.pace = { reorder: choices.pick([300, 0, 700]), timers: choices.pick([0, 0, 10]), late: choices.pick([0, 20]) };
  faults.left = choices.pick([0, 1, 2, 4]);
  faults.redis = faults.store = choices.pick([30, 100]);
  const twice = (make: () => Operation) => [make(), make()];
  const processes = [
    ...some(
      isLost ? choices.pick([0, 1]) : choices.pick([2, 1, 3]),
      (i) => process(box, `erase${i}`, network, twice(() => eraseOperation(box, erasures))),
    ),
    ...some(
      choices.pick([1, 0, 2]),
      (i) => process(box, `sweep${i}`, network, twice(() => sweepOperation(box))),
    ),
    ...some(
      isLost ? choices.pick([1, 2]) : 0,
      (i) => process(box, `rebuild${i}`, network, twice(() => rebuildOperation(box))),
    ),
    ...some(choices.pick([1, 0]), (i) => process(box, `tick${i}`, network, twice(() => tickOperation(choices)))),
    ...some(
      choices.pick([1, 0]),
      (i) => process(box, `app${i}`, network, twice(() => applicationStep(choices, erasures))),
    ),
    ...some(
      box.subject.encrypted ? choices.pick([1, 0]) : 0,
      (i) => process(box, `rotate${i}`, network, twice(() => rotateOperation(box)), "next"),
    ),
    ...erasures.company?.processes(box, network) ?? [],
  ];
  await runAll(box, processes, adversary(box, erasures, mode, processes));
  world.paused = undefined;
  for (const { bench } of processes) kill(bench.process, box.oracle);
  Object.assign(faults, { left: 0 });
  world.pace = { reorder: 0, timers: 0, late: 0 };
  while (world.ready.length > 0) await world.step();
  for (const happening of world.late.splice(0)) happening.run();
  for (const proof of erasures.proofs.splice(0)) checkProof(box, erasures, proof); // what is left may be moved later
}

/** Processes are paused once they have read packs, and before they delete some: what they go by may be erased meanwhile. */
function pausing({ network, world }: Sandbox, erasures: Erasures): Pick<Network, "datastoreFor"> {
  const { choices } = world;
  const rate = choices.pick([100, 0, 400]);
  return {
    datastoreFor(process) {
      const inner = network.datastoreFor(process) as Required<ReturnType<Network["datastoreFor"]>>;
      const perhaps = async (name: string | undefined) => {
        if (!name?.includes("/~packs/") || world.paused !== undefined || !choices.chance(rate)) return;
        pause(world, erasures, process);
        await world.turn(process);
      };
      return {
        ...inner,
        async fetchRanges(reads, ...rest) {
          const answers = await inner.fetchRanges(reads, ...rest);
          await perhaps(reads[0]?.name);
          return answers;
        },
        async deleteKeys(names, ...rest) {
          await perhaps(names[0]);
          await inner.deleteKeys(names, ...rest);
        },
      };
    },
  };
}

/** Its steps wait as long as there are others, for some steps. */
function pause(world: SimulatedWorld, erasures: Erasures, process: Process): void {
  erasures.pausedFor = world.choices.pick([300, 60, 900]);
  world.note(() => `${process.name} is paused for ${erasures.pausedFor} steps`);
  world.paused = process;
}

function adversary(box: Sandbox, erasures: Erasures, mode: Mode, processes: Running[]): () => void {
  const { world, oracle } = box;
  const { choices } = world;
  const alive = (act: (victim: Running) => void) => () => {
    const victim = choices.pick(processes);
    if (!victim.bench.process.dead && !victim.done) act(victim);
  };
  const acts: (() => void)[] = [
    alive(({ bench: { process } }) => pause(world, erasures, process)),
  ];
  if (mode === "time" || mode === "all") {
    acts.push(() => {
      const us = choices.pick([1, 13, 26, 5 * 24]) * HOUR_US;
      world.note(() => `${us / HOUR_US} hours pass: who is under way was frozen`);
      pass(box, us);
    });
  }
  if (mode !== "network" && mode !== "time") {
    acts.push(alive(({ bench: { process } }) => {
      world.note(() => `${process.name} dies`);
      kill(process, oracle);
    }));
  }
  const rate = choices.pick([15, 5, 40]);
  let left = choices.pick([2, 4, 8]);
  return () => {
    if (erasures.pausedFor > 0 && --erasures.pausedFor === 0) world.paused = undefined;
    if (left <= 0 || !choices.chance(rate)) return;
    left--;
    choices.pick(acts)();
  };
}

/** Redis is emptied in the middle of it all, and rebuilt: what was removed stays removed. */
async function loseAndRebuild(box: Sandbox, erasures: Erasures, mode: Mode): Promise<void> {
  const { oracle, world } = box;
  const removed = erasures.chosen.filter((key) => {
    const { rev, flag } = oracle.record(key);
    return oracle.held(key) === null && rev === 0 && flag === "g";
  });
  world.note(() => `---- Redis is emptied; removed: ${removed}`);
  oracle.empty();
  if (world.choices.chance(600)) await disturb(box, erasures, mode, true);
  await rebuildToEnd(box);
  oracle.leniency.lostIndex = false;
  for (const key of removed) {
    const { ver } = oracle.record(key);
    if (oracle.held(key) !== null || oracle.outcome(key) === null) continue;
    const holder = [...oracle.archive].find(([, { entries }]) =>
      entries.some((each) => each.key === key && each.word === ver)
    );
    if (holder && mayBeLeft(erasures, holder[0], 0)) continue;
    throw new Violation("4 what was removed stays removed", `${key} came back as ${ver}, in ${holder?.[0]}`);
  }
}

/** What an application does; often it writes a key anew, which is archived and removed again. */
function applicationStep(choices: Choices, { chosen }: Erasures): Operation {
  if (choices.chance(400)) return applicationOperation(choices);
  const key = choices.pick(chosen);
  return async (bench) => {
    if (await command(bench, [key], () => bench.store.redis.set(key, bench.fresh()))) {
      await dirty(bench, [key], { overwrite: true });
    }
    await tick(bench, {});
    if (choices.chance(700)) await del(bench, key);
    await tick(bench, {});
  };
}

/** An erasure of listed keys or by a pattern, in one call or in several of few requests or few keys. */
function eraseOperation(box: Sandbox, erasures: Erasures): Operation {
  const { choices } = box.world;
  const options = {
    ...(choices.chance(300) ? { maxSubrequests: 30 + choices.int(20) } : {}),
    ...(erasures.company && choices.chance(200) ? { maxKeys: 1 + choices.int(6) } : {}),
    ...(choices.chance(80) ? { dryRun: true } : {}),
  };
  const { chosen } = erasures;
  const keys = choices.chance(500) ? chosen : [choices.pick(chosen)];
  return async (bench) => {
    for (let calls = choices.pick([3, 1, 2]); calls > 0; calls--) {
      const report = await eraseOnce(box, bench, erasures, keys, options, erasures.isPattern);
      if (report?.done) return;
    }
  };
}

/** One call of an erasure; what it has proved is checked once nothing is under way. */
async function eraseOnce(
  box: Sandbox,
  bench: SimulatedBench,
  erasures: Erasures,
  keys: readonly string[],
  options: { maxSubrequests?: number; maxKeys?: number; dryRun?: boolean } = {},
  isPattern = false,
): Promise<EraseReport | undefined> {
  const { oracle, subject } = box;
  const upToUs = new Map(keys.map((key) => [key, oracle.removedUs(key)]));
  const which = isPattern ? { match: `k[${keys.map((key) => key.slice(1)).join("")}]` } : [...keys];
  const act = () => subject.erase(bench.store, which, { deadlineMs: 12 * 3_600_000, ...options });
  return await call(bench, "erase", keys, act, (op, report) => {
    for (const { code, message } of report?.errors ?? []) {
      if (code !== "UNAVAILABLE" && code !== "CONFLICT") throw new Violation(`no ${code} without a cause`, message);
    }
    if (!report?.done || options.dryRun) return;
    const earlier = [...erasures.told].filter(([{ keys: of }]) => of.join() === keys.join()).map(([, at]) => at);
    erasures.proofs.push({ op, since: erasures.told.get(op) ?? Math.max(0, ...earlier), upToUs });
  });
}

/** Nothing of what an erasure has proved to be gone is left, but what was under way in processes that died. */
function checkProof({ oracle }: Sandbox, erasures: Erasures, { op: by, since, upToUs }: Proof): void {
  for (const [key, us] of upToUs) {
    for (const [name, { entries }] of oracle.archive) {
      const left = entries.find((entry) => entry.key === key && versionMicros(entry.ver) <= us);
      const isOfAnothersTick = left?.state === null && erasures.puts.get(name)?.op !== by; // it purged the key meanwhile
      if (left && !isOfAnothersTick && !mayBeLeft(erasures, name, since)) {
        throw new Violation("4 what is proved to be erased is gone", `${left.word} of ${key} is in ${name}`);
      }
    }
  }
}

/**
 * Tells if an object may hold what was erased: it was put after the proof had begun, by a tick whose request came late,
 * by an operation that failed or died, or it is a late copy of a request.
 */
function mayBeLeft({ puts }: Erasures, name: string, since: number): boolean {
  const { at, op, isLate } = puts.get(name)!;
  if (isLate) return true;
  return at > since && (op === undefined || !MOVERS.has(op.kind) || !op.succeeded);
}

/**
 * Erases in a quiet world until it is done twice, as the first time may end an earlier erasure, whose proof was before
 * some late request: then nothing of the keys is left anywhere.
 */
async function eraseToEnd(box: Sandbox, erasures: Erasures, keys: readonly string[]): Promise<void> {
  const bench = makeBench(box, "eraser");
  let done = 0;
  for (let calls = 1; done < 2; calls++) {
    if (calls > 30) throw new Violation("7 an erasure ends", "it did not in 30 calls");
    await complete(box, bench, eraseOnce(box, bench, erasures, keys).then((report) => report?.done && done++));
    pass(box, 61_000_000);
  }
  kill(bench.process, box.oracle);
  for (const key of keys) {
    const left = versionsOf(box.oracle.archive, key).map(({ word }) => word);
    if (left.length > 0 || box.oracle.held(key) !== null) {
      throw new Violation(
        "4 an erasure leaves nothing",
        `${left} of ${key}, in Redis ${JSON.stringify(box.oracle.held(key))}`,
      );
    }
  }
}

/** A key that no tick has archived, in a store that has no id. */
async function eraseInNewStore(box: Sandbox, erasures: Erasures): Promise<void> {
  const bench = makeBench(box, "newcomer");
  const [key] = erasures.chosen;
  await complete(box, bench, command(bench, [key!], () => bench.store.redis.set(key!, bench.fresh())));
  await eraseToEnd(box, erasures, erasures.chosen);
}

/** Faults have stopped: the keys are erased, every other one is right, also after sweeps, and after a rebuild. */
async function settle(box: Sandbox, erasures: Erasures): Promise<void> {
  const { oracle, world } = box;
  world.note(() => "---- the faults have stopped");
  await drain(box, "crashes", []);
  await eraseToEnd(box, erasures, erasures.chosen);
  await lookAtAll(box, false);
  const bench = makeBench(box, "sweeper");
  for (let round = 0; round < 3; round++) {
    pass(box, 9 * 24 * HOUR_US);
    await complete(box, bench, sweepOnce(box, bench));
  }
  kill(bench.process, oracle);
  await lookAtAll(box, true);
}
