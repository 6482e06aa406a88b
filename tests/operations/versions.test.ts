/** versions: what is listed of a key, wherever it lies, at which cost, and what refuses or bounds it. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import { placeOf } from "../../src/archive/place.ts";
import { versionMicros } from "../../src/base/keys.ts";
import { type Version, versions } from "../../src/operations/mod.ts";
import { BUCKET, names, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing, costOf, refusedIfNotItsOwn } from "../support/operations.ts";
import { movePack, movingBefore, type NotedArchive, notedArchive } from "../support/packs.ts";
import { HOUR_MS } from "../support/times.ts";

describe("versions", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** Archives values of "k", one after another; with packs, beside another key. Returns the names of the versions. */
  async function archive(store: TundraStore, values: string[], packed: boolean): Promise<string[]> {
    const vers: string[] = [];
    for (const value of values) {
      await stack.raw("SET", "k", value);
      if (packed) await stack.raw("SET", "beside", value);
      await store.dirty(packed ? ["k", "beside"] : ["k"]);
      const { frozen, errors } = await store.tick();
      assertEquals([frozen, errors], [packed ? 2 : 1, []]);
      vers.push(placeOf((await stack.record("k"))!.ver).ver);
    }
    return vers;
  }

  const dumpBytes = async (key: string) => (await stack.raw("DUMP", key) as Uint8Array).length;
  const shown = (all: Version[]) =>
    all.map(({ version, gone, current, orphan }) => [version, gone, current ? "current" : orphan ? "orphan" : "older"]);

  for (const packed of [false, true]) {
    const how = packed ? "in packs" : "in objects of their own";
    it(`lists values and removals ${how}, the newest first, with size, time and own expiry`, async () => {
      const store = stack.store();
      const [first] = await archive(store, ["1"], packed);
      const bytes = [await dumpBytes("k")];
      await stack.raw("SET", "k", "longer value");
      const expMs = await stack.nowMs() + HOUR_MS;
      await stack.raw("PEXPIREAT", "k", Math.floor(expMs));
      await stack.raw("SET", "beside", "x");
      await store.dirty("k", ...packed ? ["beside"] : []);
      await store.tick();
      const second = placeOf((await stack.record("k"))!.ver).ver;
      bytes.push(await dumpBytes("k"));
      await stack.raw("DEL", "k");
      await stack.raw("SET", "k", "3");
      await store.dirty("k");
      await stack.raw("DEL", "k");
      await store.tick(); // missing, and nobody said why
      const third = (await stack.record("k"))!.ver;
      assertEquals(await stack.exists("k"), 0);

      const all = await changesNothing(stack, () => versions(store, "k"));
      const place = (ver: string) => packed ? `default/~packs/${ver}` : `default/k/${ver}`;
      const head = (version: string) => ({
        version,
        atMs: Math.floor(versionMicros(version) / 1000),
        current: false,
        orphan: false,
      });
      assertEquals([...all], [
        { ...head(third), bytes: 0, expMs: 0, gone: "inferred", current: true, place: `default/k/${third}` },
        { ...head(second), bytes: bytes[1]!, expMs: Math.floor(expMs), gone: false, place: place(second) },
        { ...head(first!), bytes: bytes[0]!, expMs: 0, gone: false, place: place(first!) },
      ]);
      assert(Math.abs(all[0]!.atMs - await stack.nowMs()) < 60_000);
      assertEquals(all.unreadPacks, 0);
    });
  }

  it("tells a removal on purpose, also after its record has expired: what is older is no orphan then", async () => {
    const store = stack.store();
    const vers = await archive(store, ["1", "2"], true);
    await store.del("k", "beside");
    await store.tick();
    const tombstone = placeOf((await stack.record("k"))!.ver).ver;
    const expected = [[tombstone, "removed", "current"], [vers[1], false, "older"], [vers[0], false, "older"]];
    assertEquals(shown(await versions(store, "k")), expected);
    await stack.raw("DEL", "tundra:default:rec:k");
    expected[0]![2] = "older";
    assertEquals(shown(await versions(store, "k")), expected);
  });

  it("shows what Redis has forgotten: [mark, commit, evict] of a version in a pack", async () => {
    const store = stack.store();
    const [first] = await archive(store, ["1"], true);
    const before = await stack.raw("GET", "tundra:default:rec:k");
    const [second] = await archive(store, ["2"], true);
    await store.evict("k");
    await stack.raw("SET", "tundra:default:rec:k", String(before));
    assertEquals(shown(await versions(store, "k")), [[second, false, "orphan"], [first, false, "current"]]);
    await stack.raw("DEL", "tundra:default:rec:k");
    assertEquals(shown(await versions(store, "k")), [[second, false, "orphan"], [first, false, "orphan"]]);
  });

  it("lists what lies in two packs, as it was moved, once; and what was moved alone, where it lies", async () => {
    const store = stack.store();
    const vers = await archive(store, ["1", "2"], true);
    const objects = stack.s3.objects(BUCKET);
    const from = `default/~packs/${vers[0]}`;
    const bytes = objects.get(from)!;
    const to = `default/~packs/${String(versionMicros(vers[1]!) + 5).padStart(16, "0")}-0000000a`;
    await movePack({ objects } as unknown as NotedArchive, from, to);
    const moved = await versions(store, "k");
    assertEquals([moved.map(({ version }) => version), moved[1]!.place], [[vers[1], vers[0]], to]);
    objects.set(from, bytes);
    const twice = await versions(store, "k");
    assertEquals(shown(twice), [[vers[1], false, "current"], [vers[0], false, "older"]]);
    assertGreater(twice[1]!.bytes, 0);
  });

  it("misses no version whose pack is moved meanwhile, before whichever of its reads", async () => {
    for (let read = 0; read < 10; read++) {
      await stack.flush();
      const noted = notedArchive();
      const vers = await archive(stack.store({ datastore: noted.datastore }), ["1", "2"], true);
      const to = `default/~packs/${String(versionMicros(vers[1]!) + 5).padStart(16, "0")}-0000000a`;
      const store = stack.store({ datastore: movingBefore(noted, read, `default/~packs/${vers[0]}`, to) });
      const all = await versions(store, "k");
      assertEquals([read, ...all.map(({ version, error }) => error ?? version)], [read, vers[1], vers[0]]);
    }
  });

  it("follows the chain into packs that it does not look into, and says how many these are", async () => {
    const store = stack.store();
    const packed = await archive(store, ["1", "2", "3"], true);
    const own = await archive(store, ["4"], false);
    const expected = [...own, ...packed.toReversed()];
    for (const maxPacks of [0, 1, 2, 3]) {
      const all = await versions(store, "k", { maxPacks });
      assertEquals([all.map(({ version }) => version), all.unreadPacks], [expected, 3 - maxPacks]);
      assert(all.every(({ bytes }) => bytes > 0));
    }
    const { listKeys: _, ...datastore } = stack.datastore();
    const all = await versions(stack.store({ datastore }), "k");
    assertEquals([all.map(({ version }) => version), all.unreadPacks], [expected, Infinity]);
    assertEquals((await versions(store, "k", { maxVersions: 2 })).map(({ version }) => version), expected.slice(0, 2));
  });

  it("leaves out a version that is named and absent, and lists one that is damaged with its error", async () => {
    const store = stack.store({ packBytes: 0 });
    const vers = await archive(store, ["1", "2", "3", "4"], false);
    const objects = stack.s3.objects(BUCKET);
    objects.delete(`default/k/${vers[0]}`);
    objects.get(`default/k/${vers[1]}`)![60]! ^= 1;
    const all = await versions(store, "k");
    assertEquals(all.map(({ version, error, bytes }) => [version, error, bytes > 0]), [
      [vers[3], undefined, true],
      [vers[2], undefined, true],
      [vers[1], "CORRUPT", false],
    ]);
    const packed = await archive(store, ["5"], true);
    assertEquals(packed.length, 1);
  });

  it("survives a damaged directory: its pack counts as one that was not read", async () => {
    const store = stack.store();
    const vers = await archive(store, ["1", "2"], true);
    const pack = stack.s3.objects(BUCKET).get(`default/~packs/${vers[0]}`)!;
    pack[pack.length - 1]! ^= 1;
    const all = await versions(store, "k");
    assertEquals([all.map(({ version }) => version), all.unreadPacks], [vers.toReversed(), 1]); // by the chain
  });

  it("keeps keys apart: names that begin alike, long ones, the empty one, and one that was never archived", async () => {
    const store = stack.store();
    const keys = ["k", "k:1", "K", "", "x".repeat(300), "x".repeat(301)];
    for (const packBytes of [0, undefined]) {
      for (const key of keys) await stack.raw("SET", key, `value of ${key}`);
      await stack.store({ packBytes }).dirty(keys);
      assertEquals((await stack.store({ packBytes }).tick()).frozen, keys.length);
    }
    for (const key of keys) {
      assertEquals((await versions(store, key)).map(({ current }) => current), [true, false], key);
    }
    assertEquals([...await versions(store, "never")], []);
  });

  it("costs 2 requests and 4 commands, a listing each, two ranges a pack, one block a version", async () => {
    const store = stack.store();
    await archive(store, ["1", "2", "3"], true);
    await versions(store, "k");
    const [lists, gets] = [stack.s3Count("ListObjectsV2"), stack.s3Count("GetObject")];
    assertEquals(await costOf(stack, () => versions(store, "k")), { redis: 2, billable: 4 });
    assertEquals([stack.s3Count("ListObjectsV2") - lists, stack.s3Count("GetObject") - gets], [2, 9]);
  });

  it("is bounded: with few requests it looks into fewer packs, and with too few it is UNAVAILABLE", async () => {
    const store = stack.store();
    const vers = await archive(store, ["1", "2", "3"], true);
    const all = await versions(store, "k", { maxSubrequests: 12 });
    assertEquals([all.map(({ version }) => version), all.unreadPacks], [vers.toReversed(), 3]);
    await archive(store, ["4", "5", "6"], false);
    await tundraError("UNAVAILABLE", () => versions(store, "k", { maxSubrequests: 12 }));
    const controller = new AbortController();
    controller.abort();
    await tundraError("UNAVAILABLE", () => versions(store, "k", { signal: controller.signal }));
    const seen: number[] = [];
    await versions(store, "k", { onProgress: ({ done }) => seen.push(done) });
    assertEquals(seen.at(-1), 6);
  });

  it("gives the same answer to two calls at once", async () => {
    const store = stack.store();
    const vers = await archive(store, ["1", "2"], true);
    const both = await Promise.all([versions(store, "k"), versions(store, "k")]);
    for (const all of both) assertEquals(all.map(({ version }) => version), vers.toReversed());
  });

  it("refuses wrong arguments, a lost index, another database's, and a record of another version", async () => {
    const store = stack.store();
    await archive(store, ["1"], false);
    const wrong = [{ maxVersions: 0 }, { maxPacks: -1 }, { maxSubrequests: 3 }, { packs: 1 }, { deadlineMs: 5 }];
    for (const options of wrong) await tundraError("BAD_ARGUMENT", () => versions(store, "k", options as object));
    await tundraError("BAD_ARGUMENT", () => versions({} as TundraStore, "k"));
    await tundraError("BAD_ARGUMENT", () => versions(store, "tundra:default:id"));
    await tundraError("BAD_ARGUMENT", () => versions(store, names(2) as unknown as string));
    await refusedIfNotItsOwn(stack, (store) => versions(store, "k"));
    await stack.raw("SET", "tundra:default:rec:k", "3 whatever");
    await tundraError("UNSUPPORTED", () => versions(store, "k"));
  });
});
