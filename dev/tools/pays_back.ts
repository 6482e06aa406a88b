/**
 * The time after which archiving pays: from published prices and measured commands to the tables of README and
 * docs/costs.md, which `deno run dev/tools/pays_back.ts` prints. What is measured here is held by
 * tests/store/costs.test.ts.
 * @module
 */
import process from "node:process";
import { pathToFileURL } from "node:url";

/** Dollars. A GB is 10^9 bytes, a month 30 days. Upstash in August 2026, S3 in us-east-1, R2 standard. */
export const PRICES = {
  /** Upstash, pay as you go: $0.20 for 100,000 commands, $0.25 for a GB-month after the first one. */
  payAsYouGo: { command: 0.2 / 100_000, gbMonth: 0.25 },
  /** Upstash, fixed plans of 1 to 10 GB: no price for a command. */
  fixed: { command: 0, gbMonth: 20 },
  s3: { put: 0.005 / 1000, get: 0.0004 / 1000, gbMonth: 0.023 },
  r2: { put: 4.5 / 1_000_000, get: 0.36 / 1_000_000, gbMonth: 0.015 },
} as const;

/**
 * Billable commands of a batch of n keys, `perKey * n + perBatch`; of these, each read region is billed `writes` once
 * more.
 */
export const BILLED = {
  archive: { perKey: 2, perBatch: 21, writesPerKey: 0, writesPerBatch: 8 },
  evict: { perKey: 2, perBatch: 12, writesPerKey: 0, writesPerBatch: 5 },
  bringBack: { perKey: 2, perBatch: 12, writesPerKey: 1, writesPerBatch: 5 },
} as const;

/** Keys in a tick's batch by default. */
export const BATCH = 100;
/** Memory of the record of an evicted key in Redis. */
export const RECORD_BYTES = 240;

/** Prices of a pair of services. */
export interface Bill {
  redis: { command: number; gbMonth: number };
  archive: { put: number; get: number; gbMonth: number };
  /** Read regions beside the primary one; default 0. */
  readRegions?: number;
}

/** Dollars for the commands of one key in a batch of `n`. */
function commands(what: keyof typeof BILLED, n: number, { redis, readRegions = 0 }: Bill): number {
  const { perKey, perBatch, writesPerKey, writesPerBatch } = BILLED[what];
  return redis.command * (perKey + perBatch / n + readRegions * (writesPerKey + writesPerBatch / n));
}

/** Dollars saved in a day by a value that is in the archive rather than in Redis; negative for the smallest. */
function savedADay(valueBytes: number, { redis, archive }: Bill): number {
  return ((valueBytes - RECORD_BYTES) * redis.gbMonth - valueBytes * archive.gbMonth) / 1e9 / 30;
}

function days(cost: number, saved: number): number {
  return saved > 0 ? cost / saved : Infinity;
}

/**
 * Days away until archiving and evicting a value have paid for themselves: commands, one PUT, one look before eviction.
 */
export function daysToPayBack(valueBytes: number, bill: Bill): number {
  const cost = commands("archive", BATCH, bill) + commands("evict", BATCH, bill) + bill.archive.put + bill.archive.get;
  return days(cost, savedADay(valueBytes, bill));
}

/**
 * Days away until a value has paid for one way back, alone in its call, and for its next eviction: it is archived
 * already.
 */
export function daysToPayReturn(valueBytes: number, bill: Bill): number {
  const cost = commands("bringBack", 1, bill) + commands("evict", BATCH, bill) + 2 * bill.archive.get;
  return days(cost, savedADay(valueBytes, bill));
}

/** `7 years`, `6 months`, `19 days`, `5 hours`, `3 minutes`. */
export function spell(days: number): string {
  if (days === Infinity) return "never";
  const units: [string, number][] = [["year", 365], ["month", 30], ["day", 1], ["hour", 1 / 24], ["minute", 1 / 1440]];
  const [name, size] = units.find(([name, size]) => days >= size * (name === "minute" ? 0 : 2)) ?? units.at(-1)!;
  const count = Math.max(1, Math.round(days / size));
  return `${count.toLocaleString("en-US")} ${name}${count === 1 ? "" : "s"}`;
}

const { payAsYouGo, fixed, s3, r2 } = PRICES;

/** The rows of the tables. */
export const BILLS: readonly [name: string, bill: Bill][] = [
  ["pay as you go, S3", { redis: payAsYouGo, archive: s3 }],
  ["pay as you go, R2", { redis: payAsYouGo, archive: r2 }],
  ["pay as you go with 3 read regions, S3", { redis: payAsYouGo, archive: s3, readRegions: 3 }],
  ["fixed plan, S3", { redis: fixed, archive: s3 }],
  ["fixed plan, R2", { redis: fixed, archive: r2 }],
];

/** The columns. */
export const SIZES: readonly [name: string, bytes: number][] = [
  ["500 bytes", 500],
  ["1 KB", 1000],
  ["10 KB", 10_000],
  ["100 KB", 100_000],
  ["1 MB", 1_000_000],
];

/** A table, head first. */
export function table(each: (valueBytes: number, bill: Bill) => number): string[][] {
  return [
    ["", ...SIZES.map(([name]) => name)],
    ...BILLS.map(([name, bill]) => [name, ...SIZES.map(([, bytes]) => spell(each(bytes, bill)))]),
  ];
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const each of [daysToPayBack, daysToPayReturn]) {
    const [head, ...rows] = table(each).map((cells) => `| ${cells.join(" | ")} |`);
    console.log([each.name, "", head, `|${" --- |".repeat(SIZES.length + 1)}`, ...rows, ""].join("\n"));
  }
}
