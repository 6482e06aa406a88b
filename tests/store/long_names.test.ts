/**
 * Names are up to 32 KB long, so a list of them may be larger than any reply: each is bounded by its bytes, or asked
 * for in parts, and what a tick leases it hears of.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { names, type StoreOptions, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

const LIMIT = 60_000;

for (const known of [true, false]) {
  describe(`if replies of 60,000 bytes are refused, and ${known ? "options say so" : "nobody knows"}`, () => {
    const stack = withArchive({ upstash: { maxReplyBytes: LIMIT } });
    beforeEach(() => stack.flush());
    let refused = 0;
    beforeEach(() => void (refused = 0));
    const store = (options: StoreOptions = {}) =>
      stack.store({
        ...options,
        redis: {
          ...(known && { maxReplyBytes: LIMIT }),
          async fetch(url, init) {
            const reply = await fetch(url, init);
            if (reply.status === 400 && /response size/.test(await reply.clone().text())) refused++;
            return reply;
          },
        },
      });
    const fill = async (n: number) => {
      const keys = names(n, "n".repeat(3_000));
      for (const key of keys) await stack.raw("SET", key, "v");
      return keys;
    };

    it("a tick archives 200 keys of 3 KB names, whatever their batch: it leases no more than it hears of", async () => {
      const keys = await fill(200);
      const writer = store();
      await writer.dirty(keys);
      const ticking = store();
      const { frozen, remaining, errors, done } = await ticking.tick({ batchKeys: 200 });
      if (known) {
        assertEquals([frozen, remaining, errors, refused], [200, 0, [], 0]);
        return;
      }
      assert(refused > 0 && refused < 4, `${refused} refused`);
      assert(frozen > 100 && !done, `${frozen} archived, done: ${done}`);
      assertEquals(errors, []);
      const before = refused;
      await stack.endLeases(); // of those whose claim was refused: suspects
      while ((await stack.members("dirty")).length > 0) {
        const report = await ticking.tick({ batchKeys: 200 });
        assertEquals([report.errors, report.frozen > 0], [[], true]);
      }
      assertEquals(refused, before, "it is learned");
      assertEquals((await writer.status()).dead, 0);
    });

    it("a tick evicts what is idle and deletes what was removed, all of it", async () => {
      const keys = await fill(120);
      const writer = store({ redisTtlMs: 10 * HOUR_MS });
      await writer.dirty(keys);
      for (let left = 1; left > 0; left = (await stack.members("dirty")).length) {
        await writer.tick({ batchKeys: 20 });
        await stack.endLeases(); // of those whose claim was refused
      }
      await stack.leaveAlone(11 * HOUR_MS, ...keys.slice(0, 60));
      await writer.del(keys.slice(60));
      let [evicted, purged] = [0, 0];
      for (let done = false; !done;) {
        const report = await writer.tick();
        [evicted, purged, done] = [evicted + report.evicted, purged + report.purged, report.done];
        assertEquals(report.errors, []);
        await stack.endLeases();
      }
      assertEquals([evicted, purged, await stack.exists(...keys)], [60, 60, 0]);
      await writer.ensureKs(keys);
      assertEquals(await stack.exists(...keys), 60);
    });

    it("dead keys are listed to the last", async () => {
      const keys = await fill(120);
      const writer = store();
      await writer.dirty(keys);
      for (const [i, key] of keys.entries()) {
        await stack.raw("ZREM", "tundra:default:dirty", key);
        await stack.raw("ZADD", "tundra:default:dead", i + 1, key);
      }
      const letters = await writer.deadLetters({ limit: 100 });
      assertEquals(letters.map(({ key, at }) => [key, at]), keys.slice(0, 100).map((key, i) => [key, i + 1]));
      assertEquals((await writer.deadLetters({ offset: 110, limit: 100 })).map(({ key }) => key), keys.slice(110));
      assertEquals(await writer.retryDead(keys), 120);
    });
  });
}

describe("if a later request of several fails", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** A store whose requests hold few keys; from `fail()` on all of those with these KEYS but the first fail. */
  const failing = (keys: string[], options: StoreOptions = {}) => {
    const sets = keys.map((name) => `"tundra:default:${name}"`).join(",");
    let [broken, met] = [false, 0];
    const store = stack.store({
      ...options,
      redis: {
        maxRequestBytes: 200_000,
        retry: false,
        async fetch(url, init) {
          if (broken && String(init?.body).includes(sets) && ++met > 1) throw new TypeError("the network failed");
          return await fetch(url, init);
        },
      },
    });
    return { store, fail: () => void (broken = true) };
  };

  it("a tick counts what was evicted before, and what it had to say of it", async () => {
    const EVICT = ["dirty", "idle", "dead", "id", "stats"];
    const { store, fail } = failing(EVICT, { redisTtlMs: 10 * HOUR_MS });
    const keys = names(20, "n".repeat(3_000));
    for (const key of keys) await stack.raw("SET", key, "v");
    await store.dirty(keys);
    while (!(await store.tick()).done);
    await store.evict("other"); // Redis learns the script
    await stack.leaveAlone(11 * HOUR_MS, ...keys);
    const [first, second] = await stack.members("idle");
    await stack.editRecord(first!, { rescues: 3 });
    await stack.raw("SET", first!, "changed a fourth time");
    await stack.raw("SET", second!, "changed once");
    fail();
    const report = await store.tick();
    const { evicted, rescued } = (await stack.store().status()).totals;
    assert(evicted > 2 && evicted < 20, `${evicted} evicted`);
    assertEquals([report.evicted, report.rescued], [evicted, rescued]);
    assertEquals([evicted, rescued], [20 - (await stack.exists(...keys)), 1]);
    assertEquals(report.errors.map(({ key, code }) => [key, code]), [[first, "UNSUPPORTED"], ["", "UNAVAILABLE"]]);
    assertEquals(report.done, false);
  });

  it("a tick counts what was archived before as archived, and only the others as failed", async () => {
    const { store, fail } = failing(["dirty", "idle", "stats", "purge"]);
    const keys = names(20, "n".repeat(3_000));
    for (const key of ["other", ...keys]) await stack.raw("SET", key, "v");
    await store.dirty("other");
    await store.tick(); // Redis learns the script
    await store.dirty(keys);
    fail();
    const report = await store.tick();
    const { dirty } = await stack.store().status();
    assert(dirty > 1 && dirty < 20, `${dirty} are dirty`);
    assertEquals([report.frozen, report.failed, report.done], [20 - dirty, dirty, false]);
    assertEquals(report.errors.map(({ key, code }) => [key, code]), [["", "UNAVAILABLE"]]);
  });
});
