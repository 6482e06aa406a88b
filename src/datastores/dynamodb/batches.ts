/**
 * Reads and writes of many items. DynamoDB may leave a part of a batch undone: because of the capacity of the table, or
 * because the reply would be too large. That part is asked for again until it is done, or nothing of it comes.
 * @module
 */
import { show, TundraError } from "../../base/errors.ts";
import { monotonicMs } from "../../base/platform.ts";
import { backOff, RETRY_WITHIN_MS } from "../attempts.ts";
import type { DatastoreCallOptions } from "../datastore.ts";
import { forEachName } from "../parallel.ts";
import { idOf, type Item, type ItemKey, itemKey } from "./items.ts";
import { arrayOf, type Json, objectOf, type Requester } from "./request.ts";

/**
 * The most items of one BatchGetItem and of one BatchWriteItem.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
 */
export const [GET_AT_ONCE, WRITE_AT_ONCE] = [100, 25];

/** A table, and how it is called. */
export interface Table {
  name: string;
  request: Requester;
  concurrency: number;
  retries: number;
}

/** A write of one item. */
export type Write = { PutRequest: { Item: Item & ItemKey } } | { DeleteRequest: { Key: ItemKey } };

/** The results of a batch: an item, `undefined` if it provably is not there, or the error of its request. */
export type Got = Map<string, Item | TundraError>;

/** Groups of at most `most`. */
export function groupsOf<T>(items: readonly T[], most: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / most) }, (_, i) => items.slice(i * most, (i + 1) * most));
}

/**
 * Reads items, consistently; of each only some attributes if `attributes` names them. A failure takes the items of its
 * request only. Each key must be given once.
 */
export async function getItems(
  table: Table,
  what: string,
  keys: readonly ItemKey[],
  options: DatastoreCallOptions | undefined,
  { attributes, most = GET_AT_ONCE }: { attributes?: string; most?: number } = {},
): Promise<Got> {
  const groups = groupsOf(keys, most);
  const got: Got = new Map();
  const results = await forEachName(groups.map(String), table.concurrency, options, async (_, i, own) => {
    const found = new Map<string, Item>();
    await untilDone(table, what, groups[i]!, own.signal, (left) => getSome(table, what, left, found, attributes, own));
    return found;
  });
  for (const [i, result] of results.entries()) {
    if (result instanceof TundraError) { for (const key of groups[i]!) got.set(idOf(key), result); }
    else if (result instanceof Error) throw result;
    else for (const [id, item] of result) got.set(id, item);
  }
  return got;
}

/** One BatchGetItem; returns the keys that it left out. */
async function getSome(
  { name, request }: Table,
  what: string,
  keys: ItemKey[],
  found: Map<string, Item>,
  attributes: string | undefined,
  options: DatastoreCallOptions,
): Promise<ItemKey[]> {
  const Keys = keys.map(({ p, s }) => ({ p, s }));
  const wish = { Keys, ConsistentRead: true, ...(attributes && { ProjectionExpression: attributes }) };
  const read = (reply: Json) => {
    const asked = new Map(keys.map((key) => [idOf(key), key]));
    const unprocessed = objectOf(objectOf(reply.UnprocessedKeys ?? {}, "UnprocessedKeys")[name] ?? {}, "the table");
    const left = arrayOf(unprocessed.Keys ?? [], "Keys").map((key) => takeOut(asked, key, "a key that is left"));
    if (left.length === keys.length) return { left, items: [] };
    // without a list of the table's items nothing says that those which are not in it are absent
    const items = arrayOf(objectOf(reply.Responses, "Responses")[name], "the list of the table's items");
    return { left, items: items.map((item) => [idOf(takeOut(asked, item, "an item")), item as Item] as const) };
  };
  const body = { RequestItems: { [name]: wish } };
  const { left, items } = await request({ what, operation: "BatchGetItem", body, read }, options);
  for (const [id, item] of items) found.set(id, item);
  return left;
}

/** Takes the key of an item out of those that were asked for; an item that was not, or comes twice, is refused. */
function takeOut(asked: Map<string, ItemKey>, item: unknown, what: string): ItemKey {
  const { p, s } = objectOf(item, what) as Partial<ItemKey>;
  const key = itemKey(String(p?.S), String(s?.S));
  if (!asked.delete(idOf(key))) throw new Error(`${what} was not asked for, or comes twice: ${show(key.s.S)}`);
  return key;
}

/** Writes items: those of one request, at most 25. */
export async function writeItems(
  table: Table,
  what: string,
  writes: Write[],
  options: DatastoreCallOptions,
): Promise<void> {
  const { name, request } = table;
  await untilDone(table, what, writes, options.signal, async (left) => {
    const byId = new Map(left.map((write) => [idOf(keyOf(write)), write]));
    const read = (reply: Json) =>
      arrayOf(objectOf(reply.UnprocessedItems, "UnprocessedItems")[name] ?? [], "UnprocessedItems").map((each) => {
        const write = byId.get(idOf(keyOf(objectOf(each, "an item that is left") as unknown as Write)));
        if (write === undefined) throw new Error("an item that is left was not sent");
        return write;
      });
    const body = { RequestItems: { [name]: left } };
    return await request({ what, operation: "BatchWriteItem", body, read }, options);
  });
}

function keyOf(write: Write): ItemKey {
  const { PutRequest, DeleteRequest } = write as {
    PutRequest?: { Item?: Partial<ItemKey> };
    DeleteRequest?: { Key?: Partial<ItemKey> };
  };
  const { p, s } = PutRequest?.Item ?? DeleteRequest?.Key ?? {};
  return itemKey(String(p?.S), String(s?.S));
}

/** Repeats a batch with what is left of it. As long as some of it is done, it goes on; else it waits, and gives up. */
async function untilDone<T>(
  { name, retries }: Table,
  what: string,
  items: readonly T[],
  signal: AbortSignal | undefined,
  send: (items: T[]) => Promise<T[]>,
): Promise<void> {
  let left = [...items];
  let sinceMs = monotonicMs();
  for (let idle = 0; left.length > 0;) {
    const rest = await send(left);
    if (rest.length < left.length) [idle, sinceMs] = [0, monotonicMs()];
    else if (++idle > retries || monotonicMs() - sinceMs > RETRY_WITHIN_MS) {
      const why = `it left ${rest.length} of ${items.length} items undone: the table's capacity may be used up`;
      throw new TundraError("UNAVAILABLE", `Cannot ${what} as DynamoDB must do it in the table ${name}: ${why}`);
    } else await backOff(idle, signal);
    left = rest;
  }
}
