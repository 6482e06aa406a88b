/**
 * rebuild: makes an index anew of what its archive holds, after Redis has lost it.
 * @module
 */
import { checkBoolean, checkMethods, checkNumber } from "../base/arguments.ts";
import { badArgument } from "../base/errors.ts";
import { type Context, contextOf } from "../core/context.ts";
import { told } from "../core/told.ts";
import type { Datastore } from "../datastores/datastore.ts";
import { guardedDatastore } from "../datastores/guarded.ts";
import type { TundraStore } from "../store_interface.ts";
import { beginOperation, type OperationOptions, type OperationReport } from "./bounds.ts";
import { type KeyError, keyErrors } from "./key_errors.ts";
import { goOn, plan, type RebuildRun } from "./rebuild_run.ts";
import { untilBound } from "./until_bound.ts";

/** Options of {@linkcode rebuild}. `maxSubrequests` is at least 40. */
export interface RebuildOptions extends OperationOptions {
  /**
   * `true`: the archive may belong to another database, and belongs to this one from now on: that one's ticks are
   * refused. Stop them before: a tick that is under way goes on to its end.
   *
   * @default {false}
   */
  takeOver?: boolean;
  /**
   * Another archive of the same tqname. Its objects are copied into the store's own archive, which must be unused, and
   * the index is rebuilt of these. Nothing is ever written to the other one, and its index works on. Pass it in each
   * call until the report says `done`.
   */
  from?: Datastore;
  /**
   * Keys to learn of in this call, and objects to copy: at least 1. It ends there, and the next call goes on. A key
   * counts once for each place that has it, and a pack as one at least.
   *
   * @default {Infinity}
   */
  maxKeys?: number;
  /**
   * `true`: changes nothing, and reports what a rebuild would do. It is one call, of a part if a bound ends it, and keeps some 200 bytes a key in
   * memory.
   *
   * @default {false}
   */
  dryRun?: boolean;
  /**
   * `true`: objects and packs that cannot be read, though their keys must be learned from them, or though they are to
   * be copied, are passed over and reported. Of their keys an older version may count as the newest. `false`: the call
   * fails and names the object.
   *
   * @default {false}
   */
  skipDamaged?: boolean;
}

/** The result of {@linkcode rebuild}: counts since the rebuild began, calls before this one included. */
export interface RebuildReport extends OperationReport {
  /** Keys of which Redis had no record, and has one now. Each is one of the next four. */
  keys: number;
  /** Keys that `ensureKs()` brings back. */
  evicted: number;
  /** Keys that were removed, or expired over 48 hours ago. */
  gone: number;
  /** Keys that are in Redis: they are archived again, as a newer version. */
  resident: number;
  /** Keys with several newest versions of the same time: `ensureKs()` fails for them with `LOST`. */
  lost: number;
  /** Versions in objects of their own. */
  objects: number;
  /** Packs. */
  packs: number;
  /** Objects copied from the archive `from`. */
  copied: number;
  /**
   * Errors of this call: `lost` keys, keys with a record of another version, what was passed over (without a key); the
   * first 100.
   */
  errors: KeyError[];
  /** Their number. */
  failed: number;
}

const WHAT = "rebuild an index";
const LEAST_REQUESTS = 40;

/**
 * Rebuilds the index in Redis of the archive alone: after `FLUSHDB`, after Redis has lost its data, or for a new
 * database. No value is read. Of each key the newest version counts; what was deleted stays deleted, and what is in
 * Redis already stays as it is and is archived again. From the first call on until the last one reports `done`, all
 * other calls of stores on this index fail with `LOST`, and ticks archive nothing.
 *
 * A call may be interrupted, repeated, and made by several processes at once: the result is the same. It changes
 * nothing if the index is whole (`done`, no keys) or the archive was never used.
 *
 * What is lost with Redis and was not archived stays lost: values that no tick had archived, marks, dead letters, totals.
 *
 * Cost: for each 1,000 objects of keys' own a listing and a request to Redis; for each pack 2 reads and a request to
 * Redis for each 1,000 of its keys, with about 12 billable commands and one for each removed key; a read for each key
 * whose name is shortened; some 20 requests more. Copying: 2 requests an object.
 *
 * @param store a store on the database that the index is to be in
 * @throws {TundraError} `LOST` if the archive belongs to another database, or the index to another archive; `CORRUPT` or
 * `UNSUPPORTED` for what must be read and cannot be; `UNAVAILABLE` if servers fail, or Redis was emptied meanwhile;
 * `UNSUPPORTED` if the datastore cannot list and delete; `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { rebuild } from "@tundra/store/operations";
 *
 * export async function afterTheLossOfRedis() {
 *   const store = tundraFromEnv();
 *   console.log("plan:", await rebuild(store, { dryRun: true }));
 *   let report = await rebuild(store);
 *   while (!report.done) report = await rebuild(store);
 *   console.log(report.evicted, "keys can be brought back");
 * }
 * ```
 */
export async function rebuild(store: TundraStore, options: RebuildOptions = {}): Promise<RebuildReport> {
  return await told(contextOf(WHAT, store), "rebuild", 0, (context) => rebuildWith(context, options));
}

async function rebuildWith(context: Context, options: RebuildOptions): Promise<RebuildReport> {
  const bounds = beginOperation(WHAT, context, options, ["takeOver", "from", "maxKeys", "dryRun", "skipDamaged"]);
  const { from, takeOver = false, dryRun = false, skipDamaged = false } = options;
  const { maxKeys = Infinity, maxSubrequests = Infinity } = options;
  for (const [name, value] of Object.entries({ takeOver, dryRun, skipDamaged })) checkBoolean(WHAT, name, value);
  checkNumber(WHAT, "maxKeys", maxKeys, 1, Infinity);
  if (maxSubrequests < LEAST_REQUESTS) {
    throw badArgument(WHAT, "maxSubrequests", `at least ${LEAST_REQUESTS}`, maxSubrequests);
  }
  if (from !== undefined) {
    checkMethods(WHAT, "from", from, ["fetchKeys", "listKeys"], "a datastore that lists");
    if (takeOver) throw badArgument(WHAT, "takeOver with from", "false", takeOver);
  }
  const source = from && guardedDatastore(from);
  const counts = { keys: 0, evicted: 0, gone: 0, resident: 0, lost: 0, objects: 0, packs: 0, copied: 0 };
  const run: RebuildRun = {
    ...{ bounds, wishes: { takeOver, source }, skipDamaged, quota: { left: maxKeys }, counts, errors: keyErrors() },
  };
  const done = await untilBound(bounds, () => dryRun ? plan(run) : goOn(run));
  return { ...bounds.report(done), ...run.counts, ...run.errors.report() };
}
