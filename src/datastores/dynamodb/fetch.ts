/**
 * Reads of objects: heads, a hundred in a request, and then the parts of those that have some.
 * @module
 */
import { notFound, show, TundraError } from "../../base/errors.ts";
import { digest } from "../../base/platform.ts";
import type { DatastoreCallOptions } from "../datastore.ts";
import { objectPath } from "../names.ts";
import { forEachName } from "../parallel.ts";
import { fromBase64 } from "./base64.ts";
import { getItems, type Got, type Table } from "./batches.ts";
import { damaged, isSame, readHead } from "./heads.ts";
import { headKey, idOf, type Item, type ItemKey } from "./items.ts";

/** Parts of one request, and large objects at once: their bytes are in memory, and of each request its text too. */
const [PARTS_TOGETHER, LARGE_AT_ONCE] = [8, 4];

/** Fetches objects. */
export async function fetchObjects(
  table: Table,
  names: string[],
  options: DatastoreCallOptions | undefined,
): Promise<(Uint8Array | Error)[]> {
  const unique = uniqueNames("fetch", names);
  const heads = await getItems(table, `fetch ${count(unique)}`, unique.map(headKey), options);
  const values = await forEachName(unique, LARGE_AT_ONCE, options, (name, _, own) => valueOf(table, name, heads, own));
  const slots = new Map(unique.map((name, i) => [name, values[i]!]));
  return names.map((name, i) => {
    const value = slots.get(name)!;
    // a name that is asked for again gets a copy
    return value instanceof Error || names.indexOf(name) === i ? value : value.slice();
  });
}

/** Looks for objects. Only keys come back, but DynamoDB bills the whole items. */
export async function hasObjects(
  table: Table,
  names: string[],
  options: DatastoreCallOptions | undefined,
): Promise<(boolean | Error)[]> {
  const unique = uniqueNames("look for", names);
  const heads = await getItems(table, `look for ${count(unique)}`, unique.map(headKey), options, {
    attributes: "p, s",
  });
  return names.map((name) => {
    const head = heads.get(idOf(headKey(name)));
    return head instanceof Error ? head : head !== undefined;
  });
}

/** The names, checked, each once: DynamoDB refuses a batch that names an item twice. */
export function uniqueNames(what: string, names: readonly string[]): string[] {
  for (const name of names) objectPath(what, "", name);
  return [...new Set(names)];
}

/** `"a"` or `7 objects`, for messages. */
export function count(names: readonly string[]): string {
  return names.length === 1 ? show(names[0]) : `${names.length} objects`;
}

/** The value of an object whose head was read; the head is read once more if what it says does not hold. */
async function valueOf(
  table: Table,
  name: string,
  heads: Got,
  options: DatastoreCallOptions,
  isLast = false,
): Promise<Uint8Array | Error> {
  const head = heads.get(idOf(headKey(name)));
  if (head === undefined) return notFound(name);
  if (head instanceof Error) return head;
  const { hash, content } = readHead(name, head);
  const value = content instanceof Uint8Array ? content : await joinParts(table, name, content, options);
  if (value instanceof Uint8Array && isSame(await digest("SHA-256", value), hash)) return value;
  if (!isLast) {
    // it was deleted meanwhile, or bytes were damaged on their way
    const again = await getItems(table, `fetch ${show(name)}`, [headKey(name)], options);
    return await valueOf(table, name, again, options, true);
  }
  if (value instanceof Uint8Array) return damaged(name, "its SHA-256 must be that of its head");
  if (value === "damaged") return damaged(name, "its parts must have as many bytes as its head says");
  const why = "a part is missing: it is being deleted, or a deletion has ended half-way. Delete it again";
  return new TundraError("UNAVAILABLE", `Cannot fetch ${show(name)} as all its parts must be there: ${why}`);
}

/** The parts as one, unless one is missing, or they are damaged: not base64, or not as long as they must be. */
async function joinParts(
  table: Table,
  name: string,
  { parts, bytes }: { parts: ItemKey[]; bytes: number },
  options: DatastoreCallOptions,
): Promise<Uint8Array<ArrayBuffer> | "missing" | "damaged"> {
  const items = await getItems(table, `fetch parts of ${show(name)}`, parts, options, { most: PARTS_TOGETHER });
  for (const key of parts) {
    const part = items.get(idOf(key));
    if (part instanceof Error) throw part;
    if (part?.v?.B === undefined) return "missing";
  }
  const value = new Uint8Array(bytes);
  let at = 0;
  for (const key of parts) {
    const some = bytesOf(items.get(idOf(key)) as Item);
    items.delete(idOf(key));
    if (some === undefined || at + some.length > bytes) return "damaged";
    value.set(some, at);
    at += some.length;
  }
  return at === bytes ? value : "damaged";
}

/** The bytes of a part; `undefined` if they are no base64. */
function bytesOf(part: Item): Uint8Array | undefined {
  try {
    return fromBase64(part.v!.B!);
  } catch {
    return undefined;
  }
}
