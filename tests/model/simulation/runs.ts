/**
 * Many schedules, in this process or in several.
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { type Choices, choicesText, seededChoices } from "./choices.ts";
import { runErasures } from "./erasures.ts";
import { runHistories } from "./histories.ts";
import { runPeeks } from "./peeks.ts";
import { runLarge } from "./large.ts";
import { runLiveness } from "./liveness.ts";
import { minimise } from "./minimise.ts";
import { runPolicy } from "./policy.ts";
import { runRebuilds } from "./rebuilds.ts";
import { runSeveral } from "./several.ts";
import { type Outcome, type Play, runSchedule, type Subject } from "./simulation.ts";
import { runSweeps } from "./sweeps.ts";
import { runTogether } from "./together.ts";
import { runTransparent } from "./transparent.ts";

/**
 * Kinds of schedules: any faults, what must go on, several databases, sweeps, values that stay, versions restored,
 * indexes rebuilt, keys erased, large values, transparent clients, all operations at once; one of them by lot.
 */
export const PLAYS: Record<string, Play> = {
  any: runSchedule,
  liveness: runLiveness,
  several: runSeveral,
  sweeps: runSweeps,
  policy: runPolicy,
  histories: runHistories,
  peeks: runPeeks,
  rebuilds: runRebuilds,
  erasures: runErasures,
  large: runLarge,
  transparent: runTransparent,
  together: runTogether,
  all: runOneOfAll,
};

/** The share of each kind in `all`, of a hundred: operations have most of it. */
const SHARES: Record<string, number> = {
  ...{ any: 20, sweeps: 20, rebuilds: 20, histories: 20, peeks: 5, several: 5, erasures: 3, together: 2 },
  ...{ policy: 2, large: 1, transparent: 1, liveness: 1 },
};
const DRAWN = Object.entries(SHARES).flatMap(([name, share]) => Array<string>(share).fill(name));

/** A schedule of a kind that is drawn by lot. */
async function runOneOfAll(subject: Subject, choices: Choices, log?: string[]): Promise<Outcome> {
  const name = choices.pick(DRAWN);
  log?.push(`kind ${name}`);
  const played = await PLAYS[name]!(subject, choices, log);
  return { ...played, mode: `${name}: ${played.mode}` };
}

/** A broken promise, and how to see it again. */
export interface Finding {
  seed: number;
  mode: string;
  check: string;
  detail: string;
  /** The shortest decisions found that break it. */
  choices?: number[];
}

/** The findings of many schedules. */
export interface Findings {
  schedules: number;
  steps: number;
  commands: number;
  seconds: number;
  /** The number of schedules of each mode. */
  modes: Record<string, number>;
  violations: Finding[];
}

/** A broken promise in lines: the mode, the detail, and the commands that replay it. */
export function findingText({ seed, mode, detail, choices }: Finding, play = "any"): string {
  const program = play === "any" ? "deno task simulate" : `deno task simulate --play=${play}`;
  const lines = [`broken in mode "${mode}": ${detail}`, `TUNDRA_SEED=${seed} ${program} --replay`];
  if (choices) lines.push(`${program} --choices=${choicesText(choices)}`);
  return lines.join("\n  ");
}

/**
 * Runs the schedules `seed`, `seed + 1`...; the first schedule that breaks a promise is minimised, in at most `tries`
 * runs.
 */
export async function simulateMany(
  subject: Subject,
  seed: number,
  schedules: number,
  play: Play = runSchedule,
  tries = 1500,
): Promise<Findings> {
  const from = performance.now();
  const findings: Findings = { schedules, steps: 0, commands: 0, seconds: 0, modes: {}, violations: [] };
  const seen = new Set<string>();
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0; // a schedule has many errors, and a sixth of its time would be their stacks
  for (let i = 0; i < schedules; i++) {
    const choices = seededChoices(seed + i);
    const { violation, mode, steps, commands } = await play(subject, choices);
    findings.steps += steps;
    findings.commands += commands;
    findings.modes[mode] = (findings.modes[mode] ?? 0) + 1;
    if (!violation) continue;
    const finding: Finding = { seed: seed + i, mode, ...violation };
    if (!seen.has(violation.check)) {
      finding.choices = await minimise(subject, choices.taken, violation.check, tries, play);
    }
    seen.add(violation.check);
    findings.violations.push(finding);
  }
  Error.stackTraceLimit = stackTraceLimit;
  findings.seconds = (performance.now() - from) / 1000;
  return findings;
}

/** The same, shared by several processes: `program` takes `--worker --seed --schedules` and prints findings. */
export async function simulateInProcesses(
  program: string,
  seed: number,
  schedules: number,
  jobs: number,
  play = "any",
  encrypted = false,
): Promise<Findings> {
  const from = performance.now();
  const share = Math.ceil(schedules / jobs);
  const parts = await Promise.all(Array.from({ length: jobs }, (_, i) => {
    const count = Math.max(0, Math.min(share, schedules - i * share));
    return inProcess<Findings>(program, [
      ...[`--play=${play}`, `--seed=${seed + i * share}`, `--schedules=${count}`],
      ...(encrypted ? ["--encrypted"] : []),
    ]);
  }));
  const sum = (of: (part: Findings) => number) => parts.reduce((total, part) => total + of(part), 0);
  const modes = new Set(parts.flatMap((part) => Object.keys(part.modes)));
  return {
    schedules: sum((part) => part.schedules),
    steps: sum((part) => part.steps),
    commands: sum((part) => part.commands),
    seconds: (performance.now() - from) / 1000,
    modes: Object.fromEntries([...modes].map((mode) => [mode, sum((part) => part.modes[mode] ?? 0)])),
    violations: parts.flatMap((part) => part.violations),
  };
}

/** The last line of `program --worker`, as JSON. */
export function inProcess<T>(program: string, args: string[]): Promise<T> {
  const { deno, bun } = process.versions;
  const runner = deno ? ["run", "-A", "--no-check"] : bun ? ["run"] : ["--import", "tsx"];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...runner, program, "--worker", ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout!.on("data", (chunk) => output += chunk);
    child.on("error", reject);
    child.on("close", (status) => {
      if (status === 0) resolve(JSON.parse(output.trim().split("\n").at(-1)!));
      else reject(new Error(`a simulating process ended with ${status}: ${output.slice(-2000)}`));
    });
  });
}
