/**
 * The portable suite: what the package promises, through its public API alone, on any runtime.
 * @module
 */
import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import {
  deflateFreezer,
  fromUrlsafe,
  memoryDatastore,
  toUrlsafe,
  type TundraError,
  tundraFromEnv,
} from "../../../mod.ts";
import { scheduledHandler } from "../../../src/adapters/cloudflare.ts";
import { cronHandler } from "../../../src/adapters/http.ts";
import { checkFrames, checkWycheproof, encrypted, masterKey } from "../../support/encryption.ts";
import { assertValues, writeValues } from "./values.ts";
import { freezeAll, noise, rejection, type Test } from "./fixture.ts";

/** Suite, test, function. */
export const SUITES: Record<string, Record<string, Test>> = {
  encryption: {
    "makes and reads fixed frames": async () => {
      assertEquals(await checkFrames(), 4);
    },
    "calls HKDF and AES-GCM as Wycheproof's vectors want": async () => {
      assertEquals(await checkWycheproof(), 34);
    },
    "archives and brings back a value of each type, in packs, under keys that a service gives": async (
      { store, prefix },
    ) => {
      const keys = (id: string) => Promise.resolve(masterKey(id.length));
      const keyFor = (key: string) => key.length % 2 === 0 ? "even" : undefined;
      const one = store({ freezer: encrypted({ keys, keyFor }) });
      const written = await writeValues(one, prefix);
      await freezeAll(one, written);
      const other = store({ freezer: encrypted({ keys: { a: masterKey(9), even: masterKey(9) } }) });
      const { causes } = await rejection("ENSURE_FAILED", () => other.ensureKs(written));
      assertEquals(
        new Set(Object.values(causes).map((cause) => (cause as TundraError).code)),
        new Set(["UNSUPPORTED"]),
      );
      await one.ensureKs(written);
      await assertValues(one, prefix);
    },
    "hides keys in the names of objects": async ({ store, prefix, objects }) => {
      const one = store({ packBytes: 0, freezer: encrypted({ nameKey: masterKey(7) }) });
      const keys = await writeValues(one, prefix);
      await freezeAll(one, keys);
      assertEquals((await objects("h~")).length, keys.length);
      await one.ensureKs(keys);
      await assertValues(one, prefix);
    },
  },
  freeze: {
    "archives a value of each type, and what was archived stays readable": async ({ store, prefix, objects }) => {
      const one = store({ packBytes: 0 });
      const keys = await writeValues(one, prefix);
      await one.dirty(keys);
      const report = await one.tick();
      assertEquals([report.claimed, report.frozen, report.failed, report.done], [keys.length, keys.length, 0, true]);
      await assertValues(one, prefix);
      assertEquals((await objects("")).filter((name) => !name.includes("/~owner/")).length, keys.length);
      assertEquals((await one.status()).dirty, 0);
    },
    "archives values of each type in a pack": async ({ store, prefix, objects }) => {
      const one = store();
      const keys = await writeValues(one, prefix);
      await one.dirty(keys);
      const report = await one.tick();
      assertEquals([report.claimed, report.frozen, report.failed, report.done], [keys.length, keys.length, 0, true]);
      await assertValues(one, prefix);
      assertEquals((await objects("~packs")).length, 1);
      assertEquals((await one.status()).dirty, 0);
    },
    "archives a change that is made while its key is being archived": async ({ store, prefix, datastore }) => {
      const key = prefix + "busy";
      const archive = datastore();
      let changed = false;
      const one = store({
        datastore: {
          ...archive,
          async putKey(name, value, options) {
            if (!changed && !name.includes("/~owner/")) {
              changed = true;
              await other.redis.set(key, "second");
              await other.dirty(key);
            }
            return await archive.putKey(name, value, options);
          },
        },
      });
      const other = store();
      await one.redis.set(key, "first");
      await one.dirty(key);
      const report = await one.tick();
      assertEquals(report.requeued, 1);
      await other.tick();
      assertEquals((await other.evict(key)).evicted, [key]);
      await other.ensureKs(key);
      assertEquals(await other.redis.get(key), "second");
    },
    "goes through no freezer, and through several": async ({ store, prefix, tqname, datastore }) => {
      const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff);
      const freezers = [null, deflateFreezer({ level: 9 }), [deflateFreezer(), {
        id: "flip",
        freeze: flip,
        thaw: flip,
      }]];
      const sizes: number[] = [];
      for (const [i, freezer] of freezers.entries()) {
        const one = store({ freezer });
        const key = `${prefix}${i}`;
        await one.redis.set(key, "again and ".repeat(500));
        await freezeAll(one, [key]);
        const { names } = await datastore().listKeys(`${tqname}/${toUrlsafe(key)}/`);
        const [object] = await datastore().fetchKeys(names);
        sizes.push((object as Uint8Array).length);
        await one.ensureKs(key);
        assertEquals(await one.redis.get(key), "again and ".repeat(500));
      }
      assert(sizes[0]! > sizes[1]! && sizes[0]! > sizes[2]! && sizes[1]! > 50, String(sizes));
    },
    "stays within the sub-requests that it is given": async ({ store, prefix }) => {
      const one = store({ packBytes: 0 });
      const keys = Array.from({ length: 60 }, (_, i) => `${prefix}${i}`);
      await one.redis.mset(Object.fromEntries(keys.map((key) => [key, "v"])));
      await one.dirty(keys);
      const report = await one.tick({ maxSubrequests: 45 });
      assert(report.subrequests <= 45 && report.frozen >= 25 && !report.done, JSON.stringify(report));
      const rest = await one.tick();
      assertEquals([rest.frozen, rest.done], [60 - report.frozen, true]);
    },
    "archives hundreds of keys in packs within the sub-requests of a free plan": async ({ store, prefix }) => {
      const one = store();
      const keys = Array.from({ length: 600 }, (_, i) => `${prefix}${i}`);
      await one.redis.mset(Object.fromEntries(keys.map((key) => [key, "v"])));
      await one.dirty(keys);
      const report = await one.tick({ maxSubrequests: 45 });
      assert(report.subrequests <= 45 && report.frozen >= 500, JSON.stringify(report));
      const rest = await one.tick();
      assertEquals([rest.frozen, rest.done], [600 - report.frozen, true]);
    },
  },

  evict: {
    "takes only what is provably archived": async ({ store, prefix }) => {
      const one = store();
      const [a, b, c] = [prefix + "a", prefix + "b", prefix + "c"];
      await one.redis.mset({ [a]: "1", [b]: "2", [c]: "3" });
      await one.dirty(a, b);
      await one.tick();
      await one.redis.set(b, "changed without a mark");
      const { evicted, kept } = await one.evict(a, b, c, prefix + "none");
      assertEquals([evicted, Object.keys(kept).sort()], [[a], [b, c, prefix + "none"].sort()]);
      assertEquals([await one.redis.exists(a), await one.redis.get(b)], [0, "changed without a mark"]);
      const report = await one.tick();
      assertEquals(report.frozen, 1); // the change was found, and is archived now
      await one.evict(b);
      await one.ensureKs(b);
      assertEquals(await one.redis.get(b), "changed without a mark");
    },
    "never touches a key's own expiry": async ({ store, prefix }) => {
      const one = store();
      await one.redis.set(prefix + "forever", "x");
      await freezeAll(one, [prefix + "forever"]);
      await one.ensureKs(prefix + "forever");
      assertEquals(await one.redis.pttl(prefix + "forever"), -1);
    },
  },

  ensure: {
    "brings a value of each type back as it was, from objects and from a pack": async ({ store, prefix }) => {
      for (const options of [{ packBytes: 0 }, {}]) {
        const one = store(options);
        const keys = await writeValues(one, prefix);
        await freezeAll(one, keys);
        assertEquals(await one.redis.exists(...keys), 0);
        await one.ensureKs(keys);
        await assertValues(one, prefix);
        await one.redis.del(...keys);
        await one.del(keys);
      }
    },
    "brings hundreds of keys back in one call": async ({ store, prefix }) => {
      const one = store({ packBytes: 0 });
      const values = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${prefix}${i}`, `value ${i}`]));
      await one.redis.mset(values);
      await freezeAll(one, Object.keys(values));
      await one.ensureKs(Object.keys(values));
      assertEquals(await one.redis.mget(...Object.keys(values)), Object.values(values));
    },
    "brings hundreds of keys back from a pack": async ({ store, prefix }) => {
      const one = store();
      const values = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`${prefix}${i}`, `value ${i}`]));
      await one.redis.mset(values);
      await freezeAll(one, Object.keys(values));
      await one.ensureKs(Object.keys(values));
      assertEquals(await one.redis.mget(...Object.keys(values)), Object.values(values));
    },
    "brings a megabyte of noise back": async ({ store, prefix }) => {
      const one = store();
      const text = btoa(Array.from(noise(750_000), (byte) => String.fromCharCode(byte)).join(""));
      await one.redis.set(prefix + "large", text);
      await freezeAll(one, [prefix + "large"]);
      await one.ensureKs(prefix + "large");
      assertEquals(await one.redis.get(prefix + "large") === text, true);
    },
    "takes any name": async ({ store, prefix }) => {
      const one = store();
      const keys = ["ü/../%2e+ \n", ".", "東京", "\u{1f9ca}", "a".repeat(2000)].map((name) => prefix + name);
      await one.redis.mset(Object.fromEntries(keys.map((key, i) => [key, `v${i}`])));
      await freezeAll(one, keys);
      await one.ensureKs(keys);
      assertEquals(await one.redis.mget(...keys), keys.map((_, i) => `v${i}`));
      assertEquals(keys.map((key) => fromUrlsafe(toUrlsafe(key))), keys);
    },
    "takes a key that was never there for no error, and one that was deleted for gone": async ({ store, prefix }) => {
      const one = store();
      const key = prefix + "deleted";
      await one.redis.set(key, "x");
      await freezeAll(one, [key]);
      assertEquals(await one.del(key), 1);
      await one.tick();
      await one.ensureKs(key, prefix + "never");
      assertEquals(await one.redis.exists(key, prefix + "never"), 0);
    },
    "refuses a value that was written while the key was evicted": async ({ store, prefix }) => {
      const one = store();
      const key = prefix + "blind";
      await one.redis.hset(key, { a: 1, b: 2 });
      await freezeAll(one, [key]);
      await one.redis.hset(key, { b: 3 });
      assertEquals((await rejection("CONFLICT", () => one.dirty(key))).keys, [key]);
      await rejection("CONFLICT", () => one.ensureKs(key));
      await one.dirty({ overwrite: true }, key);
      await one.ensureKs(key);
      assertEquals(await one.redis.hgetall(key), { b: 3 });
    },
  },

  damage: {
    "a flipped bit, a cut object and another key's object are CORRUPT, key by key": async (world) => {
      const { store, prefix, datastore, tqname } = world;
      const one = store({ packBytes: 0 });
      const names = ["flipped", "cut", "swapped", "whole"];
      const keys = names.map((name) => prefix + name);
      await one.redis.mset(Object.fromEntries(keys.map((key) => [key, `value of ${key}`])));
      await freezeAll(one, keys);
      const archive = datastore();
      const objectOf = async (key: string) =>
        (await archive.listKeys(`${tqname}/${toUrlsafe(key)}/`)).names.filter((name) => !name.includes("/~owner/"))[0]!;
      const [flipped, cut, swapped, whole] = await Promise.all(keys.map(objectOf)) as [string, string, string, string];
      const bytes = await archive.fetchKeys([flipped, cut, whole]) as Uint8Array[];
      await archive.putKey(flipped, bytes[0]!.map((byte, i) => i === 50 ? byte ^ 1 : byte));
      await archive.putKey(cut, bytes[1]!.slice(0, -1));
      await archive.putKey(swapped, bytes[2]!);
      const error = await rejection("ENSURE_FAILED", () => one.ensureKs(keys));
      assertEquals([...error.keys].sort(), keys.slice(0, 3).sort());
      assertEquals(Object.values(error.causes).map((cause) => (cause as TundraError).code), [
        "CORRUPT",
        "CORRUPT",
        "CORRUPT",
      ]);
      assertEquals(await one.redis.mget(...keys), [null, null, null, `value of ${keys[3]}`]);
    },
    "a flipped bit of a pack is CORRUPT for the keys of its block": async ({ store, prefix, datastore, objects }) => {
      const one = store();
      const keys = ["a", "b", "c"].map((name) => prefix + name);
      // base64 of noise: each value fills a block
      const values = keys.map((_, i) =>
        btoa(Array.from(noise(30_000, i + 1), (byte) => String.fromCharCode(byte)).join(""))
      );
      await one.redis.mset(Object.fromEntries(keys.map((key, i) => [key, values[i]])));
      await freezeAll(one, keys);
      const [pack, ...others] = await objects("~packs");
      assertEquals(others, []);
      const [bytes] = await datastore().fetchKeys([pack!]) as [Uint8Array];
      await datastore().putKey(pack!, bytes.map((byte, i) => i === 100 ? byte ^ 1 : byte));
      const error = await rejection("ENSURE_FAILED", () => one.ensureKs(keys));
      assertEquals(error.keys.length, 1);
      assertEquals((error.causes[error.keys[0]!] as TundraError).code, "CORRUPT");
      assertEquals(
        await one.redis.mget(...keys),
        values.map((value, i) => keys[i] === error.keys[0] ? null : value),
      );
    },
    "an object that is gone is LOST, and never a silent nothing": async ({ store, prefix, datastore, tqname }) => {
      const one = store();
      const key = prefix + "lost";
      await one.redis.set(key, "x");
      await freezeAll(one, [key]);
      const { names } = await datastore().listKeys(`${tqname}/${toUrlsafe(key)}/`);
      await datastore().deleteKeys(names);
      const error = await rejection("ENSURE_FAILED", () => one.ensureKs(key));
      assertEquals((error.causes[key] as TundraError).code, "LOST");
    },
    "a server that is away is UNAVAILABLE, without secrets": async ({ store, prefix, redis }) => {
      const token = "a-token-that-nobody-may-see";
      const away = store({ redis: { url: "http://127.0.0.1:9", token, retry: false } });
      const first = await rejection("UNAVAILABLE", () => away.ensureKs(prefix + "a"));
      const second = await rejection("UNAVAILABLE", () => store({ redis: { ...redis, token } }).tick());
      for (const { message } of [first, second]) assert(!message.includes(token), message);
    },
  },

  expiry: {
    "a key's own expiry comes back to the millisecond": async ({ store, prefix }) => {
      const one = store();
      const key = prefix + "session";
      await one.redis.set(key, "x");
      const at = await one.redis.eval<[], number>(
        "local t = redis.call('TIME') local at = t[1] * 1000 + 5000123 redis.call('PEXPIREAT', KEYS[1], at) return at",
        [key],
        [],
      );
      await freezeAll(one, [key]);
      await one.ensureKs(key);
      assertEquals(await one.redis.eval("return redis.call('PEXPIRETIME', KEYS[1])", [key], []), at);
    },
    "a key that expired in the archive stays away": async ({ store, prefix }) => {
      const one = store();
      const key = prefix + "short";
      await one.redis.set(key, "x", { px: 700 });
      await freezeAll(one, [key]);
      await new Promise((resolve) => setTimeout(resolve, 800));
      await one.ensureKs(key);
      assertEquals(await one.redis.exists(key), 0);
    },
  },

  concurrency: {
    "two ticks at once share the work and archive each key once": async ({ store, prefix }) => {
      const [one, other] = [store(), store()];
      const keys = Array.from({ length: 80 }, (_, i) => `${prefix}${i}`);
      await one.redis.mset(Object.fromEntries(keys.map((key) => [key, "v"])));
      await one.dirty(keys);
      const reports = await Promise.all([one, other].map((each) => each.tick({ batchKeys: 20 })));
      assertEquals(reports.reduce((sum, { frozen }) => sum + frozen, 0), 80);
      assertEquals((await one.status()).dirty, 0);
    },
    "many calls at once for one evicted key all find it": async ({ store, prefix }) => {
      const one = store();
      const key = prefix + "popular";
      await one.redis.set(key, "x".repeat(5000));
      await freezeAll(one, [key]);
      await Promise.all(Array.from({ length: 12 }, () => one.ensureKs(key)));
      assertEquals(await one.redis.strlen(key), 5000);
    },
    "a tick that is aborted leaves its keys queued": async ({ store, prefix, datastore }) => {
      const controller = new AbortController();
      const archive = datastore();
      const one = store({
        datastore: {
          ...archive,
          putKey(name, value, options) {
            if (name.includes("/~owner/")) return archive.putKey(name, value, options);
            controller.abort();
            return new Promise((_, reject) => {
              if (options?.signal?.aborted) reject(options.signal.reason);
              options?.signal?.addEventListener("abort", () => reject(options.signal!.reason));
            });
          },
        },
      });
      await one.redis.set(prefix + "a", "1");
      await one.dirty(prefix + "a");
      const report = await one.tick({ signal: controller.signal });
      assertEquals([report.frozen, report.dead, (await one.status()).dirty], [0, 0, 1]);
      assertEquals((await store().tick()).frozen, 1);
    },
    "a worker ticks until it is stopped": async ({ store, prefix }) => {
      const one = store();
      await one.redis.set(prefix + "a", "1");
      await one.dirty(prefix + "a");
      let frozen: (() => void) | undefined;
      const done = new Promise<void>((resolve) => frozen = resolve);
      const worker = one.worker({
        eoqBackoffMs: 10,
        monitor: ({ report }) => {
          if (report?.frozen === 1) frozen!();
        },
      });
      await done;
      assertEquals([worker.running, await worker.stop(), worker.running, worker.stats.frozen], [true, true, false, 1]);
    },
  },

  client: {
    "store.redis is the usual client: values, pipelines, transactions": async ({ store, prefix }) => {
      const { redis } = store();
      await redis.set(prefix + "json", { a: [1, 2] });
      assertEquals(await redis.get(prefix + "json"), { a: [1, 2] });
      const pipeline = redis.pipeline();
      pipeline.set(prefix + "n", 1);
      pipeline.incr(prefix + "n");
      assertEquals(await pipeline.exec<["OK", number]>(), ["OK", 2]);
      const [a, b] = await Promise.all([redis.get(prefix + "n"), redis.exists(prefix + "n")]);
      assertEquals([a, b], [2, 1]);
    },
    "a write and its mark travel in one transaction": async ({ store, prefix }) => {
      const one = store();
      const tx = one.redis.multi();
      tx.hset(prefix + "cart", { apples: 3 });
      one.dirtyIn(tx, prefix + "cart");
      assertEquals(await tx.exec<[number]>(), [1]);
      assertEquals((await one.tick()).frozen, 1);
    },
    "wrong arguments are BAD_ARGUMENT before any request": async ({ store }) => {
      const nowhere = store({ redis: { url: "http://127.0.0.1:9", token: "t", retry: false } });
      await rejection("BAD_ARGUMENT", () => nowhere.ensureKs("a\ud800"));
      await rejection("BAD_ARGUMENT", () => nowhere.dirty("tundra:default:id"));
      await rejection("BAD_ARGUMENT", () => nowhere.tick({ nattempts: 0 }));
      await nowhere.ensureKs();
      await nowhere.dirty([]);
    },
    "a store is made from an environment": async (world) => {
      const { redis, s3, prefix, tqname } = world;
      const env = {
        KV_REST_API_URL: redis.url,
        KV_REST_API_TOKEN: redis.token,
        TUNDRA_S3_ENDPOINT: s3.endpoint,
        TUNDRA_S3_REGION: s3.region,
        TUNDRA_S3_BUCKET: s3.bucket,
        TUNDRA_S3_ACCESS_KEY_ID: s3.accessKeyId,
        TUNDRA_S3_SECRET_ACCESS_KEY: s3.secretAccessKey,
      };
      const one = tundraFromEnv({ env, tqname });
      await one.redis.set(prefix + "a", "1");
      await freezeAll(one, [prefix + "a"]);
      await one.ensureKs(prefix + "a");
      assertEquals(await one.redis.get<number>(prefix + "a"), 1);
    },
  },

  adapters: {
    "a cron request with the secret ticks, one without does not": async ({ store, prefix }) => {
      const secret = "correct-horse-battery";
      const one = store();
      const handle = cronHandler(() => one, { secret });
      await one.redis.set(prefix + "a", "1");
      await one.dirty(prefix + "a");
      assertEquals((await handle(new Request("https://app.example/cron"))).status, 401);
      assertEquals((await one.status()).dirty, 1);
      const headers = { authorization: `Bearer ${secret}` };
      const response = await handle(new Request("https://app.example/cron", { headers }));
      assertEquals([response.status, (await response.json()).frozen], [200, 1]);
      assertEquals((await handle(new Request("https://app.example/cron", { method: "PUT", headers }))).status, 405);
    },
    "a cron event ticks and logs one line of JSON": async ({ store, prefix }) => {
      const one = store();
      await one.redis.set(prefix + "a", "1");
      await one.dirty(prefix + "a");
      const lines: string[] = [];
      const waits: Promise<unknown>[] = [];
      const handle = scheduledHandler(() => one, { log: (line) => lines.push(line) });
      await handle({ cron: "* * * * *" }, {}, { waitUntil: (promise) => waits.push(promise) });
      assertEquals([waits.length, lines.length, JSON.parse(lines[0]!).frozen], [1, 1, 1]);
    },
    "an archive in memory serves a whole life": async ({ store, prefix }) => {
      const archive = memoryDatastore();
      const one = store({ datastore: archive });
      await one.redis.set(prefix + "a", "1");
      await freezeAll(one, [prefix + "a"]);
      assertGreater(archive.objects.size, 1);
      await one.ensureKs(prefix + "a");
      assertEquals(await one.redis.get<number>(prefix + "a"), 1);
      assertStringIncludes([...archive.objects.keys()].join(" "), "~owner");
    },
  },
};
