/**
 * warm: brings evicted keys back ahead of need.
 * @module
 */
import { checkBoolean, checkNumber } from "../base/arguments.ts";
import { badArgument, TundraError } from "../base/errors.ts";
import { checkKeys } from "../base/keys.ts";
import { checkMatch } from "../base/patterns.ts";
import { type Context, contextOf } from "../core/context.ts";
import { unitOf } from "../core/fetch_archived.ts";
import { told } from "../core/told.ts";
import { ensureKs } from "../ensure.ts";
import { readCursor, writeCursor } from "../scripts/cursor.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { readTexts } from "../scripts/read_records.ts";
import { SCAN_START } from "../scripts/scan.ts";
import type { TundraStore } from "../store_interface.ts";
import { boundedContext } from "./bounded_context.ts";
import { beginOperation, type Bounds, type OperationOptions, type OperationReport } from "./bounds.ts";
import { checkIndex } from "./check_index.ts";
import { type KeyError, type KeyErrors, keyErrors } from "./key_errors.ts";
import { scanRecords } from "./known_keys.ts";
import { untilBound } from "./until_bound.ts";
import { isSpent, noteSpent, type Pace } from "./warm_spent.ts";

/** Options of {@linkcode warm}. */
export interface WarmOptions extends OperationOptions {
  /** Keys to bring back, as a pattern of Redis' `SCAN`: `user:*`. Not together with a list of keys. */
  match?: string;
  /**
   * Keys to bring back in one call: at least 1. A dry run has no limit by default.
   *
   * @default {10_000}
   */
  maxKeys?: number;
  /**
   * Bytes to bring back in one call, as Redis' `DUMP` has them: at least 1. It stops before the value that would pass
   * it, unless it is the first. A dry run has no limit by default.
   *
   * @default {268_435_456}
   */
  maxBytes?: number;
  /**
   * `true`: brings nothing back, and says how much there is.
   *
   * @default {false}
   */
  dryRun?: boolean;
}

/** The result of {@linkcode warm}. */
export interface WarmReport extends OperationReport {
  /** Evicted keys that were brought back, or would be. */
  warmed: number;
  /** The size of their values, as Redis' `DUMP` has them, each rounded up to 1,024 bytes. */
  bytes: number;
  /** Keys that are not evicted. */
  left: number;
  /** `true`: it ended before `done` as the next key would have passed `maxKeys` or `maxBytes`. */
  enough: boolean;
  /** The number of keys that could not be brought back. */
  failed: number;
  /** At most 100 of them. */
  errors: KeyError[];
}

const NAMES = ["match", "maxKeys", "maxBytes", "dryRun"];
const MAX_KEYS = 10_000;
const MAX_BYTES = 256 * 1024 * 1024;
/** Keys, and objects and blocks, that are brought back at a time: between two such groups a bound may end it. */
const GROUP_KEYS = 1_000;
const GROUP_UNITS = 128;
/** Requests of a group besides those for objects and blocks, and for values that are large. */
const GROUP_REQUESTS = 2;
/** Requests of a step: the scan and the records. */
const STEP_REQUESTS = 2;

/** One run. */
interface Run extends Pace {
  what: string;
  bounds: Bounds;
  context: Context;
  options: { maxKeys: number; maxBytes: number; dryRun: boolean };
  report: { warmed: number; bytes: number; left: number; enough: boolean };
  errors: KeyErrors;
  /** The number of keys, if they are listed. */
  total: number | undefined;
}

/** An evicted key. */
interface Wanted {
  key: string;
  bytes: number;
  unit: string;
}

/**
 * Brings evicted keys back into Redis, as `ensureKs()` does and by the same code, but bounded, so that a database can be
 * filled before its users come. What it brings back counts as just used: it stays for `redisTtlMs`.
 *
 * Call it again until `done`: with `match` it goes on from a cursor in Redis, one for each pattern; of a list of keys it
 * passes over those that are back. Keys that fail are reported, and the next call goes on behind them: also a key that
 * takes more requests than `maxSubrequests` allows, `TOO_LARGE`. Of a list such a key keeps those behind it.
 *
 * Cost: 2 requests and 4 commands; for each 1,000 keys of the database 2 requests and 2 commands, of a list 1 and 1;
 * then that of `ensureKs()`: for each 1,000 evicted keys 2 requests or a few more, 2 commands a key and 12, and a fetch
 * for each object or block.
 *
 * @param keys a list of keys, or options with `match`; without either, all keys that are evicted
 * @throws {TundraError} `LOST` if the index was lost or is a copy; `UNAVAILABLE`; `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { warm } from "@tundra/store/operations";
 *
 * export async function beforeTheSale(): Promise<void> {
 *   while (!(await warm(tundraFromEnv(), { match: "product:*" })).done);
 * }
 * ```
 */
export async function warm(
  store: TundraStore,
  keys: readonly string[] | WarmOptions = {},
  options: WarmOptions = Array.isArray(keys) ? {} : keys as WarmOptions,
): Promise<WarmReport> {
  return await told(contextOf("warm keys", store), "warm", 0, (context) => warmWith(context, keys, options));
}

async function warmWith(
  context: Context,
  keys: readonly string[] | WarmOptions,
  options: WarmOptions,
): Promise<WarmReport> {
  const what = "warm keys";
  const bounds = beginOperation(what, context, options, NAMES);
  const { match, dryRun = false } = options;
  const { maxKeys = dryRun ? Infinity : MAX_KEYS, maxBytes = dryRun ? Infinity : MAX_BYTES } = options;
  const list = Array.isArray(keys) ? checkKeys(what, [keys]) : undefined;
  checkMatch(what, match);
  if (list !== undefined && match !== undefined) throw badArgument(what, "match beside a list of keys", "none", match);
  checkNumber(what, "maxKeys", maxKeys, 1, Infinity);
  checkNumber(what, "maxBytes", maxBytes, 1, Infinity);
  checkBoolean(what, "dryRun", dryRun);
  const run: Run = {
    what,
    bounds,
    context: boundedContext(bounds),
    options: { maxKeys, maxBytes, dryRun },
    report: { warmed: 0, bytes: 0, left: 0, enough: false },
    errors: keyErrors(),
    ...{ total: list?.length, isList: list !== undefined, isFresh: true, isSingly: false },
  };
  const done = await untilBound(bounds, async () => {
    if (list?.length === 0) return true;
    await checkIndex(context, bounds.call); // ensureKs() does so only if it is asked for a key
    return list ? await warmList(run, list) : await warmMatching(run, match);
  });
  return { ...bounds.report(done), ...run.report, ...run.errors.report() };
}

/** Brings the keys of a list back; `false` if a bound was reached. */
async function warmList(run: Run, list: string[]): Promise<boolean> {
  const { bounds } = run;
  for (let i = 0; i < list.length; i += GROUP_KEYS) {
    if (!bounds.mayBegin(STEP_REQUESTS + GROUP_REQUESTS)) return false;
    const keys = list.slice(i, i + GROUP_KEYS);
    const texts = await readTexts(bounds.context, keys, bounds.call);
    if (await warmSome(run, keys.map((key, i) => [key, texts[i] ?? undefined])) !== undefined) return false;
  }
  return true;
}

/** Brings keys back that match; `false` if a bound was reached. */
async function warmMatching(run: Run, match: string | undefined): Promise<boolean> {
  const { bounds, options: { dryRun }, what } = run;
  const { context } = bounds;
  const name = `warm:${JSON.stringify([match])}`;
  const kept = dryRun ? undefined : await readCursor(context, name, bounds.call);
  type Place = [cursor: string, behind: string | null, isSingly?: true];
  let [cursor, behind, isSingly = false] = JSON.parse(kept ?? `["${SCAN_START}", null]`) as Place;
  run.isSingly = isSingly;
  let done = false;
  try {
    if (!bounds.mayBegin(STEP_REQUESTS + GROUP_REQUESTS + 1)) return false;
    for await (const { texts, next } of scanRecords(context, what, match, cursor, bounds.call)) {
      // by name, so that the next call knows where this one has ended
      const found = [...texts].filter(([key]) => behind === null || key > behind).sort(([a], [b]) => a < b ? -1 : 1);
      const last = await warmSome(run, found);
      if (last !== undefined) {
        behind = last === "" ? behind : last;
        return false;
      }
      behind = null;
      run.isFresh = run.isSingly = false;
      if (next === undefined) return done = true;
      cursor = next;
      if (!bounds.mayBegin(STEP_REQUESTS + GROUP_REQUESTS + 1)) return false;
    }
    return done = true;
  } finally {
    const now = done ? undefined : JSON.stringify([cursor, behind, ...(run.isSingly ? [true] : [])]);
    if (!dryRun && now !== kept) await writeCursor(context, name, now, bounds.closing);
  }
}

/**
 * Brings the evicted ones of some keys back, in their order. Returns the last key before a bound, "" for none;
 * `undefined` if it came to their end.
 */
async function warmSome(run: Run, some: [key: string, text: string | undefined][]): Promise<string | undefined> {
  const { bounds, options: { dryRun, maxBytes, maxKeys }, report } = run;
  const wanted: Wanted[] = [];
  for (const [key, text] of some) {
    const record = text === undefined ? undefined : parseRecord(text);
    // a record of another version is ensureKs()' to report
    if (text === undefined || (record && record.flag !== "e")) report.left++;
    else wanted.push({ key, bytes: 1024 * (record?.kb ?? 0), unit: record ? unitOf({ key, ver: record.ver }) : "" });
  }
  if (wanted.length === 0) tellProgress(run);
  let last = "";
  for (let group = wanted; group.length > 0;) {
    if (!dryRun && !bounds.mayBegin(GROUP_REQUESTS + 1)) return last;
    const size = fitting(run, group);
    if (size === 0) {
      report.enough = report.warmed >= maxKeys || report.bytes + group[0]!.bytes > maxBytes;
      return last;
    }
    const part = group.slice(0, size);
    group = group.slice(size);
    if (dryRun) count(run, part);
    else if (!await bringBack(run, part)) return last;
    last = part.at(-1)!.key;
    run.isFresh = false;
  }
  return undefined;
}

/** The number of the first keys that the bounds leave room for. */
function fitting(run: Run, some: Wanted[]): number {
  const { bounds, context, options, report } = run;
  const { dryRun, maxBytes, maxKeys } = options;
  const units = new Set<string>();
  const most = Math.min(maxKeys - report.warmed, run.isSingly ? 1 : GROUP_KEYS);
  const requests = dryRun ? Infinity : bounds.requestsLeft() - GROUP_REQUESTS;
  let bytes = 0;
  let size = 0;
  for (const each of some) {
    bytes += each.bytes;
    units.add(each.unit);
    // a byte takes two of a request at most
    const takes = units.size + Math.floor(2 * bytes / context.connection.requestLimit());
    const fits = takes <= requests && units.size <= GROUP_UNITS && report.bytes + bytes <= maxBytes;
    if (size === most || (!fits && (size > 0 || report.bytes > 0))) break;
    size++;
  }
  return size;
}

/** Brings keys back; `false` if the requests left do not suffice for any of them, and may in another call. */
async function bringBack(run: Run, wanted: Wanted[]): Promise<boolean> {
  let back = wanted;
  try {
    await ensureKs({ ...run.context, flights: undefined }, wanted.map(({ key }) => key));
  } catch (thrown) {
    const keys = wanted.map(({ key }) => key);
    if (isSpent(run, thrown, keys)) return noteSpent(run, keys);
    if (!(thrown instanceof TundraError) || isOver(run, thrown, wanted)) throw thrown;
    const failed = new Set(thrown.keys);
    for (const key of failed) {
      const cause = thrown.causes[key];
      run.errors.add(key, cause instanceof TundraError ? cause : thrown);
    }
    back = wanted.filter(({ key }) => !failed.has(key));
  }
  count(run, back);
  return true;
}

/** Tells if an error is that of the whole call: a bound, an abort, servers that are down, an index that was lost. */
function isOver({ bounds }: Run, { code, keys, retryable }: TundraError, wanted: Wanted[]): boolean {
  if (keys.length === 0 || bounds.signal?.aborted || bounds.requestsLeft() <= 0) return true;
  return keys.length === wanted.length && (code === "LOST" || (retryable && wanted.length > 1));
}

function count(run: Run, keys: Wanted[]): void {
  run.report.warmed += keys.length;
  run.report.bytes += keys.reduce((sum, { bytes }) => sum + bytes, 0);
  tellProgress(run);
}

function tellProgress({ bounds, errors, report: { left, warmed }, total }: Run): void {
  bounds.progress(warmed + left + errors.report().failed, total);
}
