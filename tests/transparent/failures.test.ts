/**
 * What fails on a transparent client fails by itself, and is told: no key's failure spoils the success of another, and
 * no command is swallowed.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Redis } from "@upstash/redis";
import { TundraError, type TundraStore } from "../../mod.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";

describe("a failure on a transparent client", () => {
  const stack = withArchive();
  let store: TundraStore;
  let redis: Redis;
  beforeEach(async () => {
    await stack.flush();
    store = stack.store({ packBytes: 0 });
    redis = transparentRedis(store);
  });

  async function evicted(...keys: string[]): Promise<void> {
    assertEquals((await store.tick()).errors, []);
    assertEquals((await store.evict(keys)).evicted.sort(), [...keys].sort());
  }

  /** Evicts a key whose object is gone. */
  async function lost(key: string): Promise<void> {
    await redis.set(key, "lost");
    await evicted(key);
    const names = stack.objectNames().filter((name) => name.startsWith(`default/${key}/`));
    for (const name of names) assert(stack.s3.objects(BUCKET).delete(name));
  }

  /** What each of some calls came to: its answer, or the code of a TundraError. */
  async function outcomes(...calls: Promise<unknown>[]): Promise<unknown[]> {
    return (await Promise.allSettled(calls)).map((each) => {
      if (each.status === "fulfilled") return each.value;
      assert(each.reason instanceof TundraError, String(each.reason));
      return each.reason.code;
    });
  }

  it("of a call, or of a key, is no failure of the others that were pipelined with it", async () => {
    await redis.mset({ a: 1, b: 2 });
    await lost("bad");
    await lost("worse");
    assertEquals(await outcomes(redis.get("a"), redis.get("\ud800"), redis.get("b")), [1, "BAD_ARGUMENT", 2]);
    assertEquals(await outcomes(redis.get("a"), redis.get("bad"), redis.get("worse"), redis.get("b")), [
      1,
      "ENSURE_FAILED",
      "ENSURE_FAILED",
      2,
    ]);
    assertEquals(
      await outcomes(
        redis.set("a", 5),
        redis.append("bad", "x"),
        redis.incr("a"),
        redis.exec(["FLUSHDB"]),
        redis.set("bad2", 1),
      ),
      ["OK", "ENSURE_FAILED", 6, "UNSUPPORTED", "OK"],
    );
    assertEquals(await stack.members("dirty"), ["a", "bad2"]);
    assertEquals(await outcomes(redis.append("bad", "x"), redis.set("bad", "new"), redis.append("worse", "x")), [
      "ENSURE_FAILED",
      "OK",
      "ENSURE_FAILED",
    ]);
    assertEquals(await redis.get("bad"), "new");
    assertEquals(await outcomes(redis.get("\ud800"), redis.get("worse")), ["BAD_ARGUMENT", "ENSURE_FAILED"]);
  });

  it("names the command's own keys, and why each has failed", async () => {
    await lost("bad");
    await lost("worse");
    const [one, both] = await Promise.allSettled([
      redis.append("bad", "x"),
      redis.sunionstore("to", "bad", "worse"),
    ]) as PromiseRejectedResult[];
    assertEquals((one!.reason as TundraError).keys, ["bad"]);
    assertEquals((both!.reason as TundraError).keys.sort(), ["bad", "worse"]);
    assertEquals(((one!.reason as TundraError).causes.bad as TundraError).code, "LOST");
  });

  it("takes its place in a pipeline: exec() rejects with it, and with keepErrors it is a text", async () => {
    await redis.set("a", 1);
    await lost("bad");
    const pipeline = () => redis.pipeline().incr("a").append("bad", "x").get("a");
    const error = await assertRejects(() => pipeline().exec(), TundraError);
    assertEquals([error.code, error.keys], ["ENSURE_FAILED", ["bad"]]);
    const answers = await pipeline().exec({ keepErrors: true });
    assertEquals(answers.map(({ result }) => result), [3, undefined, 3]);
    assert(/^ENSURE_FAILED Cannot ensure 1 key \("bad"\)/.test(answers[1]!.error!), answers[1]!.error);
    const repeated = redis.pipeline().llen("bad").incr("a");
    assertEquals((await assertRejects(() => repeated.exec(), TundraError)).code, "ENSURE_FAILED");
    await store.del("bad");
    await redis.set("bad", "no list");
    const anew = await assertRejects(() => repeated.exec()) as Error;
    assert(/^Command 1 \[ llen \] failed: WRONGTYPE/.test(anew.message), String(anew));
    await lost("bad");
    const refused = await assertRejects(() => redis.pipeline().set("b", 1).flushdb().exec(), TundraError);
    assertEquals([refused.code, await stack.get("b")], ["UNSUPPORTED", "1"]);
    const wrong = await assertRejects(() => redis.pipeline().hget("a", "f").append("bad", "x").exec());
    assert(!(wrong instanceof TundraError) && /^Command 1 \[ hget \] failed: WRONGTYPE/.test((wrong as Error).message));
  });

  it("in a transaction is that of all its commands", async () => {
    await redis.set("a", 1);
    await lost("bad");
    const error = await assertRejects(() => redis.multi().incr("a").append("bad", "x").exec(), TundraError);
    assertEquals([error.code, await stack.get("a")], ["ENSURE_FAILED", "1"]);
    await assertRejects(() => redis.multi().incr("a").get("\ud800").exec(), TundraError, "well-formed");
    assertEquals(await stack.get("a"), "1");
  });

  it("with ensure: false is told in batches too: a change of an evicted key is a conflict", async () => {
    await redis.mset({ a: 1, b: 2 });
    await redis.rpush("l", "x");
    await evicted("a", "b", "l");
    const strict = transparentRedis(store, { ensure: false });
    assertEquals(await outcomes(strict.del("a"), strict.del("b"), strict.set("c", 1)), ["CONFLICT", "CONFLICT", "OK"]);
    const error = await assertRejects(() => strict.multi().lpop("l").exec(), TundraError);
    assertEquals([error.code, error.keys], ["CONFLICT", ["l"]]);
    assertEquals(await redis.mget("a", "b", "c"), [1, 2, 1]);
  });

  it("is told of a removal whose key was evicted between the look and the transaction", async () => {
    const other = stack.store({ packBytes: 0 });
    let between: (() => Promise<unknown>) | undefined;
    const fetching: typeof fetch = async (input, init) => {
      const path = String(input instanceof Request ? input.url : input);
      const act = between;
      if (act && /multi-exec|pipeline/.test(path) && String(init?.body).includes("lpop")) {
        between = undefined;
        await act();
      }
      return await fetch(input, init);
    };
    const raced = transparentRedis(stack.store({ packBytes: 0, redis: { fetch: fetching } }));
    for (const kind of ["multi", "pipeline"] as const) {
      await redis.set("k", "v");
      await redis.rpush("q", "job");
      await store.tick();
      between = () => other.evict("k", "q");
      const error = await assertRejects(() => raced[kind]().del("k").lpop("q").set("s", kind).exec(), TundraError);
      assertEquals([error.code, await stack.get("s")], ["CONFLICT", kind]);
      assertEquals([await redis.get("k"), await redis.llen("q")], ["v", 1]);
      await redis.del("k", "q");
    }
  });

  it("of a mark alone says that the command took effect, and is not to be repeated; what failed itself may be", async () => {
    await redis.rpush("q", "job", "next");
    await redis.set("s", "no list");
    await evicted("q");
    await stack.raw("RENAME", "tundra:default:dirty", "away").catch(() => {}); // it is empty
    await stack.raw("SET", "tundra:default:dirty", "no sorted set");
    for (const kind of ["pipeline", "multi"] as const) {
      const error = await assertRejects(() => redis[kind]().lpop("q").get("s").exec(), TundraError);
      assertEquals([error.code, error.keys, error.retryable], ["UNAVAILABLE", ["q"], false]);
      assert(/WRONGTYPE.*took effect.*dirty\(\)/.test(error.message), error.message);
    }
    assertEquals(await stack.exists("q"), 0);
    const failed = await assertRejects(() => redis.pipeline().lpop("s").get("s").exec(), TundraError);
    assertEquals([failed.code, failed.keys, failed.retryable], ["UNAVAILABLE", ["s"], true]);
  });

  it("is told by a read as by ensureKs if another client wrote beside the archived value", async () => {
    for (const read of [(r: Redis) => r.hgetall("h"), (r: Redis) => r.pipeline().hgetall("h").hlen("h").exec()]) {
      await redis.hset("h", { a: 1, b: 2 });
      await evicted("h");
      await store.redis.hset("h", { c: 3 });
      const another = transparentRedis(store);
      for (let round = 0; round < 2; round++) { // its use is not noted either
        const error = await assertRejects(() => read(another), TundraError);
        assertEquals([error.code, error.keys], ["CONFLICT", ["h"]]);
      }
      await store.evict({ discard: true }, "h");
      assertEquals(await another.hgetall("h"), { a: 1, b: 2 });
      await redis.del("h");
    }
  });

  it("of a word that is no text and no number is BAD_ARGUMENT, and nothing is sent", async () => {
    await redis.exists("a");
    const { requests } = stack.server;
    const none = undefined as unknown as string;
    for (
      const run of [
        () => redis.set("u", none),
        () => redis.hset("u", { a: NaN }),
        () => redis.set("u", Infinity),
        () => redis.multi().set("u", none).exec(),
      ]
    ) {
      const error = await assertRejects(run, TundraError);
      assertEquals(error.code, "BAD_ARGUMENT");
    }
    assertEquals(stack.server.requests, requests);
    assertEquals(await redis.set("u", true), "OK");
    assertEquals(await redis.set("u", null), await store.redis.set("plain", null));
    assertEquals(await redis.get("u"), await store.redis.get("plain"));
  });
});
