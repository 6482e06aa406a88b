/**
 * A value of each Redis type, written and read back with the client of a store.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { TundraStore } from "../../../mod.ts";

/** The types; each is a key's suffix. */
export const TYPES = ["string", "binary", "hash", "list", "set", "zset", "stream", "hyperloglog"] as const;

const LONG = "Zürich, 東京, naïve \u{1f9ca} ".repeat(400);
const FIELDS = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`field ${i}`, `value ${i * 7}`]));
const ITEMS = Array.from({ length: 600 }, (_, i) => `item ${i}`);

/** Writes a value of each type under `prefix`; returns the keys. */
export async function writeValues(store: TundraStore, prefix: string): Promise<string[]> {
  const { redis } = store;
  const key = (type: (typeof TYPES)[number]) => prefix + type;
  await redis.set(key("string"), LONG);
  // bytes that are no UTF-8; a script, as JSON carries none
  await redis.eval("redis.call('SET', KEYS[1], '\\0\\1\\127\\128\\255')", [key("binary")], []);
  await redis.hset(key("hash"), FIELDS);
  await redis.rpush(key("list"), ...ITEMS);
  await redis.sadd(key("set"), "a", "b", "ü", "");
  const zadd = "redis.call('ZADD', KEYS[1], '-inf', 'least', '-0', 'zero', '0.1', 'tenth', 'inf', 'most')";
  await redis.eval(zadd, [key("zset")], []); // JSON carries no infinity
  await redis.xadd(key("stream"), "1-1", { a: "1", b: "two" });
  await redis.xadd(key("stream"), "2-1", { c: "3" });
  await redis.xgroup(key("stream"), { type: "CREATE", group: "readers", id: "0" });
  await redis.pfadd(key("hyperloglog"), ...ITEMS);
  return TYPES.map(key);
}

/** Reads all of them and compares. */
export async function assertValues(store: TundraStore, prefix: string): Promise<void> {
  const { redis } = store;
  assertEquals(await redis.get(prefix + "string"), LONG);
  const bytes = "return { string.byte(redis.call('GET', KEYS[1]), 1, -1) }";
  assertEquals(await redis.eval<[], number[]>(bytes, [prefix + "binary"], []), [0, 1, 127, 128, 255]);
  assertEquals(await redis.hgetall(prefix + "hash"), FIELDS);
  assertEquals(await redis.lrange(prefix + "list", 0, -1), ITEMS);
  assertEquals((await redis.smembers(prefix + "set")).sort(), ["", "a", "b", "ü"]);
  assertEquals(await redis.zrange(prefix + "zset", 0, -1), ["least", "zero", "tenth", "most"]);
  assertEquals(Number(await redis.zscore(prefix + "zset", "tenth")), 0.1);
  assertEquals(String(await redis.zscore(prefix + "zset", "most")), "inf");
  const entries = await redis.xrange(prefix + "stream", "-", "+") as Record<string, Record<string, unknown>>;
  assertEquals(Object.keys(entries), ["1-1", "2-1"]);
  assertEquals(String(entries["1-1"]!.b), "two");
  assertEquals(await redis.xlen(prefix + "stream"), 2);
  assertEquals(await redis.pfcount(prefix + "hyperloglog"), 601);
}
