/**
 * One call meets its faults, and then the world goes on: another tick recovers, the application repeats what failed,
 * reads everything, writes everything anew, evicts it, and deletes it. After each step the audit must find nothing, and
 * before each step a copy of the faulty request may arrive late.
 * @module
 */
import { type Fault, type FaultLayer, type FaultRequest, faultyFetch } from "../../dev/servers/faults.ts";
import { TundraError, tundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import type { CommandPart, Reply } from "../../src/testing/resp.ts";
import { hooked } from "../support/fixtures.ts";
import { gate, sleep } from "../support/waiting.ts";
import type { CallCase } from "./calls.ts";
import type { Allowed, FaultWorld, Saved, Value } from "./world.ts";

/** Delivery times of a late request; `soon`: just after the call, before any recovery. */
export type Late =
  | "soon"
  | "in another's lease"
  | "after recovery"
  | "after a new write"
  | "over a blind write"
  | "after del";

/** One kind of fault. */
export interface Kind {
  name: string;
  late?: Late;
  /** The client has to give up before the call ends. */
  hangs?: boolean;
  /** A reply that looks complete and is not: the archive's bytes are wrong then. */
  damages?: boolean;
  make(late: Promise<void>): Fault;
}

/** The attempts of the client: one, or as often as it does by itself. */
export type Tries = "no retries" | "default retries";

/** A call in its situation. */
export interface Prepared {
  call: CallCase;
  saved: Saved;
  before: Allowed;
  /** The requests of the call if nothing fails. */
  requests: FaultRequest[];
  /** The name of each script, by its SHA-1. */
  scripts: Map<string, string>;
}

/** Faults by the number of the request that meets them. */
export type Plan = Map<number, Kind>;

const GIVES_UP_MS = 60;
const DEFINITE_CODES = ["UNAVAILABLE", "ENSURE_FAILED"];
const LATES: readonly Late[] = [
  "soon",
  "in another's lease",
  "after recovery",
  "after a new write",
  "over a blind write",
  "after del",
];

/** All kinds of faults that one request can meet without the client waiting for long. */
export const KINDS: readonly Kind[] = [
  { name: "lost before it took effect", make: () => ({ type: "reset" }) },
  { name: "lost after it took effect", make: () => ({ type: "reset", served: true }) },
  { name: "500 after it took effect", make: () => ({ type: "status", status: 500, served: true }) },
  { name: "reply cut off", make: () => ({ type: "truncate" }) },
  { name: "reply cut short unnoticed", damages: true, make: () => ({ type: "truncate", clean: true }) },
  { name: "done twice", make: () => ({ type: "duplicate" }) },
  { name: "hung before it took effect", hangs: true, make: () => ({ type: "hang" }) },
  { name: "hung after it took effect", hangs: true, make: () => ({ type: "hang", served: true }) },
  ...LATES.map((late): Kind => ({ name: `late, ${late}`, late, make: (until) => ({ type: "late", until }) })),
];

/** Of a request that only reads it makes no difference whether it took effect, nor how often, nor when. */
const OF_READS = new Set(["lost before it took effect", "reply cut off", "reply cut short unnoticed"]);
/** An upload's reply says nothing that could be cut off, and nobody but its own tick ever names its object. */
const OF_UPLOADS = new Set([
  "lost before it took effect",
  "lost after it took effect",
  "hung before it took effect",
  "late, after recovery",
  "late, after del",
]);
/** Retries make another case of these. */
const RETRIED = new Set([
  "lost after it took effect",
  "late, after a new write",
]);

/** Those of `KINDS` that make a difference to this request. */
export function kindsFor(request: FaultRequest, tries: Tries): readonly Kind[] {
  const { method, body } = request;
  const reads = method === "GET" || /^\[*"(EVAL(SHA)?_RO|MGET|TIME|ZRANGE\w*)"|"ConsistentRead":true/.test(body);
  const puts = method === "PUT" || /"ConditionExpression":/.test(body);
  return KINDS.filter(({ name }) =>
    (!reads || OF_READS.has(name)) && (!puts || OF_UPLOADS.has(name)) &&
    (tries === "no retries" || RETRIED.has(name))
  );
}

/** Brings a call's situation about, and runs it once without a fault. */
export async function prepare(world: FaultWorld, call: CallCase): Promise<Prepared> {
  await world.flush();
  const keys = await call.prepare(world);
  const saved = await world.save();
  await world.load(saved);
  const before: Allowed = new Map();
  for (const key of keys) before.set(key, [call.before?.[key] ?? await worthOf(world, key)]);
  const problems = await world.audit(before);
  if (problems.length > 0) throw new Error(`${call.name}: its situation is not sound: ${problems.join("; ")}`);
  const logs: FaultRequest[][] = [];
  await world.commands(["SCRIPT", "FLUSH"]);
  for (const _ of ["a first time, in which Redis learns the scripts", "a second time"]) {
    await world.load(saved);
    const layer = faulty([]);
    await call.run(opener(world, layer, "no retries", false), world);
    logs.push([...layer.log]);
    const wrong = await world.audit(allowedAfter(call, before, "resolved", await world.values(...keys)));
    if (wrong.length > 0) throw new Error(`${call.name}: fails without a fault: ${wrong.join("; ")}`);
  }
  return { call, saved, before, requests: logs[1]!, scripts: new Map(scriptsOf(logs[0]!)) };
}

/** The content of a request: a script by its name. */
function nameOf(request: FaultRequest, scripts: ReadonlyMap<string, string>): string {
  if (!request.body.startsWith("[")) return `${request.method} ${new URL(request.url).pathname}`;
  const sha1 = /^\["EVALSHA(?:_RO)?","(\w{40})"/.exec(request.body)?.[1];
  return (sha1 && scripts.get(sha1)) ?? request.body.slice(0, 40);
}

/** A server that knows no script is told each of them in the request after the one that names it. */
function scriptsOf(log: readonly FaultRequest[]): [string, string][] {
  return log.flatMap(({ body }, i): [string, string][] => {
    const named = /^\["EVALSHA(?:_RO)?","(\w{40})"/.exec(body);
    const told = /^\["EVAL(?:_RO)?",".*?\\n-- (.*?)\\n/.exec(log[i + 1]?.body ?? "");
    return named && told ? [[named[1]!, told[1]!]] : [];
  });
}

/** Scripts that change nothing when they come this late: a lease was taken over, or what they go by has moved on. */
const INERT: readonly [RegExp, readonly Late[]][] = [
  [
    /^(commit|fail|release|begin)$/,
    ["in another's lease", "after recovery", "after a new write", "over a blind write", "after del"],
  ],
  [/^(restore|remove|reconcile)$/, [
    "after a new write",
    "over a blind write",
    "after del",
  ]],
];

/**
 * Lives through `plan`; returns whether all its faults were met. Throws with all that is wrong. `forgetful`: Redis
 * forgets all scripts before each request.
 */
export async function live(
  world: FaultWorld,
  prepared: Prepared,
  plan: Plan,
  tries: Tries,
  forgetful = false,
): Promise<boolean> {
  const { call, saved, before, scripts } = prepared;
  let inLease: (() => Promise<void>) | undefined;
  const archive = world.datastore();
  const forget = forgetful ? () => world.commands(["SCRIPT", "FLUSH"]) : undefined;
  const healthy = world.store({
    ...call.options,
    redis: { ...call.options?.redis, fetch: faulty([], forget) },
    datastore: hooked(archive, {
      async putKey(name, value, options) {
        await inLease?.();
        return await archive.putKey(name, value, options);
      },
    }),
  });
  const kinds = [...plan.values()];
  const lates = new Set(kinds.map((kind) => kind.late).filter((late) => late !== undefined));
  const arrivals = new Map(LATES.map((late) => [late, gate()]));
  const layer = faulty(
    [...plan].map(([nth, kind]) => ({
      nth,
      fault: kind.make(arrivals.get(kind.late ?? "soon")!.wait()),
    })),
    forget,
  );
  let step = "the call";
  let outcome: "resolved" | "rejected" = "rejected";
  let allowed = before;
  const keys = [...before.keys()];
  const check = async (allowed: Allowed) => {
    const wrong = await world.audit(allowed);
    if (wrong.length > 0) throw new Error(`after ${step}: ${wrong.join("; ")}`);
  };
  const arrive = async (late: Late) => {
    if (!lates.has(late)) return;
    step = `the late request that came ${late}`;
    const names = layer.log.filter(({ n }) => plan.get(n)?.late === late).map((request) => nameOf(request, scripts));
    const inert = names.every((name) => INERT.some(([script, when]) => script.test(name) && when.includes(late)));
    const was = inert ? (await world.save()).keys : undefined;
    arrivals.get(late)!.open();
    do await sleep(1); while (layer.underWay() > 0);
    if (was && !sameKeys((await world.save()).keys, was)) throw new Error(`${names} changed something`);
  };
  const onlyIn = async (what: string, act: () => Promise<unknown>): Promise<void> => {
    step = what;
    try {
      await act();
    } catch (error) {
      throw new Error(`${what} failed: ${error}`);
    }
  };

  try {
    await world.load(saved);
    const hangs = kinds.some((kind) => kind.hangs);
    outcome = await outcomeOf(world, () => call.run(opener(world, layer, tries, hangs), world), kinds);
    if (tries === "default retries" && kinds.length === 1 && !hangs && !kinds[0]!.damages && outcome === "rejected") {
      throw new Error("one fault and the default retries: it must not be noticed");
    }
    allowed = allowedAfter(call, before, outcome, await world.values(...keys));
    await check(allowed);
    await arrivesBefore("soon");

    inLease = async () => {
      inLease = undefined;
      await arrivesBefore("in another's lease");
      step = "recovery";
    };
    await onlyIn("recovery", () => drain(world, healthy, outcome === "rejected" ? call.dead : undefined));
    await inLease?.();
    await check(allowed);
    if (call.evicts) {
      await onlyIn("the ticks that evict", () => evictIdle(world, healthy, call.evicts!));
      await check(allowed);
    }
    await arrivesBefore("after recovery");

    if (outcome === "rejected") {
      await onlyIn("repeating the call", () => call.run(opener(world, faulty([]), "no retries", false), world));
      allowed = allowedAfter(call, before, "resolved", await world.values(...keys));
      await check(allowed);
    }
    await onlyIn("ensureKs", () => healthy.ensureKs(keys));
    await check(allowed);
    const there = await world.values(...keys);
    for (const [key, may] of allowed) {
      if (there.get(key) === "absent" && !may.includes("absent")) throw new Error(`ensureKs left ${key} away`);
    }
    await onlyIn("the tick after it", () => drain(world, healthy));
    const stale = await world.stale(...keys);
    if (stale.length > 0) throw new Error(`in the end the archive has other bytes of ${stale}`);
    if (lates.size > 0) await secondLife();
    return layer.log.filter(({ fault }) => fault).length === plan.size;
  } catch (error) {
    const met = layer.log.filter(({ fault }) => fault).map((request) => `${request.n} ${nameOf(request, scripts)}`);
    const faults = [...plan].map(([nth, { name }]) => `request ${nth}: ${name}`).join(", ");
    throw new Error(`${call.name}, ${tries}, ${faults} (${met.join(", ")}): ${(error as Error).message}`);
  } finally {
    for (const { open } of arrivals.values()) open();
    await layer.settled();
  }

  /** The same for a late request that may write a value itself, before the application has repeated its call. */
  async function arrivesBefore(late: Late) {
    await arrive(late);
    if (!lates.has(late)) return;
    if (call.writes) allowed = allowedAfter(call, before, outcome, await world.values(...keys));
    await check(allowed);
  }

  /** Everything is written anew, evicted, brought back, and deleted. */
  async function secondLife() {
    await world.commands(...keys.map((key) => ["SET", key, `anew ${key}`, "KEEPTTL"]));
    const anew: Allowed = new Map([...await world.values(...keys)].map(([key, value]) => [key, [value]]));
    await onlyIn("dirty of new values", () => healthy.dirty(keys));
    await check(anew);
    await onlyIn("their tick", () => drain(world, healthy));
    const { evicted, kept } = await healthy.evict(keys);
    step = "evict";
    if (evicted.length !== keys.length) throw new Error(`evict kept ${JSON.stringify(kept)}`);
    await check(anew);
    if (call.writes) return; // the application's own write: it comes late as well
    await arrive("after a new write");
    await check(anew);
    if (lates.has("over a blind write")) {
      await world.commands(...keys.map((key) => ["SET", key, "partial"]));
      await arrive("over a blind write");
      await check(new Map(keys.map((key) => [key, ["conflict"]])));
      await world.commands(["DEL", ...keys]);
      await check(anew);
    }
    await onlyIn("the tick after it", () => drain(world, healthy));
    await onlyIn("ensureKs of new values", () => healthy.ensureKs(keys));
    await check(anew);

    const absent: Allowed = new Map(keys.map((key) => [key, ["absent"]]));
    await onlyIn("del", () => healthy.del(keys));
    await check(absent);
    await arrive("after del");
    await check(absent);
    await onlyIn("the tick after it", () => drain(world, healthy));
    await onlyIn("ensureKs of deleted keys", () => healthy.ensureKs(keys));
    await check(absent);
  }
}

function sameKeys(some: Saved["keys"], others: Saved["keys"]): boolean {
  const text = (keys: Saved["keys"]) =>
    keys.map(({ name, dump, exp }) => `${name} ${dump.toString("hex")} ${exp}`).sort();
  return text(some).join() === text(others).join();
}

function faulty(
  rules: { nth: number; fault: Fault }[],
  before?: () => Promise<unknown>,
): typeof fetch & FaultLayer & { underWay(): number } {
  let underWay = 0;
  const counting: typeof fetch = async (input, init) => {
    underWay++;
    try {
      await before?.();
      return await fetch(input, init);
    } finally {
      underWay--;
    }
  };
  // not settled(): of two late requests one may come while the other one still waits
  return Object.assign(faultyFetch(counting, rules), { underWay: () => underWay });
}

function opener(world: FaultWorld, layer: typeof fetch, tries: Tries, hangs: boolean): Parameters<CallCase["run"]>[0] {
  const limit = hangs ? { timeoutMs: GIVES_UP_MS } : {};
  const retries = tries === "no retries" ? 0 : undefined;
  return (options = {}, wrap) => {
    const datastore = world.datastore({ fetch: layer, concurrency: 1, retries, ...limit });
    const own = { ...world.connection, ...options.redis };
    const redis = { ...own, fetch: layer, ...(retries === 0 && { retry: false as const }), ...limit };
    return tundraStore(wrap ? wrap(datastore) : datastore, { minEvictBytes: 0, ...options, redis });
  };
}

async function outcomeOf(
  world: FaultWorld,
  act: () => Promise<unknown>,
  kinds: Kind[],
): Promise<"resolved" | "rejected"> {
  try {
    await act();
    return "resolved";
  } catch (error) {
    if (!(error instanceof TundraError)) throw new Error(`rejects with no TundraError: ${error}`);
    const damaged = kinds.some((kind) => kind.damages);
    if (!damaged && !(DEFINITE_CODES.includes(error.code) && error.retryable)) {
      throw new Error(`rejects with ${error.code}, retryable ${error.retryable}: ${error.message}`);
    }
    for (const secret of [world.connection.token, world.s3.secretAccessKey]) {
      if (error.message.includes(secret)) throw new Error("its error shows a secret");
    }
    return "rejected";
  }
}

function allowedAfter(
  call: CallCase,
  before: Allowed,
  outcome: "resolved" | "rejected",
  there: Map<string, Value>,
): Allowed {
  const after: Allowed = new Map();
  for (const [key, values] of before) {
    const settled = call.writes?.includes(key) ? "what is in Redis" : call.settles?.[key];
    const value = settled === "what is in Redis" ? there.get(key)! : settled;
    after.set(key, value === undefined ? values : outcome === "resolved" ? [value] : [...values, value]);
  }
  return after;
}

/** The value of a key in a situation before anything happened. */
async function worthOf(world: FaultWorld, key: string): Promise<Value> {
  const there = (await world.values(key)).get(key)!;
  if (there !== "absent") return there;
  const saved = await world.save();
  await world.store().ensureKs(key);
  const value = (await world.values(key)).get(key)!;
  await world.load(saved);
  return value;
}

/**
 * Every lease has ended, every backoff too: the queue must drain, and nobody may die of it or have attempts counted.
 */
async function drain(world: FaultWorld, store: ReturnType<FaultWorld["store"]>, dead: string[] = []): Promise<void> {
  const { dirty } = redisKeys("default");
  for (let round = 0;; round++) {
    const [scores, time] = await world.commands(["ZRANGE", dirty, 0, -1, "WITHSCORES"], ["TIME"]) as Reply[][];
    const past = (Number(String(time![0])) - 60) * 1000;
    const moved: CommandPart[] = [];
    for (let i = 0; i < scores!.length; i += 2) {
      moved.push(past + Number(String(scores![i + 1])) % 1, scores![i] as Uint8Array);
    }
    if (moved.length === 0) break;
    if (round === 6) throw new Error(`the queue does not drain: ${scores!.map(String).join(" ")}`);
    await world.commands(["ZADD", dirty, "XX", ...moved]);
    await store.tick();
  }
  const [died] = await world.commands(["ZRANGE", redisKeys("default").dead, 0, -1]) as Reply[][];
  const left = died!.map(String).filter((key) => !dead.includes(key));
  if (left.length > 0) throw new Error(`these died: ${left.join(", ")}`);
}

/** Idle keys leave, those too that were rescued before. */
async function evictIdle(world: FaultWorld, store: ReturnType<FaultWorld["store"]>, keys: string[]): Promise<void> {
  for (let round = 0; await world.exists(...keys) > 0; round++) {
    if (round === 4) throw new Error("idle keys do not leave");
    await world.leaveAlone(11 * 3_600_000, ...keys);
    await store.tick();
  }
}
