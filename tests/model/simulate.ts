import process from "node:process";
import { choicesText, parseChoices, replayedChoices, seededChoices } from "./choices.ts";
import { runSchedule, SHIPPED } from "./simulation.ts";
const n = Number(process.argv[2] ?? 1000), seed = Number(process.argv[3] ?? 1), trace = process.argv[4];
const t0 = performance.now();
let steps = 0, commands = 0;
const found = new Map<string, [number, number, string]>();
for (let i = 0; i < n; i++) {
  const log: string[] | undefined = trace ? [] : undefined;
  const c = seededChoices(seed + i);
  const o = await runSchedule(SHIPPED, c, log);
  steps += o.steps;
  commands += o.commands;
  if (log) console.log(log.join("\n"));
  if (o.violation) {
    const k = o.violation.check;
    const f = found.get(k);
    if (!f) found.set(k, [1, seed + i, `[${o.mode}] ${o.violation.detail.slice(0, 500)}`]);
    else f[0]++;
  }
}
const s = (performance.now() - t0) / 1000;
console.log(
  `${n} schedules ${s.toFixed(1)} s ${(n / s).toFixed(0)}/s, ${(steps / n).toFixed(0)} steps, ${
    (commands / n).toFixed(0)
  } commands`,
);
for (const [k, v] of found) console.log(k, v);
