/**
 * Explores every order of requests of a few processes, with every fault at every place (explorer.ts), and prints a
 * table:
 *
 *     deno task explore [--jobs=2] [--scope=TEXT]           all scopes, or those in whose names TEXT occurs
 *     deno task explore --reduced                           the few that tests explore
 *     deno task explore --replay=SCOPE:0.3.12               one path, step by step
 *     deno task explore --bugs                           seeded bugs: which of them does the exploration alone catch?
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { stop } from "esbuild";
import { inProcess } from "../simulation/runs.ts";
import { loadBug, SEEDED_BUGS, subjectNamed } from "../simulation/seeded_bugs.ts";
import type { Subject } from "../simulation/simulation.ts";
import { families, type Family, huntingScopes, reducedScopes } from "./explore_scopes.ts";
import { explore, type Explored, type Scope } from "./explorer.ts";

const { values: options } = parseArgs({
  options: {
    jobs: { type: "string", default: "2" },
    scope: { type: "string", default: "" },
    replay: { type: "string" },
    bug: { type: "string" },
    bugs: { type: "boolean", default: false },
    reduced: { type: "boolean", default: false },
    worker: { type: "boolean", default: false },
  },
});

const HEAD = ["states", "in recovery", "steps", "depth", "servers' states", "runs of the code", "seconds", "broken"];

/** A seeded bug that was not caught by then is not hunted any longer. */
const HUNT_S = 120;

const everything =
  (): Scope[] => [...families().flatMap(({ scopes }) => scopes), ...reducedScopes(), ...huntingScopes()];

if (options.worker) {
  const explored: Explored[] = [];
  for (const name of options.scope.split("\n")) {
    explored.push(await explore(await subjectNamed(options.bug), scopeNamed(name)));
  }
  console.log(JSON.stringify(explored));
} else if (options.replay !== undefined) await replay(options.replay);
else if (options.bugs) await bugs();
else await table(options.reduced ? [{ name: "reduced", scopes: reducedScopes() }] : families());
await stop();

function scopeNamed(name: string): Scope {
  const scope = everything().find((scope) => scope.name === name);
  if (!scope) throw new Error(`no scope is called ${name}`);
  return scope;
}

/** One path, step by step. */
async function replay(text: string): Promise<void> {
  const colon = text.lastIndexOf(":");
  const path = text.slice(colon + 1).split(".").map(Number);
  const { violations } = await explore(await subjectNamed(options.bug), scopeNamed(text.slice(0, colon)), {
    path,
    log: console.log,
  });
  console.log(violations[0] ? `broken: ${violations[0].detail}` : "all promises were kept");
  process.exitCode = violations.length > 0 ? 1 : 0;
}

/** The line that replays it. */
function replayLine(scope: string, path: readonly number[]): string {
  const bug = options.bug === undefined ? "" : ` --bug="${options.bug}"`;
  return `deno task explore${bug} --replay="${scope}:${path.join(".")}"`;
}

function row(name: string, all: readonly Explored[]): string {
  const sum = (of: (one: Explored) => number) => all.reduce((total, one) => total + of(one), 0);
  const numbers = [
    sum((one) => one.states),
    sum((one) => one.recovering),
    sum((one) => one.steps),
    Math.max(...all.map((one) => one.depth)),
    sum((one) => one.servers),
    sum((one) => one.runs),
    Math.round(sum((one) => one.seconds)),
    sum((one) => one.violations.length),
  ];
  const cells = numbers.map((number, i) => number.toLocaleString("en").padStart(HEAD[i]!.length));
  const cut = all.filter((one) => !one.complete).length;
  return `| ${name.padEnd(64)} | ${cells.join(" | ")} |${cut ? ` ${cut} cut short` : ""}`;
}

async function table(all: Family[]): Promise<void> {
  const from = performance.now();
  const chosen = all.map(({ name, scopes }) => ({
    name,
    scopes: scopes.filter((scope) => scope.name.includes(options.scope)),
  })).filter(({ scopes }) => scopes.length > 0);
  const results = new Map<Scope, Explored>();
  const queue = chosen.flatMap(({ scopes }) => grouped(scopes));
  console.log(`| ${"scope".padEnd(64)} | ${HEAD.join(" | ")} |`);
  await Promise.all(Array.from({ length: Number(options.jobs) }, async () => {
    for (let group = queue.shift(); group; group = queue.shift()) {
      const all = await exploreApart(group);
      all.forEach((explored, i) => {
        results.set(group[i]!, explored);
        console.log(row(explored.scope, [explored]));
        for (const { check, detail, path } of explored.violations) {
          console.log(`\nbroken: ${check}\n  ${detail}\n  ${replayLine(explored.scope, path)}\n`);
        }
      });
    }
  }));
  console.log(`\n| ${"family".padEnd(64)} | ${HEAD.join(" | ")} |\n|${"---|".repeat(HEAD.length + 1)}`);
  for (const { name, scopes } of chosen) {
    console.log(row(`${name} (${scopes.length} scopes)`, scopes.map((scope) => results.get(scope)!)));
  }
  const every = [...results.values()];
  console.log(row(`all (${every.length} scopes)`, every));
  const faults = new Map<string, number>();
  for (const each of every) {
    for (const [fault, count] of Object.entries(each.faults)) faults.set(fault, (faults.get(fault) ?? 0) + count);
  }
  console.log(
    `states by fault: ${[...faults].map(([fault, count]) => `${fault} ${count.toLocaleString("en")}`).join(", ")}`,
  );
  console.log(`${((performance.now() - from) / 1000).toFixed(0)} s with ${options.jobs} processes`);
  process.exitCode = every.some(({ violations, complete }) => violations.length > 0 || !complete) ? 1 : 0;
}

/** Small scopes share a process. */
function grouped(scopes: readonly Scope[]): Scope[][] {
  const small = (scope: Scope) => scope.faults.length + scope.waits === 0;
  const groups: Scope[][] = [];
  for (const scope of scopes) {
    const last = groups.at(-1);
    if (last && last.length < 16 && small(last[0]!) && small(scope)) last.push(scope);
    else groups.push([scope]);
  }
  return groups;
}

/** Scopes in a process of their own, which gives its memory back. */
function exploreApart(scopes: readonly Scope[]): Promise<Explored[]> {
  const bug = options.bug === undefined ? [] : [`--bug=${options.bug}`];
  const names = scopes.map(({ name }) => name).join("\n");
  return inProcess(fileURLToPath(import.meta.url), [`--scope=${names}`, ...bug]);
}

/** Each seeded bug, hunted through small scopes until one of them catches it. */
async function bugs(): Promise<void> {
  const chosen = SEEDED_BUGS.filter(({ name }) => name.includes(options.bug ?? ""));
  let caught = 0;
  for (const bug of chosen) {
    const from = performance.now();
    const found = await hunt(await loadBug(bug));
    if (found) caught++;
    const seconds = `${((performance.now() - from) / 1000).toFixed(0)} s`;
    console.log(
      `${found ? `caught in ${found.scope} by "${found.check}", ${found.steps} steps` : "not caught"}, ${seconds}: ` +
        bug.name + (bug.guard ? ` [guard: ${bug.guard}]` : ""),
    );
  }
  console.log(`${caught} of ${chosen.length} seeded bugs are caught`);
}

async function hunt(subject: Subject): Promise<{ scope: string; check: string; steps: number } | undefined> {
  const from = performance.now();
  for (const scope of huntingScopes()) {
    if (performance.now() - from > HUNT_S * 1000) return undefined;
    const { violations: [first] } = await explore(subject, { ...scope, first: true });
    if (first) return { scope: scope.name, check: first.check, steps: first.path.length };
  }
  return undefined;
}
