/**
 * Damage in the bucket, seen through the store: whatever an archive object has become, ensureKs() answers CORRUPT or
 * LOST, nothing wrong is restored, the key stays evicted, and comes back as soon as its object is right again.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { constants, deflateRawSync } from "node:zlib";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { deflateSync } from "fflate";
import { deflateFreezer, TundraError, type TundraStore } from "../../mod.ts";
import { sealContainer } from "../../src/archive/container.ts";
import { type Place, placeOf } from "../../src/archive/place.ts";
import { objectName, packName } from "../../src/base/keys.ts";
import { rebuild, verify, versions } from "../../src/operations/mod.ts";
import { BUCKET, names, type StoreOptions, tundraError, withArchive } from "../support/fixtures.ts";
import { seededRandom } from "../support/random.ts";
import { freezeRecord } from "../support/records.ts";

const EXP = 4_000_000_000_000; // all but for ever
/** Deno cuts objects off at each length, Bun and Node at every third one: what thaws them is the same code. */
const STEP = process.versions.deno ? 1 : 3;

/** The code for each key with which ensureKs fails; "" if it does not. */
async function codes(store: TundraStore, keys: string[]): Promise<string[]> {
  try {
    await store.ensureKs(keys);
  } catch (error) {
    assert(error instanceof TundraError && error.code === "ENSURE_FAILED", String(error));
    assertEquals(error.retryable, false);
    const { causes } = error;
    return keys.map((key) => (causes[key] as TundraError | undefined)?.code ?? "");
  }
  return keys.map(() => "");
}

describe("damage in the archive", () => {
  const cold = withArchive({ packBytes: 0 });
  beforeEach(() => cold.flush());

  const objects = () => cold.s3.objects(BUCKET);

  async function nameOf(key: string): Promise<string> {
    return await objectName({ tqname: "default" }, key, (await cold.record(key))!.ver);
  }

  /** Writes, archives and evicts keys. */
  async function evicted(
    store: TundraStore,
    keys: string[],
    write: (key: string) => (string | number)[],
  ): Promise<void> {
    for (const key of keys) await cold.raw(...write(key) as [string]);
    await store.dirty(keys);
    await store.tick();
    assertEquals((await store.evict(keys)).kept, {});
  }

  /**
   * Damages each key's object in its own way; all must be CORRUPT and stay evicted, also asked again, and come back
   * once the objects are right again.
   */
  async function allCorrupt(
    store: TundraStore,
    keys: string[],
    damage: (object: Uint8Array, i: number) => Uint8Array,
  ): Promise<void> {
    const right = new Map<string, Uint8Array>();
    for (const [i, key] of keys.entries()) {
      const name = await nameOf(key);
      right.set(name, objects().get(name)!);
      objects().set(name, damage(objects().get(name)!, i));
    }
    const before = await cold.everything();
    for (let again = 0; again < 2; again++) {
      const wrong = (await codes(store, keys)).flatMap((code, i) => code === "CORRUPT" ? [] : [`${keys[i]}: ${code}`]);
      assertEquals(wrong, []);
    }
    assertEquals(await cold.everything(), before, "Redis is as it was: nothing restored, each record evicted");
    for (const [name, object] of right) objects().set(name, object);
    assertEquals([...new Set(await codes(store, keys))], [""]);
    assertEquals(await cold.exists(...keys), keys.length);
  }

  const kinds: [string, StoreOptions, (key: string) => (string | number)[]][] = [
    ["a string as it is", { freezer: null }, (key) => ["SET", key, "value\u0000\u00ff"]],
    ["a string with its own expiry, deflated", {}, (key) => ["SET", key, "tundra ".repeat(30), "PXAT", EXP]],
    ["a hash, deflated", {}, (key) => ["HSET", key, "a", "1", "b", "tundra ".repeat(20)]],
    ["a list, deflated twice", {
      freezer: [deflateFreezer(), { ...deflateFreezer({ level: 0 }), id: "second" }],
    }, (key) => ["RPUSH", key, "a", "b", "tundra ".repeat(20)]],
  ];
  for (const [name, options, write] of kinds) {
    it(`is CORRUPT wherever an object is cut off (${name})`, async () => {
      const store = cold.store(options);
      await evicted(store, ["size0000"], write);
      const size = objects().get(await nameOf("size0000"))!.length + 4;
      const keys = Array.from({ length: Math.ceil(size / STEP) }, (_, i) => `size${String(i + 1).padStart(4, "0")}`);
      await evicted(store, keys, write);
      // to beyond its end: all lengths that this object can have are among them
      await allCorrupt(store, keys, (object, i) => object.subarray(0, Math.min(i * STEP, object.length - 1)));
    });

    it(`is CORRUPT with bits flipped, bytes overwritten or added anywhere (${name})`, async () => {
      const store = cold.store(options);
      const random = seededRandom(`damage anywhere in ${name}`);
      const keys = names(Math.ceil(160 / STEP));
      await evicted(store, keys, write);
      await allCorrupt(store, keys, (object, i) => {
        const damaged = new Uint8Array(object);
        const at = random.int(object.length);
        if (i % 4 === 0) damaged[at]! ^= 1 << random.int(8);
        if (i % 4 === 1) { for (let n = 0; n < 3; n++) damaged[(at + n * 7) % object.length]! ^= 1 + random.int(255); }
        if (i % 4 === 2) return Uint8Array.from([...object.subarray(0, at), random.int(256), ...object.subarray(at)]);
        if (i % 4 === 3) {
          const page = damaged.subarray(at, at + 64); // a lost page: zeros
          if (page.every((byte) => byte === 0)) damaged[at]! = 1;
          else page.fill(0);
        }
        return damaged;
      });
    });
  }

  it("is CORRUPT if something else is there: nothing, a page of text, the object twice, another store's owner", async () => {
    const store = cold.store();
    const keys = names(4);
    await evicted(store, keys, (key) => ["SET", key, `value of ${key}`]);
    const text = (what: string) => new TextEncoder().encode(what);
    await allCorrupt(store, keys, (object, i) =>
      [
        new Uint8Array(0),
        text("<Error><Code>NoSuchKey</Code></Error>"),
        Uint8Array.from([...object, ...object]),
        text("b51c8b7e-0000-4000-8000-000000000000"),
      ][i]!);
  });

  it("is CORRUPT for each of two keys whose objects have changed places", async () => {
    const store = cold.store();
    await evicted(store, ["a", "b"], (key) => ["SET", key, `value of ${key}`]);
    const both = [objects().get(await nameOf("a"))!, objects().get(await nameOf("b"))!];
    await allCorrupt(store, ["a", "b"], (_, i) => both[1 - i]!);
    assertEquals([await cold.get("a"), await cold.get("b")], ["value of a", "value of b"]);
  });

  it("is CORRUPT if an older version stands under a newer one's name", async () => {
    const store = cold.store();
    await evicted(store, ["a"], () => ["SET", "a", "old"]);
    const old = objects().get(await nameOf("a"))!;
    await store.ensureKs("a");
    await evicted(store, ["a"], () => ["SET", "a", "new"]);
    await allCorrupt(store, ["a"], () => old);
    assertEquals(await cold.get("a"), "new");
  });

  it("is CORRUPT if the same key's object of another queue stands in its place", async () => {
    const [one, two] = [cold.store({ tqname: "one" }), cold.store()];
    await evicted(one, ["a"], () => ["SET", "a", "of one"]);
    const { ver } = (await cold.record("a", "one"))!;
    const other = objects().get(await objectName({ tqname: "one" }, "a", ver))!;
    await evicted(two, ["a"], () => ["SET", "a", "of two"]);
    await allCorrupt(two, ["a"], () => other);
    assertEquals(await cold.get("a"), "of two");
  });

  it("is CORRUPT, and nothing counts as deleted, if a tombstone of another version stands in its place", async () => {
    const store = cold.store();
    await evicted(store, ["a"], () => ["SET", "a", "value"]);
    const gone = await freezeRecord({ key: "a", ver: "1764000000000001-0a1b2c3d", at: 1, gone: true }, []);
    await allCorrupt(store, ["a"], () => gone);
    assertEquals(await cold.get("a"), "value");
  });

  it("is CORRUPT, never LOST or an older value, if the newer version that must do is damaged", async () => {
    const store = cold.store();
    await evicted(store, ["a"], () => ["SET", "a", "value"]);
    const name = await nameOf("a");
    const newer = name.replace(/\/(\d{16})-/, (_, us) => `/${Number(us) + 1}-`);
    const object = objects().get(name)!;
    for (const length of [0, 37, object.length - 1]) {
      objects().delete(name);
      objects().set(newer, object.subarray(0, length));
      assertEquals(await codes(store, ["a"]), ["CORRUPT"]);
    }
    objects().delete(newer);
    assertEquals(await codes(store, ["a"]), ["LOST"]);
    objects().set(name, object);
    assertEquals(await codes(store, ["a"]), [""]);
  });

  it("spoils no key beside it: those come back, those missing are LOST, those damaged CORRUPT", async () => {
    const store = cold.store();
    const keys = names(30);
    await evicted(store, keys, (key) => ["SET", key, `value of ${key}`]);
    for (const [i, key] of keys.entries()) {
      const name = await nameOf(key);
      if (i % 3 === 1) objects().set(name, objects().get(name)!.subarray(1));
      if (i % 3 === 2) objects().delete(name);
    }
    assertEquals(await codes(store, keys), keys.map((_, i) => ["", "CORRUPT", "LOST"][i % 3]!));
    for (const [i, key] of keys.entries()) assertEquals(await cold.get(key), i % 3 === 0 ? `value of ${key}` : null);
  });

  it("names the key and the reason, and no byte of any value", async () => {
    const store = cold.store({ freezer: null });
    await evicted(store, ["a"], () => ["SET", "a", "confidential"]);
    const name = await nameOf("a");
    objects().set(name, Uint8Array.from([...objects().get(name)!, 0]));
    const { causes, message } = await tundraError("ENSURE_FAILED", () => store.ensureKs("a"));
    assertMatch(causes["a"]!.message, /^Cannot thaw "a" as its archive object must have its checksum/);
    assert(!message.includes("confidential") && !causes["a"]!.message.includes("confidential"), message);
  });

  it("is no trap: a damaged key can be deleted, or written anew", async () => {
    const store = cold.store();
    await evicted(store, ["a", "b"], (key) => ["SET", key, "value"]);
    for (const key of ["a", "b"]) objects().set(await nameOf(key), new Uint8Array(50));
    assertEquals(await codes(store, ["a", "b"]), ["CORRUPT", "CORRUPT"]);
    assertEquals((await tundraError("CONFLICT", () => store.dirty({ missing: "del" }, "a"))).keys, ["a"]);
    assertEquals(await store.del("a"), 1);
    assertEquals(await codes(store, ["a"]), [""]);
    assertEquals(await cold.exists("a"), 0);
    await cold.raw("SET", "b", "anew");
    await store.dirty({ overwrite: true }, "b");
    await store.tick();
    assertEquals((await store.evict("b")).evicted, ["b"]);
    assertEquals(await codes(store, ["b"]), [""]);
    assertEquals(await cold.get("b"), "anew");
  });

  it("leaves ticks at peace: they archive all else, and never touch a damaged key", async () => {
    const store = cold.store();
    await evicted(store, ["a"], () => ["SET", "a", "value"]);
    const name = await nameOf("a");
    objects().set(name, new Uint8Array(50));
    await cold.raw("SET", "b", "value");
    await store.dirty("b");
    const { frozen, failed, done } = await store.tick();
    assertEquals([frozen, failed, done], [1, 0, true]);
    assertEquals(objects().get(name), new Uint8Array(50));
    assertEquals((await cold.record("a"))!.flag, "e");
  });
});

describe("damage in a pack", () => {
  const cold = withArchive();
  beforeEach(() => cold.flush());
  const objects = () => cold.s3.objects(BUCKET);
  const keys = names(60);

  /** Keys that share a pack of several blocks, evicted; its name, and the place of each. */
  async function packed(store: TundraStore): Promise<{ pack: string; places: Place[] }> {
    for (const key of keys) await cold.raw("SET", key, crypto.getRandomValues(new Uint8Array(3_000)));
    await store.dirty(keys);
    assertEquals((await store.tick()).frozen, keys.length);
    assertEquals((await store.evict(keys)).kept, {});
    const places = await Promise.all(keys.map(async (key) => placeOf((await cold.record(key))!.ver)));
    assertEquals(new Set(places.map(({ pack }) => pack)).size, 1);
    assert(new Set(places.map(({ offset }) => offset)).size > 4);
    return { pack: packName("default", places[0]!.pack), places };
  }

  /** Damages the pack; each key fails with its code, then comes back once the pack is right again. */
  async function fails(store: TundraStore, pack: string, damaged: Uint8Array, expected: string[]): Promise<void> {
    const right = objects().get(pack)!;
    objects().set(pack, damaged);
    assertEquals(await codes(store, keys), expected);
    objects().set(pack, right);
    assertEquals(await codes(store, keys), keys.map(() => ""));
    assertEquals((await store.evict(keys)).kept, {});
  }

  for (const [how, freezer] of [["as it is", null], ["deflated", deflateFreezer()]] as const) {
    it(`is CORRUPT for exactly the keys of the block that it is in, wherever it is (${how})`, async () => {
      const store = cold.store({ freezer });
      const random = seededRandom(`damage in a pack, ${how}`);
      const { pack, places } = await packed(store);
      for (let i = 0; i < 10; i++) {
        const damaged = objects().get(pack)!.slice();
        const at = random.int(damaged.length);
        damaged[at]! ^= 1 << random.int(8);
        const expected = places.map(({ offset, length }) => offset <= at && at < offset + length ? "CORRUPT" : "");
        await fails(store, pack, damaged, expected);
      }
    });
  }

  it("that cuts it off concerns exactly the keys of blocks that are not whole", async () => {
    const store = cold.store({ freezer: null });
    const random = seededRandom("a pack that is cut off");
    const { pack, places } = await packed(store);
    for (let i = 0; i < 10; i++) {
      const size = random.int(objects().get(pack)!.length);
      const expected = places.map(({ offset, length }) => offset + length > size ? "CORRUPT" : "");
      await fails(store, pack, objects().get(pack)!.slice(0, size), expected);
    }
  });

  for (
    const [how, damage] of [
      ["cut off", (pack: Uint8Array) => pack.slice(0, 500)],
      ["damaged in its head", (pack: Uint8Array) => pack.map((byte, i) => i === 8 ? byte ^ 1 : byte)],
    ] as const
  ) {
    it(`that is ${how} stops neither verify() nor versions() nor rebuild({ skipDamaged }): they go on with other packs`, async () => {
      const store = cold.store({ freezer: null });
      await cold.raw("SET", "other", "value");
      await store.dirty(["other"]);
      await store.tick();
      const { pack } = await packed(store);
      objects().set(pack, damage(objects().get(pack)!));
      const { done: isVerified, damaged } = await verify(store);
      assert(isVerified && damaged.length > 0 && damaged.every(({ code }) => code === "CORRUPT"));
      assertEquals((await versions(store, "other")).map(({ gone }) => gone), [false]);
      await cold.raw("FLUSHALL");
      const { done } = await rebuild(store, { skipDamaged: true });
      assertEquals(done, true);
      await store.ensureKs("other");
      assertEquals(await cold.get("other"), "value");
    });
  }

  it("is CORRUPT for all keys if another pack of theirs stands in its place", async () => {
    const store = cold.store();
    const { pack: first } = await packed(store);
    await store.ensureKs(keys);
    const { pack } = await packed(store);
    await fails(store, pack, objects().get(first)!, keys.map(() => "CORRUPT"));
  });
});

describe("a bomb in the archive", () => {
  const cold = withArchive();
  beforeEach(() => cold.flush());

  const MAX = 1 << 20;
  const claim = (bytes: number, stream: Uint8Array) =>
    new Uint8Array(Buffer.concat([Uint8Array.from([1, bytes >>> 24, bytes >>> 16, bytes >>> 8, bytes]), stream]));
  const zeros = (bytes: number) => deflateSync(new Uint8Array(bytes), { level: 9 });
  // Blocks of which none is the last, 4 MB in all.
  const fourGigabytes = () => {
    const block = deflateRawSync(new Uint8Array(16 * MAX), { finishFlush: constants.Z_SYNC_FLUSH });
    return new Uint8Array(Buffer.concat([...new Array(256).fill(block), zeros(1)]));
  };

  /** A key whose object is this one. */
  async function planted(store: TundraStore, object: Uint8Array): Promise<void> {
    await cold.raw("SET", "a", "value");
    await store.dirty("a");
    await store.tick();
    await store.evict("a");
    cold.s3.objects(BUCKET).set(await objectName({ tqname: "default" }, "a", (await cold.record("a"))!.ver), object);
  }

  const bombs: [string, () => Promise<Uint8Array>][] = [
    ["4 GB, and says so", () => sealContainer(["deflate"], claim(0xffff_ffff, fourGigabytes()))],
    ["4 GB, and says 100 bytes", () => sealContainer(["deflate"], claim(100, fourGigabytes()))],
    ["4 GB, and says all that it may", () => sealContainer(["deflate"], claim(MAX, fourGigabytes()))],
    ["one byte more than it says", () => sealContainer(["deflate"], claim(1000, zeros(1001)))],
    ["one byte more than may be", () => sealContainer(["deflate"], claim(MAX + 1, zeros(MAX + 1)))],
    ["the same freezer 255 times over", () => {
      let frozen: Uint8Array = new Uint8Array(MAX); // each layer is within the bounds
      for (let i = 0; i < 255; i++) {
        frozen = i % 2 ? Uint8Array.from([0, ...frozen]) : claim(frozen.length, deflateSync(frozen));
      }
      return sealContainer(new Array(255).fill("deflate"), frozen);
    }],
  ];
  for (const [name, make] of bombs) {
    it(`is CORRUPT, quickly and in little memory, if it inflates to ${name}`, async () => {
      const store = cold.store({ freezer: deflateFreezer({ maxBytes: MAX }) });
      await planted(store, await make());
      const before = process.memoryUsage().rss;
      const from = performance.now();
      const { causes } = await tundraError("ENSURE_FAILED", () => store.ensureKs("a"));
      const ms = performance.now() - from;
      assertEquals((causes["a"] as TundraError).code, "CORRUPT");
      assert(ms < 2000, `took ${ms} ms`);
      const grown = process.memoryUsage().rss - before;
      assert(grown < 200 * MAX, `took ${grown} bytes`);
      assertEquals(await cold.exists("a"), 0);
    });
  }

  it("of the allowed size is thawed, and then refused for what it holds", async () => {
    const store = cold.store({ freezer: deflateFreezer({ maxBytes: MAX }) });
    await planted(store, await sealContainer(["deflate"], claim(MAX, zeros(MAX))));
    const { causes } = await tundraError("ENSURE_FAILED", () => store.ensureKs("a"));
    assertEquals((causes["a"] as TundraError).code, "CORRUPT");
    assertMatch(causes["a"]!.message, /must hold the CBOR map of a record/);
  });

  it("in a dump is refused by Redis itself: UNSUPPORTED, and nothing is restored", async () => {
    const store = cold.store();
    await planted(store, new Uint8Array(0));
    const { ver } = (await cold.record("a"))!;
    const name = await objectName({ tqname: "default" }, "a", ver);
    const dumps = [new Uint8Array(0), new Uint8Array(40).fill(7), new Uint8Array(Buffer.from("not a dump at all"))];
    for (const dump of dumps) {
      const object = await freezeRecord({ key: "a", ver, at: 1, exp: 0, dump }, []);
      cold.s3.objects(BUCKET).set(name, object);
      const { causes } = await tundraError("ENSURE_FAILED", () => store.ensureKs("a"));
      assertEquals((causes["a"] as TundraError).code, "UNSUPPORTED");
      assertEquals(await cold.exists("a"), 0);
      assertEquals((await cold.record("a"))!.flag, "e");
    }
  });
});
