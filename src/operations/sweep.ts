/**
 * sweep: deletes from the archive what nothing names and nothing can come to name, and moves what lives out of packs
 * of which little is left.
 *
 * A sweep goes through the archive in batches, first objects of keys' own, then packs. For each batch it
 *
 *   gathers  what might go, by the records alone
 *   searches all versions of the keys for which the records do not tell
 *   acts     after a second look at the records
 *
 * What it knows between two calls is in a cursor in Redis, and in an object of the archive if it is much.
 * @module
 */
import { checkBoolean, checkNumber } from "../base/arguments.ts";
import { asTundraError, TundraError } from "../base/errors.ts";
import { monotonicMs } from "../base/platform.ts";
import { type Context, contextOf } from "../core/context.ts";
import { formerIds } from "../core/former.ts";
import { checkIdentity, isConfirmed } from "../core/identity.ts";
import { uuidOf } from "../core/owner.ts";
import { told } from "../core/told.ts";
import { registerUpkeep } from "../core/upkeep.ts";
import { readIndex } from "../scripts/read_index.ts";
import type { TundraStore } from "../store_interface.ts";
import { beginOperation, type OperationOptions } from "./bounds.ts";
import { checkArchive } from "./owned_index.ts";
import { actOnBatch } from "./sweep_act.ts";
import { gatherOwn, gatherPacks } from "./sweep_gather.ts";
import { MOST_NOTES } from "./sweep_notes.ts";
import { dropState, readState, saveState, type SweepReport, type SweepRun, type SweepState } from "./sweep_run.ts";
import { searchWanted } from "./sweep_search.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const MOST_MS = 10 * 365 * DAY_MS;

const NAMES = ["keepMs", "keepOrphansMs", "maxKeys", "dryRun"];
/** Requests with which it gets on, and those to put a pack, to relocate its versions and to keep the state. */
const REQUESTS = { least: 20, closing: 6 };

/** Options of {@linkcode sweep}. */
export interface SweepOptions extends OperationOptions {
  /**
   * Superseded versions are kept for so many milliseconds longer than 48 hours: 0 to 315,360,000,000 (ten years). So
   * long `restoreVersion()` can bring them back.
   *
   * @default {604_800_000}
   */
  keepMs?: number;
  /**
   * Versions that no record names although none supersedes them, and tombstones, are kept for so many milliseconds:
   * 172,800,000 (48 hours) to 315,360,000,000. Redis may have lost the commit of such a version.
   *
   * @default {2_592_000_000}
   */
  keepOrphansMs?: number;
  /**
   * Versions to look at in this call, at least 1: it ends after the object that passes this number.
   *
   * @default {Infinity}
   */
  maxKeys?: number;
  /**
   * `true`: nothing is deleted, moved or noted; the report says what would be. It is one call, from the beginning.
   *
   * @default {false}
   */
  dryRun?: boolean;
}

/**
 * Deletes from the archive what nothing names and nothing can come to name. Call it again until `done`; or give ticks
 * `sweepMs`. A call with another `keepMs` or `keepOrphansMs` than the one before begins at the beginning.
 *
 * What goes is older than 48 hours, and is superseded for longer than `keepMs`, removed by `del()`, expired, or an orphan
 * for longer than `keepOrphansMs`. A removed key's bytes are gone 48 hours and one sweep after the sweep that first
 * meets its tombstone. Packs of which less than half is needed, or that hold what was removed, are rewritten.
 *
 * Cost: 3 requests to Redis of 9 commands, and 4 to the archive; for each 1,000 objects of keys' own one to the archive
 * and one to Redis of 1 command; for each pack 2 and 1. If versions may go of which the records do not tell, the same
 * once more for all packs; where the archive has more than 100,000 removals, again for each 50,000 keys of those that
 * have other versions. A pack that is rewritten takes a request for each MB, a PUT, and a command for each 1,000 keys.
 *
 * @throws {TundraError} `LOST` if the index is gone, is a copy, or does not own the archive: then nothing is deleted;
 * `UNSUPPORTED` if the datastore cannot list or delete; `UNAVAILABLE`, `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { sweep } from "@tundra/store/operations";
 *
 * export async function clean() {
 *   const store = tundraFromEnv();
 *   while (!(await sweep(store, { onProgress: ({ done }) => console.log(done) })).done);
 * }
 * ```
 */
export async function sweep(store: TundraStore, options: SweepOptions = {}): Promise<SweepReport> {
  return await told(contextOf("sweep", store), "sweep", 0, (context) => sweepArchive(context, options));
}

registerUpkeep({
  async sweepMs(context, bounds) {
    const { subrequests, commands, deleted } = await sweepArchive(context, bounds);
    return { subrequests, commands, found: { swept: deleted } };
  },
});

/** Sweeps the archive of a context, with so many notes of a kind in memory; see {@linkcode sweep}. */
export async function sweepArchive(
  context: Context,
  options: SweepOptions,
  mostNotes: number = MOST_NOTES,
): Promise<SweepReport> {
  const what = "sweep";
  const { keepMs = 7 * DAY_MS, keepOrphansMs = 30 * DAY_MS, maxKeys = Infinity, dryRun = false } = options;
  const bounds = beginOperation(what, context, options, NAMES, REQUESTS);
  checkNumber(what, "keepMs", keepMs, 0, MOST_MS, " of milliseconds");
  checkNumber(what, "keepOrphansMs", keepOrphansMs, 2 * DAY_MS, MOST_MS, " of milliseconds");
  checkNumber(what, "maxKeys", maxKeys, 1, Infinity);
  checkBoolean(what, "dryRun", dryRun);
  const { datastore, index } = context;
  if (!datastore.listKeys || !datastore.deleteKeys) {
    throw new TundraError("UNSUPPORTED", "Cannot sweep as the datastore must be able to list and delete: it is not");
  }
  const report: SweepReport = {
    ...bounds.report(false),
    ...{ deleted: 0, moved: 0, kept: 0, objects: 0, deletedFor: {}, keptFor: {}, errors: [] },
  };
  if (bounds.signal?.aborted) return report;
  const lookedAtMs = monotonicMs();
  const { id, nowUs, erasedUs } = await readIndex(index, [], bounds.call);
  await checkIdentity(context, id, bounds.call);
  const end = (done: boolean) => {
    const { deleted, moved, errors } = report;
    if (!dryRun) context.onEvent?.({ type: "swept", deleted, moved, failed: errors.length });
    return Object.assign(report, bounds.report(done));
  };
  if (!isConfirmed(id)) return end(true); // a new store
  await checkArchive(bounds, id);
  const times = { nowUs, keepUs: keepMs * 1000, keepOrphansUs: keepOrphansMs * 1000 };
  const ids = [uuidOf(id), ...await bounds.counted((call) => formerIds(context, call))];
  const run: SweepRun = {
    ...{ context, bounds, id, ids, times, dryRun, maxKeys, mostNotes, report },
    ...{ directories: new Map(), looked: 0, gotOn: false, namesPerDeletion: 1, clockUs: nowUs, erasedUs, lookedAtMs },
  };
  const state = await readState(run);
  try {
    const done = await goOn(run, state);
    if (done) await dropState(run, state);
    else await saveState(run, state);
    return end(done);
  } catch (thrown) {
    const error = asTundraError(thrown, what);
    await saveState(run, state).catch(() => {}); // what is known is still known
    if (error.code !== "UNAVAILABLE" || bounds.mayBegin()) throw error;
    return end(false);
  }
}

/** Goes on until the archive's end, `true`, or a bound. */
async function goOn(run: SweepRun, state: SweepState): Promise<boolean> {
  for (;;) {
    if (state.step === "gather") {
      const gathered = state.part === "own" ? await gatherOwn(run, state) : await gatherPacks(run, state);
      if (!gathered) return false;
      state.step = state.notes.wanted.size > 0 ? "search" : "act";
    }
    if (state.step === "search") {
      if (!await searchWanted(run, state)) return false;
      state.step = "act";
    }
    if (!await actOnBatch(run, state)) return false;
    if (state.own === undefined && state.part === "own") state.part = "packs";
    else if (state.part === "packs" && state.pack === undefined) return true;
    state.step = "gather";
    state.searchedFor = undefined;
    state.notes.wanted.clear();
    state.notes.complete = false;
  }
}
