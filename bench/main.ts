/**
 * `deno task bench [--quick] [--no-peers] [--only=PART]`: the budgets of the design, measured side by side in one run.
 * What depends on the machine is a ratio. Starts its own servers, and installs what it compares with into
 * `bench/peers`. Takes some five minutes, two with `--quick`. Bun and Node run it too: `bun bench/main.ts`,
 * `node --import tsx bench/main.ts`.
 * @module
 */
import { availableParallelism } from "node:os";
import process from "node:process";
import { budgets } from "./budgets.ts";
import { codec } from "./codec.ts";
import { drain } from "./drain.ts";
import { packs } from "./packs.ts";
import type { Row } from "./row.ts";
import { scale } from "./scale.ts";
import { sideBySide } from "./side_by_side.ts";
import { size } from "./size.ts";
import { startBenchStack } from "./fixture.ts";
import { throughput } from "./throughput.ts";

const quick = process.argv.includes("--quick");
const withPackages = !process.argv.includes("--no-peers");
const only = process.argv.find((arg) => arg.startsWith("--only="))?.slice("--only=".length) ?? "";
const from = performance.now();
const rows: Row[] = [];
const bench = await startBenchStack();
try {
  const part = async (name: string, measure: () => Promise<Row[]>) => {
    if (!name.includes(only)) return;
    console.error(`${((performance.now() - from) / 1000).toFixed(0).padStart(3)} s  ${name}`);
    rows.push(...await measure());
  };
  await part("bundle", size);
  await part("freezing and thawing", () => codec(quick ? 100 : 1000));
  for (const n of [100, 1000]) await part(`requests and commands of ${n} keys`, () => budgets(bench, n));
  await part("packs", () => packs(bench));
  for (const delayMs of [0, 10]) {
    const options = { keys: 1000, rounds: quick ? 1 : 3, delayMs, withPackages };
    await part(`packs beside others, ${delayMs} ms delay`, () => sideBySide(bench, options));
  }
  const rounds = quick ? 1 : 3;
  const keys = quick ? 600 : 1500;
  await part("speed", () => throughput(bench, { keys, rounds, delayMs: 0, nthreads: 6 }));
  await part("speed with a delay", () => throughput(bench, { keys, rounds, delayMs: 10, nthreads: 6 }));
  await part("speed with a delay", () => throughput(bench, { keys, rounds, delayMs: 10, nthreads: 32 }));
  for (const [keys, packed] of [[20_000, { bytes: 1_000 }], [2_000, { bytes: 10_000, packBytes: 0 }]] as const) {
    const sizes = { ...packed, keys: quick ? keys / 4 : keys, delayMs: 50 };
    await part("drain by several processes", () => drain(bench, sizes));
  }
  await part("a long queue", () => scale(bench, quick ? 50_000 : 1_000_000, quick ? 3 : 7));
} finally {
  await bench.stop();
}
const widths = (["what", "budget"] as const).map((name) => Math.max(...rows.map((row) => row[name].length)));
const line = (what: string, budget: string, rest: string) =>
  console.log(`${what.padEnd(widths[0]!)}  ${budget.padEnd(widths[1]!)}  ${rest}`);
console.log();
line("", "budget", "measured");
for (const { what, budget, measured, good } of rows) {
  line(what, budget, good === undefined ? measured : `${measured}  ${good ? "ok" : "OVER"}`);
}
const seconds = ((performance.now() - from) / 1000).toFixed(0);
const { deno, bun, node } = process.versions;
const runtime = deno ? `Deno ${deno}` : bun ? `Bun ${bun}` : `Node ${node}`;
const date = new Date().toISOString().slice(0, 10);
console.log(`\nRequests + billable commands; ${runtime}, ${availableParallelism()} cores, ${date}; ${seconds} s.`);
