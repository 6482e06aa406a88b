/**
 * Requests and billable commands of each call, scripts loaded.
 * @module
 */
import type { Row } from "./row.ts";
import { type BenchStack, json, load } from "./fixture.ts";

/** Measures each call on `n` keys. */
export async function budgets(bench: BenchStack, n: number): Promise<Row[]> {
  const store = bench.store(bench.archive(), { tqname: `budgets${n}` });
  const keys = await load(bench.redis, `budgets${n}:`, n, (i) => json(300, i));
  const first = keys.slice(0, 1);
  for (const warm of [store.dirty, store.tick, store.evict, store.ensureKs]) {
    await (warm === store.tick ? store.tick() : (warm as typeof store.dirty)(first));
  }
  await store.dirty(first); // once more, so that every script ran and every key is dirty below
  const rows: Row[] = [];
  const row = async (what: string, requests: number, commands: number, act: () => Promise<unknown>) => {
    const cost = await bench.cost(act);
    rows.push({
      what: `${what}, n = ${n.toLocaleString("en")}`,
      budget: `${requests} + ${commands.toLocaleString("en")}`,
      measured: `${cost.requests} + ${cost.commands.toLocaleString("en")}`,
      good: cost.requests <= requests && cost.commands <= commands,
    });
  };
  await row("dirty", 1, 6, () => store.dirty(keys));
  await row("tick that archives (and 1 PUT)", 4, 2 * n + 24, () => store.tick({ batchKeys: n }));
  await row("ensureKs, resident", 1, 4, () => store.ensureKs(keys));
  await row("evict", 1, 2 * n + 12, () => store.evict(keys));
  await row("ensureKs, evicted (and 1 GET)", 2, 3 * n + 14, () => store.ensureKs(keys));
  return rows;
}
