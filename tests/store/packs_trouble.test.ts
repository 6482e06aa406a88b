/**
 * Trouble around packs: commits that come too late, packs that go while they are read, damage, stores of other layouts
 * and options, keys that a freezer or the archive refuses, other archives in the same bucket.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { deflateFreezer, type Freezer, notFound, TundraError } from "../../mod.ts";
import { placeOf } from "../../src/archive/place.ts";
import { redisKeys, versionAfter } from "../../src/base/keys.ts";
import { hooked, names, tundraError, withArchive } from "../support/fixtures.ts";
import { blockOf, blocksOf, entriesOfPack, movePack, type NotedArchive, notedArchive } from "../support/packs.ts";
import { seededRandom } from "../support/random.ts";
import { HOUR_MS } from "../support/times.ts";

const { dirty: DIRTY } = redisKeys("default");
const NOW = { retryBackoffMs: 0 };

describe("trouble around packs", () => {
  const stack = withArchive();
  let archive: NotedArchive;
  beforeEach(async () => {
    await stack.flush();
    archive = notedArchive();
  });

  /** Sets keys to random text, which hardly shrinks; returns the values. */
  async function setNoise(keys: string[], bytes: number): Promise<Map<string, string>> {
    const random = seededRandom(`values of ${bytes} bytes`);
    const noise = () => Array.from({ length: bytes }, () => random.int(36).toString(36)).join("");
    const values = new Map(keys.map((key) => [key, noise()]));
    await stack.raw("MSET", ...keys.flatMap((key) => [key, values.get(key)!]));
    return values;
  }

  async function assertValues(values: Map<string, string>): Promise<void> {
    for (const [key, value] of values) assertEquals([key, await stack.get(key)], [key, value]);
  }

  const recordTexts = async (keys: string[]) =>
    (await stack.raw("MGET", ...keys.map((key) => `tundra:default:rec:${key}`)) as unknown[]).map(String);
  const words = async (keys: string[]) => await Promise.all(keys.map(async (key) => (await stack.record(key))?.ver));

  describe("a tick that freezes after it has put a pack", () => {
    /** Plays a tick whose commit comes so long after its lease ended; what it sent, and its report. */
    async function late(ms: number, meanwhile: () => Promise<unknown>) {
      const sent: [string, RequestInit][] = [];
      let token: { was: string; is: string } | undefined;
      const waking: typeof fetch = async (input, init) => {
        if (token === undefined) return await fetch(input, init);
        const body = String(init!.body).replaceAll(token.was, token.is);
        if (body.includes(token.is)) {
          sent.push([String(input), { ...init, body, signal: null }]);
          await meanwhile();
        }
        return await fetch(input, { ...init, body });
      };
      const frozen = notedArchive((inner) => ({
        async putKey(name, value, options) {
          archive.objects.set(name, value);
          await inner.putKey(name, value, options);
          if (!name.includes("~packs")) return true;
          // as if the lease had ended so long ago: its token is the time of its end
          const was = String(await stack.raw("ZSCORE", DIRTY, "k:0"));
          const is = `${Math.floor(await stack.nowMs()) - ms}.5`;
          for (const key of await stack.members("dirty")) await stack.raw("ZADD", DIRTY, is, key);
          token = { was, is };
          return true;
        },
      }));
      for (const [name, bytes] of archive.objects) frozen.objects.set(name, bytes);
      const store = stack.store({ datastore: frozen.datastore, redis: { fetch: waking } });
      return { report: await store.tick(), sent, token: token! };
    }

    const begun = async () => {
      const store = stack.store({ datastore: archive.datastore });
      await setNoise(names(5), 50);
      await store.dirty(names(5));
      await store.tick();
      const values = await setNoise(names(5), 60);
      await store.dirty(names(5));
      return { store, values, before: await words(names(5)) };
    };

    it("for more than 12 hours: its commit is stale, though nobody else has claimed its keys", async () => {
      const { store, values, before } = await begun();
      const { report, sent, token } = await late(12 * HOUR_MS + 1_000, () => Promise.resolve());
      assertEquals([report.claimed, report.frozen, report.done, report.errors], [5, 0, false, []]);
      assertGreater(sent.length, 0);
      assertEquals(await words(names(5)), before);
      for (const key of names(5)) assertEquals(await stack.score("dirty", key), Number(token.is));
      // the keys are archived again, as suspects
      const again = await store.tick();
      assertEquals([again.claimed, again.frozen, again.done, again.errors], [5, 5, true, []]);
      const committed = await words(names(5));
      const everything = await stack.everything();
      for (const [url, init] of sent) assert((await fetch(url, init)).ok);
      assertEquals(await stack.everything(), everything); // a still later copy changes nothing either
      assertEquals(await words(names(5)), committed);
      await store.evict(names(5));
      await store.ensureKs(names(5));
      await assertValues(values);
    });

    it("for less than 12 hours: its commit counts if nobody else has claimed its keys", async () => {
      const { before } = await begun();
      const { report } = await late(12 * HOUR_MS - 60_000, () => Promise.resolve());
      assertEquals([report.frozen, report.errors], [5, []]);
      const after = await words(names(5));
      assert(after.every((word, i) => word! > before[i]! && placeOf(word!).pack !== ""), after.join());
      assertEquals(await stack.members("dirty"), []);
    });

    it("for less than 12 hours: its commit is stale if another tick has archived its keys meanwhile", async () => {
      const { values } = await begun();
      let committed: (string | undefined)[] = [];
      const { report } = await late(HOUR_MS, async () => {
        if (committed.length > 0) return;
        const other = await stack.store({ datastore: archive.datastore }).tick();
        assertEquals([other.frozen, other.errors], [5, []]);
        committed = await words(names(5));
      });
      assertEquals(report.frozen, 0);
      assertEquals(await words(names(5)), committed);
      const store = stack.store({ datastore: archive.datastore });
      await store.evict(names(5));
      await store.ensureKs(names(5));
      await assertValues(values);
    });
  });

  describe("a pack that goes between the look at a record and its read", () => {
    /** Evicted keys, and a store before whose first read of a pack something happens. */
    async function evicted(before: () => Promise<unknown>) {
      let happened = false;
      const { datastore } = archive;
      const moving = {
        ...datastore,
        fetchRanges: async (...args: Parameters<typeof datastore.fetchRanges>) => {
          if (!happened) {
            happened = true;
            await before();
          }
          return await datastore.fetchRanges(...args);
        },
      };
      const store = stack.store({ datastore });
      const values = await setNoise(names(40), 1_000);
      await store.dirty(names(40));
      await store.tick();
      await store.evict(names(40));
      return { values, store: stack.store({ datastore: moving }) };
    }

    it("is found where it was moved to: the call looks again, and no error", async () => {
      const { values, store } = await evicted(async () => {
        const [from] = archive.packs();
        const pack = versionAfter(
          1000 * Math.floor(await stack.nowMs()),
          placeOf((await stack.record("k:0"))!.ver).ver,
        );
        const moved = await movePack(archive, from!, `default/~packs/${pack}`);
        for (const { key, ver, offset, length } of moved) {
          await stack.editRecord(key, { ver: `${ver}@${pack}:${offset}:${length}` });
        }
      });
      await store.ensureKs(names(40));
      await assertValues(values);
      assert((await words(names(40))).every((word) => placeOf(word!).pack !== placeOf(word!).ver));
    });

    it("is no loss if its keys were removed, or changed by another client, meanwhile", async () => {
      const { values, store } = await evicted(async () => {
        const other = stack.store({ datastore: archive.datastore });
        await other.ensureKs("k:0", "k:1");
        await stack.raw("SET", "k:0", "changed");
        await other.dirty("k:0", "k:1");
        await other.del("k:2");
        await other.tick();
        await other.evict("k:0");
        archive.objects.delete(archive.packs()[0]!);
      });
      await store.ensureKs("k:0", "k:1", "k:2");
      await assertValues(new Map([["k:0", "changed"], ["k:1", values.get("k:1")!]]));
      assertEquals(await stack.exists("k:2"), 0);
    });

    it("is no loss if they came back meanwhile, also if a younger pack cannot be read", async () => {
      const { values, store } = await evicted(async () => {
        const [from] = archive.packs();
        const other = stack.store({ datastore: archive.datastore });
        await other.ensureKs(names(40));
        await stack.raw("MSET", "o:0", "0", "o:1", "1");
        await other.dirty("o:0", "o:1");
        await other.tick();
        const [young] = archive.packs().filter((name) => name !== from);
        archive.objects.set(young!, archive.objects.get(young!)!.map((byte, i) => i < 16 ? byte : 0));
        archive.objects.delete(from!);
      });
      await store.ensureKs(names(40));
      await assertValues(values);
    });

    it("is LOST if the record still names it: the archive has lost it, and an older version is never taken", async () => {
      const { store } = await evicted(async () => {
        archive.objects.delete(archive.packs().at(-1)!);
        const other = notedArchive();
        await other.datastore.putKey("default/k.3A0/1700000000000000-0000000a", new Uint8Array(100));
        for (const [name, bytes] of other.objects) archive.objects.set(name, bytes);
      });
      const error = await tundraError("ENSURE_FAILED", () => store.ensureKs("k:0", "k:1"));
      assertEquals(Object.values(error.causes).map((cause) => (cause as TundraError).code), ["LOST", "LOST"]);
      assertEquals(await stack.exists("k:0", "k:1"), 0);
    });

    it("is no loss if a younger pack holds a newer version: Redis lost that commit, not the archive", async () => {
      const store = stack.store({ datastore: archive.datastore });
      const keys = names(10);
      await setNoise(keys, 50);
      await store.dirty(keys);
      await store.tick();
      await store.evict(keys);
      const old = await recordTexts(keys);
      await store.ensureKs(keys);
      const values = await setNoise(keys, 60);
      await store.dirty(keys);
      await store.tick();
      await store.evict(keys);
      await stack.raw("MSET", ...keys.flatMap((key, i) => [`tundra:default:rec:${key}`, old[i]!]));
      archive.objects.delete(archive.packs()[0]!);
      archive.forget();
      await store.ensureKs(keys);
      await assertValues(values);
    });

    it("nor if a sweep has moved that, and deletes the pack where it lay before it is fetched", async () => {
      const { store } = await evicted(() => Promise.resolve());
      const old = await recordTexts(names(40));
      await store.ensureKs(names(40));
      const values = await setNoise(names(40), 60);
      await store.dirty(names(40));
      await store.tick();
      await store.evict(names(40));
      await stack.raw("MSET", ...names(40).flatMap((key, i) => [`tundra:default:rec:${key}`, old[i]!]));
      const [first, second] = archive.packs();
      archive.objects.delete(first!);
      const there = archive.objects.get(second!)!;
      await movePack(archive, second!, `default/~packs/${versionAfter(1000 * Math.floor(await stack.nowMs()), "")}`);
      archive.objects.set(second!, there);
      const swept = hooked(archive.datastore, {
        fetchRanges: async (reads, options) =>
          (await archive.datastore.fetchRanges(reads, options)).map((range, i) =>
            reads[i]!.name === second && reads[i]!.offset === 16 ? notFound(second) : range
          ),
      });
      await stack.store({ datastore: swept }).ensureKs(names(40));
      await assertValues(values);
    });
  });

  describe("damage", () => {
    it("of a key's block spoils the keys of that block, by name, and no other", async () => {
      const store = stack.store({ datastore: archive.datastore });
      const keys = names(200);
      const values = await setNoise(keys, 1_000);
      await store.dirty(keys);
      await store.tick();
      await store.evict(keys);
      const blocks = new Map(
        await Promise.all(keys.map(async (key) => [key, (await stack.record(key))!.ver] as const)),
      );
      const spoilt = keys.filter((key) => blockOf(blocks.get(key)!) === blockOf(blocks.get("k:50")!));
      assert(spoilt.length > 1 && spoilt.length < 100, String(spoilt.length));
      const [name] = archive.packs();
      const { offset, length } = placeOf(blocks.get("k:50")!);
      archive.objects.get(name!)![offset + (length >> 1)]! ^= 4;
      const error = await tundraError("ENSURE_FAILED", () => store.ensureKs(keys));
      assertEquals([...error.keys].sort(), [...spoilt].sort());
      for (const key of spoilt) {
        const cause = error.causes[key] as TundraError;
        assertEquals([cause.code, cause.keys, cause.retryable], ["CORRUPT", [key], false]);
      }
      assertEquals(await stack.exists(...spoilt), 0);
      await assertValues(new Map(keys.filter((key) => !spoilt.includes(key)).map((key) => [key, values.get(key)!])));
      archive.objects.get(name!)![offset + (length >> 1)]! ^= 4;
      await store.ensureKs(keys);
      await assertValues(values);
    });

    it("of the directory or the head spoils no key that its record names", async () => {
      const store = stack.store({ datastore: archive.datastore });
      const values = await setNoise(names(20), 100);
      await store.dirty(names(20));
      await store.tick();
      await store.evict(names(20));
      const bytes = archive.objects.get(archive.packs()[0]!)!;
      bytes.fill(0, 0, 16);
      bytes[bytes.length - 1]! ^= 1;
      await store.ensureKs(names(20));
      await assertValues(values);
    });

    it("that makes a record name another block is CORRUPT, never another key's value", async () => {
      const store = stack.store({ datastore: archive.datastore });
      await setNoise(names(100), 1_000);
      await store.dirty(names(100));
      await store.tick();
      await store.evict(names(100));
      const [first, last] = [(await stack.record("k:0"))!, (await stack.record("k:99"))!];
      assert(first.ver !== last.ver);
      await stack.editRecord("k:0", { ver: last.ver });
      const error = await tundraError("ENSURE_FAILED", () => store.ensureKs("k:0", "k:99"));
      assertEquals([error.keys, (error.causes["k:0"] as TundraError).code], [["k:0"], "CORRUPT"]);
      assertEquals(await stack.exists("k:0", "k:99"), 1);
    });
  });

  describe("stores that differ", () => {
    it("in packBytes share a queue: each archives, and reads what the other has archived", async () => {
      const { datastore } = archive;
      const stores = [stack.store({ datastore, packBytes: 0 }), stack.store({ datastore })];
      const keys = names(30);
      let values = new Map<string, string>();
      for (let round = 0; round < 4; round++) {
        const [writer, reader] = [stores[round % 2]!, stores[(round + 1) % 2]!];
        values = await setNoise(keys, 40 + round);
        await reader.dirty(keys);
        const report = await writer.tick();
        assertEquals([report.frozen, report.errors], [30, []]);
        assertEquals((await words(keys)).every((word) => (placeOf(word!).pack !== "") === (round % 2 === 1)), true);
        assertEquals((await reader.evict(keys)).evicted.length, 30);
        await reader.ensureKs(keys);
        await assertValues(values);
      }
      assertEquals([archive.packs().length, archive.own().length], [2, 60]);
      await stores[0]!.del(keys.slice(0, 10));
      const report = await stores[0]!.tick();
      assertEquals([report.missing, report.errors], [10, []]);
      await stores[1]!.ensureKs(keys);
      assertEquals(await stack.exists(...keys), 20);
    });

    /** Sends scripts, and reads records, as a release did that knew layout 1 only. */
    const layoutOne: typeof fetch = async (input, init) => {
      const body = String(init?.body)
        .replaceAll("'^[123] (", "'^1 (")
        .replace(/"(EVALSHA(?:_RO)?)","[0-9a-f]{40}"/g, `"$1","${"0".repeat(40)}"`); // its scripts have other digests
      const response = await fetch(input, { ...init, body });
      // Base64 of "2 0" and "2 1", the beginnings of records: another layout that this release does not know
      const text = (await response.text()).replaceAll(/"MiA([wx])/g, `"NCA$1`);
      return new Response(text, { status: response.status, headers: response.headers });
    };

    it("in the layouts they know lose nothing: the older one says UNSUPPORTED, and leaves such keys alone", async () => {
      const { datastore } = archive;
      const store = stack.store({ datastore });
      const older = stack.store({ datastore, packBytes: 0, redis: { fetch: layoutOne } });
      const values = await setNoise(names(10), 50);
      await store.dirty(names(10));
      await store.tick();
      await store.evict(names(5)); // five evicted keys, five resident ones
      await stack.raw("SET", "own", "1");
      await older.dirty("own");
      assertEquals((await older.tick()).frozen, 1); // what has no place is as it always was
      await older.evict("own");
      const before = await stack.everything("tundra:default:rec:*");

      const failed = await tundraError("ENSURE_FAILED", () => older.ensureKs("own", ...names(10)));
      assertEquals([...failed.keys].sort(), names(10));
      for (const cause of Object.values(failed.causes)) assertEquals((cause as TundraError).code, "UNSUPPORTED");
      assertEquals(await stack.get("own"), "1");
      const kept = (await older.evict(names(10))).kept;
      assertEquals(new Set(Object.values(kept)).size, 1, JSON.stringify(kept));
      for (const act of [() => older.dirty(names(10).slice(5)), () => older.del(names(10))]) {
        const thrown = await act().then(() => undefined, (error) => error as TundraError);
        assert(thrown instanceof TundraError, String(thrown));
        for (const cause of Object.values(thrown.causes)) assertEquals((cause as TundraError).code, "UNSUPPORTED");
      }
      const { "tundra:default:rec:own": _, ...records } = before;
      const after = await stack.everything("tundra:default:rec:k:*");
      assertEquals(after, records);

      // dirty keys with places: its tick puts them aside
      const changed = await setNoise(names(10).slice(5), 60);
      await store.dirty([...changed.keys()]);
      const objects = archive.objects.size;
      const report = await older.tick();
      assertEquals([report.frozen, report.failed, archive.objects.size], [0, 5, objects]);
      for (const { code } of report.errors) assertEquals(code, "UNSUPPORTED");
      assertEquals((await store.status()).dirty, 5);

      await stack.endBackoffs();
      assertEquals((await store.tick()).frozen, 5);
      await store.evict(names(10));
      await store.ensureKs(names(10));
      await assertValues(new Map([...values, ...changed]));
    });
  });

  describe("a key that cannot be frozen", () => {
    /** Deflate, which refuses bytes that hold a text. */
    function refusing(text: string, error: () => Error): Freezer {
      const deflate = deflateFreezer();
      return {
        ...deflate,
        freeze(bytes, object) {
          if (new TextDecoder().decode(bytes).includes(text)) throw error();
          return deflate.freeze(bytes, object);
        },
      };
    }

    it("spoils nobody else: all others are archived by the same tick, it counts its attempts, and is dead alone", async () => {
      const refusal = () => new TundraError("UNSUPPORTED", "no such values here", { retryable: false });
      const store = stack.store({ datastore: archive.datastore, freezer: refusing("poison", refusal) });
      const keys = names(200);
      await setNoise(keys, 300);
      await stack.raw("SET", "k:77", "poison ".repeat(20));
      await store.dirty(keys);
      for (let attempt = 1; attempt <= 3; attempt++) {
        const report = await store.tick(NOW);
        assertEquals([report.frozen, report.failed], [attempt === 1 ? 199 : 0, 1]);
        assertEquals(report.errors.map(({ key, code, attempt }) => [key, code, attempt]), [[
          "k:77",
          "UNSUPPORTED",
          attempt,
        ]]);
        assertEquals(report.dead, attempt === 3 ? 1 : 0);
      }
      assertEquals((await store.deadLetters()).map(({ key }) => key), ["k:77"]);
      assertEquals(await stack.members("dirty"), []);
      assertEquals((await store.evict(keys)).evicted.length, 199);
      await store.ensureKs(keys);
      assertEquals(await stack.exists(...keys), 200);
    });

    it("beside two others, each counts its own", async () => {
      const refusal = () => new TundraError("UNSUPPORTED", "no such values here", { retryable: false });
      const store = stack.store({ datastore: archive.datastore, freezer: refusing("poison", refusal) });
      const keys = names(300);
      await setNoise(keys, 100);
      const bad = ["k:3", "k:150", "k:299"];
      for (const key of bad) await stack.raw("SET", key, "poison");
      await store.dirty(keys);
      const report = await store.tick(NOW);
      assertEquals([report.frozen, report.failed], [297, 3]);
      assertEquals(report.errors.map(({ key }) => key).sort(), bad.toSorted());
      for (const key of keys) assertEquals((await stack.record(key))!.attempts, bad.includes(key) ? 1 : 0);
      // nothing else is archived any more, yet the archive took others when they were refused before
      const deaths = [await store.tick(NOW), await store.tick(NOW)].map(({ failed, dead }) => [failed, dead]);
      assertEquals(deaths, [[3, 0], [3, 3]]);
      assertEquals((await store.deadLetters()).map(({ key }) => key).sort(), bad.toSorted());
    });

    it("as all others are, from the beginning: none counts an attempt", async () => {
      const refusal = () => new TundraError("UNSUPPORTED", "no key is configured", { retryable: false });
      const store = stack.store({ datastore: archive.datastore, freezer: refusing("", refusal) });
      const keys = names(5);
      await setNoise(keys, 100);
      await store.dirty(keys);
      for (let tick = 0; tick < 5; tick++) {
        const { frozen, failed, dead } = await store.tick(NOW);
        assertEquals([frozen, failed, dead], [0, 5, 0]);
      }
      for (const key of keys) assertEquals((await stack.record(key))!.attempts, 0);
    });

    it("for now, as its freezer says UNAVAILABLE, counts none, and is archived once it can be", async () => {
      let ill = true;
      const refusal = () => new TundraError("UNAVAILABLE", "the key service does not answer");
      const healthy = deflateFreezer();
      const troubled = refusing("poison", refusal);
      const freezer: Freezer = { ...healthy, freeze: (...args) => (ill ? troubled : healthy).freeze(...args) };
      const store = stack.store({ datastore: archive.datastore, freezer });
      await setNoise(names(50), 100);
      await stack.raw("SET", "k:7", "poison");
      await store.dirty(names(50));
      let frozen = 0;
      for (let tick = 0; tick < 5; tick++) frozen += (await store.tick(NOW)).frozen;
      assertEquals([frozen, (await stack.record("k:7"))!.attempts], [49, 0]);
      ill = false;
      assertEquals((await store.tick(NOW)).frozen, 1);
    });
  });

  describe("the size of packs", () => {
    it("is bounded by what values are frozen, also if they grow", async () => {
      const grow: Freezer = {
        id: "grow",
        freeze: (bytes) => Uint8Array.from([...bytes, ...bytes, ...bytes]),
        thaw: (bytes) => bytes.subarray(0, bytes.length / 3),
      };
      const store = stack.store({ datastore: archive.datastore, freezer: grow, packBytes: 100_000 });
      const keys = names(200);
      const values = await setNoise(keys, 1_000);
      await store.dirty(keys);
      const report = await store.tick();
      assertEquals([report.frozen, report.errors, archive.own().length], [200, [], 0]);
      assertGreater(archive.packs().length, 5);
      let entries = 0;
      for (const name of archive.packs()) {
        const bytes = archive.objects.get(name)!;
        const directory = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8);
        assert(directory <= 100_000, `blocks of ${directory} bytes`);
        entries += (await entriesOfPack(bytes, name, [grow])).length;
      }
      assertEquals(entries, 200);
      await store.evict(keys);
      await store.ensureKs(keys);
      await assertValues(values);
    });

    it("of one block takes no second one, whether packBytes is a byte less than both, both, or a byte more", async () => {
      const keys = names(50);
      const values = await setNoise(keys, 1_000);
      const sizes: number[] = [];
      let both = 1_048_576;
      for (const more of [0, -1, 0, 1]) {
        await stack.flush();
        archive = notedArchive();
        const store = stack.store({ datastore: archive.datastore, packBytes: both + more, freezer: null });
        await stack.raw("MSET", ...keys.flatMap((key) => [key, values.get(key)!]));
        await store.dirty(keys);
        assertEquals((await store.tick()).frozen, 50);
        const [name] = archive.packs();
        const bytes = archive.objects.get(name!)!;
        const directory = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8);
        const entries = await entriesOfPack(bytes, name!, []);
        if (sizes.length === 0) {
          assertEquals(blocksOf(entries), 2);
          both = directory;
        }
        sizes.push(archive.packs().length);
        assertEquals(blocksOf(entries), more < 0 ? 1 : 2);
        await store.evict(keys);
        await store.ensureKs(keys);
        await assertValues(values);
      }
      assertEquals(sizes, [1, 2, 1, 1]);
    });
  });

  describe("a gateway that refuses bodies", () => {
    /** A store on S3 behind a gateway that answers 400, with this code, to what it dislikes. */
    function guarded(code: string, dislikes: (body: string) => boolean) {
      let refused = 0;
      const gateway: typeof fetch = async (input, init) => {
        const request = new Request(input, init);
        if (request.method !== "PUT") return await fetch(request);
        const bytes = new Uint8Array(await request.clone().arrayBuffer());
        if (!dislikes(new TextDecoder("latin1").decode(bytes))) return await fetch(request);
        refused++;
        return new Response(`<Error><Code>${code}</Code></Error>`, { status: 400 });
      };
      const datastore = stack.datastore({ fetch: gateway });
      return { store: stack.store({ datastore, freezer: null }), refused: () => refused };
    }

    it("with one key's bytes: only that key counts an attempt, the others are archived by the same tick", async () => {
      const { store, refused } = guarded("EntityTooLarge", (body) => body.includes("forbidden words"));
      const keys = names(300);
      await setNoise(keys, 200);
      await stack.raw("SET", "k:123", "forbidden words");
      await store.dirty(keys);
      const report = await store.tick(NOW);
      assertEquals([report.frozen, report.failed], [299, 1]);
      assertEquals(report.errors.map(({ key, attempt }) => [key, attempt]), [["k:123", 1]]);
      assert(refused() <= 12, `${refused()} requests were refused`); // a pack of 300 is halved until the key is alone
      for (const key of keys) assertEquals((await stack.record(key))!.attempts, key === "k:123" ? 1 : 0);
      assertEquals([(await store.tick(NOW)).dead, (await store.tick(NOW)).dead], [0, 1]);
      assertEquals((await store.evict(keys)).evicted.length, 299);
    });

    it("with one key's bytes, for a reason that may be its own: the others come through by and by, and none counts", async () => {
      const { store } = guarded("RequestBlocked", (body) => body.includes("forbidden words"));
      await store.tick();
      const keys = names(300);
      const values = await setNoise(keys, 200);
      values.delete("k:123");
      await stack.raw("SET", "k:123", "forbidden words");
      await store.dirty(keys);
      let frozen = 0;
      for (let tick = 1; frozen < 299; tick++) {
        assert(tick <= 10, `${frozen} are archived`);
        const report = await store.tick({ ...NOW, nattempts: 1 });
        assert(report.frozen > 0 || tick > 1, "no progress");
        assertEquals(report.dead, 0);
        frozen += report.frozen;
      }
      assertEquals(await stack.members("dirty"), ["k:123"]);
      for (const key of keys) assertEquals((await stack.record(key))!.attempts, 0);
      // it alone is refused, tick after tick, while others are stored: then that is a reason of its own
      let dead = 0;
      for (let tick = 1; dead === 0; tick++) {
        assert(tick <= 12, "it is not dead");
        await store.dirty("k:1", "k:2");
        const report = await store.tick({ ...NOW, nattempts: 1 });
        assertEquals(report.frozen, 2);
        dead = report.dead;
      }
      assertEquals((await store.deadLetters()).map(({ key }) => key), ["k:123"]);
      await store.evict(keys);
      await store.ensureKs(keys);
      await assertValues(values);
    });

    it("whatever they hold: that is the archive's trouble, nothing counts an attempt, and nothing dies", async () => {
      let refusing = false;
      const { store } = guarded("RequestBlocked", () => refusing);
      await stack.raw("SET", "first", "1");
      await store.dirty("first");
      await store.tick();
      refusing = true;
      const keys = names(200);
      const values = await setNoise(keys, 200);
      await store.dirty(keys);
      for (let tick = 0; tick < 5; tick++) {
        const report = await store.tick({ ...NOW, nattempts: 1 });
        assertEquals([report.frozen, report.dead], [0, 0]);
        assertEquals(report.errors.map(({ key }) => key), [""]);
      }
      for (const key of keys) assertEquals((await stack.record(key))!.attempts, 0);
      refusing = false;
      assertEquals((await store.tick({ ...NOW, nattempts: 1 })).frozen, 200);
      await store.evict(keys);
      await store.ensureKs(keys);
      await assertValues(values);
    });

    for (const code of ["EntityTooLarge", "RequestBlocked"]) {
      it(`larger than some size, with ${code}: halves of a pack are as good, and nothing counts an attempt`, async () => {
        const { store } = guarded(code, (body) => body.length > 40_000);
        const keys = names(200);
        const values = await setNoise(keys, 1_000);
        await store.dirty(keys);
        for (let tick = 0; tick < 5 && (await store.status()).dirty > 0; tick++) {
          assertEquals((await store.tick(NOW)).dead, 0);
        }
        assertEquals((await store.status()).dirty, 0);
        await store.evict(keys);
        await store.ensureKs(keys);
        await assertValues(values);
      });
    }
  });
});

describe("two queues in one bucket", () => {
  const stack = withArchive();
  const other = withArchive();
  beforeEach(async () => {
    await stack.flush();
    await other.flush();
  });

  it("with the same keys have packs of their own: neither reads, lists, counts or deletes the other's", async () => {
    const archive = notedArchive();
    const listed: string[] = [];
    const { datastore } = archive;
    const noting = {
      ...datastore,
      listKeys: (...args: Parameters<typeof datastore.listKeys>) => (listed.push(args[0]), datastore.listKeys(...args)),
    };
    const keys = names(20);
    const a = stack.store({ datastore: noting, tqname: "a" });
    const b = other.store({ datastore, tqname: "b" });
    for (const [side, store, value] of [[stack, a, "of a"], [other, b, "of b"]] as const) {
      await side.raw("MSET", ...keys.flatMap((key) => [key, `${key} ${value}`]));
      await store.dirty(keys);
      assertEquals((await store.tick()).frozen, 20);
    }
    assertEquals(archive.packs().map((name) => name.split("/")[0]), ["a", "b"]);
    assertEquals((await a.evict(keys)).evicted.length, 20);
    assertEquals((await b.evict(keys)).evicted.length, 20);
    const ofB = [...archive.objects].filter(([name]) => name.startsWith("b/"));

    archive.forget();
    await a.del(keys.slice(0, 10));
    await stack.raw("DEL", "tundra:a:lost_records_cursor"); // its tick searches
    const report = await a.tick();
    assertEquals([report.missing, report.errors], [10, []]);
    await a.ensureKs(keys);
    assertEquals([await stack.exists(...keys), await stack.get("k:15")], [10, "k:15 of a"]);
    const touched = [...listed, ...archive.puts, ...archive.gets, ...archive.ranges.map(({ name }) => name)];
    assertGreater(touched.length, 5);
    assertEquals(touched.filter((name) => !name.startsWith("a/")), []);
    assertEquals([...archive.objects].filter(([name]) => name.startsWith("b/")), ofB);

    await b.ensureKs(keys);
    for (const key of keys) assertEquals(await other.get(key), `${key} of b`);
  });
});
