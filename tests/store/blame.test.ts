/** The attribution of failures: to one key of a batch, or to the store; and which of them cost an attempt. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { faultyFetch } from "../../dev/servers/faults.ts";
import { type Freezer, TundraError, type TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { PLATFORM, setPlatform } from "../../src/base/platform.ts";
import { MAX_ODD } from "../../src/scripts/fail.ts";
import { describePackings, hooked, isOwner, names, withArchive } from "../support/fixtures.ts";

const NOW = { retryBackoffMs: 0 };
const { dirty: DIRTY } = redisKeys("default");

/** Bytes that nothing compresses. */
function noise(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

describe("a key that Redis does not show", () => {
  const stack = withArchive({ upstash: { record: true } });
  beforeEach(() => stack.flush());

  /** A batch of 51: `bad` in its middle. */
  async function batch(store: TundraStore, bad: string[] = ["bad"]): Promise<string[]> {
    const healthy = names(51 - bad.length);
    await store.tick();
    const all = [...healthy.slice(0, 20), ...bad, ...healthy.slice(20)];
    await stack.raw("MSET", ...all.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(all);
    for (const [i, key] of all.entries()) await stack.raw("ZADD", DIRTY, 1000 + i, key);
    return healthy;
  }

  /** Redis refuses DUMP of these keys: an error in their slots. */
  function refusing(bad: (key: string) => boolean): typeof fetch {
    return async (input, init) => {
      const response = await fetch(input, init);
      if (!String(input).endsWith("/multi-exec")) return response;
      const commands = JSON.parse(String(init!.body)) as string[][];
      const answers = await response.json() as unknown[];
      const error = "NOPERM this user has no permissions to run the 'dump' command";
      return Response.json(
        answers.map((one, i) => commands[i]![0] === "DUMP" && bad(commands[i]![1]!) ? { error } : one),
      );
    };
  }

  it("in its slot: the others of its batch are archived by the same tick, it is dead after its attempts", async () => {
    const store = stack.store({ redis: { fetch: refusing((key) => key === "bad") } });
    const healthy = await batch(store);
    const first = await store.tick(NOW);
    assertEquals([first.claimed, first.frozen, first.failed, first.errors.length], [51, 50, 1, 1]);
    assertEquals([first.errors[0]!.key, first.errors[0]!.attempt], ["bad", 1]);
    assertStringIncludes(first.errors[0]!.message, "NOPERM");
    assertEquals((await store.tick(NOW)).dead, 0); // alone in its batch: Redis shows others
    assertEquals((await store.tick(NOW)).dead, 1);
    assertEquals((await store.evict(healthy)).evicted.length, 50);
    assertEquals(await stack.get("bad"), "value of bad");
  });

  it("and no other either: that is not the keys' fault, nothing counts, and it is said once", async () => {
    const store = stack.store({ redis: { fetch: refusing(() => true) } });
    await batch(store);
    for (let i = 0; i < 4; i++) {
      const report = await store.tick({ ...NOW, nattempts: 1 });
      assertEquals([report.frozen, report.failed, report.dead], [0, 51, 0]);
      assertEquals(report.errors.map(({ key, code }) => [key, code]), [["", "UNAVAILABLE"]]);
    }
    assertEquals((await stack.record("bad"))!.attempts, 0);
    assertEquals((await stack.store().tick()).frozen, 51);
  });

  /** A gateway that answers 502 to whatever asks for these keys' bytes. */
  function gateway(bad: string[]): ReturnType<typeof faultyFetch> {
    return faultyFetch(
      globalThis.fetch,
      ({ url, body }) =>
        url.endsWith("/multi-exec") && bad.some((key) => body.includes(`["DUMP","${key}"]`))
          ? { type: "status", status: 502 }
          : undefined,
    );
  }

  for (const bad of [["bad"], ["bad", "worse"]]) {
    it(`as a gateway fails over ${bad.length} of them: halved until alone, others archived, dead after their attempts`, async () => {
      const faulty = gateway(bad);
      const store = stack.store({ redis: { fetch: faulty, retry: { retries: 2, backoff: () => 1 } } });
      const healthy = await batch(store, bad);
      const first = await store.tick(NOW);
      assertEquals([first.frozen, first.failed, first.dead], [healthy.length, bad.length, 0]);
      assertEquals(first.errors.map(({ key, attempt }) => [key, attempt]), bad.map((key) => [key, 1]));
      assertLess(first.subrequests, healthy.length + 40);
      let dead = 0;
      for (let i = 0; i < 4 && dead < bad.length; i++) dead += (await store.tick(NOW)).dead;
      assertEquals([dead, await stack.members("dead")], [bad.length, bad]);
      assertEquals((await store.evict(healthy)).evicted.length, healthy.length);
    });

    for (const maxSubrequests of [13, 45]) {
      it(`the same, ${bad.length} of them, in ${maxSubrequests} requests a tick: the others are archived, and no more die`, async () => {
        const store = stack.store({ redis: { fetch: gateway(bad), retry: false } });
        const healthy = await batch(store, bad);
        for (let i = 0; i < 150 && (await stack.members("dirty")).length > 0; i++) {
          const report = await store.tick({ ...NOW, maxSubrequests });
          assert(report.subrequests <= maxSubrequests);
        }
        assertEquals([await stack.members("dead"), await stack.members("dirty")], [bad, []]);
        assertEquals((await store.evict(healthy)).evicted.length, healthy.length);
      });
    }
  }

  it("as Redis is away in the middle of a tick: nothing counts, and it is said once", async () => {
    const faulty = faultyFetch(
      globalThis.fetch,
      ({ url }) => url.endsWith("/multi-exec") ? { type: "status", status: 502 } : undefined,
    );
    const store = stack.store({ redis: { fetch: faulty, retry: false } });
    await batch(store);
    const before = faulty.log.length;
    const report = await store.tick({ ...NOW, nattempts: 1 });
    assertEquals([report.failed, report.dead, report.errors.length, report.errors[0]!.key], [51, 0, 1, ""]);
    assertEquals(faulty.log.length - before, 4); // claim, snapshot, one question, fail
    assertEquals((await stack.store().tick()).frozen, 51);
  });

  it("as its value is too large for a reply, among 300 small ones: a few requests more, not one for each", async () => {
    const store = stack.store({ redis: { maxReplyBytes: 500_000 } });
    const keys = names(300);
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "small"]));
    await stack.raw("SET", "k:142", noise(600_000));
    await store.dirty(keys);
    await stack.server.resetCounters();
    const report = await store.tick();
    assertEquals([report.frozen, report.failed, report.errors], [300, 0, []]);
    assertLess(stack.server.requests, 40);
    const reads = stack.server.log.filter(({ path }) => path === "/multi-exec").length;
    assertLess(reads, 25);
    await stack.server.resetCounters();
    await store.dirty(keys);
    assertEquals((await store.tick()).frozen, 300);
    assertLess(stack.server.requests, 16); // its record tells that it is large
  });

  it("as its value fits alone but not beside others: batches grow back after it", async () => {
    const store = stack.store({ redis: { maxReplyBytes: 500_000 } });
    const keys = names(300);
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "small"]));
    await stack.raw("SET", "k:142", noise(370_000));
    await store.dirty(keys);
    await stack.server.resetCounters();
    const report = await store.tick(NOW);
    assertEquals([report.frozen, report.failed], [300, 0]);
    assertLess(stack.server.requests, 32);
  });
});

describePackings("what the archive refuses", (packBytes) => {
  const stack = withArchive({ packBytes });
  beforeEach(() => stack.flush());

  async function dirtyKeys(keys: string[], store: TundraStore): Promise<void> {
    await store.tick();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, `value of ${key}`]));
    await store.dirty(keys);
  }

  /** S3 that refuses objects; `holds` tells if an object, which no freezer has changed, holds the value of a key. */
  function refusing(refused: (holds: (key: string) => boolean) => Error | undefined) {
    const archive = stack.datastore();
    return hooked(archive, {
      putKey(name, value, options) {
        const text = new TextDecoder("latin1").decode(value);
        const error = isOwner(name) ? undefined : refused((key) => text.includes(`value of ${key}`));
        return error ? Promise.reject(error) : archive.putKey(name, value, options);
      },
    });
  }

  for (const code of ["UNSUPPORTED", "TOO_LARGE", "CORRUPT", "UNAVAILABLE"] as const) {
    it(`of every object, ${code}: its own trouble: nothing dies, however often, and each tick says so once`, async () => {
      let refuses = true;
      const datastore = refusing(() => refuses ? new TundraError(code, "Content-MD5 is required") : undefined);
      const store = stack.store({ datastore });
      await dirtyKeys(names(7), store);
      for (let i = 0; i < 5; i++) {
        const told: TundraError[] = [];
        const report = await store.tick({ ...NOW, nattempts: 2, onError: (error) => told.push(error) });
        assertEquals([report.frozen, report.failed, report.dead], [0, 7, 0]);
        assertEquals(report.errors.map((each) => [each.key, each.code, each.attempt]), [["", code, 0]]);
        assertStringIncludes(report.errors[0]!.message, "7 keys: Content-MD5 is required");
        assertEquals(told.map((error) => [error.code, error.keys]), [[code, []]]);
      }
      for (const key of names(7)) assertEquals((await stack.record(key))!.attempts, 0);
      refuses = false;
      assertEquals((await store.tick()).frozen, 7);
    });
  }

  it("of one object while it takes others: that key's own, and it is dead after its attempts", async () => {
    for (const healthy of [3, 60]) {
      await stack.flush();
      const store = stack.store({
        freezer: null,
        datastore: refusing((holds) => holds("bad") ? new TundraError("TOO_LARGE", "too much") : undefined),
      });
      await dirtyKeys([...names(healthy), "bad"], store);
      const report = await store.tick({ ...NOW, nattempts: 1 });
      assertEquals([report.frozen, report.failed, report.dead, report.errors[0]!.key], [healthy, 1, 1, "bad"]);
    }
  });

  it("of one object, whichever halves of a pack it is in: that key's own, and the others are archived", async () => {
    setPlatform({ ...PLATFORM, random: () => 0 }); // halves keep their order
    try {
      for (const keys of [["bad", ...names(63)], [...names(63), "bad"]]) {
        await stack.flush();
        const store = stack.store({
          freezer: null,
          datastore: refusing((holds) => holds("bad") ? new TundraError("TOO_LARGE", "too much") : undefined),
        });
        await dirtyKeys(keys, store);
        for (const [i, key] of keys.entries()) await stack.raw("ZADD", DIRTY, 1000 + i, key);
        const report = await store.tick({ ...NOW, nattempts: 1 });
        assertEquals([report.frozen, report.failed, report.dead], [63, 1, 1]);
      }
    } finally {
      setPlatform();
    }
  });

  it("of some objects while it takes others: those keys' own, and no other is lost for them", async () => {
    const bad = names(4, "bad");
    const store = stack.store({
      freezer: null,
      datastore: refusing((holds) => bad.some(holds) ? new TundraError("TOO_LARGE", "too much") : undefined),
    });
    await dirtyKeys([...names(60), ...bad], store);
    const first = await store.tick({ ...NOW, nattempts: 2 });
    assertEquals([first.frozen, first.failed, first.dead], [60, 4, 0]);
    await store.dirty("k:0"); // if it takes nothing else, that is its own trouble
    const second = await store.tick({ ...NOW, nattempts: 2 });
    assertEquals([second.frozen, second.failed, second.dead], [1, 4, 4]);
    assertEquals([await stack.members("dead"), (await store.status()).dirty], [bad, bad.length]);
    assertEquals((await store.evict(names(60))).evicted, names(60));
  });

  it("of a lone object: the datastore's own word decides", async () => {
    for (const [code, dead] of [["TOO_LARGE", 1], ["UNAVAILABLE", 0]] as const) {
      await stack.flush();
      const store = stack.store({ datastore: refusing(() => new TundraError(code, "no", { retryable: false })) });
      await dirtyKeys(["k"], store);
      assertEquals((await store.tick({ ...NOW, nattempts: 1 })).dead, dead);
    }
  });

  it(`with a trouble of its own for one key, tick after tick, while others are stored: that key's own after ${MAX_ODD}`, async () => {
    const store = stack.store({
      freezer: null,
      datastore: refusing((holds) => holds("bad") ? new TundraError("UNAVAILABLE", "HTTP 500") : undefined),
    });
    await dirtyKeys(["bad", "good"], store);
    const died: number[] = [];
    for (let i = 1; i <= MAX_ODD + 2; i++) {
      await store.dirty("good");
      const report = await store.tick(NOW);
      assertEquals([i, report.frozen, report.failed], [i, 1, 1]);
      if (report.dead > 0) died.push(i);
    }
    assertEquals(died, [MAX_ODD + 2]);
    const [letter] = await store.deadLetters();
    assertEquals([letter!.key, letter!.code], ["bad", "UNAVAILABLE"]);
    assertEquals(await store.retryDead("bad"), 1);
    assertEquals((await stack.record("bad"))!.error, "");
  });

  it("in the middle of a batch, as it goes away: kills no healthy key, however often", async () => {
    let left = 0;
    const store = stack.store({ datastore: refusing(() => --left < 0 ? new Error("away") : undefined) });
    await dirtyKeys(names(40), store);
    const batchKeys = packBytes > 0 ? 4 : 100;
    for (let i = 0; i < 2 * MAX_ODD; i++) {
      left = packBytes > 0 ? 5 : 25;
      await store.dirty(names(40));
      const report = await store.tick({ ...NOW, nattempts: 1, batchKeys });
      assertEquals([report.dead, report.failed > 0, report.frozen > 0], [0, true, true]);
    }
    left = Infinity;
    assertEquals([(await store.tick()).failed, (await store.status()).dirty], [0, 0]);
  });

  it("what a freezer throws counts as a datastore's: a key service that is away kills no key", async () => {
    let away = true;
    const service: Freezer = {
      id: "service",
      freeze: (bytes) => away ? Promise.reject(new Error("connection refused")) : Promise.resolve(bytes),
      thaw: (bytes) => bytes,
    };
    const store = stack.store({ freezer: service });
    for (const keys of [names(5), ["lone"]]) {
      away = true;
      await dirtyKeys(keys, store);
      for (let i = 0; i < 5; i++) {
        const report = await store.tick({ ...NOW, nattempts: 1 });
        assertEquals([report.failed, report.dead, report.errors[0]!.code], [keys.length, 0, "UNAVAILABLE"]);
      }
      away = false;
      assertEquals((await store.tick()).frozen, keys.length);
    }
  });
});
