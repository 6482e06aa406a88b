/**
 * ownedIndex: an operation that relies on the archive begins only if the archive names this index as its owner.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { checkIdentity, isConfirmed, ownedByAnother, wrongArchive } from "../core/identity.ts";
import { FIRST, readOwner, uuidOf } from "../core/owner.ts";
import { type KeyState, readState } from "../scripts/read_state.ts";
import type { Bounds } from "./bounds.ts";

/** The index as an operation finds it. */
export interface OwnedIndex {
  id: string;
  /** Redis' time, ms since 1970. */
  nowMs: number;
  /** The states of the keys that were asked for. */
  states: KeyState[];
}

/**
 * Reads the id, and the states of some keys; `undefined` for a new store: its archive holds nothing. It writes nothing.
 *
 * Cost: one request, 3 billable commands, 4 with keys; and the owner object.
 *
 * @throws {TundraError} `LOST` if the index was lost, is another database's, or the archive is not its own
 */
export async function ownedIndex(bounds: Bounds, keys: string[] = []): Promise<OwnedIndex | undefined> {
  const { context, call } = bounds;
  let found = await readState(context.index, keys, call);
  if (await checkIdentity(context, found.id, call)) found = await readState(context.index, keys, call);
  await checkIdentity(context, found.id, call);
  if (!isConfirmed(found.id)) return undefined;
  await checkArchive(bounds, found.id);
  return found;
}

/** Throws unless the archive names this confirmed id as its owner: `LOST`. Cost: the owner object. */
export async function checkArchive({ context, counted }: Bounds, id: string): Promise<void> {
  const name = context.datastore.listKeys ? uuidOf(id) : FIRST;
  const owner = await counted((call) => readOwner(context, name, call));
  if (owner !== id) throw owner === undefined ? wrongArchive(context) : ownedByAnother(context, owner);
}

/** The error if an id was lost, or is another one, since the operation began. */
export function indexWent(id: string): TundraError {
  const must = `stay the same during the call: current value is ${id === "" ? "none" : id}`;
  return new TundraError("LOST", `Cannot go on as the index's id must ${must}`);
}
