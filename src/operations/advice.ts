/**
 * The arithmetic of advise: from keys that were measured to prices. Nothing here sends a request.
 * @module
 */
import { type ArchivePrices, BATCH, commandsOf, PRICES, RECORD_BYTES, type RedisPrices } from "./prices.ts";

/** Prices by which advice is given, by name. */
export interface Prices {
  /** Redis plans. */
  redis: Record<string, RedisPrices>;
  /** Object stores. */
  archive: Record<string, ArchivePrices>;
}

/** The prices of docs/costs.md. */
export const PUBLISHED: Prices = {
  redis: { "pay as you go": PRICES.payAsYouGo, "fixed plan": PRICES.fixed },
  archive: { S3: PRICES.s3, R2: PRICES.r2 },
};

/** A key that was measured. */
export interface MeasuredKey {
  /** Bytes of memory. */
  bytes: number;
  /** Milliseconds until it expires; -1: never. */
  ttlMs: number;
}

/** Costs and savings under one plan and with one object store, in dollars. */
export interface PlanAdvice {
  /** The cost of archiving and evicting all that may leave, once. */
  once: number;
  /** Savings of a month, less what returns cost; negative if they cost more than they save. */
  savedAMonth: number;
  /** Days until `once` is paid back; `Infinity` if never. */
  payBackDays: number;
}

/** One estimate of keys. */
export interface Estimate {
  keys: number;
  /** Keys that may leave Redis. */
  evictable: number;
  /** Memory that they take, by the time for which they live, up to a month. */
  monthBytes: number;
  /** Memory that they take now. */
  evictableBytes: number;
  /** PUTs that archive them, and GETs that look for their objects. */
  puts: number;
}

/** Advice for the keys with one prefix. */
export interface PrefixAdvice {
  /** The prefix with its separator; "" for keys without one; `*` for those of all prefixes after the first 1,000. */
  prefix: string;
  /** The number of keys, estimated if the database is larger than the sample. */
  keys: number;
  /** Their memory in bytes, estimated. */
  bytes: number;
  /** The number of keys that were measured for it. */
  measured: number;
  /** The share of keys with an expiry of their own, 0 to 1. */
  expiring: number;
  /** The share of keys below `minEvictBytes`, 0 to 1: they would stay. */
  small: number;
  /** Costs and savings by plan and object store: `"pay as you go, S3"`. */
  plans: Record<string, PlanAdvice>;
}

/** The names that a scan has found. */
export interface Scanned {
  /** Some names of each prefix, and how many there were. */
  groups: Map<string, { names: string[]; count: number }>;
  /** Names without Tundra's own. */
  count: number;
  /** Names that the scan has passed. */
  passed: number;
  ended: boolean;
}

const MONTH_MS = 30 * 24 * 60 * 60 * 1000;
const GB = 1e9;
/** Values of up to this size share packs of this size: the defaults. */
const PACKED_BYTES = 65_536;
const PACK_BYTES = 1_048_576;

/** Raises measured keys to so many. */
export function estimate(measured: readonly MeasuredKey[], keys: number, minEvictBytes: number): Estimate {
  const sums = { evictable: 0, monthBytes: 0, evictableBytes: 0, puts: 0 };
  for (const { bytes, ttlMs } of measured) {
    if (bytes < minEvictBytes) continue;
    const lives = ttlMs < 0 ? 1 : Math.min(1, ttlMs / MONTH_MS);
    sums.evictable++;
    sums.evictableBytes += bytes;
    sums.monthBytes += bytes * lives;
    sums.puts += bytes > PACKED_BYTES ? 1 : bytes / PACK_BYTES;
  }
  const raise = measured.length === 0 ? 0 : keys / measured.length;
  return {
    keys,
    evictable: sums.evictable * raise,
    evictableBytes: sums.evictableBytes * raise,
    monthBytes: sums.monthBytes * raise,
    puts: sums.puts * raise,
  };
}

/**
 * Advice for one group of keys.
 *
 * @param returns how often a key comes back, and leaves again, in a month
 * @param billedGb memory of the whole database
 */
export function planAdvice(
  { evictable, monthBytes, puts }: Estimate,
  redis: RedisPrices,
  archive: ArchivePrices,
  returns: number,
  billedGb: number,
): PlanAdvice {
  const commands = (what: Parameters<typeof commandsOf>[0], n: number) => commandsOf(what, n, redis, redis.readRegions);
  const leaving = evictable * commands("evict", BATCH) + puts * archive.get;
  const once = evictable * commands("archive", BATCH) + puts * archive.put + leaving;
  const back = returns * (evictable * (commands("bringBack", 1) + archive.get) + leaving);
  const lessGb = Math.max(0, monthBytes - evictable * RECORD_BYTES) / GB;
  const freeGb = redis.freeGb ?? 0;
  const savedGb = Math.max(0, billedGb - freeGb) - Math.max(0, billedGb - lessGb - freeGb);
  const savedAMonth = savedGb * redis.gbMonth - (monthBytes / GB) * archive.gbMonth - back;
  return { once, savedAMonth, payBackDays: savedAMonth > 0 ? 30 * once / savedAMonth : Infinity };
}

/** The price of so much memory for a month. */
export function memoryAMonth(gb: number, { freeGb = 0, gbMonth, sizes }: RedisPrices): number {
  const [, aMonth] = sizes?.find(([size]) => size >= gb) ?? [];
  return aMonth ?? Math.max(0, gb - freeGb) * gbMonth;
}

/** The options by which advice is given. */
export interface AdviceSettings {
  minEvictBytes: number;
  returnsAMonth: number;
  prices: Prices;
}

/** Advice for a database. */
export interface Advice {
  keys: number;
  bytes: number;
  exact: boolean;
  prefixes: PrefixAdvice[];
  plans: Record<string, { nowAMonth: number; thenAMonth: number }>;
}

/** So many prefixes are reported. */
const SHOWN = 50;
/** Days within which it must have paid back, to count in what a database would cost then. */
const DAYS_THAT_PAY = 365;

/** Advice for each prefix and for all, from what was scanned and measured; `raise` is by what the sample is smaller. */
export function adviceOf(
  { minEvictBytes, prices, returnsAMonth }: AdviceSettings,
  { count, ended, groups }: Scanned,
  measured: Map<string, MeasuredKey[]>,
  raise: number,
): Advice {
  const everything = [...measured.values()].flat();
  const mean = (some: readonly MeasuredKey[]) =>
    some.reduce((sum, { bytes }) => sum + bytes, 0) / Math.max(1, some.length);
  const all = [...groups].map(([prefix, group]) => {
    const sample = measured.get(prefix) ?? everything; // what was not measured is taken for like the rest
    const keys = Math.round(group.count * raise);
    const bytes = Math.round(keys * mean(sample));
    const share = (is: (key: MeasuredKey) => boolean) => sample.filter(is).length / Math.max(1, sample.length);
    const expiring = share(({ ttlMs }) => ttlMs >= 0);
    const small = share((key) => key.bytes < minEvictBytes);
    return {
      prefix,
      keys,
      bytes,
      measured: measured.get(prefix)?.length ?? 0,
      expiring,
      small,
      sums: estimate(sample, keys, minEvictBytes),
    };
  });
  const bytes = all.reduce((sum, group) => sum + group.bytes, 0);
  const pairs = Object.entries(prices.redis).flatMap(([plan, redis]) =>
    Object.entries(prices.archive).map(([name, archive]) => ({ name: `${plan}, ${name}`, redis, archive }))
  );
  const prefixes = all.map(({ sums, ...group }) => ({
    ...group,
    plans: Object.fromEntries(
      pairs.map(({ name, redis, archive }) => [name, planAdvice(sums, redis, archive, returnsAMonth, bytes / 1e9)]),
    ),
  }));
  const plans = Object.fromEntries(pairs.map(({ name, redis }) => {
    const pays = (i: number) => prefixes[i]!.plans[name]!.payBackDays <= DAYS_THAT_PAY;
    const leaves = all.reduce(
      (sum, { sums }, i) => sum + (pays(i) ? Math.max(0, sums.evictableBytes - sums.evictable * RECORD_BYTES) : 0),
      0,
    );
    return [name, {
      nowAMonth: memoryAMonth(bytes / 1e9, redis),
      thenAMonth: memoryAMonth((bytes - leaves) / 1e9, redis),
    }];
  }));
  prefixes.sort((a, b) => b.bytes - a.bytes || (a.prefix < b.prefix ? -1 : 1));
  return { keys: Math.round(count * raise), bytes, exact: ended, prefixes: prefixes.slice(0, SHOWN), plans };
}
