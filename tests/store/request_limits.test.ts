/**
 * A server that takes smaller requests than Upstash does (a plan, a proxy in front): everything travels in parts that
 * it takes, and nothing leaves Redis that it could not take back.
 * @module
 */
import { afterEach, beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { TundraError } from "../../mod.ts";
import { startUpstash, type UpstashServer } from "../../src/testing/upstash.ts";
import { names, type StoreOptions, tundraError, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

const LIMIT = 200_000;
const noise = (length: number): string => {
  let text = "";
  while (text.length < length) text += Math.random().toString(36).slice(2);
  return text.slice(0, length);
};

for (const proxyLimits of [false, true]) {
  describe(`a server that answers requests over 200,000 bytes ${proxyLimits ? "with HTTP 413" : "as Upstash does"}`, () => {
    const stack = withArchive();
    let server: UpstashServer;
    beforeEach(async () => {
      await stack.flush();
      server = await startUpstash({ redisPort: stack.redis.port, maxRequestBytes: LIMIT, proxyLimits, record: true });
    });
    afterEach(() => server.stop());
    const databaseId = "two-endpoints";
    const limited = (options: StoreOptions = {}) =>
      stack.store({ databaseId, ...options, redis: { url: server.url, token: server.token, ...options.redis } });
    const refused = () => server.log.filter(({ commands }) => commands.length === 0).length;

    it("marks, archives, evicts, brings back, deletes and requeues 120 keys of long names", async () => {
      const keys = names(120, "n".repeat(6_000));
      for (const key of keys) await stack.raw("SET", key, "v");
      const store = limited({ redisTtlMs: 10 * HOUR_MS });
      await store.dirty(keys);
      assertEquals((await stack.members("dirty")).length, 120);
      const { frozen, errors, done } = await store.tick();
      assertEquals([frozen, errors, done], [120, [], true]);
      await stack.leaveAlone(11 * HOUR_MS, ...keys.slice(0, 60));
      assertEquals((await store.tick()).evicted, 60);
      assertEquals((await store.evict(keys)).evicted.length, 120);
      assertEquals(await stack.exists(...keys), 0);
      await store.ensureKs(keys);
      assertEquals(await stack.exists(...keys), 120);
      assertEquals(await store.del(keys), 120);
      const last = await store.tick();
      assertEquals([last.missing, last.errors], [120, []]);
      assertEquals(await store.retryDead(keys), 0);
    });

    it("learns nothing from what an application's script says", async () => {
      await stack.raw("SET", "large", noise(150_000));
      const store = limited({ redis: { maxRequestBytes: LIMIT, enableAutoPipelining: false } });
      await store.dirty("large");
      await store.tick();
      const says = store.redis.eval("return redis.error_reply('ERR entity body too large')", [], []);
      const error = await says.then(() => undefined, (thrown: Error) => thrown);
      assert(error && !(error instanceof TundraError) && error.message.includes("entity body too large"));
      assertEquals((await store.evict("large")).evicted, ["large"]);
    });

    it("learns the limit from the first refusal, for as long as the connection lives", async () => {
      const keys = names(120, "n".repeat(6_000));
      for (const key of keys) await stack.raw("SET", key, "v");
      const store = limited();
      await store.dirty(keys);
      const first = refused();
      assert(first > 0 && first < 8, `${first} refused`);
      await store.dirty(keys);
      await store.ensureKs(keys);
      assertEquals((await store.tick()).frozen, 120);
      assert(refused() <= first + 1, `${refused()} refused, ${first} at first`);
    });

    it("is asked for no more than it takes if the option says how much that is", async () => {
      const keys = names(120, "n".repeat(6_000));
      for (const key of keys) await stack.raw("SET", key, noise(2_000));
      const store = limited({ redis: { maxRequestBytes: LIMIT } });
      await store.dirty(keys);
      assertEquals((await store.tick()).frozen, 120);
      assertEquals((await store.evict(keys)).evicted.length, 120);
      await store.ensureKs(keys);
      assertEquals(await stack.exists(...keys), 120);
      assertEquals(refused(), 0);
    });

    it("brings 20 values of 60 KB back, a few at a time", async () => {
      const values = new Map(names(20).map((key) => [key, noise(60_000)]));
      for (const [key, value] of values) await stack.raw("SET", key, value);
      const store = limited();
      await store.dirty([...values.keys()]);
      assertEquals((await store.tick()).frozen, 20);
      assertEquals((await store.evict([...values.keys()])).evicted.length, 20);
      await limited().ensureKs([...values.keys()]);
      for (const [key, value] of values) assertEquals(await stack.get(key), value);
    });

    it("is given values in pieces that it could not take back at once", async () => {
      await stack.raw("SET", "large", noise(190_000));
      await stack.raw("SET", "small", noise(90_000));
      const store = limited({ redis: { maxRequestBytes: LIMIT } });
      await store.dirty("large", "small");
      const { frozen, failed, errors } = await store.tick();
      assertEquals([frozen, failed, errors], [2, 0, []]);
      assertEquals((await store.evict("large", "small")).evicted, ["large", "small"]);
      await store.ensureKs("large", "small");
      assertEquals(refused(), 0);
      assertEquals(await stack.exists("large", "small"), 2);
    });

    it("keeps a value that was archived when more was taken: evict() says so, a tick looks again in an hour", async () => {
      await stack.raw("SET", "large", noise(190_000));
      await stack.raw("SET", "small", noise(90_000));
      const before = stack.store({ databaseId });
      await before.dirty("large", "small");
      assertEquals((await before.tick()).frozen, 2);
      const store = limited({ redisTtlMs: 10 * HOUR_MS, redis: { maxRequestBytes: LIMIT } });
      assertEquals(await store.evict("large"), {
        evicted: [],
        kept: Object.assign(Object.create(null), { large: "too large" }),
      });
      await stack.leaveAlone(11 * HOUR_MS, "large", "small");
      const { evicted, errors, rescued } = await store.tick();
      assertEquals([evicted, errors, rescued], [1, [], 0]);
      assertEquals([await stack.exists("large"), await stack.exists("small")], [1, 0]);
      const again = await stack.score("idle", "large");
      assert(again! > await stack.nowMs() - 10 * HOUR_MS && again! < await stack.nowMs() - 8 * HOUR_MS, String(again));
      assertEquals((await store.tick()).evicted, 0);
    });

    it("says TOO_LARGE of the one value that it does not take back, and brings the others back", async () => {
      await stack.raw("SET", "large", noise(220_000));
      for (const key of names(5)) await stack.raw("SET", key, noise(30_000));
      const before = stack.store({ databaseId });
      await before.dirty("large", ...names(5));
      await before.tick();
      assertEquals((await before.evict("large", ...names(5))).evicted.length, 6);
      const error = await tundraError("ENSURE_FAILED", () => limited().ensureKs("large", ...names(5)));
      assertEquals([error.keys, (error.causes["large"] as { code?: string }).code], [["large"], "TOO_LARGE"]);
      assertEquals(await stack.exists(...names(5)), 5);
    });
  });

  describe(`a server that answers requests over 2 MB ${proxyLimits ? "with HTTP 413" : "as Upstash does"}`, () => {
    const stack = withArchive();
    let server: UpstashServer;
    beforeEach(async () => {
      await stack.flush();
      server = await startUpstash({
        redisPort: stack.redis.port,
        maxRequestBytes: 2_000_000,
        proxyLimits,
        record: true,
      });
    });
    afterEach(() => server.stop());
    const limited = () => stack.store({ redis: { url: server.url, token: server.token } });
    const proofs = () => server.log.filter(({ commands }) => commands.some(([name]) => name === "HEXISTS")).length;

    it("archives a larger value in segments, even if no process has met a refusal or knows the limit", async () => {
      await stack.raw("SET", "large", noise(2_100_000));
      await stack.raw("SET", "small", noise(500_000));
      const store = limited();
      await store.dirty("large", "small");
      const { frozen, errors } = await store.tick();
      assertEquals([frozen, errors], [2, []]);
      assertEquals((await stack.record("large"))!.ver.length, 26);
      assertEquals((await store.evict("large", "small")).evicted, ["large", "small"]);
      await limited().ensureKs("large", "small");
      assertEquals(await stack.exists("large", "small"), 2);
    });

    it("is asked once whether it accepts requests of over 1 MB, and not at all for smaller values", async () => {
      const large = noise(1_500_000);
      const values = new Map(names(4).map((key) => [key, key === "k:0" ? noise(450_000) : large]));
      for (const [key, value] of values) await stack.raw("SET", key, value);
      const store = limited();
      await store.dirty("k:0");
      assertEquals([(await store.tick()).frozen, proofs()], [1, 0]);
      await store.dirty([...values.keys()]);
      assertEquals([(await store.tick()).frozen, proofs()], [4, 1]);
      await store.dirty([...values.keys()]);
      assertEquals([(await store.tick()).frozen, proofs()], [4, 1]);
      assertEquals((await store.evict([...values.keys()])).evicted.length, 4);
      await limited().ensureKs([...values.keys()]);
      for (const [key, value] of values) assertEquals(await stack.get(key), value);
    });
  });
}
