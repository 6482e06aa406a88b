/**
 * status: the number of objects that each master key has encrypted.
 * @module
 */
import { asTundraError, isNotFound, TundraError } from "../base/errors.ts";
import { packName } from "../base/keys.ts";
import { type Context, contextOf } from "../core/context.ts";
import { packsIn } from "../core/newest_version.ts";
import { told } from "../core/told.ts";
import { beginOperation, type Bounds, type OperationOptions, type OperationReport } from "../operations/bounds.ts";
import { type KeyError, type KeyErrors, keyErrors } from "../operations/key_errors.ts";
import { ownedIndex } from "../operations/owned_index.ts";
import { untilBound } from "../operations/until_bound.ts";
import { readCursor, writeCursor } from "../scripts/cursor.ts";
import type { TundraStore } from "../store_interface.ts";
import { encryptionOf, isOwnObject, noUnit, ownIds, packUnits, type UnitId } from "./units.ts";

/** The report of {@linkcode status}, since the first call of this count. */
export interface EncryptionStatus extends OperationReport {
  /** The number of objects that hold something under each key id. An id that is not listed is needed no more. */
  ids: Record<string, number>;
  /** The number of objects that hold something that is not encrypted. */
  plain: number;
  /** The number of objects of which that cannot be told. While there are some, keep all keys. */
  failed: number;
  /** The first 100 errors of this call; the key is "". */
  errors: KeyError[];
}

interface Counts {
  /** The present key, and Redis' time, microseconds, when the count began. */
  current: string;
  sinceUs: number;
  /** The cursor of the listing's page, and the last object of it that was counted. */
  page: string;
  after: string;
  ids: Record<string, number>;
  plain: number;
  failed: number;
}

const WHAT = "count objects by their key ids";
const CURSOR = "encryption-status";
/** A count may take so long, ms: what comes into the archive meanwhile may be missing in it. */
const COUNT_MS = 12 * 60 * 60 * 1000;
const WAVE = 100;
/** Requests of a pack: its head, its directory, and some for its blocks. */
const PACK_REQUESTS = 4;

/**
 * Counts objects by the ids of the keys that have encrypted them. Call it again until `done`: a count that a bound has
 * interrupted goes on where it ended, unless it began over 12 hours before, or with another `current`. It decrypts no
 * value; of packs it decrypts the directories.
 *
 * What comes into the archive while it counts may be missing. So before you forget a key, be sure that no process used
 * it for new values since the count began: of a key that `keyFor` has answered, wait 12 hours.
 *
 * An object counts once for each id under which it holds something: a pack with values of several tenants counts for
 * each of them. What a sweep keeps between two calls does not count: it is done again without it.
 *
 * Cost: a listing for each 1,000 objects; a request for each object of a key's own; for each pack 2 and one for each MB.
 *
 * @throws {TundraError} `LOST` if the index is gone, is a copy, or does not own the archive; `UNSUPPORTED` if the
 * store's last freezer is not `aesGcmFreezer`'s, or its datastore cannot list; `UNAVAILABLE`, `BAD_ARGUMENT`
 * @example
 * ```ts
 * import type { TundraStore } from "@tundra/store";
 * import { status } from "@tundra/store/encryption";
 *
 * export async function mayForget(store: TundraStore, id: string): Promise<boolean> {
 *   for (;;) {
 *     const { done, ids, failed } = await status(store);
 *     if (done) return !(id in ids) && failed === 0;
 *   }
 * }
 * ```
 */
export async function status(store: TundraStore, options: OperationOptions = {}): Promise<EncryptionStatus> {
  return await told(contextOf(WHAT, store), "encryptionStatus", 0, (context) => statusWith(context, options));
}

async function statusWith(context: Context, options: OperationOptions): Promise<EncryptionStatus> {
  const current = encryptionOf(WHAT, context).idFor();
  const bounds = beginOperation(WHAT, context, options, []);
  if (!context.datastore.listKeys) {
    throw new TundraError("UNSUPPORTED", `Cannot ${WHAT} as the datastore must be able to list: it is not`);
  }
  const counts: Counts = { current, sinceUs: 0, page: "", after: "", ids: Object.create(null), plain: 0, failed: 0 };
  const errors = keyErrors();
  let begun = false;
  const done = await untilBound(bounds, async () => {
    const owned = await ownedIndex(bounds);
    if (owned === undefined) return true; // a new store
    const { ids, ...rest } = JSON.parse(await readCursor(context, CURSOR, bounds.call) ?? "{}") as Partial<Counts>;
    const nowUs = 1_000 * owned.nowMs;
    const { current: of, sinceUs = 0 } = rest;
    if (of === current && nowUs < sinceUs + 1_000 * COUNT_MS) {
      Object.assign(counts, rest);
      Object.assign(counts.ids, ids);
    } else counts.sinceUs = nowUs;
    begun = true;
    return await countAll(bounds, counts, errors);
  }).catch(async (thrown) => {
    // the datastore may not know its cursor any more: the next call begins anew
    const isFinal = !asTundraError(thrown, WHAT).retryable;
    if (begun && isFinal) await writeCursor(context, CURSOR, undefined, bounds.closing);
    throw thrown;
  });
  const next = done ? undefined : JSON.stringify(counts);
  if (begun) await writeCursor(context, CURSOR, next, bounds.closing, COUNT_MS);
  return { ...bounds.report(done), ...reportOf(counts, errors) };
}

function reportOf({ ids, plain, failed }: Counts, errors: KeyErrors) {
  return { ids, plain, failed, errors: errors.report().errors };
}

/** Counts until the end of the listing, `true`, or a bound. */
async function countAll(bounds: Bounds, counts: Counts, errors: KeyErrors): Promise<boolean> {
  const { datastore, tqname } = bounds.context;
  for (let counted = 0;;) {
    if (!bounds.mayBegin(2)) return false;
    const page = await bounds.counted((call) => datastore.listKeys!(`${tqname}/`, counts.page || undefined, call));
    const packs = new Map(packsIn(bounds.context, page.names).map((pack) => [packName(tqname, pack), pack]));
    const waiting = page.names.filter((name) => name > counts.after && (packs.has(name) || isOwnObject(tqname, name)));
    while (waiting.length > 0) {
      const pack = packs.get(waiting[0]!);
      if (!bounds.mayBegin(pack === undefined ? 2 : PACK_REQUESTS)) return false;
      const most = pack === undefined ? Math.min(WAVE, Math.floor(bounds.requestsLeft() / 2)) : 1;
      const next = waiting.findIndex((name, i) => i === most || packs.has(name) !== (pack !== undefined));
      const names = waiting.splice(0, next < 0 ? waiting.length : next);
      const found = pack === undefined ? await ownIds(bounds, names) : [await idsOfPack(bounds, pack)];
      const sets = found.map((ids) => ids instanceof Set ? ids : new Set([ids]));
      for (const id of sets.flatMap((ids) => [...ids])) { // what may pass ends the call, before it is counted
        if (id instanceof Error && asTundraError(id, "read an object").retryable) throw id;
      }
      sets.forEach((ids, i) => note(counts, errors, names[i]!, ids));
      counts.after = names.at(-1)!;
      bounds.progress(counted += names.length);
    }
    Object.assign(counts, { page: page.cursor ?? "", after: "" });
    if (page.cursor === undefined) return true;
  }
}

async function idsOfPack(bounds: Bounds, pack: string): Promise<Set<UnitId | Error>> {
  try {
    const units = await packUnits(bounds, pack);
    return new Set(units && [units.directoryId, ...units.blockIds.values()]);
  } catch (thrown) {
    return new Set([asTundraError(thrown, "read the directory of a pack")]);
  }
}

/** Notes one object under each id that it holds. */
function note(counts: Counts, errors: KeyErrors, name: string, ids: Set<UnitId | Error>): void {
  let failure: Error | undefined;
  for (const id of ids) {
    if (id instanceof Error || id === undefined) failure ??= id ?? noUnit(name);
    else if (id === "") counts.plain++;
    else counts.ids[id] = (counts.ids[id] ?? 0) + 1;
  }
  if (failure === undefined || isNotFound(failure)) return; // a sweep has deleted it meanwhile
  counts.failed++;
  errors.add("", asTundraError(failure, "read an object"));
}
