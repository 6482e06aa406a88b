/**
 * Published prices, and what archiving, evicting and bringing back cost by them. docs/costs.md says the same;
 * tests/store/costs.test.ts holds what is measured.
 * @module
 */

/** Prices of a Redis plan, in dollars. A GB is 10^9 bytes, a month 30 days. */
export interface RedisPrices {
  /** One command. */
  command: number;
  /** A GB of memory for a month. */
  gbMonth: number;
  /** GB that cost nothing. */
  freeGb?: number;
  /** Sizes that can be had, in GB, and their price a month, the smallest first: a plan of fixed sizes. */
  sizes?: readonly (readonly [gb: number, aMonth: number])[];
  /** Read regions beside the primary one: each write is billed again for each of them. */
  readRegions?: number;
}

/** Prices of object storage, in dollars. */
export interface ArchivePrices {
  /** One PUT. */
  put: number;
  /** One GET. */
  get: number;
  /** A GB for a month. */
  gbMonth: number;
}

/** Upstash in August 2026, S3 in us-east-1, R2 standard. */
export const PRICES = {
  /** Upstash, pay as you go: $0.20 for 100,000 commands, $0.25 for a GB-month after the first one. */
  payAsYouGo: { command: 0.2 / 100_000, gbMonth: 0.25, freeGb: 1 },
  /** Upstash, fixed plans of 1 to 10 GB: no price for a command. */
  fixed: { command: 0, gbMonth: 20, sizes: [[0.25, 10], [1, 20], [5, 100], [10, 200], [50, 400]] },
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

/** Keys of a batch, by which commands are shared. */
export const BATCH = 100;
/** Memory of the record of an evicted key in Redis. */
export const RECORD_BYTES = 240;

/** Dollars for the commands of one key in a batch of `n`. */
export function commandsOf(
  what: keyof typeof BILLED,
  n: number,
  prices: Pick<RedisPrices, "command">,
  readRegions = 0,
): number {
  const { perKey, perBatch, writesPerKey, writesPerBatch } = BILLED[what];
  return prices.command * (perKey + perBatch / n + readRegions * (writesPerKey + writesPerBatch / n));
}
