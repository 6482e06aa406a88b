/**
 * What packs cost: requests, commands and bytes for small keys. None of it depends on the machine.
 * @module
 */
import type { Row } from "./row.ts";
import { type BenchStack, type Cost, json, load } from "./fixture.ts";

/** Bytes of a small value. */
export const SMALL_BYTES = 700;
const KEYS = 1000;
const UNBOUNDED_KEYS = 10_000;

const number = (n: number) => n.toLocaleString("en");
const atMost = (what: string, most: number, measured: number, unit = "", more = ""): Row => ({
  what,
  budget: `<= ${number(most)}${unit}`,
  measured: `${number(measured)}${unit}${more}`,
  good: measured <= most,
});

/** Measures a tick of 1,000 small keys, one with few requests, and `ensureKs` of one key. */
export async function packs(bench: BenchStack): Promise<Row[]> {
  const packed = await archived(bench, "packs", {});
  const own = await archived(bench, "packs0", { packBytes: 0, batchKeys: KEYS });
  const one = await bench.cost(() => packed.store.ensureKs([packed.keys[KEYS / 2]!]));
  const growth = packed.recordBytes - own.recordBytes;
  const bounded = await boundedTick(bench);
  return [
    atMost("PUTs for 1,000 small keys", 2, packed.puts),
    atMost("requests of that tick, to Redis and S3", 8, packed.cost.requests + packed.cost.objects),
    atMost("billable commands of that tick", 2 * KEYS + 21, packed.cost.commands),
    {
      what: "keys that a tick with maxSubrequests: 45 archives",
      budget: ">= 4,000",
      measured: `${number(bounded.frozen)}${
        bounded.frozen === UNBOUNDED_KEYS ? " (maxKeys)" : ""
      }, in ${bounded.made} requests`,
      good: bounded.frozen >= 4000 && bounded.made <= 45,
    },
    atMost("GETs of ensureKs of one evicted key", 1, one.objects),
    atMost("bytes that it reads", 64 * 1024, one.bytes, "", `, beside a value of ${SMALL_BYTES}`),
    atMost("a record's growth by its place", 20, growth, " bytes", ` (${own.recordBytes} without)`),
  ];
}

interface ArchivedKeys {
  store: ReturnType<BenchStack["store"]>;
  keys: string[];
  cost: Cost;
  puts: number;
  /** The longest record. */
  recordBytes: number;
}

/** Archives 1,000 small keys in one tick, scripts loaded, and evicts them. */
async function archived(
  bench: BenchStack,
  tqname: string,
  { batchKeys, ...options }: { packBytes?: number; batchKeys?: number },
): Promise<ArchivedKeys> {
  const archive = bench.archive();
  let puts = 0;
  const counting: typeof archive = {
    ...archive,
    putKey(...args) {
      puts++;
      return archive.putKey(...args);
    },
  };
  const store = bench.store(counting, { tqname, ...options });
  const keys = await load(bench.redis, `${tqname}:`, KEYS, (i) => json(SMALL_BYTES, i));
  const tick = () => store.tick({ batchKeys });
  await store.dirty(keys.slice(0, 1));
  await tick();
  await store.dirty(keys);
  puts = 0;
  const cost = await bench.cost(tick);
  const putsOfTick = puts;
  const records = await bench.redis.pipeline(keys.map((key) => ["STRLEN", `tundra:${tqname}:rec:${key}`]));
  await store.evict(keys.slice(0, 1));
  await store.ensureKs(keys.slice(0, 1));
  await store.evict(keys);
  return { store, keys, cost, puts: putsOfTick, recordBytes: Math.max(...records.map(Number)) };
}

async function boundedTick(bench: BenchStack): Promise<{ frozen: number; made: number }> {
  const store = bench.store(bench.archive(), { tqname: "bounded" });
  const keys = await load(bench.redis, "bounded:", UNBOUNDED_KEYS, (i) => json(SMALL_BYTES, i));
  await store.dirty(keys);
  let frozen = 0;
  const cost = await bench.cost(async () => {
    ({ frozen } = await store.tick({ maxSubrequests: 45 }));
  });
  return { frozen, made: cost.requests + cost.objects };
}
