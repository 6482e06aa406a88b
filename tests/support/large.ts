/**
 * Values of a given size for tests of large values: of each type, compressible and random.
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import type { ColdStack } from "./fixtures.ts";

/** The types of a value. */
export const TYPES = ["string", "list", "set", "hash", "zset", "stream"] as const;

/** One type. */
export type ValueType = typeof TYPES[number];

const COMMANDS: Record<ValueType, (key: string, n: number, element: Buffer) => (string | number | Buffer)[]> = {
  string: (key, _, element) => ["APPEND", key, element],
  list: (key, _, element) => ["RPUSH", key, element],
  set: (key, n, element) => ["SADD", key, Buffer.concat([Buffer.from(`${n}:`), element])],
  hash: (key, n, element) => ["HSET", key, `field:${n}`, element],
  zset: (key, n, element) => ["ZADD", key, n / 7, Buffer.concat([Buffer.from(`${n}:`), element])],
  stream: (key, n, element) => ["XADD", key, `${n + 1}-0`, "field", element],
};

/** Makes a value of about so many bytes: random, or text that a freezer makes half as large. */
export async function makeValue(
  { raw }: Pick<ColdStack, "raw">,
  key: string,
  type: ValueType,
  bytes: number,
  random: boolean,
): Promise<void> {
  const most = Math.min(bytes, type === "string" ? 8_000_000 : Math.max(1_000, Math.ceil(bytes / 200)));
  for (let made = 0, n = 0; made < bytes; n++) {
    const length = Math.min(most, bytes - made);
    await raw(...COMMANDS[type](key, n, random ? randomBytes(length) : text(length)));
    made += length;
  }
}

/** Text that Redis' own compression, which sees repetitions only, leaves as it is. */
function text(length: number): Buffer {
  return Buffer.from(randomBytes(Math.ceil(length / 2)).toString("hex").slice(0, length));
}

const CONTENTS: Record<ValueType, (key: string) => (string | number)[]> = {
  string: (key) => ["GET", key],
  list: (key) => ["LRANGE", key, 0, -1],
  set: (key) => ["SMEMBERS", key],
  hash: (key) => ["HGETALL", key],
  zset: (key) => ["ZRANGE", key, 0, -1, "WITHSCORES"],
  stream: (key) => ["XRANGE", key, "-", "+"],
};

/** The content of a value, in an order of its own, so that two may be compared. */
export async function contentOf({ raw }: Pick<ColdStack, "raw">, key: string, type: ValueType): Promise<Buffer> {
  const reply = await raw(...CONTENTS[type](key));
  if (!Array.isArray(reply)) return reply as Buffer ?? Buffer.alloc(0);
  const flat = (reply as unknown[]).flat(3).map((part) => Buffer.from(part as Buffer));
  const items = type === "hash" ? pairs(flat) : flat;
  return Buffer.concat(type === "set" || type === "hash" ? items.sort(Buffer.compare) : items);
}

function pairs(flat: Buffer[]): Buffer[] {
  return flat.flatMap((field, i) => i % 2 === 0 ? [Buffer.concat([field, Buffer.from("="), flat[i + 1]!])] : []);
}
