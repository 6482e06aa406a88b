/**
 * Schedules of what must go on, whatever one key, a bound or a clock does: many suspects under small bounds on
 * requests, a key that Redis does not show, a key whose uploads meet trouble that passes for others, an archive that
 * refuses everything, a clock that ran a year ahead, names that fill replies. Each ends with the simulation's own last
 * look at every key.
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
  NATTEMPTS,
  type Outcome,
  PACK_BYTES,
  pass,
  playOut,
  type Sandbox,
  START_US,
  type Subject,
} from "./simulation.ts";
import { call, command, dirty, ensure, evict, type SimulatedBench, tick } from "./workload.ts";

type Play = (box: Sandbox) => Promise<void>;

const [DIRTY, IDLE, DEAD] = ["dirty", "idle", "dead"].map((name) => `tundra:default:${name}`) as [
  string,
  string,
  string,
];
const MINUTE_US = 61_000_000;
const YEAR_US = 365 * 24 * HOUR_US;
/** So many ticks in a row in which one kind of keys has no turn are no accident of the lot. */
const PATIENCE = 20;
const ROUNDS = 26;
const SOME = Array.from({ length: 6 }, (_, i) => `k${i}`);

/**
 * The first decisions of a schedule: what it plays, with which keys. A few schedules, of seconds each, have hundreds.
 */
export function pickPlay(choices: Choices): { mode: string; keys: readonly string[]; play: Play } {
  const [mode, keys, play] = choices.pick(PLAYS);
  return { mode, keys: play === crowd && choices.chance(5) ? HUNDREDS : keys, play };
}

/** Plays one; the same choices, the same schedule. */
export async function runLiveness(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const { mode, keys, play } = pickPlay(choices);
  const box = makeSandbox(subject, choices, keys, START_US, log);
  box.retries = choices.pick([0, 1]);
  box.packBytes = choices.pick(PACK_BYTES);
  log?.push(`mode ${mode}`);
  const played = await playOut(box, async () => {
    await drainOnce(box, "first", MINUTE_US); // the index has its id
    await play(box);
    await lookAtAll(box, true);
  });
  return { mode, ...played };
}

/** A process does something, to its end. */
export async function act(
  box: Sandbox,
  name: string,
  does: (bench: SimulatedBench) => Promise<unknown>,
): Promise<void> {
  const bench = makeBench(box, name);
  await complete(box, bench, does(bench));
  kill(bench.process, bench.oracle);
}

async function write(box: Sandbox, keys: readonly string[]): Promise<void> {
  await act(box, "writer", async (bench) => {
    const values = Object.fromEntries(keys.map((key) => [key, bench.fresh()]));
    await command(bench, keys, () => bench.store.redis.mset(values));
    await dirty(bench, keys, { overwrite: true });
  });
}

function isDead(box: Sandbox, key: string): boolean {
  return box.redis.members(DEAD).has(key);
}

async function requeue(box: Sandbox, key: string): Promise<void> {
  await act(box, "operator", (bench) => call(bench, "retryDead", [key], () => bench.store.retryDead(key)));
  await drain(box, "network", []);
}

/** Nobody is to blame for what meets all. */
function nobodyDied(box: Sandbox): void {
  const dead = [...box.redis.members(DEAD).keys()];
  if (dead.length > 0) throw new Violation("7 no outage kills a key", `${dead}`);
}

/** Many keys over which ticks died, others that come in meanwhile, and a bound on requests. */
const crowd: Play = async (box) => {
  const { world, oracle, keys } = box;
  const { choices } = world;
  const old = keys.slice(ROUNDS);
  await write(box, old);
  for (let i = choices.pick([1, 2, 3]); i > 0; i--) {
    const bench = makeBench(box, `dying${i}`);
    void tick(bench, { deadlineMs: 20_000, batchKeys: choices.pick([100, 20]) }).catch(() => {});
    await world.quiet();
    for (let steps = choices.int(60); steps > 0 && await world.step(); steps--) box.steps++;
    kill(bench.process, oracle);
    pass(box, MINUTE_US);
  }
  while (world.ready.length > 0) await world.step();
  const maxSubrequests = choices.pick([12, 13, 20, 45]);
  const waits = { fresh: 0, suspect: 0 };
  for (const key of keys.slice(0, ROUNDS)) {
    await write(box, [key]);
    const before = new Map(box.redis.members(DIRTY));
    await act(box, "bounded", (bench) => tick(bench, { maxSubrequests, nattempts: NATTEMPTS }));
    pass(box, MINUTE_US);
    const after = new Map(box.redis.members(DIRTY));
    const isFresh = (score: number) => score % 1 === 0;
    const left = (kind: boolean, queue: ReadonlyMap<string, number>) =>
      [...before].filter(([key, score]) => isFresh(score) === kind && queue.has(key)).length;
    if (after.size >= before.size) {
      throw new Violation("7 a tick makes progress", `${after.size} of ${before.size} wait`);
    }
    for (const [kind, fresh] of [["fresh", true], ["suspect", false]] as const) {
      // suspects wait for fresh keys that are older than any of them
      if (kind === "suspect" && isFresh(Math.min(...before.values()))) continue;
      const some = left(fresh, before);
      waits[kind] = some > 0 && left(fresh, after) === some ? waits[kind] + 1 : 0;
      if (waits[kind] === PATIENCE) throw new Violation("7 fresh keys and suspects by turns", `no ${kind} key had one`);
    }
  }
  await drain(box, "network", []);
};

const hiddenKey: Play = async (box) => {
  const { network: { faults }, world: { choices } } = box;
  const key = choices.pick(SOME);
  const how = choices.pick(["slot", "gateway"] as const);
  await write(box, SOME);
  if (choices.chance(300)) {
    faults.hidden = { key: "*", how };
    for (let i = 0; i <= NATTEMPTS; i++) await drainOnce(box, `blind${i}`, HOUR_US);
    nobodyDied(box);
  }
  faults.hidden = { key, how };
  await drain(box, "network", [key]);
  if (!isDead(box, key)) throw new Violation("7 a key that is not shown ends dead", key);
  faults.hidden = undefined;
  await requeue(box, key);
};

const oddKey: Play = async (box) => {
  const { network: { faults }, world: { choices } } = box;
  const key = choices.pick(SOME);
  const others = SOME.filter((each) => each !== key);
  faults.odd = key;
  await write(box, SOME);
  for (let i = 0; i < 10 + NATTEMPTS && !isDead(box, key); i++) {
    await write(box, others);
    await drainOnce(box, `odd${i}`, HOUR_US);
  }
  if (!isDead(box, key)) throw new Violation("7 trouble of one key becomes its own", box.oracle.record(key).error);
  faults.odd = undefined;
  await drain(box, "network", [key]);
  await requeue(box, key);
};

const refusal: Play = async (box) => {
  const { faults } = box.network;
  await write(box, SOME);
  faults.refusesAll = true;
  for (let i = 0; i <= NATTEMPTS; i++) await drainOnce(box, `refused${i}`, HOUR_US);
  nobodyDied(box);
  faults.refusesAll = false;
  await drain(box, "network", []);
};

const yearAhead: Play = async (box) => {
  const { world, redis } = box;
  await write(box, SOME);
  await drain(box, "network", []);
  world.redisSkewUs = YEAR_US;
  box.oracle.look();
  const [marked, used] = [SOME.slice(0, 2), SOME.slice(2)];
  await act(box, "ahead", (bench) => ensure(bench, used));
  await write(box, marked);
  world.redisSkewUs = 0;
  box.oracle.look();
  await drain(box, "network", []);
  for (let i = 0; i < 3; i++) await drainOnce(box, `later${i}`, 11 * HOUR_US);
  const left = used.filter((key) => redis.members(IDLE).has(key));
  if (left.length > 0) throw new Violation("7 idle keys leave Redis", `${left}`);
};

/** A key expires while it is dirty, and is written anew without a mark: its older versions are superseded, not removed. */
const madeAnew: Play = async (box) => {
  const [key] = SOME as [string];
  const exp = Math.floor(box.world.redisUs() / 1000) + 7_200_000;
  const append = async (bench: SimulatedBench) => {
    await command(bench, [key], () => bench.store.redis.append(key, bench.fresh()));
    await dirty(bench, [key]);
  };
  await act(box, "writer", async (bench) => {
    await command(bench, [key], () => bench.store.redis.set(key, bench.fresh(), { pxat: exp }));
    await dirty(bench, [key]);
  });
  await drain(box, "network", []);
  await act(box, "writer", append);
  pass(box, 3 * HOUR_US);
  await drain(box, "network", []);
  await act(box, "writer", async (bench) => {
    await command(bench, [key], () => bench.store.redis.set(key, bench.fresh()));
    await evict(bench, [key]);
  });
  await drain(box, "network", []);
};

/** Names so long that neither all that is due nor all that is idle fits into a reply. */
const longNames: Play = async (box) => {
  const { redis, network: { faults }, world: { choices } } = box;
  box.maxReplyBytes = faults.replyBytes = choices.pick([4_000, 6_000]);
  await write(box, box.keys);
  for (let left = box.keys.length; left > 0;) {
    await drainOnce(box, `long${left}`, MINUTE_US);
    const waiting = redis.members(DIRTY).size;
    if (waiting >= left) throw new Violation("7 a tick makes progress", `${waiting} of ${left} wait`);
    left = waiting;
  }
};

const LONG = Array.from({ length: 40 }, (_, i) => `long${i}`.padEnd(150, "n"));

const crowdOf = (n: number): string[] => [
  ...Array.from({ length: ROUNDS }, (_, i) => `later${i}`),
  ...Array.from({ length: n }, (_, i) => `old${i}`),
];
const HUNDREDS = crowdOf(200);

const PLAYS: [mode: string, keys: readonly string[], play: Play][] = [
  ["hidden key", SOME, hiddenKey],
  ["odd key", SOME, oddKey],
  ["refusal", SOME, refusal],
  ["year ahead", SOME, yearAhead],
  ["long names", LONG, longNames],
  ["made anew", SOME, madeAnew],
  ...[10, 30, 60].map((n): [string, readonly string[], Play] => ["crowd", crowdOf(n), crowd]),
];
