/**
 * Puts of objects: one item, or parts and then the head. No object is ever replaced by another.
 * @module
 */
import { nameTaken, show } from "../../base/errors.ts";
import { digest, nonce } from "../../base/platform.ts";
import { closingOptions } from "../attempts.ts";
import type { PutOptions } from "../datastore.ts";
import { checkValue, objectPath } from "../names.ts";
import { inParallel } from "../parallel.ts";
import { fromBase64, toBase64 } from "./base64.ts";
import { getItems, groupsOf, type Table, WRITE_AT_ONCE, writeItems } from "./batches.ts";
import { isSame } from "./heads.ts";
import {
  headKey,
  idOf,
  type Item,
  type ItemKey,
  noteKey,
  noteWord,
  partKeys,
  partRoom,
  putDigits,
  roomIn,
} from "./items.ts";
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
  objectPath("put", "", name);
  checkValue(`put ${show(name)}`, value);
  options.signal?.throwIfAborted();
  const hash = await digest("SHA-256", value);
  // tells this call's own attempts from others' puts
  const call = nonce();
  const head: Item & ItemKey = { ...headKey(name), h: { B: toBase64(hash) }, t: { S: call } };
  if (value.length > roomIn(head)) return await putInParts(table, name, value, { head, hash, call }, options);
  if (value.length > 0) head.v = { B: toBase64(value) };
  const mine = options.ifAbsent ? { ":t": head.t } : { ":t": head.t, ":h": head.h };
  if (!await putHead(table, name, head, mine, options)) throw nameTaken(name);
  return true;
}

/** Puts a head, unless the name has one with other values of these attributes; tells if it is there. */
async function putHead(
  table: Table,
  name: string,
  head: Item & ItemKey,
  mine: Item,
  options: PutOptions,
  onUnknown?: () => void,
): Promise<boolean> {
  const isMine = Object.keys(mine).map((value) => `${value.slice(1)} = ${value}`);
  const body = {
    TableName: table.name,
    Item: head,
    ConditionExpression: ["attribute_not_exists(p)", ...isMine].join(" OR "),
    ExpressionAttributeValues: mine,
  };
  const read = (_: unknown, code: string) => code !== CONDITION_FAILED;
  const call = { what: `put ${show(name)}`, operation: "PutItem", body, answers: [CONDITION_FAILED], read };
  return await table.request({ ...call, ...(onUnknown && { onUnknown }) }, options);
}

/** The head of an object in parts without their number, and what the keys of its parts are made of. */
interface Begun {
  head: Item & ItemKey;
  hash: Uint8Array;
  call: string;
}

/**
 * Puts an object in parts. If it fails it deletes them, but for one reason: its head may be there, or may come. What is
 * left then goes by the note, when the name is deleted.
 */
async function putInParts(
  table: Table,
  name: string,
  value: Uint8Array,
  { head, hash, call }: Begun,
  options: PutOptions,
): Promise<true> {
  const put = putDigits(hash, call);
  const count = Math.ceil(value.length / partRoom(name));
  const parts = partKeys(name, put, count);
  const sent: ItemKey[] = [];
  let mayHaveHead = false;
  let isThere = false;
  try {
    await putNote(table, name, noteWord(put, count), options);
    await putParts(table, name, value, parts, sent, options);
    Object.assign(head, { n: { S: String(count) }, z: { S: String(value.length) } });
    // a head with the same bytes has parts of its own: it stays
    isThere = await putHead(table, name, head, { ":t": head.t }, options, () => void (mayHaveHead = true));
    if (isThere || (!options.ifAbsent && await hasHash(table, name, hash, options))) return true;
    throw nameTaken(name);
  } finally {
    if (!isThere && !mayHaveHead) await deleteParts(table, name, sent, options);
  }
}

/** Notes a put before its first part, so that a deletion finds them all. */
async function putNote(table: Table, name: string, word: string, options: PutOptions): Promise<void> {
  const body = {
    TableName: table.name,
    Key: noteKey(name),
    UpdateExpression: "ADD b :b",
    ExpressionAttributeValues: { ":b": { SS: [word] } },
  };
  await table.request({ what: `put ${show(name)}`, operation: "UpdateItem", body, read: () => true }, options);
}

/** Puts parts; `sent` are those that may be there. */
async function putParts(
  table: Table,
  name: string,
  value: Uint8Array,
  parts: readonly ItemKey[],
  sent: ItemKey[],
  options: PutOptions,
): Promise<void> {
  const size = partRoom(name);
  const all = parts.map((key, i) => ({ key, from: i * size }));
  await inParallel(groupsOf(all, PARTS_TOGETHER), REQUESTS_AT_ONCE, async (group) => {
    sent.push(...group.map(({ key }) => key));
    const writes = group.map(({ key, from }) => ({
      PutRequest: { Item: { ...key, v: { B: toBase64(value.subarray(from, from + size)) } } },
    }));
    await writeItems(table, `put a part of ${show(name)}`, writes, options);
  });
}

/** Tells if the object of this name has these bytes. */
async function hasHash(table: Table, name: string, hash: Uint8Array, options: PutOptions): Promise<boolean> {
  const heads = await getItems(table, `put ${show(name)}`, [headKey(name)], options, { attributes: "p, s, h" });
  const head = heads.get(idOf(headKey(name)));
  if (head instanceof Error) throw head;
  return head !== undefined && isSame(fromBase64(head.h?.B ?? ""), hash);
}

/** Deletes the parts of a put that has failed. Its note stays: a request that is late may put one of them again. */
async function deleteParts(table: Table, name: string, keys: ItemKey[], options: PutOptions): Promise<void> {
  const deleteSome = async (group: ItemKey[]) => {
    const deletes = group.map((Key) => ({ DeleteRequest: { Key } }));
    await writeItems(table, `delete a part of ${show(name)}`, deletes, closingOptions(options));
  };
  await inParallel(groupsOf(keys, WRITE_AT_ONCE), REQUESTS_AT_ONCE, deleteSome).catch(() => {});
}
