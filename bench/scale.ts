/**
 * The cost of a tick with a long queue: a tick of 1,000 keys with few and with very many keys waiting.
 * @module
 */
import process from "node:process";
import { type Datastore, memoryDatastore } from "../mod.ts";
import type { Row } from "./row.ts";
import { type BenchStack, type Cost, load, median } from "./fixture.ts";

const FEW = 1000;

interface TickCost extends Cost {
  /** Growth of the JavaScript heap, bytes. */
  heap: number;
}

/** Measures with 1,000 and with `many` keys waiting. */
export async function scale(bench: BenchStack, many: number, rounds: number): Promise<Row[]> {
  const few = await ticks(bench, "few", FEW, rounds);
  const long = await ticks(bench, "many", many, rounds);
  const fewAgain = await ticks(bench, "few2", FEW, rounds); // the machine may have become slower meanwhile
  const row = (what: string, of: (cost: TickCost) => number, show: (value: number) => string): Row => {
    const a = median([...few, ...fewAgain].map(of));
    const b = median(long.map(of));
    return {
      what: `tick of 1,000 keys, ${many.toLocaleString("en")} / 1,000 waiting: ${what}`,
      budget: "<= 1.2",
      measured: `${(b / a).toFixed(2)}  (${show(b)} / ${show(a)})`,
      good: b / a <= 1.2,
    };
  };
  return [
    row("time", ({ ms }) => ms, (ms) => `${ms.toFixed(0)} ms`),
    row("billable commands", ({ commands }) => commands, (n) => n.toLocaleString("en")),
    row("heap", ({ heap }) => heap, (bytes) => `${(bytes / 1e6).toFixed(1)} MB`),
  ];
}

async function ticks(bench: BenchStack, tqname: string, waiting: number, rounds: number): Promise<TickCost[]> {
  const store = bench.store(discarding(), { tqname });
  const keys = await load(bench.redis, `${tqname}:`, waiting, (i) => `value ${i}`);
  await store.dirty(keys);
  const costs: TickCost[] = [];
  for (let round = -2; round < rounds; round++) { // two to warm up
    const heapBefore = heapUsed();
    let heap = 0;
    const sampler = setInterval(() => heap = Math.max(heap, heapUsed() - heapBefore), 2);
    const cost = await bench.cost(async () => {
      const { frozen } = await store.tick({ maxKeys: FEW });
      if (frozen !== FEW) throw new Error(`The tick archived ${frozen} keys instead of ${FEW}`);
    });
    clearInterval(sampler);
    if (round >= 0) costs.push({ ...cost, heap });
    if (waiting === FEW) await store.dirty(keys);
  }
  return costs;
}

/** An archive that forgets, so that only Tundra's own memory grows. */
function discarding(): Datastore {
  const owner = memoryDatastore();
  const { fetchRanges } = owner;
  return {
    fetchRanges, // without it a tick makes no packs
    putKey: (name, value) => name.includes("/~owner/") ? owner.putKey(name, value) : Promise.resolve(true),
    fetchKeys: (names) => owner.fetchKeys(names),
  };
}

function heapUsed(): number {
  return process.memoryUsage().heapUsed;
}
