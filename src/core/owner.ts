/**
 * Owner objects: the archive's side of an index's identity.
 *
 *   <tqname>/~owner/first    the index that came first; put only if absent, as far as the archive can do that
 *   <tqname>/~owner/<uuid>   one for each index that owns the archive or tries to; needs a datastore that lists
 *
 * Each holds its index's id, `<uuid>@<database>`. A datastore that cannot list has `first` alone.
 * @module
 */
import { asTundraError, isNotFound, show, TundraError } from "../base/errors.ts";
import { formerPrefix, ownerObject, ownerPrefix } from "../base/keys.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import { listPages } from "../datastores/guarded.ts";
import type { Context } from "./context.ts";

/** The name of the object that the first index puts. */
export const FIRST = "first";

const ASK = "ask the archive for its owner";
const ID = /^[A-Za-z0-9.-]{1,64}@[^\s@]{1,300}$/;

/** The place of an index's archive, as far as the datastore names it; for messages. */
export function archivePlace({ datastore, tqname }: Context): string {
  return `${tqname}/ in the archive${datastore.place === undefined ? "" : ` (${datastore.place})`}`;
}

/** The owners of an archive. */
export interface Owners {
  /** Uuids of the indexes that have put an owner object, `first` aside. */
  uuids: string[];
  /**
   * `true` if it holds anything but owners and former ids, such as versions of keys; `undefined` if this datastore
   * cannot list.
   */
  used: boolean | undefined;
}

/** The beginning of an id that is not confirmed. */
export const PROPOSED = "new:";

/** The beginning of an id whose records are being made of the archive. No other than a rebuild confirms it. */
export const REBUILDING = PROPOSED + "rebuild:";

/** The uuid of an id, confirmed or not. */
export function uuidOf(id: string): string {
  return id.slice(0, id.lastIndexOf("@")).replace(/^new:(rebuild:)?/, "");
}

/** The uuid after this one, if that is withdrawn: <uuid>, <uuid>.1, <uuid>.2 */
export function nextUuid(uuid: string): string {
  const [first, n = 0] = uuid.split(".");
  return `${first}.${Number(n) + 1}`;
}

/** Tells if it was withdrawn for `own`. */
export function isWithdrawn(uuid: string, own: string): boolean {
  const [[first, n = 0], [ownFirst, ownN = 0]] = [uuid.split("."), own.split(".")];
  return first === ownFirst && Number(n) < Number(ownN);
}

/** The name of the database of an id. */
export function databaseOf(id: string): string {
  return id.slice(id.lastIndexOf("@") + 1);
}

/**
 * The id in the owner object `uuid`; `undefined` if there provably is none.
 *
 * @throws {TundraError} `UNAVAILABLE`, also for an object that no Tundra has put
 */
export async function readOwner(
  context: Context,
  uuid: string,
  call?: DatastoreCallOptions,
): Promise<string | undefined> {
  const name = ownerObject(context.tqname, uuid);
  let owner: Uint8Array | Error | undefined;
  try {
    [owner] = await context.datastore.fetchKeys([name], call);
  } catch (thrown) {
    throw unknown(thrown);
  }
  if (owner instanceof Uint8Array) {
    const id = new TextDecoder().decode(owner);
    if (ID.test(id)) return id;
    throw new TundraError(
      "UNAVAILABLE",
      `Cannot ${ASK}: ${show(name)} holds what no index has put there (${owner.length} bytes). ` +
        `Is the endpoint an object store? A web page answers to any name`,
      { retryable: false },
    );
  }
  if (isNotFound(owner)) return undefined;
  throw unknown(owner);
}

/** The error if the archive did not name its owner. */
function unknown(reason: unknown): TundraError {
  const { message, retryable } = asTundraError(reason ?? new Error("no answer"), "fetch it");
  return new TundraError("UNAVAILABLE", `Cannot ${ASK}: ${message}`, { retryable, cause: reason });
}

/**
 * Lists owners, and tells if the archive was used: a page may be short, so only the listing's end proves that it was not.
 * Cost: one listing of an unused archive, two of a used one.
 */
export async function listOwners(context: Context, call?: DatastoreCallOptions): Promise<Owners> {
  const { datastore, tqname } = context;
  if (!datastore.listKeys) return { uuids: [], used: undefined };
  const under = ownerPrefix(tqname);
  try {
    const owners: string[] = [];
    let used = false;
    for await (const names of listPages(datastore, `${tqname}/`, call)) {
      const others = names.filter((name) => !name.startsWith(under));
      owners.push(...names.filter((name) => name.startsWith(under)));
      used = others.some((name) => !name.startsWith(formerPrefix(tqname)));
      if (used) break;
    }
    if (used) {
      owners.splice(0);
      for await (const page of listPages(datastore, under, call)) owners.push(...page);
    }
    return { uuids: owners.map((name) => name.slice(under.length)).filter((uuid) => uuid !== FIRST), used };
  } catch (thrown) {
    throw unknown(thrown);
  }
}

/** The first owner that is of none of these databases, and none of these ids; `undefined` if there is none. */
export async function ownerElsewhere(
  context: Context,
  uuids: string[],
  databases: string[],
  call?: DatastoreCallOptions,
): Promise<string | undefined> {
  for (const uuid of uuids) {
    const owner = await readOwner(context, uuid, call);
    if (owner !== undefined && !databases.includes(databaseOf(owner)) && !databases.includes(owner)) return owner;
  }
  return undefined;
}

/**
 * Puts an owner object. With `ifAbsent` it returns `false` if one is there; an archive without conditional writes
 * replaces it all the same.
 */
export async function putOwner(
  context: Context,
  uuid: string,
  id: string,
  call?: DatastoreCallOptions,
  ifAbsent = true,
): Promise<boolean> {
  const bytes = new TextEncoder().encode(id);
  try {
    return await context.datastore.putKey(ownerObject(context.tqname, uuid), bytes, { ...call, ifAbsent });
  } catch (thrown) {
    const error = asTundraError(thrown, "give the archive its owner");
    if (ifAbsent && error.code === "CONFLICT") return false;
    throw error;
  }
}

/** Deletes owner objects; a datastore that cannot delete keeps them. */
export async function deleteOwners(context: Context, uuids: string[], call?: DatastoreCallOptions): Promise<void> {
  const { datastore, tqname } = context;
  if (uuids.length === 0 || !datastore.deleteKeys) return;
  try {
    await datastore.deleteKeys(uuids.map((uuid) => ownerObject(tqname, uuid)), call);
  } catch (thrown) {
    throw asTundraError(thrown, "take an owner object back");
  }
}
