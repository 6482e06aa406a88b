/**
 * Listings, in ascending order: one Query if the prefix names a key's objects, else one for each shard, merged.
 * @module
 */
import { badArgument, show } from "../../base/errors.ts";
import type { DatastoreCallOptions, ListedPage } from "../datastore.ts";
import { checkListed } from "../names.ts";
import { inParallel } from "../parallel.ts";
import type { Table } from "./batches.ts";
import { isNote, type ItemKey, itemKey, nameOfNote, shardsUnder } from "./items.ts";
import { arrayOf, type Json, objectOf } from "./request.ts";

/** The most items of a page of one shard, if that is all there is, and if there are others. */
const [ALONE, AMONG_OTHERS] = [1000, 64];

/** One page of names that begin with `prefix`, and the cursor of the next one. */
export async function listObjects(
  table: Table,
  prefix: string,
  cursor: string | undefined,
  options: DatastoreCallOptions = {},
): Promise<ListedPage> {
  checkListed(prefix);
  if (cursor !== undefined && !(cursor.startsWith(prefix) && /^[\w.~/-]+!?$/.test(cursor))) {
    throw badArgument("list objects", "the cursor", "one that a page of the same listing had", cursor);
  }
  const shards = shardsUnder(prefix);
  const limit = shards.length === 1 ? ALONE : AMONG_OTHERS;
  const unfinished: string[] = [];
  for (let from = cursor;;) {
    const start = from;
    const pages = await inParallel(
      shards,
      table.concurrency,
      (shard) => queryShard(table, { shard, prefix, from: start, limit }, options),
    );
    // what comes behind the end of a page is not complete: another shard may have more before it
    const ends = pages.flatMap(({ end }) => end ?? []);
    const end = ends.sort()[0];
    const keys = pages.flatMap(({ keys }) => keys).filter((key) => end === undefined || key <= end);
    const names = keys.filter((key) => !isNote(key)).sort();
    unfinished.push(...withoutHead(keys, start));
    const page = { names, ...(unfinished.length > 0 && { unfinished }) };
    if (end === undefined) return page;
    if (names.length > 0) return { ...page, cursor: end };
    from = end; // only notes: a page without names could pass for the end
  }
}

/** The names of notes without an object. A note comes right behind its object's head: that may end the page before. */
function withoutHead(keys: readonly string[], from: string | undefined): string[] {
  const heads = new Set(keys).add(from ?? "");
  return keys.filter(isNote).map(nameOfNote).filter((name) => !heads.has(name)).sort();
}

/** A page of one shard: its sort keys, in ascending order, and the last one if more follow. */
interface ShardPage {
  keys: string[];
  end: string | undefined;
}

async function queryShard(
  { name, request }: Table,
  { shard, prefix, from, limit }: { shard: string; prefix: string; from: string | undefined; limit: number },
  options: DatastoreCallOptions,
): Promise<ShardPage> {
  const under = prefix === "" ? "" : " AND begins_with(s, :s)";
  const body = {
    TableName: name,
    ConsistentRead: true,
    KeyConditionExpression: `p = :p${under}`,
    ExpressionAttributeValues: { ":p": { S: shard }, ...(under && { ":s": { S: prefix } }) },
    ProjectionExpression: "s",
    Limit: limit,
    ...(from !== undefined && { ExclusiveStartKey: itemKey(shard, from) }),
  };
  const read = (reply: Json): ShardPage => {
    let last = from;
    const keys = arrayOf(reply.Items, "Items").map((item) => last = sortKeyOf(item, prefix, last));
    if (reply.LastEvaluatedKey === undefined || reply.LastEvaluatedKey === null) return { keys, end: undefined };
    const end = sortKeyOf(reply.LastEvaluatedKey, prefix, keys.length > 0 ? undefined : last);
    if (keys.length > 0 && end < last!) throw new Error("LastEvaluatedKey comes before the last item");
    return { keys, end };
  };
  const what = `list objects under ${show(prefix)}`;
  return await request({ what, operation: "Query", body, read }, options);
}

/** The sort key of an item; a foreign one, or one out of order, was not understood: others may be missing beside it. */
function sortKeyOf(item: unknown, prefix: string, after: string | undefined): string {
  const key = (objectOf(item, "an item") as Partial<ItemKey>).s?.S;
  if (typeof key !== "string" || !key.startsWith(prefix)) throw new Error(`an item begins otherwise: ${show(key)}`);
  if (after !== undefined && key <= after) throw new Error(`an item is out of order: ${show(key)}`);
  return key;
}
