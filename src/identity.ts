/**
 * Is this the index that belongs to the archive? An index that was lost (FLUSHDB, a failover to an empty server) must
 * never pass for a new one: every evicted key would count as never archived.
 *
 *   id missing, no owner object   a new store: SET id NX new:<uuid>, PUT the owner object, confirm the id
 *   id new:<uuid>                 somebody began so: PUT the owner object (unless it is there), confirm the id
 *   id missing, owner object      the index was lost: LOST
 *   id new:<uuid>, other owner    so it was, and a late proposal came after; the same where there are other objects
 * @module
 */
import { uuid } from "./ambient.ts";
import type { Context } from "./context.ts";
import type { DataStoreCallOptions } from "./datastores/datastore.ts";
import { asTundraError, isNotFound, TundraError } from "./errors.ts";
import { ownerObject } from "./keys.ts";
import { confirmId, proposeId } from "./scripts/identity.ts";
import { look } from "./scripts/look.ts";
import type { CallOptions } from "./upstash/connection.ts";

type Call = CallOptions & DataStoreCallOptions;

const PROPOSED = "new:";

/** Was this id confirmed? Nothing is put or evicted before. */
export function isConfirmed(id: string): boolean {
  return id !== "" && !id.startsWith(PROPOSED);
}

/**
 * Throws where `id`, as a script has just read it, is not the one that the archive's owner was given: `LOST`. Returns
 * where it is, where this is a new store, or where another id is there by now (another first user; a replica that was
 * behind): `true` then, ask again.
 */
export async function checkIdentity(context: Context, id: string, call?: Call): Promise<boolean> {
  if (isConfirmed(id)) return false;
  const owner = await readOwner(context, call);
  if (owner === undefined || await isHalfBegun(context, id, owner, call)) return false;
  const now = (await look(context.index, [], call)).id;
  if (now !== "" && now !== id) return true;
  throw indexLost(context, id);
}

/** Gives a new store its id and its archive its owner, or ends what somebody began so; returns the confirmed id. */
export async function establishIdentity(context: Context, seen: string, call?: Call): Promise<string> {
  let id = seen;
  if (id === "") {
    await checkIdentity(context, id, call);
    id = await proposeId(context.index, uuid(), call);
  }
  if (isConfirmed(id)) return id;
  const proposed = id.slice(PROPOSED.length);
  const owner = await readOwner(context, call);
  if (owner === undefined) {
    await context.datastore.putKey(ownerObject(context.tqname), new TextEncoder().encode(proposed), call);
  } else if (!await isHalfBegun(context, id, owner, call)) {
    const now = (await look(context.index, [], call)).id;
    if (isConfirmed(now)) return now;
    throw indexLost(context, id);
  }
  id = await confirmId(context.index, proposed, call);
  if (isConfirmed(id)) return id;
  throw new TundraError("UNAVAILABLE", "Cannot confirm the index's id as it must hold still: it changed meanwhile");
}

/**
 * Is `id` the proposal that this owner object was put for, and not confirmed yet? A late copy of a proposal, or a Redis
 * rolled back to its first minute, must not make a lost index pass for a new one: nothing else is put before the
 * confirmation, so an archive that holds more than its owner has had one.
 */
async function isHalfBegun(context: Context, id: string, owner: string, call?: Call): Promise<boolean> {
  if (id !== PROPOSED + owner) return false;
  const { datastore, tqname } = context;
  if (!datastore.listKeys) return true;
  try {
    const { names } = await datastore.listKeys(`${tqname}/`, undefined, call);
    return names.every((name) => name === ownerObject(tqname));
  } catch (thrown) {
    throw asTundraError(thrown, "ask the archive what it holds");
  }
}

/** The id in the owner object; `undefined` where there provably is none. */
async function readOwner(context: Context, call?: Call): Promise<string | undefined> {
  const what = "ask the archive for its owner";
  let owner: Uint8Array | Error | undefined;
  try {
    [owner] = await context.datastore.fetchKeys([ownerObject(context.tqname)], call);
  } catch (thrown) {
    owner = new Error(asTundraError(thrown, what).message); // whatever it is: not known to be absent
  }
  if (owner instanceof Uint8Array) return new TextDecoder().decode(owner);
  if (isNotFound(owner)) return undefined;
  const reason = owner instanceof Error ? owner.message : "no answer";
  throw new TundraError("UNAVAILABLE", `Cannot ${what}: ${reason}`, { cause: owner });
}

function indexLost(context: Context, id: string): TundraError {
  const why = id === "" ? "it has no id" : "its id was never confirmed, and the archive's was";
  return new TundraError(
    "LOST",
    `Cannot use the index tundra:${context.tqname}:* as it must be the one that its archive belongs to: ${why}, ` +
      `so it was lost; rebuild first`,
  );
}
