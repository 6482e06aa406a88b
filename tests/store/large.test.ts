/** Values that no request and no reply can carry: archived in segments, brought back in pieces. */
import type { Buffer } from "node:buffer";
import process from "node:process";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { type Datastore, type Freezer, tundraStore } from "../../mod.ts";
import { join } from "../../src/archive/block.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { peek, restoreVersion, verify, versions } from "../../src/operations/mod.ts";
import { BUCKET, type ColdStack, isOwner, tundraError, withArchive } from "../support/fixtures.ts";
import { contentOf, makeValue, TYPES } from "../support/large.ts";
import { HOUR_MS } from "../support/times.ts";

const LIMIT = 200_000;
const LARGE = 300_000;

/** Names of temporary keys that are left. */
async function temporaries({ raw }: ColdStack): Promise<string[]> {
  return (await raw("KEYS", "tundra:*:tmp:*") as Buffer[]).map(String);
}

/** The size of the largest request. */
function largestRequest({ server }: ColdStack): number {
  return Math.max(...server.log.map(({ commands }) => JSON.stringify(commands).length));
}

/** `fetch` that calls `act` before its n-th request whose body matches. */
function fetchWith(match: RegExp, n: number, act: () => Promise<unknown>): typeof fetch {
  let seen = 0;
  return async (input, init) => {
    if (typeof init?.body === "string" && match.test(init.body.slice(0, 400)) && ++seen === n) await act();
    return await fetch(input as string, init);
  };
}

const PIECE = /"GETRANGE"/;

describe("large values, on a server whose requests and replies may have 200,000 bytes", () => {
  const stack = withArchive({ upstash: { maxRequestBytes: LIMIT, maxReplyBytes: LIMIT, record: true } });
  beforeEach(() => stack.flush());
  const known = (options: Partial<Parameters<ColdStack["store"]>[0]> = {}) =>
    stack.store({ ...options, redis: { maxRequestBytes: LIMIT, ...options?.redis } });

  for (const random of process.versions.deno ? [false, true] : [true]) {
    it(`each type, ${random ? "random" : "compressible"}, with its own expiry, is archived, evicted and comes back`, async () => {
      const keys = TYPES.map((type) => `large:${type}`);
      const all = [...keys, "one byte"];
      const exp = Math.floor(await stack.nowMs()) + HOUR_MS;
      for (const [i, type] of TYPES.entries()) {
        await makeValue(stack, keys[i]!, type, LARGE, random);
        await stack.raw("PEXPIREAT", keys[i]!, exp);
      }
      await makeValue(stack, "one byte", "string", 1, random);
      const contents = await Promise.all(TYPES.map((type, i) => contentOf(stack, keys[i]!, type)));
      const store = random ? stack.store() : known(); // one learns the limits from refusals
      await store.dirty(all);
      const report = await store.tick();
      assertEquals([report.frozen, report.errors, report.done], [keys.length + 1, [], true]);
      const { evicted, kept } = await store.evict(all);
      assertEquals([evicted, { ...kept }], [all, {}]);
      assertEquals(await stack.exists(...all), 0);
      await known().ensureKs(all);
      for (const [i, type] of TYPES.entries()) {
        assert(contents[i]!.equals(await contentOf(stack, keys[i]!, type)), `${keys[i]} differs`);
        assertEquals(await stack.raw("PEXPIRETIME", keys[i]!), exp);
      }
      assertEquals(await temporaries(stack), []);
      assertEquals((await store.evict(keys)).evicted, keys); // what came back is what the archive holds
      await store.ensureKs(keys);
      assertEquals((await store.status()).resident, keys.length + 1);
    });
  }

  it("a store that knows the limits sends and asks for nothing larger", async () => {
    await makeValue(stack, "large", "string", LARGE, true);
    const store = known();
    await store.dirty("large");
    stack.server.log.length = 0;
    assertEquals((await store.tick()).frozen, 1);
    await store.evict("large");
    await store.ensureKs("large");
    assert(largestRequest(stack) < LIMIT, String(largestRequest(stack)));
    const refused = stack.server.log.filter(({ commands }) => commands.length === 0 || commands[0]![0] === "GETRANGE")
      .filter(({ status }) => status !== 200);
    assertEquals(refused, []);
    assertEquals((await stack.record("large"))!.ver.length, 26);
    assertMatch(String(await stack.raw("GET", "tundra:default:rec:large")), /^3 /);
  });

  it("a write between two pieces of a read is archived by the next batch, and what was read is one state", async () => {
    await makeValue(stack, "large", "string", LARGE, true);
    const before = await stack.raw("GET", "large") as Buffer;
    const write = async () => {
      await stack.raw("SETRANGE", "large", LARGE - 5, "later");
      await known().dirty("large");
    };
    const store = known({ redis: { fetch: fetchWith(PIECE, 2, write) } });
    await store.dirty("large");
    const report = await store.tick({ maxKeys: 1 });
    assertEquals([report.frozen, report.requeued, report.errors], [1, 1, []]);
    const [first] = await versions(store, "large");
    assertEquals({ ...(await store.evict("large")).kept }, { large: "dirty" });
    assertEquals((await store.tick()).frozen, 1);
    await store.evict("large");
    await store.ensureKs("large");
    const after = await stack.raw("GET", "large") as Buffer;
    assertEquals(after.subarray(LARGE - 5).toString(), "later");
    await restoreVersion(store, "large", first!.version, { to: "copy" });
    assert(before.equals(await stack.raw("GET", "copy") as Buffer), "the first version is the state before the write");
    assertEquals(await temporaries(stack), []);
  });

  it("a lease that was taken over stages nothing", async () => {
    await makeValue(stack, "large", "string", LARGE, true);
    const store = known({ redis: { fetch: fetchWith(/DUMP/, 1, () => stack.endLeases()) } });
    await store.dirty("large");
    const report = await store.tick({ maxKeys: 1 });
    assertEquals([report.frozen, report.errors.length], [0, 0]);
    assertEquals(stack.server.log.filter(({ commands }) => commands[0]?.[0] === "GETRANGE").length, 0);
    assertEquals((await stack.store().tick()).frozen, 1);
  });

  it("a tick that is frozen after the last piece begins no upload after its lease", async () => {
    await makeValue(stack, "large", "string", LARGE, true);
    const store = known();
    await store.dirty("large");
    let aheadMs = 0;
    setPlatform({ ...PLATFORM, monotonicMs: () => PLATFORM.monotonicMs() + aheadMs });
    let begun = 0;
    let segments = 0;
    const archive = stack.datastore();
    const slow: Freezer = {
      id: "slow",
      freeze(bytes) {
        if (bytes.length > 10_000 && ++segments === 4) aheadMs = HOUR_MS; // the last one of four
        return bytes;
      },
      thaw: (bytes) => bytes,
    };
    const datastore: Datastore = {
      ...archive,
      putKey(...args) {
        begun += isOwner(args[0]) ? 0 : 1;
        return archive.putKey(...args);
      },
    };
    try {
      const { frozen, done } = await known({ datastore, freezer: slow }).tick();
      assertEquals([aheadMs, begun, frozen, done], [HOUR_MS, 0, 0, false]);
    } finally {
      setPlatform();
    }
  });

  it("a temporary key that goes between two pieces costs no attempt; the next tick archives the key", async () => {
    await makeValue(stack, "large", "string", LARGE, true);
    const drop = async () => await stack.raw("UNLINK", ...await temporaries(stack));
    const store = known({ redis: { fetch: fetchWith(PIECE, 2, drop) } });
    await store.dirty("large");
    const report = await store.tick({ retryBackoffMs: 0, maxKeys: 1 });
    assertEquals([report.frozen, report.errors.map(({ code }) => code)], [0, ["UNAVAILABLE"]]);
    assertEquals((await stack.record("large"))!.attempts, 0);
    assertEquals((await known().tick()).frozen, 1);
  });

  /** An evicted large key; its value. */
  async function evicted(): Promise<Buffer> {
    await makeValue(stack, "large", "string", LARGE, true);
    const value = await stack.raw("GET", "large") as Buffer;
    const store = known();
    await store.dirty("large");
    assertEquals((await store.tick()).frozen, 1);
    assertEquals((await store.evict("large")).evicted, ["large"]);
    return value;
  }
  /** A piece that goes up, by the bytes in its request: the second one has an offset. */
  const SECOND_PIECE = /"EVALSHA","[0-9a-f]{40}",1,"tundra:default:tmp:[^"]+","?120000"?,"[1-9]/;

  it("a write between two pieces of a restoration is not overwritten", async () => {
    await evicted();
    const write = () => stack.raw("SET", "large", "written meanwhile");
    const store = known({ redis: { fetch: fetchWith(SECOND_PIECE, 1, write) } });
    await tundraError("CONFLICT", () => store.ensureKs("large"));
    assertEquals(await stack.get("large"), "written meanwhile");
    assertEquals(await temporaries(stack), []);
    await store.dirty({ overwrite: true }, "large");
    assertEquals((await store.tick()).frozen, 1);
    await store.evict("large");
    await store.ensureKs("large");
    assertEquals(await stack.get("large"), "written meanwhile");
  });

  it("del() between two pieces of a restoration stays", async () => {
    await evicted();
    const store = known({ redis: { fetch: fetchWith(SECOND_PIECE, 1, () => known().del("large")) } });
    await store.ensureKs("large");
    assertEquals(await stack.exists("large"), 0);
    assertEquals(await temporaries(stack), []);
  });

  it("a temporary key that goes between two pieces of a restoration, or holds other bytes, brings nothing wrong back", async () => {
    const value = await evicted();
    const drop = async () => await stack.raw("UNLINK", ...await temporaries(stack));
    await tundraError(
      "ENSURE_FAILED",
      () => known({ redis: { fetch: fetchWith(SECOND_PIECE, 1, drop) } }).ensureKs("large"),
    );
    assertEquals(await stack.exists("large"), 0);
    const damage = async () => await stack.raw("SETRANGE", (await temporaries(stack))[0]!, 7, "damaged");
    const store = known({ redis: { fetch: fetchWith(SECOND_PIECE, 2, damage) } });
    await store.ensureKs("large"); // a second round
    assert(value.equals(await stack.raw("GET", "large") as Buffer));
    assertEquals(await temporaries(stack), []);
  });

  it("damage of any segment is CORRUPT, and nothing is restored", async () => {
    await evicted();
    const objects = stack.s3.objects(BUCKET);
    const [name] = stack.objectNames();
    const object = objects.get(name!)!;
    for (const at of [0, 9, 40, 300, object.length >> 1, object.length - 200]) {
      const damaged = new Uint8Array(object);
      damaged[at]! ^= 1;
      objects.set(name!, damaged);
      const error = await tundraError("ENSURE_FAILED", () => known().ensureKs("large"));
      assertEquals((error.causes["large"] as { code?: string }).code, "CORRUPT", `byte ${at}`);
      assertEquals([await stack.exists("large"), await temporaries(stack)], [0, []]);
    }
    objects.set(name!, object);
    await known().ensureKs("large");
    assertEquals(await stack.exists("large"), 1);
  });

  it("a datastore that takes and gives objects whole only: up to maxBytesInFlight; what is larger is refused before it is read", async () => {
    const { putParts: _, fetchRanges: __, ...whole } = stack.datastore();
    const store = (datastore: Datastore) => known({ datastore, maxBytesInFlight: 1_048_576 });
    await makeValue(stack, "fits", "string", LARGE, true);
    await makeValue(stack, "does not", "string", 1_200_000, true);
    await store(whole).dirty("fits", "does not");
    const { frozen, dead, errors } = await store(whole).tick({ nattempts: 1 });
    assertEquals([frozen, dead, errors.map(({ key, code }) => [key, code])], [1, 1, [["does not", "TOO_LARGE"]]]);
    assertMatch(errors[0]!.message, /maxBytesInFlight, 1048576 bytes/);
    assertEquals([await stack.exists("does not"), await temporaries(stack)], [1, []]);
    assertEquals((await store(whole).deadLetters()).map(({ key, code }) => [key, code]), [["does not", "TOO_LARGE"]]);
    stack.server.log.length = 0;
    await store(whole).tick();
    assertEquals(stack.server.log.filter(({ commands }) => commands[0]?.[0] === "GETRANGE").length, 0); // it is not tried for ever
    assertEquals((await store(whole).evict("fits")).evicted, ["fits"]);
    await store(whole).ensureKs("fits");
    assertEquals(await stack.raw("STRLEN", "fits"), LARGE);
    assertEquals(await store(stack.datastore()).retryDead("does not"), 1);
    assertEquals((await store(stack.datastore()).tick()).frozen, 1);
  });

  it("a datastore that gives objects whole only: never more than two of them in memory, however many come back", async () => {
    const { fetchRanges: _, ...datastore } = stack.datastore();
    const keys = ["l:1", "l:2", "l:3", "l:4", "l:5"];
    for (const key of keys) await makeValue(stack, key, "string", LARGE, true);
    await known().dirty(keys);
    await known().tick();
    await known().evict(keys);
    const together: number[] = [];
    const fetchKeys: Datastore["fetchKeys"] = (names, options) => {
      together.push(names.filter((name) => name.includes("/l.3A")).length);
      return datastore.fetchKeys(names, options);
    };
    await known({ datastore: { ...datastore, fetchKeys } }).ensureKs(keys);
    assertEquals([await stack.exists(...keys), Math.max(...together)], [5, 1]);
  });

  it("what a freezer makes too large to be read stays in Redis, as a dead letter", async () => {
    const freezer: Freezer = {
      id: "grow",
      freeze: (bytes) => join(Array.from({ length: 100 }, () => bytes)),
      thaw: (bytes) => bytes.subarray(0, bytes.length / 100),
    };
    await makeValue(stack, "large", "string", LARGE, true);
    await known({ freezer }).dirty("large");
    const { frozen, dead, errors } = await known({ freezer }).tick({ nattempts: 1 });
    assertEquals([frozen, dead, errors.map(({ key, code }) => [key, code])], [0, 1, [["large", "TOO_LARGE"]]]);
    assertEquals([await stack.exists("large"), await temporaries(stack)], [1, []]);
    assertEquals((await known({ freezer }).deadLetters()).map(({ key, code }) => [key, code]), [[
      "large",
      "TOO_LARGE",
    ]]);
  });

  it("what the server holds but would not take in pieces is refused before it is read: it could never come back", async () => {
    await makeValue(stack, "large", "hash", 3_000_000, true);
    await stack.raw("CONFIG", "SET", "proto-max-bulk-len", "1048576");
    try {
      const store = known();
      await store.dirty("large");
      const { frozen, dead, errors } = await store.tick({ nattempts: 1 });
      assertEquals([frozen, dead, errors.map(({ code }) => code)], [0, 1, ["TOO_LARGE"]]);
      assertMatch(errors[0]!.message, /proto-max-bulk-len/);
      assertEquals([await stack.exists("large"), await temporaries(stack)], [1, []]);
    } finally {
      await stack.raw("CONFIG", "SET", "proto-max-bulk-len", "536870912");
    }
    const store = known();
    await store.retryDead("large");
    assertEquals((await store.tick()).frozen, 1);
  });

  it("what would take more requests than a tick may make is refused before it is read, and says so", async () => {
    await makeValue(stack, "large", "string", 3_000_000, true);
    const store = known();
    await store.dirty("large");
    const { dead, errors, subrequests } = await store.tick({ nattempts: 1, maxSubrequests: 40 });
    assertEquals([dead, errors.map(({ code }) => code)], [1, ["TOO_LARGE"]]);
    assertMatch(errors[0]!.message, /maxSubrequests, 40/);
    assert(subrequests <= 40);
    await store.retryDead("large");
    const all = await store.tick({ maxSubrequests: 80 });
    assertEquals([all.frozen, all.errors, all.subrequests <= 80], [1, [], true]);
  });

  it("peek, versions, verify and restoreVersion know such values", async () => {
    const value = await evicted();
    const store = known();
    const seen = await peek(store, "large", async (_, name) => await stack.raw("GET", name) as Buffer);
    assert(value.equals(seen!));
    assertEquals([await stack.exists("large"), await temporaries(stack)], [0, []]);
    const [version] = await versions(store, "large");
    assertGreater(version!.bytes, LARGE);
    const verified = await verify(store);
    assertEquals([verified.checked, verified.damaged, verified.errors], [1, [], []]);
    const restored = await restoreVersion(store, "large", version!.version);
    assertEquals(restored.bytes, version!.bytes);
    assert(value.equals(await stack.raw("GET", "large") as Buffer));
    assertEquals((await store.tick()).frozen, 1);
    assertEquals(await temporaries(stack), []);
    await store.del("large");
    await store.tick();
    assertEquals(stack.objectNames().filter((name) => name.endsWith("a")), []); // purged, as objects of its own
  });

  it("verify finds a damaged segment", async () => {
    await evicted();
    const [name] = stack.objectNames();
    const damaged = new Uint8Array(stack.s3.objects(BUCKET).get(name!)!);
    damaged[damaged.length - 300]! ^= 1;
    stack.s3.objects(BUCKET).set(name!, damaged);
    const verified = await verify(known());
    assertEquals(verified.damaged.map(({ key, code, current }) => [key, code, current]), [["large", "CORRUPT", true]]);
  });

  it("an eviction that was half undone is settled by content", async () => {
    const value = await evicted();
    await stack.raw("SET", "large", value);
    await stack.editRecord("large", { fp: "0".repeat(40) }); // as if the bytes were ordered anew
    await known().ensureKs("large");
    assertEquals((await stack.record("large"))!.flag, "r");
    await stack.editRecord("large", { flag: "e", fp: "0".repeat(40) });
    await stack.raw("SET", "large", "a blind write");
    await tundraError("CONFLICT", () => known().ensureKs("large"));
    assertEquals(await temporaries(stack), []);
  });

  it("a full Redis is emptied of large values too", async () => {
    await makeValue(stack, "large", "string", LARGE, true);
    await known().dirty("large");
    await stack.raw("CONFIG", "SET", "maxmemory", "1mb");
    try {
      assertEquals((await known().tick()).frozen, 1);
      assertEquals((await known().evict("large")).evicted, ["large"]);
      assertEquals(await stack.exists("large"), 0);
    } finally {
      await stack.raw("CONFIG", "SET", "maxmemory", "0");
    }
    await known().ensureKs("large");
    assertEquals(await stack.raw("STRLEN", "large"), LARGE);
  });
});

describe("large values, on a server with Upstash's limits", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  it("10.1 MB go up to S3 in parts, and come back", async () => {
    await makeValue(stack, "large", "string", 10_100_000, true);
    const value = await stack.raw("GET", "large") as Buffer;
    const store = tundraStore(stack.datastore({ checksum: "sha256" }), { redis: stack.connection });
    await store.dirty("large");
    const { frozen, errors } = await store.tick();
    assertEquals([frozen, errors], [1, []]);
    assertEquals([stack.s3.operations["UploadPart"], stack.s3.uploads.size], [2, 0]);
    assertEquals((await store.evict("large")).evicted, ["large"]);
    await store.ensureKs("large");
    assert(value.equals(await stack.raw("GET", "large") as Buffer));
    assertEquals(await temporaries(stack), []);
  });
});
