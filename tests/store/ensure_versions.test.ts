import type { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type Datastore, memoryDatastore, notFound, TundraError, tundraStore } from "../../mod.ts";
import { freezePack } from "../../src/archive/pack.ts";
import { withIndex } from "../support/index.ts";
import { freezeRecord } from "../support/records.ts";
import { withStack } from "../support/stack.ts";

const BASE = 1_700_000_000_000_000;
const version = (after: number, nonce = "00000000") => `${BASE + after}-${nonce}`;
const KEY = "cart:7";
const PREFIX = "default/cart.3A7/";
const PACKS = "default/~packs/";

describe("ensureKs, if the record names an object that the archive lacks,", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);
  let archive: ReturnType<typeof memoryDatastore>;

  beforeEach(async () => {
    await stack.flush();
    archive = memoryDatastore();
    await stack.confirmId("an-id");
    await archive.putKey("default/~owner/an-id", new TextEncoder().encode(stack.id("an-id")));
    await tools.evicted(KEY, "named by the record", { ver: version(10, "55555555") });
  });

  /** Puts a version that holds `value`, or a tombstone. */
  async function put(
    ver: string,
    value: string | undefined,
    own: { exp?: number; key?: string; index?: string } = {},
  ): Promise<void> {
    const { exp = 0, key = KEY, index } = own;
    const head = { key, ver, at: 5, ...(index !== undefined && { index, prev: "" }) };
    let record: Parameters<typeof freezeRecord>[0] = { ...head, gone: true };
    if (value !== undefined) {
      await raw("SET", "scratch", value);
      const dump = new Uint8Array(await raw("DUMP", "scratch") as Buffer);
      await raw("DEL", "scratch");
      record = { ...head, exp, dump };
    }
    await archive.putKey(PREFIX + ver, await freezeRecord(record, []));
  }

  const ensure = (datastore: Datastore = archive) =>
    tundraStore(datastore, { redis: stack.connection, freezer: null }).ensureKs(KEY);
  const value = async () => {
    const reply = await raw("GET", KEY);
    return reply === null ? undefined : String(reply);
  };

  /** The error of the one key; nothing in Redis changed. */
  async function cause(datastore: Datastore = archive): Promise<TundraError> {
    const before = await tools.everything();
    const error = await assertRejects(() => ensure(datastore), TundraError);
    assertEquals([error.code, error.keys], ["ENSURE_FAILED", [KEY]]);
    assertEquals(await tools.everything(), before);
    const cause = error.causes[KEY];
    assert(cause instanceof TundraError);
    return cause;
  }

  it("uses a newer version, which the record names from then on", async () => {
    await put(version(5), "older");
    await put(version(11), "newer");
    await ensure();
    assertEquals(await value(), "newer");
    const { ver, fp, flag, rev } = await tools.readRecord(KEY);
    assertEquals([ver, fp, flag, rev], [version(11), await tools.fingerprint(KEY), "r", 0]);
  });

  it("uses one of an index that the archive had before, as it was moved or rebuilt, and of no other", async () => {
    const [own, former, foreign] = ["an-id", "a-former-id", "a-foreign-id"].map((uuid) => stack.id(uuid));
    await put(version(11), "newer", { index: foreign! });
    assertMatch((await cause()).message, /another index, a-foreign-id@.* has written its newest/);
    await put(version(12), "newer still", { index: former! });
    assertMatch((await cause()).message, /another index, a-former-id@/);
    await archive.putKey("default/~former/a-former-id", new TextEncoder().encode(former));
    await ensure();
    assertEquals(await value(), "newer still");
    await raw("FLUSHALL");
    await stack.confirmId("an-id");
    await tools.evicted(KEY, "named by the record", { ver: version(10, "55555555") });
    await put(version(13), "newest", { index: own! });
    await ensure();
    assertEquals(await value(), "newest");
  });

  it("uses the newest of several, over any number of pages", async () => {
    for (const after of [11, 13, 12]) await put(version(after), `version ${after}`);
    const all = [version(12), version(13), version(11)].map((ver) => PREFIX + ver);
    const cursors: (string | undefined)[] = [];
    await ensure({
      ...archive,
      listKeys: (prefix, cursor) => {
        if (prefix === PACKS) return Promise.resolve({ names: [] });
        assertEquals(prefix, PREFIX);
        cursors.push(cursor);
        const i = Number(cursor ?? 0);
        return Promise.resolve({ names: [all[i]!], ...(i < 2 ? { cursor: String(i + 1) } : {}) });
      },
    });
    assertEquals(await value(), "version 13");
    assertEquals(cursors, [undefined, "1", "2"]);
  });

  it("uses the newer version's own expiry, and never brings back one that is past it", async () => {
    const exp = await tools.nowMs() + 90_000;
    await put(version(11), "newer", { exp });
    await ensure();
    assertEquals([await value(), await tools.expiry(KEY)], ["newer", exp]);

    await raw("DEL", KEY);
    await tools.evicted(KEY, "1", { ver: version(20) });
    await put(version(21), "past", { exp: await tools.nowMs() - 1 });
    await ensure();
    assertEquals(await value(), undefined);
  });

  it("never uses an older one: LOST, and the message names it", async () => {
    await put(version(9), "older");
    const { code, message, retryable } = await cause();
    assertEquals([code, retryable], ["LOST", false]);
    assertMatch(message, new RegExp(`${version(10, "55555555")}.*${version(9)}`));
  });

  it("never uses one of the same microsecond, whatever its nonce: nothing says that it is newer", async () => {
    for (const nonces of [["00000001"], ["ffffffff"], ["00000001", "ffffffff"]]) {
      archive.objects.clear();
      for (const nonce of nonces) await put(version(10, nonce), nonce);
      const { code, message } = await cause();
      assertEquals(code, "LOST");
      assertMatch(message, new RegExp(`its newest is ${BASE + 10}-`));
    }
  });

  it("never chooses between two newest of the same microsecond by their nonces", async () => {
    await put(version(11), "older");
    for (const nonces of [["00000001", "ffffffff"], ["ffffffff", "00000001"]] as const) {
      for (const nonce of nonces) await put(version(12, nonce), nonce);
      const names = [version(11), ...nonces.map((nonce) => version(12, nonce))].map((ver) => PREFIX + ver);
      const listKeys = (prefix: string) => Promise.resolve({ names: prefix === PREFIX ? names : [] });
      const { code, message } = await cause({ ...archive, listKeys });
      assertEquals(code, "LOST");
      for (const nonce of nonces) assertMatch(message, new RegExp(version(12, nonce)));
    }
    await put(version(13), "newest");
    await ensure();
    assertEquals(await value(), "newest");
  });

  it("stays away if the newest is a tombstone, and only the record changes: it says so too", async () => {
    await put(version(11), "deleted since");
    await put(version(12), undefined);
    const before = await tools.everything();
    const record = await tools.readRecord(KEY);
    await ensure();
    assertEquals(await value(), undefined);
    assertEquals(await tools.readRecord(KEY), { ...record, flag: "g", ver: version(12), fp: "-" });
    await tools.writeRecord(KEY, record);
    const { ["tundra:default:stats"]: _, ...others } = await tools.everything(); // it is counted off
    assertEquals(others, before);
  });

  it("comes back if a value is newer than the tombstone", async () => {
    await put(version(11), undefined);
    await put(version(12), "made anew");
    await ensure();
    assertEquals(await value(), "made anew");
  });

  it("is LOST if a tombstone is all there is, and older", async () => {
    await put(version(9), undefined);
    assertEquals((await cause()).code, "LOST");
  });

  /** Puts a pack with a version of the key or a tombstone, and versions of others before and after it. */
  async function pack(name: string, value: string | undefined): Promise<void> {
    await raw("SET", "scratch", value ?? "");
    const dump = new Uint8Array(await raw("DUMP", "scratch") as Buffer);
    await raw("DEL", "scratch");
    const head = { ver: name, at: 5, index: stack.id("an-id"), prev: "" };
    const mine = value === undefined ? { ...head, key: KEY, gone: true as const } : { ...head, key: KEY, exp: 0, dump };
    const others = ["a", "z"].map((key) => ({ ...head, key, exp: 0, dump }));
    const records = [others[0]!, mine, others[1]!];
    const { bytes } = await freezePack(records, PACKS + name, [], 1_048_576, stack.id("an-id"));
    await archive.putKey(PACKS + name, bytes);
  }

  it("uses a newer version that lies in a pack, which the record names from then on", async () => {
    await put(version(11), "newer");
    await pack(version(5), "older");
    await pack(version(12), "newest");
    await ensure();
    assertEquals(await value(), "newest");
    const { ver, fp, flag, rev } = await tools.readRecord(KEY);
    assertEquals([ver.split(":")[0], fp, flag, rev], [`${version(12)}@`, await tools.fingerprint(KEY), "r", 0]);
    await raw("DEL", KEY); // without del(): its place is a place
    await ensure();
    assertEquals(await value(), "newest");
  });

  it("uses a newer version in an object of its own if that is newer than those in packs", async () => {
    await pack(version(11), "newer");
    await put(version(12), "newest");
    await ensure();
    assertEquals(await value(), "newest");
  });

  it("never uses an older version of a pack, nor one of the same microsecond, nor another key's", async () => {
    for (const after of [9, 10]) {
      archive.objects.clear();
      await pack(version(after), "older");
      assertEquals((await cause()).code, "LOST");
    }
    const other = await freezePack(
      [{ key: "a", ver: version(12), at: 5, index: stack.id("an-id"), prev: "", exp: 0, dump: new Uint8Array(10) }],
      PACKS + version(12),
      [],
      1_048_576,
      stack.id("an-id"),
    );
    await archive.putKey(PACKS + version(12), other.bytes);
    assertEquals((await cause()).code, "LOST");
  });

  it("never chooses between versions of the same microsecond, in packs or not", async () => {
    await pack(version(12, "00000001"), "one");
    await put(version(12, "ffffffff"), "other");
    const { code, message } = await cause();
    assertEquals(code, "LOST");
    for (const nonce of ["00000001", "ffffffff"]) assertMatch(message, new RegExp(version(12, nonce)));
  });

  it("stays away if the newest is a tombstone in a pack", async () => {
    await put(version(11), "deleted since");
    await pack(version(12), undefined);
    await ensure();
    assertEquals([await value(), (await tools.readRecord(KEY)).flag], [undefined, "g"]);
  });

  it("is CORRUPT if the directory of a younger pack is damaged, UNAVAILABLE if it cannot be read: never LOST", async () => {
    await pack(version(12), "newest");
    const name = PACKS + version(12);
    const right = archive.objects.get(name)!;
    for (const at of [0, right.length - 1]) {
      archive.objects.set(name, right.map((byte, i) => i === at ? byte ^ 1 : byte));
      assertEquals((await cause()).code, "CORRUPT");
    }
    archive.objects.set(name, right);
    const fetchRanges = () => Promise.reject(new Error("503 SlowDown"));
    assertEquals((await cause({ ...archive, fetchRanges })).code, "UNAVAILABLE");
    await ensure();
    assertEquals(await value(), "newest");
  });

  it("lists packs once a call and reads each directory once, however many keys it looks for", async () => {
    const keys = Array.from({ length: 40 }, (_, i) => `key${i}`);
    for (const key of keys) await tools.evicted(key, "1", { ver: version(10, "55555555") });
    for (const after of [11, 12, 13]) await pack(version(after), "newest");
    const asked = { packs: 0, ranges: 0 };
    const store = tundraStore({
      ...archive,
      listKeys: (prefix, ...rest) => {
        if (prefix === PACKS) asked.packs++;
        return archive.listKeys(prefix, ...rest);
      },
      fetchRanges: (reads, ...rest) => {
        asked.ranges += reads.length;
        return archive.fetchRanges(reads, ...rest);
      },
    }, { redis: stack.connection, freezer: null });
    const error = await assertRejects(() => store.ensureKs(...keys, KEY), TundraError);
    assertEquals(error.keys.toSorted(), keys.toSorted());
    assertEquals(keys.map((key) => (error.causes[key] as TundraError).code), keys.map(() => "LOST"));
    assertEquals([await value(), asked], ["newest", { packs: 1, ranges: 3 * 2 + 1 }]);
  });

  it("is UNAVAILABLE if more packs are younger than may be read", async () => {
    let reads = 0;
    const fetchRanges: typeof archive.fetchRanges = (...args) => (reads++, archive.fetchRanges(...args));
    for (let i = 0; i < 257; i++) await pack(version(100 + i), "newest but one");
    await pack(version(400), "newest");
    await ensure({ ...archive, fetchRanges });
    assertEquals([await value(), reads], ["newest", 3]); // its directory, and it
    await raw("DEL", KEY);
    await tools.evicted("gone", "1", { ver: version(10, "55555555") });
    const store = tundraStore({ ...archive, fetchRanges }, { redis: stack.connection, freezer: null });
    const error = await assertRejects(() => store.ensureKs("gone"), TundraError);
    assertEquals((error.causes["gone"] as TundraError).code, "UNAVAILABLE");
    assertEquals(reads, 3 + 2 * 256);
  });

  it("is LOST if the archive holds none", async () => {
    const { code, message } = await cause();
    assertEquals(code, "LOST");
    assertMatch(message, /it holds none/);
  });

  it("is LOST if the datastore cannot list, even if a newer one is there", async () => {
    await put(version(11), "newer");
    const { putKey, fetchKeys } = archive;
    const { code, message } = await cause({ putKey, fetchKeys });
    assertEquals(code, "LOST");
    assertMatch(message, /cannot list/);
  });

  it("takes no object for a version that is not named as one", async () => {
    for (const name of [`${BASE + 11}`, "99-00000000", `${version(11)}.tmp`, `${version(11)}/x`, "~"]) {
      archive.objects.clear();
      await put(name, name);
      assertEquals((await cause()).code, "LOST", name);
    }
  });

  it("is UNAVAILABLE, never LOST, if the archive cannot say what it holds", async () => {
    const listing = { ...archive, listKeys: () => Promise.reject(new Error("503 SlowDown")) };
    assertEquals((await cause(listing)).code, "UNAVAILABLE");
    await put(version(11), "newer");
    const fetching = {
      ...archive,
      fetchKeys: (names: string[]) =>
        Promise.resolve(names.map((name) => name.endsWith(version(11)) ? new Error("503 SlowDown") : notFound(name))),
    };
    assertEquals((await cause(fetching)).code, "UNAVAILABLE");
    const unknown = { ...archive, fetchKeys: (names: string[]) => Promise.resolve(names.map(() => new Error("503"))) };
    assertEquals((await cause(unknown)).code, "UNAVAILABLE");
  });

  it("is CORRUPT if the newer object is another key's", async () => {
    await put(version(11), "another key's", { key: "cart:8" });
    assertEquals((await cause()).code, "CORRUPT");
  });

  it("restores all others before it says so", async () => {
    const { record, dump } = await tools.evicted("other", "here");
    const ver = record.split(" ")[2]!;
    await archive.putKey(`default/other/${ver}`, await freezeRecord({ key: "other", ver, at: 5, exp: 0, dump }, []));
    const store = tundraStore(archive, { redis: stack.connection, freezer: null });
    const error = await assertRejects(() => store.ensureKs(KEY, "other"), TundraError);
    assertEquals([error.code, error.keys], ["ENSURE_FAILED", [KEY]]);
    assertEquals(String(await raw("GET", "other")), "here");
  });

  it("is not asked about at all if the record's own version is there", async () => {
    await put(version(10, "55555555"), "named by the record");
    await put(version(11), "newer, and never committed");
    await ensure({ ...archive, listKeys: () => Promise.reject(new Error("asked")) });
    assertEquals(await value(), "named by the record");
    assertEquals((await tools.readRecord(KEY)).ver, version(10, "55555555"));
  });
});
