/** A tick makes progress in every bound, however many suspects there are, and whatever ends it early. */
import process from "node:process";
import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import { memoryDatastore, type TickOptions, type TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { type ColdStack, hooked, isOwner, isPack, names, withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";
import { sleep } from "../support/waiting.ts";

const { dirty: DIRTY, idle: IDLE } = redisKeys("default");

describe("a tick with many suspects", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  // suspects first in every other tick
  let ticks = 0;
  before(() => setPlatform({ ...PLATFORM, random: () => ++ticks % 2 === 0 ? 0.25 : 0.75 }));
  after(() => setPlatform());

  /** `n` keys over which ticks died, in the order of their numbers; Redis knows all scripts. */
  async function suspects(n: number, store: TundraStore): Promise<string[]> {
    const keys = names(n, "suspect");
    await stack.raw("SET", "warm", "1");
    await store.dirty("warm");
    await stack.raw("ZADD", DIRTY, "1.5", "warm");
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
    await stack.raw("ZADD", DIRTY, ...keys.flatMap((key, i) => [`${1000 + i}.5`, key]));
    return keys;
  }

  async function fresh(n: number, store: TundraStore): Promise<void> {
    const keys = names(n, "fresh");
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
  }

  const BOUNDS = [12, 13, 20, 45, 100];
  // large numbers are about the protocol, which is the same on every runtime
  for (const n of process.versions.deno ? [100, 800, 2000] : [100]) {
    for (const maxSubrequests of n === 800 ? BOUNDS : [12, 45]) {
      it(`${n} of them, ${maxSubrequests} requests: archives in each tick, fresh keys and suspects by turns, and leases nothing for nothing`, async () => {
        const store = stack.store({ datastore: memoryDatastore() });
        await suspects(n, store);
        await fresh(20, store);
        const before = { fresh: 20, suspect: n };
        for (let i = 0; i < 4; i++) {
          const report = await store.tick({ maxSubrequests });
          assert(report.subrequests <= maxSubrequests, `${report.subrequests} requests`);
          assertEquals([report.errors, report.failed, report.done], [[], 0, false]);
          assertGreater(report.frozen, 0);
          assertEquals(await stack.endLeases(), n - (before.suspect - await left("suspect")), "a key is still leased");
        }
        assertLess(await left("fresh"), before.fresh);
        assertLess(await left("suspect"), before.suspect);
      });
    }
  }

  async function left(kind: string): Promise<number> {
    return (await stack.members("dirty")).filter((key) => key.startsWith(kind)).length;
  }

  it("3,000 of them and no bound: a fresh key is archived by the next tick, whichever come first", async () => {
    for (let i = 0; i < 2; i++) {
      const store = stack.store({ datastore: memoryDatastore() });
      await stack.flush();
      await suspects(3000, store);
      await fresh(1, store);
      const report = await store.tick({ deadlineMs: 1_000 });
      assertEquals([await left("fresh"), report.failed], [0, 0]);
      assertGreater(report.frozen, 1);
    }
  });

  it("gives back what it has not begun when it is aborted, and they stay suspects", async () => {
    const archive = memoryDatastore();
    const store = stack.store({ datastore: archive });
    await suspects(40, store);
    const controller = new AbortController();
    let begun = 0;
    const aborting = stack.store({
      datastore: hooked(archive, {
        putKey() {
          if (++begun === 2) controller.abort();
          return Promise.resolve(true);
        },
      }),
    });
    await aborting.tick({ signal: controller.signal });
    const scores = await Promise.all(names(40, "suspect").map((key) => stack.score("dirty", key)));
    const now = await stack.nowMs();
    assert(scores.every((score) => score === undefined || (score % 1 === 0.5 && score <= now + 1)), `${scores}`);
  });

  it("are all archived in the end at the least bound, fresh keys that come in meanwhile too", async () => {
    const store = stack.store({ datastore: memoryDatastore() });
    await suspects(12, store);
    let n = 0;
    for (; (await stack.members("dirty")).length > 0; n++) {
      assertLess(n, 60);
      if (n < 10) await fresh(2, store);
      await store.tick({ maxSubrequests: 12 });
    }
    assertEquals((await store.status()).dead, 0);
    assertGreater(n, 12);
  });
});

/**
 * A store of a process of its own, whose uploads take so long; `kill()` ends it: nothing of it reaches a server any
 * more.
 */
function mortal(stack: ColdStack, uploadMs: number, packMs = 0): { store: TundraStore; kill(): void } {
  const archive = stack.datastore();
  let alive = true;
  const dead = () => Promise.reject(new TypeError("killed"));
  const store = stack.store({
    packBytes: packMs > 0 ? 1_048_576 : 0,
    redis: { retry: false, fetch: (input, init) => alive ? fetch(input, init) : dead() },
    datastore: hooked(archive, {
      async putKey(name, value, options) {
        if (!isOwner(name)) await sleep(isPack(name) ? packMs : uploadMs);
        return alive ? await archive.putKey(name, value, options) : await dead();
      },
    }),
  });
  return { store, kill: () => alive = false };
}

interface Plan {
  when: string;
  killMs: number;
  uploadMs: number;
  packMs?: number;
  options?: TickOptions;
  /** Of each of the four waves. */
  keys: number;
}

describe("a tick that the platform kills again and again, while new keys come in", () => {
  const plans: Plan[] = [
    { when: "before its pack is uploaded", killMs: 700, uploadMs: 10, packMs: 1_500, keys: 25 },
    { when: "in the middle of its first batch", killMs: 1_600, uploadMs: 100, keys: 25 },
    {
      when: "after a few uploads, one at a time",
      killMs: 1_500,
      uploadMs: 200,
      options: { nthreads: 1 },
      // more than a tick comes to, on each runtime
      keys: process.versions.deno ? 25 : 12,
    },
    { when: "before the first commit of a batch", killMs: 900, uploadMs: 60, options: { nthreads: 2 }, keys: 25 },
    {
      when: "after one suspect, in the middle of the next",
      killMs: 1_000,
      uploadMs: 450,
      options: { nthreads: 1 },
      keys: 5,
    },
  ];
  // They wait nearly all of the time: all at once they take as long as the longest.
  const stacks = plans.map(() => withArchive({ packBytes: 0 }));
  let plays: Promise<void>[];
  before(() => {
    plays = plans.map((plan, i) => play(stacks[i]!, plan));
    for (const one of plays) one.catch(() => {}); // its test will say so
  });
  plans.forEach(({ when }, i) => {
    it(`${when}: all are archived in the end`, () => plays[i]!);
  });
});

async function play(stack: ColdStack, { killMs, uploadMs, packMs, options, keys }: Plan): Promise<void> {
  const first = stack.store();
  await first.tick();
  const all: string[] = [];
  let n = 0;
  for (; n < 60; n++) {
    if (n < 4) {
      const more = names(keys, `wave${n}`);
      all.push(...more);
      await stack.raw("MSET", ...more.flatMap((key) => [key, `value of ${key}`]));
      await first.dirty(more);
    } else if ((await stack.members("dirty")).length === 0) break;
    const { store, kill } = mortal(stack, uploadMs, packMs);
    const tick = store.tick(options);
    tick.catch(() => {});
    await Promise.race([tick, sleep(killMs)]);
    kill();
    await stack.endLeases();
  }
  assertLess(n, 60);
  assertEquals([(await first.status()).dead, (await first.evict(all)).evicted.length], [0, all.length]);
}

describe("a tick that the platform kills", () => {
  const stack = withArchive({ packBytes: 0 });
  beforeEach(() => stack.flush());

  it("has committed what it has archived up to a second before", async () => {
    const { store, kill } = mortal(stack, 50);
    await store.tick();
    await stack.raw("MSET", ...names(100).flatMap((key) => [key, "value"]));
    await store.dirty(names(100));
    const tick = store.tick({ nthreads: 1 });
    tick.catch(() => {});
    await sleep(2_600);
    kill();
    const { dirty, totals } = await stack.store().status();
    assertGreater(totals.frozen, 10);
    assertEquals(dirty, 100 - totals.frozen);
  });

  it("costs no more if it is not killed and uploads are fast: one commit a batch", async () => {
    for (const [packBytes, requests] of [[0, 200 + 2 * 3 + 1], [1_048_576, 1 + 3 + 1]] as const) {
      await stack.flush();
      const store = stack.store({ datastore: memoryDatastore(), packBytes });
      await store.tick();
      await stack.raw("MSET", ...names(200).flatMap((key) => [key, "value"]));
      await store.dirty(names(200));
      const { frozen, subrequests } = await store.tick();
      assertEquals([frozen, subrequests], [200, requests]);
    }
  });
});

describe("a tick is done", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  async function idleKeys(n: number): Promise<string[]> {
    const keys = names(n);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await stack.store().dirty(keys);
    await stack.store().tick();
    await stack.leaveAlone(11 * HOUR_MS, ...keys);
    return keys;
  }

  it("if nothing due is left, and not if an eviction failed", async () => {
    const keys = await idleKeys(5);
    const evicts = (body: string) => /^\["EVAL/.test(body) && body.includes(`"${IDLE}"`) && body.includes(`"k:4"`);
    const faulty = faultyFetch(
      globalThis.fetch,
      ({ body }) => evicts(body) ? { type: "status", status: 503 } : undefined,
    );
    const store = stack.store({ redis: { retry: false, fetch: faulty }, redisTtlMs: 10 * HOUR_MS });
    const report = await store.tick();
    assertEquals([report.evicted, report.errors.length, report.done], [0, 1, false]);
    const next = await stack.store({ redisTtlMs: 10 * HOUR_MS }).tick();
    assertEquals([next.evicted, next.done, await stack.exists(...keys)], [5, true, 0]);
  });

  it("not if its lease ended before its keys were archived", async () => {
    setPlatform({ ...PLATFORM, leastDurationMs: 1 });
    try {
      const archive = stack.datastore();
      const hangs = hooked(archive, {
        putKey: (name, ...rest) => isOwner(name) ? archive.putKey(name, ...rest) : new Promise(() => {}),
      });
      const store = stack.store({ datastore: hangs });
      await stack.raw("SET", "k", "value");
      await store.dirty("k");
      const report = await store.tick({ leaseMs: 300 });
      assertEquals([report.failed, report.done], [1, false]);
      assertEquals((await stack.score("dirty", "k"))! <= await stack.nowMs(), true);
    } finally {
      setPlatform();
    }
  });

  it("not if what it has archived could not be committed, or given back", async () => {
    const store = stack.store();
    await store.tick();
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    const commits = (body: string) => /^\["EVAL/.test(body) && body.includes(`"${redisKeys("default").stats}"`);
    const faulty = faultyFetch(
      globalThis.fetch,
      ({ body }) => commits(body) ? { type: "status", status: 503 } : undefined,
    );
    const report = await stack.store({ redis: { retry: false, fetch: faulty } }).tick();
    assertEquals([report.frozen, report.failed, report.done], [0, 1, false]);
  });
});
