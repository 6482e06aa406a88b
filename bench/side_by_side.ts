/**
 * Small keys, beside loops that do one request a key: keys a second, and the CPU time of the client's process. Rounds
 * alternate, so that a busy machine hits all of them; the first ones only warm up.
 * @module
 */
import process from "node:process";
import { type BenchStack, inPool, json, load, median } from "./fixture.ts";
import { SMALL_BYTES } from "./packs.ts";
import { barePeer, packagedPeers, type Peer } from "./peers.ts";
import type { Row } from "./row.ts";

const AT_ONCE = 6;
/** A loop of 1,000 requests is compiled after one round, a tick of few requests after some. */
const WARM_UP_ROUNDS = 6;
const PEERS_WARM_UP_ROUNDS = 2;
/** Tundra's calls in each round: one alone is so short that whatever else runs meanwhile decides. */
const CALLS = 4;

interface Run {
  keysPerSecond: number;
  /** CPU time a key, microseconds. */
  cpuUs: number;
}

type Runs = Map<string, Run[]>;

/** Measures with `delayMs` more on every request, to S3 and to Redis; at first without, which warms up. */
export async function sideBySide(
  bench: BenchStack,
  options: { keys: number; rounds: number; delayMs: number; withPackages: boolean },
): Promise<Row[]> {
  const { keys: n, rounds, delayMs, withPackages } = options;
  const bare = barePeer(bench.servers, delayMs);
  const others = withPackages ? packagedPeers(bench.servers, delayMs) : [];
  const runs: Runs = new Map();
  const tqname = `beside${delayMs}`;
  const store = bench.store(bench.archive(delayMs), { tqname }, delayMs);
  const keys = await load(bench.redis, `${tqname}:`, n, (i) => json(SMALL_BYTES, i));
  const values = new Map(keys.map((key, i) => [key, json(SMALL_BYTES, i)]));
  for (let round = delayMs > 0 ? -1 : -WARM_UP_ROUNDS; round < rounds; round++) {
    const run = async (name: string, act: () => Promise<unknown>, prepare?: () => Promise<unknown>) => {
      const each: Run[] = [];
      for (let call = 0; call < (prepare ? CALLS : 1); call++) {
        await prepare?.();
        each.push(await measure(n, act));
      }
      if (round >= 0) runs.set(name, [...runs.get(name) ?? [], together(each)]);
    };
    const puts = (peer: Peer) => run(peer.name, () => inPool(keys, AT_ONCE, (key) => peer.put(key, values.get(key)!)));
    const tick = async () => {
      const { frozen } = await store.tick();
      if (frozen !== n) throw new Error(`The tick archived ${frozen} keys instead of ${n}`);
    };
    await run("tick", tick, () => store.dirty(keys));
    await puts(bare);
    if (round >= -PEERS_WARM_UP_ROUNDS) { for (const peer of others) await puts(peer); }
    await run("ensureKs", () => store.ensureKs(keys), () => store.evict(keys));
    await run("gets", () => inPool(keys, AT_ONCE, bare.get));
  }
  return rowsOf(runs, bare, others, delayMs);
}

async function measure(n: number, act: () => Promise<unknown>): Promise<Run> {
  const cpu = process.cpuUsage();
  const from = performance.now();
  await act();
  const ms = performance.now() - from;
  const { user, system } = process.cpuUsage(cpu);
  return { keysPerSecond: n / ms * 1000, cpuUs: (user + system) / n };
}

/** Several runs as one. */
function together(some: Run[]): Run {
  const mean = (of: (run: Run) => number) => some.reduce((sum, run) => sum + of(run), 0) / some.length;
  return { keysPerSecond: 1 / mean(({ keysPerSecond }) => 1 / keysPerSecond), cpuUs: mean(({ cpuUs }) => cpuUs) };
}

function rowsOf(runs: Runs, bare: Peer, others: Peer[], delayMs: number): Row[] {
  const delay = delayMs > 0 ? `${delayMs} ms delay` : "no delay";
  const compare = (of: keyof Run, a: string, b: string) => {
    const [ours, theirs] = [a, b].map((name) => runs.get(name)!.map((run) => run[of]));
    const digits = of === "cpuUs" ? 3 : 1;
    const unit = of === "cpuUs" ? "us CPU a key" : "keys/s";
    const ratio = median(ours!.map((each, i) => each / theirs![i]!));
    const show = (some: number[]) => Math.round(median(some)).toLocaleString("en");
    return { ratio, shown: `${ratio.toFixed(digits)}  (${show(ours!)} / ${show(theirs!)} ${unit})` };
  };
  const row = (what: string, of: keyof Run, a: string, b: string, least?: number, most?: number): Row => {
    const { ratio, shown } = compare(of, a, b);
    const good = least !== undefined ? ratio >= least : most !== undefined ? ratio <= most : undefined;
    const budget = least !== undefined ? `>= ${least}` : most !== undefined ? `<= ${most}` : "";
    return { what: `${what}, ${delay}`, budget, measured: shown, good };
  };
  return [
    row(`tick / ${bare.name}: keys/s`, "keysPerSecond", "tick", bare.name, 8),
    row(`tick / ${bare.name}: CPU`, "cpuUs", "tick", bare.name, undefined, 0.2),
    ...others.flatMap(({ name }) => [
      row(`tick / ${name}: keys/s`, "keysPerSecond", "tick", name),
      row(`tick / ${name}: CPU`, "cpuUs", "tick", name),
    ]),
    row(`ensureKs of keys archived together / bare GETs: keys/s`, "keysPerSecond", "ensureKs", "gets", 4),
    row(`ensureKs of keys archived together / bare GETs: CPU`, "cpuUs", "ensureKs", "gets"),
  ];
}
