/** The life of a store whose archive is a table of DynamoDB: dynalite, behind a check of signatures. */
import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type DynamodbServer, startDynamodb } from "../../dev/servers/dynamodb.ts";
import { TundraError, type TundraOptions, tundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { type DynamodbDatastore, dynamodbDatastore } from "../../src/datastores/dynamodb/datastore.ts";
import { erase, probe, rebuild, sweep, verify } from "../../src/operations/mod.ts";
import { oldArchive } from "../support/old_archive.ts";
import type { NotedArchive } from "../support/packs.ts";
import { withStack } from "../support/stack.ts";

const KEYS = ["", "..", "a/b/../c", "100% + 1 = ?", "日本語 👩‍👩‍👧", "new\nline", "k".repeat(32_768), "~owner", "aBc"];
/** Tells if this is a version of a key, and not an owner object. */
const isOwn = (name: string) => !/\/~[^/]/.test(name);
const value = (key: string) => `value of ${key.slice(0, 20)}`;

describe("on DynamoDB", () => {
  const stack = withStack();
  let server: DynamodbServer;
  let archive: DynamodbDatastore;
  let round = 0;
  before(async () => {
    server = await startDynamodb({ createTableMs: 1 });
  });
  after(() => server?.stop());
  beforeEach(async () => {
    await stack.flush();
    const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
    archive = dynamodbDatastore({ endpoint, region, table: `cold-${++round}`, accessKeyId, secretAccessKey });
    await archive.ensureTable();
  });
  const open = (options: Partial<TundraOptions> = {}) => {
    return tundraStore(archive, { redis: stack.connection, minEvictBytes: 0, ...options });
  };
  const listed = async (prefix = "default/") => (await archive.listKeys(prefix)).names;
  const unfinished = async (prefix = "default/") => (await archive.listKeys(prefix)).unfinished ?? [];
  /** The same table, for a process whose puts in parts die before their head, or may have. */
  const dying = () => {
    const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
    const send = (async (input: string, init: RequestInit) => {
      const isHead = new Headers(init.headers).get("x-amz-target")!.endsWith("PutItem") && /"n":/.test(`${init.body}`);
      return isHead ? new Response("", { status: 500 }) : await fetch(input, init);
    }) as typeof fetch;
    const table = `cold-${round}`;
    return dynamodbDatastore({ endpoint, region, table, accessKeyId, secretAccessKey, fetch: send, retries: 0 });
  };

  it("keys of any name are archived, evicted, brought back, changed and deleted", async () => {
    const store = open();
    await stack.raw("MSET", ...KEYS.flatMap((key) => [key, value(key)]));
    await store.dirty(KEYS);
    const report = await store.tick();
    assertEquals([report.frozen, report.failed, report.done, report.errors], [KEYS.length, 0, true, []]);
    // each value is an object of its own: a store without ranges has no packs
    assertEquals((await listed()).filter(isOwn).length, KEYS.length);
    assertEquals((await store.evict(KEYS)).evicted, KEYS);
    assertEquals(await stack.raw("EXISTS", ...KEYS), 0);
    await store.ensureKs(KEYS);
    assertEquals((await stack.raw("MGET", ...KEYS) as unknown[]).map(String), KEYS.map(value));

    await store.redis.set("..", "changed");
    await store.dirty("..");
    await store.tick();
    await store.evict("..");
    await store.ensureKs("..");
    assertEquals(String(await stack.raw("GET", "..")), "changed");
    assertEquals((await listed("default/.2E.2E/")).length, 2);

    assertEquals(await store.del(KEYS), KEYS.length);
    const last = await store.tick();
    assertEquals([last.purged, last.errors], [KEYS.length, []]);
    await store.ensureKs(KEYS);
    assertEquals(await stack.raw("EXISTS", ...KEYS), 0);
    // of each key its tombstone
    assertEquals(
      (await listed()).filter(isOwn).map((name) => name.at(-1)),
      KEYS.map(() => "d"),
    );
  });

  it("a value of more than an item holds goes and comes back byte for byte, and its deletion leaves its tombstone", async () => {
    const store = open();
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    const large = Array.from({ length: 15 }, (_, i) => btoa(String.fromCharCode(...bytes.map((byte) => byte ^ i))))
      .join("");
    await stack.raw("SET", "large", large);
    await store.dirty("large");
    assertEquals((await store.tick()).errors, []);
    assertEquals((await store.evict("large")).evicted, ["large"]);
    await store.ensureKs("large");
    assertEquals(String(await stack.raw("GET", "large")) === large, true);
    await store.del("large");
    assertEquals((await store.tick()).errors, []);
    assertEquals((await listed("default/large/")).length, 1);
  });

  it("a rebuild makes the records anew out of the table, and a sweep deletes old versions", async () => {
    const store = open();
    const keys = Array.from({ length: 40 }, (_, i) => `user:${i}`);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, value(key)]));
    for (const times of [1, 2, 3]) {
      await stack.raw("MSET", "user:7", `version ${times}`);
      await store.dirty(keys);
      const { frozen, errors, done } = await store.tick();
      assertEquals([frozen, errors, done], [keys.length, [], true]);
    }
    await store.evict(keys);
    // versions of weeks ago, of a key that has no record yet
    const id = String(await stack.raw("GET", redisKeys("default").id));
    const objects = new Map<string, Uint8Array>();
    const [seconds] = await stack.raw("TIME") as unknown[];
    const old = oldArchive({ objects } as NotedArchive, 1e6 * Number(String(seconds)), id);
    for (const days of [20, 15, 9.5]) await old.own(days, { key: "old" });
    for (const [name, bytes] of objects) await archive.putKey(name, bytes);
    const died = [18, 3].map((days) => `default/old/${old.version(days, 7)}`);
    for (const name of died) await assertRejects(() => dying().putKey(name, new Uint8Array(900_000)), TundraError);

    await stack.flush();
    assertEquals((await assertRejects(() => store.ensureKs("user:1"), TundraError)).code, "LOST");
    const report = await rebuild(store);
    assertEquals([report.done, report.errors, report.evicted], [true, [], keys.length + 1]);
    await store.ensureKs(keys);
    assertEquals(String(await stack.raw("GET", "user:7")), "version 3");
    assertEquals(await stack.raw("EXISTS", ...keys), keys.length);
    const { done, damaged, missing, errors } = await verify(store);
    assertEquals([done, damaged, missing, errors], [true, [], [], []]);

    const swept = await sweep(store);
    assertEquals([swept.done, swept.errors, swept.deletedFor], [true, [], { superseded: 3 }]);
    assertEquals((await listed("default/old/")).length, 1);
    assertEquals(await unfinished(), [died[1]!]); // of a put that died, what is old enough
    assertEquals((await listed("default/user.3A7/")).length, 3);
  });

  it("what a put that died has left of a value goes with the key: by del, and by an erasure, before it is proved", async () => {
    const store = open();
    const name = "default/deleted/1700000000000000-aaaaaaaa";
    const dies = async () => {
      await assertRejects(() => dying().putKey(name, new Uint8Array(900_000)), TundraError);
      assertEquals(await unfinished(), [name]);
    };
    await stack.raw("SET", "deleted", "small");
    await store.dirty("deleted");
    await store.tick();
    await dies();
    await store.del("deleted");
    assertEquals((await store.tick()).errors, []);
    assertEquals(await unfinished(), []);

    const chosen: Parameters<typeof erase>[1][] = [["deleted"], { match: "del*" }];
    for (const keys of chosen) {
      await dies();
      for (let calls = 0, done = false; !done; calls++) {
        assert(calls < 10);
        const report = await erase(store, keys);
        assertEquals(report.errors, []);
        done = report.done;
        if (!done) await store.tick();
      }
      assertEquals([await unfinished(), await listed("default/deleted/")], [[], []]);
    }
  });

  it("another database is refused, and an archive whose table is gone is never taken for an empty one", async () => {
    const store = open();
    await stack.raw("SET", "a", "1");
    await store.dirty("a");
    await store.tick();
    await store.evict("a");
    const other = open({ databaseId: "another" });
    await stack.raw("DEL", redisKeys("default").id);
    const refused = await assertRejects(() => other.tick(), TundraError);
    assertEquals(refused.code, "LOST");

    const { url: endpoint, region, accessKeyId, secretAccessKey } = server;
    archive = dynamodbDatastore({ endpoint, region, table: "no-such-table", accessKeyId, secretAccessKey });
    const error = await assertRejects(() => open().ensureKs("a"), TundraError);
    assertEquals(error.code, "UNAVAILABLE");
  });

  it("a tick keeps to a bound on requests, and at last everything is archived and deleted", async () => {
    const store = open();
    const keys = Array.from({ length: 40 }, (_, i) => `bound:${i}`);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, value(key)]));
    await store.dirty(keys);
    const until = async (goal: () => Promise<boolean>) => {
      for (let ticks = 1; ticks < 40; ticks++) {
        const { subrequests, errors } = await store.tick({ maxSubrequests: 50 });
        assert(subrequests <= 50, String(subrequests));
        assertEquals(errors, []);
        if (await goal()) return ticks;
      }
      throw new Error("it must end");
    };
    await until(async () => (await store.status()).dirty === 0);
    assertEquals((await store.evict(keys)).evicted.length, keys.length);
    await store.del(keys);
    await until(async () => {
      const { dirty, purge } = await store.status();
      return dirty + purge === 0;
    });
    assertEquals((await listed()).filter((name) => name.includes("bound")).length, keys.length);
  });

  it("a probe finds that the archive is as it must be", async () => {
    const { checks } = await probe(open(), { maxSubrequests: 200 });
    const archived = checks.filter(({ name }) => name.startsWith("archive"));
    assertEquals(archived.filter(({ ok }) => !ok), []);
    assertEquals(await listed("~probe/"), []);
  });
});
