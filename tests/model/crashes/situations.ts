/**
 * Every public call, each in situations in which it sends all the requests that it can send.
 * @module
 */
import { versionMicros } from "../../../src/base/keys.ts";
import { checkRestored } from "../simulation/histories.ts";
import { holderOf, versionsOf } from "../simulation/objects.ts";
import type { TickOptions, TickReport, TundraError } from "../../../mod.ts";
import { HOUR_US } from "../../support/times.ts";
import { type Leniency, type Oracle, type SimulatedOp, Violation } from "../simulation/oracle.ts";
import { complete, makeBench, type Mode, pass, type Sandbox } from "../simulation/simulation.ts";
import {
  checkDel,
  checkDirty,
  checkEnsure,
  checkEvict,
  checkTick,
  command,
  dirty,
  evict,
  type SimulatedBench,
  tick,
} from "../simulation/workload.ts";

/** The surroundings of a call. */
export interface CallStage {
  box: Sandbox;
  /** Called when the call sends its first upload. */
  onUpload?: () => void;
  /** Calls of other processes meanwhile. */
  others: { bench: SimulatedBench; act: Promise<unknown> }[];
}

/** A call. */
export interface Step {
  kind: string;
  keys: readonly string[];
  act(bench: SimulatedBench, stage: CallStage): Promise<unknown>;
  check?(oracle: Oracle, op: SimulatedOp, value: unknown, error: TundraError | undefined): void;
  /** Milliseconds that pass before it. */
  afterMs?: number;
}

/** One or more calls, and what they meet. */
export interface Situation {
  name: string;
  /** Keys of the simulation's warm state, or others if it begins with nothing. */
  keys: readonly string[];
  fromNothing?: boolean;
  /** Brings the situation about; nothing fails. */
  prepare?(box: Sandbox): Promise<void>;
  steps: readonly Step[];
  /** `true`: stores know that requests may have 32,768 bytes, so that a value of 17,000 is large. */
  smallRequests?: boolean;
  /** Each upload of this key is refused while the calls run. */
  refused?: string;
  leniency?: Partial<Leniency>;
  /** The kind of trouble, which says what may die of it: "poison" if a key may, for a reason specific to it. */
  mode?: Mode;
}

// ---- preparations

/** A healthy process does something. */
async function does(box: Sandbox, act: (bench: SimulatedBench) => Promise<unknown>): Promise<void> {
  const bench = makeBench(box, "before");
  await complete(box, bench, act(bench));
}

/** Changes keys, whole or not, and marks them. */
function changes(box: Sandbox, ...keys: string[]): Promise<void> {
  return does(box, async (bench) => {
    for (const key of keys) await command(bench, [key], () => bench.store.redis.append(key, bench.fresh()));
    await dirty(bench, keys);
  });
}

/** A key gets a value that takes several pieces, and is marked. */
function becomesLarge(box: Sandbox, key: string): Promise<void> {
  return does(box, async (bench) => {
    const value = bench.fresh().padEnd(17_000, "x");
    await command(bench, [key], () => bench.store.redis.set(key, value));
    await dirty(bench, [key]);
  });
}

/** A tick dies over all that is due, and its lease ends. */
async function killsTick(box: Sandbox): Promise<void> {
  const bench = makeBench(box, "victim");
  const { faults } = box.network;
  faults.plan = ({ what }) => what.startsWith("PUT") ? "dies before" : undefined;
  await complete(box, bench, tick(bench, {}));
  delete faults.plan;
  if (!bench.process.dead) throw new Error("the tick was to die");
  pass(box, 61_000_000);
}

/** The key is refused until it is dead. */
async function killsKey(box: Sandbox, key: string): Promise<void> {
  const { faults } = box.network;
  faults.plan = ({ what }) => what.startsWith("PUT") && what.includes(` ${key} `) ? "refused" : undefined;
  await does(box, (bench) => tick(bench, { nattempts: 1 }));
  delete faults.plan;
  if (box.redis.score("tundra:default:dead", key) === undefined) throw new Error(`${key} was to die`);
}

/** While the call uploads, another process does something to these keys, and marks it. */
function meanwhile(stage: CallStage, keys: readonly string[], act: (bench: SimulatedBench) => Promise<unknown>): void {
  stage.onUpload = () => {
    const bench = makeBench(stage.box, "another");
    stage.others.push({ bench, act: dirty(bench, keys, { missing: "del" }, () => act(bench)) });
  };
}

// ---- calls

function dirtyStep(
  keys: readonly string[],
  options: { overwrite?: boolean; missing?: "throw" | "del" } = {},
  act: Step["act"] = ({ store }) => store.dirty(options, ...keys),
): Step {
  return {
    kind: `dirty ${JSON.stringify(options)}`,
    keys,
    act,
    check: (oracle, op, _value, error) => checkDirty(oracle, op, options, error),
  };
}

function ensureStep(...keys: string[]): Step {
  return {
    kind: "ensureKs",
    keys,
    act: ({ store }) => store.ensureKs(...keys),
    check: (oracle, op, _value, error) => checkEnsure(oracle, op, error),
  };
}

/** A hung request takes longer than a tick's default deadline: what comes after it is wanted too. */
const PATIENT = { deadlineMs: 20_000 };

function tickStep(options: TickOptions = {}, act?: Step["act"], afterMs = 0): Step {
  return {
    kind: "tick",
    keys: [],
    afterMs,
    act: act ?? (({ store }) => store.tick({ ...PATIENT, ...options })),
    check: (oracle, _op, report) => checkTick(oracle, (report as TickReport | undefined)?.errors ?? []),
  };
}

function evictStep(...keys: string[]): Step {
  return {
    kind: "evict",
    keys,
    act: ({ store }) => store.evict(...keys),
    check: (oracle, op, report) => checkEvict(oracle, op, (report as { evicted: string[] } | undefined)?.evicted ?? []),
  };
}

function delStep(...keys: string[]): Step {
  return {
    kind: "del",
    keys,
    act: ({ store }) => store.del(...keys),
    check: (oracle, op, _value, error) => checkDel(oracle, op, error),
  };
}

/** Restores the oldest value that the archive holds of a key, or the version of that time. */
function restoreStep(key: string, to?: string, byTime = false): Step {
  return {
    kind: "restoreVersion",
    keys: to === undefined ? [key] : [key, to],
    act({ store, oracle }, { box: { subject } }) {
      const values = versionsOf(oracle.archive, key).filter(({ state }) => state !== null);
      const [oldest] = values.map(({ ver }) => ver).sort();
      const version = byTime ? new Date(Math.ceil(versionMicros(oldest!) / 1000)) : oldest!;
      return subject.restoreVersion(store, key, version, { to });
    },
    check: (oracle, op, report, error) => checkRestored({ oracle }, op, report, error),
  };
}

function peekStep(key: string): Step {
  return {
    kind: "peek",
    keys: [key],
    act: ({ store }, { box: { subject } }) => subject.peek(store, key, (redis, name) => redis.get<string>(name)),
    check(_oracle, op, found, error) {
      if (error || op.outcomes!.has((found as string | undefined) ?? "nothing")) return;
      throw new Violation("8 peek() shows what the key is", `${key}: ${found}, and it was ${[...op.outcomes!]}`);
    },
  };
}

const other = (kind: string, keys: readonly string[], act: Step["act"]): Step => ({ kind, keys, act });

/** The table. */
export const SITUATIONS: readonly Situation[] = [
  {
    name: "dirty",
    keys: ["clean", "cleanttl", "fresh"],
    prepare: (box) =>
      does(box, async (bench) => {
        await command(bench, ["clean"], () => bench.store.redis.append("clean", bench.fresh()));
        await command(bench, ["cleanttl"], () => bench.store.redis.append("cleanttl", bench.fresh()));
        await command(bench, ["fresh"], () => bench.store.redis.set("fresh", bench.fresh()));
      }),
    steps: [dirtyStep(["clean", "cleanttl", "fresh"])],
  },
  {
    name: "dirty, the first ever",
    keys: ["k0"],
    fromNothing: true,
    prepare: (box) => does(box, (bench) => command(bench, ["k0"], () => bench.store.redis.set("k0", bench.fresh()))),
    steps: [dirtyStep(["k0"])],
  },
  {
    name: "dirty of a blind write",
    keys: ["blind", "clean"],
    steps: [dirtyStep(["blind", "clean"])],
  },
  {
    name: "dirty, overwrite",
    keys: ["blind", "evictedttl"],
    prepare: (box) =>
      does(box, async (bench) => {
        for (const key of ["blind", "evictedttl"]) {
          await command(bench, [key], () => bench.store.redis.set(key, bench.fresh()));
        }
      }),
    steps: [dirtyStep(["blind", "evictedttl"], { overwrite: true })],
  },
  {
    name: "dirty, missing del",
    keys: ["clean", "dirty"],
    prepare: (box) =>
      does(box, async (bench) => {
        for (const key of ["clean", "dirty"]) await command(bench, [key], () => bench.store.redis.getdel(key));
      }),
    steps: [dirtyStep(["clean", "dirty"], { missing: "del" })],
  },
  {
    name: "dirtyIn a transaction that overwrites",
    keys: ["evicted", "clean"],
    steps: [
      dirtyStep(["evicted", "clean"], { overwrite: true }, ({ store, fresh }) => {
        const transaction = store.redis.multi();
        transaction.set("evicted", fresh());
        transaction.set("clean", fresh());
        store.dirtyIn(transaction, { overwrite: true }, "evicted", "clean");
        return transaction.exec();
      }),
    ],
  },
  {
    name: "dirtyIn a transaction",
    keys: ["clean", "fresh"],
    steps: [
      dirtyStep(["clean", "fresh"], {}, ({ store, fresh }) => {
        const transaction = store.redis.multi();
        transaction.append("clean", fresh());
        transaction.append("fresh", fresh());
        store.dirtyIn(transaction, "clean", "fresh");
        return transaction.exec();
      }),
    ],
  },
  {
    name: "dirtyIn a pipeline that takes",
    keys: ["clean", "cleanttl"],
    steps: [
      dirtyStep(["clean"], { missing: "del" }, ({ store }) => {
        const pipeline = store.redis.pipeline();
        pipeline.getdel("clean");
        store.dirtyIn(pipeline, { missing: "del" }, "clean");
        return pipeline.exec();
      }),
    ],
  },
  {
    name: "ensureKs of evicted keys",
    keys: ["evicted", "evictedttl", "fresh"],
    steps: [ensureStep("evicted", "evictedttl", "fresh")],
  },
  {
    name: "ensureKs of a large value",
    keys: ["clean"],
    smallRequests: true,
    async prepare(box) {
      await becomesLarge(box, "clean");
      await does(box, (bench) => tick(bench, {}));
      await does(box, (bench) => evict(bench, ["clean"]));
    },
    steps: [ensureStep("clean")],
  },
  {
    name: "tick over a large value",
    keys: ["clean", "dirty"],
    smallRequests: true,
    prepare: (box) => becomesLarge(box, "clean"),
    steps: [tickStep()],
  },
  {
    name: "ensureKs of keys that come into use again",
    keys: ["clean", "cleanttl", "dirty"],
    prepare: (box) => Promise.resolve(pass(box, 3 * HOUR_US)),
    steps: [ensureStep("clean", "cleanttl", "dirty")],
  },
  {
    name: "ensureKs of removed keys",
    keys: ["clean", "cleanttl"],
    async prepare(box) {
      await changes(box, "clean");
      await does(box, async (bench) => { // one is dirty, the other one archived
        for (const key of ["clean", "cleanttl"]) await command(bench, [key], () => bench.store.redis.getdel(key));
      });
    },
    steps: [ensureStep("clean", "cleanttl")],
  },
  {
    name: "ensureKs of an eviction half undone",
    keys: ["clean", "evicted"],
    async prepare(box) {
      const { value } = box.oracle.held("clean")!;
      await does(box, async (bench) => {
        await evict(bench, ["clean"]);
        await command(bench, ["clean"], () => bench.store.redis.set("clean", value));
      });
    },
    steps: [ensureStep("clean", "evicted")],
  },
  {
    name: "ensureKs of a blind write",
    keys: ["blind", "evicted"],
    steps: [ensureStep("blind", "evicted")],
  },
  {
    name: "ensureKs of a lost object that has a newer version",
    keys: ["evicted"],
    leniency: { lostObjects: true },
    async prepare(box) {
      const { oracle } = box;
      oracle.look();
      const [redis, truths, { ver }] = [box.redis.save(), oracle.truths(), oracle.record("evicted")];
      await does(box, (bench) => bench.store.ensureKs("evicted"));
      await changes(box, "evicted");
      await does(box, (bench) => tick(bench, {}));
      await does(box, (bench) => evict(bench, ["evicted"]));
      oracle.rollBack(redis, truths);
      oracle.archive.delete(holderOf("evicted", ver));
    },
    steps: [ensureStep("evicted")],
  },
  {
    name: "tick over dirty keys",
    keys: ["dirty", "clean", "cleanttl"],
    prepare: (box) => changes(box, "clean", "cleanttl"),
    steps: [tickStep()],
  },
  {
    name: "tick, batch after batch",
    keys: ["dirty", "clean"],
    prepare: (box) => changes(box, "clean"),
    steps: [tickStep({ batchKeys: 1 })],
  },
  {
    name: "tick, the first ever",
    keys: ["k0"],
    fromNothing: true,
    prepare: (box) =>
      does(box, async (bench) => {
        await command(bench, ["k0"], () => bench.store.redis.set("k0", bench.fresh()));
        await dirty(bench, ["k0"]);
      }),
    steps: [tickStep()],
  },
  {
    name: "tick over removed keys",
    keys: ["deleting", "clean", "dirty"],
    prepare: (box) =>
      does(box, async (bench) => {
        for (const key of ["clean", "dirty"]) await command(bench, [key], () => bench.store.redis.getdel(key));
        await dirty(bench, ["clean"], { missing: "del" }); // "dirty" goes behind Tundra's back
      }),
    steps: [tickStep()],
  },
  {
    name: "tick over keys that change meanwhile",
    keys: ["clean", "dirty", "cleanttl"],
    prepare: (box) => changes(box, "clean", "cleanttl"),
    steps: [
      tickStep({}, ({ store }, stage) => {
        meanwhile(stage, ["clean", "dirty"], async ({ store, fresh }) => {
          const transaction = store.redis.multi();
          transaction.append("clean", fresh());
          transaction.getdel("dirty");
          transaction.del("cleanttl"); // behind Tundra's back
          store.dirtyIn(transaction, { missing: "del" }, "clean", "dirty");
          await transaction.exec();
        });
        return store.tick(PATIENT);
      }),
    ],
  },
  {
    name: "tick over a removed key that is written meanwhile",
    keys: ["deleting", "deleted"],
    steps: [
      tickStep({}, ({ store }, stage) => {
        meanwhile(stage, ["deleting"], async ({ store, fresh }) => {
          const transaction = store.redis.multi();
          transaction.set("deleting", fresh());
          store.dirtyIn(transaction, "deleting");
          await transaction.exec();
        });
        return store.tick(PATIENT);
      }),
    ],
  },
  {
    name: "tick over a suspect and a key",
    keys: ["dirty", "clean"],
    async prepare(box) {
      await killsTick(box);
      await changes(box, "clean");
    },
    steps: [tickStep()],
  },
  {
    name: "tick over two suspects",
    keys: ["dirty", "clean"],
    async prepare(box) {
      await changes(box, "clean");
      await killsTick(box);
    },
    steps: [tickStep()],
  },
  {
    name: "tick over a refused suspect",
    keys: ["dirty"],
    prepare: killsTick,
    refused: "dirty",
    steps: [tickStep()],
  },
  {
    name: "tick over a refused object",
    keys: ["dirty", "clean"],
    prepare: (box) => changes(box, "clean"),
    refused: "dirty",
    steps: [tickStep()],
  },
  {
    name: "tick over a refused object, at its last attempt",
    keys: ["dirty"],
    refused: "dirty",
    mode: "poison",
    steps: [tickStep({ nattempts: 1 })],
  },
  {
    name: "tick that is aborted",
    keys: ["dirty", "clean", "cleanttl"],
    async prepare(box) {
      await killsTick(box); // a suspect
      await changes(box, "clean", "cleanttl");
    },
    steps: [
      tickStep({}, ({ store }, stage) => {
        const controller = new AbortController();
        stage.onUpload = () => stage.box.world.ready.push({ run: () => controller.abort(new Error("no more time")) });
        return store.tick({ ...PATIENT, signal: controller.signal, nthreads: 1 });
      }),
    ],
  },
  {
    name: "tick over idle keys",
    keys: ["clean", "cleanttl", "unmarked"],
    prepare: (box) => Promise.resolve(pass(box, 11 * HOUR_US)),
    steps: [tickStep()],
  },
  {
    name: "tick over idle keys of old versions",
    keys: ["clean", "cleanttl", "unmarked"],
    prepare: (box) => Promise.resolve(pass(box, 26 * HOUR_US)),
    steps: [tickStep()],
  },
  {
    name: "tick over an idle key whose old object is lost",
    keys: ["clean", "cleanttl"],
    leniency: { lostObjects: true },
    prepare(box) {
      pass(box, 26 * HOUR_US);
      box.oracle.archive.delete(holderOf("clean", box.oracle.record("clean").ver));
      return Promise.resolve();
    },
    steps: [tickStep()],
  },
  {
    name: "evict",
    keys: ["clean", "cleanttl", "unmarked"],
    prepare: (box) =>
      // another expiry is another value
      does(box, (bench) => command(bench, ["cleanttl"], () => bench.store.redis.persist("cleanttl"))),
    steps: [evictStep("clean", "cleanttl", "unmarked")],
  },
  {
    name: "del",
    keys: ["clean", "evicted", "dirty"],
    steps: [delStep("clean", "evicted", "dirty")],
  },
  {
    name: "del of a key without a record",
    keys: ["fresh", "deleted"],
    prepare: (box) =>
      does(box, async (bench) => {
        for (const key of ["fresh", "deleted"]) {
          await command(bench, [key], () => bench.store.redis.set(key, bench.fresh()));
        }
      }),
    steps: [delStep("fresh", "deleted")],
  },
  {
    name: "status, deadLetters",
    keys: ["dirty"],
    prepare: (box) => killsKey(box, "dirty"),
    mode: "poison",
    steps: [
      other("status", [], ({ store }) => store.status()),
      other("deadLetters", [], ({ store }) => store.deadLetters()),
    ],
  },
  {
    name: "retryDead",
    keys: ["dirty"],
    prepare: (box) => killsKey(box, "dirty"),
    mode: "poison",
    steps: [other("retryDead", ["dirty"], ({ store }) => store.retryDead("dirty"))],
  },
  {
    name: "dirty of a dead key",
    keys: ["dirty"],
    prepare: (box) => killsKey(box, "dirty"),
    mode: "poison",
    steps: [dirtyStep(["dirty"])],
  },
  {
    name: "restoreVersion over a clean key",
    keys: ["clean", "dirty"],
    prepare: async (box) => {
      await changes(box, "clean");
      await does(box, (bench) => tick(bench, {}));
    },
    steps: [restoreStep("clean")],
  },
  {
    name: "restoreVersion over an evicted key, by time",
    keys: ["clean"],
    prepare: async (box) => {
      await changes(box, "clean");
      await does(box, (bench) => tick(bench, {}));
      await does(box, (bench) => evict(bench, ["clean"]));
    },
    steps: [restoreStep("clean", undefined, true)],
  },
  {
    name: "restoreVersion of a removed key",
    keys: ["deleted"],
    steps: [restoreStep("deleted")],
  },
  {
    name: "restoreVersion to another key, tick",
    keys: ["evicted", "fresh"],
    steps: [restoreStep("evicted", "fresh"), tickStep()],
  },
  {
    name: "peek of an evicted key",
    keys: ["evicted"],
    steps: [peekStep("evicted")],
  },
  {
    name: "peek of a clean key",
    keys: ["clean"],
    steps: [peekStep("clean")],
  },
  // both of two faults may also meet two calls, and two processes
  {
    name: "tick, and another one after its lease",
    keys: ["dirty", "deleting"],
    steps: [tickStep(), tickStep({}, undefined, 61_000)],
  },
  {
    name: "dirty, tick, evict, ensureKs",
    keys: ["clean"],
    prepare: (box) =>
      does(box, (bench) => command(bench, ["clean"], () => bench.store.redis.append("clean", bench.fresh()))),
    steps: [dirtyStep(["clean"]), tickStep(), evictStep("clean"), ensureStep("clean")],
  },
  {
    name: "del, a new value, dirty, del",
    keys: ["clean"],
    steps: [
      delStep("clean"),
      other("command", ["clean"], ({ store, fresh }) => store.redis.set("clean", fresh())),
      dirtyStep(["clean"]),
      delStep("clean"),
    ],
  },
];
