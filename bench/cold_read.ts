/**
 * How long a reader waits for a key that was evicted, beside one that is resident: p50 and p99 of single reads, one after
 * another, with 0 and 10 ms more on each request, all in one run and in turns. `deno run -A bench/cold_read.ts [--reads=N]`
 * takes a minute or two; Bun and Node run it too. Prints the table of docs/trade-offs.md.
 * @module
 */
import { availableParallelism } from "node:os";
import process from "node:process";
import { transparentRedis } from "../src/transparent/mod.ts";
import { json, load, startBenchStack } from "./fixture.ts";

const given = process.argv.find((arg) => arg.startsWith("--reads="))?.slice("--reads=".length);
const READS = Number(given ?? 300);
const ROUNDS = 3;
const DELAYS_MS = [0, 10];
/** Small ones share packs, the largest have objects of their own. */
const SIZES: [name: string, bytes: number][] = [["1 KB", 1_000], ["10 KB", 10_000], ["100 KB", 100_000]];

const bench = await startBenchStack();
const times = new Map<string, number[]>();
try {
  for (let round = -1; round < ROUNDS; round++) { // the first one warms up
    for (const delayMs of DELAYS_MS) {
      for (const [size, bytes] of SIZES) await measure(round, delayMs, size, bytes);
    }
  }
} finally {
  await bench.stop();
}
print();

async function measure(round: number, delayMs: number, size: string, bytes: number): Promise<void> {
  const tqname = `cold-${delayMs}-${bytes}-${round + 1}`;
  const store = bench.store(bench.archive(delayMs), { tqname }, delayMs);
  const redis = transparentRedis(store);
  const keys = await load(bench.redis, `${tqname}:`, Math.ceil(READS / ROUNDS), (i) => json(bytes, i));
  await store.dirty(keys);
  while (!(await store.tick({ maxKeys: 100_000, deadlineMs: 60_000 })).done);
  const run = async (what: string, read: (key: string) => Promise<unknown>) => {
    for (const key of keys) {
      const from = performance.now();
      const value = await read(key);
      const ms = performance.now() - from;
      if (!value) throw new Error(`${what}: ${key} is absent`);
      if (round >= 0) times.set(row(what, size, delayMs), [...times.get(row(what, size, delayMs)) ?? [], ms]);
    }
  };
  const evictAll = async () => {
    const { evicted } = await store.evict(keys);
    if (evicted.length !== keys.length) throw new Error(`${evicted.length} of ${keys.length} were evicted`);
  };
  await run("resident, GET", (key) => store.redis.get(key));
  await run("resident, ensureKs and GET", async (key) => (await store.ensureKs(key), await store.redis.get(key)));
  await evictAll();
  await run("evicted, ensureKs and GET", async (key) => (await store.ensureKs(key), await store.redis.get(key)));
  await evictAll();
  await run("evicted, GET of the transparent client", (key) => redis.get(key));
}

function row(what: string, size: string, delayMs: number): string {
  return JSON.stringify([what, size, delayMs]);
}

function print(): void {
  const whats = [...new Set([...times.keys()].map((key) => JSON.parse(key)[0] as string))];
  const cell = (what: string, size: string, delayMs: number) => {
    const sorted = times.get(row(what, size, delayMs))!.toSorted((a, b) => a - b);
    const at = (share: number) => {
      const ms = sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
      return ms < 10 ? ms.toFixed(1) : ms.toFixed(0);
    };
    return `${at(0.5)} / ${at(0.99)}`;
  };
  for (const delayMs of DELAYS_MS) {
    console.log(`| ${delayMs} ms more | ${SIZES.map(([size]) => size).join(" | ")} |`);
    console.log(`| --- | ${SIZES.map(() => "---").join(" | ")} |`);
    for (const what of whats) {
      console.log(`| ${what} | ${SIZES.map(([size]) => cell(what, size, delayMs)).join(" | ")} |`);
    }
    console.log();
  }
  const { deno, bun, node } = process.versions;
  const runtime = deno ? `Deno ${deno}` : bun ? `Bun ${bun}` : `Node ${node}`;
  const reads = times.get(row(whats[0]!, SIZES[0]![0], 0))!.length;
  console.log(
    `p50 / p99 in ms of ${reads} reads each; ${runtime}, ${availableParallelism()} cores, ${
      new Date().toISOString().slice(0, 10)
    }`,
  );
}
