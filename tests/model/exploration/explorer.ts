/**
 * Explores: every order in which the requests of a few processes can take effect, with one fault of each kind at every
 * place and once time passing, each state once, and what comes of each end once faults have stopped.
 *
 * A state: the servers (with all that the oracle knows), for each process the history of what it was told (see
 * explore_process.ts), what is hung or late in the network, and the faults that are left. Two states are the same only
 * if all of it is; a process that has ended or died has no history any more, as nothing comes of it.
 *
 * A step: one request takes effect and its sender is told, in one. Telling it is a matter of its process alone, and
 * commutes with all that others do: it may as well come at once. For the same reason a process whose next move is a
 * matter of its own timers makes it at once, and a call begins when its first request takes effect, which is the
 * strictest for the oracle. Faults take effect and answer apart. Both ticks are the same program, so one of the two
 * starts first; and what only reads is not run late or twice, as nobody hears its answer.
 * @module
 */
import { HOUR_US } from "../../support/times.ts";
import { type SimulatedOp, Violation } from "../simulation/oracle.ts";
import type { Subject } from "../simulation/simulation.ts";
import { type Fault, isRead, nameOfRequest, outcomesOfDemand } from "./explore_faults.ts";
import {
  type CallView,
  type Input,
  type OpenRequest,
  type ProcessNode,
  type ProcessTree,
  processTree,
  type Program,
} from "./explore_process.ts";
import { makeRecovery } from "./explore_recovery.ts";
import {
  DIES,
  FLUSHED,
  FULL,
  makeServers,
  namedObjects,
  PLAIN,
  type Result,
  type Servers,
  type ServerState,
} from "./explore_servers.ts";
import { type Late, nameOfState, type Path, type Proc, type State, type Step } from "./explore_state.ts";

/** The bounds of one exploration. */
export interface Scope {
  readonly name: string;
  readonly keys: readonly string[];
  /** Earlier operations: one after the other, with time passing in between (ms). */
  readonly before: readonly (Program | number)[];
  readonly processes: readonly Program[];
  readonly faults: readonly Fault[];
  /** The number of times that time may pass. */
  readonly waits: number;
  readonly retries: number;
  /** It gives up beyond that many states. */
  readonly most: number;
  /** Ends with the first broken promise. */
  readonly first?: boolean;
}

/** The result of an exploration. */
export interface Explored {
  scope: string;
  states: number;
  /** Of those, the ones after all processes have ended: liveness and the last checks. */
  recovering: number;
  ends: number;
  steps: number;
  depth: number;
  servers: number;
  histories: number;
  /** Runs of the shipped code, and what they were told in all. */
  runs: number;
  played: number;
  seconds: number;
  complete: boolean;
  /** States by the fault that led to them. */
  faults: Partial<Record<Fault | "none", number>>;
  violations: { check: string; detail: string; path: number[] }[];
}

/** The time that passes, if it does: beyond the leases (10 s), within the limit of a request. */
const PASSES_US = 11_000_000;
const JUMPS_US = [61_000_000, -2_000_000, HOUR_US, -HOUR_US];

/** One path instead of all: its choices, and who wants to read along. */
export interface Replay {
  path: readonly number[];
  log?: (line: string) => void;
}

/** Explores one scope. */
export async function explore(subject: Subject, scope: Scope, replay?: Replay): Promise<Explored> {
  const from = performance.now();
  const tree = processTree(subject, { retries: scope.retries, redisTtlMs: 10 * 3_600_000 });
  const explorer = makeExplorer(tree, makeServers(subject, scope.keys), scope);
  try {
    const explored = await (replay ? explorer.replay(replay) : explorer.all());
    return { ...explored, seconds: (performance.now() - from) / 1000 };
  } finally {
    tree.close();
  }
}

function makeExplorer(tree: ProcessTree, servers: Servers, scope: Scope) {
  const { keys, faults } = scope;
  const wanted = new Set(faults);
  const recoveryStep = makeRecovery(keys, servers, { perform, unstarted, sound, land });
  const explored: Explored = {
    scope: scope.name,
    states: 0,
    recovering: 0,
    ends: 0,
    steps: 0,
    depth: 0,
    servers: 0,
    histories: 0,
    runs: 0,
    played: 0,
    seconds: 0,
    complete: true,
    faults: {},
    violations: [],
  };

  // ---- where it begins

  async function firstState(): Promise<State> {
    let state = servers.first;
    for (const [i, each] of scope.before.entries()) {
      if (typeof each === "number") state = sound(servers.pass(state, each * 1000)).servers;
      else state = await alone(state, { ...each, number: 0x1000 + i });
    }
    const procs: Proc[] = [];
    for (const program of scope.processes) procs.push(await unstarted(program));
    return {
      servers: state,
      procs,
      late: [],
      fault: undefined,
      waits: scope.waits,
      point: undefined,
      stage: undefined,
      path: undefined,
    };
  }

  async function unstarted(program: Program): Promise<Proc> {
    const node = await tree.start(program);
    return { node, started: false, dead: false, hung: [], running: undefined };
  }

  /** A program that nobody disturbs. */
  async function alone(at: ServerState, program: Program): Promise<ServerState> {
    let state: State = {
      servers: at,
      procs: [await unstarted(program)],
      late: [],
      fault: undefined,
      waits: 0,
      point: undefined,
      stage: undefined,
      path: undefined,
    };
    for (let left = program.dies ?? Infinity; left > 0 && !state.procs[0]!.node.done; left--) {
      state = await perform(state, 0, state.procs[0]!.node.open[0]!, "plain");
    }
    return state.servers;
  }

  // ---- all of it, breadth first: the first path to a violation is a shortest one

  async function search(): Promise<Explored> {
    const seen = new Set<string>();
    let start: State;
    try {
      start = await firstState();
    } catch (error) { // a seeded bug may break a promise already if no process disturbs another
      if (!(error instanceof Violation)) throw error;
      explored.violations.push({ check: error.check, detail: error.message, path: [] });
      return finished();
    }
    let level: State[] = [start];
    seen.add(nameOfState(start));
    explored.states = 1;
    const broken = new Set<string>();
    while (level.length > 0 && explored.complete) {
      const next: State[] = [];
      for (const state of level) {
        const steps = stepsOf(state);
        if (steps.length === 0) explored.ends++;
        for (let choice = 0; choice < steps.length; choice++) {
          explored.steps++;
          let reached: State;
          try {
            const outcome = steps[choice]!.act();
            reached = outcome instanceof Promise ? await outcome : outcome;
          } catch (error) {
            if (!(error instanceof Violation)) throw error;
            if (!broken.has(error.check)) {
              explored.violations.push({
                check: error.check,
                detail: error.message,
                path: choicesOf({ before: state.path, choice, length: 0 }),
              });
            }
            broken.add(error.check);
            if (scope.first) return finished();
            continue;
          }
          const name = nameOfState(reached);
          if (seen.has(name)) continue;
          seen.add(name);
          explored.states++;
          if (reached.stage) explored.recovering++;
          else {
            const fault = reached.fault ?? "none";
            explored.faults[fault] = (explored.faults[fault] ?? 0) + 1;
          }
          const path = { before: state.path, choice, length: (state.path?.length ?? 0) + 1 };
          explored.depth = Math.max(explored.depth, path.length);
          next.push({ ...reached, path });
        }
        if (explored.states > scope.most) {
          explored.complete = false;
          break;
        }
      }
      level = next;
    }
    return finished();
  }

  function finished(): Explored {
    explored.servers = servers.counts.states;
    explored.histories = tree.counts.nodes;
    explored.runs = tree.counts.started;
    explored.played = tree.counts.played;
    return explored;
  }

  function choicesOf(path: Path): number[] {
    const choices: number[] = [];
    for (let at: Path | undefined = path; at; at = at.before) choices.unshift(at.choice);
    return choices;
  }

  /** One path, step by step. */
  async function replay({ path, log = () => {} }: Replay): Promise<Explored> {
    let state = await firstState();
    for (const choice of path) {
      const step = stepsOf(state)[choice];
      if (!step) throw new Error(`there is no choice ${choice} here`);
      log(step.what());
      servers.log = [];
      try {
        const before = state;
        state = await step.act();
        for (const line of servers.log) log(line);
        state.procs.forEach((proc, i) => {
          if (proc.node !== before.procs[i]?.node) {
            for (const { line } of proc.node.ended) log(`    ${proc.node.program.name}: ${line}`);
          }
        });
      } catch (error) {
        if (!(error instanceof Violation)) throw error;
        for (const line of servers.log) log(line);
        explored.violations.push({ check: error.check, detail: error.message, path: [...path] });
        return finished();
      } finally {
        servers.log = undefined;
      }
    }
    return finished();
  }

  // ---- what may happen

  function stepsOf(state: State): Step[] {
    if (state.stage) return recoveryStep(state);
    const steps: Step[] = [];
    const { procs, late } = state;
    const mayFail = state.fault === undefined;
    let busy = false;
    procs.forEach((proc, i) => {
      if (proc.dead || proc.node.done) return;
      busy = true;
      const { node, hung, started } = proc;
      if (!started && procs.some((other, j) => j < i && !other.started && isTick(other) && isTick(proc))) return;
      const { name } = node.program;
      for (const request of node.open) {
        if (hung.includes(request.id)) continue;
        const act = (outcome: string, plus = 0): Step => ({
          what: () =>
            `${name}: ${nameOfRequest(request)}${outcome === "plain" ? "" : `: ${outcome}`}${
              plus > 0 ? ` after ${plus}` : ""
            }`,
          act: () => perform(state, i, request, outcome, plus),
        });
        steps.push(act("plain"));
        if (!mayFail) continue;
        for (const outcome of outcomesOf(request)) {
          if (outcome.includes("hangs") && node.program.timeless) continue;
          if (outcome !== "dies") steps.push(act(outcome));
          else {
            const { writes } = run(state, request, PLAIN, deletingOf(request));
            for (let n = 0; n < writes; n++) steps.push(act(outcome, n));
          }
        }
        if (state.point && wanted.has("replica") && request.demand.to === "redis" && isRead(request.demand)) {
          steps.push(act("replica"));
        }
      }
      if (node.open.every((request) => hung.includes(request.id))) {
        steps.push({ what: () => `${name}: no answer`, act: () => timeOut(state, i) });
      }
      if (mayFail && started && wanted.has("crash")) {
        steps.push({ what: () => `${name} dies`, act: () => crash(state, i) });
      }
    });
    late.forEach((each, i) => {
      const same = ({ request, deleting, running }: Late) =>
        request.same === each.request.same && deleting === each.deleting && running === each.running;
      if (late.findIndex(same) < i) return;
      steps.push({ what: () => `late: ${nameOfRequest(each.request)}`, act: () => land(state, i) });
    });
    if (!busy) {
      // the point that nobody went back to is of no use any more
      const stage = { at: 0, round: 0, from: undefined };
      steps.push({
        what: () => "the faults have stopped",
        act: () => ({ ...state, procs: [], stage, point: undefined }),
      });
      return steps;
    }
    if (state.waits > 0) steps.push({ what: () => `${PASSES_US / 1e6} s pass`, act: () => pass(state) });
    if (!mayFail) return steps;
    if (wanted.has("clock")) {
      for (const us of JUMPS_US) {
        steps.push({ what: () => `Redis' clock jumps by ${us / 1e6} s`, act: () => jump(state, us) });
      }
    }
    if (wanted.has("lost object")) {
      for (const name of namedObjects(state.servers, keys)) {
        steps.push({
          what: () => `the archive loses ${name}`,
          act: () => ({ ...sound(servers.lose(state.servers, name), state), fault: "lost object" }),
        });
      }
    }
    if (wanted.has("rollback") || wanted.has("replica")) {
      if (!state.point) {
        steps.push({ what: () => "what is now may come again", act: () => ({ ...state, point: state.servers }) });
      } else if (wanted.has("rollback") && state.point !== state.servers) {
        steps.push({ what: () => "Redis goes back to what it was", act: () => rollBack(state) });
      }
    }
    return steps;
  }

  const isTick = ({ node }: Proc): boolean => node.program.name.startsWith("tick");

  const outcomes = new Map<number, readonly Fault[]>();

  function outcomesOf({ demand, same }: OpenRequest): readonly Fault[] {
    let list = outcomes.get(same);
    if (!list) outcomes.set(same, list = outcomesOfDemand(demand).filter((outcome) => wanted.has(outcome)));
    return list;
  }

  // ---- one step

  /** The states that a result leads to; throws if it broke a promise. */
  function sound(result: Result, state?: State): State {
    if (!result.state) throw result.violation!;
    const { marked, seen } = result;
    const next = { ...(state ?? {}), servers: result.state } as State;
    if (!state) return next;
    const procs = state.procs.map((proc): Proc => {
      const { running } = proc;
      if (!running) return proc;
      const saw = running.saw.map((bits, i) => bits | seen[i]!);
      return { ...proc, running: { ...running, saw, marked: running.marked | marked } };
    });
    const late = marked === 0
      ? state.late
      : state.late.map((each) => each.running ? each : { ...each, deleting: each.deleting & ~marked });
    return { ...next, procs, late };
  }

  function run(state: State, request: OpenRequest, variant: number, deleting: number): Result {
    return servers.run(state.servers, request.demand, request.same, variant, deleting);
  }

  /** A del() that runs may remove what it was told to. */
  const deletingOf = ({ call }: OpenRequest): number => call?.kind === "del" ? maskOf(call.keys) : 0;
  const maskOf = (of: readonly string[]): number => of.reduce((mask, key) => mask | (1 << keys.indexOf(key)), 0);

  /** The call that a request is for begins with it at the latest. */
  function begun(state: State, i: number, request: OpenRequest): State {
    const proc = state.procs[i]!;
    const { call } = request;
    const begins = call && call.keys.length > 0 && proc.running?.call.index !== call.index;
    if (proc.started && !begins) return state;
    const running = begins ? { call, saw: state.servers.bits, marked: 0 } : proc.running;
    return { ...state, procs: state.procs.with(i, { ...proc, started: true, running }) };
  }

  function perform(before: State, i: number, request: OpenRequest, outcome: string, plus = 0): State | Promise<State> {
    const state = begun(before, i, request);
    const { id } = request;
    const faulty: State = outcome === "plain" ? state : { ...state, fault: outcome as Fault };
    const isRedis = request.demand.to === "redis";
    const effect = (variant = PLAIN): { result: Result; after: State } => {
      const result = run(state, request, variant, deletingOf(request));
      return { result, after: sound(result, faulty) };
    };
    const reset = (from: State) =>
      tell(from, i, isRedis ? { kind: "reset", id } : { kind: "refusal", id, retryable: true });
    const status = (from: State, status: number) =>
      tell(from, i, { kind: "answer", id, answer: { status, body: "{}" } });
    const answer = ({ result, after }: { result: Result; after: State }) =>
      tell(
        after,
        i,
        isRedis ? { kind: "answer", id, answer: result.answer! } : { kind: "value", id, value: result.value },
      );
    const hang = (from: State): State => {
      const proc = from.procs[i]!;
      return { ...from, procs: from.procs.with(i, { ...proc, hung: [...proc.hung, id] }) };
    };
    const copied = (from: State): State => ({ ...from, late: [...from.late, lateOf(request, i)] });
    switch (outcome) {
      case "plain":
        return answer(effect());
      case "reset before":
        return reset(faulty);
      case "refused before":
        if (isRedis) return status(faulty, 401);
        return tell(faulty, i, { kind: "refusal", id, retryable: false });
      case "503 before":
        return status(faulty, 503);
      case "500 after":
        return status(effect().after, 500);
      case "cut short": {
        const { result, after } = effect();
        const { status, body } = result.answer!;
        return tell(after, i, { kind: "answer", id, answer: { status, body: body.slice(0, body.length >> 1) } });
      }
      case "hangs before":
        return hang(faulty);
      case "twice": {
        const { result, after } = effect();
        return answer({ result, after: copied(after) });
      }
      case "late":
        return reset(copied(faulty));
      case "late, refused":
        return status(copied(faulty), 401);
      case "late, hangs":
        return hang(copied(faulty));
      case "full":
        return answer(effect(FULL));
      case "flushed":
        return answer(effect(FLUSHED));
      case "dies":
        return answer(effect(DIES + plus));
      case "replica":
        return tell(faulty, i, { kind: "answer", id, answer: servers.answerAt(state.point!, request.demand) });
      default:
        throw new Error(outcome);
    }
  }

  function lateOf(request: OpenRequest, from: number): Late {
    return { request, from, deleting: deletingOf(request), running: request.call?.kind === "del" };
  }

  const inputs = new Map<string, Input>();
  const answers = new WeakMap<object, Map<number, Input>>();
  type Told = Parameters<ProcessTree["input"]>[0];

  /** The same input is written down once. */
  function inputOf(told: Told): Input {
    const held = told.kind === "answer" ? told.answer : told.kind === "value" ? told.value : undefined;
    if (typeof held === "object" && held !== null && "id" in told) {
      let byId = answers.get(held);
      if (!byId) answers.set(held, byId = new Map());
      let input = byId.get(told.id);
      if (!input) byId.set(told.id, input = tree.input(told));
      return input;
    }
    const text = JSON.stringify(told);
    let input = inputs.get(text);
    if (!input) inputs.set(text, input = tree.input(told));
    return input;
  }

  function tell(state: State, i: number, told: Told): State | Promise<State> {
    const node = tree.after(state.procs[i]!.node, inputOf(told));
    return node instanceof Promise ? node.then((node) => heard(state, i, node, told)) : heard(state, i, node, told);
  }

  /** The answers of calls that ended are checked; requests that nobody waits for any more are in the network still. */
  function heard(state: State, i: number, node: ProcessNode, told: Told): State {
    const proc = state.procs[i]!;
    let { running } = proc;
    let { late } = state;
    const open = new Set(node.open.map(({ id }) => id));
    for (const request of proc.node.open) {
      if (open.has(request.id) || proc.hung.includes(request.id)) continue;
      if ("id" in told && told.id === request.id) continue;
      const { demand } = request;
      if (demand.to === "put" || demand.to === "delete" || (demand.to === "redis" && !isRead(demand))) {
        late = [...late, lateOf(request, i)];
      }
    }
    for (const end of node.ended) {
      const { call, succeeded } = end;
      const saw = running?.call.index === call.index ? running.saw : state.servers.bits;
      const marked = running?.call.index === call.index ? running.marked : 0;
      const op: SimulatedOp = {
        kind: call.kind,
        keys: call.keys,
        startedAt: 1,
        endedAt: 2,
        succeeded,
        saw: new Map(keys.map((key, k) => [key, saw[k]!])),
      };
      end.check(viewOf(state, marked), op);
      late = late.map((each) =>
        each.running && each.from === i && each.request.call!.index === call.index
          ? { ...each, running: false, deleting: succeeded ? 0 : each.deleting }
          : each
      );
      running = undefined;
    }
    const hung = proc.hung.filter((id) => open.has(id));
    return { ...state, late, procs: state.procs.with(i, { ...proc, node, running, hung }) };
  }

  function viewOf({ servers, fault }: State, marked: number): CallView {
    return {
      leniency: servers.oracle.leniency,
      hasOrphan: () => false, // no path is long enough for a record to expire
      markedSince: (key) => (marked & (1 << keys.indexOf(key))) !== 0,
      stale: fault === "replica",
    };
  }

  /** Its next timer fires, and until then time has passed. */
  async function timeOut(state: State, i: number): Promise<State> {
    const { clockUs } = state.procs[i]!.node;
    const told = await tell(state, i, { kind: "timer" });
    return sound(servers.pass(told.servers, told.procs[i]!.node.clockUs - clockUs), told);
  }

  /** Kills a process; what it has sent may arrive all the same. */
  function crash(state: State, i: number): State {
    const proc = state.procs[i]!;
    const sent = proc.node.open.filter(({ id, demand }) => !proc.hung.includes(id) && !isRead(demand));
    const late = [...state.late, ...sent.map((request) => lateOf(request, i))]
      .map((each) => each.running && each.from === i ? { ...each, running: false } : each);
    const dead: Proc = { ...proc, dead: true, hung: [], running: undefined };
    return { ...state, fault: "crash", late, procs: state.procs.with(i, dead) };
  }

  function land(state: State, i: number): State {
    const { request, deleting } = state.late[i]!;
    const without = { ...state, late: state.late.toSpliced(i, 1) };
    return sound(run(state, request, PLAIN, deleting), without);
  }

  /** Time passes for all processes. */
  async function pass(state: State): Promise<State> {
    let next: State = { ...sound(servers.pass(state.servers, PASSES_US), state), waits: state.waits - 1 };
    for (const [i, proc] of state.procs.entries()) {
      // to whom time is nothing, that it passes is not told: that would be another history
      if (proc.started && !proc.dead && !proc.node.done && !proc.node.program.timeless) {
        next = await tell(next, i, { kind: "time", us: PASSES_US });
      }
    }
    return next;
  }

  function jump(state: State, us: number): State {
    return { ...sound(servers.pass(state.servers, us), state), fault: "clock" };
  }

  function rollBack(state: State): State {
    return { ...sound(servers.rollBack(state.servers, state.point!), state), fault: "rollback", point: undefined };
  }

  return { all: search, replay };
}
