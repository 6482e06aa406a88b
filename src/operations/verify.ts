/**
 * verify: reads archive objects and compares them with what Redis says of them.
 * @module
 */
import { checkBoolean, checkNumber } from "../base/arguments.ts";
import { asTundraError, badArgument, show, TundraError } from "../base/errors.ts";
import { type Context, contextOf } from "../core/context.ts";
import { told } from "../core/told.ts";
import { registerUpkeep } from "../core/upkeep.ts";
import type { TundraStore } from "../store_interface.ts";
import { beginOperation, type OperationOptions, type OperationReport } from "./bounds.ts";
import { type KeyError, keyErrors } from "./key_errors.ts";
import { ownedIndex } from "./owned_index.ts";
import { untilBound } from "./until_bound.ts";
import { verifyObjects } from "./verify_objects.ts";
import { verifyRecords } from "./verify_records.ts";
import {
  cursorName,
  type DamagedVersion,
  goToPosition,
  keepPosition,
  type MissingVersion,
  startOf,
  type VerifyRun,
} from "./verify_state.ts";

/** Options of {@linkcode verify}. */
export interface VerifyOptions extends OperationOptions {
  /**
   * The share of objects to verify, drawn by lot: more than 0, at most 1.
   *
   * @default {1}
   */
  share?: number;
  /**
   * The seed of that lot: a whole number from 0 to 4,294,967,295. The same seed draws the same objects.
   *
   * @default {a random one for each run}
   */
  seed?: number;
  /**
   * `true`: keys whose archived version is damaged or missing are marked if they are in Redis, so that a tick archives
   * them again.
   *
   * @default {false}
   */
  repair?: boolean;
  /**
   * Versions and records to verify in this call, at least 1: it ends with the block that passes this number.
   *
   * @default {Infinity}
   */
  maxKeys?: number;
  /**
   * `true`: nothing is repaired, and no position is kept: it is one call, from the beginning.
   *
   * @default {false}
   */
  dryRun?: boolean;
}

/** The report of {@linkcode verify}, of this call. */
export interface VerifyReport extends OperationReport {
  /** Versions that were read. */
  checked: number;
  /** Records whose objects the archive was asked for. */
  records: number;
  /** Versions whose bytes are wrong. A call ends when `damaged` and `missing` are 1,000 together. */
  damaged: DamagedVersion[];
  /** Versions that records name and the archive lacks. */
  missing: MissingVersion[];
  /** The number of those that will be archived again. */
  repaired: number;
  /** The number of keys of which the archive did not say enough; and what ended the call early, with the key "". */
  failed: number;
  /** The first 100 of them. */
  errors: KeyError[];
  /** The seed of the lot. */
  seed: number;
}

const WHAT = "verify";
/** A tick tells so many. */
const MOST_ERRORS = 100;

/**
 * Verifies the archive, all of it or a share drawn by lot, in two parts. It reads objects and blocks, and checks seal,
 * key and version; and if the key was not used since, that the record's fingerprint is that of the bytes. Then it goes
 * through the records and asks the archive if it has the objects that they name. Call it again until `done`.
 *
 * What it finds it reports; with `repair`, keys that are still in Redis are marked. A value that is evicted and damaged
 * cannot be repaired: `versions()` lists what else there is of the key.
 *
 * The position between two calls is kept in Redis for 30 days, one for each `share`, `seed` and `repair`. If
 * redis-server was restarted in between, or the index grows much, the scan of records may leave some out: run it once
 * more.
 *
 * Cost: for each 1,000 objects a listing; for each object a GET, for each pack two ranges and one for each MB; a command
 * of Redis for each six objects, or each MB of a pack. Then 2 commands for each 1,000 records, and a question of 1 byte
 * for each object and pack that they name. Memory does not depend on the size of the archive.
 *
 * @throws {TundraError} `LOST` if the index is gone, is a copy, or does not own the archive; `UNSUPPORTED` if the
 * datastore cannot list; `UNAVAILABLE` if servers fail before anything was verified; `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { verify } from "@tundra/store/operations";
 *
 * export async function scrub(): Promise<void> {
 *   const store = tundraFromEnv();
 *   for (let done = false; !done;) {
 *     const report = await verify(store, { share: 0.1, repair: true });
 *     for (const { key, code, version } of report.damaged) console.error(key, code, version);
 *     done = report.done;
 *   }
 * }
 * ```
 */
export async function verify(store: TundraStore, options: VerifyOptions = {}): Promise<VerifyReport> {
  return await told(contextOf(WHAT, store), WHAT, 0, (context) => verifyArchive(context, options));
}

registerUpkeep({
  async verifyKeys(context, bounds, keys) {
    const report = await verifyArchive(context, { ...bounds, repair: true, maxKeys: keys }, "verify:tick");
    const { subrequests, commands, checked, records, damaged, missing } = report;
    const found = { verified: checked + records, damaged: damaged.length + missing.length };
    return { subrequests, commands, found, errors: errorsOf(report).slice(0, MOST_ERRORS) };
  },
});

/** The failures that a tick tells of a report: each version that is damaged or missing, and what could not be verified. */
function errorsOf({ damaged, missing, errors }: VerifyReport): TundraError[] {
  const again = (repaired: boolean) => repaired ? ". The key is in Redis and will be archived again" : "";
  const keysOf = (key: string) => key === "" ? {} : { keys: [key] };
  return [
    ...damaged.map(({ key, code, message, repaired }) =>
      new TundraError(code, `${message}${again(repaired)}`, keysOf(key))
    ),
    ...missing.map(({ key, object, repaired }) => {
      const must = `hold ${show(object)}, which its record names: it does not`;
      return new TundraError("LOST", `Cannot rely on ${show(key)} as the archive must ${must}${again(repaired)}`, {
        keys: [key],
      });
    }),
    ...errors.map(({ key, code, message }) => new TundraError(code, message, keysOf(key))),
  ];
}

/** Verifies the archive of a context, from the position of this name on if one is given; see {@linkcode verify}. */
async function verifyArchive(context: Context, options: VerifyOptions, own?: string): Promise<VerifyReport> {
  const bounds = beginOperation(WHAT, context, options, ["share", "seed", "repair", "maxKeys", "dryRun"]);
  const { share = 1, seed, repair = false, maxKeys = Infinity, dryRun = false } = options;
  if (typeof share !== "number" || !(share > 0 && share <= 1)) {
    throw badArgument(WHAT, "share", "a number, more than 0 and at most 1", share);
  }
  checkNumber(WHAT, "seed", seed, 0, 2 ** 32 - 1);
  checkNumber(WHAT, "maxKeys", maxKeys, 1, Infinity);
  checkBoolean(WHAT, "repair", repair);
  checkBoolean(WHAT, "dryRun", dryRun);
  if (!context.datastore.listKeys) {
    throw new TundraError("UNSUPPORTED", "Cannot verify as the datastore must be able to list: it is not");
  }
  const name = dryRun ? undefined : own ?? cursorName(share, seed, repair);
  const position = startOf(share, seed);
  const run: VerifyRun = {
    bounds,
    repair: repair && !dryRun,
    maxKeys,
    position,
    errors: keyErrors(),
    damaged: [],
    missing: [],
    present: new Set(),
    answeredAt: { ...position },
    unanswered: 0,
    checked: 0,
    records: 0,
  };
  let begun = false;
  let done = false;
  const keep = async () => {
    if (begun && name !== undefined) await keepPosition(run, name, done);
  };
  try {
    done = await untilBound(bounds, async () => {
      if (await ownedIndex(bounds) === undefined) return true; // a new store
      if (name !== undefined) await goToPosition(run, name);
      run.answeredAt = { ...position };
      begun = true;
      return await verifyParts(run);
    });
  } catch (thrown) {
    Object.assign(position, run.answeredAt);
    if (run.checked + run.records === 0) {
      await keep().catch(() => {});
      throw thrown;
    }
    run.errors.add("", asTundraError(thrown, WHAT)); // what was found must be told
  }
  await keep();
  const { checked, records, damaged, missing } = run;
  const found = { checked: checked + records, damaged: damaged.length, missing: missing.length };
  context.onEvent?.({ type: "verified", ...found });
  const repaired = [...damaged, ...missing].filter((each) => each.repaired).length;
  return {
    checked,
    records,
    damaged,
    missing,
    repaired,
    ...run.errors.report(),
    seed: position.seed,
    ...bounds.report(done),
  };
}

async function verifyParts(run: VerifyRun): Promise<boolean> {
  const { position } = run;
  if (position.part === "objects") {
    if (!await verifyObjects(run)) return false;
    Object.assign(position, { part: "records", page: "", after: "", pack: "", offset: 0 });
  }
  return await verifyRecords(run);
}
