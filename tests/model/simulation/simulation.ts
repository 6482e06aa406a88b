/**
 * One schedule: processes, faults and their end, everything decided by the choices.
 * @module
 */
// loaded at once: a schedule goes on with what is under way, and no module is
import process from "node:process";
import "../../../src/archive/large.ts";
import "../../../src/core/large.ts";
import "../../../src/core/put_large.ts";
import "../../../src/core/restore_large.ts";
import "../../../src/datastores/guarded_parts.ts";
import "../../../src/tick/freeze_large.ts";
import "../../../src/tick/markers.ts";
import { type Freezer, notFound, TundraError, tundraStore } from "../../../mod.ts";
import { versionMicros } from "../../../src/base/keys.ts";
import { aesGcmFreezer, rotate } from "../../../src/encryption/mod.ts";
import { type Platform, setPlatform } from "../../../src/base/platform.ts";
import {
  adopt,
  erase,
  moveIndex,
  peek,
  rebuild,
  restoreVersion,
  sweep,
  verify,
  versions,
  warm,
} from "../../../src/operations/mod.ts";
import { loadLostRecords } from "../../../src/tick/hourly.ts";
import { transparentRedis } from "../../../src/transparent/mod.ts";
import { HOUR_MS, HOUR_US } from "../../support/times.ts";
import { bundled } from "./bundle.ts";
import { type ModelRedis, modelRedis, type RedisState, ScriptKilled } from "../redis/redis.ts";
import { loadedScripts } from "../redis/scripts.ts";
import { type Choices, replayedChoices } from "./choices.ts";
import { type ErrorMaker, kill, makeNetwork, type Network, type Process } from "./network.ts";
import { answerAtOnce, simulatedKey, tenantOf } from "./encryption.ts";
import { holderOf, versionsOf } from "./objects.ts";
import { makeOracle, type Oracle, type OracleState, sameState, Violation } from "./oracle.ts";
import { DRAWN_BEFORE, makeSimulatedWorld, type SimulatedWorld } from "./scheduler.ts";
import {
  applicationOperation,
  call,
  command,
  dirty,
  ensure,
  evict,
  type Operation,
  type SimulatedBench,
  staleRuns,
  tick,
  tickOperation,
} from "./workload.ts";

/** The code under test: the shipped one, or a bug of it. */
export interface Subject {
  tundraStore: typeof tundraStore;
  setPlatform: (other?: Platform) => void;
  TundraError: typeof TundraError;
  notFound: typeof notFound;
  moveIndex: typeof moveIndex;
  sweep: typeof sweep;
  erase: typeof erase;
  versions: typeof versions;
  restoreVersion: typeof restoreVersion;
  peek: typeof peek;
  rebuild: typeof rebuild;
  verify: typeof verify;
  adopt: typeof adopt;
  warm: typeof warm;
  aesGcmFreezer: typeof aesGcmFreezer;
  rotate: typeof rotate;
  transparentRedis: typeof transparentRedis;
  /** `true`: its stores encrypt, with a key for a tenant, and keys from a service that may fail. */
  encrypted?: boolean;
  /** Changes a script on its way to Redis. */
  patchScript?: (source: string) => string;
}

await loadLostRecords();

const asFiles: Subject = {
  ...{ tundraStore, setPlatform, TundraError, notFound },
  ...{ moveIndex, sweep, erase, versions, restoreVersion, peek, rebuild, verify, adopt, warm },
  ...{ aesGcmFreezer, rotate, transparentRedis },
};
const { bun, deno } = process.versions;

/** The shipped code. On Node as one bundle: there a module that is imported late takes time, though it is loaded. */
export const SHIPPED: Subject = bun || deno ? asFiles : await bundled("mod.ts", []);

/** The shipped code, whose stores encrypt. */
export const ENCRYPTED: Subject = { ...SHIPPED, encrypted: true };

/** The check that fails if something else than a promise is broken. */
export const UNEXPECTED = "nothing else breaks";

/** The end of a schedule. */
export interface Outcome {
  violation?: { check: string; detail: string };
  mode: string;
  steps: number;
  commands: number;
}

/** Kinds of trouble besides the network's faults. */
const MODES = [
  "network",
  "network",
  "crashes",
  "crashes",
  "clock",
  "time",
  "time",
  "outages",
  "full",
  "poison",
  "killer",
  "stale",
  "flushed scripts",
  "broken scripts",
  "broken scripts",
  "rollback",
  "lost objects",
  "all",
] as const;
export type Mode = typeof MODES[number];

export const START_US = 1_800_000_000_000_000;
const MAX_STEPS = 16_000;
/** Ticks of which one must notice a loss. */
const MOST_SEARCHES = 4;
export const NATTEMPTS = 3;

/** Sizes of packs: the default; so small that each value is a block, and some need several packs; none. */
export const PACK_BYTES = [1_048_576, 1_048_576, 600, 0] as const;

/** The common part of several databases, and the name of this one. */
export interface Site {
  world: SimulatedWorld;
  archive: Oracle["archive"];
  database: string;
}

/** All that one schedule consists of. */
export interface Sandbox {
  database: string;
  world: SimulatedWorld;
  redis: ModelRedis;
  oracle: Oracle;
  network: Network;
  subject: Subject;
  keys: readonly string[];
  fresh: () => string;
  steps: number;
  /** The servers know only the scripts that were sent since their last restart. */
  forgetful: boolean;
  /** The server dies now and then while it runs a script. */
  breaking: boolean;
  freezeDelayMs: number;
  packBytes: number;
  retries: number;
  /** The longest request that Redis takes, as far as processes know; those that only read know nothing. */
  maxRequestBytes: number | undefined;
  /** The longest reply, as far as processes know. */
  maxReplyBytes: number | undefined;
  /** Which values stores evict: any, unless a schedule is about that. */
  policy: { minEvictBytes: number; evictable?: (key: string) => boolean };
  /** What applications do. */
  operation: (choices: Choices) => Operation;
}

export function makeSandbox(
  subject: Subject,
  choices: Choices,
  keys: readonly string[],
  startUs: number,
  log?: string[],
  site: Site = {
    // what a world before this one has named must not have its name again
    world: makeSimulatedWorld(choices, startUs, log, startUs === START_US ? 0 : DRAWN_BEFORE),
    archive: new Map(),
    database: "redis.model",
  },
): Sandbox {
  const { world } = site;
  let writesLeft = Infinity;
  const redis = modelRedis(world.redisUs, {
    ...(subject.patchScript ? { patch: subject.patchScript } : {}),
    loaded: (sha) => self.forgetful ? undefined : loadedScripts.get(sha),
    beforeWrite() {
      if (--writesLeft < 0) throw new ScriptKilled("ERR the server went away");
    },
  });
  const oracle = makeOracle(redis, world.redisUs, keys, site.archive);
  const { run } = oracle;
  oracle.run = (command, ops) => {
    if (self.breaking && /^EVAL/i.test(command[0]!) && choices.chance(120)) {
      writesLeft = choices.int(8);
      world.note(() => `the server dies after ${writesLeft} writes`);
    }
    try {
      return run(command, ops);
    } finally {
      writesLeft = Infinity;
    }
  };
  const network = makeNetwork(world, redis, oracle, errorsOf(subject));
  subject.setPlatform(world.platform);
  if (subject.encrypted) answerAtOnce();
  let values = 0;
  const self: Sandbox = {
    database: site.database,
    world,
    redis,
    oracle,
    network,
    subject,
    keys,
    fresh: () => `${keys === WARM_KEYS ? "w" : "v"}${++values}.`,
    steps: 0,
    forgetful: false,
    breaking: false,
    freezeDelayMs: 0,
    packBytes: PACK_BYTES[0],
    retries: 1,
    maxRequestBytes: undefined,
    maxReplyBytes: undefined,
    policy: { minEvictBytes: 0 },
    operation: applicationOperation,
  };
  return self;
}

/** The errors that its datastores make. */
export function errorsOf({ TundraError, notFound }: Subject): ErrorMaker {
  return {
    unavailable: (message, retryable) => new TundraError(retryable ? "UNAVAILABLE" : "UNSUPPORTED", message),
    notFound,
    taken: (name) => new TundraError("CONFLICT", `${name} is taken`),
  };
}

/** A process of its own store. */
export function makeBench(
  box: Sandbox,
  name: string,
  archive: Pick<Network, "datastoreFor"> = box.network,
  { current = "main", ...options }: { lookInArchive?: boolean; packBytes?: number; current?: string } = {},
): SimulatedBench {
  const process: Process = { name, dead: false, ops: new Set() };
  const { world, oracle, keys, fresh, network } = box;
  const store = box.subject.tundraStore(archive.datastoreFor(process), {
    redis: {
      url: `http://${box.database}`,
      token: "token",
      fetch: network.fetchFor(process),
      retry: { retries: box.retries, backoff: () => 50 },
      enableAutoPipelining: false,
      timeoutMs: 10_000,
      ...(box.maxReplyBytes && { maxReplyBytes: box.maxReplyBytes }),
      ...(box.maxRequestBytes && name !== "reader" && { maxRequestBytes: box.maxRequestBytes }),
    },
    freezer: freezerOf(box, process, current),
    redisTtlMs: 10 * HOUR_MS,
    ...box.policy,
    freezeDelayMs: box.freezeDelayMs,
    packBytes: options.lookInArchive ? 0 : box.packBytes,
    ...options,
  });
  return { world, oracle, choices: world.choices, keys, store, process, fresh };
}

function freezerOf({ subject, network }: Sandbox, process: Process, current: string): Freezer {
  if (!subject.encrypted) return network.freezerFor(process);
  const keys = (id: string) => network.serviceFor(process, `asks for the key ${id}`, () => simulatedKey(id));
  return subject.aesGcmFreezer({ keys, current, keyFor: tenantOf, keyTtlMs: 0 });
}

/** Steps until the promise has settled, or its process is dead (`false`). */
export async function complete(box: Sandbox, bench: SimulatedBench, act: Promise<unknown>): Promise<boolean> {
  let failure: unknown;
  let done = false;
  act.then(() => done = true, (error) => {
    done = true;
    failure = error;
  });
  await box.world.quiet();
  while (!done && !bench.process.dead) {
    if (++box.steps > MAX_STEPS) throw new Violation("7 calls end", `${box.steps} steps, and no end`);
    if (!await box.world.step()) throw new Violation("7 calls end", "nothing is under way, and a call still waits");
  }
  if (failure) throw failure;
  return !bench.process.dead;
}

// ---- the first state of a schedule

/** Keys in different states, made by the shipped code itself. */
export const WARM_KEYS = [
  "fresh",
  "dirty",
  "clean",
  "evicted",
  "evictedttl",
  "cleanttl",
  "deleted",
  "deleting",
  "blind",
  "unmarked",
  "old",
];

export interface Warm {
  redis: RedisState;
  oracle: OracleState;
  nowUs: number;
}

const started = new Map<boolean, Promise<Warm>>();

async function makeWarm(encrypted: boolean): Promise<Warm> {
  const box = makeSandbox(encrypted ? ENCRYPTED : SHIPPED, replayedChoices([]), WARM_KEYS, START_US);
  const bench = makeBench(box, "warm");
  const { redis } = bench.store;
  const exp = START_US / 1000 + 80 * HOUR_MS;
  await complete(
    box,
    bench,
    (async () => {
      await redis.set("old", bench.fresh());
      await bench.store.dirty("old");
      await bench.store.tick();
      box.world.nowUs += 26 * HOUR_US;
      for (const key of WARM_KEYS.filter((key) => !["fresh", "dirty", "old"].includes(key))) {
        if (key.endsWith("ttl")) await redis.set(key, bench.fresh(), { pxat: exp });
        else await redis.set(key, bench.fresh());
        await bench.store.dirty(key);
      }
      await bench.store.tick();
      await bench.store.evict("evicted", "evictedttl", "blind");
      await call(bench, "del", ["deleted", "deleting"], () => bench.store.del("deleted"));
      await bench.store.tick();
      await call(bench, "del", ["deleting"], () => bench.store.del("deleting"));
      await redis.append("blind", "+");
      await redis.append("unmarked", "+");
      await redis.set("dirty", bench.fresh());
      await bench.store.dirty("dirty");
    })(),
  );
  return { redis: box.redis.save(), oracle: box.oracle.save(), nowUs: box.world.nowUs };
}

/** That state, made once; with encryption once more. */
export function warmStart({ encrypted = false }: Subject): Promise<Warm> {
  const made = started.get(encrypted) ?? makeWarm(encrypted);
  started.set(encrypted, made);
  return made;
}

/** Only these keys: what a schedule does not use it need not carry. */
export function narrowed(state: RedisState, keys: readonly string[]): RedisState {
  const dropped = WARM_KEYS.filter((key) => !keys.includes(key));
  const kept = new Map<string, { type: "string" | "zset" | "hash"; value: unknown; exp: number }>();
  for (const [name, entry] of state) {
    if (dropped.includes(name)) continue; // its record stays: it shares a pack with others
    if (entry.type !== "zset") kept.set(name, entry);
    else {
      const members = new Map([...entry.value as Map<string, number>].filter(([key]) => keys.includes(key)));
      if (members.size > 0) kept.set(name, { ...entry, value: members });
    }
  }
  return kept as RedisState;
}

// ---- one schedule

/** Plays one schedule of some kind. */
export type Play = (subject: Subject, choices: Choices, log?: string[]) => Promise<Outcome>;

/** Plays one schedule; the same choices, the same schedule. */
export async function runSchedule(
  subject: Subject,
  choices: Choices,
  log?: string[],
  operation: Sandbox["operation"] = applicationOperation,
): Promise<Outcome> {
  const start = await warmStart(subject);
  const mode = choices.pick(MODES);
  const fromNothing = choices.chance(120);
  const pool = fromNothing ? ["k0", "k1", "k2"] : [...WARM_KEYS, "fresh", "fresh", "old"];
  const keys = new Set([choices.pick(pool)]);
  for (let more = choices.pick([1, 0, 2, 3]); more > 0; more--) keys.add(choices.pick(pool));
  const box = makeSandbox(subject, choices, [...keys], fromNothing ? START_US : start.nowUs, log);
  box.operation = operation;
  log?.push(`mode ${mode}, keys ${[...keys]}`);
  const played = await playOut(box, async () => {
    if (!fromNothing) {
      box.redis.load(narrowed(start.redis, box.keys));
      box.oracle.load(start.oracle);
    }
    await play(box, mode);
  });
  return { mode, ...played };
}

/** Until the end, or the first broken promise. */
export async function playOut(box: Sandbox, act: () => Promise<void>): Promise<Omit<Outcome, "mode">> {
  let violation: Outcome["violation"];
  try {
    await act();
  } catch (error) {
    violation = error instanceof Violation
      ? { check: error.check, detail: error.message }
      : { check: UNEXPECTED, detail: String((error as Error).stack) };
    box.world.log?.push(violation.detail);
  }
  box.subject.setPlatform();
  return { ...(violation && { violation }), steps: box.steps, commands: box.oracle.time };
}

/** What one schedule plays: processes and faults, then a time without faults, and a last look at every key. */
export async function play(box: Sandbox, mode: Mode, last = noticeLosses): Promise<void> {
  const { world, network, oracle } = box;
  const { choices } = world;
  const { faults } = network;
  const has = (...modes: Mode[]) => modes.includes(mode) || mode === "all";
  // every schedule has its own temper: what never happens in most of them happens often in some
  world.pace = {
    reorder: choices.pick([300, 0, 700, 1000]),
    timers: choices.pick([0, 0, 10, 60]),
    late: choices.pick([0, 20, 100]),
  };
  faults.left = choices.pick([2, 0, 1, 4, 8]);
  faults.redis = choices.pick([30, 0, 100, 250]);
  faults.store = choices.pick([30, 0, 150]);
  if (has("poison")) faults.poison = 250;
  if (has("outages")) faults.lies = 250;
  if (has("stale")) {
    faults.stale = 300;
    staleRuns.add(world);
  }
  if (has("killer")) faults.killer = choices.pick(box.keys);
  if (mode === "broken scripts") oracle.leniency.brokenScripts = box.breaking = true;
  if (mode === "lost objects") oracle.leniency.lostObjects = true;
  if (mode === "full" && choices.chance(400)) playSmallRequests(box);
  box.forgetful = has("flushed scripts");
  box.freezeDelayMs = choices.pick([0, 0, 0, 5_000]);
  box.retries = choices.pick([1, 2, 0]);

  const processes = startProcesses(box);
  await runAll(box, processes, makeAdversary(box, mode, processes));
  await recover(box, mode, last);
}

/** Until all of them have ended, or died. */
export async function runAll(box: Sandbox, processes: readonly Running[], adversary: () => void): Promise<void> {
  const { world } = box;
  let failure: unknown;
  const all = processes.map((each) => each.run().catch((error) => failure ??= error));
  void all;
  await world.quiet();
  const busy = () => processes.some((each) => !each.done && !each.bench.process.dead);
  while (busy() && !failure) {
    if (++box.steps > MAX_STEPS) throw new Violation("7 calls end", `${box.steps} steps, and no end`);
    adversary();
    if (!await world.step() && busy()) {
      throw new Violation("7 calls end", "nothing is under way, and a call still waits");
    }
  }
  if (failure) throw failure;
}

/** The longest request that can be set: Redis takes no longer ones, and values are as long as fits, or no longer fits. */
export function playSmallRequests(box: Sandbox, lengths = [8_000, 0, 15_000, 32_500]): void {
  const { choices } = box.world;
  const { fresh } = box;
  box.maxRequestBytes = box.network.faults.requestBytes = 32_768;
  box.oracle.leniency.smallRequests = true;
  box.fresh = () => fresh().padEnd(choices.pick(lengths), "x");
}

/** A process that does one thing after another. */
export interface Running {
  bench: SimulatedBench;
  done: boolean;
  plan: Operation[];
  run(): Promise<void>;
}

/** Applications and cron triggers with their plans; `archive`: of another bucket. */
export function startProcesses(box: Sandbox, archive?: Pick<Network, "datastoreFor">): Running[] {
  const { choices } = box.world;
  const applications = choices.pick([2, 1, 3]);
  const ticks = choices.pick([2, 1, 3]);
  const processes: Running[] = [];
  for (let i = 0; i < applications + ticks; i++) {
    const isTick = i >= applications;
    const length = isTick ? choices.pick([2, 1, 3]) : choices.pick([3, 2, 5]);
    const plan = Array.from({ length }, () => isTick ? tickOperation(choices) : box.operation(choices));
    // stores with and without packs share a queue; some packs are so small that each value is a block
    const packBytes = choices.pick(PACK_BYTES);
    let bench = makeBench(box, isTick ? `tick${i - applications}` : `app${i}`, archive, { packBytes });
    // two requests of one process share its store, and with it fetches that are under way
    if (i === 1 && applications > 1 && choices.chance(300)) {
      bench = { ...bench, store: processes[0]!.bench.store, process: processes[0]!.bench.process };
    }
    processes.push(runningProcess(bench, plan));
  }
  return processes;
}

/** A process with its plan. */
export function runningProcess(bench: SimulatedBench, plan: Operation[]): Running {
  const self: Running = {
    bench,
    plan,
    done: false,
    async run() {
      while (plan.length > 0) {
        await bench.world.turn(bench.process);
        await plan.shift()!(bench);
      }
      self.done = true;
    },
  };
  return self;
}

/** The possible actions at each step. */
export function makeAdversary(box: Sandbox, mode: Mode, processes: Running[]): () => void {
  const { world, oracle, network, redis } = box;
  const { choices } = world;
  const acts: (() => void)[] = [];
  const has = (...modes: Mode[]) => modes.includes(mode) || mode === "all";
  if (has("crashes", "rollback")) {
    acts.push(() => {
      const victim = choices.pick(processes);
      if (victim.bench.process.dead) return;
      world.note(() => `${victim.bench.process.name} dies`);
      kill(victim.bench.process, oracle);
    });
  }
  if (has("clock", "stale")) {
    acts.push(() => {
      const skewUs = choices.pick([0, 2_000_000, -2_000_000, HOUR_US, -HOUR_US, 61_000_000]);
      world.note(() => `Redis' clock is ${skewUs / 1e6} s off`);
      world.redisSkewUs = skewUs;
      oracle.look();
    });
  }
  if (has("time", "crashes", "lost objects")) {
    acts.push(() => {
      const passedUs = choices.pick([61, 2, 11, 3 * 3600, 11 * 3600, 26 * 3600]) * 1e6;
      world.note(() => `${passedUs / 1e6} s pass`);
      pass(box, passedUs);
    });
  }
  if (has("outages")) {
    network.faults.freezer = choices.pick([30, 0, 250]);
    network.faults.storeDenied = choices.chance(500);
    acts.push(() => network.faults.redisDenied = !network.faults.redisDenied);
    acts.push(() => network.faults.storeDenied = !network.faults.storeDenied);
    acts.push(() => network.faults.freezerDown = !network.faults.freezerDown);
  }
  if (has("full")) acts.push(() => redis.full = !redis.full);
  if (has("flushed scripts")) acts.push(() => redis.scripts.clear());
  if (mode === "rollback") {
    let point = { redis: redis.save(), truths: oracle.truths() };
    acts.push(() => {
      oracle.look();
      point = { redis: redis.save(), truths: oracle.truths() };
    });
    acts.push(() => {
      world.note(() => "Redis goes back to an earlier state");
      oracle.rollBack(point.redis, point.truths);
    });
    acts.push(() => {
      const key = choices.pick(box.keys);
      const which = choices.pick(["value", "record"] as const);
      world.note(() => `Redis loses the last writes of the ${which} of ${key}`);
      oracle.rollBackOne(point.redis, key, which);
    });
  }
  if (mode === "lost objects") {
    acts.push(() => {
      const name = choices.pick(box.keys.map((key) => holderOf(key, oracle.record(key).ver)));
      if (!oracle.archive.has(name)) return;
      world.note(() => `the bucket loses ${name}`);
      oracle.lose(name);
    });
  }
  if (acts.length === 0) return () => {};
  const rate = choices.pick([15, 5, 40]);
  let left = choices.pick([2, 1, 4, 8]);
  return () => {
    if (left <= 0 || !choices.chance(rate)) return;
    left--;
    choices.pick(acts)();
  };
}

/** Time passes. */
export function pass({ world, oracle }: Pick<Sandbox, "world" | "oracle">, us: number): void {
  world.nowUs += us;
  oracle.look();
}

// ---- afterwards: faults have stopped

/** Liveness, and a last look at every key; `last` is played at the end. */
export async function recover(box: Sandbox, mode: Mode, last = noticeLosses): Promise<void> {
  const { world, network, redis, oracle } = box;
  const { faults } = network;
  Object.assign(faults, { left: 0, redisDenied: false, storeDenied: false, freezerDown: false });
  redis.full = box.breaking = false;
  // an index that went back behind its own birth has to be rebuilt: nothing more to ask of it
  const hasToBeRebuilt = () =>
    mode === "rollback" && (redis.peek("tundra:default:id")?.value ?? "new:").startsWith("new:") &&
    oracle.archive.has("default/~owner/first");
  if (hasToBeRebuilt()) return;
  world.note(() => "---- the faults have stopped");
  world.pace = { reorder: 0, timers: 0, late: 0 };
  while (world.ready.length > 0) await world.step(); // what is in the network still
  if (mode === "outages") {
    for (const down of ["storeDenied", "freezerDown"] as const) {
      faults[down] = true; // for a last time, and for long
      for (let i = 0; i <= NATTEMPTS; i++) await drainOnce(box, `${down}${i}`, HOUR_US);
      faults[down] = false;
    }
  }
  if (faults.killer !== undefined) {
    await drain(box, mode, [faults.killer]);
    faults.killer = undefined;
  }
  await drain(box, mode, []);
  await lookAtAll(box, false);
  if (world.late.length > 0) {
    world.note(() => "---- late copies arrive");
    for (const happening of world.late.splice(0)) happening.run();
    if (hasToBeRebuilt()) return; // its owner object was the last to come
    await drain(box, mode, []);
  }
  await lookAtAll(box, true);
  await purgeAll(box, mode);
  if (mode === "lost objects") await loseNewest(box);
  if (!oracle.leniency.severalIndexes) await last(box);
}

/**
 * Each key is archived twice and evicted; then the bucket loses the newer version. The older one must not come back.
 */
async function loseNewest(box: Sandbox): Promise<void> {
  const { oracle } = box;
  const writer = makeBench(box, "writer");
  for (const round of [1, 2]) {
    for (const key of box.keys) {
      await complete(box, writer, command(writer, [key], () => writer.store.redis.set(key, box.fresh())));
      await complete(box, writer, dirty(writer, [key], { overwrite: true }));
    }
    await drainOnce(box, `newest${round}`, 61_000_000);
  }
  await complete(box, writer, evict(writer, box.keys));
  for (const key of box.keys) oracle.archive.delete(holderOf(key, oracle.record(key).ver));
  const reader = makeBench(box, "reader");
  for (const key of box.keys) await ensureRight(box, reader, key);
}

/** Checks that removed and expired values leave the archive, and that nothing is left to do for them. */
async function purgeAll(box: Sandbox, mode: Mode): Promise<void> {
  const { redis, oracle } = box;
  if (mode === "broken scripts" || oracle.leniency.rolledBack) return;
  pass(box, 90 * HOUR_US);
  for (let round = 0; round < 3; round++) {
    await drain(box, mode, []);
    await drainOnce(box, `purge${round}`, 2 * HOUR_US);
  }
  const due = [...redis.members("tundra:default:purge")].filter(([, at]) => at * 1000 <= box.world.redisUs());
  if (due.length > 0) throw new Violation("7 what is to be deleted is deleted", `${due} still wait`);
  for (const key of box.keys) {
    const left = oracle.undeleted(key);
    if (left.length > 0) throw new Violation("4 what was removed leaves the archive", `${left} of ${key}`);
  }
}

/**
 * Redis removes keys by itself, or is emptied and an operator puts the id back. Who looks in the archive says so of
 * each key that is lost, and of no other; so does a tick, an hour later.
 */
async function noticeLosses(box: Sandbox): Promise<void> {
  const { world, redis, oracle } = box;
  const { choices } = world;
  const looking = makeBench(box, "reader", box.network, { lookInArchive: true });
  if (!oracle.leniency.rolledBack) await expectLost(box, looking, []);
  if (choices.chance(500)) return;
  const id = redis.peek("tundra:default:id")?.value;
  const byHand = choices.chance(200);
  world.note(() => byHand ? "---- an operator puts the id back" : "---- Redis removes keys by itself");
  for (const key of box.keys) {
    if (!byHand && choices.chance(300)) continue;
    oracle.rollBackOne(new Map(), key, "record");
    if (byHand || choices.chance(800)) oracle.rollBackOne(new Map(), key, "value");
  }
  if (byHand && id !== undefined) {
    redis.load(new Map());
    redis.run(["SET", "tundra:default:id", id]);
    const used = [...oracle.archive.keys()].some((name) => name.startsWith("default/") && !name.includes("/~owner/"));
    for (const act of used ? [() => looking.store.ensureKs(...box.keys), () => looking.store.tick()] : []) {
      await expectCode(box, looking, "LOST", act);
    }
    redis.run(["SET", "tundra:default:tick", "0"]);
  }
  redis.policy = byHand ? "noeviction" : "allkeys-lru";
  const lost = box.keys.filter((key) => isUnknownButArchived(box, key));
  await expectLost(box, looking, lost);
  // Of a key in two places a tick looks at both, and at eight in all, drawn by lot: it may draw those that have gone.
  const archived = archivedKeys(oracle);
  const without = [...archived].filter((key) => redis.peek(`tundra:default:rec:${key}`) === undefined);
  const searches = 2 * without.length > 8 ? MOST_SEARCHES : 1;
  for (let ticks = 1; !await noticesLoss(box, looking, byHand); ticks++) {
    if (ticks === searches) throw new Violation("8 a tick notices lost records", `${ticks} ticks did not`);
  }
}

/** Keys of which the archive holds something. */
function archivedKeys({ archive }: Oracle): Set<string> {
  return new Set([...archive.values()].flatMap(({ entries }) => entries.map(({ key }) => key)));
}

/** A tick two hours later: tells if it reports what it must, and nothing else; `false` if it misses a loss alone. */
async function noticesLoss(box: Sandbox, looking: SimulatedBench, byHand: boolean): Promise<boolean> {
  const { oracle } = box;
  pass(box, 2 * HOUR_US);
  const archived = archivedKeys(oracle);
  const stillLost = [...archived].filter((key) => isUnknownButArchived(box, key));
  const expected = (found: string[]) => {
    const may = stillLost.length > 0 || [...archived].some((key) => seemsLost(box, key));
    const must = stillLost.some((key) => isInReach(box, key)) || (may && found.includes("LOST"));
    return [...(must ? ["LOST"] : []), ...(byHand ? [] : ["UNSUPPORTED"])].join();
  };
  let isRight = false;
  await complete(
    box,
    looking,
    call(looking, "tick", [], () => looking.store.tick(), (_op, report) => {
      const reported = new Set<string>(report?.errors.map(({ code }) => code));
      if (box.keys.some((key) => oracle.view(key).blind)) reported.delete("CONFLICT");
      const codes = [...reported].sort();
      isRight = codes.join() === expected(codes);
      if (!isRight && ["LOST", ...codes].join() !== expected(codes)) {
        throw new Violation("8 a tick notices lost records", `${stillLost}: ${codes}, not ${expected(codes)}`);
      }
    }),
  );
  return isRight;
}

/**
 * A tick's search sees its newest version: an object of its own, or one of the two youngest packs, if that put it first.
 */
function isInReach({ oracle: { archive } }: Sandbox, key: string): boolean {
  const packs = [...archive.keys()].filter((name) => name.startsWith("default/~packs/")).sort().slice(-2);
  const entries = versionsOf(archive, key).toSorted((a, b) => a.ver < b.ver ? -1 : 1);
  const { word } = entries.at(-1)!;
  return !word.includes("@") || (word.includes("@:") && packs.includes(holderOf(key, word)));
}

/** Redis knows nothing of it, and its newest object holds a value. */
function isUnknownButArchived({ redis, oracle, world }: Sandbox, key: string): boolean {
  if (redis.peek(key) || redis.peek(`tundra:default:rec:${key}`)) return false;
  const versions = versionsOf(oracle.archive, key);
  const lastUs = Math.max(...versions.map(({ ver }) => versionMicros(ver)));
  // of several of one time nothing says which came later
  return versions.some(({ ver, state }) =>
    versionMicros(ver) === lastUs && state !== null && (state.exp === 0 || state.exp > world.redisUs() / 1000)
  );
}

/**
 * Redis knows nothing of it, and the newest of its own objects holds a value. What came after that in a pack, and has
 * expired, a tick's search does not see.
 */
function seemsLost({ redis, oracle, world }: Sandbox, key: string): boolean {
  if (redis.peek(key) || redis.peek(`tundra:default:rec:${key}`)) return false;
  const own = versionsOf(oracle.archive, key).filter(({ word }) => !word.includes("@"));
  const state = own.toSorted((a, b) => a.ver < b.ver ? -1 : 1).at(-1)?.state ?? null;
  return state !== null && (state.exp === 0 || state.exp > world.redisUs() / 1000);
}

/** Each key alone: LOST, or fine. */
async function expectLost(box: Sandbox, looking: SimulatedBench, lost: readonly string[]): Promise<void> {
  for (const key of box.keys) {
    let code = "";
    const act = looking.store.ensureKs(key).catch((error) => code = (error.causes[key] ?? error).code);
    await complete(box, looking, act);
    const explained = oracleKnowsOfLoss(box, key) || box.oracle.hasOrphan(key);
    if ((code === "LOST") !== lost.includes(key) && !explained) {
      throw new Violation("8 what Redis lost is LOST, and nothing else", `${key}: ${code || "fine"}`);
    }
  }
}

/** Its record names what the bucket has lost. */
function oracleKnowsOfLoss({ oracle }: Sandbox, key: string): boolean {
  return oracle.held(key) === null && oracle.isLost(key);
}

async function expectCode(
  box: Sandbox,
  bench: SimulatedBench,
  expected: string,
  act: () => Promise<unknown>,
): Promise<void> {
  let code = "no error";
  await complete(box, bench, act().catch((error) => code = error.code));
  if (code !== expected) throw new Violation("8 an id without its index is LOST", code);
}

/** Clocks that were an hour ahead, backoffs, and the attempts of a key that kills ticks, all on top of each other. */
const MOST_ROUNDS = 30;

/** Ticks until nothing waits; `poisoned` keys may kill them and end dead. */
export async function drain(box: Sandbox, mode: Mode, poisoned: readonly string[]): Promise<void> {
  const { redis, oracle } = box;
  // if Redis lost a mark that overrode an evicted value, only the application can say which of the two it wants
  const undecided = (key: string) => mode === "rollback" && oracle.view(key).blind;
  const waiting = () => [...redis.members("tundra:default:dirty").keys()].filter((key) => !undecided(key));
  for (let round = 0; waiting().length > 0; round++) {
    if (round === MOST_ROUNDS) {
      if (mode === "broken scripts") return;
      throw new Violation(
        "7 the queue drains",
        `${waiting()} still wait: ${box.keys.map((key) => oracle.record(key).error)}`,
      );
    }
    await drainOnce(box, `drain${round}`, round < 10 ? 122_000_000 : 13 * HOUR_US);
  }
  const dead = [...redis.members("tundra:default:dead").keys()].filter((key) => !poisoned.includes(key));
  if (dead.length === 0) return;
  // a tick that never hears what became of its begin cannot take the attempt back: to Redis it is a tick that died
  const unheard = box.network.faults.unheard >= NATTEMPTS &&
    dead.every((key) => /ticks ended before they had archived it$/.test(oracle.record(key).error));
  // ticks of few requests, each of which could not archive so large a value
  const small = dead.every((key) => /^TOO_LARGE .* maxSubrequests/.test(oracle.record(key).error));
  if (!DEADLY.has(mode) && !unheard && !small) {
    // the store's trouble is not the key's
    throw new Violation("7 no outage kills a key", `${dead}: ${dead.map((key) => oracle.record(key).error)}`);
  }
  const bench = makeBench(box, "requeue");
  await complete(box, bench, call(bench, "retryDead", dead, () => bench.store.retryDead(...dead)));
  await drain(box, mode, poisoned);
}

/** One tick of a process of its own; then time passes. */
export async function drainOnce(box: Sandbox, name: string, passesUs: number): Promise<void> {
  const bench = makeBench(box, name);
  await complete(box, bench, tick(bench, { leaseMs: 1000, nattempts: NATTEMPTS }));
  kill(bench.process, bench.oracle);
  pass(box, passesUs);
}

/** Only what the key does itself, and ticks that end or hang over it, kill it. */
const DEADLY = new Set<Mode>(["poison", "killer", "all", "crashes", "rollback", "time", "clock", "lost objects"]);

/** Each key through ensureKs(): it must be there as it must be. At the end evicted and brought back once more. */
export async function lookAtAll(box: Sandbox, isLast: boolean): Promise<void> {
  const { oracle } = box;
  const bench = makeBench(box, "reader");
  for (const key of box.keys) await ensureRight(box, bench, key);
  if (!isLast) return;
  await complete(box, bench, evict(bench, box.keys));
  await complete(box, bench, ensure(bench, box.keys));
  for (const key of box.keys) await ensureRight(box, bench, key);
  await complete(box, bench, evict(bench, box.keys));
  for (const key of box.keys) await ensureRight(box, bench, key);
  pass(box, 11 * HOUR_US);
  const last = makeBench(box, "last ticks");
  for (let i = 0; i < 3; i++) {
    await complete(box, last, tick(last, { leaseMs: 1000 }));
    pass(box, 2 * HOUR_US);
  }
  for (const key of box.keys) await ensureRight(box, bench, key);
  if (oracle.leniency.smallRequests) await bringBackLarge(box);
}

/** A value that fits into the longest request; three of them do not. */
const LARGE_CHARACTERS = 15_000;

/**
 * Each key becomes a large value, is archived and evicted; then a process that has met no refusal yet asks for all of
 * them at once. Random schedules seldom come to that.
 */
async function bringBackLarge(box: Sandbox): Promise<void> {
  const writer = makeBench(box, "writer");
  for (const key of box.keys) {
    const value = box.fresh().padEnd(LARGE_CHARACTERS, "x").slice(0, LARGE_CHARACTERS);
    await complete(box, writer, command(writer, [key], () => writer.store.redis.set(key, value)));
    await complete(box, writer, dirty(writer, [key], { overwrite: true }));
  }
  await drainOnce(box, "large", 1_000_000);
  await complete(box, writer, evict(writer, box.keys));
  const newcomer = makeBench(box, "reader");
  await complete(box, newcomer, ensure(newcomer, box.keys));
  for (const key of box.keys) await ensureRight(box, newcomer, key);
}

/** The archive holds a newer version than its record names, and knows which one is the newest. */
function comesBackNewer({ archive, record }: Oracle, key: string): boolean {
  const versions = versionsOf(archive, key);
  const lastUs = Math.max(0, ...versions.map(({ ver }) => versionMicros(ver)));
  const newest = new Set(versions.filter(({ ver }) => versionMicros(ver) === lastUs).map(({ ver }) => ver));
  return lastUs > versionMicros(record(key).ver) && newest.size === 1;
}

async function ensureRight(box: Sandbox, bench: SimulatedBench, key: string): Promise<void> {
  const { oracle } = box;
  oracle.look();
  const { outcome, blind, lost } = oracle.view(key);
  let done = false;
  await complete(box, bench, ensure(bench, [key]).then((fine) => done = fine));
  if (!done && lost && comesBackNewer(oracle, key)) {
    throw new Violation("8 a newer version comes back", `${key}, whose record names what the archive lacks`);
  }
  if (!done && (blind || lost)) return;
  if (!done) throw new Violation("1 ensureKs() brings it back", `${key} must be ${JSON.stringify(outcome)}: it failed`);
  // if it was lost a newer version may come back: restore is checked when it happens
  if (!lost && !sameState(oracle.held(key), outcome)) {
    throw new Violation(
      "1 ensureKs() brings it back",
      `${key} is ${JSON.stringify(oracle.held(key))}, not ${JSON.stringify(outcome)}`,
    );
  }
}
