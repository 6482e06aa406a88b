/**
 * transparentRedis: an application that calls neither ensureKs nor dirty nor del finds what it wrote.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertIsError, assertRejects } from "@std/assert";
import type { Redis } from "@upstash/redis";
import { TundraError, type TundraStore } from "../../mod.ts";
import { type TransparentEvent, transparentRedis } from "../../src/transparent/mod.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { until } from "../support/waiting.ts";

describe("transparentRedis", () => {
  const stack = withArchive();
  let store: TundraStore;
  let redis: Redis;
  let events: TransparentEvent[];
  beforeEach(async () => {
    await stack.flush();
    store = stack.store();
    events = [];
    redis = transparentRedis(store, { onEvent: (event) => events.push(event) });
  });

  /** Archives all that is dirty, and evicts keys. */
  async function evicted(...keys: string[]): Promise<void> {
    const report = await store.tick();
    assertEquals(report.errors, []);
    if (keys.length > 0) assertEquals((await store.evict(keys)).evicted.sort(), [...keys].sort());
  }

  it("brings a key back before it is read", async () => {
    await redis.set("a", { name: "Ada" });
    await redis.hset("h", { x: 1, y: "two" });
    await redis.rpush("l", 1, 2, 3);
    await evicted("a", "h", "l");
    assertEquals(await redis.get("a"), { name: "Ada" });
    assertEquals(await redis.hgetall("h"), { x: 1, y: "two" });
    assertEquals(await redis.lrange<number>("l", 0, -1), [1, 2, 3]);
    assertEquals(events.filter(({ type }) => type === "brought back").flatMap(({ keys }) => keys), ["a", "h", "l"]);
  });

  it("brings a key back before it is changed, and marks the change in the same step", async () => {
    await redis.hset("h", { x: 1 });
    await evicted("h");
    assertEquals(await redis.hset("h", { y: 2 }), 1);
    assertEquals(await stack.members("dirty"), ["h"]);
    await evicted("h");
    assertEquals(await redis.hgetall("h"), { x: 1, y: 2 });
    assertEquals(await redis.hincrby("h", "x", 5), 6);
    await redis.expire("h", 1000);
    await evicted("h");
    assert((await redis.ttl("h")) > 900);
    await redis.persist("h");
    await evicted("h");
    assertEquals(await redis.ttl("h"), -1);
  });

  it("replaces an evicted value without fetching it", async () => {
    await redis.set("a", "old");
    await evicted("a");
    const before = stack.s3Count("GetObject");
    assertEquals(await redis.set("a", "new"), "OK");
    assertEquals(stack.s3Count("GetObject"), before);
    await evicted("a");
    assertEquals(await redis.get("a"), "new");
  });

  it("knows what SET's conditions see", async () => {
    await redis.set("a", "old");
    await evicted("a");
    assertEquals(await redis.set("a", "new", { nx: true }), null);
    assertEquals(await stack.members("dirty"), []); // nothing was changed
    await evicted("a");
    assertEquals(await redis.set("a", "new", { xx: true, get: true }), "old");
    assertEquals(await redis.setnx("b", "there"), 1);
  });

  it("takes what a command removed for removed", async () => {
    await redis.rpush("l", "only");
    await redis.sadd("s", "only");
    await redis.set("a", 1);
    await evicted("l", "s", "a");
    assertEquals([await redis.lpop("l"), await redis.srem("s", "only"), await redis.getdel("a")], ["only", 1, 1]);
    await store.tick();
    for (const key of ["l", "s", "a"]) await store.ensureKs(key);
    assertEquals(await stack.exists("l", "s", "a"), 0);
    assertEquals([await redis.exists("l", "s", "a"), await redis.get("a")], [0, null]);
  });

  it("deletes evicted keys for good", async () => {
    await redis.mset({ a: 1, b: 2, c: 3 });
    await evicted("a", "b");
    assertEquals(await redis.del("a", "b", "c", "none"), 3);
    await store.tick();
    assertEquals(await redis.mget("a", "b", "c"), [null, null, null]);
  });

  it("works on several keys at once, whichever are evicted", async () => {
    await redis.sadd("s1", "a", "b");
    await redis.sadd("s2", "b", "c");
    await redis.set("dest", "a string");
    await evicted("s1", "dest");
    assertEquals((await redis.sunion("s1", "s2")).sort(), ["a", "b", "c"]);
    await evicted("s2");
    assertEquals(await redis.sinterstore("dest", "s1", "s2"), 1);
    await evicted("dest", "s1");
    assertEquals(await redis.smembers("dest"), ["b"]);
    assertEquals(await redis.sinterstore("dest", "s1", "none"), 0);
    await store.tick();
    await store.ensureKs("dest");
    assertEquals(await redis.exists("dest"), 0);
    await redis.rpush("l1", 1);
    await redis.rpush("l2", 2);
    await evicted("l1", "l2");
    assertEquals(await redis.lmove("l1", "l2", "left", "right") as unknown, 1);
    await store.tick();
    assertEquals([await redis.exists("l1"), await redis.lrange<number>("l2", 0, -1)], [0, [2, 1]]);
    await evicted("l2");
    assertEquals(await redis.rename("l2", "l3"), "OK");
    await store.tick();
    assertEquals([await redis.exists("l2"), await redis.lrange<number>("l3", 0, -1)], [0, [2, 1]]);
    await evicted("l3");
    assertEquals(await redis.copy("l3", "l4"), "COPIED");
    assertEquals(await redis.mget<(number | null)[]>("none", "none"), [null, null]);
  });

  it("answers of EXISTS, TYPE and expiry know evicted keys", async () => {
    await redis.set("a", 1);
    await redis.set("b", 1, { pxat: 4_000_000_000_123 });
    await evicted("a", "b");
    const before = stack.s3Count("GetObject");
    assertEquals(await redis.exists("a", "b", "b", "none"), 3);
    assertEquals([await redis.ttl("a"), await redis.pttl("a"), await redis.ttl("none")], [-1, -1, -2]);
    assertEquals(stack.s3Count("GetObject"), before);
    assert(await redis.ttl("b") > 1_000_000);
    assertEquals(await redis.type("a"), "string");
  });

  it("a key whose record another version wrote is UNSUPPORTED, not absent, and is listed", async () => {
    const all = transparentRedis(store, { evicted: true });
    await redis.mset({ "odd:1": 1, "odd:2": 2, a: 1 });
    await evicted("odd:1", "a");
    for (const key of ["odd:1", "odd:2"]) {
      const record = `tundra:default:rec:${key}`;
      await stack.raw("SET", record, "9" + String(await stack.raw("GET", record)).slice(1));
    }
    const odd = "odd:1";
    for (
      const run of [
        () => redis.exists(odd),
        () => redis.exists("a", odd, "none"),
        () => redis.ttl(odd),
        () => redis.exec(["PEXPIRETIME", odd]),
        () => redis.get(odd),
        () => redis.pipeline().exists(odd).ttl("a").exec(),
      ]
    ) {
      const error = await assertRejects(run, TundraError);
      assertEquals([error.code, error.keys], ["UNSUPPORTED", [odd]], `${run}`);
    }
    assertEquals([await redis.exists("odd:2", "none"), await redis.exists("a", "none")], [1, 1]);
    assertEquals((await all.keys("odd:*")).sort(), ["odd:1", "odd:2"]);
    const [, found] = await all.scan(0, { match: "odd:*", count: 1000 });
    assertEquals([...new Set(found)].sort(), ["odd:1", "odd:2"]);
  });

  it("EXISTS of some thousand keys counts evicted ones", async () => {
    await redis.mset({ "k:1": 1, "k:8999": 2 });
    await evicted("k:1");
    const names = Array.from({ length: 9_000 }, (_, i) => `k:${i}`);
    assertEquals(await redis.exists(...names), 2);
    assertEquals(await stack.exists("k:1"), 0);
  });

  it("brings keys of pipelines and transactions back, and answers as without", async () => {
    for (const make of [() => redis.pipeline(), () => redis.multi()]) {
      await redis.hset("h", { x: 1 });
      await redis.rpush("l", 1, 2);
      await redis.set("a", 1);
      await evicted("h", "l", "a");
      const batch = make();
      batch.hincrby("h", "x", 1).lpop("l").lpop("l").set("a", 2).get("a").del("h").exists("h");
      assertEquals(await batch.exec(), [2, 1, 2, "OK", 2, 1, 0]);
      await store.tick();
      for (const key of ["h", "l"]) await store.ensureKs(key);
      assertEquals(await stack.exists("h", "l"), 0);
      await evicted("a");
      assertEquals(await make().get("a").get("none").exec(), [2, null]);
      await redis.del("a");
    }
  });

  it("brings together back what a pipeline that only reads does not find, and no key whose answer is right without it", async () => {
    await redis.mset({ a: 1, b: 2, c: 3, d: 4 });
    await redis.hset("h", { x: 1 });
    const reads = (client: Redis) =>
      client.pipeline().get("a").getrange("d", "no number" as unknown as number, 1).get("none").keys("*").mget("b", "c")
        .get("b").hgetall("h").get("a");
    const plain = await reads(store.redis).exec({ keepErrors: true });
    await evicted("a", "c", "d", "h");
    events.splice(0);
    const another = transparentRedis(store, { onEvent: (event) => events.push(event) }); // its first uses: they are checked
    const answers = await reads(another).exec({ keepErrors: true });
    assertEquals(answers[3]!.result, ["b"]);
    assertEquals(answers.toSpliced(3, 1), plain.toSpliced(3, 1));
    assertEquals(events, [{ type: "brought back", command: "pipeline", keys: ["a", "c", "h"] }]);
    assertEquals(await stack.exists("a", "c", "h", "d"), 3);
    assertEquals(await another.get("none"), null);
    assertEquals(await transparentRedis(store, { onEvent: (event) => events.push(event) }).get("d"), 4);
    assertEquals(events.slice(1), [{ type: "brought back", command: "get", keys: ["d"] }]);
  });

  it("a condition that SET may learn later is a condition: an evicted key that it does not meet stays as it was", async () => {
    // IFEQ of Upstash and Redis 8.4, which this server lacks: XX is false for an evicted key as well
    const fetching: typeof fetch = (input, init) =>
      fetch(input, { ...init, body: String(init?.body).replaceAll('"IFEQ","old"', '"XX"') });
    const later = transparentRedis(stack.store({ redis: { fetch: fetching } }));
    await redis.set("a", "archived");
    for (const kind of ["one", "multi"]) {
      await evicted("a");
      const command = ["SET", "a", "new", "IFEQ", "old"] as [string, ...string[]];
      const { client } = later as unknown as { client: { request(request: object): Promise<unknown> } };
      if (kind === "one") await later.exec(command);
      else await client.request({ path: ["multi-exec"], body: [command] });
      await store.tick();
      assert(await redis.get("a") !== null);
    }
  });

  it("COPY to another database is refused: it leaves the key of this one as it was", async () => {
    await redis.mset({ a: 1, b: "archived" });
    await evicted("b");
    const error = await assertRejects(() => redis.exec(["COPY", "a", "b", "DB", "1", "REPLACE"]), TundraError);
    assertEquals([error.code, await redis.get("b")], ["UNSUPPORTED", "archived"]);
  });

  it("a pipeline that only reads rejects if a key cannot come back, as one command does; the others are there", async () => {
    store = stack.store({ packBytes: 0 });
    redis = transparentRedis(store);
    await redis.mset({ a: 1, b: 2 });
    await evicted("a", "b");
    const [name] = stack.objectNames().filter((name) => name.startsWith("default/a/"));
    assert(stack.s3.objects(BUCKET).delete(name!));
    const reads = () => transparentRedis(store).pipeline().get("a").get("b").exec();
    for (const run of [() => transparentRedis(store).get("a"), reads]) {
      const error = await assertRejects(run, TundraError);
      const { code } = error.causes.a as TundraError;
      assertEquals([error.code, error.keys, code], ["ENSURE_FAILED", ["a"], "LOST"]);
    }
    assertEquals([await stack.get("b"), await stack.exists("a")], ["2", 0]);
  });

  it("errors of commands are those of the client, in batches too, and nothing is marked by a command that failed", async () => {
    await redis.set("a", "text");
    await store.tick();
    const plain = await assertRejects(() => store.redis.hset("a", { x: 1 }));
    const error = await assertRejects(() => redis.hset("a", { x: 1 }));
    assertEquals([String(error), (error as Error).constructor], [String(plain), (plain as Error).constructor]);
    assertEquals(await stack.members("dirty"), []);
    const batch = (client: Redis) => client.pipeline().set("b", 1).hset("a", { x: 1 }).get("b");
    assertEquals(
      String(await assertRejects(() => batch(redis).exec())),
      String(await assertRejects(() => batch(store.redis).exec())),
    );
    assertEquals(
      JSON.stringify(await batch(redis).exec({ keepErrors: true })),
      JSON.stringify(await batch(store.redis).exec({ keepErrors: true })),
    );
  });

  it("an evicted key that a batch was to replace, and did not, is as it was: only the command's error is told", async () => {
    for (const kind of ["pipeline", "multi"] as const) {
      await redis.set("a", "archived");
      await evicted("a");
      const batch = (client: Redis) =>
        client[kind]().rename("none", "a").setex("a", 0, "x").set("b", 1).exec({ keepErrors: true });
      const answers = await batch(redis);
      assertEquals(answers.map(({ error }) => error?.split(",")[0]), [
        "ERR no such key",
        "ERR invalid expire time in 'setex' command",
        undefined,
      ]);
      assertEquals([await stack.exists("a"), await stack.members("dirty")], [0, ["b"]]);
      assertEquals(await redis.get("a"), "archived");
      await redis.set("c", "other");
      await evicted("a");
      await redis[kind]().rename("none", "a").rename("c", "a").exec({ keepErrors: true });
      await evicted("a");
      assertEquals(await redis.get("a"), "other");
      await redis.del("a", "b");
      await store.tick();
    }
  });

  it("an evicted key that a batch replaces by a value which expires at once is gone, as it is after one command", async () => {
    type Client = Pick<Redis, "set" | "psetex">;
    for (
      const write of [
        (client: Client) => client.set("a", "new", { pxat: 1 }),
        (client: Client) => client.set("a", "new", { exat: 1 }),
        (client: Client) => client.set("a", "new", { px: 1 }),
        (client: Client) => client.psetex("a", 1, "new"),
      ]
    ) {
      for (const kind of ["pipeline", "multi"] as const) {
        await redis.set("a", "archived");
        await evicted("a");
        const batch = redis[kind]();
        write(batch as unknown as Client);
        const [answer, other] = await batch.set("b", 1).exec<["OK", "OK"]>();
        assertEquals([answer, other], ["OK", "OK"], `${kind} ${write}`);
        await until("it has expired", async () => await stack.exists("a") === 0);
        assertEquals(await redis.get("a"), null);
        await store.tick();
        assertEquals(await redis.get("a"), null);
      }
    }
  });

  it("fetches no value that a batch replaces by one with a longer life", async () => {
    await redis.set("a", "archived");
    await evicted("a");
    const before = stack.s3Count("GetObject");
    const later = Date.now() + 2 * HOUR_MS;
    assertEquals(await redis.pipeline().set("a", 1, { ex: 3600 }).set("a", 2, { pxat: later }).exec(), ["OK", "OK"]);
    assertEquals([await redis.get("a"), stack.s3Count("GetObject")], [2, before]);
  });

  it("brings the declared keys of scripts back, and marks them", async () => {
    await redis.set("n", 1);
    await evicted("n");
    const script = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
    assertEquals(await redis.eval(script, ["n"], ["5"]), 6);
    assertEquals(await stack.members("dirty"), ["n"]);
    await evicted("n");
    assertEquals(await redis.createScript(script).exec(["n"], ["1"]), 7);
    await evicted("n");
    assertEquals(await redis.evalRo("return redis.call('GET', KEYS[1])", ["n"], []), 7);
    assertEquals(await stack.members("dirty"), []);
  });

  it("keeps streams, their groups and geo indexes", async () => {
    await redis.xadd("x", "1-1", { f: "v" });
    await redis.xgroup("x", { type: "CREATE", group: "g", id: "0" });
    await evicted("x");
    assertEquals(await redis.xreadgroup("g", "c", "x", ">"), [["x", [["1-1", ["f", "v"]]]]]);
    await evicted("x");
    assertEquals((await redis.xpending("x", "g", "-", "+", 10)).length, 1);
    await evicted("x");
    assertEquals(await redis.xack("x", "g", "1-1"), 1);
    await evicted("x");
    assertEquals(await redis.xread("x", "0"), [["x", [["1-1", ["f", "v"]]]]]);
    assertEquals(await redis.xinfo("x", { type: "GROUPS" }) instanceof Array, true);
    await redis.geoadd("g", { longitude: 13.4, latitude: 52.5, member: "Berlin" });
    await evicted("g");
    const [found] = await redis.geosearch("g", { type: "FROMLONLAT", coordinate: { lon: 13, lat: 52 } }, {
      type: "BYRADIUS",
      radius: 200,
      radiusType: "KM",
    }, "ASC");
    assertEquals(found!.member, "Berlin");
  });

  it("refuses what would tear keys and index apart, or what it does not know; nothing is sent", async () => {
    const before = stack.server.requests;
    for (const run of [() => redis.flushdb(), () => redis.flushall()]) {
      const error = await assertRejects(run, TundraError);
      assertEquals(error.code, "UNSUPPORTED");
    }
    const own = await assertRejects(() => redis.get("tundra:default:id"), TundraError);
    assertEquals([own.code, stack.server.requests], ["BAD_ARGUMENT", before]);
  });

  it("hides Tundra's own keys; with evicted: true it lists evicted ones", async () => {
    await redis.mset({ "cart:1": 1, "cart:2": 2, "other:1": 3 });
    await evicted("cart:1", "other:1");
    assertEquals(await redis.keys("*"), ["cart:2"]);
    const all = transparentRedis(store, { evicted: true });
    assertEquals((await all.keys("cart:*")).sort(), ["cart:1", "cart:2"]);
    const scanned = async (client: Redis, match?: string) => {
      const found: string[] = [];
      let cursor = "0";
      do {
        const [next, names] = await client.scan(cursor, { match, count: 3 });
        found.push(...names);
        cursor = String(next);
      } while (cursor !== "0");
      return [...new Set(found)].sort();
    };
    assertEquals(await scanned(redis), ["cart:2"]);
    assertEquals(await scanned(all), ["cart:1", "cart:2", "other:1"]);
    assertEquals(await scanned(all, "cart:*"), ["cart:1", "cart:2"]);
    assertEquals([await scanned(all, "type"), await scanned(redis, "match")], [[], []]); // patterns, not options
    for (let i = 0; i < 20; i++) assertEquals(await redis.randomkey(), "cart:2");
    await store.evict("cart:2");
    assertEquals(await redis.randomkey(), null);
  });

  it("leaves other keys alone", async () => {
    const some = transparentRedis(store, { match: ["cart:*", "user:*"], exclude: "cart:tmp:*" });
    await some.set("cart:1", 1);
    await some.set("cart:tmp:1", 1);
    await some.set("else", 1);
    assertEquals(await stack.members("dirty"), ["cart:1"]);
    assertEquals(await some.mget("cart:1", "cart:tmp:1", "else"), [1, 1, 1]);
    assertEquals(await some.del("cart:1", "cart:tmp:1", "else"), 3);
    await store.tick();
    const odd = transparentRedis(store, { match: "[z-a]", exclude: "[" });
    await odd.mset({ m: 1, "0": 1 });
    assertEquals(await stack.members("dirty"), ["m"]);
  });

  it("with ensure: false a change of an evicted key is a conflict, and nothing is written", async () => {
    await redis.hset("h", { x: 1 });
    await evicted("h");
    const strict = transparentRedis(store, { ensure: false });
    assertEquals(await strict.hget("h", "x"), null);
    const error = await assertRejects(() => strict.hset("h", { y: 1 }), TundraError);
    assertEquals([error.code, error.keys, await stack.exists("h")], ["CONFLICT", ["h"], 0]);
  });

  it("with mark: false nothing is marked", async () => {
    const unmarked = transparentRedis(store, { mark: false });
    await unmarked.set("a", 1);
    await unmarked.pipeline().set("b", 1).hset("h", { x: 1 }).exec();
    assertEquals(await stack.members("dirty"), []);
  });

  it("DEL and UNLINK are removals whatever the options: alone, in a pipeline and in a transaction", async () => {
    for (const options of [{ mark: false }, { ensure: false }, { ensure: false, mark: false }]) {
      const some = transparentRedis(store, options);
      const keys = ["a", "b", "c", "d"];
      await redis.mset(Object.fromEntries(keys.map((key) => [key, "v"])));
      await evicted();
      assertEquals(await some.del("a"), 1);
      assertEquals(await some.pipeline().del("b").set("other", 1).exec(), [1, "OK"]);
      assertEquals(await some.multi().unlink("c").exec(), [1]);
      assertEquals(await Promise.all([some.del("d"), some.get("none")]), [1, null]);
      assertEquals(await redis.exists(...keys), 0, JSON.stringify(options));
      assertEquals((await store.tick()).errors, []);
      assertEquals(await redis.mget(...keys), [null, null, null, null]);
      await redis.set("a", "v");
      await evicted("a");
      assertEquals([await some.del("a"), await redis.get("a")], [1, null]);
    }
  });

  it("with mark: false a batch marks what it deletes, and nothing else", async () => {
    await redis.mset({ a: 1, b: 2 });
    await evicted();
    const unmarked = transparentRedis(store, { mark: false });
    await unmarked.pipeline().set("b", 3).del("a").exec();
    assertEquals(await stack.members("dirty"), ["a"]);
  });

  it("a lost index is LOST, and nothing is written", async () => {
    await redis.set("a", 1);
    await evicted("a");
    await stack.raw("FLUSHDB");
    for (const run of [() => redis.get("a"), () => redis.incr("a"), () => redis.pipeline().incr("a").get("a").exec()]) {
      const error = await assertRejects(run);
      assertIsError(error, TundraError);
      assertEquals(error.code, "LOST");
    }
    assertEquals(await stack.exists("a"), 0);
  });

  it("notes the use of what is only read, so that it does not become idle", async () => {
    await redis.set("a", 1);
    await store.tick();
    await stack.leaveAlone(5 * HOUR_MS, "a");
    const before = (await stack.record("a"))!.touch;
    const another = transparentRedis(store);
    assertEquals(await another.get("a"), 1);
    assert((await stack.record("a"))!.touch > before);
  });

  it("notes the use of what only commands on several keys read, or what a command looks at and does not change", async () => {
    await redis.sadd("s1", "x");
    await redis.sadd("s2", "y");
    await redis.hset("h", { f: 1 });
    await store.tick();
    for (const use of [() => redis.sunion("s1", "s2"), () => redis.sunion("s1", "s2")]) {
      await stack.leaveAlone(5 * HOUR_MS, "s1", "s2");
      const before = (await stack.record("s1"))!.touch;
      await use();
      for (const key of ["s1", "s2"]) assert((await stack.record(key))!.touch > before + HOUR_MS);
    }
    await stack.leaveAlone(5 * HOUR_MS, "h");
    const before = (await stack.record("h"))!.touch;
    assertEquals(await redis.hdel("h", "none"), 0);
    assert((await stack.record("h"))!.touch > before + HOUR_MS);
  });

  it("counts as far as a plain client does, and fails beyond as it does", async () => {
    const largest = "9223372036854775807";
    for (
      const args of [["INCRBY", "n", largest], ["INCRBY", "n", "1"], ["BITFIELD", "b", "SET", "i64", "0", largest]]
    ) {
      const run = (client: Redis) => client.exec(args as [string, ...string[]]).catch((error) => String(error));
      const [mine, theirs] = [await run(redis), await run(stack.store({ tqname: "plain" }).redis)];
      if (args[0] === "INCRBY" && args[2] === largest) assertEquals(mine, 2 ** 63);
      else if (args[0] === "INCRBY") assertEquals(mine, theirs);
    }
    assertEquals(await redis.exec(["BITFIELD", "b", "GET", "i64", "0"]), [2 ** 63]);
  });

  it("brings a value back that Redis lost behind its back, and a large command is one as well", async () => {
    await redis.set("a", "kept");
    await store.tick();
    await stack.raw("DEL", "a");
    assertEquals(await redis.append("a", "!"), 5);
    const members = Array.from({ length: 9_000 }, (_, i) => `m${i}`) as [string, ...string[]];
    assertEquals(await redis.sadd("large", ...members), 9_000);
    await evicted("large");
    assertEquals(await redis.scard("large"), 9_000);
    const many = Object.fromEntries(Array.from({ length: 6_000 }, (_, i) => [`many:${i}`, i]));
    assertEquals(await redis.mset(many), "OK");
    assertEquals((await stack.members("dirty")).length, 6_000);
    await evicted("large");
    const none = members.map((member) => `no ${member}`);
    assertEquals(await redis.smismember("large", [...none, "m7"]), [...none.map(() => 0 as const), 1]);
    await evicted("large");
    assertEquals(await redis.smismember("large", none), none.map(() => 0));
  });
});
