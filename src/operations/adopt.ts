/**
 * adopt: takes the keys of an existing database in, so that ticks archive them.
 * @module
 */
import { checkBoolean, checkFunction, checkNumber } from "../base/arguments.ts";
import { ignoreErrors } from "../base/callbacks.ts";
import { badArgument, type TundraError } from "../base/errors.ts";
import { checkKeys } from "../base/keys.ts";
import { checkMatch } from "../base/patterns.ts";
import { type Context, contextOf } from "../core/context.ts";
import { copiedIndex, unsupportedRecord } from "../core/key_errors.ts";
import { told } from "../core/told.ts";
import { readCursor, writeCursor } from "../scripts/cursor.ts";
import { mark } from "../scripts/mark.ts";
import { measure } from "../scripts/measure.ts";
import { readTexts } from "../scripts/read_records.ts";
import { scan, SCAN_START } from "../scripts/scan.ts";
import type { TundraStore } from "../store_interface.ts";
import { inParts, keyBytes } from "../upstash/requests.ts";
import { beginOperation, type Bounds, type OperationOptions, type OperationReport } from "./bounds.ts";
import { checkIndex } from "./check_index.ts";
import { type KeyError, type KeyErrors, keyErrors } from "./key_errors.ts";
import { type SeenKeys, seenKeys } from "./seen_keys.ts";
import { untilBound } from "./until_bound.ts";

/** Options of {@linkcode adopt}. */
export interface AdoptOptions extends OperationOptions {
  /** Keys to adopt, as a pattern of Redis' `SCAN`: `user:*`. Keys that begin with `tundra:` never are. */
  match?: string;
  /** Keys of this type only, as Redis' `TYPE` names it: `string`, `list`, `set`, `zset`, `hash`, `stream`. */
  type?: string;
  /**
   * Keys that take at least this many bytes of memory only, by `MEMORY USAGE`: 0 or more.
   *
   * @default {0}
   */
  minBytes?: number;
  /**
   * Keys that were not used for this many milliseconds only, by `OBJECT IDLETIME`; `true`: for the store's
   * `redisTtlMs`. A server without that command, such as Upstash, is `UNSUPPORTED`.
   *
   * @default {false}
   */
  idleOnly?: boolean | number;
  /**
   * Keys to mark in one call: at least 1. A dry run has no limit by default.
   *
   * @default {100_000}
   */
  maxKeys?: number;
  /**
   * `true`: changes nothing, in Redis or in the bucket, and says what would be marked. It is one call: without a
   * cursor, it begins at the beginning, and with `done: false` its numbers are those of a part of the database.
   *
   * @default {false}
   */
  dryRun?: boolean;
  /** Called with keys that have just been marked, or would be: each key once. An error that it throws is ignored. */
  onKeys?: (keys: string[]) => void;
}

/** The result of {@linkcode adopt}. */
export interface AdoptReport extends OperationReport {
  /** Keys marked, or that a run would mark. Each counts once, in one call of several or of two at once. */
  marked: number;
  /** Their memory in bytes, if it was asked for: by a dry run, or with `minBytes`. */
  bytes?: number;
  /** Keys that were left alone, and why; each counts once a call, as far as a million keys. */
  left: {
    /** Tundra has a record of them: they are adopted already, or the application marks them itself. */
    known: number;
    /** They take less than `minBytes`. */
    small: number;
    /** They were used later than `idleOnly` says. */
    inUse: number;
    /** They went while this call looked at them. */
    missing: number;
  };
  /** The number of keys that cannot be adopted. */
  failed: number;
  /** At most 100 of them. */
  errors: KeyError[];
}

const NAMES = ["match", "type", "minBytes", "idleOnly", "maxKeys", "dryRun", "onKeys"];
const MAX_KEYS = 100_000;
/** Steps of the scan, after each of which the cursor is kept. */
const STEPS = 10;
/** Requests of a step: the scan, records, sizes, marks. */
const STEP_REQUESTS = 4;

/** One run. */
interface Run {
  bounds: Bounds;
  options: AdoptOptions;
  idleMs: number;
  maxKeys: number;
  seen: SeenKeys;
  report: Omit<AdoptReport, keyof OperationReport | "failed" | "errors">;
  errors: KeyErrors;
}

/**
 * Marks the keys of an existing database that Tundra has no record of, so that ticks archive them: as `dirty()` does,
 * but only if there is still no record. So it may run beside applications that mark by themselves, and beside itself.
 *
 * Call it again until `done`: it goes on from a cursor in Redis, one for each `match` and `type`. Redis' `SCAN` answers
 * each key that is there from the first of these calls to the last, some of them twice: a key that was marked has a
 * record, so it is marked once. Keys that the application makes meanwhile may be left out, as may others if
 * redis-server is restarted meanwhile: call it once more at the end.
 *
 * If the reply to a mark is lost, its keys count as known.
 *
 * What it marks is due at once, and ticks take it before what is marked later. In a large database, let `maxKeys` be what
 * ticks archive until the next call.
 *
 * Cost: for each 1,000 keys of the database, Tundra's own too, 2 requests and 8 commands at most; with `minBytes`, `idleOnly` or `dryRun` up to 4
 * requests, and for each key without a record a command more, or two.
 *
 * @throws {TundraError} `LOST` if the index was lost or is a copy; `UNAVAILABLE`; `UNSUPPORTED` if the server does not
 * know `MEMORY USAGE` or `OBJECT`; `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { adopt } from "@tundra/store/operations";
 *
 * export async function adoptCarts(): Promise<void> {
 *   const store = tundraFromEnv();
 *   const { marked, bytes } = await adopt(store, { match: "cart:*", minBytes: 2048, dryRun: true });
 *   console.log(`${marked} keys, ${bytes} bytes`);
 *   while (!(await adopt(store, { match: "cart:*", minBytes: 2048 })).done);
 * }
 * ```
 */
export async function adopt(store: TundraStore, options: AdoptOptions = {}): Promise<AdoptReport> {
  return await told(contextOf("adopt keys", store), "adopt", 0, (context) => adoptWith(context, options));
}

async function adoptWith(context: Context, options: AdoptOptions): Promise<AdoptReport> {
  const what = "adopt keys";
  const bounds = beginOperation(what, context, options, NAMES);
  const run = begin(what, bounds, options);
  const { match, type, dryRun = false } = options;
  const name = `adopt:${JSON.stringify([match, type])}`;
  const steps = async (): Promise<boolean> => {
    await checkIndex(context, bounds.call);
    let cursor = dryRun ? SCAN_START : await readCursor(context, name, bounds.call) ?? SCAN_START;
    let kept = cursor;
    const keep = async (ended = false) => {
      if (dryRun || (cursor === kept && !ended)) return;
      kept = cursor;
      await writeCursor(context, name, ended ? undefined : cursor, bounds.closing);
    };
    try {
      for (let step = 1; bounds.mayBegin(STEP_REQUESTS); step++) {
        const found = await scan(context.connection, what, cursor, { match, type }, bounds.call);
        for (const key of found.unreadable) {
          if (run.seen.add(key)) run.errors.add(key, badArgument(what, "a key", "UTF-8", key));
        }
        if (!await takeIn(run, what, found.keys)) return false;
        cursor = found.cursor;
        if (cursor === SCAN_START) {
          await keep(true);
          return true;
        }
        if (step % STEPS === 0) await keep();
      }
      return false;
    } finally {
      await keep();
    }
  };
  const done = await untilBound(bounds, steps);
  return { ...bounds.report(done), ...run.report, ...run.errors.report() };
}

/** Checks the options that only this operation has. */
function begin(what: string, bounds: Bounds, options: AdoptOptions): Run {
  const { match, type, minBytes, idleOnly = false, dryRun, onKeys } = options;
  const { maxKeys = dryRun ? Infinity : MAX_KEYS } = options;
  checkMatch(what, match);
  if (type !== undefined && !(typeof type === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(type))) {
    throw badArgument(what, "type", "the name of a type", type);
  }
  checkNumber(what, "minBytes", minBytes, 0, Infinity);
  if (typeof idleOnly !== "boolean") checkNumber(what, "idleOnly", idleOnly, 0, Infinity, " of milliseconds");
  const { redisTtlMs } = bounds.context;
  if (idleOnly === true && redisTtlMs === undefined) {
    throw badArgument(what, "idleOnly of a store without redisTtlMs", "false or a number of milliseconds", idleOnly);
  }
  checkNumber(what, "maxKeys", maxKeys, 1, Infinity);
  checkBoolean(what, "dryRun", dryRun);
  checkFunction(what, "onKeys", onKeys);
  const idleMs = idleOnly === true ? redisTtlMs! : Number(idleOnly);
  const measures = dryRun || (minBytes ?? 0) > 0;
  return {
    bounds,
    options,
    idleMs,
    maxKeys,
    seen: seenKeys(),
    report: { marked: 0, ...(measures && { bytes: 0 }), left: { known: 0, small: 0, inUse: 0, missing: 0 } },
    errors: keyErrors(),
  };
}

/** Deals with keys of one step; `false` if `maxKeys` was reached before their end. */
async function takeIn(run: Run, what: string, found: string[]): Promise<boolean> {
  const { bounds, errors, report, seen } = run;
  const { maxKeys } = run;
  const keys = found.filter((key) => {
    if (key.startsWith("tundra:")) return false;
    try {
      return checkKeys(what, [key]).length > 0;
    } catch (thrown) {
      if (seen.add(key)) errors.add(key, thrown as TundraError);
      return false;
    }
  });
  const room = maxKeys - report.marked;
  const { chosen, sizes } = await choose(run, what, keys, room);
  const some = chosen.slice(0, room);
  const taken = run.options.dryRun ? some.filter((key) => seen.add(key)) : await markNew(run, some);
  report.marked += taken.length;
  if (report.bytes !== undefined) report.bytes += taken.reduce((sum, key) => sum + (sizes.get(key) ?? 0), 0);
  if (taken.length > 0) ignoreErrors(() => run.options.onKeys?.(taken));
  const { known, small, inUse, missing } = report.left;
  bounds.progress(report.marked + known + small + inUse + missing + errors.report().failed);
  return chosen.length <= room;
}

/** Those of some keys that are to be marked, as far as the options, or `room` for fewer of them, need a look at them. */
async function choose(
  run: Run,
  what: string,
  keys: string[],
  room: number,
): Promise<{ chosen: string[]; sizes: Map<string, number> }> {
  const { bounds, idleMs, options, report } = run;
  const sizes = new Map<string, number>();
  const looks = report.bytes !== undefined || idleMs > 0;
  if (!looks && keys.length <= room) return { chosen: keys, sizes };
  const { context, call } = bounds;
  const records = await readTexts(context, keys, call);
  const fresh = keys.filter((key, i) => records[i] === null || !leave(run, key, "known"));
  if (!looks) return { chosen: fresh, sizes };
  const questions = { bytes: report.bytes !== undefined, idleMs: idleMs > 0 };
  const measured = await measure(context.connection, what, fresh, questions, call);
  const chosen = fresh.filter((key, i) => {
    const { bytes, idleMs: unusedMs } = measured[i]!;
    if ((questions.bytes && bytes === undefined) || (questions.idleMs && unusedMs === undefined)) {
      return !leave(run, key, "missing");
    }
    if ((bytes ?? 0) < (options.minBytes ?? 0)) return !leave(run, key, "small");
    if (unusedMs !== undefined && unusedMs < idleMs) return !leave(run, key, "inUse");
    sizes.set(key, bytes ?? 0);
    return true;
  });
  return { chosen, sizes };
}

/** Counts a key that is left alone, once; always `true`. */
function leave({ report, seen }: Run, key: string, why: keyof AdoptReport["left"]): true {
  if (seen.add(key)) report.left[why]++;
  return true;
}

/** Marks keys that still have no record; returns those that were marked. */
async function markNew(run: Run, keys: string[]): Promise<string[]> {
  const { bounds: { context, call }, errors, seen } = run;
  const { connection, freezeDelayMs, index } = context;
  const marked: string[] = [];
  await inParts(keys, keyBytes, connection.requestLimit, async (part) => {
    const expected = part.map(() => "");
    const exceptions = await mark(index, part, { freezeDelayMs, missing: "throw", overwrite: "cas", expected }, call);
    const left = new Set<string>();
    for (const { key, why, record } of exceptions) {
      if (why === "copy") throw copiedIndex(record);
      left.add(key);
      if (why === "unsupported") {
        if (seen.add(key)) errors.add(key, unsupportedRecord("adopt", key));
      } else leave(run, key, why === "missing" ? "missing" : "known");
    }
    const some = part.filter((key) => !left.has(key));
    for (const key of some) seen.add(key);
    marked.push(...some);
  });
  return marked;
}
