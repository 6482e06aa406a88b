/**
 * Runs many schedules, in several processes, and prints what broke, each with the line that replays it:
 *
 *     deno task simulate [--schedules=N] [--seed=S] [--jobs=2] [--play=any|liveness|several|sweeps|policy|histories|peeks|rebuilds|erasures|large|transparent|together|all]
 *     TUNDRA_SEED=S deno task simulate --replay             that schedule, step by step
 *     deno task simulate --choices=5.0*12.3                 a minimised one, step by step
 *     deno task simulate --encrypted ...                    the same with stores that encrypt
 *     deno task simulate --bugs [--schedules=N]          seeded bugs: after how many schedules is each of them caught?
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { stop } from "esbuild";
import { parseChoices, replayedChoices, seededChoices } from "./choices.ts";
import { type Findings, findingText, PLAYS, simulateInProcesses, simulateMany } from "./runs.ts";
import { huntBug, SEEDED_BUGS, subjectNamed } from "./seeded_bugs.ts";
import { ENCRYPTED, type Play, SHIPPED } from "./simulation.ts";

const { values: options } = parseArgs({
  options: {
    schedules: { type: "string", default: "20000" },
    seed: { type: "string", default: process.env.TUNDRA_SEED ?? "1" },
    jobs: { type: "string", default: "2" },
    play: { type: "string", default: "any" },
    replay: { type: "boolean", default: false },
    choices: { type: "string" },
    bug: { type: "string" },
    bugs: { type: "boolean", default: false },
    encrypted: { type: "boolean", default: false },
    worker: { type: "boolean", default: false },
  },
});
const seed = Number(options.seed);
const schedules = Number(options.schedules);
const play = PLAYS[options.play];
if (play === undefined) throw new Error(`--play is one of ${Object.keys(PLAYS)}: not ${options.play}`);

const subject = options.encrypted ? ENCRYPTED : SHIPPED;

if (options.worker) {
  const findings = await simulateMany(subject, seed, schedules, play);
  console.log(JSON.stringify(findings));
} else if (options.replay || options.choices !== undefined) {
  const choices = options.choices === undefined ? seededChoices(seed) : replayedChoices(parseChoices(options.choices));
  await show(play, choices);
} else if (options.bugs) await bugs();
else {
  const program = fileURLToPath(import.meta.url);
  report(await simulateInProcesses(program, seed, schedules, Number(options.jobs), options.play, options.encrypted));
}
await stop();

/** One schedule, step by step. */
async function show(play: Play, choices: ReturnType<typeof seededChoices>): Promise<void> {
  const log: string[] = [];
  const { violation } = await play(options.bug === undefined ? subject : await subjectNamed(options.bug), choices, log);
  console.log(log.join("\n"));
  console.log(violation ? `broken: ${violation.detail}` : "all promises were kept");
  process.exitCode = violation ? 1 : 0;
}

function report({ schedules, steps, commands, seconds, modes, violations }: Findings): void {
  if (options.play === "all") console.log(kinds(modes));
  for (const finding of violations) console.log(`\n${findingText(finding, options.play)}`);
  const rate = schedules / seconds;
  console.log(
    `\n${schedules} schedules from seed ${seed}: ${violations.length} broken promises. ${seconds.toFixed(1)} s, ` +
      `${rate.toFixed(0)} schedules a second, ${(rate * 3.6).toFixed(0)} thousand an hour; ` +
      `${(steps / schedules).toFixed(0)} steps and ${(commands / schedules).toFixed(0)} commands a schedule`,
  );
  process.exitCode = violations.length > 0 ? 1 : 0;
}

/** The number of schedules of each kind. */
function kinds(modes: Findings["modes"]): string {
  const sums = new Map<string, number>();
  for (const [mode, count] of Object.entries(modes)) {
    const [kind = ""] = mode.split(":");
    sums.set(kind, (sums.get(kind) ?? 0) + count);
  }
  return [...sums].map(([kind, count]) => `${count} ${kind}`).join(", ");
}

async function bugs(): Promise<void> {
  let survivors = 0;
  for (const bug of SEEDED_BUGS) {
    const caught = await huntBug(bug, seed, schedules);
    if (!caught) survivors++;
    console.log(
      `${
        caught ? `caught after ${String(caught.schedules).padStart(5)} by "${caught.check}"` : "SURVIVED"
      }: ${bug.name}` +
        (bug.guard ? ` [guard: ${bug.guard}]` : ""),
    );
  }
  console.log(`${SEEDED_BUGS.length} bugs, ${survivors} survived ${schedules} schedules`);
  process.exitCode = survivors > 0 ? 1 : 0;
}
