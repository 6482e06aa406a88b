/**
 * Once all processes have ended, faults have stopped: the queue must drain, and each key must come back as it must be,
 * twice, also after the last late copies. As simulation.ts does it, but a step at a time: what different paths lead to
 * is looked at once.
 * @module
 */
import { HOUR_US } from "../../support/times.ts";
import { sameState, Violation } from "../simulation/oracle.ts";
import { nameOfRequest } from "./explore_faults.ts";
import type { OpenRequest, Program } from "./explore_process.ts";
import { ensureProgram, evictProgram, tickProgram } from "./explore_programs.ts";
import type { Result, Servers } from "./explore_servers.ts";
import type { Proc, RecoveryStage, State, Step } from "./explore_state.ts";

const MOST_ROUNDS = 30;

/** The part of the explorer that the recovery uses. */
export interface RecoveryTools {
  perform(state: State, i: number, request: OpenRequest, outcome: "plain"): State | Promise<State>;
  unstarted(program: Program): Promise<Proc>;
  sound(result: Result, state: State): State;
  /** A late request arrives. */
  land(state: State, i: number): State;
}

/** The next step; one at most. */
export function makeRecovery(
  keys: readonly string[],
  servers: Servers,
  tools: RecoveryTools,
): (state: State) => Step[] {
  const recovery = recoverySteps(keys);
  const programs = new Map<string, Program>();

  function recoveryStep(state: State): Step[] {
    const stage = state.stage!;
    const [proc] = state.procs;
    if (proc && !proc.node.done) {
      const request = proc.node.open[0]!;
      return [{
        what: () => `${proc.node.program.name}: ${nameOfRequest(request)}`,
        act: () => tools.perform(state, 0, request, "plain"),
      }];
    }
    const todo = recovery[stage.at];
    if (!todo) return [];
    return [{
      what: () => `${todo.what}${typeof todo.key === "string" ? ` ${todo.key}` : ""}`,
      act: () => goOn(state, stage, todo),
    }];
  }

  const onward = (state: State, stage: RecoveryStage): State => ({
    ...state,
    procs: [],
    stage: { at: stage.at + 1, round: 0, from: undefined },
  });

  async function spawn(state: State, stage: RecoveryStage, program: () => Program, name: string): Promise<State> {
    let known = programs.get(name);
    if (!known) programs.set(name, known = program());
    return { ...state, procs: [await tools.unstarted(known)], stage };
  }

  async function goOn(state: State, stage: RecoveryStage, todo: Todo): Promise<State> {
    const ended = state.procs[0]?.node;
    switch (todo.what) {
      case "drain": {
        let now = state;
        if (ended) {
          const passes = stage.round <= 10 ? 122_000_000 : 13 * HOUR_US;
          now = tools.sound(servers.pass(state.servers, passes), { ...state, procs: [] });
        }
        const waiting = servers.queue(now.servers, "dirty");
        if (waiting.length === 0) {
          const dead = servers.queue(now.servers, "dead");
          if (dead.length > 0) throw new Violation("7 no outage kills a key", dead.join());
          return onward(now, stage);
        }
        if (stage.round === MOST_ROUNDS) {
          if (now.servers.oracle.leniency.brokenScripts) return onward(now, stage);
          throw new Violation("7 the queue drains", `${waiting} still wait`);
        }
        const round = stage.round + 1;
        return await spawn(
          now,
          { ...stage, round },
          () => tickProgram(`drain${round}`, 0x2000 + round, 1000),
          `drain${round}`,
        );
      }
      case "tick":
        if (ended) return onward(tools.sound(servers.pass(state.servers, 2 * HOUR_US), { ...state, procs: [] }), stage);
        return await spawn(
          state,
          stage,
          () => tickProgram(`last${stage.at}`, 0x3000 + stage.at, 1000),
          `last${stage.at}`,
        );
      case "pass":
        return onward(tools.sound(servers.pass(state.servers, todo.us!), state), stage);
      case "land": {
        let now = state;
        while (now.late.length > 0) now = tools.land(now, 0);
        return onward(now, stage);
      }
      case "evict":
        if (ended) return onward(state, stage);
        return await spawn(state, stage, () => evictProgram("evictor", 0x4000, keys), "evictor");
      case "ensure": {
        const key = todo.key!;
        if (!ended) {
          return await spawn(
            state,
            { ...stage, from: state.servers },
            () => ensureProgram(`reader of ${key}`, 0x4001, [key]),
            key,
          );
        }
        const { outcome, blind, lost } = servers.view(stage.from!, key);
        const found = servers.view(state.servers, key).held;
        if (lost) return onward(state, stage); // a newer version may come back: the oracle has seen which
        if (ended.result !== true) {
          if (!blind) {
            throw new Violation("1 ensureKs() brings it back", `${key} must be ${JSON.stringify(outcome)}: it failed`);
          }
        } else if (!sameState(found, outcome)) {
          throw new Violation(
            "1 ensureKs() brings it back",
            `${key} is ${JSON.stringify(found)}, not ${JSON.stringify(outcome)}`,
          );
        }
        return onward(state, stage);
      }
    }
  }

  return recoveryStep;
}

interface Todo {
  what: "drain" | "ensure" | "land" | "evict" | "pass" | "tick";
  key?: string;
  us?: number;
}

/** As the simulation does it. */
function recoverySteps(keys: readonly string[]): Todo[] {
  const each: Todo[] = keys.map((key) => ({ what: "ensure", key }));
  return [
    { what: "drain" },
    ...each,
    { what: "land" },
    { what: "drain" },
    ...each,
    { what: "evict" },
    ...each,
    { what: "pass", us: 11 * HOUR_US },
    { what: "tick" },
    { what: "tick" },
    ...each,
  ];
}
