/**
 * The scopes of the exploration: the first state of a key, what an application does to it, and the processes beside it.
 * @module
 */
import type { TundraError } from "../../../mod.ts";
import { HOUR_MS } from "../../support/times.ts";
import { checkDel, checkDirty, checkError } from "../simulation/workload.ts";
import { type Fault, USUAL } from "./explore_faults.ts";
import type { Actor, Program } from "./explore_process.ts";
import { ensureAll, ensureProgram, evictProgram, tickProgram } from "./explore_programs.ts";
import type { Scope } from "./explorer.ts";

/** Milliseconds; as all servers begin. */
const START_MS = 1_800_000_000_000;
/** Ends when time passes. */
const SOON_MS = START_MS + 8_000;
const LATER_MS = START_MS + 80 * HOUR_MS;

// ---- what an application does

async function command(actor: Actor, keys: readonly string[], act: () => Promise<unknown>): Promise<boolean> {
  const done = await actor.call("command", keys, act, (view, _op, _value, error) => {
    if (error) checkError(view, "command", error);
  });
  return done !== undefined;
}

async function dirty(
  actor: Actor,
  keys: readonly string[],
  options: { overwrite?: boolean; missing?: "throw" | "del" } = {},
  act: () => Promise<unknown> = () => actor.store.dirty(options, ...keys),
): Promise<void> {
  await actor.call("dirty", keys, act, (view, op, _value, error: TundraError | undefined) => {
    if (error) checkError(view, "dirty", error);
    checkDirty(view, op, options, error);
  });
}

type Act = (actor: Actor, key: string, all: readonly string[]) => Promise<unknown>;

/** Application operations on one key; `all` are marked with it. */
export const WRITERS: Record<string, Act> = {
  async set(actor, key, all) {
    if (await command(actor, [key], () => actor.store.redis.set(key, "set."))) await dirty(actor, all);
  },
  async change(actor, key, all) {
    if (!await ensureAll(actor, [key])) return;
    if (await command(actor, [key], () => actor.store.redis.append(key, "more."))) await dirty(actor, all);
  },
  async replace(actor, key, all) {
    const set = () => actor.store.redis.set(key, "whole.");
    if (await command(actor, [key], set)) await dirty(actor, all, { overwrite: true });
  },
  async "set and mark in one"(actor, key) {
    const transaction = actor.store.redis.multi();
    transaction.set(key, "both.");
    actor.store.dirtyIn(transaction, { overwrite: true }, key);
    await dirty(actor, [key], { overwrite: true }, () => transaction.exec());
  },
  async take(actor, key, all) {
    if (!await ensureAll(actor, [key])) return;
    if (await command(actor, [key], () => actor.store.redis.getdel(key))) await dirty(actor, all, { missing: "del" });
  },
  async "take blindly"(actor, key, all) {
    if (await command(actor, [key], () => actor.store.redis.getdel(key))) await dirty(actor, all, { missing: "del" });
  },
  async forget(actor, key) {
    if (!await ensureAll(actor, [key])) return;
    await command(actor, [key], () => actor.store.redis.append(key, "unmarked."));
  },
  async expire(actor, key, all) {
    if (!await ensureAll(actor, [key])) return;
    if (await command(actor, [key], () => actor.store.redis.pexpireat(key, SOON_MS))) await dirty(actor, all);
  },
  async "set again"(actor, key, all) {
    if (!await command(actor, [key], () => actor.store.redis.set(key, "once."))) return;
    if (await command(actor, [key], () => actor.store.redis.set(key, "again."))) await dirty(actor, all);
  },
  // long enough for a copy of an early request to meet what came much later
  async "whole life"(actor, key, all) {
    if (!await command(actor, [key], () => actor.store.redis.set(key, "whole."))) return;
    await dirty(actor, all, { overwrite: true });
    await tickProgram("", 0, 10_000).run(actor);
    await evictProgram("", 0, all).run(actor);
    await command(actor, [key], () => actor.store.redis.append(key, "more."));
  },
  async evict({ store, call }, key, all) {
    await evictProgram("", 0, all).run({ store, call });
    void key;
  },
};

function writer(name: string, keys: readonly string[]): Program {
  return {
    name: `writer (${name})`,
    number: 3,
    timeless: name !== "whole life",
    run: (actor) => WRITERS[name]!(actor, keys[0]!, keys),
  };
}

function deleter(keys: readonly string[]): Program {
  return {
    name: "deleter",
    number: 4,
    timeless: true,
    async run({ store, call }) {
      await call("del", keys, () => store.del(...keys), (view, op, _value, error) => {
        if (error) checkError(view, "del", error);
        checkDel(view, op, error);
      });
    },
  };
}

// ---- the first states of a key

type Before = (Program | number)[];

const prepared = (name: string, act: (actor: Actor) => Promise<unknown>): Program => ({
  name,
  number: 0,
  run: act,
});
const tick = tickProgram("earlier tick", 0, 10_000);
const first = (key: string, exp = 0): Program =>
  prepared("first write", async ({ store }) => {
    await store.redis.set(key, `${key}0.`, exp === 0 ? undefined : { pxat: exp });
    await store.dirty(key);
  });
const grown = (key: string): Program => prepared("unmarked change", ({ store }) => store.redis.append(key, "1."));
const again = (key: string): Program => prepared("mark", ({ store }) => store.dirty(key));
/** A tick has just searched for lost records: else both ticks of a scope would, with twice as many requests each. */
const searched = prepared("search for lost records", async ({ store }) => {
  const [seconds] = await store.redis.time();
  await store.redis.set("tundra:default:lost_records_cursor", `${seconds * 1000} `);
});
const evicted = (key: string): Program => prepared("eviction", ({ store }) => store.evict(key));
const deleted = (key: string): Program => ({ ...deleter([key]), name: "removal" });

/** States of a key, made by the shipped code. */
export const STARTS: Record<string, (key: string) => Before> = {
  nothing: () => [],
  new: () => [tick],
  dirty: (key) => [tick, first(key)],
  clean: (key) => [first(key), tick],
  changed: (key) => [first(key), tick, grown(key), again(key)],
  unmarked: (key) => [first(key), tick, grown(key)],
  idle: (key) => [first(key), tick, 11 * HOUR_MS, searched],
  "idle, unmarked": (key) => [first(key), tick, 11 * HOUR_MS, searched, grown(key)],
  old: (key) => [first(key), tick, 26 * HOUR_MS, searched],
  evicted: (key) => [first(key), tick, evicted(key)],
  "evicted, expires": (key) => [first(key, SOON_MS), tick, evicted(key)],
  "clean, expires": (key) => [first(key, LATER_MS), tick],
  blind: (key) => [first(key), tick, evicted(key), grown(key)],
  "deleted, not archived": (key) => [first(key), tick, deleted(key)],
  deleted: (key) => [first(key), tick, deleted(key), tick],
  suspect: (key) => [tick, first(key), { ...tick, dies: 1 }, 11_000],
};

// ---- scopes

/** Everything that a scope can vary. */
export interface ScopeChoice {
  starts: readonly string[];
  writer: string;
  faults: readonly Fault[];
  waits?: number;
  retries?: number;
  ticks?: number;
  most?: number;
  without?: readonly string[];
}

/** Two ticks, a writer, a deleter and an ensurer on a key, or on two. */
export function makeScope(choice: ScopeChoice): Scope {
  const { starts, faults, waits = 1, retries = 1, ticks = 2, most = 3_000_000, without = [] } = choice;
  const keys = starts.map((_, i) => `k${i}`);
  const leaseMs = 10_000;
  const processes = [
    ...Array.from({ length: ticks }, (_, i) => tickProgram(`tick${i}`, 1 + i, leaseMs)),
    writer(choice.writer, keys),
    deleter(keys.slice(-1)),
    ensureProgram("ensurer", 5, keys),
  ].filter(({ name }) => !without.includes(name));
  const extra = `${waits === 1 ? "" : ` waits=${waits}`}${retries === 1 ? "" : ` retries=${retries}`}` +
    `${ticks === 2 ? "" : ` ticks=${ticks}`}${without.length ? ` without=${without}` : ""}`;
  return {
    name: `${starts.join("+")}/${choice.writer}/${nameOfFaults(faults)}${extra}`,
    keys,
    before: starts.flatMap((start, i) => STARTS[start]!(keys[i]!)),
    processes,
    faults,
    waits,
    retries,
    most,
  };
}

function nameOfFaults(faults: readonly Fault[]): string {
  if (faults.length === 0) return "no fault";
  return faults === USUAL ? "any fault" : faults.join("; ");
}

const ALL_STARTS = Object.keys(STARTS);
const ALL_WRITERS = Object.keys(WRITERS).filter((name) => name !== "whole life");

/** A family of scopes: one row of the summary. */
export interface Family {
  readonly name: string;
  readonly scopes: readonly Scope[];
}

/** The first state of a key and what is done to it: each start and each writer at least once. */
const PAIRS: [start: string, writer: string][] = [
  ["nothing", "set"],
  ["new", "set"],
  ["new", "set again"],
  ["dirty", "change"],
  ["dirty", "take"],
  ["clean", "change"],
  ["clean", "evict"],
  ["clean", "take"],
  ["clean", "forget"],
  ["changed", "evict"],
  ["unmarked", "evict"],
  ["idle", "change"],
  ["idle, unmarked", "set"],
  ["old", "change"],
  ["evicted", "change"],
  ["evicted", "replace"],
  ["evicted", "set and mark in one"],
  ["evicted", "set"],
  ["evicted", "take blindly"],
  ["evicted, expires", "change"],
  ["clean, expires", "expire"],
  ["blind", "replace"],
  ["deleted, not archived", "set"],
  ["deleted", "set"],
  ["suspect", "change"],
];

/** Those of them that are explored with faults. */
const MAIN = PAIRS.filter(([start, writer]) =>
  [
    "new/set again",
    "dirty/change",
    "dirty/take",
    "clean/evict",
    "clean/forget",
    "idle/change",
    "evicted/change",
    "evicted/replace",
    "evicted/set and mark in one",
    "clean, expires/expire",
    "blind/replace",
    "deleted/set",
    "suspect/change",
  ].includes(`${start}/${writer}`)
);

const TWO_KEYS: [starts: string[], writer: string][] = [
  [["evicted", "dirty"], "change"],
  [["dirty", "evicted"], "change"],
  [["clean", "changed"], "take"],
  [["idle", "idle"], "change"],
];

/** From nothing, each process wants to be the first: five of them are too many. */
const on = (starts: readonly string[], writer: string, rest: Partial<ScopeChoice> = {}): Scope =>
  makeScope({ starts, writer, faults: [], ...rest, ...(starts[0] === "nothing" && !rest.without && { ticks: 1 }) });

const LIVES = ["evicted", "dirty", "idle", "blind"].map((start) =>
  on([start], "whole life", { ticks: 0, faults: USUAL, waits: 0, without: ["deleter"] })
);

/** The whole of it. */
export function families(): Family[] {
  return [
    {
      name: "1 key",
      scopes: ALL_STARTS.flatMap((start) => ALL_WRITERS.map((writer) => on([start], writer, { waits: 0 }))),
    },
    {
      name: "1 key, time passes",
      scopes: PAIRS.map(([start, writer]) => on([start], writer)),
    },
    {
      name: "1 key, any fault",
      // both ticks read and evict an idle key: with a fault, more than three million states
      scopes: MAIN.map(([start, writer]) =>
        on([start], writer, { faults: USUAL, waits: 0, ...(start === "idle" && { ticks: 1 }) })
      ),
    },
    {
      name: "1 key, 2 ticks, 1 writer: any fault, and time passes",
      scopes: MAIN.map(([start, writer]) => on([start], writer, { faults: USUAL, without: ["deleter", "ensurer"] })),
    },
    {
      name: "1 key, 1 ensurer, and a writer that also ticks and evicts: any fault",
      scopes: [...LIVES],
    },
    {
      name: "1 key, Redis goes back",
      scopes: MAIN.map(([start, writer]) => on([start], writer, { faults: ["rollback"], waits: 0 })),
    },
    {
      name: "1 key, a replica is behind",
      scopes: MAIN.map(([start, writer]) => on([start], writer, { faults: ["replica"], waits: 0 })),
    },
    {
      name: "2 keys, time passes",
      scopes: TWO_KEYS.map(([starts, writer]) => on(starts, writer, starts[0] === "idle" ? { ticks: 1 } : {})),
    },
    {
      name: "2 keys, any fault",
      scopes: TWO_KEYS.slice(0, 2).map(([starts, writer]) => on(starts, writer, { faults: USUAL, waits: 0 })),
    },
  ];
}

/** A small part of it, for each change: a few seconds each. */
export function reducedScopes(): Scope[] {
  const few = { ticks: 1, faults: USUAL, waits: 0 };
  return [
    on(["dirty"], "change", { waits: 0 }),
    on(["clean"], "change"),
    on(["evicted", "dirty"], "change", { waits: 0 }),
    on(["dirty"], "set", { ...few, without: ["ensurer"] }),
    on(["evicted"], "change", { ...few, without: ["deleter"] }),
  ];
}

/** Small ones in which bugs show, the smallest first: what a seeded bug is hunted with. */
export function huntingScopes(): Scope[] {
  const small = { ticks: 1, faults: USUAL, waits: 0 };
  const pairs = PAIRS.slice(1); // from nothing takes longest
  return [
    ...pairs.map(([start, writer]) => on([start], writer, { waits: 0 })),
    ...LIVES,
    ...pairs.map(([start, writer]) => on([start], writer, { ...small, without: ["deleter"] })),
    ...pairs.map(([start, writer]) => on([start], writer, { ...small, without: ["tick0", "ensurer"] })),
    ...pairs.map(([start, writer]) => on([start], writer, { without: ["ensurer"] })),
    ...pairs.map(([start, writer]) => on([start], writer, { ...small, waits: 1, without: ["deleter", "ensurer"] })),
    ...pairs.map(([start, writer]) => on([start], writer, { ...small, without: ["ensurer"] })),
    on(["nothing"], "set", { waits: 0 }),
    ...pairs.map(([start, writer]) => on([start], writer, { faults: USUAL, without: ["deleter", "ensurer"] })),
  ];
}
