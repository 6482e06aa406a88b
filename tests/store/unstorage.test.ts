/** Lives of a store on unstorage's disk: what the original's disk archive does, and what a disk does to it. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createStorage } from "unstorage";
import fsDriver from "unstorage/drivers/fs";
import { TundraError, tundraStore } from "../../mod.ts";
import { unstorageDatastore } from "../../src/datastores/unstorage.ts";
import { verify } from "../../src/operations/mod.ts";
import { withStack } from "../support/stack.ts";

describe("a store on unstorage's disk", () => {
  const stack = withStack();
  let base: string;
  beforeEach(async () => {
    await stack.flush();
    base = mkdtempSync(join(tmpdir(), "tundra-unstorage-"));
  });
  afterEach(() => rmSync(base, { recursive: true }));

  const archive = (readOnly = false) => unstorageDatastore(createStorage({ driver: fsDriver({ base, readOnly }) }));
  const storeOn = (datastore = archive()) => tundraStore(datastore, { redis: stack.connection, minEvictBytes: 0 });
  const files = () =>
    readdirSync(base, { recursive: true, encoding: "utf8" }).filter((name) => statSync(join(base, name)).isFile());
  const filesOf = (part: string) => files().filter((name) => name.includes(part));

  it("keys of any name are archived, evicted, brought back, and deleted, in Redis and on the disk", async () => {
    const keys = [
      "",
      "..",
      "a/b/../c",
      "a:b?c$",
      "日本語".repeat(100),
      "k".repeat(32_768),
      "~owner",
      "aBc",
      "node_modules",
    ];
    const store = storeOn();
    const value = (key: string) => `value of ${key.slice(0, 20)}`;
    await stack.raw("MSET", ...keys.flatMap((key) => [key, value(key)]));
    await store.dirty(keys);
    const report = await store.tick();
    assertEquals([report.frozen, report.failed, report.done, report.errors], [keys.length, 0, true, []]);
    assertEquals((await store.evict(keys)).evicted, keys);
    await storeOn().ensureKs(keys);
    assertEquals((await stack.raw("MGET", ...keys) as unknown[]).map(String), keys.map(value));
    const { checked, damaged, missing, errors } = await verify(store);
    assertEquals([checked, damaged, missing, errors], [keys.length, [], [], []]);

    assertEquals(await store.del(keys), keys.length);
    await store.tick();
    assertEquals(await stack.raw("EXISTS", ...keys), 0);
    await store.ensureKs(keys);
    assertEquals(await stack.raw("EXISTS", ...keys), 0);
    const left = files().filter((name) => !/probe_3|_-owner/.test(name));
    assert(left.length <= keys.length, String(left)); // of each key its tombstone, at most
  });

  it("a half-written object is CORRUPT, never a value, and whole again once it is", async () => {
    const store = storeOn();
    await stack.raw("SET", "k", "a value of some length ".repeat(20));
    await store.dirty("k");
    await store.tick();
    await store.evict("k");
    const [name] = filesOf("/k_1/");
    const whole = readFileSync(join(base, name!));
    writeFileSync(join(base, name!), whole.subarray(0, whole.length / 2));
    const error = await assertRejects(() => store.ensureKs("k"), TundraError);
    assertEquals((error.causes.k as TundraError).code, "CORRUPT");
    assertEquals(await stack.raw("EXISTS", "k"), 0);
    writeFileSync(join(base, name!), whole);
    await storeOn().ensureKs("k");
    assertEquals(await stack.raw("EXISTS", "k"), 1);
  });

  it("a disk that drops writes costs no value and no attempt: nothing is evicted, and the tick says why", async () => {
    const before = storeOn();
    await stack.raw("SET", "first", "v");
    await before.dirty("first");
    await before.tick();
    await stack.raw("SET", "k", "v");
    await before.dirty("k");
    const store = storeOn(archive(true));
    const report = await store.tick();
    assertEquals([report.frozen, report.dead], [0, 0]);
    assertEquals(report.errors.map(({ code }) => code), ["UNAVAILABLE"]);
    assertEquals((await store.evict("k")).evicted, []);
    assertEquals([await stack.raw("EXISTS", "k"), (await store.deadLetters()).length], [1, 0]);
  });

  it("a second database on the same folder is refused", async () => {
    const store = storeOn();
    await stack.raw("SET", "k", "v");
    await store.dirty("k");
    await store.tick();
    await stack.raw("FLUSHALL"); // as another database: it knows nothing
    await stack.raw("SET", "k", "another");
    const second = storeOn();
    const refused = await second.dirty("k").then(() => second.tick()).then((report) => report.errors[0], (e) => e);
    assertEquals((refused as TundraError).code, "LOST");
    assertEquals(filesOf("/k_1/").length, 1);
  });
});
