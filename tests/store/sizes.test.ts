/** Values and batches that are too large for one reply or one request. */
import { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater, assertLess, assertStringIncludes } from "@std/assert";
import { names, withArchive } from "../support/fixtures.ts";

function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

describe("a server whose replies may have 100,000 bytes", () => {
  const stack = withArchive({ upstash: { maxReplyBytes: 100_000, record: true } });
  beforeEach(() => stack.flush());

  async function fill(keys: string[], bytes: number): Promise<Map<string, Uint8Array>> {
    const values = new Map(keys.map((key) => [key, randomBytes(bytes)]));
    for (const [key, value] of values) await stack.raw("SET", key, value);
    return values;
  }

  async function assertBack(values: Map<string, Uint8Array>): Promise<void> {
    for (const [key, value] of values) {
      assert(Buffer.from(value).equals(await stack.raw("GET", key) as Buffer), `${key} differs`);
    }
  }

  it("splits a batch until its replies fit: everything is archived, in one tick", async () => {
    const store = stack.store();
    const keys = names(12);
    const values = await fill(keys, 20_000);
    await store.dirty(keys);
    const report = await store.tick();
    assertEquals([report.claimed, report.frozen, report.failed, report.done], [12, 12, 0, true]);
    const reads = stack.server.log.filter(({ path }) => path === "/multi-exec").map(({ commands, status }) => ({
      keys: commands.filter(([name]) => name === "DUMP").length,
      status,
    }));
    assertEquals(reads, [
      { keys: 12, status: 400 },
      { keys: 6, status: 400 },
      { keys: 3, status: 200 },
      { keys: 3, status: 200 },
      { keys: 3, status: 200 },
      { keys: 3, status: 200 },
    ]);
    assertEquals((await store.evict(keys)).evicted, keys);
    await store.ensureKs(keys);
    await assertBack(values);
  });

  it("a value too large for any reply, that the archive can only take whole, is TOO_LARGE, dead after nattempts, and still in Redis; its neighbours are archived", async () => {
    const { putParts: _, ...whole } = stack.datastore();
    const store = stack.store({ datastore: whole, maxBytesInFlight: 1_048_576 });
    const keys = names(4);
    const values = await fill([...keys, "huge"], 10_000);
    values.set("huge", randomBytes(1_100_000));
    await stack.raw("SET", "huge", values.get("huge")!);
    await store.dirty(...keys.slice(0, 2), "huge", ...keys.slice(2));
    const dead: number[] = [];
    for (let i = 0; i < 4; i++) {
      const report = await store.tick({ retryBackoffMs: 0 });
      dead.push(report.dead);
      assertEquals(report.frozen, i === 0 ? 4 : 0);
      assertEquals(report.errors.map(({ key, code }) => [key, code]), i === 3 ? [] : [["huge", "TOO_LARGE"]]);
    }
    assertEquals(dead, [0, 0, 1, 0]);
    assertEquals((await store.deadLetters()).map(({ key, code, attempts }) => [key, code, attempts]), [
      ["huge", "TOO_LARGE", 3],
    ]);
    assertEquals((await store.evict("huge", ...keys)).kept, { huge: "dirty" });
    await store.ensureKs("huge", ...keys);
    await assertBack(values);
  });
});

describe("Upstash's own limits", () => {
  const stack = withArchive({ upstash: { record: true } });
  beforeEach(() => stack.flush());

  it("many big values come back in as many requests as their sizes need", async () => {
    const store = stack.store();
    const keys = names(4);
    const values = keys.map(() => randomBytes(2_000_000));
    for (const [i, key] of keys.entries()) await stack.raw("SET", key, values[i]!);
    await store.dirty(keys);
    let frozen = 0;
    for (let i = 0; i < 3; i++) frozen += (await store.tick()).frozen;
    assertEquals(frozen, 4);
    assertEquals((await store.evict(keys)).evicted, keys);
    await stack.server.resetCounters();
    await store.ensureKs(keys);
    const restores = stack.server.log.filter(({ commands: [command] }) =>
      command!.some((part) => part.length > 1_000_000) && command![0] === "EVALSHA"
    );
    assertGreater(restores.length, 1);
    assertLess(restores.length, 4);
    assert(stack.server.log.every(({ status }) => status === 200 || status === 400));
    for (const [i, key] of keys.entries()) {
      assert(Buffer.from(values[i]!).equals(await stack.raw("GET", key) as Buffer), `${key} differs`);
    }
  });

  it("a value that no request could bring back, nor the archive take in parts, is never archived: TOO_LARGE, dead, and still in Redis", async () => {
    const { fetchRanges: _, ...whole } = stack.datastore();
    const store = stack.store({ datastore: whole, maxBytesInFlight: 5_000_000 });
    const value = randomBytes(6_000_000);
    await stack.raw("SET", "huge", value);
    await stack.raw("SET", "zeros", new Uint8Array(3_000_000)); // much larger than its archive
    await store.dirty("huge", "zeros");
    const report = await store.tick({ nattempts: 1 });
    assertEquals([report.frozen, report.dead, report.errors.map(({ code }) => code)], [1, 1, ["TOO_LARGE"]]);
    const [letter] = await store.deadLetters();
    assertEquals([letter!.key, letter!.code], ["huge", "TOO_LARGE"]);
    assertStringIncludes(letter!.message, "it stays in Redis");
    assertEquals(await store.evict("huge", "zeros"), { evicted: ["zeros"], kept: { huge: "dirty" } });
    assert(Buffer.from(value).equals(await stack.raw("GET", "huge") as Buffer));
    await store.ensureKs("zeros");
    assertEquals(await stack.raw("STRLEN", "zeros"), 3_000_000);
  });

  it("keys so long that 1,000 of them pass a request's limit travel in several", async () => {
    const store = stack.store();
    const keys = names(120, "k".repeat(20_000));
    for (const key of keys) await stack.raw("SET", key, "value");
    await stack.server.resetCounters();
    await store.dirty(keys);
    assertGreater(stack.server.requests, 1);
    await store.ensureKs(keys);
    assertEquals((await store.status()).dirty, 120);
    assert(stack.server.log.every(({ status }) => status === 200 || status === 400));
    assertEquals((await store.tick({ batchKeys: 50 })).frozen, 120);
    assertEquals((await store.evict(keys)).evicted.length, 120);
    await store.ensureKs(keys);
    assertEquals(await stack.exists(...keys), 120);
    assertEquals(await store.del(keys), 120);
  });
});
