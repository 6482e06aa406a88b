/** Keys that Redis has lost by itself are told apart from those that never were. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Datastore, memoryDatastore, TundraError, type TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { describePackings, hooked, isPack, names, tundraError, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { until } from "../support/waiting.ts";

const KEYS = redisKeys("default");

describePackings("records that Redis has lost", (packBytes) => {
  const stack = withArchive();
  const { raw } = stack;
  let archive: ReturnType<typeof memoryDatastore>;
  let asked: { lists: number; gets: number; ranges: number };
  let store: TundraStore;

  beforeEach(async () => {
    await stack.flush();
    archive = memoryDatastore();
    asked = { lists: 0, gets: 0, ranges: 0 };
    store = makeStore();
  });

  const counting = (pageSize?: number): Required<Datastore> =>
    hooked(archive, {
      async listKeys(prefix, cursor, options) {
        asked.lists++;
        if (pageSize === undefined) return await archive.listKeys(prefix, cursor, options);
        const { names } = await archive.listKeys(prefix, cursor, options);
        const page = names.slice(0, pageSize);
        return names.length > pageSize ? { names: page, cursor: page.at(-1)! } : { names: page };
      },
      fetchKeys(names, options) {
        asked.gets += names.length;
        return archive.fetchKeys(names, options);
      },
      fetchRanges(reads, options) {
        asked.ranges += reads.length;
        return archive.fetchRanges(reads, options);
      },
    });

  const makeStore = (options: Parameters<typeof stack.store>[0] = {}) =>
    stack.store({ datastore: counting(), packBytes: options.lookInArchive ? 0 : packBytes, ...options });

  /** Sets, archives and evicts keys. */
  async function evicted(...keys: string[]): Promise<void> {
    await raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
    await store.tick();
    assertEquals((await store.evict(keys)).evicted.length, keys.length);
  }

  /** Archives a value with an expiry of its own, and waits for that. */
  async function expiring(key: string): Promise<void> {
    await raw("SET", key, "1", "PX", 3_000);
    await store.dirty(key);
    assertEquals((await store.tick()).frozen, 1);
    await until("it has expired", async () => await raw("EXISTS", key) === 0);
  }

  /** As Redis does it by itself. */
  const loseRecords = (...keys: string[]) => raw("UNLINK", ...keys.map(KEYS.record));
  /** As if the last search had been an hour ago. */
  async function hourLater(): Promise<void> {
    const [, cursor = ""] = String(await raw("GET", KEYS.lostRecordsCursor)).split(" ");
    await raw("SET", KEYS.lostRecordsCursor, `${Math.floor(await stack.nowMs()) - HOUR_MS} ${cursor}`);
  }
  const codes = ({ errors }: { errors: { code: string }[] }) => errors.map(({ code }) => code);

  describe("in a tick", () => {
    it("are searched for once an hour, for 3 requests, 10 commands that are billed, a listing, a directory, and nothing else if all is well", async () => {
      await evicted(...names(20));
      await raw("SET", "resident", "1");
      await store.dirty("resident");
      await store.tick();
      const cost = async () => {
        await stack.server.resetCounters();
        asked = { lists: 0, gets: 0, ranges: 0 };
        const { errors, subrequests } = await store.tick();
        assertEquals(errors, []);
        assertEquals(subrequests, stack.server.requests + asked.lists + asked.gets + asked.ranges);
        return [stack.server.requests, await stack.server.billable(), asked.lists, asked.gets, asked.ranges];
      };
      const [idle, search] = [[1, 7, 0, 0, 0], [4, 17, 1, 0, packBytes > 0 ? 2 : 0]];
      assertEquals(await cost(), idle);
      await hourLater();
      assertEquals(await cost(), search);
      assertEquals(await cost(), idle);
      await raw("DEL", KEYS.lostRecordsCursor); // Redis has removed that, too
      assertEquals(await cost(), search);
    });

    it("are LOST, by name, each hour until they are back; other keys are archived all the same", async () => {
      const keys = names(12);
      await evicted(...keys);
      const dump = await raw("DUMP", KEYS.record("k:3")) as Uint8Array;
      await loseRecords("k:3");
      await store.ensureKs("k:3"); // without a word, so far
      assertEquals(await raw("EXISTS", "k:3"), 0);
      assertEquals(codes(await store.tick()), []);
      for (let hour = 0; hour < 2; hour++) {
        await hourLater();
        await raw("SET", "other", `value ${hour}`);
        await store.dirty("other");
        const seen: TundraError[] = [];
        const report = await store.tick({ onError: (error) => seen.push(error) });
        assertEquals([report.frozen, report.failed], [1, 0]);
        assertEquals(report.errors.map(({ key, code }) => [key, code]), [["k:3", "LOST"]]);
        assertEquals(seen[0]!.keys, ["k:3"]);
        const { message } = report.errors[0]!;
        assertMatch(message, /"k:3" back .* of \d+ keys .* 1 have none\. Redis evicts, .*lookInArchive/);
        assertMatch(message, packBytes > 0 ? /default\/~packs\// : /default\/k\.3A3\//);
        assertEquals(await raw("EXISTS", "k:3", KEYS.record("k:3")), 0); // nothing proves that it was not deleted
      }
      await raw("RESTORE", KEYS.record("k:3"), 0, dump);
      await hourLater();
      assertEquals(codes(await store.tick()), []);
      await store.ensureKs("k:3");
      assertEquals(await stack.get("k:3"), "value of k:3");
    });

    it("are an index that was lost, if no key has one", async () => {
      const keys = names(30);
      await evicted(...keys);
      await loseRecords(...keys);
      await hourLater();
      const { errors } = await store.tick();
      assertEquals(errors.map(({ code }) => code), ["LOST"]);
      assertMatch(errors[0]!.message, /of 30 keys .* 30 have none: the index was lost/);
    });

    it("are reported whatever lot draws", async () => {
      const keys = names(30);
      await evicted(...keys);
      await loseRecords(...keys);
      for (const lot of [0, 0.5, 1 - Number.EPSILON]) {
        setPlatform({ ...PLATFORM, random: () => lot });
        try {
          await hourLater();
          assertEquals(codes(await store.tick()), ["LOST"]);
        } finally {
          setPlatform();
        }
      }
    });

    it("are found in what can be read if the directory of an older pack cannot, which is reported, too", async () => {
      await evicted("old:1", "old:2");
      await evicted("k:1", "k:2");
      await loseRecords("old:1", "old:2", "k:1", "k:2");
      const [old = ""] = [...archive.objects.keys()].filter((name) => isPack(name)).sort();
      archive.objects.get(old)?.fill(0, 16);
      await hourLater();
      const { errors } = await store.tick();
      assertEquals(errors.map(({ code }) => code), packBytes > 0 ? ["CORRUPT", "LOST"] : ["LOST"]);
      const found = errors.at(-1)!.message;
      assertMatch(found, /"k:1"/);
      assertEquals(found.includes("old:1"), packBytes === 0);
    });

    it("are no loss: what was deleted, what has expired, what is in Redis, what was put by nobody's record", async () => {
      await evicted("deleted", "present");
      await expiring("expiring");
      await store.del("deleted");
      await store.tick();
      await raw("SET", "present", "1");
      await loseRecords("deleted", "present", "expiring"); // the first's has a TTL of a day, and goes by itself
      await hourLater();
      asked = { lists: 0, gets: 0, ranges: 0 };
      assertEquals(codes(await store.tick()), []);
      // of those in the pack: is an object of the key's own newer?
      assertEquals(asked, packBytes > 0 ? { lists: 6, gets: 2, ranges: 4 } : { lists: 1, gets: 3, ranges: 0 });
    });

    it("are no loss: what has expired in a pack before a rebuild, above an older value in an object of its own", async () => {
      await raw("SET", "expiring", "older");
      await store.dirty("expiring");
      await makeStore({ packBytes: 0 }).tick();
      await raw("MSET", "beside", "1", "expiring", "newer");
      await raw("PEXPIRE", "expiring", 1_000);
      await store.dirty("beside", "expiring");
      assertEquals((await makeStore({ packBytes: 65_536 }).tick()).frozen, 2);
      await until("it has expired", async () => await raw("EXISTS", "expiring") === 0);
      await loseRecords("expiring"); // a rebuild's record of it has a TTL
      await hourLater();
      assertEquals(codes(await store.tick()), []);
    });

    it("are found on whichever page they are, one page an hour, and that one stays in sight", async () => {
      store = makeStore({ datastore: counting(4) });
      const keys = names(10);
      await evicted(...keys);
      await loseRecords("k:8");
      const found: string[] = [];
      for (let hour = 0; hour < 6; hour++) {
        await hourLater();
        const { errors } = await store.tick();
        found.push(errors.map(({ key, code }) => `${key} ${code}`).join());
      }
      // the last key of a page may go on on the next one, so pages of 4 names end before k:3, k:7 and the owners
      const before = packBytes > 0 ? ["k:8 LOST", "k:8 LOST"] : ["", ""];
      assertEquals(found, [...before, "k:8 LOST", "k:8 LOST", "k:8 LOST", "k:8 LOST"]);
    });

    it("are searched for an hour later if the archive does not list, which is reported; the tick's work is done", async () => {
      await evicted("a");
      let down = true;
      store = makeStore({
        datastore: hooked(counting(), {
          listKeys: (...args) => down ? Promise.reject(new Error("no route")) : archive.listKeys(...args),
        }),
      });
      await hourLater();
      await loseRecords("a");
      await raw("SET", "b", "1");
      await store.dirty("b");
      const report = await store.tick();
      assertEquals([report.frozen, codes(report)], [1, ["UNAVAILABLE"]]);
      down = false;
      assertEquals(codes(await store.tick()), []);
      await hourLater();
      assertEquals(codes(await store.tick()), ["LOST"]);
    });

    it("begin the listing anew if the archive no longer knows its cursor", async () => {
      await evicted("a");
      await loseRecords("a");
      store = makeStore({
        datastore: hooked(counting(), {
          listKeys: (prefix, cursor, options) =>
            cursor === undefined
              ? archive.listKeys(prefix, cursor, options)
              : Promise.reject(new TundraError("UNSUPPORTED", "invalid continuation token")),
        }),
      });
      await raw("SET", KEYS.lostRecordsCursor, "0 old");
      assertEquals(codes(await store.tick()), ["UNSUPPORTED"]);
      await hourLater();
      assertEquals(codes(await store.tick()), ["LOST"]);
    });

    it("are not searched for if a tick's requests do not suffice; if they do, it keeps its bound", async () => {
      await evicted(...names(20));
      await loseRecords(...names(20));
      await hourLater();
      assertEquals(codes(await store.tick({ maxSubrequests: 12 })), []);
      await raw("MSET", ...names(50, "more").flatMap((key) => [key, "1"]));
      await store.dirty(names(50, "more"));
      const report = await store.tick({ maxSubrequests: 40 });
      assertEquals([codes(report), report.done], [["LOST"], false], JSON.stringify(report.errors));
      assert(report.subrequests <= 40 && report.frozen >= 8, `${report.subrequests}, ${report.frozen}`);
      while (!(await store.tick()).done);
      assertEquals((await store.status()).dirty, 0);
    });
  });

  describe("of a store with lookInArchive", () => {
    it("are LOST if the archive holds a value; others of the call come back, and what never was is absent", async () => {
      await evicted("lost", "kept");
      await loseRecords("lost");
      const looking = makeStore({ lookInArchive: true });
      const error = await tundraError("ENSURE_FAILED", () => looking.ensureKs("lost", "kept", "never"));
      assertEquals(error.keys, ["lost"]);
      const cause = error.causes["lost"] as TundraError;
      assertEquals(cause.code, "LOST");
      const place = packBytes > 0 ? "~packs" : "lost";
      assertMatch(
        cause.message,
        new RegExp(`"lost".*default/${place}/\\d{16}-[0-9a-f]{8}".*write the key anew and mark it, or del\\(\\) it`),
      );
      assertEquals([await raw("EXISTS", "lost"), await stack.get("kept")], [0, "value of kept"]);
      assertEquals(await raw("EXISTS", KEYS.record("lost")), 0);
    });

    it("cost a listing, and one for each key of which Redis knows nothing, at each call; a default store asks for none", async () => {
      await evicted("lost", "kept");
      await store.ensureKs("kept");
      await loseRecords("lost");
      const cost = async (each: TundraStore, ...keys: string[]) => {
        await stack.server.resetCounters();
        asked = { lists: 0, gets: 0, ranges: 0 };
        await each.ensureKs(keys).catch(() => {});
        return [stack.server.requests, await stack.server.billable(), asked.lists, asked.gets, asked.ranges];
      };
      const looking = makeStore({ lookInArchive: true });
      const directory = packBytes > 0 ? 2 : 0; // of the one pack
      assertEquals(await cost(store, "lost", "never"), [1, 4, 0, 0, 0]);
      assertEquals(await cost(looking, "kept"), [1, 4, 0, 0, 0]);
      for (let i = 0; i < 2; i++) {
        assertEquals(await cost(looking, ...names(3, "never")), [1, 4, 1 + 3, 0, directory]);
      }
      await cost(looking, "lost"); // its script may be new to the server
      const found = packBytes > 0 ? [0, directory + 1] : [1, 0];
      assertEquals(await cost(looking, "lost"), [2, 8, 1 + 1, ...found]);
    });

    it("are fetched a few at a time", async () => {
      const keys = names(60);
      await evicted(...keys);
      await loseRecords(...keys);
      const sizes: number[] = [];
      const looking = makeStore({
        lookInArchive: true,
        datastore: hooked(counting(), {
          fetchKeys: (some, ...rest) => (sizes.push(some.length), archive.fetchKeys(some, ...rest)),
        }),
      });
      const error = await tundraError("ENSURE_FAILED", () => looking.ensureKs(keys));
      assertEquals([error.keys.length, Math.max(0, ...sizes) <= 16], [60, true]);
    });

    it("are absent if the newest version is a tombstone or has expired", async () => {
      const looking = makeStore({ lookInArchive: true });
      await evicted("deleted");
      await expiring("expiring");
      await store.del("deleted");
      await store.tick();
      await loseRecords("deleted", "expiring");
      await looking.ensureKs("deleted", "expiring");
      assertEquals(await raw("EXISTS", "deleted", "expiring"), 0);
    });

    it("are looked at again if over an hour has passed since: a key may have been deleted, and its record have gone", async () => {
      for (const [pauses, code] of [[1, undefined], [4, "UNAVAILABLE"]] as const) {
        await evicted("k");
        await loseRecords("k");
        let [fetched, paused] = [false, 0];
        const looking = makeStore({
          lookInArchive: true,
          datastore: hooked(counting(), {
            fetchKeys: (some, ...rest) => (fetched = true, archive.fetchKeys(some, ...rest)),
            fetchRanges: (some, ...rest) => (fetched = true, archive.fetchRanges(some, ...rest)),
          }),
          redis: {
            async fetch(url, init) {
              const response = await fetch(url, init);
              if (!fetched || !String(init?.body).includes("tundra:default:rec:k")) return response;
              const body = await response.json() as { result?: unknown[] };
              const reply = body.result?.[1]; // id, time, ...
              if (reply === undefined) return Response.json(body, response); // Redis does not know the script
              fetched = false;
              if (paused++ >= pauses) return Response.json(body, response);
              if (code === undefined) archive.objects.clear(); // deleted, and a day has passed
              (reply as unknown[])[1] = Number((reply as unknown[])[1]) + 2 * HOUR_MS;
              return Response.json(body, response);
            },
          },
        });
        if (code === undefined) await looking.ensureKs("k");
        else {
          const error = await tundraError("ENSURE_FAILED", () => looking.ensureKs("k"));
          assertEquals((error.causes.k as TundraError).code, code);
        }
        assertEquals(paused, pauses);
        archive = memoryDatastore();
        await stack.flush();
        store = makeStore();
      }
    });

    it("are UNAVAILABLE if the archive does not say, CORRUPT if it holds damage: never silently absent", async () => {
      await evicted("a", "b");
      await loseRecords("a", "b");
      const nameOfA = [...archive.objects.keys()].find((name) => isPack(name) || name.startsWith("default/a/"))!;
      archive.objects.get(nameOfA)![50]! ^= 1;
      const looking = makeStore({
        lookInArchive: true,
        datastore: hooked(counting(), {
          listKeys: (prefix, ...rest) =>
            prefix.includes("/b/") ? Promise.reject(new Error("no route")) : archive.listKeys(prefix, ...rest),
        }),
      });
      const error = await tundraError("ENSURE_FAILED", () => looking.ensureKs("a", "b"));
      assertEquals(Object.entries(error.causes).map(([key, cause]) => [key, (cause as TundraError).code]).sort(), [
        ["a", "CORRUPT"],
        ["b", "UNAVAILABLE"],
      ]);
    });

    it("are deleted by del(), for good and from the archive too", async () => {
      await evicted("lost");
      await loseRecords("lost");
      const looking = makeStore({ lookInArchive: true });
      assertEquals(await looking.del("lost"), 0); // the application would not have found it
      assertEquals((await looking.tick()).missing, 1);
      await looking.ensureKs("lost");
      await loseRecords("lost"); // its TTL
      await looking.ensureKs("lost");
      const left = [...archive.objects.keys()].filter((name) => name.startsWith("default/lost/"));
      assertEquals(left.length, 1); // the tombstone
      // made anew: what was deleted stays so, what is new is not deleted
      await raw("SET", "lost", "anew");
      await looking.dirty("lost");
      await looking.tick();
      await looking.evict("lost");
      await looking.tick();
      await looking.ensureKs("lost");
      assertEquals(await stack.get("lost"), "anew");
    });

    it("are keys like any other once they are written anew and marked", async () => {
      await evicted("lost");
      await loseRecords("lost");
      const looking = makeStore({ lookInArchive: true });
      await raw("SET", "lost", "anew");
      await looking.ensureKs("lost"); // it is in Redis
      await looking.dirty("lost");
      await looking.tick();
      await looking.evict("lost");
      await looking.ensureKs("lost");
      assertEquals(await stack.get("lost"), "anew");
    });

    it("need a datastore that lists, and true or false", async () => {
      const { listKeys: _, ...mute } = archive;
      const error = await tundraError(
        "BAD_ARGUMENT",
        () => makeStore({ datastore: mute as Datastore, lookInArchive: true }),
      );
      assertMatch(error.message, /lookInArchive must be an object with listKeys\(\)/);
      await tundraError("BAD_ARGUMENT", () => makeStore({ lookInArchive: 1 as unknown as boolean }));
    });
  });

  describe("of an index that was lost", () => {
    for (const seal of [false, true]) {
      it(`whose id was put back by hand${seal ? ", with its seal" : ""}: noticed`, async () => {
        const keys = names(5);
        await evicted(...keys);
        const id = String(await raw("GET", KEYS.id));
        await raw("FLUSHDB");
        await raw("SET", KEYS.id, id);
        if (!seal) {
          const calls = [
            () => store.ensureKs(keys),
            () => store.evict("k:0"),
            () => store.del("k:0"),
            () => store.tick(),
          ];
          for (const act of calls) {
            assertMatch((await tundraError("LOST", act)).message, /put back by hand.*rebuild first/);
          }
          assertEquals(String(await raw("KEYS", "*")), KEYS.id);
          return;
        }
        await raw("SET", KEYS.tick, "0");
        const { errors } = await store.tick();
        assertEquals(errors.map(({ code }) => code), ["LOST"]);
        assertMatch(errors[0]!.message, /have none: the index was lost\. .*put back by hand/);
      });
    }
  });
});
