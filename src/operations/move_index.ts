/**
 * moveIndex: gives an archive to the database that its index has moved to.
 * @module
 */
import { checkNames, checkSignal } from "../base/arguments.ts";
import { TundraError } from "../base/errors.ts";
import { type Context, contextOf } from "../core/context.ts";
import { putFormer } from "../core/former.ts";
import { holdsNamed } from "../core/held_versions.ts";
import { idChanged, isConfirmed, newId, ownedByAnother, standAlone, wrongArchive } from "../core/identity.ts";
import {
  databaseOf,
  deleteOwners,
  FIRST,
  listOwners,
  ownerElsewhere,
  putOwner,
  readOwner,
  uuidOf,
} from "../core/owner.ts";
import { told } from "../core/told.ts";
import { replaceId } from "../scripts/id.ts";
import { readState } from "../scripts/read_state.ts";
import type { TundraStore } from "../store_interface.ts";

/** Options of {@linkcode moveIndex}. */
export interface MoveIndexOptions {
  /** Aborts: nothing is half done that a second call would not complete. */
  signal?: AbortSignal;
}

/** The result of {@linkcode moveIndex}. */
export interface MoveIndexReport {
  /** The database that owned the archive until now. */
  from: string;
  /** The database that owns it from now on: this one. */
  to: string;
}

/**
 * Gives the index in this database the archive of the database that it was copied from: call it once after a database
 * has moved to another URL. From then on the ticks of the former database are refused. Stop them before: a tick that is
 * under way goes on to its end.
 *
 * The call may be interrupted and repeated. It changes nothing if this database owns its archive already.
 *
 * Cost: 2 requests to Redis and some 9 to the archive.
 *
 * @param store a store on the database that the index has moved to
 * @returns the former owner of the archive and the present one; both are this database if nothing was to be done
 * @throws {TundraError} `LOST` if there is no index or the archive is not the one it names; `UNAVAILABLE` if servers
 * fail or another database takes the archive over at this moment; `UNSUPPORTED` if the datastore cannot delete;
 * `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { moveIndex } from "@tundra/store/operations";
 *
 * export const move = () => moveIndex(tundraFromEnv());
 * ```
 */
export async function moveIndex(store: TundraStore, options: MoveIndexOptions = {}): Promise<MoveIndexReport> {
  return await told(contextOf("move an index", store), "moveIndex", 0, (context) => moveIndexWith(context, options));
}

async function moveIndexWith(context: Context, options: MoveIndexOptions): Promise<MoveIndexReport> {
  const what = "move an index";
  checkNames(what, options, ["signal"]);
  checkSignal(what, "signal", options.signal);
  const { datastore, index, tqname } = context;
  const call = { signal: options.signal };
  const { id } = await readState(index, [], call);
  const to = index.database;
  const from = id === "" ? "" : databaseOf(id);
  if (!isConfirmed(id)) {
    throw new TundraError(
      "LOST",
      `Cannot move the index tundra:${tqname}:* as it must have a confirmed id: ${id === "" ? "it has none" : id}`,
    );
  }
  if (from === to) return { from, to };
  const moved = newId(context);
  if (!datastore.listKeys) {
    const first = await readOwner(context, FIRST, call);
    if (first === undefined) throw wrongArchive(context);
    if (first !== id && databaseOf(first) !== to) throw ownedByAnother(context, first);
    await putOwner(context, FIRST, moved, call, false);
  } else {
    if (!datastore.deleteKeys) {
      throw new TundraError("UNSUPPORTED", "Cannot move an index as its datastore must be able to delete: it is not");
    }
    await provesItself(context, id, call);
    await putFormer(context, [id], call); // what it has archived stays the archive's own
    const rival = await standAlone(context, moved, [from], call);
    if (rival !== undefined) {
      await deleteOwners(context, [uuidOf(moved)], call);
      throw ownedByAnother(context, rival);
    }
    const { uuids } = await listOwners(context, call);
    await deleteOwners(context, uuids.filter((uuid) => uuid !== uuidOf(moved)), call);
  }
  if (await replaceId(index, id, moved, call) !== moved) throw idChanged();
  return { from, to };
}

/**
 * Throws unless the archive is the one of this id: its owner is there, or that of a move that did not end, or versions.
 */
async function provesItself(
  context: ReturnType<typeof contextOf>,
  id: string,
  call: { signal?: AbortSignal },
): Promise<void> {
  const { uuids } = await listOwners(context, call);
  if (uuids.includes(uuidOf(id))) return;
  const other = await ownerElsewhere(context, uuids, [context.index.database, databaseOf(id)], call);
  if (other !== undefined) throw ownedByAnother(context, other);
  if (uuids.length === 0 && await holdsNamed(context, [], call) !== true) throw wrongArchive(context);
}
