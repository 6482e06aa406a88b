/**
 * `deno run -A bench/backlog.ts`: how long a million waiting keys take, by the bounds of a tick: one tick of each kind
 * is measured over values of 1 KB, with 10 ms more on each request, and multiplied. The table of docs/costs.md.
 * @module
 */
import type { TickOptions } from "../mod.ts";
import { json, load, startBenchStack } from "./fixture.ts";

const BACKLOG = 1_000_000;
const DELAY_MS = 10;
/** The most keys that one tick here archives. */
const MOST_KEYS = 60_000;

/** A tick's bounds; `packBytes: 0` gives each value an object of its own, as larger ones have. */
interface Kind {
  name: string;
  options: TickOptions;
  everyMs?: number;
  packBytes?: number;
}

const MINUTE_MS = 60_000;
const KINDS: Kind[] = [
  { name: "a Worker's default, each minute", options: { maxSubrequests: 45 }, everyMs: MINUTE_MS },
  { name: "a tick's defaults, each minute", options: {}, everyMs: MINUTE_MS },
  {
    name: "`maxKeys: 100000, deadlineMs: 50000`, each minute",
    options: { maxKeys: 100_000, deadlineMs: 50_000 },
    everyMs: MINUTE_MS,
  },
  { name: "`worker()`, without a pause", options: {} },
  {
    name: "a Worker's default, each minute, objects of their own",
    options: { maxSubrequests: 45 },
    everyMs: MINUTE_MS,
    packBytes: 0,
  },
  {
    name: "`maxKeys: 100000, deadlineMs: 50000, nthreads: 32`, each minute, objects of their own",
    options: { maxKeys: 100_000, deadlineMs: 50_000, nthreads: 32 },
    everyMs: MINUTE_MS,
    packBytes: 0,
  },
];

function spell(ms: number): string {
  const hours = ms / 3_600_000;
  return hours >= 48
    ? `${(hours / 24).toFixed(0)} days`
    : hours >= 2
    ? `${hours.toFixed(0)} hours`
    : `${(hours * 60).toFixed(0)} minutes`;
}

const bench = await startBenchStack();
try {
  console.log("| bounds | keys a tick | keys a second | 10^6 keys |\n| --- | --- | --- | --- |");
  for (const [index, { name, options, everyMs = 0, packBytes }] of KINDS.entries()) {
    const store = bench.store(bench.archive(DELAY_MS), { tqname: `backlog${index}`, packBytes }, DELAY_MS);
    const first = await load(bench.redis, `first${index}:`, 1, () => "the index is made, the scripts are loaded");
    await store.dirty(first);
    await store.tick();
    const n = Math.min(options.maxKeys ?? 10_000, MOST_KEYS) + 1;
    const keys = await load(bench.redis, `backlog${index}:`, n, (i) => json(1000, i));
    await store.dirty(keys);
    const { frozen, durationMs } = await store.tick(options);
    const tickMs = Math.max(everyMs, durationMs);
    const row = [name, frozen.toLocaleString("en-US"), (frozen / durationMs * 1000).toFixed(0)];
    console.log(`| ${[...row, spell(BACKLOG / frozen * tickMs)].join(" | ")} |`);
  }
} finally {
  await bench.stop();
}
