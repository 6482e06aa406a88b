/**
 * `deno run -A bench/backlog.ts`: how long a million waiting keys take, by the bounds of a tick: one tick of each kind
 * is measured over values of 1 KB, with 10 ms more on each request, and multiplied. The table of docs/costs.md.
 * @module
 */
import type { TickOptions } from "../mod.ts";
import { json, load, startBenchStack } from "./fixture.ts";

const BACKLOG = 1_000_000;
const DELAY_MS = 10;

const KINDS: [name: string, options: TickOptions, everyMs: number | undefined][] = [
  ["a Worker's default, each minute", { maxSubrequests: 45 }, 60_000],
  ["a tick's defaults, each minute", {}, 60_000],
  ["`maxSubrequests: 1000, maxKeys: 10000`, each minute", { maxSubrequests: 1000, maxKeys: 10_000 }, 60_000],
  [
    "`maxKeys: 100000, deadlineMs: 50000, nthreads: 32`, each minute",
    { maxKeys: 100_000, deadlineMs: 50_000, nthreads: 32 },
    60_000,
  ],
  ["`worker({ nthreads: 32 })`, without a pause", { maxKeys: 5000, nthreads: 32, deadlineMs: 60_000 }, undefined],
];

function spell(ms: number): string {
  const hours = ms / 3_600_000;
  return hours >= 48
    ? `${(hours / 24).toFixed(0)} days`
    : hours >= 2
    ? `${hours.toFixed(0)} hours`
    : `${(hours * 60).toFixed(0)} minutes`;
}

if (import.meta.main) {
  const bench = await startBenchStack();
  try {
    console.log("| bounds | keys a tick | keys a second | 10^6 keys |\n| --- | --- | --- | --- |");
    for (const [index, [name, options, everyMs]] of KINDS.entries()) {
      const store = bench.store(bench.archive(DELAY_MS), { tqname: `backlog${index}` }, DELAY_MS);
      const first = await load(bench.redis, `first${index}:`, 1, () => "the index is made, the scripts are loaded");
      await store.dirty(first);
      await store.tick();
      const n = Math.min(options.maxKeys ?? 1000, 60_000) + 1;
      const keys = await load(bench.redis, `backlog${index}:`, n, (i) => json(1000, i));
      await store.dirty(keys);
      const { frozen, durationMs } = await store.tick(options);
      const tickMs = Math.max(everyMs ?? 0, durationMs);
      const row = [name, frozen.toLocaleString("en-US"), (frozen / durationMs * 1000).toFixed(0)];
      console.log(`| ${[...row, spell(BACKLOG / frozen * tickMs)].join(" | ")} |`);
    }
  } finally {
    await bench.stop();
  }
}
