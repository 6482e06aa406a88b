/**
 * The time after which archiving pays: from published prices and measured commands to the tables of README and
 * docs/costs.md, which `deno run dev/tools/pays_back.ts` prints. Both stand in src/operations/prices.ts.
 * @module
 */
import process from "node:process";
import { pathToFileURL } from "node:url";
import { BATCH, commandsOf, PRICES, RECORD_BYTES } from "../../src/operations/prices.ts";

/** Prices of a pair of services. */
export interface Bill {
  redis: { command: number; gbMonth: number };
  archive: { put: number; get: number; gbMonth: number };
  /** Read regions beside the primary one; default 0. */
  readRegions?: number;
}

function commands(what: Parameters<typeof commandsOf>[0], n: number, { redis, readRegions }: Bill): number {
  return commandsOf(what, n, redis, readRegions);
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
