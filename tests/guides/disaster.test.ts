/** docs/disaster.md, case by case: a real loss on real servers, the page's own code, and every value compared. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, it } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import { stop as stopEsbuild } from "esbuild";
import { type RedisServer, startRedis } from "../../dev/servers/redis_server.ts";
import { TundraError, tundraFromEnv, type TundraStore } from "../../mod.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { type S3Server, startS3 } from "../../src/testing/s3.ts";
import { startUpstash, type UpstashServer } from "../../src/testing/upstash.ts";
import { until } from "../support/waiting.ts";
import { versions } from "../../src/operations/mod.ts";
import { runAll } from "./code.ts";
import { tundraCommand } from "./command.ts";
import { type Block, blocksOf, only } from "./page.ts";

const page = blocksOf("disaster.md");
const blocks = (section: string): Block[] => page.filter((block) => block.section === section);
/** Text that cannot be compressed. */
const text = (bytes: number) => randomBytes(bytes / 2).toString("hex");

/** Most cases can be ended by commands or by code. */
const WAYS = [["sh", "by commands"], ["ts", "by code"]] as const;

describe("docs/disaster.md", () => {
  const command = tundraCommand();
  let folder: string;
  let redis: RedisServer;
  let upstash: UpstashServer;
  let s3: S3Server;
  let store: TundraStore;
  /** What each key must be worth in the end. */
  let values: Map<string, string>;
  const keys = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `cart:${from + i}`);
  const environment = (bucket = "cold") => ({ ...storeEnvironment(upstash, s3, bucket), ...command.env });

  /** 200 carts, archived in the archive's first pack; cart:0 is large, with an object of its own. */
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "tundra-disaster-"));
    redis = await startRedis();
    upstash = await startUpstash({ redisPort: redis.port });
    s3 = await startS3({ buckets: ["cold", "colder"], folder });
    store = tundraFromEnv(environment());
    values = new Map(keys(0, 200).map((key) => [key, text(key === "cart:0" ? 100_000 : 1_000)]));
    await write(values);
  });
  afterEach(async () => {
    for (const server of [s3, upstash, redis]) await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  after(() => {
    command.remove();
    void stopEsbuild();
  });

  /** Writes values and archives them. */
  async function write(these: ReadonlyMap<string, string>): Promise<void> {
    await store.redis.mset(Object.fromEntries(these));
    await store.dirty({ overwrite: true }, ...these.keys());
    while (!(await store.tick()).done);
  }

  async function evict(these: string[]): Promise<void> {
    assertEquals((await store.evict(these)).evicted.length, these.length);
  }

  /** Every key comes back with its value, or is absent if there is none. */
  async function assertAll(on = tundraFromEnv(environment())): Promise<void> {
    const names = keys(0, 200);
    await on.ensureKs(names);
    const found = await on.redis.mget<(string | null)[]>(names);
    assertEquals(
      found.map((value, i) => value === (values.get(names[i]!) ?? null) ? "" : names[i]),
      names.map(() => ""),
    );
  }

  const code = (error: unknown) => error instanceof TundraError ? [error.code, error.retryable] : error;

  for (const [info, how] of WAYS) {
    it(`Redis is lost: redis-server dies, and an empty one takes its place; ${how}`, async () => {
      await evict(keys(0, 100));
      await store.redis.set("cart:7", "never archived"); // blind, and lost with Redis
      await redis.stop();
      redis = await startRedis({ port: redis.port });
      assertEquals(await upstash.raw("DBSIZE"), 0);
      assertEquals(code(await assertRejects(() => store.ensureKs("cart:1"))), ["LOST", false]);
      assertEquals(await runAll(only(info, blocks("Redis is lost")), environment()), 1);
      await assertAll();
    });
  }

  it("Redis has lost single records: a hundred of evicted keys", async () => {
    await evict(keys(0, 150));
    await upstash.raw("DEL", ...keys(50, 150).map((key) => `tundra:default:rec:${key}`));
    assertEquals(await runAll(blocks("Redis has lost single records"), environment()), 1);
    await assertAll();
  });

  it("the bucket is damaged: an object is deleted, one pack has wrong bytes, and another is no pack any more", async () => {
    const objects = s3.objects("cold");
    const first = new Map(values);
    const before = [...objects.keys()];
    const names = keys(0, 200);
    for (const half of [names.slice(0, 100), names.slice(100)]) {
      for (const key of half) values.set(key, text(key === "cart:0" ? 100_000 : 1_000));
      await write(new Map(half.map((key) => [key, values.get(key)!])));
    }
    const gone = [...keys(0, 20), ...keys(100, 120)];
    await evict(gone);
    for (const name of objects.keys()) if (name.startsWith("default/cart")) objects.delete(name);
    const [one, two] = [...objects].filter(([name]) => name.includes("~packs") && !before.includes(name));
    one![1].fill(0);
    two![1].fill(0, 1_000, two![1].length - 10_000);

    const [repair, says, ...others] = only("ts", blocks("The bucket is damaged"));
    const [counts] = says!.text.split("\n");
    const cannotTell = { ...says!, text: `cannot tell the keys of ${one![0]}\n${counts}\n` };
    assertEquals(await runAll([repair!, cannotTell], environment()), 1);
    objects.delete(one![0]);
    const nothingMore = { ...says!, text: says!.text.replace("again: 160", "again: 0") };
    assertEquals(await runAll([repair!, nothingMore], environment()), 1);
    assertEquals(others.map(({ info }) => info), ["ts", "text"]);

    for (const key of gone) values.set(key, first.get(key)!);
    store = tundraFromEnv(environment());
    assertEquals(code(await assertRejects(() => store.ensureKs("cart:0"))), ["ENSURE_FAILED", false]);
    await store.del("cart:0");
    values.delete("cart:0");
    await assertAll(store);
    await store.tick();
    await evict(keys(1, 200)); // all of them are archived again
    await assertAll(store);
  });

  it("the bucket is damaged, by commands: what Redis still has is archived again", async () => {
    for (const [name] of s3.objects("cold")) if (!name.includes("~owner")) s3.objects("cold").delete(name);
    assertEquals(await runAll(only("sh", blocks("The bucket is damaged")), environment()), 1);
    await evict(keys(0, 200));
    await assertAll();
  });

  it("all of the bucket is gone: what is evicted is gone, what Redis holds is archived anew", async () => {
    await evict(keys(0, 100));
    s3.objects("cold").clear();
    assertEquals(await runAll(only("ts", blocks("The bucket is damaged")).slice(2), environment()), 1);
    for (const key of keys(0, 100)) values.delete(key);
    await assertAll();
    store = tundraFromEnv(environment());
    await evict(keys(100, 200));
    await assertAll(store);
  });

  it("keys were deleted by mistake, before a tick: all come back; by another client's DEL: by themselves", async () => {
    await upstash.raw("DEL", "cart:9");
    await assertAll();
    await evict(["cart:1"]);
    assertEquals(await store.del("cart:0", "cart:1", "cart:2"), 3);
    assertEquals(await runAll(only("ts", blocks("Keys were deleted by mistake")), environment()), 1);
    await assertAll();
    assertEquals((await store.tick()).errors, []);
    await evict(["cart:0", "cart:1", "cart:2"]);
    await assertAll();
  });

  it("keys were deleted by mistake, one of them by commands", async () => {
    const VERSION = (await versions(store, "cart:1"))[0]!.version;
    await store.del("cart:1");
    const way = only("sh", blocks("Keys were deleted by mistake"));
    assertEquals(await runAll(way, { ...environment(), VERSION }), 1);
    assertEquals(await store.redis.get("cart:1:back"), values.get("cart:1"));
  });

  it("keys were deleted by mistake, after a tick: the large value is gone, small ones come back", async () => {
    await store.del("cart:0", "cart:1", "cart:2");
    await store.tick();
    const [restore] = only("ts", blocks("Keys were deleted by mistake"));
    const printed = { ...restore!, info: "text", text: "gone: cart:0\n" };
    assertEquals(await runAll([restore!, printed], environment()), 1);
    values.delete("cart:0");
    await assertAll();
  });

  it("credentials were rotated, of Redis and of the bucket: nothing is lost meanwhile", async () => {
    await evict(keys(0, 100));
    values.set("cart:150", "changed");
    await store.redis.set("cart:150", "changed");
    await store.dirty("cart:150");
    const [old, { port }] = [environment(), s3];
    await s3.stop();
    s3 = await startS3({ folder, port, accessKeyId: "new", secretAccessKey: "newer", buckets: [] });
    const { errors } = await tundraFromEnv(old).tick();
    assertEquals(errors.map(({ key, code, attempt }) => [key, code, attempt]), [["cart:150", "UNAVAILABLE", 0]]);
    const upstashPort = upstash.port;
    await upstash.stop();
    upstash = await startUpstash({ redisPort: redis.port, port: upstashPort, token: "a-new-token" });
    assertEquals(code(await assertRejects(() => tundraFromEnv(old).ensureKs("cart:1"))), ["UNAVAILABLE", false]);
    assertEquals(await runAll(blocks("Credentials were rotated"), environment()), 2);
    await assertAll();
    store = tundraFromEnv(environment());
    await until("its backoff has ended", async () => (await store.tick()).done && (await store.status()).dirty === 0);
  });

  it("a move to another bucket", async () => {
    await evict(keys(0, 100));
    const move = blocks("Move to another bucket");
    const first = move.slice(0, 2);
    assertEquals(await runAll(first, environment()), 1);
    values.set("cart:150", "changed between the copies");
    await write(new Map([["cart:150", values.get("cart:150")!]]));
    assertEquals(await runAll(first, environment()), 1);
    assertEquals(await runAll(move.slice(2), environment("colder")), 2);
    s3.objects("cold").clear();
    const moved = tundraFromEnv(environment("colder"));
    await assertAll(moved);
    values.set("cart:3", "after the move");
    await moved.redis.set("cart:3", "after the move");
    await moved.dirty("cart:3");
    assertEquals((await moved.tick()).errors, []);
    assertEquals((await moved.evict("cart:3")).evicted, ["cart:3"]);
    await assertAll(moved);
  });

  describe("a move to another database", () => {
    let other: RedisServer;
    let before: UpstashServer;
    beforeEach(async () => {
      await evict(keys(0, 100));
      other = await startRedis();
      before = upstash;
    });
    afterEach(async () => {
      await before.stop();
      await other.stop();
    });

    it("with its contents, by replication", async () => {
      upstash = await startUpstash({ redisPort: other.port });
      await before.raw("CONFIG", "SET", "repl-diskless-sync-delay", "0");
      await upstash.raw("REPLICAOF", "127.0.0.1", String(redis.port));
      await until(
        "it has all",
        async () => /master_link_status:up/.test(String(await upstash.raw("INFO", "replication"))),
      );
      await upstash.raw("REPLICAOF", "NO", "ONE");
      const on = tundraFromEnv(environment());
      assertEquals(code(await assertRejects(() => on.tick())), ["LOST", false]);
      assertEquals(await runAll(blocks("Move to another database").slice(0, 1), environment()), 1);
      await assertAll();
      await store.dirty("cart:180");
      assertEquals(code(await assertRejects(() => store.tick())), ["LOST", false]);
    });

    for (const [info, how] of WAYS) {
      it(`into an empty one, ${how}`, async () => {
        upstash = await startUpstash({ redisPort: other.port });
        const rebuilt = only(info, blocks("Move to another database").slice(1));
        assertEquals(await runAll(rebuilt, environment()), 1);
        await assertAll();
        await store.dirty("cart:180");
        assertEquals(code(await assertRejects(() => store.tick())), ["LOST", false]);
      });
    }
  });
});
