/**
 * advise: what archiving and evicting would cost and save, before anything is adopted.
 * @module
 */
import { checkNames, checkNumber } from "../base/arguments.ts";
import { badArgument } from "../base/errors.ts";
import { checkMatch } from "../base/patterns.ts";
import { type Context, contextOf } from "../core/context.ts";
import { told } from "../core/told.ts";
import { countAll, measure } from "../scripts/measure.ts";
import { scan, SCAN_START } from "../scripts/scan.ts";
import type { TundraOptions, TundraStore } from "../store_interface.ts";
import { connect } from "../upstash/connection.ts";
import { adviceOf, type MeasuredKey, type PrefixAdvice, type Prices, PUBLISHED, type Scanned } from "./advice.ts";
import { beginOperation, type Bounds, type OperationOptions, type OperationReport } from "./bounds.ts";
import { seenKeys } from "./seen_keys.ts";
import { untilBound } from "./until_bound.ts";

/** Options of {@linkcode advise}. */
export interface AdviseOptions extends OperationOptions {
  /** Keys to look at, as a pattern of Redis' `SCAN`. */
  match?: string;
  /**
   * A key's prefix ends with the first of these.
   *
   * @default {":"}
   */
  separator?: string;
  /**
   * Names to look at: at least 1,000. Of a larger database that is a sample.
   *
   * @default {100_000}
   */
  maxKeys?: number;
  /**
   * Keys to measure, two commands each: at least 100.
   *
   * @default {2_000}
   */
  sampleKeys?: number;
  /**
   * Values that take less memory stay in Redis, as with this option of a store.
   *
   * @default {that of the store, or 1_024}
   */
  minEvictBytes?: number;
  /**
   * The number of times in a month that an evicted key is used, so that it comes back and leaves again.
   *
   * @default {1}
   */
  returnsAMonth?: number;
  /** Prices in place of the published ones: plans of Redis, object stores, or both. */
  prices?: Partial<Prices>;
}

/** The result of {@linkcode advise}. */
export interface AdviseReport extends OperationReport {
  /** The number of keys, without Tundra's own; estimated unless `exact`. */
  keys: number;
  /** Their memory in bytes, estimated. */
  bytes: number;
  /** `true` if every name was seen, so that numbers of keys are exact. */
  exact: boolean;
  /** Prefixes, those with most memory first: at most 50. */
  prefixes: PrefixAdvice[];
  /**
   * The price of memory for a month by plan and object store: now, and if all prefixes left Redis that pay back within
   * a year. Fixed plans cost what the smallest size that fits costs.
   */
  plans: Record<string, { nowAMonth: number; thenAMonth: number }>;
}

const WHAT = "advise";
const NAMES = ["match", "separator", "maxKeys", "sampleKeys", "minEvictBytes", "returnsAMonth", "prices"];
const MOST_PREFIXES = 1_000;
const LEAST_MEASURED = 10;
/** That of a store by default. */
const MIN_EVICT_BYTES = 1_024;
const OTHERS = "*";

/** The part of a store that is needed. */
type Sampled = Pick<Context, "connection" | "minEvictBytes">;

/** The checked options. */
type Settings = Required<Omit<AdviseOptions, keyof OperationOptions | "match" | "prices">> & { prices: Prices };

/**
 * Samples a database and says, prefix by prefix, what archiving and evicting its keys would cost and save under each
 * plan, and when it pays back. It only reads, needs no bucket and no index, and no key counts as used for it.
 *
 * It looks at up to `maxKeys` names and measures up to `sampleKeys` of them, so numbers are estimates: those of rare
 * prefixes are rough. Memory is what `MEMORY USAGE` says. When keys were last used is not asked, as Upstash does not
 * tell: `returnsAMonth` is yours to guess. Values with an expiry of their own save only while they live.
 *
 * Cost: for each 1,000 names 1 request and 1 command; 2 commands for each key that is measured, in 1 request for 500 of
 * them: by default 105 requests and 4,101 commands at most ($0.01).
 *
 * @param target a store, or the REST URL and token of a database
 * @throws {TundraError} `UNSUPPORTED` if the server does not know `MEMORY USAGE`; `UNAVAILABLE`; `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { advise } from "@tundra/store/operations";
 *
 * export async function isItWorthIt(url: string, token: string): Promise<void> {
 *   const { prefixes } = await advise({ url, token });
 *   for (const { prefix, keys, bytes, plans } of prefixes) {
 *     console.log(prefix, keys, bytes, plans["pay as you go, R2"]!.payBackDays);
 *   }
 * }
 * ```
 */
export async function advise(
  target: TundraStore | TundraOptions["redis"],
  options: AdviseOptions = {},
): Promise<AdviseReport> {
  if (isRedis(target)) return await adviseOn({ connection: connect(target), minEvictBytes: MIN_EVICT_BYTES }, options);
  return await told(contextOf(WHAT, target), "advise", 0, (context) => adviseOn(context, options));
}

async function adviseOn(context: Sampled, options: AdviseOptions): Promise<AdviseReport> {
  const bounds = beginOperation(WHAT, context, options, NAMES);
  const settings = checked(WHAT, context, options);
  const scanned: Scanned = { groups: new Map(), count: 0, passed: 0, ended: false };
  const measured = new Map<string, MeasuredKey[]>();
  let all = 0;
  const done = await untilBound(bounds, async () => {
    all = await countAll(context.connection, WHAT, bounds.call);
    await scanNames(bounds, WHAT, options.match, settings, scanned, all);
    return await measureNames(bounds, WHAT, settings, scanned, measured) &&
      (scanned.ended || isEnough(settings, scanned));
  });
  const raise = scanned.ended || scanned.passed === 0 ? 1 : Math.max(1, all / scanned.passed);
  return { ...bounds.report(done), ...adviceOf(settings, scanned, measured, raise) };
}

function isRedis(target: unknown): target is TundraOptions["redis"] {
  return typeof target === "object" && target !== null && ("url" in target || "token" in target);
}

const isEnough = ({ maxKeys }: Settings, { count }: Scanned) => count >= maxKeys;

function checked(what: string, context: Sampled, options: AdviseOptions): Settings {
  const { match, separator = ":", maxKeys = 100_000, sampleKeys = 2_000, returnsAMonth = 1, prices = {} } = options;
  const { minEvictBytes = context.minEvictBytes } = options;
  checkMatch(what, match);
  if (typeof separator !== "string" || separator === "") throw badArgument(what, "separator", "a text", separator);
  checkNumber(what, "maxKeys", maxKeys, 1_000, Infinity);
  checkNumber(what, "sampleKeys", sampleKeys, 100, Infinity);
  checkNumber(what, "minEvictBytes", minEvictBytes, 0, Infinity);
  if (typeof returnsAMonth !== "number" || !(returnsAMonth >= 0) || returnsAMonth === Infinity) {
    throw badArgument(what, "returnsAMonth", "a number, at least 0", returnsAMonth);
  }
  checkNames(what, prices, ["redis", "archive"]);
  const { redis = PUBLISHED.redis, archive = PUBLISHED.archive } = prices;
  checkPrices(what, "prices.redis", redis, ["command", "gbMonth"]);
  checkPrices(what, "prices.archive", archive, ["put", "get", "gbMonth"]);
  return { separator, maxKeys, sampleKeys, minEvictBytes, returnsAMonth, prices: { redis, archive } };
}

function checkPrices(what: string, name: string, prices: object, fields: readonly string[]): void {
  const known = [...fields, ...(fields.includes("command") ? ["freeGb", "sizes", "readRegions"] : [])];
  if (typeof prices !== "object" || prices === null) throw badArgument(what, name, "an object", prices);
  for (const [plan, each] of Object.entries(prices)) {
    checkNames(what, each, known);
    for (const field of fields) {
      const price = (each as Record<string, unknown>)[field];
      if (typeof price !== "number" || !(price >= 0)) {
        throw badArgument(what, `${name}[${JSON.stringify(plan)}].${field}`, "a price in dollars", price);
      }
    }
  }
}

async function scanNames(
  bounds: Bounds<Sampled>,
  what: string,
  match: string | undefined,
  settings: Settings,
  scanned: Scanned,
  all: number,
): Promise<void> {
  const { connection } = bounds.context;
  const { groups } = scanned;
  const seen = seenKeys();
  let cursor = SCAN_START;
  while (!scanned.ended && !isEnough(settings, scanned) && bounds.mayBegin(2)) {
    const step = await scan(connection, what, cursor, { match }, bounds.call);
    cursor = step.cursor;
    scanned.ended = cursor === SCAN_START;
    const names = [...step.keys, ...step.unreadable];
    scanned.passed += match === undefined ? names.length : 1_000;
    for (const name of names) {
      if (name.startsWith("tundra:") || !seen.add(name)) continue;
      scanned.count++;
      const prefix = prefixOf(name, settings.separator);
      const key = groups.has(prefix) || groups.size < MOST_PREFIXES ? prefix : OTHERS;
      const group = groups.get(key) ?? { names: [], count: 0 };
      groups.set(key, group);
      group.count++;
      if (group.names.length < settings.sampleKeys) group.names.push(name);
    }
    bounds.progress(scanned.count, Math.min(all, settings.maxKeys));
  }
}

function prefixOf(name: string, separator: string): string {
  const end = name.indexOf(separator);
  return end < 0 ? "" : name.slice(0, end + separator.length);
}

/** Measures some names of each prefix, more of those with more keys; `false` if a bound came before the end. */
async function measureNames(
  bounds: Bounds<Sampled>,
  what: string,
  { sampleKeys }: Settings,
  { groups, count }: Scanned,
  measured: Map<string, MeasuredKey[]>,
): Promise<boolean> {
  const wanted: [prefix: string, name: string][] = [];
  for (const [prefix, group] of [...groups].sort(([, a], [, b]) => b.count - a.count)) {
    const most = Math.max(LEAST_MEASURED, Math.floor(sampleKeys * group.count / count));
    for (const name of group.names.slice(0, Math.min(most, sampleKeys - wanted.length))) wanted.push([prefix, name]);
  }
  const { connection } = bounds.context;
  for (let i = 0; i < wanted.length; i += 500) {
    if (!bounds.mayBegin()) return false;
    const part = wanted.slice(i, i + 500);
    const questions = { bytes: true, ttlMs: true };
    const answers = await measure(connection, what, part.map(([, name]) => name), questions, bounds.call);
    for (const [j, { bytes, ttlMs }] of answers.entries()) {
      if (bytes === undefined || ttlMs === undefined || ttlMs === -2) continue; // it went meanwhile
      const prefix = part[j]![0];
      const some = measured.get(prefix) ?? [];
      measured.set(prefix, some);
      some.push({ bytes, ttlMs });
    }
  }
  return true;
}
