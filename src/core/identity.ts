/**
 * The identity of an index: proof that database, index and archive belong together. An index that was lost (FLUSHDB, a
 * failover to an empty server) must never pass for a new one: every evicted key would count as never archived. A copy
 * of an index, or a second index, must never work on the archive of the first: each would delete the other's objects.
 *
 * The index's id is `<uuid>@<database>`; the archive holds it too (src/core/owner.ts).
 *
 *   id missing, archive unused     a new store: SET id NX new:<id>, put the owner objects, confirm the id
 *   id new:<id>, archive unused    another call began so: put what is missing, confirm the id
 *   id new:rebuild:<id>            LOST: a rebuild makes the records anew, and alone confirms the id
 *   id missing or new, archive used, or an owner of another database
 *                                  LOST: the index was lost, or the archive is another's
 *   id of another database         LOST: this database is a copy
 *   owner object missing           LOST: the archive is another's, or the wrong one
 *
 * Of several indexes that begin at the same moment at most one is confirmed: each puts an object of its own and then
 * lists. It is confirmed if it is alone; else it withdraws, and its next proposal has another uuid. Only the one with
 * the least uuid waits a while for the others to do so.
 * @module
 */
import { sleep } from "../base/abort.ts";
import { TundraError } from "../base/errors.ts";
import { uuid } from "../base/platform.ts";
import { proposeId, replaceId } from "../scripts/id.ts";
import { readState } from "../scripts/read_state.ts";
import type { Context, RequestOptions } from "./context.ts";
import { copiedIndex, rebuildUnderWay } from "./key_errors.ts";
import {
  archivePlace,
  databaseOf,
  deleteOwners,
  FIRST,
  isWithdrawn,
  listOwners,
  nextUuid,
  ownerElsewhere,
  PROPOSED,
  putOwner,
  readOwner,
  REBUILDING,
  uuidOf,
} from "./owner.ts";

/** Rounds, and milliseconds of the first, for which the index with the least uuid waits for others to withdraw. */
const ROUNDS = 4;
const WAIT_MS = 250;

/** Tells if this id was confirmed. Nothing is put or evicted before. */
export function isConfirmed(id: string): boolean {
  return id !== "" && !id.startsWith(PROPOSED);
}

/** Tells if a rebuild makes the records of the index with this id. */
export function isRebuilding(id: string): boolean {
  return id.startsWith(REBUILDING);
}

/**
 * Throws if `id`, as a script has just read it, is not that of an index which this database has with this archive:
 * `LOST`. Returns if it is, if this is a new store, or if another id is there by now (another first user; a replica
 * that was behind): `true` then, ask again.
 *
 * @param begins `true`: another index that begins with this archive is no obstacle, as one of the two will withdraw
 */
export async function checkIdentity(
  context: Context,
  id: string,
  call?: RequestOptions,
  begins = false,
): Promise<boolean> {
  if (id !== "" && databaseOf(id) !== context.index.database) throw copiedIndex(id);
  if (isConfirmed(id)) return false;
  if (isRebuilding(id)) throw rebuildUnderWay(id);
  const obstacle = await obstacleToBegin(context, id, call);
  if (obstacle === undefined || (begins && obstacle.isRival)) return false;
  const now = (await readState(context.index, [], call)).id;
  if (now !== "" && now !== id) return true;
  throw indexLost(context, obstacle.why);
}

/**
 * Gives a new store its id and its archive its owner, or completes what another call began; returns the confirmed id.
 */
export async function establishIdentity(context: Context, seen: string, call?: RequestOptions): Promise<string> {
  const { index } = context;
  let id = seen;
  let mine = "";
  if (id === "") {
    if (await checkIdentity(context, id, call)) {
      id = (await readState(index, [], call)).id; // it may have gone again: the archive is no new one
    } else {
      mine = PROPOSED + newId(context);
      id = await proposeId(index, mine.slice(PROPOSED.length), call);
    }
    if (id === "") throw idChanged();
  }
  if (id !== mine && await checkIdentity(context, id, call, true)) {
    id = (await readState(index, [], call)).id;
    if (!isConfirmed(id)) throw idChanged(); // what was true of the other id need not be of this one
  }
  if (isConfirmed(id)) {
    await checkIdentity(context, id, call);
    return id;
  }
  const proposed = id.slice(PROPOSED.length);
  const other = await claimArchive(context, proposed, call);
  if (other !== undefined) {
    const next = `${PROPOSED}${nextUuid(uuidOf(id))}@${index.database}`;
    // another process may have confirmed it: only what was withdrawn may go
    if (await replaceId(index, id, next, call) !== next) throw idChanged();
    await deleteOwners(context, [uuidOf(id)], call);
    throw indexLost(context, `another index owns this archive, or is beginning to: ${other}`);
  }
  const now = await replaceId(index, id, proposed, call);
  if (now === proposed) return now;
  throw idChanged();
}

/**
 * Throws unless the archive still belongs to this confirmed id: `LOST`. A tick asks once, before it puts, evicts or
 * deletes anything. An owner object that went missing is put again if the archive holds a version that the index names.
 * An index that has never archived anything begins anew with an archive that is unused.
 *
 * Cost: one fetch.
 *
 * @param holdsMine tells if the archive holds such a version; `undefined` if the index has never archived anything
 */
export async function checkOwner(
  context: Context,
  id: string,
  holdsMine: () => Promise<boolean | undefined>,
  call?: RequestOptions,
): Promise<void> {
  const name = ownerNameOf(context, id);
  const owner = await readOwner(context, name, call);
  if (owner === id) return;
  if (owner !== undefined) throw ownedByAnother(context, owner);
  const { uuids, used } = await listOwners(context, call);
  const other = await ownerElsewhere(context, uuids, [context.index.database], call);
  if (other !== undefined) throw ownedByAnother(context, other);
  const holds = await holdsMine();
  if (holds === undefined && used !== true) {
    // as another index may begin with this archive at the same moment
    const begun = PROPOSED + newId(context);
    if (await replaceId(context.index, id, begun, call) !== begun) throw idChanged();
    await establishIdentity(context, begun, call);
  } else if (!holds) {
    throw wrongArchive(context);
  } else if (!await putOwner(context, name, id, call)) {
    throw idChanged();
  }
}

/** The owner object of an id. */
function ownerNameOf(context: Context, id: string): string {
  return context.datastore.listKeys ? uuidOf(id) : FIRST;
}

/** An id of this database with a uuid that was never used. */
export function newId(context: Context): string {
  return `${uuid()}@${context.index.database}`;
}

/** The reason why no index of this database may begin, or have begun, with this archive; `undefined` if one may. */
async function obstacleToBegin(
  context: Context,
  id: string,
  call?: RequestOptions,
): Promise<{ why: string; isRival: boolean } | undefined> {
  const { uuids, used } = await listOwners(context, call);
  if (used) { // nothing else is put before an id is confirmed
    const why =
      "its id is missing, was never confirmed or was put back by hand, and the archive holds what an index has put there";
    return { why, isRival: false };
  }
  // what a datastore that cannot list holds besides its owner is not known: any owner is an obstacle
  const owner = used === undefined
    ? await readOwner(context, FIRST, call)
    : await ownerElsewhere(context, uuids, [context.index.database], call);
  if (owner === undefined || id === PROPOSED + owner) return undefined;
  return databaseOf(owner) === context.index.database
    ? { why: "its id is missing, and the archive has one", isRival: false }
    : { why: `the archive belongs to another index: ${owner}`, isRival: true };
}

/**
 * Puts the owner objects of an id that was proposed; returns another owner that has done so, `undefined` if there is
 * none.
 */
async function claimArchive(context: Context, id: string, call?: RequestOptions): Promise<string | undefined> {
  const { listKeys } = context.datastore;
  const came = await putOwner(context, FIRST, id, call);
  if (!came || !listKeys) {
    const first = await readOwner(context, FIRST, call);
    // absent: an archive that shows what was put a little later
    const mine = first === undefined || first === id || (listKeys && databaseOf(first) === context.index.database);
    if (!mine) return first;
  }
  return !listKeys ? undefined : await standAlone(context, id, [], call);
}

/**
 * Puts the owner object of `id` and returns another owner of the archive; `undefined` if there is none but databases or
 * ids that it replaces, and this database. Other owner objects of this database go only if they are known to be withdrawn:
 * another process may just have confirmed one of them.
 */
export async function standAlone(
  context: Context,
  id: string,
  replaced: string[],
  call?: RequestOptions,
): Promise<string | undefined> {
  const own = uuidOf(id);
  await putOwner(context, own, id, call);
  for (let round = 1;; round++) {
    const { uuids } = await listOwners(context, call);
    // owner objects of this index that a late request has put
    await deleteOwners(context, uuids.filter((each) => isWithdrawn(each, own)), call);
    const others = uuids.filter((each) => each !== own);
    const rival = await ownerElsewhere(context, others, [context.index.database, ...replaced], call);
    if (rival === undefined || round === ROUNDS || uuidOf(rival) < own) return rival;
    await sleep(WAIT_MS * round, call?.signal);
  }
}

/** The error if the id changes while it is worked on. */
export function idChanged(): TundraError {
  return new TundraError("UNAVAILABLE", "Cannot confirm the index's id as it must stay the same meanwhile: it changed");
}

function indexLost(context: Context, why: string): TundraError {
  return new TundraError(
    "LOST",
    `Cannot use the index tundra:${context.tqname}:* of database ${context.index.database} as it must own ` +
      `${archivePlace(context)}: ${why}. ` +
      `If another database or store uses this archive, give this one a tqname, bucket or prefix of its own. ` +
      `If this index was lost (FLUSHDB, an empty database), write no id by hand: rebuild first, by rebuild() of ` +
      `@tundra/store/operations. ` +
      `To begin anew on purpose, use another tqname or prefix, or remove the objects that are there`,
  );
}

/** The error if the archive is another index's. */
export function ownedByAnother(context: Context, owner: string): TundraError {
  return new TundraError(
    "LOST",
    `Cannot archive as ${archivePlace(context)} must belong to this index: its owner is ${owner}. ` +
      `If it was handed over to another database, stop the ticks of this one. If bucket, prefix or tqname are the wrong ` +
      `ones, change them back`,
  );
}

/** The error if the archive holds nothing of this index. */
export function wrongArchive(context: Context): TundraError {
  return new TundraError(
    "LOST",
    `Cannot archive as ${archivePlace(context)} must belong to this index: it holds neither its owner object nor a ` +
      `version that it names. Nothing was archived or evicted. If bucket, prefix or tqname are the wrong ones, change ` +
      `them back`,
  );
}
