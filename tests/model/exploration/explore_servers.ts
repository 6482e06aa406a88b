/**
 * Redis and the archive as they are explored: their states, each kept once, and what each request makes of each state,
 * worked out once. The oracle of the simulation is a part of them, and sees each command at the moment when Redis runs
 * it.
 * @module
 */
import { createHash } from "node:crypto";
import { type Answer, answerCommands, TRANSACTION_REFUSED } from "../redis/endpoint.ts";
import { modelRedis, type RedisState, ScriptKilled } from "../redis/redis.ts";
import { describeCommand, loadedScripts, scriptName, scriptOf } from "../redis/scripts.ts";
import type { ArchiveObject } from "../simulation/objects.ts";
import { type KeyView, makeOracle, type OracleMark, type SimulatedOp, Violation } from "../simulation/oracle.ts";
import { START_US, type Subject } from "../simulation/simulation.ts";
import type { Demand } from "./explore_process.ts";

/** A state of both servers, and of what the oracle knows. */
export interface ServerState {
  readonly id: number;
  readonly redis: RedisState;
  /** Redis' clock. */
  readonly clockUs: number;
  readonly oracle: OracleMark;
  /** The evidence of each key for a call that begins now. */
  readonly bits: readonly number[];
  /** Results that were worked out before. */
  readonly results: Map<number | string, Result>;
}

/** The result of a request on a state. */
export interface Result {
  /** `undefined`: a promise was broken. */
  readonly state: ServerState | undefined;
  readonly violation: Violation | undefined;
  readonly answer: Answer | undefined;
  /** The answer of the archive. */
  readonly value: unknown;
  /** The evidence of each key meanwhile. */
  readonly seen: readonly number[];
  /** Keys that were marked, a bit each. */
  readonly marked: number;
  /** Writes of scripts. */
  readonly writes: number;
}

/** Variants of running a request; from `DIES` on: the server dies after so many writes. */
export const PLAIN = 0, FULL = 1, FLUSHED = 2, DIES = 3;
const MOST_VARIANTS = 64;

/** The servers. */
export interface Servers {
  readonly first: ServerState;
  readonly counts: { states: number; worked: number };
  /** Runs a request; `deleting` says of which keys (a bit each) a del() may remove just now. */
  run(state: ServerState, demand: Demand, same: number, variant: number, deleting: number): Result;
  /** Time passes, or the clock jumps. */
  pass(state: ServerState, us: number): Result;
  /** Redis becomes what it was, all of it. */
  rollBack(state: ServerState, point: ServerState): Result;
  /** Redis' answer as it would have been at another state: nothing changes, the oracle does not look. */
  answerAt(point: ServerState, demand: Demand): Answer;
  /** The archive loses an object. */
  lose(state: ServerState, name: string): Result;
  view(state: ServerState, key: string): KeyView;
  /** Keys that wait in a queue. */
  queue(state: ServerState, name: "dirty" | "dead"): string[];
  /** Notes, if they are wanted. */
  log: string[] | undefined;
}

/** Nobody reads them but status(). */
const STATS = "tundra:default:stats";

/** Makes them; the oracle watches these keys. */
export function makeServers(subject: Subject, keys: readonly string[]): Servers {
  let clockUs = START_US;
  let forgetful = false;
  let writesLeft = Infinity;
  let writes = 0;
  const redis = modelRedis(() => clockUs, {
    ...(subject.patchScript ? { patch: subject.patchScript } : {}),
    loaded: (sha) => forgetful ? undefined : loadedScripts.get(sha),
    beforeWrite() {
      writes++;
      if (--writesLeft < 0) throw new ScriptKilled("ERR the server went away");
    },
  });
  const oracle = makeOracle(redis, () => clockUs, keys);
  const probe = oracle.begin("look", keys) as SimulatedOp;
  const states = new Map<string, ServerState>();
  const counts = { states: 0, worked: 0 };
  const texts = new WeakMap<object, string>();

  function textOf(of: object, make: () => string): string {
    let text = texts.get(of);
    if (text === undefined) texts.set(of, text = make());
    return text;
  }

  /** The state that is now. Its name is a hash of all that a process can learn of it. */
  function now(): ServerState {
    const [contents, mark] = [redis.save(), oracle.mark()];
    const nowMs = Math.floor(clockUs / 1000);
    const parts: string[] = [String(clockUs), String(mark.latestMs), JSON.stringify(mark.leniency)];
    for (const name of [...contents.keys()].sort()) {
      const entry = contents.get(name)!;
      if (name === STATS || (entry.exp !== 0 && entry.exp <= nowMs)) continue;
      const { value } = entry;
      const text = textOf(
        entry,
        () => JSON.stringify([typeof value === "string" ? value : [...value].sort(), entry.exp]),
      );
      parts.push(name, text);
    }
    for (const name of [...mark.archive.keys()].sort()) {
      const object = mark.archive.get(name)!;
      parts.push(name, textOf(object, () => hash(String.fromCharCode(...object.bytes))));
    }
    for (const truth of mark.truths.values()) {
      truth.markedAt = 0; // said by results
      parts.push(JSON.stringify([truth.right, truth.unmarked, truth.held, truth.deletableUs]));
    }
    const name = hash(parts.join("\n"));
    let state = states.get(name);
    if (!state) {
      for (const key of keys) probe.saw.set(key, 0);
      oracle.look();
      state = {
        id: ++counts.states,
        redis: contents,
        clockUs,
        oracle: mark,
        bits: keys.map((key) => probe.saw.get(key)!),
        results: new Map(),
      };
      states.set(name, state);
    }
    return state;
  }

  function goTo(state: ServerState): void {
    redis.load(state.redis);
    clockUs = state.clockUs;
    oracle.revert(state.oracle);
    redis.scripts.clear();
    for (const key of keys) probe.saw.set(key, 0);
    writes = 0;
    counts.worked++;
  }

  /** Runs it from that state; returns the outcome. */
  function work(state: ServerState, act: () => { answer?: Answer; value?: unknown } | void): Result {
    goTo(state);
    let done: { answer?: Answer; value?: unknown } | void = undefined;
    let violation: Violation | undefined;
    try {
      done = act();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      violation = error;
    } finally {
      redis.full = forgetful = false;
      writesLeft = Infinity;
    }
    const truths = oracle.truths();
    let marked = 0;
    keys.forEach((key, i) => {
      if (truths.get(key)!.markedAt > 0) marked |= 1 << i;
    });
    const seen = keys.map((key) => probe.saw.get(key)!);
    const made = writes;
    return {
      state: violation ? undefined : now(),
      violation,
      answer: done?.answer,
      value: done?.value,
      seen,
      marked,
      writes: made,
    };
  }

  function remembered(state: ServerState, what: number | string, make: () => Result): Result {
    let result = servers.log ? undefined : state.results.get(what);
    if (!result) state.results.set(what, result = make());
    return result;
  }

  function perform(demand: Demand, variant: number, deleting: number): { answer?: Answer; value?: unknown } {
    switch (demand.to) {
      case "redis":
        return { answer: runCommands(demand, variant, deleting) };
      case "put":
        oracle.put(demand.name, demand.bytes, []);
        return { value: true };
      case "get":
        return { value: demand.names.map((name) => oracle.archive.get(name)?.bytes) };
      case "head":
        return { value: demand.names.map((name) => oracle.archive.has(name)) };
      case "delete":
        oracle.drop(demand.names);
        return { value: undefined };
      case "list":
        return { value: { names: [...oracle.archive.keys()].filter((name) => name.startsWith(demand.prefix)).sort() } };
    }
  }

  function runCommands(demand: Demand & { to: "redis" }, variant: number, deleting: number): Answer {
    if (variant === FULL) {
      redis.full = true;
      if (demand.transaction) {
        return TRANSACTION_REFUSED;
      }
    }
    if (variant === FLUSHED) forgetful = true;
    const deleted = keys.filter((_, i) => deleting & (1 << i));
    const ops: SimulatedOp[] = deleted.length === 0
      ? []
      : [{ kind: "del", keys: deleted, startedAt: 0, endedAt: 0, succeeded: false, saw: new Map() }];
    return answerCommands(demand.commands, demand.batch, (command) => {
      const source = scriptOf(command, redis);
      // the clock stands, or hardly any two orders would lead to one state; but no two leases end in one millisecond
      if (source !== undefined && scriptName(source) === "claim") clockUs += 1000;
      if (variant >= DIES && source !== undefined) writesLeft = variant - DIES;
      servers.log?.push(`    ${describeCommand(command, redis)}`);
      try {
        const reply = oracle.run(command, ops);
        servers.log?.push(`      -> ${JSON.stringify(reply)}`);
        return reply;
      } catch (error) {
        servers.log?.push(`      -> ${error}`);
        throw error;
      } finally {
        writesLeft = Infinity;
      }
    });
  }

  const servers: Servers = {
    log: undefined,
    counts,
    first: undefined as unknown as ServerState,
    run: (state, demand, same, variant, deleting) =>
      remembered(state, (same * MOST_VARIANTS + variant) * 4 + deleting, () =>
        work(state, () => {
          if (variant >= DIES) oracle.leniency.brokenScripts = true;
          if (demand.to !== "redis") servers.log?.push(`    ${nameOf(demand)}`);
          return perform(demand, variant, deleting);
        })),
    pass: (state, us) =>
      remembered(state, `pass ${us}`, () =>
        work(state, () => {
          clockUs += us;
          oracle.look();
        })),
    rollBack: (state, point) =>
      remembered(
        state,
        `to ${point.id}`,
        () => work(state, () => oracle.rollBack(point.redis, point.oracle.truths)),
      ),
    answerAt(point, demand) {
      goTo(point);
      if (demand.to !== "redis") throw new Error("only Redis has replicas");
      return answerCommands(demand.commands, demand.batch, (command) => redis.run(command));
    },
    lose: (state, name) =>
      remembered(state, `lose ${name}`, () =>
        work(state, () => {
          oracle.leniency.lostObjects = true;
          oracle.archive.delete(name);
        })),
    view(state, key) {
      goTo(state);
      return oracle.view(key);
    },
    queue(state, name) {
      goTo(state);
      return [...redis.members(`tundra:default:${name}`).keys()];
    },
  };
  (servers as { first: ServerState }).first = now();
  return servers;
}

/** A demand of the archive on one line. */
export function nameOf(demand: Demand): string {
  if (demand.to === "redis") return demand.commands.map(([name]) => name).join();
  if (demand.to === "put") return `PUT ${demand.name}`;
  return demand.to === "list" ? `LIST ${demand.prefix}` : `${demand.to.toUpperCase()} ${demand.names}`;
}

function hash(text: string): string {
  return createHash("sha1").update(text).digest("base64");
}

/** Objects that records of these keys name. */
export function namedObjects(state: ServerState, keys: readonly string[]): string[] {
  const archive: ReadonlyMap<string, ArchiveObject> = state.oracle.archive;
  return [...archive].filter(([, { entries }]) => entries.some(({ key }) => keys.includes(key))).map(([name]) => name);
}
