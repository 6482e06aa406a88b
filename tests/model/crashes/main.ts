/**
 * A crash at every request of every call, in the simulation:
 *
 *     deno task crash [--jobs=2] [--call=NAME] [--singles] [--all-moments]     plays all of them, prints a table
 *     deno task crash --call=... --faults=... --delivery=...    one scenario, step by step, as printed
 *     deno task crash --bugs [--seed=1]                     which seeded bugs are caught by what a test plays?
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { stop } from "esbuild";
import { inProcess } from "../simulation/runs.ts";
import { loadBug, SEEDED_BUGS, subjectNamed } from "../simulation/seeded_bugs.ts";
import { SHIPPED } from "../simulation/simulation.ts";
import {
  CLIENTS,
  DELIVERY_TIMES,
  live,
  parseScenario,
  playAll,
  replayLine,
  situationNamed,
  type Tally,
} from "./every_request.ts";
import { SITUATIONS } from "./situations.ts";

const { values: options } = parseArgs({
  options: {
    jobs: { type: "string", default: "2" },
    call: { type: "string" },
    client: { type: "string", default: CLIENTS[0] },
    faults: { type: "string" },
    delivery: { type: "string", default: DELIVERY_TIMES[0] },
    singles: { type: "boolean", default: false },
    "all-moments": { type: "boolean", default: false },
    bug: { type: "string" },
    bugs: { type: "boolean", default: false },
    worker: { type: "boolean", default: false },
    part: { type: "string", default: "0" },
    seed: { type: "string" },
  },
});
const jobs = Number(options.jobs);
const WIDTH = Math.max(...SITUATIONS.map(({ name }) => name.length));
// CI has no time for those of large values
const played = SITUATIONS.filter(({ smallRequests }) => !smallRequests || process.env.CI === undefined);
const situations = options.call === undefined ? played : [situationNamed(options.call)];

if (options.worker) {
  const tallies: Tally[] = [];
  for (const situation of situations) {
    const share = { part: Number(options.part), of: jobs };
    const seed = options.seed === undefined ? undefined : Number(options.seed);
    const tally = await playAll(SHIPPED, situation, {
      pairs: !options.singles,
      allMoments: options["all-moments"],
      share,
      seed,
    });
    tallies.push(tally);
    if (seed === undefined) console.error(`${tallies.length} of ${situations.length}: ${row(tally)}`);
  }
  console.log(JSON.stringify(tallies));
} else if (options.faults !== undefined) await show();
else if (options.bugs) await bugs();
else await all();
await stop();

/** One scenario, step by step. */
async function show(): Promise<void> {
  const log: string[] = [];
  const scenario = parseScenario(options.call ?? "", options.client, options.faults!, options.delivery);
  const { violation } = await live(await subjectNamed(options.bug), scenario, log);
  console.log(log.join("\n"));
  console.log(violation ? `broken: ${violation.detail}` : "all promises were kept");
  process.exitCode = violation ? 1 : 0;
}

async function all(): Promise<void> {
  const from = performance.now();
  const parts = await Promise.all(
    Array.from({ length: jobs }, (_, part) =>
      inProcess<Tally[]>(fileURLToPath(import.meta.url), [
        `--part=${part}`,
        `--jobs=${jobs}`,
        ...options.call === undefined ? [] : [`--call=${options.call}`],
        ...options.singles ? ["--singles"] : [],
        ...options["all-moments"] ? ["--all-moments"] : [],
      ])),
  );
  const tallies = situations.map((_, i) => parts.map((part) => part[i]!).reduce(sum));
  const total = { ...tallies.reduce(sum), situation: "all", requests: 0 };
  for (const { requests } of tallies) total.requests += requests;
  console.log(`\n${"call".padEnd(WIDTH)} requests singles   pairs broken`);
  for (const tally of [...tallies, total]) console.log(row(tally));
  for (const { scenario, check, detail } of total.findings) {
    console.log(`\nbroken: ${check}\n  ${detail}\n  ${replayLine(scenario)}`);
  }
  const seconds = (performance.now() - from) / 1000;
  console.log(
    `\n${total.singles + total.pairs} scenarios, ${total.steps} steps: ${total.broken} broken promises. ` +
      `${total.unmet} did not come to their second fault. ` +
      `${seconds.toFixed(0)} s with ${jobs} processes`,
  );
  process.exitCode = total.broken > 0 ? 1 : 0;
}

function sum(a: Tally, b: Tally): Tally {
  return {
    situation: a.situation,
    requests: a.requests,
    singles: a.singles + b.singles,
    pairs: a.pairs + b.pairs,
    steps: a.steps + b.steps,
    ms: a.ms + b.ms,
    unmet: a.unmet + b.unmet,
    broken: a.broken + b.broken,
    findings: [...a.findings, ...b.findings],
  };
}

function row({ situation, requests, singles, pairs, broken }: Tally): string {
  const columns = [requests, singles, pairs, broken].map((number, i) => String(number).padStart([8, 7, 7, 6][i]!));
  return `${situation.padEnd(WIDTH)} ${columns.join(" ")}`;
}

/** Each seeded bug meets the single faults that a test plays, and some pairs. */
async function bugs(): Promise<void> {
  const seed = Number(options.seed ?? 1);
  let survivors = 0;
  for (const bug of SEEDED_BUGS) {
    const subject = await loadBug(bug);
    let played = 0;
    let caught: Tally["findings"][number] | undefined;
    for (const situation of situations) {
      const { singles, pairs, findings } = await playAll(subject, situation, { pairs: true, most: 1, seed });
      played += singles + pairs;
      caught = findings[0];
      if (caught) break;
    }
    if (!caught) survivors++;
    const how = caught ? `caught after ${String(played).padStart(5)} by "${caught.check}"` : `SURVIVED ${played}`;
    console.log(`${how}: ${bug.name}${bug.guard ? ` [guard: ${bug.guard}]` : ""}`);
    if (caught) console.log(`    ${replayLine(caught.scenario)} --bug="${bug.name}"`);
  }
  console.log(`${SEEDED_BUGS.length} bugs, ${survivors} survived`);
}
