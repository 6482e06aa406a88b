/**
 * Several databases and archives: which of them belong together, and what happens to those that do not.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  type Datastore,
  type MemoryDatastore,
  memoryDatastore,
  s3Datastore,
  TundraError,
  type TundraStore,
  tundraStore,
} from "../../mod.ts";
import { moveIndex, rebuild } from "../../src/operations/mod.ts";
import { type Stack, withStack } from "../support/stack.ts";
import { gate } from "../support/waiting.ts";

const OWNERS = "default/~owner/";

/** Everything in a database, as a backup has it. */
async function copyDatabase(from: Stack, to: Stack): Promise<void> {
  await to.flush();
  for (const name of await from.raw("KEYS", "*") as Uint8Array[]) {
    await to.raw(
      "RESTORE",
      name,
      Math.max(0, Number(await from.raw("PTTL", name))),
      await from.raw("DUMP", name) as Uint8Array,
    );
  }
}

const text = (reply: unknown): string | undefined => reply === null ? undefined : String(reply);
const archivedNames = (archive: MemoryDatastore) =>
  [...archive.objects.keys()].filter((name) => !name.startsWith(OWNERS));

async function archived(stack: Stack, store: TundraStore, key: string, value: string): Promise<void> {
  await stack.raw("SET", key, value);
  await store.dirty(key);
  assertEquals((await store.tick()).frozen, 1);
  assertEquals((await store.evict(key)).evicted, [key]);
}

/** A tick evicts nothing that was archived just now. */
async function archivedTwoHoursAgo(stack: Stack, key: string): Promise<void> {
  const name = `tundra:default:rec:${key}`;
  const fields = String(await stack.raw("GET", name)).split(" ");
  fields[2] = `${Number(fields[2]!.slice(0, 16)) - 7_200_000_000}`.padStart(16, "0") + fields[2]!.slice(16);
  await stack.raw("SET", name, fields.join(" "), "KEEPTTL");
  await stack.raw("ZADD", "tundra:default:idle", 1000, key);
}

async function refused(act: () => Promise<unknown>, code: string, message: RegExp): Promise<TundraError> {
  const error = await assertRejects(act, TundraError);
  assertEquals([error.code, error.retryable], [code, code === "UNAVAILABLE"], error.message);
  assertMatch(error.message, message);
  return error;
}

describe("a copy of a database on the original's archive", () => {
  const original = withStack();
  const copy = withStack();
  let archive: MemoryDatastore;
  let first: TundraStore;
  let second: TundraStore;

  beforeEach(async () => {
    await original.flush();
    archive = memoryDatastore();
    first = tundraStore(archive, { redis: original.connection, redisTtlMs: 36_000_000, minEvictBytes: 0 });
    second = tundraStore(archive, { redis: copy.connection, redisTtlMs: 36_000_000, minEvictBytes: 0 });
    await archived(original, first, "a", "archived");
    await archived(original, first, "b", "archived");
    await first.ensureKs("b");
    await copyDatabase(original, copy);
  });

  const everything = async (stack: Stack) => {
    const names = (await stack.raw("KEYS", "*") as Uint8Array[]).map(String).sort();
    return await Promise.all(names.map(async (name) => [name, String(await stack.raw("DUMP", name))]));
  };

  it("is refused by every call, before anything is written, archived, evicted or deleted", async () => {
    const redis = await everything(copy);
    const objects = new Map(archive.objects);
    const calls: Record<string, () => Promise<unknown>> = {
      ensureKs: () => second.ensureKs("a"),
      dirty: () => second.dirty("b"),
      "dirty overwrite": () => second.dirty({ overwrite: true }, "b"),
      "dirty missing del": () => second.dirty({ missing: "del" }, "b"),
      dirtyIn: async () => {
        const pipeline = second.redis.pipeline();
        pipeline.get("b");
        second.dirtyIn(pipeline, "b");
        await pipeline.exec();
      },
      tick: () => second.tick(),
      evict: () => second.evict("b"),
      del: () => second.del("a", "b"),
    };
    for (const [name, act] of Object.entries(calls)) {
      const error = await refused(act, "LOST", /databaseId/);
      assertMatch(error.message, /copy/, name);
      assertMatch(error.message, /moveIndex\(\)/, name);
      assert(error.message.includes(new URL(original.connection.url).host), `${name}: ${error.message}`);
      assertEquals(await everything(copy), redis, name);
      assertEquals(archive.objects, objects, name);
    }
    await first.ensureKs("a");
    assertEquals(text(await original.raw("GET", "a")), "archived");
  });

  it("costs the original nothing: its calls go on as before", async () => {
    await assertRejects(() => second.tick(), TundraError);
    await original.raw("SET", "b", "changed");
    await first.dirty("b");
    assertEquals((await first.tick()).frozen, 1);
    assertEquals((await first.evict("b")).evicted, ["b"]);
    await first.ensureKs("b");
    assertEquals(text(await original.raw("GET", "b")), "changed");
  });

  it("is no copy if databaseId names the same database for both URLs", async () => {
    const id = { databaseId: "carts" };
    await original.flush();
    archive.objects.clear();
    await archived(original, tundraStore(archive, { redis: original.connection, ...id }), "a", "archived");
    await copyDatabase(original, copy);
    await tundraStore(archive, { redis: copy.connection, ...id }).ensureKs("a");
    assertEquals(text(await copy.raw("GET", "a")), "archived");
  });

  it("takes the archive over by moveIndex(), and from then on the former database is refused", async () => {
    const hosts = [original, copy].map(({ connection }) => new URL(connection.url).host);
    assertEquals(await moveIndex(second), { from: hosts[0], to: hosts[1] });
    assertEquals(await moveIndex(second), { from: hosts[1], to: hosts[1] });
    await second.ensureKs("a");
    assertEquals(text(await copy.raw("GET", "a")), "archived");
    await copy.raw("SET", "a", "changed");
    await second.dirty("a");
    assertEquals((await second.tick()).frozen, 1);

    const objects = new Map(archive.objects);
    await original.raw("SET", "c", "1");
    await first.dirty("c");
    await refused(() => first.tick(), "LOST", /owner/);
    assertEquals(archive.objects, objects);
    assertEquals((await first.status()).dirty, 1);
    const owners = [...archive.objects.keys()].filter((name) => name.startsWith(OWNERS));
    assertEquals(owners.length, 2); // who came first, and who owns it now
  });

  it("takes it over although the move was interrupted at any of its requests to the archive", async () => {
    for (let interrupted = 0;; interrupted++) {
      await copyDatabase(original, copy);
      const objects = new Map(archive.objects);
      let left = interrupted;
      const failing = <A extends unknown[], R>(act: (...args: A) => Promise<R>) => (...args: A): Promise<R> =>
        left-- === 0 ? Promise.reject(new TundraError("UNAVAILABLE", "Cannot reach it")) : act(...args);
      const datastore: Datastore = {
        putKey: failing(archive.putKey),
        fetchKeys: failing(archive.fetchKeys),
        listKeys: failing(archive.listKeys),
        deleteKeys: failing(archive.deleteKeys),
      };
      const store = tundraStore(datastore, { redis: copy.connection });
      const failed = await moveIndex(store).then(() => false, () => true);
      assertEquals((await moveIndex(store)).to, new URL(copy.connection.url).host);
      await tundraStore(archive, { redis: copy.connection }).ensureKs("a");
      assertEquals(text(await copy.raw("GET", "a")), "archived");
      await refused(
        async () => {
          await first.dirty("b");
          await first.tick();
        },
        "LOST",
        /owner/,
      );
      archive.objects.clear();
      for (const [name, bytes] of objects) archive.objects.set(name, bytes);
      if (!failed) {
        assert(interrupted > 4, String(interrupted));
        return;
      }
    }
  });

  it("refuses what is no store and unknown options before anything is sent", async () => {
    const wrong: [unknown, unknown][] = [[{}, {}], [second, { dryrun: true }], [second, { signal: 5 }]];
    for (const [store, options] of wrong) {
      await refused(() => moveIndex(store as TundraStore, options as object), "BAD_ARGUMENT", /^Cannot move an index/);
    }
    assertEquals((await moveIndex(second)).from, new URL(original.connection.url).host);
  });

  it("moves nothing if there is no index, or the archive is another one's", async () => {
    await copy.raw("DEL", "tundra:default:id");
    await refused(() => moveIndex(second), "LOST", /confirmed id/);
    await copyDatabase(original, copy);
    const objects = new Map(archive.objects);
    archive.objects.clear();
    await refused(() => moveIndex(second), "LOST", /holds neither/);
    for (const [name, bytes] of objects) archive.objects.set(name, bytes);
    archive.objects.set(`${OWNERS}other`, new TextEncoder().encode("other@third.example"));
    for (const name of objects.keys()) if (/owner\/\w{8}-/.test(name)) archive.objects.delete(name);
    await refused(() => moveIndex(second), "LOST", /other@third\.example/);
  });
});

describe("an archive that was changed by mistake", () => {
  const stack = withStack();
  let right: MemoryDatastore;
  let wrong: MemoryDatastore;
  const storeOn = (datastore: Datastore) =>
    tundraStore(datastore, { redis: stack.connection, redisTtlMs: 36_000_000, minEvictBytes: 0 });

  beforeEach(async () => {
    await stack.flush();
    [right, wrong] = [memoryDatastore(), memoryDatastore()];
    await archived(stack, storeOn(right), "a", "archived");
  });

  it("gets nothing from a tick, and nothing is evicted: LOST, and all keys stay queued", async () => {
    await stack.raw("SET", "b", "new");
    await storeOn(right).ensureKs("a");
    await archivedTwoHoursAgo(stack, "a");
    const store = storeOn(wrong);
    await store.dirty("b");
    for (let i = 0; i < 3; i++) {
      await refused(() => store.tick(), "LOST", /wrong ones/);
      assertEquals([wrong.objects.size, await stack.raw("EXISTS", "a", "b")], [0, 2]);
      assertEquals((await store.status()).due, 1);
    }
    const report = await storeOn(right).tick();
    assertEquals([report.frozen, report.evicted], [1, 1]);
  });

  it("says so in the LOST of ensureKs: the place, and that it may be the wrong one", async () => {
    const place = 'bucket "carts", prefix "x/"';
    const error = await assertRejects(() => storeOn({ ...wrong, place }).ensureKs("a"), TundraError);
    const cause = error.causes["a"] as TundraError;
    assertEquals(cause.code, "LOST");
    assert(cause.message.includes(place), cause.message);
    assertMatch(cause.message, /wrong/);
    await storeOn(right).ensureKs("a");
  });

  it("is refused also if another index owns it", async () => {
    wrong.objects.set(`${OWNERS}other`, new TextEncoder().encode("other@third.example"));
    await stack.raw("SET", "b", "new");
    await storeOn(wrong).dirty("b");
    await refused(() => storeOn(wrong).tick(), "LOST", /other@third\.example/);
    assertEquals(wrong.objects.size, 1);
  });

  it("is none if only the owner objects went, as a lifecycle rule takes the oldest first: a tick puts one again", async () => {
    for (const name of right.objects.keys()) if (name.startsWith(OWNERS)) right.objects.delete(name);
    await storeOn(right).ensureKs("a");
    await stack.raw("SET", "a", "changed");
    await storeOn(right).dirty("a");
    assertEquals((await storeOn(right).tick()).frozen, 1);
    const owners = [...right.objects].filter(([name]) => name.startsWith(OWNERS));
    const id = String(await stack.raw("GET", "tundra:default:id"));
    assertEquals(owners.map(([name, bytes]) => [name, new TextDecoder().decode(bytes)]), [[
      OWNERS + id.split("@")[0],
      id,
    ]]);
  });

  it("names bucket and prefix as s3Datastore was given them", () => {
    const { place } = s3Datastore({
      ...{ region: "eu-central-1", bucket: "carts", prefix: "x/" },
      ...{ accessKeyId: "key", secretAccessKey: "secret" },
    });
    assertEquals(place, 'bucket "carts", prefix "x/"');
  });
});

describe("a database that was emptied", () => {
  const stack = withStack();
  beforeEach(() => stack.flush());

  const listings: [string, (archive: MemoryDatastore) => Datastore["listKeys"]][] = [
    [
      "is empty, but has a cursor",
      (archive) => async (prefix, cursor, options) =>
        cursor === undefined ? { names: [], cursor: "-" } : await archive.listKeys(prefix, cursor.slice(1), options),
    ],
    ["holds one name", (archive) => async (prefix, cursor, options) => {
      const { names } = await archive.listKeys(prefix, cursor, options);
      return names.length > 1 ? { names: names.slice(0, 1), cursor: names[0]! } : { names };
    }],
  ];
  for (const [what, listing] of listings) {
    it(`does not begin anew, also if a page of the listing ${what}: all is LOST, and a rebuild brings it back`, async () => {
      const archive = memoryDatastore();
      const store = tundraStore({ ...archive, listKeys: listing(archive) }, {
        redis: stack.connection,
        redisTtlMs: 36_000_000,
        minEvictBytes: 0,
      });
      await stack.raw("MSET", "a", "1", "b", "2");
      await store.dirty("a", "b");
      assertEquals((await store.tick()).frozen, 2); // in a pack: behind the owners in the listing
      assertEquals((await store.evict("a", "b")).evicted.length, 2);
      const before = archive.objects.size;
      await stack.flush();
      await refused(() => store.ensureKs("a"), "LOST", /rebuild/);
      await stack.raw("SET", "c", "3");
      await store.dirty("c");
      await refused(() => store.tick(), "LOST", /rebuild/);
      assertEquals(archive.objects.size, before);
      assertEquals((await rebuild(store)).done, true);
      await store.ensureKs("a", "b");
      assertEquals([await stack.raw("GET", "a"), await stack.raw("GET", "b")].map(String), ["1", "2"]);
    });
  }
});

describe("two databases that begin with one archive at the same moment", () => {
  const stacks = [withStack(), withStack()];
  beforeEach(() => Promise.all(stacks.map((stack) => stack.flush())));

  const KINDS: Record<string, (archive: MemoryDatastore) => Datastore> = {
    "conditional PUTs and a listing": (archive) => archive,
    "a listing, but no conditional PUTs": (archive) => ({
      ...archive,
      putKey: (name, value, options) => archive.putKey(name, value, { ...options, ifAbsent: false }),
    }),
    "conditional PUTs, but no listing": ({ putKey, fetchKeys }) => ({ putKey, fetchKeys }),
  };

  for (const [kind, datastoreOf] of Object.entries(KINDS)) {
    it(`are never both accepted, whatever the order of their requests, and one is in the end: ${kind}`, async () => {
      // the second one begins after so many requests of the first to the archive
      for (let lead = 0; lead <= 6; lead++) {
        await Promise.all(stacks.map((stack) => stack.flush()));
        const archive = memoryDatastore();
        const second = gate();
        let sent = 0;
        const stores = stacks.map((stack, i) => {
          const datastore = datastoreOf(archive);
          const counted = Object.fromEntries(
            Object.entries(datastore).filter(([, act]) => typeof act === "function").map(([name, act]) => [
              name,
              async (...args: unknown[]) => {
                if (i === 0 && sent++ === lead) second.open();
                if (i === 1) await second.wait();
                await new Promise((resolve) => setTimeout(resolve, 2));
                return await (act as (...args: unknown[]) => unknown)(...args);
              },
            ]),
          ) as unknown as Datastore;
          return tundraStore(counted, { redis: stack.connection });
        });
        for (const [i, stack] of stacks.entries()) {
          await stack.raw("SET", `k${i}`, "value");
          await stores[i]!.dirty(`k${i}`);
        }
        const first = stores[0]!.tick().then(() => true, () => false).finally(() => second.open());
        const accepted = await Promise.all([first, stores[1]!.tick().then(() => true, () => false)]);
        assert(!(accepted[0] && accepted[1]), `both, lead ${lead}`);
        for (let round = 0; !accepted.includes(true); round++) {
          assert(round < 10, `neither, lead ${lead}`);
          for (const [i, store] of stores.entries()) accepted[i] ||= await store.tick().then(() => true, () => false);
        }
        const [winner, loser] = accepted[0] ? [0, 1] : [1, 0];
        assertEquals(accepted.filter(Boolean).length, 1);
        assertEquals((await stores[winner]!.evict(`k${winner}`)).evicted, [`k${winner}`]);
        await stores[winner]!.ensureKs(`k${winner}`);
        const error = await refused(() => stores[loser]!.tick(), "LOST", /tqname, bucket or prefix of its own/);
        assertMatch(error.message, /rebuild first/);
        assertMatch(error.message, /begin anew/);
        assertEquals(archivedNames(archive).map((name) => name.split("/")[1]), [`k${winner}`]);
        assertEquals((await stores[loser]!.status()).dirty, 1);
      }
    });
  }
});

describe("a database that comes second", () => {
  const stacks = [withStack(), withStack()];
  beforeEach(() => Promise.all(stacks.map((stack) => stack.flush())));

  it("is told what it can be, and what to do for each", async () => {
    const archive = memoryDatastore();
    const [one, two] = stacks.map((stack) => tundraStore(archive, { redis: stack.connection }));
    await archived(stacks[0]!, one!, "a", "1");
    await stacks[1]!.raw("SET", "b", "1");
    await two!.dirty("b");
    for (const act of [() => two!.tick(), () => two!.ensureKs("a"), () => two!.del("b"), () => two!.evict("b")]) {
      const error = await refused(act, "LOST", /another database or store uses this archive/);
      assertMatch(error.message, /lost .*rebuild first/);
      assertMatch(error.message, /anew on purpose/);
    }
    assertEquals(await stacks[1]!.raw("EXISTS", "tundra:default:id"), 0);
  });
});
