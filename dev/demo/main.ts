/**
 * `deno task demo [--keys=N]`: real data through the whole life of a key, on servers that this program starts by
 * itself. It exits with 1 if a value is not the one that was loaded. `--keys` takes about N of all keys, spread evenly.
 * @module
 */
import { bold, count, megabytes, progress, quantile, say, seconds, verdict } from "./screen.ts";
import {
  compare,
  type Demo,
  freeze,
  groupsOf,
  load,
  printRows,
  type Row,
  row,
  runDemo,
  spent,
  start,
  usedMemory,
} from "./steps.ts";

const SINGLES = 300;
const DELETED = 100;

await runDemo(main);

async function main(): Promise<boolean> {
  const startedAt = performance.now();
  console.log(bold("Tundra: hot keys in Redis, cold keys in object storage\n"));
  const demo = await start();
  const rows: Row[] = [];
  const keys = demo.entries.map(({ key }) => key);
  const before = await load(demo);
  await row(demo, rows, "dirty", keys.length, () => demo.store.dirty(keys));
  say("Mark", `dirty(): ${spent(rows.at(-1)!)}`);
  await row(demo, rows, "tick", keys.length, () => freeze(demo));
  const after = await evict(demo, rows, keys, before);
  await bringBack(demo, rows, keys);
  const different = await compare(demo);
  const deletedStay = await remove(demo, rows, keys);

  console.log();
  printRows(rows, keys.length);
  console.log(`\nRedis memory: ${megabytes(before)} loaded, ${megabytes(after)} evicted.`);
  const good = different === 0 && deletedStay;
  const outcome = good
    ? `Every value came back as it was loaded.`
    : `${different} values differ${deletedStay ? "" : "; deleted keys came back"}.`;
  console.log(`${verdict(good, outcome)} ${seconds(performance.now() - startedAt)} in all.`);
  return good;
}

/** Evicts everything; returns what Redis holds then. */
async function evict(demo: Demo, rows: Row[], keys: string[], before: number): Promise<number> {
  const { evicted, kept } = await row(demo, rows, "evict", keys.length, () => demo.store.evict(keys));
  say("Evict", `evict(), where tick() waits for redisTtlMs: ${count(evicted.length)} keys left`);
  const reasons = Object.entries(kept);
  if (reasons.length > 0) say("", `${reasons.length} stayed, such as ${reasons[0]!.join(": ")}`);
  const there = Number(await demo.redis.call("EXISTS", ...keys));
  const memory = await usedMemory(demo.redis);
  say(
    "",
    `${count(there)} exist; ${megabytes(before)} -> ${bold(megabytes(memory))}, Redis itself and Tundra's records`,
  );
  return memory;
}

/** One key at a time, evicted and then resident, and all others in bulk. */
async function bringBack(demo: Demo, rows: Row[], keys: string[]): Promise<void> {
  const { store } = demo;
  const step = Math.max(1, Math.floor(keys.length / SINGLES));
  const singles = keys.filter((_, i) => i % step === 0).slice(0, Math.min(SINGLES, keys.length / 2));
  const others = keys.filter((key) => !singles.includes(key));
  const oneByOne = async () => {
    const times: number[] = [];
    for (const key of singles) {
      const from = performance.now();
      await store.ensureKs(key);
      times.push(performance.now() - from);
    }
    return `p50 ${quantile(times, 0.5).toFixed(1)} ms, p99 ${quantile(times, 0.99).toFixed(1)} ms`;
  };
  const cold = await row(demo, rows, "ensureKs, 1 evicted a call", singles.length, oneByOne);
  say("Bring back", `ensureKs(), one evicted key a call:  ${cold}`);
  const warm = await row(demo, rows, "ensureKs, 1 resident a call", singles.length, oneByOne);
  say("", `ensureKs(), one resident key a call: ${warm}`);

  const bar = progress("");
  let done = 0;
  await row(demo, rows, "ensureKs, 1,000 evicted", others.length, async () => {
    for (const some of groupsOf(others, 1000)) {
      bar.show(done, others.length, `${count(done)} keys`);
      await store.ensureKs(some);
      done += some.length;
    }
  });
  const { ms } = rows.at(-1)!;
  bar.end(`ensureKs(), 1,000 evicted keys a call: ${count(done / ms * 1000)} keys/s (${seconds(ms)})`);
  await row(demo, rows, "ensureKs, 1,000 resident", keys.length, () => store.ensureKs(keys));
}

/** Deletes keys, half of them evicted; returns whether they stay away. */
async function remove(demo: Demo, rows: Row[], keys: string[]): Promise<boolean> {
  const { store, redis } = demo;
  const doomed = keys.slice(-DELETED);
  await store.evict(doomed.slice(0, DELETED / 2));
  const deleted = await row(demo, rows, "del", doomed.length, () => store.del(doomed));
  const back = async () => {
    await store.ensureKs(doomed);
    return Number(await redis.call("EXISTS", ...doomed));
  };
  const atOnce = await back();
  const { missing } = await row(demo, rows, "tick (tombstones)", doomed.length, () => store.tick());
  const later = await back();
  const good = deleted === doomed.length && missing === doomed.length && atOnce + later === 0;
  say("Delete", `del() on ${deleted} keys, half of them evicted`);
  say("", verdict(good, `ensureKs() brings back ${atOnce}, and after the next tick() ${later}`));
  return good;
}
