/**
 * The cost that Tundra adds to uploads and downloads of objects of their own: its speed divided by that of a bare loop
 * that moves the same bytes through the same datastore with the same concurrency. Rounds alternate, so that a busy
 * machine hits both.
 * @module
 */
import type { Datastore } from "../mod.ts";
import type { Row } from "./row.ts";
import { type BenchStack, inPool, json, load, median } from "./fixture.ts";

/** Measures with `delayMs` more on every request, to S3 and to Redis. */
export async function throughput(
  bench: BenchStack,
  options: { keys: number; rounds: number; delayMs: number; nthreads: number },
): Promise<Row[]> {
  const { keys: n, rounds, delayMs, nthreads } = options;
  const name = `through${delayMs}x${nthreads}`;
  const archive = bench.archive(delayMs);
  const uploaded: [string, Uint8Array][] = [];
  const spy: Datastore = {
    ...archive,
    putKey(name, value, call) {
      uploaded.push([name, value]);
      return archive.putKey(name, value, call);
    },
  };
  const store = bench.store(spy, { tqname: name, packBytes: 0 }, delayMs);
  const keys = await load(bench.redis, `${name}:`, n, (i) => json(1000, i));
  await store.dirty(keys.slice(0, 1));
  await store.tick();
  const speeds = { tick: [] as number[], put: [] as number[], ensure: [] as number[], get: [] as number[] };

  for (let round = 0; round < rounds; round++) {
    await store.dirty(keys);
    uploaded.length = 0;
    let from = performance.now();
    const { frozen } = await store.tick({ maxKeys: n, nthreads, deadlineMs: 600_000 });
    speeds.tick.push(frozen / (performance.now() - from) * 1000);

    from = performance.now();
    await inPool(uploaded, nthreads, ([name, value]) => archive.putKey(`copy${round}/${name}`, value));
    speeds.put.push(uploaded.length / (performance.now() - from) * 1000);

    const names = uploaded.map(([name]) => name);
    await store.evict(keys);
    from = performance.now();
    await store.ensureKs(keys);
    speeds.ensure.push(n / (performance.now() - from) * 1000);

    from = performance.now();
    for (let i = 0; i < names.length; i += 128) await archive.fetchKeys(names.slice(i, i + 128)); // as ensureKs: 128 at a time
    speeds.get.push(names.length / (performance.now() - from) * 1000);
  }
  const delay = delayMs > 0 ? `${delayMs} ms delay` : "no delay";
  const row = (what: string, speed: number[], bare: number[], budget: number | undefined): Row => {
    const ratio = median(speed.map((each, i) => each / bare[i]!));
    return {
      what: `${what}, ${delay}`,
      budget: budget === undefined ? "" : `>= ${budget}`,
      measured: `${ratio.toFixed(2)}  (${median(speed).toFixed(0)} / ${median(bare).toFixed(0)} keys/s)`,
      good: budget === undefined ? undefined : ratio >= budget,
    };
  };
  return [
    row(`tick without packs / bare PUTs of its objects, ${nthreads} at once`, speeds.tick, speeds.put, 0.8),
    row(`ensureKs without packs / bare GETs of its objects`, speeds.ensure, speeds.get, undefined),
  ];
}
