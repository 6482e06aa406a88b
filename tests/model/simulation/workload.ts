/**
 * Calls of applications and cron triggers, and the answers that each may give.
 * @module
 */
import type { TickReport, TundraError, TundraStore } from "../../../mod.ts";
import type { Choices } from "./choices.ts";
import { type Process, REFUSED } from "./network.ts";
import { type Oracle, SAW, type SimulatedOp, Violation } from "./oracle.ts";
import type { SimulatedWorld } from "./scheduler.ts";

/** The means of an operation. */
export interface SimulatedBench {
  world: SimulatedWorld;
  oracle: Oracle;
  choices: Choices;
  keys: readonly string[];
  store: TundraStore;
  process: Process;
  /** A value that nobody has written yet. */
  fresh(): string;
}

/** Something that an application or a cron trigger does. */
export type Operation = (bench: SimulatedBench) => Promise<void>;

/** Codes that no simulated fault explains. */
const ALARMING = new Set(["CORRUPT", "UNSUPPORTED", "TOO_LARGE", "BAD_ARGUMENT", "NOT_FOUND"]);

/**
 * Tells if an error is a sign of a bug. The archive's refusal of one object, as the faults have it, explains itself; so
 * does a write that is too large together with others or with its mark, and a value for which a tick has too few requests.
 */
function isAlarming({ leniency }: OracleView, { code, message }: { code: string; message: string }): boolean {
  const stays = leniency.smallRequests && code === "TOO_LARGE" &&
    (message.includes("maxSubrequests") || /^Cannot run (MSET|[A-Z]+, EVAL) as the request/.test(message));
  const isRefused = message === REFUSED || / keys?: /.test(message) && message.endsWith(`: ${REFUSED}`);
  return ALARMING.has(code) && !isRefused && !stays;
}

/** Makes a call and checks its answer; `undefined`: it failed, as it may. */
export async function call<T>(
  bench: SimulatedBench,
  kind: string,
  keys: readonly string[],
  act: () => Promise<T>,
  check?: (op: SimulatedOp, value: T | undefined, error: TundraError | undefined) => void,
): Promise<T | undefined> {
  const { oracle, process, world } = bench;
  const op = oracle.begin(kind, keys);
  process.ops.add(op);
  world.note(() => `${process.name} calls ${kind}(${keys})`);
  try {
    const value = await act();
    oracle.end(op, true);
    world.note(() => `${process.name}: ${kind}(${keys}) is done: ${JSON.stringify(value) ?? ""}`);
    check?.(op, value, undefined);
    return value;
  } catch (thrown) {
    if (thrown instanceof Violation) throw thrown;
    oracle.end(op, false);
    const error = thrown as TundraError;
    world.note(() => `${process.name}: ${kind}(${keys}) failed: ${error}`);
    checkError(oracle, kind, error);
    check?.(op, undefined, error);
    return undefined;
  } finally {
    process.ops.delete(op);
  }
}

/** The evidence that an answer is checked by. */
export type OracleView = Pick<Oracle, "leniency" | "markedSince" | "hasOrphan">;

/** Checks that something explains this error. */
export function checkError(oracle: OracleView, kind: string, error: TundraError): void {
  const name: string = error.name;
  if (name === "UpstashError" && (kind === "command" || kind.startsWith("transparent"))) return;
  if (name !== "TundraError") throw new Violation("errors are TundraErrors", `${kind}: ${error.stack}`);
  for (const each of [error, ...Object.values(error.causes)] as TundraError[]) {
    const { lostIndex, lostObjects, rolledBack, severalIndexes } = oracle.leniency;
    const lost = each.code === "LOST" && !lostIndex && !lostObjects && !rolledBack && !severalIndexes;
    // a command and its mark, or several with theirs, may be too large together
    const tooLarge = each.code === "TOO_LARGE" && oracle.leniency.smallRequests && kind.startsWith("transparent");
    if (lost || (isAlarming(oracle, each) && !tooLarge)) {
      throw new Violation(`no ${each.code} without a cause`, `${kind}: ${each.message}`);
    }
  }
}

/** A command of the application; `false`: it failed. */
export async function command(
  bench: SimulatedBench,
  keys: readonly string[],
  act: () => Promise<unknown>,
): Promise<boolean> {
  let failed = false;
  await call(bench, "command", keys, act, (_op, _value, error) => failed = error !== undefined);
  return !failed;
}

/** True if the key looked like this at some moment of the call. */
function saw(op: SimulatedOp, key: string, bits: number): boolean {
  return (op.saw.get(key)! & bits) !== 0;
}

/** Checks that the keys of a dirty() explain its answer. */
export function checkDirty(
  oracle: OracleView,
  op: SimulatedOp,
  options: { missing?: "throw" | "del" },
  error: TundraError | undefined,
): void {
  if (oracle.leniency.rolledBack) return;
  const removal = options.missing === "del";
  for (const key of op.keys) {
    const why = error?.causes[key] as TundraError | undefined;
    const bits = op.saw.get(key)!;
    const marked = oracle.markedSince(key, op.startedAt);
    if (error === undefined) {
      const fine = marked || (bits & (removal ? SAW.missing : SAW.evicted)) !== 0;
      if (!fine) throw new Violation("1 dirty() acknowledged means marked", `${key}, seen as ${bits}`);
    }
    const explained = why?.code === "MISSING"
      ? (bits & (SAW.missing | SAW.evicted)) !== 0
      : why?.code === "CONFLICT"
      ? (bits & (SAW.blind | (removal ? SAW.evicted : 0))) !== 0
      : true;
    if (!explained) throw new Violation(`${why!.code} for a reason`, `${key}, seen as ${bits}`);
  }
}

/** Checks that the keys of an ensureKs() explain its answer. */
export function checkEnsure(oracle: OracleView, op: SimulatedOp, error: TundraError | undefined): void {
  if (oracle.leniency.rolledBack) return;
  for (const key of op.keys) {
    const bits = op.saw.get(key)!;
    if (error === undefined && (bits & (SAW.present | SAW.absent)) === 0) {
      throw new Violation("8 ensureKs() resolved means that the right value is there", `${key}, seen as ${bits}`);
    }
    const why = error?.causes[key] as TundraError | undefined;
    if (why?.code === "CONFLICT" && (bits & SAW.blind) === 0) {
      throw new Violation("CONFLICT for a reason", `${key}, seen as ${bits}`);
    }
  }
}

/** Checks that a del() that resolved has deleted. */
export function checkDel(oracle: OracleView, op: SimulatedOp, error: TundraError | undefined): void {
  for (const key of op.keys) {
    if (error === undefined && !saw(op, key, SAW.absent) && !oracle.leniency.rolledBack) {
      throw new Violation("4 del() resolved means deleted", key);
    }
  }
}

/** Checks that an evict() did what its report says. */
export function checkEvict(oracle: OracleView, op: SimulatedOp, evicted: readonly string[]): void {
  for (const key of evicted) {
    if (!saw(op, key, SAW.evicted) && !oracle.leniency.rolledBack) {
      throw new Violation("evict() says what it did", key);
    }
  }
}

/** Checks that something explains each error of a tick(). */
export function checkTick(oracle: OracleView, errors: TickReport["errors"]): void {
  const cause = errors.find((each) =>
    isAlarming(oracle, each) ||
    (each.code === "LOST" && !oracle.leniency.rolledBack && !oracle.leniency.severalIndexes &&
      !oracle.hasOrphan(each.key))
  );
  if (cause !== undefined) throw new Violation(`no ${cause.code} without a cause`, JSON.stringify(errors));
}

/** dirty(), and whether its answer is one that its keys explain. */
export async function dirty(
  bench: SimulatedBench,
  keys: readonly string[],
  options: { overwrite?: boolean; missing?: "throw" | "del" } = {},
  act: () => Promise<unknown> = () => bench.store.dirty(options, ...keys),
): Promise<void> {
  await call(bench, `dirty ${JSON.stringify(options)}`, keys, act, (op, _value, error) => {
    checkDirty(bench.oracle, op, options, error);
  });
}

/** ensureKs(). */
export async function ensure(bench: SimulatedBench, keys: readonly string[]): Promise<boolean> {
  let done = false;
  await call(bench, "ensureKs", keys, () => bench.store.ensureKs(...keys), (op, _value, error) => {
    done = error === undefined;
    if (!stale(bench)) checkEnsure(bench.oracle, op, error);
  });
  return done;
}

/** A replica may have answered: what a call saw may have been earlier. */
function stale(bench: SimulatedBench): boolean {
  return staleRuns.has(bench.world);
}

/** Worlds in which replicas answer. */
export const staleRuns = new WeakSet<SimulatedWorld>();

/** del(). */
export async function del(bench: SimulatedBench, key: string): Promise<void> {
  await call(bench, "del", [key], () => bench.store.del(key), (op, _value, error) => {
    checkDel(bench.oracle, op, error);
  });
}

/** evict(). */
export async function evict(bench: SimulatedBench, keys: readonly string[]): Promise<void> {
  await call(bench, "evict", keys, () => bench.store.evict(...keys), (op, report) => {
    checkEvict(bench.oracle, op, report?.evicted ?? []);
  });
}

/** tick(), with all kinds of options. */
export async function tick(bench: SimulatedBench, options: Parameters<TundraStore["tick"]>[0]): Promise<void> {
  await call(bench, "tick", [], () => bench.store.tick(options), (_op, report) => {
    checkTick(bench.oracle, report?.errors ?? []);
  });
}

const one = (bench: SimulatedBench): string => bench.choices.pick(bench.keys);
const some = ({ keys, choices }: SimulatedBench): readonly string[] =>
  choices.chance(300) ? [choices.pick(keys)] : keys;
const redisMs = ({ world }: SimulatedBench): number => Math.floor(world.redisUs() / 1000);

/** Application operations, the dullest first. */
export const OPERATIONS: [name: string, weight: number, operation: Operation][] = [
  ["read", 3, async (bench) => {
    await ensure(bench, some(bench));
  }],
  ["write", 4, async (bench) => {
    const key = one(bench);
    if (await command(bench, [key], () => bench.store.redis.set(key, bench.fresh()))) await dirty(bench, [key]);
  }],
  ["change", 5, async (bench) => {
    const key = one(bench);
    if (!await ensure(bench, [key])) return;
    if (await command(bench, [key], () => bench.store.redis.append(key, bench.fresh()))) await dirty(bench, [key]);
  }],
  ["replace", 2, async (bench) => {
    const key = one(bench);
    if (await command(bench, [key], () => bench.store.redis.set(key, bench.fresh()))) {
      await dirty(bench, [key], { overwrite: true });
    }
  }],
  // they share a pack
  ["replace all", 5, async (bench) => {
    const { keys } = bench;
    const values = Object.fromEntries(keys.map((key) => [key, bench.fresh()]));
    if (await command(bench, keys, () => bench.store.redis.mset(values))) await dirty(bench, keys, { overwrite: true });
  }],
  ["blind change", 2, async (bench) => {
    const key = one(bench);
    if (await command(bench, [key], () => bench.store.redis.append(key, bench.fresh()))) await dirty(bench, [key]);
  }],
  ["forget to mark", 2, async (bench) => {
    const key = one(bench);
    await ensure(bench, [key]);
    await command(bench, [key], () => bench.store.redis.append(key, bench.fresh()));
  }],
  ["delete", 3, async (bench) => {
    await del(bench, one(bench));
  }],
  ["delete behind its back", 1, async (bench) => {
    const key = one(bench);
    await command(bench, [key], () => bench.store.redis.del(key));
  }],
  ["take", 2, async (bench) => {
    const key = one(bench);
    if (bench.choices.chance(700) && !await ensure(bench, [key])) return;
    if (await command(bench, [key], () => bench.store.redis.getdel(key))) await dirty(bench, [key], { missing: "del" });
  }],
  ["expire", 2, async (bench) => {
    const key = one(bench);
    const at = redisMs(bench) + bench.choices.pick([2 * 3_600_000, 1_500, 40 * 3_600_000]);
    if (!await ensure(bench, [key])) return;
    if (!await command(bench, [key], () => bench.store.redis.pexpireat(key, at))) return;
    if (!bench.choices.chance(250)) await dirty(bench, [key]);
  }],
  ["persist", 1, async (bench) => {
    const key = one(bench);
    if (!await ensure(bench, [key])) return;
    if (await command(bench, [key], () => bench.store.redis.persist(key))) await dirty(bench, [key]);
  }],
  ["write and mark in one", 2, async (bench) => {
    const key = one(bench);
    const options = { overwrite: bench.choices.chance(500) };
    const transaction = bench.store.redis.multi();
    transaction.set(key, bench.fresh());
    bench.store.dirtyIn(transaction, options, key);
    await dirty(bench, [key], options, () => transaction.exec());
  }],
  ["take and mark in one", 1, async (bench) => {
    const key = one(bench);
    const pipeline = bench.store.redis.pipeline();
    pipeline.getdel(key);
    bench.store.dirtyIn(pipeline, { missing: "del" }, key);
    await dirty(bench, [key], { missing: "del" }, () => pipeline.exec());
  }],
  // long enough for a copy of an early request to meet what came much later
  ["a whole life", 4, async (bench) => {
    const key = one(bench);
    if (bench.choices.chance(600)) {
      await tick(bench, {});
      await evict(bench, [key]);
    }
    if (!await command(bench, [key], () => bench.store.redis.set(key, bench.fresh()))) return;
    await dirty(bench, [key], { overwrite: true });
    await tick(bench, {});
    await evict(bench, [key]);
    if (bench.choices.chance(250)) await ensure(bench, [key]);
    await command(bench, [key], () => bench.store.redis.append(key, bench.fresh()));
  }],
  ["delete and begin anew", 5, async (bench) => {
    const key = one(bench);
    const { redis } = bench.store;
    for (let round = 0; round < 2; round++) {
      if (!bench.choices.chance(300)) await command(bench, [key], () => redis.set(key, bench.fresh()));
      await del(bench, key);
    }
    const written = await command(bench, [key], () => redis.set(key, bench.fresh()));
    if (written && bench.choices.chance(300)) await dirty(bench, [key]);
  }],
  ["mark", 2, (bench) => dirty(bench, some(bench))],
  ["evict", 4, (bench) => evict(bench, some(bench))],
  ["retry the dead", 1, async (bench) => {
    await call(bench, "retryDead", bench.keys, () => bench.store.retryDead(...bench.keys));
  }],
];

const BY_WEIGHT = OPERATIONS.flatMap(([, weight, operation]) => Array<Operation>(weight).fill(operation));

/** An application's next operation. */
export function applicationOperation(choices: Choices): Operation {
  return choices.pick(BY_WEIGHT);
}

/** A cron trigger's next tick. */
export function tickOperation(choices: Choices): Operation {
  const options = {
    leaseMs: choices.pick([60_000, 1_000, 10_000]),
    batchKeys: choices.pick([100, 100, 2, 1]),
    maxKeys: choices.pick([1000, 1000, 1]),
    nthreads: choices.pick([6, 1]),
    deadlineMs: choices.pick([20_000, 20_000, 1]),
    ...(choices.chance(200) ? { maxSubrequests: 12 + choices.int(8) } : {}),
    ...(choices.chance(500) ? { retryBackoffMs: 0 } : {}),
  };
  const aborted = choices.chance(80);
  return async (bench) => {
    if (!aborted) return await tick(bench, options);
    const controller = new AbortController();
    bench.world.late.push({ run: () => controller.abort(new Error("no more time")) });
    await tick(bench, { ...options, signal: controller.signal });
  };
}
