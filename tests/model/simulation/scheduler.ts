/**
 * Time, timers and everything that is under way: the scheduler of a simulation. Nothing happens between two of its
 * steps, and all that happens in one is decided by the choices.
 * @module
 */
import { setImmediate } from "node:timers";
import type { Platform } from "../../../src/base/platform.ts";
import { digest } from "../redis/scripts.ts";
import type { Choices } from "./choices.ts";

/** Something that can happen next. */
export interface Happening {
  /** The process that it belongs to; nothing of a dead process happens any more, bar what is in the network already. */
  owner?: { dead: boolean };
  run(): void;
}

interface Timer {
  at: number;
  act: () => void;
}

/** Settings of a schedule. */
export interface Pace {
  /** In so many of a thousand steps something else than the oldest happens. */
  reorder: number;
  /** In so many of a thousand steps the next timer fires although other things could happen. */
  timers: number;
  /** In so many of a thousand steps one of the late things happens. */
  late: number;
}

/** The scheduler. */
export interface SimulatedWorld {
  readonly choices: Choices;
  pace: Pace;
  /** Microseconds since 1970: the clients' clock. Redis has its own, `redisUs()`. */
  nowUs: number;
  /** By how much Redis' clock is ahead. */
  redisSkewUs: number;
  redisUs(): number;
  /** Steps that may happen now. */
  readonly ready: Happening[];
  /** A process whose steps wait as long as there are others. */
  paused: { dead: boolean } | undefined;
  /** Steps that may happen at any time, or never: copies of requests, mostly. */
  readonly late: Happening[];
  /** Resolves when the scheduler says so. */
  turn(owner?: { dead: boolean }): Promise<void>;
  after(ms: number, act: () => void): () => void;
  /** Resolves when all that runs has come to its next wait. */
  quiet(): Promise<void>;
  /** Runs one step; `false`: there is none. */
  step(): Promise<boolean>;
  /** Notes of what happened, if they are wanted. */
  readonly log: string[] | undefined;
  note(line: () => string): void;
  readonly platform: Platform;
}

/** More names than a world draws before another one goes on where it ended. */
export const DRAWN_BEFORE = 1000;

/** Makes one; `drawn`: how many names other worlds have drawn that must not come again. */
export function makeSimulatedWorld(choices: Choices, startUs: number, log?: string[], drawn = 0): SimulatedWorld {
  const timers: Timer[] = [];
  let drawnBytes = drawn;

  /** The oldest of those that are due first. */
  function nextTimer(): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of timers) if (!first || timer.at < first.at) first = timer;
    return first;
  }

  function fire(timer: Timer): void {
    timers.splice(timers.indexOf(timer), 1);
    world.nowUs = Math.max(world.nowUs, timer.at);
    timer.act();
  }

  const world: SimulatedWorld = {
    choices,
    pace: { reorder: 0, timers: 0, late: 0 },
    nowUs: startUs,
    redisSkewUs: 0,
    redisUs: () => world.nowUs + world.redisSkewUs,
    ready: [],
    paused: undefined,
    late: [],
    log,
    note(line) {
      log?.push(`+${((world.nowUs - startUs) / 1000).toFixed(1)} ms ${line()}`);
    },
    turn: (owner) => new Promise((resolve) => world.ready.push({ run: resolve, ...(owner ? { owner } : {}) })),
    after(ms, act) {
      const timer = { at: world.nowUs + ms * 1000, act };
      timers.push(timer);
      return () => {
        const i = timers.indexOf(timer);
        if (i >= 0) timers.splice(i, 1);
      };
    },
    // a macrotask: nothing else is in the event loop, and all microtasks come first
    quiet: () => new Promise((resolve) => setImmediate(resolve)),
    async step() {
      const { ready, late, pace } = world;
      for (let i = ready.length - 1; i >= 0; i--) if (ready[i]!.owner?.dead) ready.splice(i, 1);
      const timer = nextTimer();
      const open = world.paused ? ready.filter(({ owner }) => owner !== world.paused) : ready;
      if (open.length === 0) world.paused = undefined;
      if (late.length > 0 && choices.chance(pace.late)) {
        late.splice(choices.int(late.length), 1)[0]!.run();
      } else if (timer && (ready.length === 0 || choices.chance(pace.timers))) fire(timer);
      else if (ready.length > 0) {
        const those = open.length > 0 ? open : ready;
        const i = those.length > 1 && choices.chance(pace.reorder) ? choices.int(those.length) : 0;
        const [happening] = ready.splice(ready.indexOf(those[i]!), 1);
        world.nowUs += 1 + (pace.reorder > 0 ? choices.pick(STEP_US) : 20);
        happening!.run();
      } else return false;
      await world.quiet();
      return true;
    },
    platform: {
      monotonicMs: () => world.nowUs / 1000,
      wallClockMs: () => Math.floor(world.nowUs / 1000),
      uuid: () => `uuid-${(++drawn).toString(16).padStart(8, "0")}`,
      nonce: () => (Math.imul(++drawn, 0x9e3779b1) >>> 0).toString(16).padStart(8, "0"),
      randomBytes(length) { // never the same twice, and the same in each run
        const bytes = new Uint8Array(length);
        new DataView(bytes.buffer).setUint32(0, ++drawnBytes);
        return bytes;
      },
      random: () => choices.chance(500) ? 0.25 : 0.75,
      leastDurationMs: 1,
      after: (ms, act) => world.after(ms, act),
      digest,
    },
  };
  return world;
}

/** The duration of a step: mostly next to nothing, so that much falls into one millisecond. */
const STEP_US = [20, 0, 300, 20_000];
