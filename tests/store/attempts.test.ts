/** Failures: whether they are specific to a key, which of them cost it an attempt, and how a dead key is requeued. */
import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import { type Datastore, type Freezer, type TickReport, TundraError, type TundraStore } from "../../mod.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { describePackings, hooked, isOwner, isPack, names, withArchive } from "../support/fixtures.ts";
import { type Gate, gate, sleep } from "../support/waiting.ts";

const NOW = { retryBackoffMs: 0 };

describe("a key that fails for a reason specific to it", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** Throws for values that hold "poison" as long as `poisonous`; counts. */
  function choosy(): Freezer & { poisonous: boolean; refused: number } {
    const freezer = {
      id: "choosy",
      poisonous: true,
      refused: 0,
      freeze(bytes: Uint8Array) {
        if (freezer.poisonous && String.fromCharCode(...bytes).includes("poison")) {
          freezer.refused++;
          throw new TundraError("UNSUPPORTED", "I do not like it");
        }
        return bytes;
      },
      thaw: (bytes: Uint8Array) => bytes,
    };
    return freezer;
  }

  /** A store whose freezer refuses the value of `k`, with that value marked. */
  async function markedPoison(): Promise<{ freezer: ReturnType<typeof choosy>; store: TundraStore }> {
    const freezer = choosy();
    const store = stack.store({ freezer });
    await stack.raw("SET", "k", "poison");
    await store.dirty("k");
    return { freezer, store };
  }

  for (const nattempts of [1, 3, 5]) {
    it(`nattempts ${nattempts}: exactly ${nattempts} attempts, then it is dead and resident`, async () => {
      const { freezer, store } = await markedPoison();
      for (let attempt = 1; attempt <= nattempts; attempt++) {
        const report = await store.tick({ ...NOW, nattempts });
        const dead = attempt === nattempts ? 1 : 0;
        assertEquals([report.claimed, report.failed, report.dead, report.frozen], [1, 1, dead, 0]);
        assertEquals(report.errors.map(({ key, code, attempt }) => ({ key, code, attempt })), [
          { key: "k", code: "UNSUPPORTED", attempt },
        ]);
        assertStringIncludes(report.errors[0]!.message, "I do not like it");
      }
      assertEquals(freezer.refused, nattempts);
      assertEquals((await store.tick({ ...NOW, nattempts })).claimed, 0);
      assertEquals(freezer.refused, nattempts);

      const [letter, ...others] = await store.deadLetters();
      assertEquals(others, []);
      assertEquals([letter!.key, letter!.code, letter!.attempts], ["k", "UNSUPPORTED", nattempts]);
      assertStringIncludes(letter!.message, "I do not like it");
      assertAlmostEquals(letter!.at, await stack.nowMs(), 5_000);
      const { dirty, due, dead } = await store.status();
      assertEquals([dirty, due, dead], [1, 0, 1]);
      assertEquals((await store.evict("k")).kept, { k: "dirty" });
      assertEquals(await stack.get("k"), "poison");
      await store.ensureKs("k");
    });
  }

  it("is archived after retryDead, once what ailed it is gone", async () => {
    const freezer = choosy();
    const store = stack.store({ freezer });
    await stack.raw("MSET", "k", "poison", "healthy", "1");
    await store.dirty("k", "healthy");
    for (let i = 0; i < 3; i++) await store.tick(NOW);
    assertEquals((await store.status()).dead, 1);
    freezer.poisonous = false;
    assertEquals(await store.retryDead("k", "healthy", "unknown"), 1);
    assertEquals(await store.deadLetters(), []);
    assertEquals((await stack.record("k"))!.attempts, 0);
    assertEquals((await store.tick()).frozen, 1);
    await store.evict("k");
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "poison");
  });

  it("has all its attempts again after retryDead", async () => {
    const { freezer, store } = await markedPoison();
    for (let i = 0; i < 3; i++) await store.tick(NOW);
    await store.retryDead("k");
    for (let i = 0; i < 3; i++) assertEquals([i, (await store.tick(NOW)).dead], [i, i === 2 ? 1 : 0]);
    assertEquals(freezer.refused, 6);
  });

  it("lives again by a new dirty, with all its attempts", async () => {
    const { store } = await markedPoison();
    for (let i = 0; i < 3; i++) await store.tick(NOW);
    await store.dirty("k");
    assertEquals([await stack.members("dead"), await stack.members("dirty")], [[], ["k"]]);
    assertEquals((await stack.record("k"))!.attempts, 0);
    await stack.raw("SET", "k", "cured");
    await store.dirty("k");
    assertEquals((await store.tick()).frozen, 1);
    await store.evict("k");
    await store.ensureKs("k");
    assertEquals(await stack.get("k"), "cured");
  });

  it("has its attempts counted anew after a success", async () => {
    const freezer = choosy();
    const store = stack.store({ freezer });
    await stack.raw("SET", "k", "poison");
    for (let round = 0; round < 3; round++) {
      freezer.poisonous = true;
      await store.dirty("k");
      for (let i = 0; i < 2; i++) assertEquals((await store.tick(NOW)).dead, 0);
      assertEquals((await stack.record("k"))!.attempts, 2);
      freezer.poisonous = false;
      assertEquals((await store.tick(NOW)).frozen, 1);
      assertEquals((await stack.record("k"))!.attempts, 0);
    }
  });

  it("delays no other: the rest of its batch is archived by the same tick, whoever comes later too", async () => {
    const freezer = choosy();
    const store = stack.store({ freezer });
    const keys = names(20);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "healthy"]), "p", "poison");
    await store.dirty("p", ...keys);
    const report = await store.tick(NOW);
    assertEquals([report.claimed, report.frozen, report.failed], [21, 20, 1]);
    await store.tick(NOW);
    const last = await store.tick(NOW);
    assertEquals([last.failed, last.dead], [1, 1]);
    assertEquals(await stack.members("dead"), ["p"]);
    await store.dirty(keys);
    assertEquals((await store.tick(NOW)).frozen, 20);
  });

  it("is dead after nattempts refusals of its name by S3, each of them one request", async () => {
    const refusal = "<Error><Code>KeyTooLongError</Code><Message>never</Message></Error>";
    const fetch = faultyFetch(globalThis.fetch, [
      { match: /^PUT \S+\/default\/k\//, times: Infinity, fault: { type: "status", status: 400, body: refusal } },
    ]);
    const store = stack.store({ packBytes: 0, datastore: stack.datastore({ fetch, retries: 4 }) });
    await stack.raw("MSET", "k", "value", "other", "value");
    await store.dirty("k", "other");
    const dead: number[] = [];
    for (let i = 0; i < 4; i++) dead.push((await store.tick(NOW)).dead);
    assertEquals(dead, [0, 0, 1, 0]);
    assertEquals(fetch.log.filter((request) => request.fault).length, 3);
    assertEquals((await store.deadLetters()).map(({ key, code, attempts }) => [key, code, attempts]), [
      ["k", "UNSUPPORTED", 3],
    ]);
    assertStringIncludes((await store.deadLetters())[0]!.message, "KeyTooLongError");
    assertEquals([await stack.get("k"), stack.objectNames().length], ["value", 1]);
    fetch.setPlan([]);
    assertEquals(await store.retryDead("k"), 1);
    assertEquals((await store.tick()).frozen, 1);
  });

  it("del() of a dead key ends it", async () => {
    const store = stack.store({ freezer: choosy() });
    await stack.raw("SET", "k", "poison");
    await store.dirty("k");
    await store.tick({ ...NOW, nattempts: 1 });
    assertEquals(await store.del("k"), 1);
    assertEquals([await store.deadLetters(), await stack.exists("k")], [[], 0]);
    assertEquals((await store.tick()).missing, 1);
    assertEquals((await store.status()).dirty, 0);
  });

  it("deadLetters lists oldest first, in pages", async () => {
    const store = stack.store({ freezer: choosy() });
    for (const key of names(5)) {
      await stack.raw("SET", key, "poison");
      await store.dirty(key);
      await store.tick({ ...NOW, nattempts: 1 });
      await sleep(2);
    }
    const keysOf = async (options?: { offset?: number; limit?: number }) =>
      (await store.deadLetters(options)).map(({ key }) => key);
    assertEquals(await keysOf(), names(5));
    assertEquals(await keysOf({ limit: 2 }), ["k:0", "k:1"]);
    assertEquals(await keysOf({ offset: 3, limit: 2 }), ["k:3", "k:4"]);
    assertEquals(await keysOf({ offset: 5 }), []);
  });
});

describePackings("a tick that dies", (packBytes) => {
  const stack = withArchive({ packBytes });
  beforeEach(() => stack.flush());

  /**
   * A store whose ticks never come back from the upload of `poison`, alone or in a pack, whatever their signal says.
   */
  function deadly(door: Gate): { store: TundraStore; puts: string[] } {
    const archive = stack.datastore();
    const puts: string[] = [];
    const store = stack.store({
      freezer: null,
      datastore: hooked(archive, {
        async putKey(name, value, options) {
          if (!isOwner(name)) puts.push(name.split("/")[1]!);
          if (!isOwner(name) && new TextDecoder("latin1").decode(value).includes("poison")) await door.wait();
          return await archive.putKey(name, value, options);
        },
      }),
    });
    return { store, puts };
  }

  /** A tick that is given up as soon as it hangs on the poison key; `undefined`, or the report if it ends. */
  async function tickUntilDeath(store: TundraStore, door: Gate): Promise<TickReport | undefined> {
    const report = await Promise.race([store.tick(), door.reached.then(() => undefined)]);
    if (report) return report;
    await sleep(100); // the others of its batch are uploaded
    assert(await stack.endLeases() > 0);
  }

  it("over one key of a batch, again and again: the others are archived, that one ends dead after 3 attempts alone", async () => {
    const healthy = names(8);
    await stack.raw("MSET", ...healthy.flatMap((key) => [key, `value of ${key}`]), "poison", "value");
    await stack.store().dirty(...healthy, "poison");

    const attempts: number[] = [];
    const alone: number[] = [];
    const doors: Gate[] = [];
    let report: TickReport | undefined;
    for (let n = 0; n < 10 && !report; n++) {
      const door = gate();
      doors.push(door);
      const { store, puts } = deadly(door);
      report = await tickUntilDeath(store, door);
      attempts.push((await stack.record("poison"))!.attempts);
      alone.push(puts.filter((key) => key === "poison").length);
      // The first one to begin alone may be the poison key; from then on it is known, and comes last.
      if (n === 2) assertEquals((await stack.store().evict(healthy)).evicted, healthy);
    }
    assertEquals(attempts, [0, 1, 2, 3, 3]);
    assertEquals(alone, [packBytes > 0 ? 0 : 1, 1, 1, 1, 0]); // at first it may share a pack
    assertEquals([report!.dead, report!.failed, report!.errors[0]!.key], [1, 1, "poison"]);

    const store = stack.store();
    assertEquals((await store.deadLetters()).map(({ key, code, attempts }) => [key, code, attempts]), [
      ["poison", "UNAVAILABLE", 3],
    ]);
    assertEquals(await stack.get("poison"), "value");

    // The dead ticks come back: nothing changes.
    const before = await stack.everything();
    for (const door of doors) door.open();
    await sleep(150);
    assertEquals(await stack.everything(), before);

    assertEquals(await store.retryDead("poison"), 1);
    assertEquals((await store.tick()).frozen, 1);
    await store.ensureKs(...healthy);
    assertEquals(await stack.get("k:7"), "value of k:7");
  });

  it("once: its keys begin alone in the next tick, are archived, and nothing is counted against them", async () => {
    const keys = names(5);
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]), "poison", "value");
    await stack.store().dirty(...keys, "poison");
    const door = gate();
    await tickUntilDeath(deadly(door).store, door);
    const store = stack.store();
    const report = await store.tick();
    assertEquals([report.claimed, report.frozen, report.failed], [6, 6, 0]);
    for (const key of [...keys, "poison"]) assertEquals((await stack.record(key))!.attempts, 0);
    assertEquals((await store.evict([...keys, "poison"])).evicted.length, 6);
    door.open();
    await sleep(50);
  });
});

describe("an outage of the store", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());
  const keys = names(5);

  const outages: [string, (fetch: ReturnType<typeof faultyFetch>) => void][] = [
    ["503", (fetch) => fetch.setPlan([{ times: Infinity, fault: { type: "status", status: 503 } }])],
    ["a connection that breaks", (fetch) => fetch.setPlan([{ times: Infinity, fault: { type: "reset" } }])],
    [
      "403 SignatureDoesNotMatch",
      (fetch) =>
        fetch.setPlan([{
          times: Infinity,
          fault: { type: "status", status: 403, body: "<Error><Code>SignatureDoesNotMatch</Code></Error>" },
        }]),
    ],
    [
      "404 NoSuchBucket",
      (fetch) =>
        fetch.setPlan([{
          times: Infinity,
          fault: { type: "status", status: 404, body: "<Error><Code>NoSuchBucket</Code></Error>" },
        }]),
    ],
  ];
  for (const [how, begin] of outages) {
    it(`for any number of ticks kills no key and evicts none: ${how}`, async () => {
      const fetch = faultyFetch(globalThis.fetch, []);
      const store = stack.store({ datastore: stack.datastore({ fetch }) });
      await store.tick();
      await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
      await store.dirty(keys);
      begin(fetch);
      for (let i = 0; i < 10; i++) {
        const report = await store.tick({ ...NOW, nattempts: 2 });
        assertEquals([report.claimed, report.failed, report.dead, report.frozen], [5, 5, 0, 0]);
        assert(report.errors.every(({ code }) => code === "UNAVAILABLE"));
      }
      for (const key of keys) assertEquals((await stack.record(key))!.attempts, 0);
      assertEquals([await store.deadLetters(), (await store.status()).dirty], [[], 5]);
      assertEquals(Object.values((await store.evict(keys)).kept), Array(5).fill("dirty"));
      fetch.setPlan([]);
      assertEquals((await store.tick()).frozen, 5);
    });
  }

  for (
    const [how, error] of [
      ["a plain Error", () => new Error("no disk")],
      [
        "UNAVAILABLE that only a person can end",
        () => new TundraError("UNAVAILABLE", "no rights", { retryable: false }),
      ],
    ] as const
  ) {
    it(`${how} of a datastore of one's own is its trouble too`, async () => {
      const broken: Datastore = {
        putKey: (name) => isOwner(name) ? Promise.resolve(true) : Promise.reject(error()),
        fetchKeys: (names) => Promise.resolve(names.map((name) => new TundraError("NOT_FOUND", name))),
      };
      const store = stack.store({ datastore: broken });
      await stack.raw("SET", "k", "value");
      await store.dirty("k");
      for (let i = 0; i < 5; i++) assertEquals((await store.tick({ ...NOW, nattempts: 1 })).dead, 0);
      assertEquals((await stack.record("k"))!.attempts, 0);
    });
  }

  it("kills no suspect either: what its lone attempts counted is taken back", async () => {
    const fetch = faultyFetch(globalThis.fetch, []);
    const store = stack.store({ datastore: stack.datastore({ fetch }) });
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    for (const key of keys) await stack.raw("ZADD", "tundra:default:dirty", "1000.5", key); // a tick died over them
    fetch.setPlan([{ times: Infinity, fault: { type: "status", status: 503 } }]);
    for (let i = 0; i < 5; i++) {
      const report = await store.tick({ ...NOW, nattempts: 2 });
      assertEquals([report.claimed, report.dead, report.frozen], [5, 0, 0]);
      for (const key of keys) {
        assertEquals([(await stack.record(key))!.attempts, (await stack.score("dirty", key))! % 1], [0, 0.5]);
      }
    }
    fetch.setPlan([]);
    assertEquals((await store.tick()).frozen, 5);
  });

  it("makes a tick claim no further batch", async () => {
    const fetch = faultyFetch(globalThis.fetch, []);
    const store = stack.store({ datastore: stack.datastore({ fetch }) });
    await store.tick();
    const many = names(100);
    await stack.raw("MSET", ...many.flatMap((key) => [key, "value"]));
    await store.dirty(many);
    fetch.setPlan([{ times: Infinity, fault: { type: "status", status: 503 } }]);
    const report = await store.tick({ batchKeys: 10 });
    assert(report.claimed <= 30, `claimed ${report.claimed}`);
    assertEquals(report.done, false);
  });
});

describe("a tick that is slower than its lease", () => {
  const stack = withArchive({ packBytes: 0 });
  before(() => setPlatform({ ...PLATFORM, leastDurationMs: 1 }));
  after(() => setPlatform());
  beforeEach(() => stack.flush());

  /** A store whose uploads take so long (`Infinity`: they hang); `heeds` its signal, as S3's does, or not. */
  function slow(ms: number, heeds: (name: string) => boolean): TundraStore {
    const archive = stack.datastore();
    return stack.store({
      datastore: hooked(archive, {
        async putKey(name, value, options) {
          if (isOwner(name)) return await archive.putKey(name, value, options);
          await new Promise<void>((resolve, reject) => {
            if (heeds(name)) options?.signal?.addEventListener("abort", () => reject(options.signal!.reason));
            if (ms < Infinity) setTimeout(resolve, ms);
          });
          return await archive.putKey(name, value, heeds(name) ? options : undefined);
        },
      }),
    });
  }

  it("kills no key: what it could not archive in time is due again, whole batches of it", async () => {
    const keys = names(12);
    const store = slow(150, () => true);
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    const loop = async () => {
      for (let i = 0; i < 10 && (await store.status()).dirty > 0; i++) {
        const report = await store.tick({ leaseMs: 1000, nthreads: 1, nattempts: 2, ...NOW });
        assertEquals(report.dead, 0);
      }
    };
    await Promise.all([loop(), loop()]);
    assertEquals([await store.deadLetters(), (await store.evict(keys)).evicted.length], [[], 12]);
  });

  it("kills no key of a pack whose upload outlasts the lease: they come alone, and are archived", async () => {
    const archive = stack.datastore();
    const store = stack.store({
      packBytes: 1_048_576,
      datastore: hooked(archive, {
        async putKey(name, value, options) {
          if (isPack(name)) await sleep(1_200);
          return await archive.putKey(name, value, options);
        },
      }),
    });
    const keys = names(12);
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    const first = await store.tick({ leaseMs: 1000, nattempts: 1, ...NOW });
    assertEquals([first.claimed, first.frozen, first.dead, first.done], [12, 0, 0, false]);
    for (const key of keys) {
      assertEquals([key, (await stack.score("dirty", key))! % 1, (await stack.record(key))!.attempts], [key, 0, 0]);
    }
    await stack.raw("ZADD", "tundra:default:dirty", ...keys.flatMap((key) => ["1000.5", key])); // as if it had died
    assertEquals((await store.tick({ leaseMs: 1000, nattempts: 2, ...NOW })).frozen, 12);
    assertEquals([await store.deadLetters(), (await store.evict(keys)).evicted.length], [[], 12]);
  });

  it("kills no key whose upload hangs, tick after tick: each gives it back itself, whether or not its datastore heeds the signal", async () => {
    const store = slow(Infinity, (name) => name.startsWith("default/heeded/"));
    await store.tick();
    await stack.raw("MSET", "heeded", "1", "unheeded", "2");
    await store.dirty("heeded", "unheeded");
    for (let i = 0; i < 2; i++) {
      const report = await store.tick({ leaseMs: 1000, nattempts: 1, ...NOW });
      assertEquals([report.claimed, report.failed, report.dead, report.frozen], [2, 2, 0, 0]);
      assertEquals(report.errors.map(({ code }) => code), ["UNAVAILABLE", "UNAVAILABLE"]);
      for (const key of ["heeded", "unheeded"]) {
        assertEquals((await stack.score("dirty", key))! % 1, 0); // no lease that a tick died over
        assertEquals((await stack.record(key))!.attempts, 0);
      }
    }
    assertEquals((await stack.store().tick()).frozen, 2);
  });

  it("gives what it could not archive in time to whoever comes next, at once, and changes nothing when it comes back", async () => {
    const stuck = slow(1_500, () => false);
    await stuck.tick();
    await stack.raw("SET", "k", "value");
    await stuck.dirty("k");
    const late = stuck.tick({ leaseMs: 500 });
    await sleep(600);
    assertEquals((await stack.store().tick()).frozen, 1);
    await late;
    const before = await stack.everything();
    await sleep(1_200); // its upload ends now
    assertEquals(await stack.everything(), before);
  });

  it("kills no key if the datastore does not heed its signal, and another process ticks as well", async () => {
    const store = slow(1_200, () => false);
    await store.tick();
    await stack.raw("SET", "k", "value");
    await store.dirty("k");
    const end = performance.now() + 2_500;
    const loop = async () => {
      while (performance.now() < end) {
        const { dead } = await store.tick({ leaseMs: 1000, ...NOW });
        assertEquals(dead, 0);
        await sleep(20);
      }
    };
    await Promise.all([loop(), sleep(300).then(loop)]);
    assertEquals(await store.deadLetters(), []);
    // one may be counted if this machine was too busy to say in time that the lease has ended
    assertLess((await stack.record("k"))!.attempts, 2);
    await stack.endBackoffs();
    assertEquals((await stack.store().tick()).frozen, 1);
  });
});
