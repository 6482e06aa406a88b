/** Guards of a tick that only an odd moment needs: each test fails if its guard is taken away. */
import type { Buffer } from "node:buffer";
import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import { deflateFreezer, type Freezer } from "../../mod.ts";
import { objectName, redisKeys, versionMicros } from "../../src/base/keys.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { BUCKET, hooked, isOwner, names, PACKINGS, withArchive } from "../support/fixtures.ts";
import { freezeRecord } from "../support/records.ts";
import { HOUR_MS } from "../support/times.ts";
import { sleep } from "../support/waiting.ts";

const { dirty: DIRTY, idle: IDLE, record: recordName, dead: DEAD } = redisKeys("default");
const YEAR = 365 * 24 * HOUR_MS;

function noise(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

describe("a tick", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  before(() => setPlatform({ ...PLATFORM, leastDurationMs: 1 }));
  after(() => setPlatform());

  async function dirtyKeys(keys: string[]): Promise<void> {
    const store = stack.store();
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
  }

  it("begins suspects in the order of their attempts: what has killed ticks comes last", async () => {
    const keys = names(6);
    await dirtyKeys(keys);
    const attempts: Record<string, number> = { "k:0": 2, "k:1": 0, "k:2": 1, "k:3": 0, "k:4": 2, "k:5": 1 };
    for (const [key, n] of Object.entries(attempts)) {
      await stack.editRecord(key, { attempts: n });
      await stack.raw("ZADD", DIRTY, `${1000 + Number(key.slice(2))}.5`, key);
    }
    const archive = stack.datastore();
    const order: string[] = [];
    const store = stack.store({
      datastore: hooked(archive, {
        putKey(name, ...rest) {
          if (!isOwner(name)) order.push(name.split("/")[1]!.replace(".3A", ":"));
          return archive.putKey(name, ...rest);
        },
      }),
    });
    assertEquals((await store.tick({ nattempts: 5 })).frozen, 6);
    assertEquals(order.map((key) => attempts[key]), [0, 0, 1, 1, 2, 2]);
  });

  it("names a version above the one that it replaces, also if Redis' clock went back", async () => {
    await dirtyKeys(["k"]);
    await stack.store().tick();
    const ahead = `${String(Math.floor(await stack.nowMs() + 30 * 24 * HOUR_MS) * 1000).padStart(16, "0")}-0badcafe`;
    await stack.editRecord("k", { ver: ahead });
    await stack.store().dirty("k");
    assertEquals((await stack.store().tick()).frozen, 1);
    const { ver } = (await stack.record("k"))!;
    assertGreater(versionMicros(ver), versionMicros(ahead));
    assertEquals((await stack.store().evict("k")).evicted, ["k"]);
  });

  for (const [packBytes, how] of PACKINGS) {
    it(`begins no upload after its lease, ${how}`, async () => {
      await dirtyKeys(names(10));
      if (packBytes > 0) { for (const key of names(10)) await stack.raw("SET", key, noise(40_000)); }
      const archive = stack.datastore();
      const begun: number[] = [];
      const startedAt = performance.now();
      const store = stack.store({
        packBytes: Math.min(packBytes, 100_000), // two blocks each
        datastore: hooked(archive, {
          async putKey(name, ...rest) {
            begun.push(performance.now() - startedAt);
            await sleep(120);
            return await archive.putKey(name, ...rest);
          },
        }),
      });
      const report = await store.tick({ leaseMs: 400, nthreads: 1 });
      assert(begun.every((ms) => ms < 400), `begun at ${begun.map(Math.round)} ms`);
      assertLess(report.frozen, packBytes > 0 ? 10 : 5);
      assertEquals([report.done, report.dead, report.frozen + (await stack.members("dirty")).length], [false, 0, 10]);
      assertEquals(await stack.endLeases(), 0);
    });
  }

  for (const [packBytes, how] of PACKINGS) {
    it(`begins no upload after its lease, though freezing took longer, ${how}`, async () => {
      await dirtyKeys(names(3));
      let begun = 0;
      const archive = stack.datastore();
      const slow: Freezer = {
        id: "slow",
        freeze: (bytes) => sleep(500).then(() => bytes),
        thaw: (bytes) => bytes,
      };
      const store = stack.store({
        packBytes,
        freezer: slow,
        datastore: hooked(archive, {
          putKey(...args) {
            begun++;
            return archive.putKey(...args);
          },
        }),
      });
      const report = await store.tick({ leaseMs: 400, nattempts: 1 });
      assertEquals([begun, report.frozen, report.dead, report.done], [0, 0, 0, false]);
      assertEquals([(await stack.members("dirty")).length, await stack.endLeases()], [3, 0]);
      assertEquals((await stack.store().tick()).frozen, 3);
    });

    it(`spends a quarter of its requests on eviction if old versions are asked for, and the rest on archiving, ${how}`, async () => {
      const idle = names(60, "idle");
      await dirtyKeys(idle);
      await stack.store().tick();
      const objects = stack.s3.objects(BUCKET);
      const at = Math.floor(await stack.nowMs() - 72 * HOUR_MS);
      const ver = `${String(at * 1000).padStart(16, "0")}-0badcafe`;
      const dump = new Uint8Array(await stack.raw("DUMP", idle[0]!) as Buffer);
      for (const key of idle) {
        objects.set(
          await objectName({ tqname: "default" }, key, ver),
          await freezeRecord({ key, ver, at, exp: 0, dump }, [deflateFreezer()]),
        );
        await stack.raw("RESTORE", key, 0, dump, "REPLACE");
        await stack.editRecord(key, { ver, fp: (await stack.record(idle[0]!))!.fp });
      }
      await stack.leaveAlone(72 * HOUR_MS, ...idle);
      await dirtyKeys(names(packBytes > 0 ? 600 : 60, "dirty"));
      const report = await stack.store({ redisTtlMs: 10 * HOUR_MS, packBytes }).tick({ maxSubrequests: 60 });
      assertEquals([report.errors, report.failed], [[], 0]);
      if (packBytes > 0) { // few requests are enough to archive all, and the rest is for eviction
        assertEquals([report.frozen, report.evicted > 20], [600, true], `evicted ${report.evicted}`);
        return;
      }
      const share = report.evicted / (report.evicted + report.frozen);
      assert(share > 0.1 && share < 0.3, `evicted ${report.evicted}, archived ${report.frozen}`);
    });
  }

  it("takes what a clock touched that ran a year ahead for touched now: evicted redisTtlMs after that", async () => {
    await dirtyKeys(["k", "used"]);
    await stack.store().tick();
    const ahead = Math.floor(await stack.nowMs()) + YEAR;
    const ver = `${String(Math.floor(await stack.nowMs() - 2 * HOUR_MS) * 1000).padStart(16, "0")}-0badcafe`;
    for (const key of ["k", "used"]) {
      await stack.editRecord(key, { touch: ahead, ver }); // archived long enough ago
      await stack.raw("ZADD", IDLE, ahead, key);
    }
    const store = stack.store({ redisTtlMs: 10 * HOUR_MS });
    const first = await store.tick();
    assertEquals([first.evicted, first.done], [0, true]);
    for (const key of ["k", "used"]) {
      const touched = (await stack.score("idle", key))!;
      assert(Math.abs(touched - await stack.nowMs()) < 5_000, `${key}: ${touched}`);
    }
    await stack.raw("ZADD", IDLE, Math.floor(await stack.nowMs() - 11 * HOUR_MS), "k");
    await stack.raw("ZADD", IDLE, Math.floor(await stack.nowMs() - 11 * HOUR_MS), "used");
    await store.ensureKs("used"); // noted, though its record says that it was touched in a year
    const second = await store.tick();
    assertEquals([second.evicted, await stack.exists("k"), await stack.exists("used")], [1, 0, 1]);
    assert(Math.abs((await stack.record("used"))!.touch - await stack.nowMs()) < 5_000);
  });

  it("puts a key into idle as of now that a clock touched which ran ahead, also while it was dirty", async () => {
    await dirtyKeys(["k"]);
    await stack.editRecord("k", { touch: Math.floor(await stack.nowMs()) + YEAR });
    assertEquals((await stack.store().tick()).frozen, 1);
    assert(Math.abs((await stack.score("idle", "k"))! - await stack.nowMs()) < 5_000);
  });

  it("takes an attempt back if the reply to its begin is lost: outages kill no healthy key", async () => {
    await dirtyKeys(["k"]);
    let lost = 0;
    const begins = (body: string) => {
      const [name, , n, ...rest] = JSON.parse(body) as unknown[];
      return /^EVAL/.test(String(name)) && n === 3 && rest[1] === DEAD && rest[2] === recordName("k") &&
        rest.length === 8;
    };
    const faulty = faultyFetch(globalThis.fetch, ({ body, url }) => {
      if (url.endsWith("/multi-exec") || !begins(body)) return undefined;
      lost++;
      return { type: "reset", served: true };
    });
    const store = stack.store({ redis: { retry: false, fetch: faulty } });
    await stack.raw("ZADD", DIRTY, "1000.5", "k");
    await stack.store().tick(); // Redis knows all scripts
    await dirtyKeys(["k"]);
    for (let i = 0; i < 5; i++) {
      await stack.raw("ZADD", DIRTY, "1000.5", "k");
      const report = await store.tick();
      assertEquals([report.claimed, report.frozen, report.dead], [1, 0, 0]);
      assertEquals((await stack.record("k"))!.attempts, 0);
      assertEquals((await stack.score("dirty", "k"))! % 1, 0.5);
    }
    assertEquals(lost, 5);
    assertEquals((await stack.store().tick()).frozen, 1);
  });
});

describe("a tick's durations", () => {
  const stack = withArchive();

  it("are refused if they look like seconds: the message names the unit", async () => {
    for (const options of [{ leaseMs: 60 }, { deadlineMs: 20 }, { leaseMs: 999 }]) {
      const error = await stack.store().tick(options).then(() => undefined, (thrown) => thrown);
      const [[name, value]] = Object.entries(options) as [[string, number]];
      assertEquals(
        error.message,
        `Cannot tick as ${name} must be a whole number of milliseconds from 1000 to 43200000: current value is ${value}`,
      );
    }
  });
});
