/**
 * Is this the index that belongs to the archive? An index that was lost (FLUSHDB, a failover to an empty server) must
 * never pass for a new one: every evicted key would count as never archived.
 *
 *   id missing, no owner object   a new store: SET id NX new:<uuid>, PUT the owner object, confirm the id
 *   id new:<uuid>                 somebody began so: PUT the owner object (unless it is there), confirm the id
 *   id missing, owner object      the index was lost: LOST
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
 * Throws where `id`, as a script has just read it, is missing and the archive has an owner: `LOST`. Returns where this is
 * a new store, or the id is there after all (another first user; a replica that was behind): `true` then, ask again.
 */
export async function checkIdentity(context: Context, id: string, call?: Call): Promise<boolean> {
  if (id !== "") return false;
  if (await readOwner(context, call) === undefined) return false;
  if ((await look(context.index, [], call)).id !== "") return true;
  throw indexLost(context, "it has no id");
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
  if (owner !== undefined && owner !== proposed) {
    // a late copy of a proposal on an index that was lost must not make it pass for a new one
    const now = (await look(context.index, [], call)).id;
    if (isConfirmed(now)) return now;
    throw indexLost(context, "its id is not the one of the archive's owner");
  }
  if (owner === undefined) {
    await context.datastore.putKey(ownerObject(context.tqname), new TextEncoder().encode(proposed), call);
  }
  id = await confirmId(context.index, proposed, call);
  if (isConfirmed(id)) return id;
  throw new TundraError("UNAVAILABLE", "Cannot confirm the index's id as it must hold still: it changed meanwhile");
}

/** The id in the owner object; `undefined` where there provably is none. */
async function readOwner(context: Context, call?: Call): Promise<string | undefined> {
  const what = "ask the archive for its owner";
  let owner: Uint8Array | Error | undefined;
  try {
    [owner] = await context.datastore.fetchKeys([ownerObject(context.tqname)], call);
  } catch (thrown) {
    throw asTundraError(thrown, what);
  }
  if (owner instanceof Uint8Array) return new TextDecoder().decode(owner);
  if (isNotFound(owner)) return undefined;
  const reason = owner instanceof Error ? owner.message : "no answer";
  throw new TundraError("UNAVAILABLE", `Cannot ${what}: ${reason}`, { cause: owner });
}

function indexLost(context: Context, why: string): TundraError {
  return new TundraError(
    "LOST",
    `Cannot use the index tundra:${context.tqname}:* as it must be the one that its archive belongs to: ${why}, ` +
      `so it was lost; rebuild first`,
  );
}
