import { loadMutant, MUTANTS } from "/work/main/tests/model/mutants.ts";
import { seededChoices } from "/work/main/tests/model/choices.ts";
import { runSchedule } from "/work/main/tests/model/simulation.ts";
import { stop } from "esbuild";
const only = process.argv[2] ?? "", max = Number(process.argv[3] ?? 2000);
import process from "node:process";
for (const m of MUTANTS.filter((m) => m.name.includes(only))) {
  let s;
  try {
    s = await loadMutant(m);
  } catch (e) {
    console.log("BAD", (e as Error).message);
    continue;
  }
  let hit = "";
  let i = 0;
  const t = performance.now();
  for (; i < max && !hit; i++) {
    const o = await runSchedule(s, seededChoices(i + 1));
    if (o.violation?.check === "the simulation itself") console.log("ERR", o.violation.detail.slice(0, 300));
    if (o.violation) hit = `[${o.mode}] ${o.violation.detail.slice(0, 150)}`;
  }
  console.log(hit ? "caught" : "SURVIVED", i, ((performance.now() - t) / 1000).toFixed(1) + "s", m.name, "=>", hit);
}
await stop();
