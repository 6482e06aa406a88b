/** A store whose archive is encrypted, on the real stack. */
import { beforeEach, describe, it } from "node:test";
import { Buffer } from "node:buffer";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { TundraError, TundraStore } from "../../mod.ts";
import { erase, list, rebuild, restoreVersion, sweep, verify, versions } from "../../src/operations/mod.ts";
import { rotate, status } from "../../src/encryption/mod.ts";
import { contentOf, makeValue } from "../support/large.ts";
import { encrypted, masterKey } from "../support/encryption.ts";
import {
  BUCKET,
  describePackings,
  entriesOf,
  hooked,
  isPack,
  names,
  tundraError,
  withArchive,
} from "../support/fixtures.ts";

/** Archives and evicts all that is marked. */
async function freezeAll(store: TundraStore, keys: string[]): Promise<void> {
  await store.dirty(keys);
  const report = await store.tick();
  assertEquals([report.failed, report.errors], [0, []]);
  assertEquals((await store.evict(keys)).evicted.length, keys.length);
}

describePackings("an encrypted archive", (packBytes) => {
  const stack = withArchive({ packBytes });
  beforeEach(() => stack.flush());
  const keys = [...names(8, "user"), "Upper:1", "long:" + "x".repeat(300), ""];
  const fill = async (round = 0) => {
    for (const key of keys) await stack.raw("SET", key, `sekrit value ${round} of ${key}`);
  };
  const text = () =>
    [...stack.s3.objects(BUCKET).values()].map((bytes) => Buffer.from(bytes).toString("latin1")).join();

  it("lives a whole life: archived, brought back, verified, swept, rebuilt, restored, erased", async () => {
    const store = stack.store({ freezer: encrypted() });
    await fill();
    await freezeAll(store, keys);
    const [first] = await versions(store, "user:1");
    await store.ensureKs(keys);
    await fill(1);
    await freezeAll(store, keys);
    const checked = await verify(store);
    assertEquals([checked.done, checked.damaged, checked.missing, checked.errors], [true, [], [], []]);
    assert(checked.checked >= 2 * keys.length);
    assertEquals((await sweep(store)).errors, []);
    await stack.raw("FLUSHDB");
    const rebuilt = await rebuild(store);
    assertEquals([rebuilt.done, rebuilt.evicted, rebuilt.errors], [true, keys.length, []]);
    await store.ensureKs(keys);
    for (const key of keys) assertEquals(await stack.get(key), `sekrit value 1 of ${key}`);
    await store.dirty(keys);
    await store.tick();
    await restoreVersion(store, "user:1", first!.version);
    assertEquals(await stack.get("user:1"), "sekrit value 0 of user:1");
    await store.tick();
    const { proof } = await erase(store, ["user:2", "Upper:1"]);
    assert(proof !== undefined);
    assertEquals((await versions(store, "Upper:1")).length, 0);
    assertEquals((await verify(store)).damaged, []);
  });

  it("shows neither values nor, in what the objects hold, keys", async () => {
    const store = stack.store({ freezer: encrypted().slice(1) }); // not compressed: nothing else hides the text
    await fill();
    await freezeAll(store, keys);
    assert(!/sekrit|user:1|xxxx/.test(text()));
    const plain = stack.store({ freezer: null, tqname: "plain" });
    await stack.raw("SET", "other:1", "sekrit");
    await plain.dirty("other:1");
    await plain.tick();
    assert(/sekrit/.test(text()), "the look would find it");
  });

  it("costs no request more, to Redis or the archive", async () => {
    const costs = async (freezer: ReturnType<typeof encrypted> | undefined) => {
      await stack.flush();
      const store = stack.store(freezer ? { freezer } : {});
      await store.tick();
      await stack.server.resetCounters();
      await fill();
      await freezeAll(store, keys);
      await store.ensureKs(keys);
      await store.dirty(keys);
      await store.tick();
      const { operations } = stack.s3;
      const counted = ["PutObject", "GetObject", "ListObjectsV2"].map((name) => operations[name] ?? 0);
      return { redis: stack.server.requests, billable: await stack.server.billable(), counted };
    };
    const before = { ...(await costs(undefined)) };
    const between = await costs(undefined);
    const after = await costs(encrypted());
    const spent = (one: typeof before, other: typeof before) =>
      one.counted.map((count, i) => count - other.counted[i]!);
    assertEquals([after.redis, after.billable], [before.redis, before.billable]);
    assertEquals(spent(after, between), spent(between, before));
  });

  it("under a wrong key gives UNSUPPORTED for each value, and keeps it; the right one brings it back", async () => {
    const store = stack.store({ freezer: encrypted() });
    await fill();
    await freezeAll(store, keys);
    for (const others of [{ a: masterKey(2) }, { a: masterKey(3), b: masterKey(1) }] as Record<string, Uint8Array>[]) {
      const wrong = stack.store({ freezer: encrypted({ keys: others }) });
      const error = await tundraError("ENSURE_FAILED", () => wrong.ensureKs(keys));
      for (const key of keys) {
        const cause = error.causes[key] as TundraError;
        assertEquals([cause.code, cause.retryable], ["UNSUPPORTED", false]);
        assertStringIncludes(cause.message, 'the key "a" must be');
      }
      const report = await sweep(wrong, { keepMs: 0, keepOrphansMs: 172_800_000 });
      assertEquals(report.deleted, 0);
    }
    await store.ensureKs(keys);
    for (const key of keys) assertEquals(await stack.get(key), `sekrit value 0 of ${key}`);
  });

  it("waits while the key service fails: no attempt counts, nothing is lost, and it goes on afterwards", async () => {
    let down = true;
    const service = () => down ? Promise.reject(new Error("the service is down")) : Promise.resolve(masterKey(1));
    const store = stack.store({ freezer: encrypted({ keys: { a: service }, keyTtlMs: 0 }) });
    await fill();
    await store.dirty(keys);
    for (let i = 0; i < 3; i++) {
      const { frozen, dead, errors } = await store.tick({ nattempts: 1, retryBackoffMs: 0 });
      assertEquals([frozen, dead], [0, 0]);
      assert(errors.length > 0 && errors.every(({ code }) => code === "UNAVAILABLE"));
    }
    down = false;
    assertEquals((await store.tick({ retryBackoffMs: 0 })).frozen, keys.length);
    await store.evict(keys);
    down = true;
    const error = await tundraError("ENSURE_FAILED", () => store.ensureKs(keys));
    assert(keys.every((key) => (error.causes[key] as TundraError).retryable));
    down = false;
    await store.ensureKs(keys);
    assertEquals(await stack.exists(...keys), keys.length);
  });

  it("reads what is not encrypted only if acceptPlain says so", async () => {
    await fill();
    await freezeAll(stack.store(), keys);
    const error = await tundraError("ENSURE_FAILED", () => stack.store({ freezer: encrypted() }).ensureKs(keys));
    assertEquals(
      new Set(Object.values(error.causes).map((cause) => (cause as TundraError).code)),
      new Set(["UNSUPPORTED"]),
    );
    await stack.store({ freezer: encrypted({ acceptPlain: true }) }).ensureKs(keys);
    assertEquals(await stack.exists(...keys), keys.length);
  });
});

describe("a key for each tenant", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const tenants = { a: masterKey(1), "t:0": masterKey(2), "t:1": masterKey(3), "t:2": masterKey(4) };
  const keyFor = (key: string) => key.startsWith("t") ? `t:${Number(key.slice(1).split(":")[0]) % 3}` : undefined;
  const keys = Array.from({ length: 90 }, (_, i) => `t${i % 3}:${i}`).concat(names(10));
  const fill = async () => {
    for (const key of keys) await stack.raw("SET", key, `value of ${key}`);
  };

  it("lets values share a pack, each block of one tenant; without a tenant's key only that one is UNSUPPORTED", async () => {
    const store = stack.store({ freezer: encrypted({ keys: tenants, keyFor }) });
    await fill();
    await freezeAll(store, keys);
    const packs = stack.objectNames().filter(isPack);
    assertEquals(packs.length, 1);
    const entries = await entriesOf(packs[0]!, stack.s3.objects(BUCKET).get(packs[0]!)!, encrypted());
    const blocks = new Map<number, Set<string | undefined>>();
    for (const { key, offset } of entries) blocks.set(offset, (blocks.get(offset) ?? new Set()).add(keyFor(key)));
    assertEquals([...blocks.values()].map(({ size }) => size), [1, 1, 1, 1]);
    const { "t:1": _forgotten, ...others } = tenants;
    const without = stack.store({ freezer: encrypted({ keys: others, keyFor }) });
    const error = await tundraError("ENSURE_FAILED", () => without.ensureKs(keys));
    const lost = keys.filter((key) => keyFor(key) === "t:1");
    assertEquals(Object.keys(error.causes).sort(), lost.toSorted());
    assert(lost.every((key) => (error.causes[key] as TundraError).code === "UNSUPPORTED"));
    assertEquals(await stack.exists(...keys), keys.length - lost.length);
    assertEquals(await stack.get("t2:2"), "value of t2:2");
  });

  it("that does not exist, or a keyFor that throws, spoils the keys of that tenant, and no neighbour", async () => {
    const { "t:1": _missing, ...others } = tenants;
    const odd = (key: string) => {
      if (key === "t0:3") throw new Error("no such tenant");
      return keyFor(key);
    };
    const store = stack.store({ freezer: encrypted({ keys: others, keyFor: odd }) });
    await fill();
    await store.dirty(keys);
    const report = await store.tick({ nattempts: 1 });
    assertEquals([report.frozen, report.dead], [keys.length - 31, 30]);
    assertEquals(stack.objectNames().length, 1, "all others share one pack: none was halved");
    const dead = await store.deadLetters({ limit: 100 });
    assertEquals(new Set(dead.map(({ key }) => keyFor(key))), new Set(["t:1"]));
    assert(
      dead.every(({ message }) => String(message).includes('the key "t:1" must be among the keys')),
      String(dead[0]?.message),
    );
    assertEquals(await stack.exists(...keys), keys.length);
  });

  it("asks a key service once for each tenant, not for each value", async () => {
    const asked: string[] = [];
    const service = (id: string) => {
      asked.push(id);
      return Promise.resolve(tenants[id as "a"]);
    };
    const datastore = hooked(stack.datastore(), {});
    const store = stack.store({ datastore, freezer: encrypted({ keys: service, keyFor }) });
    await fill();
    await freezeAll(store, keys);
    await store.ensureKs(keys);
    assertEquals(asked.toSorted(), ["a", "t:0", "t:1", "t:2"]);
  });
});

describe("an archive whose names hide keys", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const nameKey = masterKey(7);
  const keys = [...names(6, "user"), "Upper:1", "long:" + "x".repeat(300), ""];
  const options = { freezer: encrypted({ nameKey }), packBytes: 0 };
  const fill = async () => {
    for (const key of keys) await stack.raw("SET", key, `value of ${key}`);
  };
  const isHidden = (name: string) => /^default\/h~[0-9a-f]{32}\/\d{16}-[0-9a-f]{8}[de]?$/.test(name);

  it("shows no key, and each call and operation works", async () => {
    const store = stack.store(options);
    await fill();
    await freezeAll(store, keys);
    assertEquals(stack.objectNames().filter((name) => !isHidden(name)), []);
    assertEquals(stack.objectNames().length, keys.length);
    assertEquals((await versions(store, "user:1")).length, 1);
    assertEquals((await verify(store)).damaged, []);
    assertEquals((await sweep(store)).errors, []);
    await stack.raw("FLUSHDB");
    const rebuilt = await rebuild(store);
    assertEquals([rebuilt.done, rebuilt.evicted, rebuilt.errors], [true, keys.length, []]);
    const listed: string[] = [];
    for await (const { key } of list(store)) listed.push(key);
    assertEquals(listed.sort(), keys.toSorted());
    await store.ensureKs(keys);
    for (const key of keys) assertEquals(await stack.get(key), `value of ${key}`);
    await store.del("user:1");
    await store.tick();
    const { proof } = await erase(store, { match: "Upper:*" });
    assert(proof !== undefined);
    assertEquals((await versions(store, "Upper:1")).length, 0);
    assertEquals(stack.objectNames().filter(isHidden).length, keys.length - 1); // of user:1 a tombstone
    await freezeAll(store, ["user:2"]);
    const next = { nameKey, keys: { a: masterKey(1), b: masterKey(2) }, current: "b" };
    const later = stack.store({ ...options, freezer: encrypted(next) });
    const moved = await rotate(later);
    assert(moved.moved > 0);
    assert(stack.objectNames().every((name) => isHidden(name) || isPack(name) || name.includes("/~former/")));
    await later.ensureKs(keys);
  });

  it("refuses a key that Redis has forgotten, with lookInArchive", async () => {
    const store = stack.store({ ...options, lookInArchive: true });
    await fill();
    await freezeAll(store, keys);
    await stack.raw("DEL", "tundra:default:rec:user:1");
    const error = await tundraError("ENSURE_FAILED", () => store.ensureKs("user:1"));
    assertEquals((error.causes["user:1"] as TundraError).code, "LOST");
  });

  it("has other names in another queue, and under another key", async () => {
    await fill();
    for (
      const [tqname, freezer] of [["default", encrypted({ nameKey })], ["other", encrypted({ nameKey })], [
        "third",
        encrypted({ nameKey: masterKey(8) }),
      ]] as const
    ) {
      const store = stack.store({ tqname, freezer, packBytes: 0 });
      await store.dirty("user:1");
      await store.tick();
    }
    const segments = stack.objectNames().map((name) => name.split("/")[1]!);
    assertEquals([segments.length, new Set(segments).size], [3, 3]);
    const error = await tundraError("BAD_ARGUMENT", () => encrypted({ nameKey: new Uint8Array(16) }));
    assertStringIncludes(error.message, "nameKey must be 32 bytes: current value is");
  });
});

describe("a large value", () => {
  const stack = withArchive({ upstash: { maxRequestBytes: 200_000, maxReplyBytes: 200_000 } });

  it("is encrypted segment by segment, found if a byte is changed, counted, and reported by a rotation", async () => {
    const open = (freezer: ReturnType<typeof encrypted>) =>
      stack.store({ freezer, redis: { maxRequestBytes: 200_000 } });
    const keyFor = (key: string) => key === "large" ? "t" : undefined;
    const tenants = { a: masterKey(1), t: masterKey(2), u: masterKey(3) };
    const store = open(encrypted({ keys: tenants, keyFor }));
    await makeValue(stack, "large", "string", 300_000, true);
    const content = await contentOf(stack, "large", "string");
    await freezeAll(store, ["large"]);
    const [name] = stack.objectNames();
    const { ids, failed } = await status(store);
    assertEquals([{ ...ids }, failed], [{ t: 1 }, 0]);
    const rotated = await rotate(open(encrypted({ keys: tenants, keyFor: () => "u" })));
    assertEquals([rotated.done, rotated.moved, rotated.errors[0]!.code], [true, 0, "TOO_LARGE"]);
    const bytes = stack.s3.objects(BUCKET).get(name!)!;
    for (const at of [5, 100, 1_000, bytes.length - 5]) {
      bytes[at]! ^= 1;
      const error = await tundraError("ENSURE_FAILED", () => store.ensureKs("large"));
      assertEquals((error.causes.large as TundraError).code, "CORRUPT", `byte ${at}`);
      bytes[at]! ^= 1;
    }
    const { t: _gone, ...others } = tenants;
    const error = await tundraError("ENSURE_FAILED", () => open(encrypted({ keys: others, keyFor })).ensureKs("large"));
    assertEquals((error.causes.large as TundraError).code, "UNSUPPORTED");
    await store.ensureKs("large");
    assertEquals(await contentOf(stack, "large", "string"), content);
    const now = open(encrypted({ keys: tenants, keyFor: () => "u" }));
    await freezeAll(now, ["large"]);
    assertEquals({ ...(await status(now)).ids }, { t: 1, u: 1 });
  });
});
