/** Values of every kind go through dirty, tick, evict and ensureKs, and comes back as it was. */
import { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { deflateFreezer, type Freezer } from "../../mod.ts";
import { rebuild, verify } from "../../src/operations/mod.ts";
import type { CommandPart } from "../../src/testing/resp.ts";
import { BUCKET, entriesOf, isPack, names, PACKINGS, withArchive } from "../support/fixtures.ts";
import { seededRandom } from "../support/random.ts";
import { sleep } from "../support/waiting.ts";
import { fullRead } from "./full_read.ts";

const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, i) => i);
const many = (n: number, each: (i: number) => CommandPart[]): CommandPart[] =>
  Array.from({ length: n }, (_, i) => each(i)).flat();

/** The writes of each test: commands, with the key at `KEY`. */
const KEY = Symbol("the key");
const VALUES: Record<string, (CommandPart | typeof KEY)[][]> = {
  "a string": [["SET", KEY, "value"]],
  "an empty string": [["SET", KEY, ""]],
  "a string that is a number": [["SET", KEY, "1234567890"]],
  "a string of every byte": [["SET", KEY, ALL_BYTES]],
  "a string that is no UTF-8": [["SET", KEY, Uint8Array.of(0xc3, 0x28, 0xff, 0xfe, 0, 0x80)]],
  "a string that looks like a status": [["SET", KEY, "OK"]],
  "a string of 300,000 bytes": [["SET", KEY, new Uint8Array(300_000).map((_, i) => (i * i) >> 3)]],
  "a bitmap": [["SETBIT", KEY, 70_001, 1]],
  "a list": [["RPUSH", KEY, "a", "", ALL_BYTES, "a", "12"]],
  "a list of 5,000": [["RPUSH", KEY, ...many(5_000, (i) => [`element ${i}`])]],
  "a set": [["SADD", KEY, "a", "", ALL_BYTES, "ä"]],
  "a set of integers": [["SADD", KEY, 1, -5, 4_000_000_000]],
  "a set of 5,000": [["SADD", KEY, ...many(5_000, (i) => [`member ${i}`])]],
  "a sorted set with infinities and -0": [
    ["ZADD", KEY, "-inf", "low", "+inf", "high", "-0", "minus zero", "0", "zero", "0.1", "a", "1e-300", "b"],
    ["ZADD", KEY, "17976931348623157e292", "", "-9007199254740993", ALL_BYTES],
  ],
  "a sorted set of 5,000": [["ZADD", KEY, ...many(5_000, (i) => [i / 7, `member ${i}`])]],
  "a hash": [["HSET", KEY, "a", "1", "", "empty", "b", "", ALL_BYTES, ALL_BYTES]],
  "a hash of 5,000": [["HSET", KEY, ...many(5_000, (i) => [`field ${i}`, `value ${i}`])]],
  "a stream": [
    ["XADD", KEY, "5-1", "field", "value", "", ALL_BYTES],
    ["XADD", KEY, "5-2", "field", "value"],
    ["XADD", KEY, "6-0", "other", "value"],
    ["XDEL", KEY, "5-2"],
  ],
  "a stream without entries": [["XADD", KEY, "7-7", "a", "b"], ["XDEL", KEY, "7-7"]],
  "a stream with groups and pending entries": [
    ...Array.from({ length: 20 }, (_, i) => ["XADD", KEY, `${i + 1}-0`, "n", i] as (CommandPart | typeof KEY)[]),
    ["XGROUP", "CREATE", KEY, "readers", 0],
    ["XGROUP", "CREATE", KEY, "idle group", "$"],
    ["XGROUP", "CREATECONSUMER", KEY, "readers", "never reads"],
    ["XREADGROUP", "GROUP", "readers", "ann", "COUNT", 7, "STREAMS", KEY, ">"],
    ["XREADGROUP", "GROUP", "readers", ALL_BYTES, "COUNT", 4, "STREAMS", KEY, ">"],
    ["XACK", KEY, "readers", "1-0", "3-0"],
    ["XCLAIM", KEY, "readers", "bob", 0, "2-0"],
    ["XDEL", KEY, "4-0"],
  ],
  "a stream of 5,000": [
    ["EVAL", "for i = 1, 5000 do redis.call('XADD', KEYS[1], i .. '-0', 'n', i) end", 1, KEY],
  ],
  "a HyperLogLog": [["PFADD", KEY, ...many(3_000, (i) => [`visitor ${i}`])]],
  "a sparse HyperLogLog": [["PFADD", KEY, "one", "two"]],
  "a geo set": [["GEOADD", KEY, 13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"]],
};

/** One character each from ASCII to beyond the basic plane, and what names, paths and URLs dislike. */
const KEYS = [
  "",
  " ",
  "plain",
  "with spaces  and a trailing one ",
  "a/b/c",
  "/",
  "//",
  ".",
  "..",
  "../..",
  "a/../b",
  "%",
  "%2F",
  "%2e%2e",
  "100% + 1",
  "a+b",
  "a b",
  "new\nline",
  "\r\n",
  "\0",
  "tab\tand \"quotes' and \\",
  "?query=1#fragment",
  "~",
  "~owner",
  "a.b",
  ".2F",
  "user.3A1",
  "user:1",
  "Tundra:default:dirty",
  "123",
  "-1e5",
  "null",
  "__proto__",
  "constructor",
  "{hash}tag",
  "*",
  "é",
  "e\u0301",
  "日本語",
  "👩‍👩‍👧‍👦",
  "\u{10ffff}",
  "\ufeff",
  "\ufeff" + "k".repeat(100),
  "\ufeff" + "k".repeat(300),
  "\u200b",
  "\ud7ff\ue000",
  "k".repeat(32 * 1024),
  "é".repeat(16 * 1024),
  "/".repeat(32 * 1024),
  "k".repeat(200),
  "k".repeat(201),
  "k".repeat(200) + "/",
  "K".repeat(167),
  "K".repeat(168),
];

describe("round trip", () => {
  const stack = withArchive();
  const { raw } = stack;
  beforeEach(() => stack.flush());

  /** Sends the keys to the archive: none of them is in Redis afterwards. */
  async function archive(store: ReturnType<typeof stack.store>, keys: string[]): Promise<void> {
    await store.dirty(...keys);
    const report = await store.tick({ maxKeys: 10_000 });
    assertEquals([report.frozen, report.failed, report.done], [keys.length, 0, true]);
    assertEquals(await store.evict(...keys), { evicted: keys, kept: {} });
    assertEquals(await stack.exists(...keys), 0);
  }

  /** As `archive`, of all keys, which are brought back. */
  async function archiveAgain(store: ReturnType<typeof stack.store>): Promise<void> {
    await archive(store, KEYS);
    await store.ensureKs(...KEYS);
  }

  /** The keys that packs hold, in ascending order. */
  async function packedKeys(): Promise<string[]> {
    const packs = [...stack.s3.objects(BUCKET)].filter(([name]) => isPack(name));
    const entries = await Promise.all(packs.map(([name, bytes]) => entriesOf(name, bytes)));
    return entries.flat().map(({ key }) => key).sort();
  }

  /** Evicts keys that came back and were not changed since. */
  async function evictAgain(store: ReturnType<typeof stack.store>, keys: string[]): Promise<void> {
    assertEquals(await store.evict(...keys), { evicted: keys, kept: {} });
    assertEquals(await stack.exists(...keys), 0);
  }

  for (const [name, commands] of Object.entries(VALUES)) {
    it(`${name} comes back equal by a full read, with its own expiry and without one`, async () => {
      const [forever, ending] = ["the key", "the key that ends"];
      for (const key of [forever, ending]) {
        for (const command of commands) await raw(...command.map((part) => part === KEY ? key : part));
      }
      const at = Math.floor(await stack.nowMs()) + 86_400_123;
      await raw("PEXPIREAT", ending, at);
      const values = [await fullRead(raw, forever), await fullRead(raw, ending)];
      const [packing, single] = PACKINGS.map(([packBytes]) => stack.store({ packBytes })).reverse();

      // What came back is still archived, and can be archived again: first both in a pack, then each in its object.
      for (const [leave, store] of [[archive, packing], [evictAgain, packing], [archive, single]] as const) {
        await leave(store!, [forever, ending]);
        await store!.ensureKs(forever, ending);
        assertEquals([await fullRead(raw, forever), await fullRead(raw, ending)], values);
        assertEquals([await raw("PEXPIRETIME", forever), await raw("PEXPIRETIME", ending)], [-1, at]);
      }
    });
  }

  it("a HyperLogLog counts the same afterwards", async () => {
    await raw("PFADD", "hll", ...many(10_000, (i) => [`visitor ${i}`]));
    const count = await raw("PFCOUNT", "hll");
    const store = stack.store();
    await archive(store, ["hll"]);
    await store.ensureKs("hll");
    assertEquals(await raw("PFCOUNT", "hll"), count);
    assertGreater(Number(count), 9_000);
  });

  it("a group goes on where it was: the next entry, and an acknowledgement of one that was pending", async () => {
    for (let i = 1; i <= 3; i++) await raw("XADD", "jobs", `${i}-0`, "n", i);
    await raw("XGROUP", "CREATE", "jobs", "workers", 0);
    await raw("XREADGROUP", "GROUP", "workers", "ann", "COUNT", 2, "STREAMS", "jobs", ">");
    const store = stack.store();
    await archive(store, ["jobs"]);
    await store.ensureKs("jobs");
    assertEquals(await raw("XACK", "jobs", "workers", "1-0"), 1);
    const [[, [[id]]]] = await raw("XREADGROUP", "GROUP", "workers", "bob", "STREAMS", "jobs", ">") as [
      [Buffer, [[Buffer]]],
    ];
    assertEquals(String(id), "3-0");
    const [pending] = await raw("XPENDING", "jobs", "workers") as [number];
    assertEquals(pending, 2); // 2-0 of ann, 3-0 of bob
  });

  for (const [packBytes, how] of PACKINGS) {
    it(`keys of any name come back under the same name, ${how}`, async () => {
      for (const [i, key] of KEYS.entries()) await raw("SET", key, `value ${i}`);
      const store = stack.store({ packBytes });
      await archive(store, KEYS);
      // a key that is named by its object may be shortened there
      if (packBytes > 0) assertEquals(await packedKeys(), KEYS.toSorted());
      else assertEquals(stack.objectNames().length, KEYS.length);
      await store.ensureKs(...KEYS);
      for (const [i, key] of KEYS.entries()) assertEquals(await stack.get(key), `value ${i}`, JSON.stringify(key));
      assertEquals(await raw("DBSIZE"), 2 * KEYS.length + 5); // values, records, id, idle, lost_records_cursor, stats, tick
    });
  }

  for (const [packBytes, how] of PACKINGS) {
    it(`keys that begin with a byte order mark are whole to verify, and a rebuild finds them, ${how}`, async () => {
      const keys = [10, 100, 300].map((length) => "\ufeff" + "k".repeat(length));
      for (const key of [...keys, "other"]) await raw("SET", key, `value of ${key}`);
      const store = stack.store({ packBytes });
      await archive(store, [...keys, "other"]);
      const { checked, damaged, missing } = await verify(store);
      assertEquals([checked, damaged, missing], [4, [], []]);
      await raw("FLUSHDB");
      assertEquals((await rebuild(store)).evicted, 4);
      await store.ensureKs(...keys, "other");
      for (const key of [...keys, "other"]) assertEquals(await stack.get(key), `value of ${key}`);
    });
  }

  it("random keys and values come back", async () => {
    const random = seededRandom("random keys and values come back");
    const all = new Map<string, Uint8Array>();
    while (all.size < 200) {
      const key = random.text(60);
      if (!key.startsWith("tundra:")) all.set(key, random.bytes(random.int(300)));
    }
    for (const [key, value] of all) await raw("SET", key, value);
    for (const [packBytes] of PACKINGS) {
      const store = stack.store({ packBytes });
      await archive(store, [...all.keys()]);
      await store.ensureKs(...all.keys());
      for (const [key, value] of all) {
        assertEquals((await raw("GET", key) as Buffer).toString("hex"), Buffer.from(value).toString("hex"));
      }
    }
  });

  it("names of objects hold no character that a URL escapes, and no path segment that fetch normalises", async () => {
    for (const key of KEYS) await raw("SET", key, "value");
    for (const [packBytes] of PACKINGS) await archiveAgain(stack.store({ packBytes }));
    assert(stack.objectNames().length > KEYS.length);
    for (const name of stack.objectNames()) {
      assert(/^default\/[A-Za-z0-9._~-]+\/\d{16}-[0-9a-f]{8}$/.test(name), name);
      assert(name.split("/").every((segment) => segment !== "." && segment !== ".."), name);
      assert(name.length <= 900, name);
    }
  });

  const noFreezer: [string, Freezer | Freezer[] | null][] = [
    ["without a freezer", null],
    ["through two freezers", [deflateFreezer({ level: 9 }), reversing("turn")]],
  ];
  for (const [how, freezer] of noFreezer) {
    it(`values come back ${how}`, async () => {
      await raw("SET", "bytes", ALL_BYTES);
      await raw("SET", "long", "na ".repeat(1000));
      for (const [packBytes] of PACKINGS) {
        const store = stack.store({ freezer, packBytes });
        await archive(store, ["bytes", "long"]);
        await store.ensureKs("bytes", "long");
        assertEquals(plainHex(await raw("GET", "bytes")), Buffer.from(ALL_BYTES).toString("hex"));
        assertEquals(await stack.get("long"), "na ".repeat(1000));
      }
    });
  }

  it("what was frozen under yesterday's freezers thaws under today's", async () => {
    await raw("MSET", "a", "value", "b", "value");
    for (const [packBytes] of PACKINGS) {
      await archive(stack.store({ freezer: null, packBytes }), ["a", "b"]);
      await stack.store({ freezer: [reversing("turn"), deflateFreezer()] }).ensureKs("a", "b");
      assertEquals([await stack.get("a"), await stack.get("b")], ["value", "value"]);
    }
  });

  it("what was archived in packs comes back to a store without them, and the other way round", async () => {
    const keys = names(20);
    const [single, packing] = PACKINGS.map(([packBytes]) => stack.store({ packBytes }));
    for (const key of keys) await raw("SET", key, `value of ${key}`);
    for (const [one, other] of [[packing, single], [single, packing]] as const) {
      await archive(one!, keys);
      await other!.ensureKs(keys);
      for (const key of keys) assertEquals(await stack.get(key), `value of ${key}`);
      await evictAgain(other!, keys);
      await one!.ensureKs(keys);
    }
    const { fetchRanges: _, ...whole } = stack.datastore(); // reads each pack as a whole
    await archive(packing!, keys);
    await stack.store({ datastore: whole }).ensureKs(keys);
    for (const key of keys) assertEquals(await stack.get(key), `value of ${key}`);
  });

  it("a key whose own expiry passed while it was archived stays away, and can be created anew", async () => {
    const store = stack.store();
    await raw("SET", "short", "old", "PX", 600);
    const at = await raw("PEXPIRETIME", "short") as number;
    await archive(store, ["short"]);
    await sleep(at - await stack.nowMs() + 20);

    await store.ensureKs("short");
    assertEquals(await stack.exists("short"), 0);

    await raw("SET", "short", "new");
    await store.dirty("short");
    await archive(store, ["short"]);
    await store.ensureKs("short");
    assertEquals([await stack.get("short"), await raw("PTTL", "short")], ["new", -1]);
  });

  it("a resident key that was never archived, and one that never was, are no error", async () => {
    await raw("SET", "a", "value");
    await stack.store().ensureKs("a", "b");
    assertEquals([await stack.get("a"), await stack.exists("b"), await raw("DBSIZE")], ["value", 0, 1]);
  });

  it("a key that was deleted behind Tundra's back is brought back", async () => {
    const store = stack.store();
    for (const key of names(3)) await raw("SET", key, `value of ${key}`);
    await store.dirty(...names(3));
    await store.tick();
    await raw("DEL", "k:1");
    await store.ensureKs(names(3));
    assertEquals(await stack.get("k:1"), "value of k:1");
  });
});

function reversing(id: string): Freezer {
  const turn = (bytes: Uint8Array) => bytes.slice().reverse();
  return { id, freeze: turn, thaw: turn };
}

function plainHex(reply: unknown): string {
  return (reply as Buffer).toString("hex");
}
