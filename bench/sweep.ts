/**
 * `deno run -A bench/sweep.ts [--keys=1000000]`: what a sweep of an archive in packs costs that has nothing to delete,
 * and how much memory it takes. The servers are a real redis-server and an S3 in a process of their own.
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { deflateFreezer } from "../mod.ts";
import { freezePack } from "../src/archive/pack.ts";
import { placeWord } from "../src/archive/place.ts";
import { packName } from "../src/base/keys.ts";
import { sweep } from "../src/operations/mod.ts";
import { json, startBenchStack } from "./fixture.ts";

const { values } = parseArgs({ options: { keys: { type: "string", default: "1000000" } } });
const KEYS = Number(values.keys);
/** As many values of 700 B as a pack of 1 MiB holds. */
const IN_PACK = 3_500;
const BUDGET = 20_000;

const bench = await startBenchStack();
try {
  const archive = bench.archive();
  const store = bench.store(archive);
  await store.tick(); // the index gets its id
  const index = String(await bench.redis.call("GET", "tundra:default:id"));
  const freezers = [deflateFreezer()];
  const nowUs = Date.now() * 1000;
  for (let from = 0, n = 0; from < KEYS; from += IN_PACK, n++) {
    const ver = `${String(nowUs - 20 * 86_400e6 + n).padStart(16, "0")}-${n.toString(16).padStart(8, "0")}`;
    const keys = Array.from({ length: Math.min(IN_PACK, KEYS - from) }, (_, i) => `key:${from + i}`);
    const dump = new TextEncoder().encode(json(700, n)); // its bytes do not matter to a sweep: one text a pack
    const records = keys.map((key) => ({ key, ver, at: 0, index, prev: "", exp: 0, dump }));
    const { bytes, entries } = await freezePack(records, packName("default", ver), freezers, Infinity, index);
    await archive.putKey(packName("default", ver), bytes);
    const pairs = entries.flatMap(({ key, offset, length }) => [
      `tundra:default:rec:${key}`,
      `2 0 ${placeWord({ ver, pack: ver, offset, length })} e ${"a".repeat(40)} 0 0 0 - - - 0 1 `,
    ]);
    await bench.redis.pipeline([["MSET", ...pairs]]);
  }
  const heapUsed = () => process.memoryUsage().heapUsed / 1e6;
  const heap: number[] = [];
  const { objects, requests, commands, ms } = await bench.cost(async () => {
    const report = await sweep(store, { deadlineMs: 3_600_000, onProgress: () => heap.push(heapUsed()) });
    if (!report.done || report.deleted + report.moved > 0 || report.kept !== KEYS) {
      throw new Error(JSON.stringify(report));
    }
  });
  const third = Math.ceil(heap.length / 3);
  const highest = (some: number[]) => Math.max(...some).toFixed(0);
  console.log(`sweep of ${KEYS.toLocaleString("en")} keys in packs, nothing to delete`);
  console.log(`S3 requests   ${objects.toLocaleString("en")} of ${BUDGET.toLocaleString("en")}`);
  console.log(`Redis         ${requests.toLocaleString("en")} requests, ${commands.toLocaleString("en")} commands`);
  console.log(`time          ${(ms / 1000).toFixed(1)} s`);
  console.log(
    `heap at most  ${highest(heap.slice(0, third))} MB in the first third, ${
      highest(heap.slice(-third))
    } MB in the last`,
  );
  process.exitCode = objects <= BUDGET ? 0 : 1;
} finally {
  await bench.stop();
}
