/**
 * The beginning of a rebuild: may this store rebuild its index of this archive? Then its id says that a rebuild is under
 * way, and the archive changes hands, before any record is made. Each step may be interrupted and repeated.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { copyingPrefix } from "../base/keys.ts";
import type { Context } from "../core/context.ts";
import { putFormer } from "../core/former.ts";
import { idChanged, isConfirmed, isRebuilding, newId, ownedByAnother, standAlone } from "../core/identity.ts";
import { copiedIndex } from "../core/key_errors.ts";
import {
  archivePlace,
  databaseOf,
  deleteOwners,
  FIRST,
  listOwners,
  ownerElsewhere,
  PROPOSED,
  putOwner,
  readOwner,
  REBUILDING,
  uuidOf,
} from "../core/owner.ts";
import type { Datastore } from "../datastores/datastore.ts";
import { proposeId, replaceId } from "../scripts/id.ts";
import { raise } from "../scripts/raise.ts";
import { readState } from "../scripts/read_state.ts";
import { readRebuild, type RebuildState } from "../scripts/rebuild.ts";
import type { Bounds } from "./bounds.ts";

/** The wishes of the caller. */
export interface Wishes {
  takeOver: boolean;
  /** The archive is copied from this datastore first. */
  source: Datastore | undefined;
}

/** The findings before anything is changed. */
export interface Situation {
  /** The index's id. */
  id: string;
  /** A rebuild that is under way. */
  state: RebuildState | undefined;
  /** There is nothing to rebuild: the index is whole, or the archive has never been used. */
  nothing: boolean;
  /** The ids of the archive's owner objects. */
  owners: string[];
}

/** The id that a rebuild confirms. */
export function idToBe(id: string): string {
  return id.slice(REBUILDING.length);
}

/** Looks at index and archive; throws if this store must not rebuild. Changes nothing. */
export async function examine(bounds: Bounds, wishes: Wishes): Promise<Situation> {
  const { context } = bounds;
  const { datastore, index } = context;
  if (!datastore.listKeys || !datastore.deleteKeys) {
    throw new TundraError(
      "UNSUPPORTED",
      "Cannot rebuild as its datastore must be able to list and to delete: it is not",
    );
  }
  const { id } = await readState(index, [], bounds.call);
  if (id !== "" && databaseOf(id) !== index.database) throw copiedIndex(id);
  const found = { id, state: undefined, nothing: false, owners: [] };
  if (isConfirmed(id)) {
    const other = await otherOwner(bounds);
    if (other !== undefined) throw ownedByAnother(context, other);
    return { ...found, nothing: true };
  }
  if (isRebuilding(id)) {
    const state = await readRebuild(context, id, bounds.call);
    if (state.at !== "") {
      if (!wishes.source && JSON.parse(state.at).stage === "copy") throw incompleteCopy(context);
      if (await ownerOf(bounds, idToBe(id)) !== undefined) return { ...found, state };
      // an earlier proposal, which Redis has forgotten, has deleted its owner object: it puts that again
    }
  }
  const { owners, used } = await ownersOf(bounds, context);
  const elsewhere = owners.filter((owner) => databaseOf(owner) !== index.database);
  const isCopy = used === true && (await copyMarks(bounds)).length > 0;
  if (isCopy && !wishes.source) throw incompleteCopy(context);
  if (wishes.source) {
    if (elsewhere.length > 0 || (used && !isCopy)) throw usedArchive(context, elsewhere[0]);
  } else {
    if (!used && elsewhere.length === 0 && !isRebuilding(id)) return { ...found, nothing: true };
    const owner = elsewhere[0] ?? (owners.length > 0 ? undefined : await firstElsewhere(bounds));
    if (owner !== undefined && !wishes.takeOver) throw notTakenOver(context, owner);
  }
  return { ...found, owners };
}

/** The ids of an archive's owner objects. */
async function ownersOf(
  { counted }: Bounds,
  context: Context,
): Promise<{ owners: string[]; used: boolean | undefined }> {
  const { uuids, used } = await counted((call) => listOwners(context, call));
  const owners: string[] = [];
  for (const uuid of uuids) {
    const owner = await counted((call) => readOwner(context, uuid, call));
    if (owner !== undefined) owners.push(owner);
  }
  return { owners, used };
}

/** The id of the index that came first, if it is of another database; "no index" if nothing says whose it is. */
async function firstElsewhere({ context, counted }: Bounds): Promise<string | undefined> {
  const first = await counted((call) => readOwner(context, FIRST, call));
  if (first === undefined) return "no index";
  return databaseOf(first) === context.index.database ? undefined : first;
}

async function otherOwner({ context, counted }: Bounds): Promise<string | undefined> {
  const { uuids } = await counted((call) => listOwners(context, call));
  return await counted((call) => ownerElsewhere(context, uuids, [context.index.database], call));
}

/** Throws unless the archive is this index's still, and no other's. */
export async function checkStillOwner(bounds: Bounds, id: string): Promise<void> {
  if (await ownerOf(bounds, id) === undefined) throw ownedByAnother(bounds.context, "no index");
}

/** The id if the archive says that it is its owner, `undefined` if no owner is of another database; else it throws. */
async function ownerOf(bounds: Bounds, id: string): Promise<string | undefined> {
  const { context } = bounds;
  const owner = await bounds.counted((call) => readOwner(context, uuidOf(id), call));
  const other = owner === id ? undefined : owner ?? await otherOwner(bounds);
  if (other !== undefined) throw ownedByAnother(context, other);
  return owner;
}

/** Names of the objects that say that the archive is a copy which is not complete. */
export async function copyMarks({ context, counted }: Bounds): Promise<string[]> {
  const prefix = copyingPrefix(context.tqname);
  return (await counted((call) => context.datastore.listKeys!(prefix, undefined, call))).names;
}

/** Begins a rebuild, or completes the beginning of one; `start`: where it begins. Returns its state. */
export async function beginRebuild(
  bounds: Bounds,
  { id: seen, owners }: Situation,
  { source, takeOver }: Wishes,
  start: string,
): Promise<RebuildState> {
  const { call, context } = bounds;
  const { datastore, index } = context;
  const proposed = REBUILDING + newId(context);
  const id = isRebuilding(seen)
    ? seen
    : seen === ""
    ? await proposeId(index, proposed.slice(PROPOSED.length), call)
    : await replaceId(index, seen, proposed, call);
  if (!isRebuilding(id) || databaseOf(id) !== index.database) throw idChanged();
  const own = idToBe(id);
  const before = owners.filter((owner) => owner !== own);
  const origin = source ? (await ownersOf(bounds, { ...context, datastore: source })).owners : [];
  await bounds.counted((each) => putFormer(context, [...before, ...origin], each));
  if (source) {
    const mark = copyingPrefix(context.tqname) + uuidOf(own);
    await bounds.counted((each) => datastore.putKey(mark, new TextEncoder().encode(own), each));
    await bounds.counted((each) => putOwner(context, FIRST, own, each));
  }
  const rival = await bounds.counted((each) => standAlone(context, own, takeOver ? before : [], each));
  if (rival !== undefined) {
    const withdrawn = PROPOSED + newId(context);
    if (await replaceId(index, id, withdrawn, call) !== withdrawn) throw idChanged();
    await bounds.counted((each) => deleteOwners(context, [uuidOf(own)], each));
    throw ownedByAnother(context, rival);
  }
  await bounds.counted((each) => deleteOwners(context, before.map(uuidOf), each));
  const adds = { objects: 0, packs: 0, copied: 0 };
  return await raise(index, { id, at: "", next: start, again: "", adds }, [], call);
}

function notTakenOver(context: Context, owner: string): TundraError {
  return new TundraError(
    "LOST",
    `Cannot rebuild as ${archivePlace(context)} must belong to database ${context.index.database}: its owner is ` +
      `${owner}. If this database is to take its place, stop the ticks of that one and pass { takeOver: true }: from ` +
      `then on it is refused. If this store is to work on a copy, give it a prefix or bucket of its own and pass { from }`,
  );
}

function usedArchive(context: Context, owner: string | undefined): TundraError {
  return new TundraError(
    "LOST",
    `Cannot copy an archive as ${archivePlace(context)} must be unused: ` +
      `${owner === undefined ? "it holds what an index has put there" : `its owner is ${owner}`}. ` +
      `To rebuild the index of what it holds, leave out { from }`,
  );
}

function incompleteCopy(context: Context): TundraError {
  return new TundraError(
    "LOST",
    `Cannot rebuild as ${archivePlace(context)} must be complete: it is being copied from another one. ` +
      `Pass { from } again until the report says done`,
  );
}
