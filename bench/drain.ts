/**
 * One backlog, drained by 1, 2 and 4 processes at once: keys a second, as a ratio of what one does, and that nothing is
 * archived twice.
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { DrainConfig, DrainReport } from "./drain_worker.ts";
import { type BenchStack, json, load } from "./fixture.ts";
import type { Row } from "./row.ts";

/** Sizes of one measurement. */
interface DrainSizes {
  keys: number;
  /** Bytes of a value. */
  bytes: number;
  delayMs: number;
  /** 0: each value is an object of its own. */
  packBytes?: number;
}

const PROGRAM = fileURLToPath(new URL("drain_worker.ts", import.meta.url));

/** Starts a process; `begin` lets it tick, and gives its report. */
async function machine(config: DrainConfig): Promise<{ begin(): Promise<DrainReport> }> {
  const runtime = process.versions.deno ? ["run", "-A"] : process.versions.bun ? [] : ["--import", "tsx"];
  const args = [...runtime, PROGRAM, JSON.stringify({ ...config, waits: true })];
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const nextLine = () =>
    new Promise<string>((resolve, reject) => {
      lines.once("line", resolve);
      child.once("exit", (code) => reject(new Error(`A machine ended with ${code}`)));
    });
  await nextLine();
  return {
    async begin() {
      child.stdin.end();
      return JSON.parse(await nextLine()) as DrainReport;
    },
  };
}

/** The rows of 1, 2 and 4 processes at once, each on a backlog of its own of the same keys. */
export async function drain(bench: BenchStack, { keys: n, bytes, delayMs, packBytes }: DrainSizes): Promise<Row[]> {
  const rows: Row[] = [];
  let alone = 0;
  for (const machines of [1, 2, 4]) {
    const tqname = `drain${bytes}-${delayMs}-${machines}`;
    const store = bench.store(bench.archive(), { tqname, packBytes });
    await store.tick(); // the index is made
    const keys = await load(bench.redis, `${tqname}:`, n, (i) => json(bytes, i));
    await store.dirty(keys);
    const config = { ...bench.servers, store: { tqname, packBytes }, delayMs };
    const all = await Promise.all(Array.from({ length: machines }, () => machine(config)));
    const reports = await Promise.all(all.map(({ begin }) => begin()));
    const seconds = (Math.max(...reports.map(({ toMs }) => toMs)) - Math.min(...reports.map(({ fromMs }) => fromMs))) /
      1000;
    const frozen = reports.reduce((sum, report) => sum + report.frozen, 0);
    const { dirty, totals } = await store.status();
    const speed = frozen / seconds;
    if (machines === 1) alone = speed;
    rows.push({
      what: `${machines} at once, ${n.toLocaleString("en")} keys of ${bytes.toLocaleString("en")} B in ${
        packBytes === 0 ? "objects" : "packs"
      }, ${delayMs} ms delay`,
      budget: "each key once",
      measured: `${speed.toFixed(0)} keys/s, ${(speed / alone).toFixed(2)} x; archived ${totals.frozen}`,
      good: dirty === 0 && frozen === n && totals.frozen === n,
    });
    for (let i = 0; i < n; i += 10_000) await bench.redis.call("UNLINK", ...keys.slice(i, i + 10_000));
  }
  return rows;
}
