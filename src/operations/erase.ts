/**
 * erase: removes every trace of keys from the archive at once, and proves it.
 * @module
 */
import { checkBoolean, checkNames, checkNumber } from "../base/arguments.ts";
import { badArgument, TundraError } from "../base/errors.ts";
import { checkKeys } from "../base/keys.ts";
import { checkMatch, globOf } from "../base/patterns.ts";
import { type Context, contextOf } from "../core/context.ts";
import { told } from "../core/told.ts";
import type { TundraStore } from "../store_interface.ts";
import { beginOperation, type OperationOptions, type OperationReport } from "./bounds.ts";
import { eraseOwn, erasePacks, proveObjects, provePacks, proveValues } from "./erase_archive.ts";
import { archiveRemovals, proveKeys, removeKeys, wereWritten } from "./erase_redis.ts";
import {
  anew,
  begin,
  dropEraseState,
  type EraseRun,
  type EraseState,
  type ErasureProof,
  noteErased,
  readEraseState,
  saveEraseState,
  STEPS,
} from "./erase_run.ts";
import { type KeyError, keyErrors } from "./key_errors.ts";
import { ownedIndex } from "./owned_index.ts";
import { NO_LOOK } from "./records_now.ts";
import { untilBound } from "./until_bound.ts";

const DRY_STEPS = STEPS.filter((step) => /^(packed )?(values|tombstones)$/.test(step));

/** Options of {@linkcode erase}. */
export interface EraseOptions extends OperationOptions {
  /**
   * Keys and versions to look at in this call, at least 1: it ends after the batch of keys, or the object, that passes
   * this number. Each of the steps looks at all of them.
   *
   * @default {Infinity}
   */
  maxKeys?: number;
  /**
   * `true`: nothing is changed; the report says what would be erased from the archive. It is one call, from the
   * beginning.
   *
   * @default {false}
   */
  dryRun?: boolean;
}

/** The report of {@linkcode erase}. */
export interface EraseReport extends OperationReport {
  /** Keys of which something was erased from the archive, by this call and the unfinished ones before it. */
  erased: number;
  /** Versions erased, tombstones included. */
  versions: number;
  /** Objects deleted, packs included. */
  objects: number;
  /** Versions of other keys that were moved out of packs. */
  moved: number;
  /**
   * Keys whose removal is not archived yet, of those that were looked at: they are under another tick's lease, or
   * delayed, or a bound was reached.
   */
  waiting: number;
  /** The proof, once `done`. */
  proof: ErasureProof | undefined;
  /** The number of keys that could not be erased. */
  failed: number;
  /**
   * At most 100 of them: `CONFLICT` for keys that were written meanwhile, `BAD_ARGUMENT` for keys that match and are no
   * UTF-8, which their application must delete; `CORRUPT` and `UNSUPPORTED` for packs and objects that cannot be read,
   * and what to do with them: until then the rest is erased, and `done` stays `false`; `UNSUPPORTED` for keys whose
   * record is of another version of Tundra, and packs that another key's may name; `UNAVAILABLE` for packs that another
   * erasure has disturbed: the next call goes on with them; and for keys that were removed at a time that is still to
   * come, as Redis' clock went back: call it again after that time.
   */
  errors: KeyError[];
}

/**
 * Erases keys, for a person's right to be forgotten: `del`, also of keys that no tick has seen, then every version,
 * orphan and tombstone in the archive, in whichever object it lies. Packs that hold some are rewritten and deleted at
 * once. Then it lists what is left, and reads all directories: the proof. A key that was written meanwhile is removed
 * once more. Call it again until `done`, as long as `failed` is 0: what it reports as failed takes a person. A proof that
 * takes more than 12 hours begins anew.
 *
 * It does not wait 48 hours, as sweeps do. So if Redis goes back to before it, erased keys are `LOST` instead of absent,
 * and `ensureKs` looks up other keys of those packs in younger ones. A versioned bucket keeps what is deleted.
 *
 * Cost: that of `del` and of ticks that archive the removals; with `match` three scans of the database, a command for
 * each 1,000 names; a listing for each key (for `match` one for each 1,000 objects), three times; 2 requests for each
 * pack, three times; for each pack that holds some a request for each MB, a PUT, a deletion, and 2 requests to Redis of
 * 7 commands, twice if it holds both values and tombstones of theirs.
 *
 * @param keys keys, or `{ match }`: a pattern of Redis' `SCAN`
 * @throws {TundraError} `LOST` if the index is gone, is a copy, or does not own the archive; `UNSUPPORTED` if the
 * datastore cannot list, delete and read ranges; `UNAVAILABLE`, `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { erase } from "@tundra/store/operations";
 *
 * export async function forget(user: string) {
 *   const store = tundraFromEnv();
 *   for (;;) {
 *     const { done, proof, failed, errors } = await erase(store, { match: `user:${user}:*` });
 *     if (done) return proof;
 *     if (failed > 0) throw new Error(errors[0]!.message);
 *   }
 * }
 * ```
 */
export async function erase(
  store: TundraStore,
  keys: readonly string[] | { match: string },
  options: EraseOptions = {},
): Promise<EraseReport> {
  return await told(contextOf("erase keys", store), "erase", 0, (context) => eraseWith(context, keys, options));
}

async function eraseWith(
  context: Context,
  keys: readonly string[] | { match: string },
  options: EraseOptions,
): Promise<EraseReport> {
  const what = "erase keys";
  const { maxKeys = Infinity, dryRun = false } = options;
  const bounds = beginOperation(what, context, options, ["maxKeys", "dryRun"], { least: 30, closing: 6 });
  checkNumber(what, "maxKeys", maxKeys, 1, Infinity);
  checkBoolean(what, "dryRun", dryRun);
  const chosen = chosenKeys(what, keys);
  const { datastore } = context;
  if (!datastore.listKeys || !datastore.deleteKeys) {
    throw new TundraError("UNSUPPORTED", "Cannot erase as the datastore must be able to list and delete: it is not");
  }
  const report = { versions: 0, objects: 0, moved: 0, waiting: 0 };
  const errors = keyErrors();
  const run: EraseRun = {
    ...{ ...chosen, context, bounds, dryRun, maxKeys, looked: 0, id: "" },
    ...{ report, erased: new Set(), errors, reported: new Set() },
    ...NO_LOOK,
  };
  let begun: EraseState | undefined;
  const done = await untilBound(bounds, async () => {
    const state = await readEraseState(run);
    const owned = await ownedIndex(bounds);
    run.id = owned?.id ?? "";
    begun = state;
    if (await wereWritten(run, state)) anew(state);
    return owned === undefined ? await removeFirst(run, state) : await goOn(run, state);
  });
  const erased = begun ? await noteErased(run, begun) : 0;
  if (begun) await (done ? dropEraseState(run) : saveEraseState(run, begun));
  const proof = done && !dryRun ? begun?.proof : undefined;
  return { ...bounds.report(done), erased, ...report, proof, ...errors.report() };
}

/** In a new store keys may be in Redis alone. `false` once something was archived. */
async function removeFirst(run: EraseRun, state: EraseState): Promise<boolean> {
  if (run.dryRun) return true;
  return await goOn(run, state, ["removal", "ticks"]) && await ownedIndex(run.bounds) === undefined;
}

/** Step after step, until the end, `true`, or a bound. What the proof finds is erased in the next call. */
async function goOn(run: EraseRun, state: EraseState, steps = run.dryRun ? DRY_STEPS : STEPS): Promise<boolean> {
  const acts: Record<EraseState["step"], () => Promise<boolean>> = {
    removal: () => removeKeys(run, state),
    ticks: () => archiveRemovals(run, state),
    values: () => eraseOwn(run, state, "values"),
    "packed values": () => erasePacks(run, state, "values"),
    "proof of values": () => proveValues(run, state),
    tombstones: () => eraseOwn(run, state, "tombstones"),
    "packed tombstones": () => erasePacks(run, state, "tombstones"),
    "proof of packs": () => provePacks(run, state),
    "proof of objects": () => proveObjects(run, state),
    "proof of keys": () => proveKeys(run, state),
  };
  for (let next = Math.max(0, steps.indexOf(state.step)); next < steps.length; next++) {
    if (state.step !== steps[next]) Object.assign(state, begin(steps[next]!));
    if (!await acts[state.step]()) return false;
  }
  return true;
}

function chosenKeys(what: string, keys: unknown): Pick<EraseRun, "keys" | "match" | "isChosen"> {
  if (Array.isArray(keys)) {
    const list = checkKeys(what, [keys]);
    const set = new Set(list);
    return { keys: list.toSorted(), match: undefined, isChosen: (key) => set.has(key) };
  }
  checkNames(what, keys, ["match"]);
  const { match } = keys as { match: unknown };
  checkMatch(what, match);
  if (typeof match !== "string") throw badArgument(what, "match", "a pattern of keys", match);
  return { keys: undefined, match, isChosen: globOf(match) };
}
