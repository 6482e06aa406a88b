/**
 * A crash at every request: one call meets one fault or two, each at a certain request, and then the world goes on. All
 * that a scenario is made of is decided beforehand, so all of them can be played.
 * @module
 */
import type { RedisState } from "../redis/redis.ts";
import { replayedChoices, seededChoices } from "../simulation/choices.ts";
import { kill, type Process, type RedisOutcome, type Sent, type StoreOutcome } from "../simulation/network.ts";
import { type OracleState, Violation } from "../simulation/oracle.ts";
import {
  complete,
  drain,
  makeBench,
  makeSandbox,
  narrowed,
  type Outcome,
  pass,
  playOut,
  recover,
  type Sandbox,
  SHIPPED,
  START_US,
  type Subject,
  warmStart,
} from "../simulation/simulation.ts";
import { call, command, del, dirty, evict, type SimulatedBench, tick } from "../simulation/workload.ts";
import { type CallStage, type Situation, SITUATIONS, type Step } from "./situations.ts";

/** The outcome of one request. */
export type RequestOutcome = RedisOutcome | StoreOutcome;

/** Delivery times of late copies; those of one scenario come all at once, in the order in which they were sent. */
export const DELIVERY_TIMES = [
  "after the call",
  "with the next request",
  "with the request after the next",
  "after the lease",
  "in another's lease",
  "over an unmarked change",
  "after recovery",
  "after a new write",
  "over a blind write",
  "after del",
  "over a new value after del",
] as const;
export type DeliveryTime = typeof DELIVERY_TIMES[number];

/** Those of two faults, unless all are wanted: of moments that differ little, the worse one. */
const OF_TWO = new Set<DeliveryTime>([
  "after the call",
  "with the next request",
  "in another's lease",
  "over an unmarked change",
  "over a blind write",
  "over a new value after del",
]);

/** Settings of the client: it tries once, or twice; or twice, while the server knows no script. */
export const CLIENTS = ["tries once", "tries twice", "tries twice, scripts unknown"] as const;
export type Client = typeof CLIENTS[number];

/** One scenario. */
export interface Scenario {
  situation: string;
  client: Client;
  /** Outcomes, each with the number of its request, counted from 1. */
  faults: readonly [request: number, outcome: RequestOutcome][];
  delivery: DeliveryTime;
}

/** The result of a scenario. */
export interface Lived extends Pick<Outcome, "violation" | "steps" | "commands"> {
  /** The requests of the calls, in order. */
  requests: Pick<Sent, "to" | "reads">[];
}

/** A situation that was brought about. */
interface Prepared {
  situation: Situation;
  redis: RedisState;
  oracle: OracleState;
  nowUs: number;
}

const LEASE_US = 61_000_000;
const prepared = new Map<string, Promise<Prepared>>();

/** The situation with this name. */
export function situationNamed(name: string): Situation {
  const found = SITUATIONS.find((each) => each.name === name);
  if (!found) throw new Error(`No such situation: ${name}; there are ${SITUATIONS.map(({ name }) => name).join("; ")}`);
  return found;
}

/** The least that can be set. */
const SMALL_REQUEST_BYTES = 32_768;

/** Brings a situation about, once, by the shipped code. */
function prepare(situation: Situation): Promise<Prepared> {
  let made = prepared.get(situation.name);
  if (!made) prepared.set(situation.name, made = bringAbout(situation));
  return made;
}

async function bringAbout(situation: Situation): Promise<Prepared> {
  const warm = situation.fromNothing ? undefined : await warmStart(SHIPPED);
  const box = makeSandbox(SHIPPED, replayedChoices([]), situation.keys, warm?.nowUs ?? START_US);
  if (situation.smallRequests) box.maxRequestBytes = SMALL_REQUEST_BYTES;
  let values = 0;
  box.fresh = () => `p${++values}.`;
  if (warm) {
    box.redis.load(narrowed(warm.redis, situation.keys));
    box.oracle.load(warm.oracle);
  }
  Object.assign(box.oracle.leniency, situation.leniency);
  await situation.prepare?.(box);
  box.oracle.look();
  return { situation, redis: box.redis.save(), oracle: box.oracle.save(), nowUs: box.world.nowUs };
}

/** Plays one scenario; the same one, the same steps. */
export async function live(subject: Subject, scenario: Scenario, log?: string[]): Promise<Lived> {
  const start = await prepare(situationNamed(scenario.situation));
  const { situation } = start;
  const box = makeSandbox(subject, replayedChoices([]), situation.keys, start.nowUs, log);
  box.redis.load(start.redis);
  box.oracle.load(start.oracle);
  Object.assign(box.oracle.leniency, situation.leniency);
  if (situation.smallRequests) box.maxRequestBytes = SMALL_REQUEST_BYTES;
  box.retries = scenario.client === "tries once" ? 0 : 1;
  box.forgetful = scenario.client === "tries twice, scripts unknown";
  const requests: Lived["requests"] = [];
  const played = await playOut(box, () => play(box, situation, scenario, requests));
  return { ...played, requests };
}

async function play(box: Sandbox, situation: Situation, scenario: Scenario, requests: Lived["requests"]) {
  const { world, network } = box;
  const { delivery } = scenario;
  const faults = new Map(scenario.faults);
  const callers = new Set<Process>();
  const stage: CallStage = { box, others: [] };
  const arrive = () => {
    if (world.late.length === 0) return;
    world.note(() => `---- late copies arrive ${delivery}`);
    for (const happening of world.late.splice(0)) happening.run();
  };
  const arrivesAt = (moment: DeliveryTime) => {
    if (moment === delivery) arrive();
  };

  network.faults.plan = (sent) => {
    const { process, to, reads, what } = sent;
    if (!callers.has(process)) return undefined;
    const n = requests.push({ to, reads });
    // ahead of this request, and of the one that comes next
    if (delivery === "with the next request" && faults.has(n - 1)) world.ready.push({ run: arrive });
    if (delivery === "with the request after the next" && faults.has(n - 2)) world.ready.push({ run: arrive });
    if (to === "store" && what.startsWith("PUT") && !what.includes("/~owner/")) {
      const act = stage.onUpload;
      delete stage.onUpload;
      act?.();
    }
    const outcome = faults.get(n);
    world.note(() => `${process.name} sends request ${n}${outcome ? `: ${outcome}` : ""}`);
    const refused = situation.refused !== undefined && what.startsWith("PUT") &&
      what.includes(` ${situation.refused} `);
    return outcome ?? (refused ? "refused" : undefined);
  };

  for (const [i, step] of situation.steps.entries()) {
    if (step.afterMs) pass(box, step.afterMs * 1000);
    const bench = makeBench(box, `call${i + 1}`);
    callers.add(bench.process);
    const answer = await answered(box, bench, step, stage);
    for (const other of stage.others.splice(0)) await complete(box, other.bench, other.act);
    callers.clear();
    arrivesAt("after the call");
    if (answer !== "failed") continue;
    if (makesGood(scenario, requests)) throw new Violation("a retry makes good for one fault", `${step.kind} failed`);
    // another tick makes up for one that failed; any other call is repeated
    if (step.kind === "tick") continue;
    if (await answered(box, makeBench(box, `again${i + 1}`), step, stage) === "failed") {
      throw new Violation("a repeated call succeeds", `${step.kind} failed`);
    }
  }
  delete network.faults.plan;
  while (world.ready.length > 0) await world.step();
  if (delivery === "after the lease" || delivery === "in another's lease") {
    pass(box, LEASE_US);
    arrivesAt("after the lease");
    if (world.late.length > 0) await anotherLease(box, arrive);
  }
  if (delivery === "over an unmarked change" && world.late.length > 0) await changeAll(box, arrive);
  const mode = situation.mode ?? "network";
  if (IN_SECOND_LIFE.has(delivery) && world.late.length > 0) {
    await drain(box, mode, []);
    await secondLife(box, delivery, arrive);
  }
  await recover(box, mode); // what is late still arrives after it
}

/** Makes a call; `refused`: with an error that no repetition mends. */
async function answered(
  box: Sandbox,
  bench: SimulatedBench,
  step: Step,
  stage: CallStage,
): Promise<"resolved" | "failed" | "refused" | "died"> {
  let answer: "resolved" | "failed" | "refused" | "died" = "died";
  const act = call(bench, step.kind, step.keys, () => step.act(bench, stage), (op, value, error) => {
    step.check?.(box.oracle, op, value, error);
    answer = error === undefined ? "resolved" : error.retryable ? "failed" : "refused";
  });
  await complete(box, bench, act);
  return answer;
}

/** True for a fault that the client's second attempt makes good for. */
function makesGood({ client, faults }: Scenario, requests: Lived["requests"]): boolean {
  if (client === "tries once" || faults.length > 1) return false;
  return faults.every(([n, outcome]) => {
    // an HTTP 400 that says nothing is not asked again, and NOSCRIPT cut short is one
    if (outcome === "cut short" && client === "tries twice, scripts unknown") return false;
    return requests[n - 1]?.to === "redis";
  });
}

/** Another tick has claimed and read, and is about to upload, or has done so. */
async function anotherLease(box: Sandbox, arrive: () => void): Promise<void> {
  const { world, network } = box;
  const bench = makeBench(box, "another tick");
  network.faults.plan = ({ process, what }) => {
    if (process === bench.process && what.startsWith("PUT")) world.ready.push({ run: arrive });
    return undefined;
  };
  await complete(box, bench, tick(bench, {}));
  delete network.faults.plan;
  arrive();
  kill(bench.process, bench.oracle);
}

/** Another client changes all keys, evicted ones too, and does not mark them. */
async function changeAll(box: Sandbox, arrive: () => void): Promise<void> {
  const bench = makeBench(box, "forgetful");
  for (const key of box.keys) {
    await complete(box, bench, command(bench, [key], () => bench.store.redis.append(key, bench.fresh())));
  }
  arrive();
}

const IN_SECOND_LIFE = new Set<DeliveryTime>([
  "after a new write",
  "over a blind write",
  "after del",
  "over a new value after del",
]);

/**
 * Every key is written anew, archived and evicted; or written over while evicted; or deleted; or written after that.
 */
async function secondLife(box: Sandbox, delivery: DeliveryTime, arrive: () => void): Promise<void> {
  const { keys, oracle } = box;
  const bench = makeBench(box, "later");
  const does = (act: Promise<unknown>) => complete(box, bench, act);
  const { redis } = bench.store;
  const each = async (act: (key: string) => Promise<unknown>) => {
    for (const key of keys) await does(command(bench, [key], () => act(key)));
  };
  if (delivery === "after a new write" || delivery === "over a blind write") {
    await each((key) => redis.set(key, bench.fresh()));
    await does(dirty(bench, keys, { overwrite: true }));
    await does(tick(bench, {}));
    await does(evict(bench, keys));
    const left = keys.filter((key) => oracle.held(key) !== null);
    if (left.length > 0) throw new Violation("what is archived can be evicted", `${left} stayed`);
    if (delivery === "over a blind write") await each((key) => redis.append(key, bench.fresh()));
    arrive();
    if (delivery === "over a blind write") await each((key) => redis.del(key));
    return;
  }
  for (const key of keys) await does(del(bench, key));
  if (delivery === "over a new value after del") await each((key) => redis.set(key, bench.fresh()));
  arrive();
  if (delivery === "over a new value after del") await does(dirty(bench, keys));
}

// ---- which scenarios there are

/** Outcomes of any request. */
const OUTCOMES: readonly RequestOutcome[] = [
  "reset before",
  "hangs",
  "reset after",
  "hangs after",
  "twice",
  "late",
  "late, and hangs",
  "dies before",
  "dies after",
  "dies, and it comes late",
];
/** A client takes these for one of the former: it learns nothing and tries again. */
const ALIKE: readonly RequestOutcome[] = ["503 before", "500 after", "cut short"];
/** If nothing was to be changed, it makes no difference whether the request took effect. */
const OF_READS: readonly RequestOutcome[] = ["reset before", "hangs", "dies before"];

/** True if a copy arrives later that may change something. */
const makesCopy = ({ reads }: Pick<Sent, "reads">, outcome: RequestOutcome): boolean =>
  !reads && (outcome.includes("late") || outcome === "twice");
const isDeath = (outcome: RequestOutcome): boolean => outcome.startsWith("dies");

/** All that may happen to a request. */
export function outcomesOf({ to, reads }: Pick<Sent, "to" | "reads">): readonly RequestOutcome[] {
  if (to === "redis") return [...OUTCOMES, ...ALIKE];
  return reads ? [...OF_READS, "refused"] : [...OUTCOMES, "refused"];
}

/** The same if it is one of two faults: of those that look alike to a client only one. */
function outcomesOfTwo(request: Pick<Sent, "to" | "reads">): readonly RequestOutcome[] {
  if (request.to === "store") return outcomesOf(request);
  return request.reads ? OF_READS : OUTCOMES;
}

/** Numbers of the scenarios played in one situation. */
export interface Tally {
  situation: string;
  /** Requests if nothing fails and the client tries once. */
  requests: number;
  singles: number;
  pairs: number;
  steps: number;
  ms: number;
  /** The number of scenarios that did not reach their last fault, as an early copy had changed what was sent. */
  unmet: number;
  /** The number of scenarios that broke a promise, and the first of them. */
  broken: number;
  findings: { scenario: Scenario; check: string; detail: string }[];
}

/** Nothing played yet. */
export const NOTHING: Tally = {
  situation: "",
  requests: 0,
  singles: 0,
  pairs: 0,
  steps: 0,
  ms: 0,
  unmet: 0,
  broken: 0,
  findings: [],
};

/** Of one situation, in detail. */
const FINDINGS = 3;

/** Which share of the scenarios is played: whole, or one of several processes' parts. */
export interface Share {
  part: number;
  of: number;
}

/** Which scenarios of a situation are played. */
export interface Extent {
  clients?: readonly Client[];
  pairs?: boolean;
  /** Late copies of pairs arrive at all moments, not only at some. */
  allMoments?: boolean;
  share?: Share;
  /** Stops at so many broken promises. */
  most?: number;
  /**
   * Of each single fault, one client and one moment at which copies arrive, drawn from this seed; with the scripts
   * unknown, every tenth single fault; of the pairs, one with every second.
   */
  seed?: number;
}

/** Plays all single faults of a situation, and all pairs if they are wanted. */
export async function playAll(subject: Subject, situation: Situation, extent: Extent = {}): Promise<Tally> {
  const { clients = CLIENTS, pairs = false, allMoments = false, share = { part: 0, of: 1 }, most = Infinity, seed } =
    extent;
  const from = performance.now();
  const tally: Tally = { ...NOTHING, situation: situation.name, findings: [] };
  const enough = () => tally.broken >= most;

  const played = async (client: Client, faults: Scenario["faults"], delivery: DeliveryTime): Promise<Lived> => {
    const scenario: Scenario = { situation: situation.name, client, faults, delivery };
    const lived = await live(subject, scenario);
    tally.steps += lived.steps;
    if (faults.length === 1) tally.singles++;
    if (faults.length === 2) tally.pairs++;
    if (faults.some(([n]) => n > lived.requests.length)) tally.unmet++;
    if (lived.violation && ++tally.broken <= FINDINGS) tally.findings.push({ scenario, ...lived.violation });
    return lived;
  };

  /** Once, or if there is a late copy, once for each moment at which it may arrive. */
  const atAllMoments = async (client: Client, faults: Scenario["faults"], sent: Lived["requests"]): Promise<Lived> => {
    const first = await played(client, faults, DELIVERY_TIMES[0]);
    const late = faults.filter(([n, outcome]) => makesCopy(sent[n - 1]!, outcome));
    if (late.length === 0) return first;
    const after = first.requests.length - late[0]![0];
    for (const delivery of DELIVERY_TIMES.slice(1)) {
      if (faults.length > 1 && !allMoments && !OF_TWO.has(delivery)) continue;
      if (delivery === "with the next request" && after < 1) continue;
      if (delivery === "with the request after the next" && after < 2) continue;
      if (enough()) break;
      await played(client, faults, delivery);
    }
    return first;
  };

  let unit = 0;
  for (const client of clients) {
    if (seed !== undefined && client === CLIENTS[1]) continue; // drawn instead of the first
    const { requests } = await played(client, [], DELIVERY_TIMES[0]);
    if (client === CLIENTS[0]) tally.requests = requests.length;
    for (const [i, request] of requests.entries()) {
      for (const outcome of outcomesOf(request)) {
        if (enough()) break;
        if (unit++ % share.of !== share.part) continue;
        const one: Scenario["faults"] = [[i + 1, outcome]];
        const dies = isDeath(outcome) && situation.steps.length === 1;
        const hasPairs = pairs && client !== CLIENTS[2] && !dies && outcomesOfTwo(request).includes(outcome);
        if (seed !== undefined) {
          const choices = seededChoices(seed + unit);
          if (client !== CLIENTS[0] && choices.int(10) > 0) continue;
          const drawn = client === CLIENTS[0] ? choices.pick(CLIENTS.slice(0, 2)) : client;
          const moment = () => choices.pick(DELIVERY_TIMES);
          const { requests: sent } = await played(
            drawn,
            one,
            makesCopy(request, outcome) ? moment() : DELIVERY_TIMES[0],
          );
          const later = sent.length - i - 1;
          if (!hasPairs || later < 1 || choices.int(2) > 0) continue;
          const j = i + 1 + choices.int(later);
          await played(drawn, [...one, [j + 1, choices.pick(outcomesOfTwo(sent[j]!))]], moment());
          continue;
        }
        const { requests: sent } = await atAllMoments(client, one, requests);
        if (!hasPairs) continue;
        for (const [j, other] of sent.entries()) {
          if (j <= i) continue;
          for (const second of outcomesOfTwo(other)) {
            if (enough()) break;
            await atAllMoments(client, [...one, [j + 1, second]], sent);
          }
        }
      }
    }
  }
  tally.ms = performance.now() - from;
  return tally;
}

// ---- a scenario as text

/** The line that replays it. */
export function replayLine({ situation, client, faults, delivery }: Scenario): string {
  const text = faults.map(([n, outcome]) => `${n} ${outcome}`).join("; ");
  return `deno task crash --call="${situation}" --client="${client}" --faults="${text}" --delivery="${delivery}"`;
}

/** The inverse of the line's parts. */
export function parseScenario(situation: string, client: string, faults: string, delivery: string): Scenario {
  situationNamed(situation);
  if (!CLIENTS.includes(client as Client)) throw new Error(`No such client: ${client}`);
  if (!DELIVERY_TIMES.includes(delivery as DeliveryTime)) throw new Error(`No such delivery time: ${delivery}`);
  return {
    situation,
    client: client as Client,
    delivery: delivery as DeliveryTime,
    faults: faults.split(";").filter((one) => one.trim() !== "").map((one) => {
      const [, n, outcome] = /^\s*(\d+) (.+?)\s*$/.exec(one) ?? [];
      if (![...OUTCOMES, ...ALIKE, "refused"].includes(outcome!)) throw new Error(`No such outcome: ${one}`);
      return [Number(n), outcome as RequestOutcome];
    }),
  };
}
