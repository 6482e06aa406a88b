/**
 * Schedules of several databases and archives: two indexes that begin with one archive at the same moment, a copy of a
 * database, one that moves, one that is put back to a state before its birth, one whose bucket is changed by mistake.
 * At most one index works on an archive, and it loses nothing.
 * @module
 */
import type { RedisState } from "../redis/redis.ts";
import type { Choices } from "./choices.ts";
import { kill, makeNetwork } from "./network.ts";
import { saysWhose } from "./objects.ts";
import { Violation } from "./oracle.ts";
import { rebuildOnce, watchId } from "./rebuilds.ts";
import { DRAWN_BEFORE, makeSimulatedWorld } from "./scheduler.ts";
import {
  complete,
  drainOnce,
  errorsOf,
  makeBench,
  makeSandbox,
  narrowed,
  type Outcome,
  pass,
  playOut,
  recover,
  runAll,
  type Running,
  type Sandbox,
  startProcesses,
  type Subject,
  type Warm,
  WARM_KEYS,
  warmStart,
} from "./simulation.ts";
import { call } from "./workload.ts";

/** An archive, and the database whose index works on it. */
interface Territory {
  owner: string | undefined;
}

interface TwoIndexes {
  /** The database that the warm state is of, and another one, on the same archive. */
  first: Sandbox;
  second: Sandbox;
  territory: Territory;
  warm: Warm;
}

type Story = (stage: TwoIndexes) => Promise<void>;

const ID = "tundra:default:id";
const NOBODY = "nobody";
const ROUNDS = 8;
const FROM_NOTHING = ["k0", "k1"];

/** Plays one; the same choices, the same schedule. */
export async function runSeveral(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const warm = await warmStart(subject);
  const [mode, play] = choices.pick(PLAYS);
  const keys = new Set(mode === "two begin" ? FROM_NOTHING : [choices.pick(WARM_KEYS), choices.pick(WARM_KEYS)]);
  const world = makeSimulatedWorld(choices, warm.nowUs, log, DRAWN_BEFORE);
  const territory: Territory = { owner: undefined };
  const archive = new Map();
  const [first, second] = ["redis.model", "second.model"].map((database) => {
    const box = makeSandbox(subject, choices, [...keys], warm.nowUs, log, { world, archive, database });
    box.oracle.leniency.severalIndexes = true;
    guard(box, territory);
    return box;
  }) as [Sandbox, Sandbox];
  const { fresh } = second;
  second.fresh = () => `s${fresh()}`;
  log?.push(`mode ${mode}, keys ${[...keys]}`);
  world.pace = {
    reorder: choices.pick([300, 0, 700, 1000]),
    timers: choices.pick([0, 0, 60]),
    late: choices.pick([0, 100]),
  };
  const unconditional = choices.chance(500);
  for (const { network: { faults } } of [first, second]) {
    faults.left = choices.pick([2, 0, 1, 4, 8]);
    faults.redis = choices.pick([30, 0, 100]);
    faults.store = choices.pick([30, 0, 150]);
    faults.unconditional = unconditional;
  }
  const played = await playOut(first, () => play({ first, second, territory, warm }));
  return { mode, ...played };
}

/** Nothing is put or deleted but by the index that the archive belongs to. */
function guard({ database, oracle }: Sandbox, territory: Territory): void {
  const { put, drop, archive } = oracle;
  const works = (names: readonly string[], what: string) => {
    const name = names.find((each) => !saysWhose(each));
    if (name === undefined) return;
    territory.owner ??= database;
    if (territory.owner === database) return;
    throw new Violation("10 one index works on an archive", `${database} ${what} ${name}: it is ${territory.owner}'s`);
  };
  oracle.put = (name, bytes, ops) => {
    works([name], "puts");
    // an archive that knows no conditions lets a late copy of another's take its place
    if (saysWhose(name)) archive.set(name, { bytes, entries: [] });
    else put(name, bytes, ops);
  };
  oracle.drop = (names) => {
    works(names.filter((name) => archive.has(name)), "deletes");
    drop(names);
  };
}

function load(box: Sandbox, { redis, oracle }: Pick<Warm, "redis" | "oracle">): void {
  box.redis.load(narrowed(redis, box.keys));
  box.oracle.load(oracle);
}

/** The warm database, which owns its archive. */
function begin({ first, territory, warm }: TwoIndexes): void {
  load(first, warm);
  territory.owner = first.database;
}

/** Now and then a process dies, or time passes. */
async function together(box: Sandbox, others: readonly Sandbox[], processes: Running[]): Promise<void> {
  const { choices } = box.world;
  let left = choices.pick([1, 0, 3]);
  await runAll(box, processes, () => {
    if (left <= 0 || !choices.chance(20)) return;
    left--;
    if (choices.chance(500)) {
      const { process, oracle } = choices.pick(processes).bench;
      if (!process.dead) kill(process, oracle);
      return;
    }
    pass(box, choices.pick([2, 61, 3 * 3600, 26 * 3600]) * 1e6);
    for (const { oracle } of others) oracle.look();
  });
}

/** Lets everything on its way arrive; nothing fails any more. */
async function settle(boxes: readonly Sandbox[]): Promise<void> {
  for (const { network: { faults } } of boxes) faults.left = 0;
  const { world } = boxes[0]!;
  while (world.ready.length > 0) await world.step();
}

/** Its index owns the archive, and loses nothing. */
async function isSound(box: Sandbox): Promise<void> {
  box.oracle.leniency.severalIndexes = false;
  await recover(box, "network");
}

function isConfirmed({ redis }: Sandbox): boolean {
  return !(redis.peek(ID)?.value ?? "new:").startsWith("new:");
}

/** The keys of Tundra in Redis. */
function index(state: RedisState): Map<string, string> {
  const text = (value: unknown) => JSON.stringify(value instanceof Map ? [...value].sort() : value);
  return new Map(
    [...state].filter(([name]) => name.startsWith("tundra:")).map(([name, { value }]) => [name, text(value)]),
  );
}

const twoBegin: Story = async ({ first, second, territory }) => {
  const boxes = [first, second];
  await together(first, [second], boxes.flatMap((box) => startProcesses(box)));
  await settle(boxes);
  first.world.pace.timers = 0;
  for (let round = 0; round < ROUNDS && !boxes.some(isConfirmed); round++) {
    for (const box of boxes) await drainOnce(box, `${box.database} ${round}`, 1_000_000);
  }
  const owners = boxes.filter(isConfirmed);
  if (owners.length !== 1) throw new Violation("10 one index works on an archive", `${owners.length} are confirmed`);
  const [owner] = owners as [Sandbox];
  territory.owner ??= owner.database;
  await isSound(owner);
};

const copy: Story = async (stage) => {
  const { first, second } = stage;
  begin(stage);
  // what the original deletes from the archive, a copy lacks
  second.oracle.leniency.lostObjects = true;
  load(second, { redis: first.redis.save(), oracle: first.oracle.save() });
  const before = index(second.redis.save());
  await together(first, [second], [...startProcesses(first), ...startProcesses(second)]);
  await settle([first, second]);
  await drainOnce(second, "copy", 1_000_000);
  for (const [name, value] of index(second.redis.save())) {
    if (value === before.get(name)) continue;
    throw new Violation("10 a copy changes nothing", `${name} was ${before.get(name)}, is ${value}`);
  }
  await isSound(first);
};

const move: Story = async (stage) => {
  const { first, second, territory } = stage;
  const { world } = first;
  const { choices } = world;
  begin(stage);
  await together(first, [second], startProcesses(first));
  const { left } = first.network.faults;
  await settle([first]);
  world.late.splice(0);
  load(second, { redis: first.redis.save(), oracle: first.oracle.save() });
  second.network.faults.left = left;
  for (let attempt = 1;; attempt++) {
    if (attempt > 2 * ROUNDS) throw new Violation("10 an index can be moved", `not by ${attempt} attempts`);
    if (attempt === ROUNDS) {
      second.network.faults.left = 0;
      world.pace.timers = 0;
    }
    const bench = makeBench(second, `mover${attempt}`);
    let moved = false;
    const moving = call(bench, "moveIndex", [], () => second.subject.moveIndex(bench.store), (_op, report) => {
      moved = report !== undefined;
    });
    if (attempt < ROUNDS && choices.chance(300)) {
      void moving.catch(() => {});
      for (let steps = choices.int(20); steps > 0 && await world.step(); steps--) second.steps++;
      kill(bench.process, second.oracle);
      continue;
    }
    await complete(second, bench, moving);
    if (moved) break;
  }
  territory.owner = second.database;
  first.oracle.leniency.lostObjects = true;
  await together(second, [first], [...startProcesses(second), ...startProcesses(first)]);
  await settle([first, second]);
  await isSound(second);
};

const takeOver: Story = async (stage) => {
  const { first, second, territory } = stage;
  const { world } = first;
  const { choices } = world;
  begin(stage);
  await together(first, [second], startProcesses(first));
  const { left } = first.network.faults;
  await settle([first]);
  world.late.splice(0);
  watchId(second);
  second.oracle.leniency.othersToo = true;
  second.oracle.empty();
  second.network.faults.left = left;
  for (let attempt = 1;; attempt++) {
    if (attempt > 2 * ROUNDS) throw new Violation("10 an archive can be taken over", `not by ${attempt} attempts`);
    if (attempt === ROUNDS) {
      second.network.faults.left = 0;
      world.pace.timers = 0;
    }
    const bench = makeBench(second, `rebuild${attempt}`);
    let done = false;
    const options = { takeOver: true, ...(choices.chance(300) && { maxSubrequests: 40 }) };
    const taking = rebuildOnce(second, bench, options).then((is) => done = is);
    if (attempt < ROUNDS && choices.chance(300)) {
      void taking.catch(() => {});
      for (let steps = choices.int(30); steps > 0 && await world.step(); steps--) second.steps++;
      kill(bench.process, second.oracle);
      continue;
    }
    await complete(second, bench, taking);
    if (done) break;
  }
  territory.owner = second.database;
  first.oracle.leniency.lostObjects = true;
  await together(second, [first], [...startProcesses(second), ...startProcesses(first)]);
  await settle([first, second]);
  second.oracle.leniency.lostIndex = false;
  await isSound(second);
};

const unborn: Story = async (stage) => {
  const { first, second, territory } = stage;
  begin(stage);
  await together(first, [second], startProcesses(first));
  await settle([first, second]);
  first.world.late.splice(0);
  // an archive in which nothing was archived may be begun with again
  if (![...first.oracle.archive.values()].some(({ entries }) => entries.length > 0)) return;
  first.world.note(() => "Redis goes back to the state before its index had an id");
  const nothing = new Map([...first.oracle.truths()].map(([key, truth]) => [key, {
    ...truth,
    ...{ held: null, record: undefined, right: [null], unmarked: false, markedAt: 0, deletableUs: 0, removedUs: 0 },
    expiring: { us: 0, atMs: 0 },
  }]));
  first.oracle.rollBack(new Map(), nothing);
  territory.owner = NOBODY;
  await together(first, [second], [...startProcesses(first), ...startProcesses(second)]);
  await settle([first, second]);
  for (const box of [first, second]) await drainOnce(box, "last", 1_000_000);
  if (isConfirmed(first) || isConfirmed(second)) {
    throw new Violation("10 an index that was lost does not begin anew", String(first.redis.peek(ID)?.value));
  }
};

const anotherBucket: Story = async (stage) => {
  const { first, second } = stage;
  const { world, redis, oracle } = first;
  begin(stage);
  const other: Sandbox["oracle"]["archive"] = new Map();
  if (world.choices.chance(500)) {
    const id = "another@third.model";
    for (const name of ["first", "another"]) {
      other.set(`default/~owner/${name}`, { bytes: new TextEncoder().encode(id), entries: [] });
    }
  }
  const touched = (what: string, names: readonly string[]) => {
    throw new Violation("10 nothing happens in another's archive", `${what} ${names}`);
  };
  const misled: Sandbox["oracle"] = {
    ...oracle,
    archive: other,
    put: (name) => touched("put", [name]),
    drop: (names) => touched("drop", names),
  };
  const wrong = makeNetwork(world, redis, misled, errorsOf(first.subject));
  Object.assign(wrong.faults, { redis: 30, store: 30, left: world.choices.pick([0, 2]) });
  await together(first, [second], [...startProcesses(first), ...startProcesses(first, wrong)]);
  wrong.faults.left = 0;
  await settle([first]);
  const bench = makeBench(first, "misled", wrong);
  let report: unknown = "none";
  await complete(first, bench, call(bench, "tick", [], () => bench.store.tick(), (_op, value) => report = value));
  kill(bench.process, oracle);
  const worked = report as { frozen: number; evicted: number } | undefined;
  if (worked !== undefined && worked.frozen + worked.evicted > 0) {
    throw new Violation("10 nothing happens in another's archive", JSON.stringify(report));
  }
  await isSound(first);
};

const PLAYS: [mode: string, play: Story][] = [
  ["two begin", twoBegin],
  ["two begin", twoBegin],
  ["copy", copy],
  ["move", move],
  ["take over", takeOver],
  ["unborn", unborn],
  ["another bucket", anotherBucket],
];
