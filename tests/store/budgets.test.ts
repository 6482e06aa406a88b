/** The cost of each call, in requests and in billable commands: exactly, and within the budgets of the design. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  type Datastore,
  memoryDatastore,
  type TickOptions,
  type TickReport,
  TundraError,
  type TundraStore,
} from "../../mod.ts";
import { hooked, names, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

describe("budgets", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  let puts = 0;
  let gets = 0;

  /** Counts objects put and asked for; on S3, but for many keys in memory: they are 1,000 requests there as here. */
  function archive(n: number): Datastore {
    const inner = n < 1000 ? stack.datastore() : memoryDatastore();
    return hooked(inner, {
      putKey: (...args) => {
        puts++;
        return inner.putKey(...args);
      },
      fetchKeys: (names, ...args) => {
        gets += names.length;
        return inner.fetchKeys(names, ...args);
      },
    });
  }

  /** A store whose scripts Redis knows and whose index has its id; `n` keys, archived and in Redis. */
  async function ready(
    n: number,
    options: { redisTtlMs?: number; expiring?: boolean } = {},
  ): Promise<{
    store: TundraStore;
    keys: string[];
  }> {
    const keys = names(n);
    const store = stack.store({
      redisTtlMs: options.redisTtlMs,
      datastore: archive(n),
    });
    const at = Math.floor(await stack.nowMs()) + HOUR_MS;
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await stack.raw("SET", "other", "value");
    if (options.expiring) { for (const key of keys) await stack.raw("PEXPIREAT", key, at); }
    await store.dirty("other");
    await store.tick();
    await store.evict("other");
    await store.ensureKs("other");
    await store.del("other");
    await store.tick();
    await store.status();
    await store.dirty(keys);
    await store.tick({ batchKeys: 1000 });
    return { store, keys };
  }

  /** Requests and commands at the endpoint, and objects put and asked for. A tick counts the same commands. */
  async function cost(act: () => Promise<unknown>): Promise<[number, number, number, number]> {
    await stack.server.resetCounters();
    puts = gets = 0;
    const s3 = stack.s3.requests;
    const report = await act();
    const commands = await stack.server.billable();
    if (typeof report === "object" && report !== null && "claimed" in report) {
      assertEquals((report as TickReport).commands, commands);
    }
    if (stack.s3.requests > s3) assertEquals(stack.s3.requests - s3, puts + gets);
    return [stack.server.requests, commands, puts, gets];
  }

  for (const n of [1, 100, 1000]) {
    it(`dirty of ${n}: 1 request, 6 commands, first marks and repeated ones`, async () => {
      const { store, keys } = await ready(n);
      assertEquals(await cost(() => store.dirty(keys)), [1, 6, 0, 0]);
      assertEquals(await cost(() => store.dirty(keys)), [1, 6, 0, 0]);
    });

    it(`ensureKs of ${n} resident: 1 request, 4 commands, archived or never archived`, async () => {
      const { store, keys } = await ready(n);
      assertEquals(await cost(() => store.ensureKs(keys)), [1, 4, 0, 0]);
      assertEquals(await cost(() => store.ensureKs(names(n, "never"))), [1, 4, 0, 0]);
    });

    it(`ensureKs of ${n} evicted: 2 requests, ${n} fetches, 2 commands a key and 12`, async () => {
      const { store, keys } = await ready(n);
      await store.evict(keys);
      assertEquals(await cost(() => store.ensureKs(keys)), [2, 2 * n + 12, 0, n]);
      assertEquals(await stack.exists(...keys), n);
      assert(2 * n + 12 <= 3 * n + 14);
    });

    it(`tick of a batch of ${n}: 3 requests, ${n} uploads and the owner, 2 commands a key and 21`, async () => {
      const { store, keys } = await ready(n);
      await store.dirty(keys);
      let frozen = 0;
      let subrequests = 0;
      const tick = async () => ({ frozen, subrequests } = await store.tick({ batchKeys: 1000 }));
      assertEquals(await cost(tick), [3, 2 * n + 21, n, 1]);
      assertEquals([frozen, subrequests], [n, 3 + 1 + n]);
      assert(3 <= 4 && 2 * n + 21 <= 2 * n + 24);
    });

    it(`evict of ${n}: 1 request, 2 commands a key and 9`, async () => {
      const { store, keys } = await ready(n);
      assertEquals(await cost(() => store.evict(keys)), [1, 2 * n + 9, 0, 0]);
      assertEquals(await stack.exists(...keys), 0);
      assert(2 * n + 9 <= 2 * n + 12);
    });

    it(`del of ${n}: 2 requests, 13 commands; again: 1 request, 4 commands`, async () => {
      const { store, keys } = await ready(n);
      assertEquals(await cost(() => store.del(keys)), [2, 13, 0, 0]);
      assertEquals(await stack.exists(...keys), 0);
      assertEquals(await cost(() => store.del(keys)), [1, 4, 0, 0]);
    });

    it(`a tick that evicts ${n} idle keys: 3 requests, 2 commands a key and 19`, async () => {
      const { store, keys } = await ready(n, { redisTtlMs: 10 * HOUR_MS });
      await stack.leaveAlone(11 * HOUR_MS, ...keys);
      let evicted = 0;
      const tick = async () => ({ evicted } = await store.tick({ batchKeys: 1000, maxKeys: 1000 }));
      const [requests, commands, puts, gets] = await cost(tick);
      assertEquals([evicted, puts, gets], [n, 0, 1]);
      // if the batch was full, the tick has to ask for more
      assertEquals([requests, commands], n === 1000 ? [4, 2 * n + 25] : [3, 2 * n + 19]);
    });
  }

  it("own expiries cost one command more in a tick, for all keys together, and none in evict and ensureKs", async () => {
    const n = 100;
    const { store, keys } = await ready(n, { expiring: true });
    await store.dirty(keys);
    assertEquals(await cost(() => store.tick({ batchKeys: 1000 })), [3, 2 * n + 22, n, 1]);
    assertEquals(await cost(() => store.evict(keys)), [1, 2 * n + 9, 0, 0]);
    assertEquals(await cost(() => store.ensureKs(keys)), [2, 2 * n + 12, 0, n]);
  });

  it("an idle tick: 1 request, 7 commands; status: 1 and 10; deadLetters: 1 and 1", async () => {
    const { store } = await ready(1);
    assertEquals(await cost(() => store.tick()), [1, 7, 0, 0]);
    assertEquals(await cost(() => store.status()), [1, 10, 0, 0]);
    assertEquals(await cost(() => store.deadLetters()), [1, 1, 0, 0]);
  });

  for (const n of [1, 100]) {
    for (const versions of [1, 3]) {
      it(`removal of ${n} with ${versions} versions each: a tombstone and a listing a key, one call to delete, 3 commands a key and 25`, async () => {
        const archive = memoryDatastore();
        const counts = { puts: 0, lists: 0, deletes: [] as number[] };
        const store = stack.store({
          datastore: hooked(archive, {
            putKey: (...args) => (counts.puts++, archive.putKey(...args)),
            listKeys: (...args) => (counts.lists++, archive.listKeys(...args)),
            deleteKeys: (names, options) => (counts.deletes.push(names.length), archive.deleteKeys(names, options)),
          }),
        });
        const remove = async (keys: string[], act: () => Promise<unknown>) => {
          for (let i = 0; i < versions; i++) {
            await stack.raw("MSET", ...keys.flatMap((key) => [key, `value ${i}`]));
            await store.dirty(keys);
            await store.tick();
          }
          await store.del(keys);
          Object.assign(counts, { puts: 0, lists: 0, deletes: [] });
          return await cost(act);
        };
        await remove(["other"], () => store.tick());
        // claim, snapshot, commit, purged; a key: PEXPIRETIME, DUMP, and its record, which gets a TTL
        const [requests, commands] = await remove(names(n), () => store.tick());
        assertEquals([requests, commands], [4, 3 * n + 25]);
        assertEquals(counts, { puts: n, lists: n, deletes: [n * versions] });
        assertEquals((await store.status()).purge, 0);
      });
    }
  }

  it("a tick reports the commands that Redis ran: the first one, with suspects, failures, unmarked changes", async () => {
    const inner = memoryDatastore();
    let refuses = false;
    const store = stack.store({
      redisTtlMs: 10 * HOUR_MS,
      datastore: hooked(inner, {
        putKey: (name, ...args) =>
          refuses && name.includes("k.3A1/")
            ? Promise.reject(new TundraError("UNSUPPORTED", "no"))
            : inner.putKey(name, ...args),
      }),
    });
    const tick = (options?: TickOptions) => cost(() => store.tick({ retryBackoffMs: 0, ...options }));
    await stack.raw("SCRIPT", "FLUSH");
    const keys = names(12);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
    await tick();
    await store.dirty(keys);
    await stack.raw("DEL", "k:2", "k:3", "k:7");
    refuses = true;
    await tick({ nattempts: 2 });
    await tick({ nattempts: 2 });
    await stack.raw("PEXPIREAT", "k:4", Math.floor(await stack.nowMs()) + HOUR_MS);
    await store.dirty({ missing: "del" }, keys.slice(4));
    const ended = `${Math.floor(await stack.nowMs()) - 1000}.5`;
    for (const key of ["k:5", "k:6", "k:10"]) await stack.raw("ZADD", "tundra:default:dirty", "XX", ended, key);
    await tick();
    await stack.raw("APPEND", "k:5", "+");
    await stack.leaveAlone(30 * HOUR_MS, ...keys.slice(4));
    await store.del("k:8", "k:9");
    await stack.raw("SET", "k:9", "anew");
    await tick({ maxSubrequests: 20 });
    await tick();
    refuses = false;
    await tick();
    const { dead, due, evicted, purge, totals } = await store.status();
    assertEquals([due, purge, dead > 0, evicted > 0, totals.rescued], [0, 0, true, true, 1]);
  });

  it("dirtyIn costs no request of its own", async () => {
    const { store, keys } = await ready(100);
    const mark = async () => {
      const tx = store.redis.multi();
      tx.set(keys[0]!, "new");
      store.dirtyIn(tx, keys);
      await tx.exec();
    };
    await mark();
    assertEquals(await cost(mark), [1, 1 + 6 + 2, 0, 0]); // MULTI and EXEC are counted here
    assertEquals((await store.status()).dirty, 100);
  });

  it("dirty and ensureKs of 2,500 keys: as many requests as batches", async () => {
    const { store } = await ready(1);
    const keys = names(2500, "more");
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    assertEquals(await cost(() => store.dirty(keys)), [3, 18, 0, 0]);
    assertEquals(await cost(() => store.ensureKs(keys)), [3, 12, 0, 0]);
  });
});
