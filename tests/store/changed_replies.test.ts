/** An endpoint that decodes replies as text: nothing of what it shows is archived, and no key pays for it. */
import { after, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { startUpstash, type UpstashServer } from "../../src/testing/upstash.ts";
import { names, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

describe("an endpoint that decodes replies as text", () => {
  const stack = withArchive();
  let server: UpstashServer;
  beforeEach(async () => {
    await stack.flush();
    server ??= await startUpstash({ redisPort: stack.redis.port, decodesReplies: true });
  });
  after(() => server.stop());
  const databaseId = "two-endpoints";
  const sound = () => stack.store({ databaseId });
  const spoilt = () =>
    stack.store({ databaseId, redisTtlMs: 10 * HOUR_MS, redis: { url: server.url, token: server.token } });

  it("gets nothing archived and no attempt counted, however often ticks run; the message says what is wrong", async () => {
    const keys = names(30);
    for (const key of keys) await stack.raw("SET", key, `value of ${key}`);
    const store = spoilt();
    await store.dirty(keys);
    for (let i = 0; i < 5; i++) {
      const { frozen, dead, errors } = await store.tick();
      assertEquals([frozen, dead, errors.length], [0, 0, 1]);
      assertEquals([errors[0]!.code, errors[0]!.key], ["UNSUPPORTED", ""]);
      assertStringIncludes(errors[0]!.message, "this endpoint changes binary replies");
      await stack.endBackoffs();
    }
    assertEquals(stack.objectNames(), []);
    for (const key of keys) assertEquals((await stack.record(key))!.attempts, 0);
    assertEquals((await stack.members("dirty")).length, 30);
    assertEquals((await sound().tick()).frozen, 30);
  });

  it("counts no attempt of a key that is read alone, a suspect's neither", async () => {
    await stack.raw("SET", "k", "v");
    const store = spoilt();
    await store.dirty("k");
    for (let i = 0; i < 4; i++) {
      assertEquals((await store.tick({ batchKeys: 1 })).dead, 0);
      await stack.endBackoffs();
      await stack.endLeases();
    }
    assertEquals((await stack.record("k"))!.attempts, 0);
    assertEquals(await stack.members("dead"), []);
  });

  it("can still mark, evict and bring back what a sound one has archived", async () => {
    await stack.raw("SET", "k", "v");
    await sound().dirty("k");
    assertEquals((await sound().tick()).frozen, 1);
    assertEquals((await spoilt().evict("k")).evicted, ["k"]);
    await spoilt().ensureKs("k");
    assertEquals(await stack.get("k"), "v");
  });
});

describe("values of all types", () => {
  const stack = withArchive();

  it("are whole in the eyes of the check, as a real Redis dumps them", async () => {
    const random = () => Math.random().toString(36);
    await stack.raw("SET", "string", "v".repeat(5_000));
    await stack.raw("SET", "number", "12345");
    for (let i = 0; i < 300; i++) {
      await stack.raw("RPUSH", "list", random());
      await stack.raw("HSET", "hash", random(), random());
      await stack.raw("SADD", "set", random());
      await stack.raw("SADD", "intset", i);
      await stack.raw("ZADD", "zset", Math.random(), random());
      await stack.raw("XADD", "stream", "*", "f", random());
      await stack.raw("PFADD", "loglog", random());
    }
    const keys = ["string", "number", "list", "hash", "set", "intset", "zset", "stream", "loglog"];
    const store = stack.store();
    await store.dirty(keys);
    const { frozen, errors } = await store.tick();
    assertEquals([frozen, errors], [keys.length, []]);
    assert((await store.evict(keys)).evicted.length === keys.length);
  });
});
