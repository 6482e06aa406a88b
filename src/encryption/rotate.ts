/**
 * rotate: freezes anew what another key than the present one has encrypted.
 *
 * No object is ever overwritten. So versions are moved as sweeps move them: into new packs, under their own names, and
 * records are told by compare-and-set. What no record names stays where it is until a sweep deletes it.
 * @module
 */
import { checkBoolean, checkNumber } from "../base/arguments.ts";
import { asTundraError, TundraError } from "../base/errors.ts";
import { type Context, contextOf } from "../core/context.ts";
import { told } from "../core/told.ts";
import { beginOperation, type OperationOptions, type OperationReport } from "../operations/bounds.ts";
import { type KeyError, keyErrors } from "../operations/key_errors.ts";
import { indexWent, ownedIndex } from "../operations/owned_index.ts";
import { recordsNow } from "../operations/records_now.ts";
import { untilBound } from "../operations/until_bound.ts";
import { readCursor, writeCursor } from "../scripts/cursor.ts";
import type { TundraStore } from "../store_interface.ts";
import {
  freshState,
  moveRest,
  rotateOwn,
  rotatePacks,
  type RotateRun,
  rotateRun,
  type RotateState,
} from "./rotate_walk.ts";
import { encryptionOf } from "./units.ts";

/** Options of {@linkcode rotate}. */
export interface RotateOptions extends OperationOptions {
  /**
   * Objects and packs to look at in this call, at least 1.
   *
   * @default {Infinity}
   */
  maxObjects?: number;
  /**
   * `true`: nothing is moved or noted; the report says what would be. It is one call, from the beginning.
   *
   * @default {false}
   */
  dryRun?: boolean;
}

/** The report of {@linkcode rotate}, of this call. */
export interface RotateReport extends OperationReport {
  /** Objects of keys' own and packs that were looked at. */
  objects: number;
  /** Versions that were frozen anew. */
  moved: number;
  /** The number of versions and packs that could not be read, and stay as they are. */
  failed: number;
  /** The first 100 of them. */
  errors: KeyError[];
}

const WHAT = "rotate keys";
const CURSOR = "rotate";
/** The least `maxSubrequests`, and those kept back: two packs, their relocations, the cursor. */
const BOUNDS = { least: 30, closing: 8 };

/**
 * Freezes anew, under the key that is theirs now, what records name and another key has encrypted, or none. Give every
 * process the new `current` first, then call it until `done`, then sweep on; an old key may go once `status()` no longer
 * counts its id. `done` speaks of what was archived before the first of these calls; `status()` of all. Call it again at
 * any time: it moves only what must be. With another `current` an interrupted rotation begins anew; if `keyFor` answers
 * other ids, it goes on: call it until `done` once more.
 *
 * It deletes nothing. Versions that it has moved stay in their old places as well until a sweep deletes these, 48 hours
 * and `keepMs` later. Versions that no record names, such as older ones, and tombstones are not moved, so that no
 * removed value lives longer for it: sweeps delete them in their time, and until then need the old key. Nor are large
 * values, which no request can carry: each is one of the errors, `TOO_LARGE`; call `ensureKs()` and `dirty()`, and run a
 * tick, which archives it under the new key.
 *
 * Cost: for each 1,000 objects of keys' own a listing and 2 requests to Redis, and a request for each object; for each
 * pack 3 requests and one for each MB. What is moved is read once more, and takes a PUT and a request to Redis for each
 * MB.
 *
 * @throws {TundraError} `LOST` if the index is gone, is a copy, or does not own the archive; `UNSUPPORTED` if the
 * store's last freezer is not `aesGcmFreezer`'s, its datastore cannot list, or it has `lookInArchive`; `UNAVAILABLE`,
 * `BAD_ARGUMENT`
 * @example
 * ```ts
 * import type { TundraStore } from "@tundra/store";
 * import { rotate } from "@tundra/store/encryption";
 *
 * export async function rotateAll(store: TundraStore): Promise<void> {
 *   while (!(await rotate(store)).done);
 * }
 * ```
 */
export async function rotate(store: TundraStore, options: RotateOptions = {}): Promise<RotateReport> {
  return await told(contextOf(WHAT, store), "rotate", 0, (context) => rotateWith(context, options));
}

async function rotateWith(context: Context, options: RotateOptions): Promise<RotateReport> {
  const parts = encryptionOf(WHAT, context);
  const { maxObjects = Infinity, dryRun = false } = options;
  const bounds = beginOperation(WHAT, context, options, ["maxObjects", "dryRun"], BOUNDS);
  checkNumber(WHAT, "maxObjects", maxObjects, 1, Infinity);
  checkBoolean(WHAT, "dryRun", dryRun);
  const refused = (must: string) => new TundraError("UNSUPPORTED", `Cannot ${WHAT} as ${must}`);
  if (!context.datastore.listKeys) throw refused("the datastore must be able to list: it is not");
  if (context.lookInArchive) throw refused("the store must not have lookInArchive, as it makes no packs: it has");
  const errors = keyErrors();
  const report = { moved: 0 };
  const keep = async (text: string | undefined) => {
    if (!dryRun) await writeCursor(context, CURSOR, text, bounds.closing);
  };
  let run: RotateRun | undefined;
  let state: RotateState | undefined;
  try {
    const done = await untilBound(bounds, async () => {
      const owned = await ownedIndex(bounds);
      if (owned === undefined) return true; // a new store
      const begun = rotateRun({ context, bounds, id: owned.id, dryRun, report, parts, errors, maxObjects });
      await recordsNow(begun, [], indexWent); // for Redis' clock
      state = await rotateState(begun);
      begun.note(state);
      run = begun;
      return await rotateOwn(run, state) && await rotatePacks(run, state);
    });
    if (run !== undefined) {
      await moveRest(run);
      run.note(state!);
      await keep(done ? undefined : run.noted);
    }
    return { ...bounds.report(done), objects: run?.looked ?? 0, ...report, ...errors.report() };
  } catch (thrown) {
    // the datastore may not know its cursor any more: the next call begins anew
    if (run) await keep(asTundraError(thrown, WHAT).retryable ? run.noted : undefined).catch(() => {});
    throw thrown;
  }
}

/** The state of a call that a bound has interrupted, if it rotates to the same key; or a new one. */
async function rotateState(run: RotateRun): Promise<RotateState> {
  const state = freshState(run);
  const cursor = run.dryRun ? undefined : await readCursor(run.context, CURSOR, run.bounds.call);
  const last: RotateState | undefined = cursor === undefined ? undefined : JSON.parse(cursor);
  // JSON has no undefined: a listing at its end
  return last?.current === state.current ? Object.assign(state, { own: undefined }, last) : state;
}
