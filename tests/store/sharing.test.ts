/** Stores side by side, ticks side by side, and calls with many keys or none. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater, assertRejects } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import { memoryDatastore } from "../../mod.ts";
import { BUCKET, hooked, isOwner, names, PACKINGS, tundraError, withArchive } from "../support/fixtures.ts";
import { gate } from "../support/waiting.ts";

describe("stores of different tqname on one Redis and one bucket", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("share no key of Tundra, no object, no queue and no index id", async () => {
    const [a, b] = [stack.store({ tqname: "a" }), stack.store({ tqname: "b" })];
    await stack.raw("MSET", "of a", "1", "of b", "2");
    await a.dirty("of a");
    await b.dirty("of b");
    const before = await stack.everything("tundra:b:*");
    assertEquals(Object.keys(before), ["tundra:b:dirty", "tundra:b:rec:of b"]);

    const report = await a.tick();
    assertEquals([report.claimed, report.frozen], [1, 1]);
    assertEquals((await a.evict("of a", "of b")).kept, { "of b": "never archived" });
    await b.ensureKs("of a");
    assertEquals(await stack.exists("of a"), 0);
    await a.ensureKs("of a");
    await a.del("of a");
    await a.tick();
    assertEquals(await stack.everything("tundra:b:*"), before);
    assert([...stack.s3.objects(BUCKET).keys()].every((name) => name.startsWith("a/")));

    await b.tick();
    await b.evict("of b");
    assertEquals(stack.objectNames().map((name) => name.split("/").slice(0, 2).join("/")), [
      "a/of.20a", // the tombstone
      "b/of.20b",
    ]);
    assertEquals((await a.status()).totals.frozen, 1);
    assertEquals((await b.status()).totals.frozen, 1);
    assert(String(await stack.raw("GET", "tundra:a:id")) !== String(await stack.raw("GET", "tundra:b:id")));
    const outside = Object.keys(await stack.everything()).filter((key) => !/^tundra:[ab]:/.test(key));
    assertEquals(outside, []);
  });

  it("a name that begins with the other's shares nothing either", async () => {
    const [a, ab] = [stack.store({ tqname: "a" }), stack.store({ tqname: "a-b" })];
    await stack.raw("SET", "k", "value");
    await ab.dirty("k");
    await ab.tick();
    await ab.evict("k");
    assertEquals((await a.tick()).claimed, 0);
    await a.ensureKs("k");
    assertEquals(await stack.exists("k"), 0);
    await ab.ensureKs("k");
    assertEquals(await stack.get("k"), "value");
  });
});

describe("ticks at once", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  for (const [packBytes, how] of PACKINGS) {
    it(`freeze each key once, and share the work, ${how}`, async () => {
      const keys = names(300);
      await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
      const [one, two] = [stack.store({ packBytes }), stack.store({ packBytes })];
      await one.tick(); // the owner object
      const before = stack.s3Count("PutObject");
      await one.dirty(keys);
      const reports = await Promise.all([one.tick({ batchKeys: 20 }), two.tick({ batchKeys: 20 })]);
      const sum = (field: "claimed" | "frozen" | "failed") => reports[0][field] + reports[1][field];
      assertEquals([sum("claimed"), sum("frozen"), sum("failed")], [300, 300, 0]);
      assert(reports.every((report) => report.claimed > 0 && report.done));
      const objects = packBytes > 0 ? 300 / 20 : 300;
      assertEquals([(await stack.versions()).length, stack.objectNames().length], [300, objects]);
      assertEquals(stack.s3Count("PutObject") - before, objects);
      assertEquals((await one.evict(keys)).evicted.length, 300);
    });
  }

  it("that are the very first agree on one index id, which is the owner object's", async () => {
    await stack.raw("SET", "k", "value");
    const stores = Array.from({ length: 4 }, () => stack.store());
    await stores[0]!.dirty("k");
    const reports = await Promise.all(stores.map((store) => store.tick()));
    assertEquals(reports.reduce((frozen, report) => frozen + report.frozen, 0), 1);
    const id = String(await stack.raw("GET", "tundra:default:id"));
    const owners = [...stack.s3.objects(BUCKET)].filter(([name]) => name.startsWith("default/~owner/"));
    assertEquals(
      owners.map(([name, bytes]) => [name, new TextDecoder().decode(bytes)]).sort(),
      [
        [`default/~owner/${id.split("@")[0]}`, id],
        ["default/~owner/first", id],
      ].sort(),
    );
    assertEquals((await stores[3]!.evict("k")).evicted, ["k"]);
    await stores[2]!.ensureKs("k");
    assertEquals(await stack.get("k"), "value");
  });

  it("a lease is nobody else's: a second tick claims nothing of what the first is uploading", async () => {
    const door = gate();
    await stack.raw("SET", "k", "value");
    const slow = stack.store({
      datastore: hooked(stack.datastore(), {
        async putKey(name, ...rest) {
          if (!isOwner(name)) await door.wait();
          return await stack.datastore().putKey(name, ...rest);
        },
      }),
    });
    await slow.dirty("k");
    const first = slow.tick();
    await door.reached;
    const second = await stack.store().tick();
    assertEquals([second.claimed, second.done], [0, true]);
    door.open();
    assertEquals((await first).frozen, 1);
  });
});

describe("calls with many keys", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const keys = names(5000);
  const fill = () => stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));

  it("dirty, tick, evict, ensureKs and del of 5,000 keys in one call each", async () => {
    const archive = memoryDatastore();
    const store = stack.store({ datastore: archive });
    await fill();
    await store.dirty(...keys);
    assertEquals((await store.status()).dirty, 5000);
    assertEquals((await store.tick({ maxKeys: 5000, batchKeys: 1000, deadlineMs: 60_000 })).frozen, 5000);
    const { evicted, kept } = await store.evict(...keys);
    assertEquals([evicted, kept], [keys, {}]);
    assertEquals(await stack.exists(...keys), 0);
    await store.ensureKs(...keys);
    const values = await stack.raw("MGET", ...keys) as unknown[];
    assertEquals(values.map(String), keys.map((key) => `value of ${key}`));
    assertEquals(await store.del(...keys), 5000);
    assertEquals(await stack.exists(...keys), 0);
    assertEquals((await store.tick({ maxKeys: 5000, batchKeys: 1000, deadlineMs: 60_000 })).missing, 5000);
    await store.ensureKs(...keys);
    assertEquals(await stack.exists(...keys), 0);
  });

  it("dirty marks all that exist of 5,000, then throws MISSING with exactly the others", async () => {
    const store = stack.store();
    const missing = ["k:0", "k:999", "k:1000", "k:4999"];
    await fill();
    await stack.raw("DEL", ...missing);
    const error = await tundraError("MISSING", () => store.dirty(keys));
    assertEquals(error.keys, missing);
    assertEquals(Object.keys(error.causes), missing);
    assertEquals(await stack.raw("ZCARD", "tundra:default:dirty"), 4996);
  });

  it("one request of five fails: the others are made, UNAVAILABLE names every key of that one", async () => {
    const fetch = faultyFetch(globalThis.fetch, []);
    const store = stack.store({ redis: { fetch, retry: false } });
    await fill();
    await stack.raw("DEL", "k:4500");
    await store.dirty("k:1");
    fetch.setPlan([{ match: (request) => request.body.includes('"k:2500"'), fault: { type: "status", status: 500 } }]);
    const error = await tundraError("UNAVAILABLE", () => store.dirty(keys));
    assertEquals(error.keys.toSorted(), [...keys.slice(2000, 3000), "k:4500"].toSorted());
    assertEquals((error.causes["k:4500"] as { code?: string }).code, "MISSING");
    assertEquals(await stack.raw("ZCARD", "tundra:default:dirty"), 3999);
  });

  it("a key that stands twice counts once", async () => {
    const store = stack.store();
    await stack.raw("SET", "k", "value");
    await store.dirty("k", "k");
    await store.tick();
    assertEquals(await store.evict("k", "k"), { evicted: ["k"], kept: {} });
    await store.ensureKs("k", "k");
    assertEquals(await store.del("k", "k"), 1);
  });

  it("one array of keys is taken in place of keys", async () => {
    const store = stack.store();
    await stack.raw("MSET", "a", "1", "b", "2");
    await store.dirty(["a", "b"]);
    await store.tick();
    assertEquals(await store.evict(["a", "b"]), { evicted: ["a", "b"], kept: {} });
    await store.ensureKs(["a", "b"]);
    assertEquals(await stack.exists("a", "b"), 2);
    await store.dirty({ missing: "del" }, ["a", "b"]);
    const pipeline = store.redis.pipeline();
    store.dirtyIn(pipeline, {}, ["a", "b"]);
    await pipeline.exec();
    assertEquals(await store.retryDead(["a", "b"]), 0);
    assertEquals(await store.del(["a", "b"]), 2);
  });

  it("no keys, or an empty array of them: resolves without a request", async () => {
    const store = stack.store({ redis: { url: "http://127.0.0.1:9", retry: false } });
    for (const none of [[], [[]]] as [[], [string[]]]) {
      await store.ensureKs(...none);
      await store.dirty(...none);
      await store.dirty({ overwrite: true, missing: "del" }, ...none);
      assertEquals(await store.evict(...none), { evicted: [], kept: {} });
      assertEquals(await store.del(...none), 0);
      assertEquals(await store.retryDead(...none), 0);
      const pipeline = store.redis.pipeline();
      store.dirtyIn(pipeline, ...none);
      assertEquals(pipeline.length(), 0);
    }
    assertEquals([stack.server.requests, stack.s3Count("GetObject"), stack.s3Count("PutObject")], [0, 0, 0]);
    await assertRejects(() => store.ensureKs("a")); // it was that server that nobody asked
  });
});

describe("the archive", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("never overwrites an object: each freeze of a key has a name of its own, in ascending order", async () => {
    const store = stack.store();
    const seen: string[] = [];
    for (let i = 0; i < 5; i++) {
      await stack.raw("SET", "k", i);
      await store.dirty("k");
      await store.tick();
      seen.push((await stack.record("k"))!.ver);
    }
    assertEquals(seen, [...new Set(seen)].sort());
    assertEquals(stack.objectNames(), seen.map((ver) => `default/k/${ver}`));
    assertGreater(stack.s3Count("PutObject"), 5);
  });

  it("a prefix of the bucket stands before every object", async () => {
    const store = stack.store({ datastore: stack.datastore({ prefix: "cold/storage/" }) });
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "value");
    assert([...stack.s3.objects(BUCKET).keys()].every((name) => name.startsWith("cold/storage/default/")));
  });
});
