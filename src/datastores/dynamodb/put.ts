/**
 * Puts of objects: one item, or parts and then the head. No object is ever replaced by another.
 * @module
 */
import { nameTaken, show } from "../../base/errors.ts";
import { digest, hex, nonce } from "../../base/platform.ts";
import type { PutOptions } from "../datastore.ts";
import { checkValue, objectPath } from "../names.ts";
import { inParallel } from "../parallel.ts";
import { toBase64 } from "./base64.ts";
import { groupsOf, type Table, writeItems } from "./batches.ts";
import { headKey, type Item, type ItemKey, noteKey, noteWord, partKeys, partRoom, roomIn } from "./items.ts";
import { CONDITION_FAILED } from "./refusals.ts";

/** Parts of one request, and requests at once: 3 MB each are in memory as bytes, text, and text of a request. */
const [PARTS_TOGETHER, REQUESTS_AT_ONCE] = [8, 2];

/** Stores an object, durably. */
export async function putObject(
  table: Table,
  name: string,
  value: Uint8Array,
  options: PutOptions = {},
): Promise<true> {
  const what = `put ${show(name)}`;
  objectPath("put", "", name);
  checkValue(what, value);
  options.signal?.throwIfAborted();
  const hash = await digest("SHA-256", value);
  // tells this call's own attempts from others' puts
  const head: Item & ItemKey = { ...headKey(name), h: { B: toBase64(hash) }, t: { S: nonce() } };
  if (value.length <= roomIn(head)) {
    if (value.length > 0) head.v = { B: toBase64(value) };
  } else {
    const count = await putParts(table, name, value, hash, options);
    Object.assign(head, { n: { S: String(count) }, z: { S: String(value.length) } });
  }
  const isMine = options.ifAbsent ? "t = :t" : "t = :t OR h = :h";
  const body = {
    TableName: table.name,
    Item: head,
    ConditionExpression: `attribute_not_exists(p) OR ${isMine}`,
    ExpressionAttributeValues: { ":t": head.t, ...(!options.ifAbsent && { ":h": head.h }) },
  };
  const read = (_: unknown, code: string) => code !== CONDITION_FAILED;
  const answers = [CONDITION_FAILED];
  if (!await table.request({ what, operation: "PutItem", body, answers, read }, options)) throw nameTaken(name);
  return true;
}

/** Puts the parts of an object, and before them the note by which a deletion finds them; returns their number. */
async function putParts(
  table: Table,
  name: string,
  bytes: Uint8Array,
  hash: Uint8Array,
  options: PutOptions,
): Promise<number> {
  const what = `put a part of ${show(name)}`;
  const size = partRoom(name);
  const count = Math.ceil(bytes.length / size);
  const note = {
    TableName: table.name,
    Key: noteKey(name),
    UpdateExpression: "ADD b :b",
    ExpressionAttributeValues: { ":b": { SS: [noteWord(hash, count)] } },
  };
  await table.request({ what, operation: "UpdateItem", body: note, read: () => true }, options);
  const parts = partKeys(name, hex(hash), count).map((key, i) => ({ key, from: i * size }));
  await inParallel(groupsOf(parts, PARTS_TOGETHER), REQUESTS_AT_ONCE, async (group) => {
    const writes = group.map(({ key, from }) => ({
      PutRequest: { Item: { ...key, v: { B: toBase64(bytes.subarray(from, from + size)) } } },
    }));
    await writeItems(table, what, writes, options);
  });
  return count;
}
