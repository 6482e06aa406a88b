/**
 * Schedules in which versions are listed, restored and peeked at, beside applications and ticks: keys with a history of
 * values, removals and expiries come first, then faults, and at the end the simulation's own last look at every key.
 * @module
 */
import { versionMicros } from "../../../src/base/keys.ts";
import type { TundraError } from "../../../mod.ts";
import { HOUR_US } from "../../support/times.ts";
import type { Choices } from "./choices.ts";
import { kill } from "./network.ts";
import { versionsOf } from "./objects.ts";
import { type SimulatedOp, Violation } from "./oracle.ts";
import {
  complete,
  drainOnce,
  makeAdversary,
  makeBench,
  makeSandbox,
  type Outcome,
  PACK_BYTES,
  pass,
  playOut,
  recover,
  runAll,
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
  evict,
  type Operation,
  type SimulatedBench,
  tick,
  tickOperation,
} from "./workload.ts";

const KEYS = ["k0", "k1", "k2"];
/** A name that restored values are given. */
export const OTHER = "other";
const MODES = ["network", "crashes", "network", "time", "full", "broken scripts", "rollback", "all"] as const;
const MINUTE_US = 60_000_000;

/** Plays one; the same choices, the same schedule. */
export async function runHistories(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const mode = choices.pick(MODES);
  const keys = [...KEYS.slice(0, 1 + choices.int(3)), OTHER];
  const box = makeSandbox(subject, choices, keys, START_US, log);
  box.retries = choices.pick([1, 0, 2]);
  box.packBytes = choices.pick(PACK_BYTES);
  log?.push(`mode ${mode}, keys ${keys}`);
  const played = await playOut(box, async () => {
    await drainOnce(box, "first", MINUTE_US); // the index has its id
    for (let i = choices.pick([3, 2, 4]); i > 0; i--) await live(box);
    await disturb(box, mode);
    await recover(box, mode);
    pass(box, 2 * MINUTE_US);
    const left = box.redis.keys().filter((name) => name.includes(":tmp:"));
    if (left.length > 0) throw new Violation("temporary keys go", left.join());
  });
  return { mode, ...played };
}

/** A change of keys in which nothing fails, and a tick. */
async function live(box: Sandbox): Promise<void> {
  const { choices } = box.world;
  const bench = makeBench(box, "writer", box.network, { packBytes: choices.pick(PACK_BYTES) });
  const written = choices.chance(600) ? KEYS.filter((key) => box.keys.includes(key)) : ["k0"];
  if (choices.chance(150)) await complete(box, bench, del(bench, written[0]!));
  else {
    const values = Object.fromEntries(written.map((key) => [key, bench.fresh()]));
    await complete(box, bench, command(bench, written, () => bench.store.redis.mset(values)));
    if (choices.chance(250)) {
      const at = Math.floor(box.world.redisUs() / 1000) + choices.pick([1, 5, 60]) * 3_600_000;
      await complete(box, bench, command(bench, written, () => bench.store.redis.pexpireat(written[0]!, at)));
    }
    await complete(box, bench, dirty(bench, written, { overwrite: true }));
  }
  await complete(box, bench, tick(bench, {}));
  if (choices.chance(400)) await complete(box, bench, evict(bench, written));
  kill(bench.process, box.oracle);
  pass(box, choices.pick([MINUTE_US, HOUR_US, 3 * HOUR_US, 30 * HOUR_US]));
}

/** Applications, restorations and ticks at once, with faults. */
async function disturb(box: Sandbox, mode: typeof MODES[number]): Promise<void> {
  const { world, network, oracle } = box;
  const { choices } = world;
  const { faults } = network;
  world.pace = {
    reorder: choices.pick([300, 0, 700]),
    timers: choices.pick([0, 0, 10, 60]),
    late: choices.pick([20, 0, 100]),
  };
  faults.left = choices.pick([2, 0, 1, 4]);
  faults.redis = choices.pick([30, 100, 250]);
  faults.store = choices.pick([30, 0, 100]);
  if (mode === "broken scripts") oracle.leniency.brokenScripts = box.breaking = true;
  const processes = [
    ...plans(choices.pick([2, 1, 3]), () => operations(choices, () => operationOf(box))),
    ...plans(choices.pick([1, 2]), () => operations(choices, () => tickOperation(choices))),
  ].map((plan, i) => runningProcess(makeBench(box, `p${i}`, network, { packBytes: choices.pick(PACK_BYTES) }), plan));
  await runAll(box, processes, makeAdversary(box, mode, processes));
}

function plans(n: number, make: () => Operation[]): Operation[][] {
  return Array.from({ length: n }, make);
}

function operations(choices: Choices, make: () => Operation): Operation[] {
  return plans(choices.pick([3, 2, 5]), () => [make()]).flat();
}

function operationOf(box: Sandbox): Operation {
  const { choices } = box.world;
  const own: [number, Operation][] = [
    [4, (bench) => restore(box, bench)],
    [2, (bench) => restoreAsOf(box, bench)],
    [3, (bench) => peekAt(box, bench)],
    [1, (bench) => list(box, bench)],
    [2, (bench) => tickAndEvict(bench)],
  ];
  const all = own.flatMap(([weight, operation]) => Array<Operation>(weight).fill(operation));
  return choices.chance(650) ? choices.pick(all) : applicationOperation(choices);
}

/** What was restored is archived and changed again: a copy of the restoration may come after that. */
async function tickAndEvict(bench: SimulatedBench): Promise<void> {
  await tick(bench, {});
  if (bench.choices.chance(500)) await evict(bench, bench.keys);
}

/** Restores one of the versions that the archive holds. */
export async function restore({ oracle, subject }: Sandbox, bench: SimulatedBench): Promise<void> {
  const { choices, store } = bench;
  const key = choices.pick(bench.keys);
  const all = versionsOf(oracle.archive, key).filter(({ state }) => state !== null);
  if (all.length === 0) return;
  const { ver } = choices.pick(all);
  const to = choices.chance(250) && key !== OTHER ? OTHER : undefined;
  const options = { to, expired: choices.chance(300) };
  const act = () => subject.restoreVersion(store, key, ver, options).catch(unlessGone);
  const unlessGone = (error: TundraError) => {
    if (error.code !== "NOT_FOUND" || versionsOf(oracle.archive, key).some((entry) => entry.ver === ver)) throw error;
    return undefined; // it was removed on purpose before, and deleted meanwhile
  };
  await call(bench, "restoreVersion", to === undefined ? [key] : [key, to], act, (op, report, error) => {
    checkRestored(bench, op, report, error);
    if (report && report.version !== ver) throw new Violation("restoreVersion() restores that version", report.version);
  });
}

/** Restores the version of a time. */
export async function restoreAsOf({ oracle, subject }: Sandbox, bench: SimulatedBench): Promise<void> {
  const { choices, store, world } = bench;
  const key = choices.pick(bench.keys);
  const all = versionsOf(oracle.archive, key);
  if (all.length === 0) return;
  const us = versionMicros(choices.pick(all).ver) + choices.pick([0, 1_000, MINUTE_US]);
  const at = new Date(Math.floor(Math.min(us, world.redisUs()) / 1000));
  const isBefore = (ver: string) => versionMicros(ver) <= 1000 * at.getTime() + 999;
  const newest = () => {
    const before = versionsOf(oracle.archive, key).filter(({ ver }) => isBefore(ver));
    const lastUs = Math.max(0, ...before.map(({ ver }) => versionMicros(ver)));
    return before.filter(({ ver }) => versionMicros(ver) === lastUs).map(({ ver }) => ver);
  };
  const earlier = newest();
  let listed: string[] | undefined;
  bench.process.onListing = (prefix) => {
    if (prefix === `default/${key}/`) listed ??= newest(); // a later listing is one that knows more
  };
  // a version that was deleted on purpose is still told of by the one after it: none of before is that time's
  const isTold = () => oracle.everHeld(key).some((ver) => isBefore(ver) && newest().every((other) => other < ver));
  const act = () =>
    subject.restoreVersion(store, key, at, { expired: choices.chance(500) }).catch((error: TundraError) => {
      const isThere = newest().length > 0 && newest().join() === earlier.join() && !isTold();
      if (error.code !== "NOT_FOUND" || isThere) throw error;
      return undefined;
    });
  await call(bench, "restoreVersion", [key], act, (op, report, error) => {
    delete bench.process.onListing;
    checkRestored(bench, op, report, error);
    if (report && ![...earlier, ...listed ?? [], ...newest()].includes(report.version)) {
      const detail = `${key} at ${at.getTime()} was ${earlier} or ${newest()}, restored is ${report.version}`;
      throw new Violation("restoreVersion() takes the version of that time", detail);
    }
  });
}

/** Checks that a restoration did what its answer says. */
export function checkRestored(
  { oracle }: Pick<SimulatedBench, "oracle">,
  op: SimulatedOp,
  report: unknown,
  error: TundraError | undefined,
): void {
  if (oracle.leniency.rolledBack) return;
  if (report && op.restored === undefined) {
    throw new Violation("1 restoreVersion() resolved means restored", op.keys.join());
  }
  // a script that died in its middle may have left the value without its record
  if (error?.code === "CONFLICT" && op.restored !== undefined && !oracle.leniency.brokenScripts) {
    throw new Violation("a restoration that is refused has changed nothing", `${op.keys}: ${error.message}`);
  }
  const { rev, error: note } = oracle.record(op.keys.at(-1)!);
  if (error?.message.endsWith("may have been restored") && op.restored === rev && note.startsWith("RESTORED ")) {
    throw new Violation("a repeated restoration knows its own effect", `${op.keys}: ${note}`);
  }
}

/** Reads a key, evicted or not. */
export async function peekAt({ oracle, subject }: Sandbox, bench: SimulatedBench): Promise<void> {
  const { choices, store } = bench;
  const key = choices.pick(bench.keys);
  let shown: string | null | undefined;
  const act = async () => {
    shown = await subject.peek(store, key, (redis, name) => redis.get<string>(name));
    return shown ?? "nothing"; // undefined: absent; null: it expired while it was read
  };
  await call(bench, "peek", [key], act, (op, found) => {
    if (found === undefined || oracle.leniency.rolledBack) return;
    if (!op.outcomes!.has(found)) {
      throw new Violation(
        "8 peek() shows what the key is",
        `${key}: ${found}, and it was ${[...op.outcomes!].join(" or ")}`,
      );
    }
  });
}

/** Lists the versions of a key. */
export async function list({ oracle, subject }: Sandbox, bench: SimulatedBench): Promise<void> {
  const key = bench.choices.pick(bench.keys);
  const held = () => new Set(versionsOf(oracle.archive, key).map(({ ver }) => ver));
  const before = held();
  await call(bench, "versions", [key], () => subject.versions(bench.store, key), (_op, all) => {
    if (!all) return;
    const listed = new Set(all.map(({ version }) => version));
    const after = held();
    const missed = [...before].filter((ver) => after.has(ver) && !listed.has(ver));
    if (missed.length > 0 || listed.size !== all.length) {
      throw new Violation("versions() lists what the archive holds", `${key}: ${missed} of ${[...before]}`);
    }
  });
}
