/**
 * `deno task demo:disaster [--keys=N]`: Redis is emptied, and the index is rebuilt from the bucket alone. 100,000 keys
 * of real data are adopted, archived and evicted; then FLUSHDB, rebuild, verify, and every value and expiry compared. It
 * exits with 1 if one of them is not what was loaded.
 * @module
 */
import { TundraError } from "../../mod.ts";
import { adopt, rebuild, type RebuildReport, verify } from "../../src/operations/mod.ts";
import { bold, count, megabytes, progress, say, seconds, verdict } from "./screen.ts";
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

const KEYS = 100_000;

await runDemo(main);

async function main(): Promise<boolean> {
  const startedAt = performance.now();
  console.log(bold("Tundra: Redis loses everything, and the bucket has it\n"));
  const demo = await start(KEYS);
  const { store } = demo;
  const rows: Row[] = [];
  const keys = demo.entries.map(({ key }) => key);
  await load(demo);
  const marked = await row(demo, rows, "adopt", keys.length, () => adoptAll(demo));
  say("Adopt", `adopt() marked ${count(marked)} keys: ${spent(rows.at(-1)!)}`);
  await row(demo, rows, "tick", keys.length, () => freeze(demo));
  const { evicted } = await row(demo, rows, "evict", keys.length, () => store.evict(keys));
  say("Evict", `${count(evicted.length)} keys left Redis: ${spent(rows.at(-1)!)}`);

  await demo.redis.call("FLUSHDB");
  say("Disaster", `FLUSHDB: ${count(Number(await demo.redis.call("DBSIZE")))} keys in Redis, of Tundra's own too`);
  say("", `ensureKs() refuses: ${await refusal(() => store.ensureKs(keys[0]!))}`);

  const report = await rebuildAll(demo, rows, keys.length);
  const status = await store.status();
  say(
    "",
    `status(): ${count(status.evicted)} evicted, ${count(status.resident)} resident, ${count(status.dirty)} dirty`,
  );
  say("", `${megabytes(await usedMemory(demo.redis))} of memory: Redis itself and Tundra's records`);

  const damaged = await row(demo, rows, "verify", keys.length, () => verifyAll(demo));
  say("Verify", verdict(damaged === 0, `${count(damaged)} versions damaged or missing: ${spent(rows.at(-1)!)}`));
  await bringBack(demo, rows, keys);
  const different = await compare(demo);

  console.log();
  printRows(rows, keys.length);
  const good = different === 0 && damaged === 0 && report.keys === keys.length && status.evicted === keys.length;
  const outcome = good ? "Every value and every expiry is what was loaded." : `${count(different)} values differ.`;
  console.log(`\n${verdict(good, outcome)} ${seconds(performance.now() - startedAt)} in all.`);
  return good;
}

async function adoptAll({ store }: Demo): Promise<number> {
  for (let marked = 0;;) {
    const report = await adopt(store);
    marked += report.marked;
    if (report.done) return marked;
  }
}

/** The code of the error with which `act` rejects. */
async function refusal(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (error instanceof TundraError) return error.code;
    throw error;
  }
  throw new Error("It should have been refused");
}

/** Plans the rebuild, then rebuilds until it is done. */
async function rebuildAll(demo: Demo, rows: Row[], keys: number): Promise<RebuildReport> {
  const { store } = demo;
  const plan = await row(demo, rows, "rebuild, the plan", keys, () => rebuild(store, { dryRun: true }));
  say(
    "Plan",
    `rebuild({ dryRun: true }): ${count(plan.keys)} keys in ${count(plan.packs)} packs and ` +
      `${count(plan.objects)} other ${plan.objects === 1 ? "object" : "objects"}: ${spent(rows.at(-1)!)}`,
  );
  const bar = progress("Rebuild");
  let calls = 0;
  const onProgress = ({ done }: { done: number }) => bar.show(done, keys, `${count(done)} keys`);
  const report = await row(demo, rows, "rebuild", keys, async () => {
    for (;;) {
      calls++;
      const report = await rebuild(store, { onProgress });
      if (report.done) return report;
    }
  });
  const { ms } = rows.at(-1)!;
  bar.end(
    `rebuild() in ${calls === 1 ? "one call" : `${calls} calls`}: ${count(report.keys)} keys, ` +
      `${count(report.keys / ms * 1000)} keys/s: ${spent(rows.at(-1)!)}`,
  );
  if (report.failed > 0) throw new Error(`A key failed: ${report.errors[0]!.message}`);
  return report;
}

async function verifyAll({ store }: Demo): Promise<number> {
  for (let wrong = 0;;) {
    const report = await verify(store, {});
    wrong += report.damaged.length + report.missing.length;
    if (report.done) return wrong;
  }
}

async function bringBack(demo: Demo, rows: Row[], keys: string[]): Promise<void> {
  const bar = progress("Bring back");
  let done = 0;
  await row(demo, rows, "ensureKs, 1,000 a call", keys.length, async () => {
    for (const some of groupsOf(keys, 1000)) {
      bar.show(done, keys.length, `${count(done)} keys`);
      await demo.store.ensureKs(some);
      done += some.length;
    }
  });
  bar.end(`ensureKs(), 1,000 keys a call: ${spent(rows.at(-1)!)}`);
  say("", "adopt() took them in SCAN's order, so those of one call lie in all packs");
}
