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
import { BUCKET, type ColdStack, hooked, isPack, names, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

/** What the calls of stores on this stack cost. */
function meter(stack: ColdStack) {
  let [puts, gets, ranges, mostBytes] = [0, 0, 0, 0];

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
      fetchRanges: (reads, ...args) => {
        ranges += reads.length;
        mostBytes = Math.max(mostBytes, ...reads.map(({ length }) => length));
        return inner.fetchRanges(reads, ...args);
      },
    });
  }

  /** A store whose scripts Redis knows and whose index has its id; `n` keys, archived and in Redis. */
  async function ready(
    n: number,
    options: { redisTtlMs?: number; expiring?: boolean; valueBytes?: number } = {},
  ): Promise<{
    store: TundraStore;
    keys: string[];
  }> {
    const { redisTtlMs, expiring, valueBytes } = options;
    const keys = names(n);
    const store = stack.store({ redisTtlMs, datastore: archive(n) });
    const at = Math.floor(await stack.nowMs()) + HOUR_MS;
    const valueOf = (key: string) =>
      valueBytes ? crypto.getRandomValues(new Uint8Array(valueBytes)) : `value of ${key}`;
    await stack.raw("MSET", ...keys.flatMap((key) => [key, valueOf(key)]));
    await stack.raw("SET", "other", "value");
    if (expiring) { for (const key of keys) await stack.raw("PEXPIREAT", key, at); }
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
    puts =
      gets =
      ranges =
      mostBytes =
        0;
    const s3 = stack.s3.requests;
    const report = await act();
    const commands = await stack.server.billable();
    if (typeof report === "object" && report !== null && "claimed" in report) {
      assertEquals((report as TickReport).commands, commands);
    }
    if (stack.s3.requests > s3) assertEquals(stack.s3.requests - s3, puts + gets + ranges);
    return [stack.server.requests, commands, puts, gets];
  }

  /** As `cost`, and ranges of packs asked for. */
  async function costInPacks(act: () => Promise<unknown>): Promise<[number, number, number, number, number]> {
    return [...await cost(act), ranges];
  }

  return { ready, cost, costInPacks, mostBytes: () => mostBytes };
}

describe("budgets", () => {
  const stack = withArchive({ packBytes: 0 });
  beforeEach(() => stack.flush());
  const { ready, cost } = meter(stack);

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

describe("budgets in packs", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const { ready, cost, costInPacks, mostBytes } = meter(stack);
  const valueBytes = 700;

  it("of one key are those without packs: it has an object of its own", async () => {
    const { store, keys } = await ready(1);
    await store.dirty(keys);
    assertEquals(await costInPacks(() => store.tick()), [3, 2 + 21, 1, 1, 0]);
    await store.evict(keys);
    assertEquals(await costInPacks(() => store.ensureKs(keys)), [2, 2 + 12, 0, 1, 0]);
  });

  it("of values that would fill a pack each are those without packs", async () => {
    const n = 5;
    const store = stack.store({ packBytes: 40_000 });
    for (const key of names(n)) await stack.raw("SET", key, crypto.getRandomValues(new Uint8Array(30_000)));
    await store.dirty(names(n));
    const { frozen, errors } = await store.tick();
    assertEquals([frozen, errors, stack.objectNames().map(isPack)], [n, [], Array(n).fill(false)]);
    assertEquals((await store.evict(names(n))).evicted.length, n);
    await store.ensureKs(names(n));
    assertEquals(await stack.exists(...names(n)), n);
  });

  for (const n of [100, 1000]) {
    it(`tick of a batch of ${n}: 3 requests, 1 upload and the owner, 2 commands a key and 21`, async () => {
      const { store, keys } = await ready(n, { valueBytes });
      await store.dirty(keys);
      let [frozen, subrequests] = [0, 0];
      const tick = async () => ({ frozen, subrequests } = await store.tick());
      // a batch of 1,000 is full, but nothing is left that a second claim would have to take
      assertEquals(await costInPacks(tick), [3, 2 * n + 21, 1, 1, 0]);
      assertEquals([frozen, subrequests], [n, 5]);
    });

    it(`ensureKs of ${n} evicted that were archived together: 2 requests, 1 range, 2 commands a key and 12`, async () => {
      const { store, keys } = await ready(n, { valueBytes });
      assertEquals(await cost(() => store.evict(keys)), [1, 2 * n + 9, 0, 0]);
      assertEquals(await costInPacks(() => store.ensureKs(keys)), [2, 2 * n + 12, 0, 0, 1]);
      assertEquals(await stack.exists(...keys), n);
    });

    it(`ensureKs of one of ${n} evicted: 2 requests, 1 range of at most 64 KiB, 14 commands`, async () => {
      const { store, keys } = await ready(n, { valueBytes });
      await store.evict(keys);
      assertEquals(await costInPacks(() => store.ensureKs(keys[n / 2]!)), [2, 14, 0, 0, 1]);
      assert(mostBytes() <= 65_536, `${mostBytes()} bytes`);
    });

    it(`removal of ${n}: 1 upload, 3 commands a key and 25, and nothing to delete`, async () => {
      const { store, keys } = await ready(n);
      const deletes = stack.s3Count("DeleteObject");
      await store.del(keys);
      await stack.server.resetCounters();
      const uploads = stack.s3Count("PutObject");
      const report = await store.tick();
      assertEquals([report.missing, report.purged, report.errors], [n, n, []]);
      assertEquals([stack.server.requests, await stack.server.billable()], [4, 3 * n + 25]);
      if (n < 1000) {
        assertEquals([stack.s3Count("PutObject") - uploads, stack.s3Count("DeleteObject") - deletes], [1, 0]);
      }
    });
  }

  it("own expiries cost one command more in a tick, for all keys together, and none in evict and ensureKs", async () => {
    const n = 100;
    const { store, keys } = await ready(n, { expiring: true });
    await store.dirty(keys);
    assertEquals(await costInPacks(() => store.tick()), [3, 2 * n + 22, 1, 1, 0]);
    assertEquals(await cost(() => store.evict(keys)), [1, 2 * n + 9, 0, 0]);
    assertEquals(await costInPacks(() => store.ensureKs(keys)), [2, 2 * n + 12, 0, 0, 1]);
  });

  it("a tick that evicts idle keys of one pack that is older than a day asks the archive once", async () => {
    const n = 100;
    const { store, keys } = await ready(n, { redisTtlMs: 10 * HOUR_MS });
    await stack.leaveAlone(72 * HOUR_MS, ...keys);
    const old = `${String(Math.floor(await stack.nowMs() - 72 * HOUR_MS) * 1000).padStart(16, "0")}-0badcafe`;
    stack.s3.objects(BUCKET).set(`default/~packs/${old}`, new Uint8Array(1_000)); // only its name counts
    for (const key of keys) await stack.editRecord(key, { ver: `${old}@:16:900` });
    const s3 = stack.s3.requests;
    const { evicted, subrequests } = await store.tick();
    assertEquals([evicted, stack.s3.requests - s3, subrequests], [n, 2, 3 + 2]); // the owner, the pack
  });
});
