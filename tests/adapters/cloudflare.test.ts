/** A Worker's cron trigger. What needs workerd itself is in tests/runtimes. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertThrows } from "@std/assert";
import { TundraError, type TundraErrorCode, type TundraStore } from "../../mod.ts";
import { r2Datastore, scheduledHandler, type ScheduledOptions } from "../../src/adapters/cloudflare.ts";
import { names, PACKINGS, withArchive } from "../support/fixtures.ts";

const EVENT = { cron: "* * * * *", scheduledTime: 1_700_000_000_000 };

function hasCode(error: unknown, code: TundraErrorCode): void {
  assertInstanceOf(error, TundraError);
  assertEquals(error.code, code);
}

describe("scheduledHandler", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** Runs one event; its log line, parsed, and what it asked the platform to wait for. */
  async function trigger(store: (env: string) => TundraStore | Promise<TundraStore>, options: ScheduledOptions = {}) {
    const lines: string[] = [];
    const waits: Promise<unknown>[] = [];
    const handle = scheduledHandler(store, { log: (line) => lines.push(line), ...options });
    const ended = handle(EVENT, "the bindings", { waitUntil: (promise) => waits.push(promise) });
    const outcome = await ended.then(() => "done", (error) => error);
    assertEquals(lines.length, 1);
    assertEquals(waits.length, 1);
    assertEquals(await waits[0]!.then(() => "done", (error) => error), outcome);
    assert(!lines[0]!.includes("\n"));
    return { outcome, logged: JSON.parse(lines[0]!), line: lines[0]! };
  }

  /** Keys that are dirty, of an index with an id, in which lost records were searched for. */
  async function dirtyKeys(n: number, store: TundraStore): Promise<void> {
    const keys = names(n, "key");
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
    await store.dirty(keys);
    await store.tick({ maxKeys: 1 });
  }

  it("ticks with the store of the event's bindings and logs the report as one line of JSON", async () => {
    await stack.raw("MSET", "a", "1", "b", "2");
    await stack.store().dirty("a", "b");
    const envs: string[] = [];
    const { outcome, logged } = await trigger((env) => {
      envs.push(env);
      return stack.store();
    });
    assertEquals([outcome, envs], ["done", ["the bindings"]]);
    const { tundra, ok, cron, at, claimed, frozen, done, errors } = logged;
    assertEquals({ tundra, ok, cron, at, claimed, frozen, done, errors }, {
      ...{ tundra: "tick", ok: true, cron: "* * * * *", at: EVENT.scheduledTime },
      ...{ claimed: 2, frozen: 2, done: true, errors: [] },
    });
  });

  it("makes at most 45 requests in all, so that the free plan's 50 suffice, and as many as it is told", async () => {
    const store = stack.store({ packBytes: 0 });
    await dirtyKeys(200, store);
    const requests = () => stack.server.requests + stack.s3.requests;
    let before = requests();
    const { logged } = await trigger(() => stack.store({ packBytes: 0 }));
    assertEquals(logged.subrequests, requests() - before);
    assert(logged.subrequests <= 45 && logged.frozen >= 34, JSON.stringify(logged));
    before = requests();
    const more = await trigger(() => stack.store({ packBytes: 0 }), { maxSubrequests: 100 });
    assert(requests() - before <= 100 && more.logged.frozen >= 80, JSON.stringify(more.logged));
  });

  it("archives at least 4,000 small keys with 45 requests, in packs", async () => {
    await dirtyKeys(6_000, stack.store());
    const before = stack.server.requests + stack.s3.requests;
    const { logged } = await trigger(() => stack.store());
    assertEquals(logged.subrequests, stack.server.requests + stack.s3.requests - before);
    assert(logged.subrequests <= 45 && logged.frozen >= 4_000, JSON.stringify(logged));
    assertEquals(logged.errors, []);
  });

  it("lets a tick end before the next minute's event, and when it is told", async () => {
    for (const [given, deadlineMs] of [[{}, 50_000], [{ deadlineMs: 5_000 }, 5_000]] as const) {
      let seen: number | undefined;
      const tick = (options: { deadlineMs: number }) =>
        Promise.resolve({ errors: [], seen: seen = options.deadlineMs });
      const handle = scheduledHandler(() => ({ tick }) as unknown as TundraStore, { log: () => {}, ...given });
      await handle({}, {}, { waitUntil: () => {} });
      assertEquals(seen, deadlineMs);
    }
  });

  for (const [packBytes, how] of PACKINGS) {
    it(`drains a backlog over several events, some of which overlap; ${how}`, async () => {
      const makeStore = () => stack.store({ packBytes });
      const store = makeStore();
      const keys = names(150, "key");
      await stack.raw("MSET", ...keys.flatMap((key) => [key, "value"]));
      await store.dirty(keys);
      let events = 0;
      while ((await store.status()).dirty > 0 && events < 20) {
        await Promise.all([trigger(makeStore), trigger(makeStore)]);
        events += 2;
      }
      assertEquals([(await store.status()).dirty, (await stack.versions()).length], [0, 150]);
    });
  }

  it("logs a failure as one line without secrets, and fails the event", async () => {
    const token = "token-of-a-database-that-is-away";
    const { outcome, logged, line } = await trigger(() =>
      stack.store({ redis: { url: "http://127.0.0.1:9", token, retry: false } })
    );
    hasCode(outcome, "UNAVAILABLE");
    assertEquals([logged.tundra, logged.ok, logged.code], ["tick", false, "UNAVAILABLE"]);
    assert(!line.includes(token));
  });

  it("logs the first five errors of a tick", async () => {
    const archive = stack.datastore();
    const putKey: typeof archive.putKey = (name, ...rest) =>
      name.includes("key") ? Promise.reject(new Error("no")) : archive.putKey(name, ...rest);
    const store = stack.store({ packBytes: 0, datastore: { ...archive, putKey } });
    await trigger(() => stack.store()); // the archive has its owner object
    const keys = Array.from({ length: 9 }, (_, i) => `key ${i}`);
    await stack.raw("MSET", ...[...keys, "fine"].flatMap((key) => [key, "value"]));
    await store.dirty(...keys, "fine");
    const { logged } = await trigger(() => store);
    assertEquals([logged.ok, logged.frozen, logged.failed, logged.errors.length], [true, 1, 9, 5]);
  });

  it("outlives a log that throws", async () => {
    const waits: Promise<unknown>[] = [];
    const log = () => {
      throw new Error("the log is full");
    };
    const handle = scheduledHandler(() => stack.store(), { log });
    await handle(EVENT, {}, { waitUntil: (promise) => waits.push(promise) });
    assertEquals(waits.length, 1);
  });

  it("refuses what is no function and options that a tick refuses", () => {
    const cases: [unknown, unknown][] = [
      [stack.store(), {}],
      [undefined, {}],
      [() => stack.store(), { maxSubrequests: 5 }],
      [() => stack.store(), { log: "console" }],
      [() => stack.store(), { maxKey: 5 }],
    ];
    for (const [store, options] of cases) {
      hasCode(
        assertThrows(() => scheduledHandler(store as () => TundraStore, options as ScheduledOptions)),
        "BAD_ARGUMENT",
      );
    }
  });
});

describe("r2Datastore", () => {
  /** A binding whose calls are answered one after the other; a function is called, an Error thrown. */
  function bucket(...answers: unknown[]) {
    const calls: string[] = [];
    const answer = (name: string) => (...args: unknown[]) => {
      calls.push(`${name} ${JSON.stringify(args[0])}`);
      const next = answers.shift();
      if (typeof next === "function") return next();
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
    };
    const names = ["put", "get", "head", "delete", "list"] as const;
    const binding = Object.fromEntries(names.map((name) => [name, answer(name)])) as unknown;
    return { calls, binding: binding as Parameters<typeof r2Datastore>[0] };
  }
  const internal = () => new Error("put: We encountered an internal error. Please try again. (10001)");

  it("tries again what R2 could not do, and counts each attempt", async () => {
    const { calls, binding } = bucket(internal(), internal(), {});
    let requests = 0;
    assertEquals(await r2Datastore(binding).putKey("a/1", new Uint8Array(3), { onRequest: () => requests++ }), true);
    assertEquals([calls.length, requests], [3, 3]);
  });

  it("says UNAVAILABLE with R2's message when it gives up", async () => {
    const { calls, binding } = bucket(internal(), internal());
    const error = await assertRejects(() => r2Datastore(binding, { retries: 1 }).putKey("a/1", new Uint8Array(3)));
    hasCode(error, "UNAVAILABLE");
    assert((error as Error).message.endsWith("(10001)") && (error as TundraError).retryable);
    assertEquals(calls.length, 2);
  });

  it("does not try again what R2 refuses for the object's sake", async () => {
    const large = bucket(new Error("put: Your proposed upload exceeds the maximum allowed object size. (100100)"));
    const error = await assertRejects(() => r2Datastore(large.binding).putKey("a/1", new Uint8Array(3)));
    assertEquals([(error as TundraError).code, (error as TundraError).retryable, large.calls.length], [
      "TOO_LARGE",
      false,
      1,
    ]);
  });

  it("keeps one failure in its slot, and tells absent from unknown", async () => {
    const found = { arrayBuffer: () => Promise.resolve(new Uint8Array([7]).buffer) };
    const { binding } = bucket(found, internal(), null);
    const slots = await r2Datastore(binding, { retries: 0, concurrency: 1 }).fetchKeys(["a", "b", "c"]);
    assertEquals([slots[0], (slots[1] as TundraError).code, (slots[2] as TundraError).code], [
      new Uint8Array([7]),
      "UNAVAILABLE",
      "NOT_FOUND",
    ]);
  });

  it("asks R2 for a range, and believes exactly as many bytes as it asked for", async () => {
    const of = (length: number) => ({ arrayBuffer: () => Promise.resolve(new Uint8Array(length).fill(7).buffer) });
    const behind = new Error("get: The requested range is not satisfiable (10039)");
    const { calls, binding } = bucket(of(3), of(2), of(10), null, behind, internal(), of(3));
    const ranges: unknown[] = [];
    const get = (name: string, options: unknown) => (ranges.push(options), binding.get(name));
    const names = ["a", "short", "whole", "none", "behind", "again"];
    const store = r2Datastore({ ...binding, get } as typeof binding, { retries: 1, concurrency: 1 });
    const slots = await store.fetchRanges(names.map((name) => ({ name, offset: 7, length: 3 })));
    assertEquals(calls.length, 7); // only what R2 could not do was tried again
    assertEquals(ranges, calls.map(() => ({ range: { offset: 7, length: 3 } })));
    assertEquals(
      slots.map((slot) => slot instanceof TundraError ? [slot.code, slot.retryable] : slot),
      [
        new Uint8Array(3).fill(7),
        ["CORRUPT", false],
        ["UNAVAILABLE", false],
        ["NOT_FOUND", false],
        ["CORRUPT", false],
        new Uint8Array(3).fill(7),
      ],
    );
  });

  it("ends with the signal, also while R2 hangs", async () => {
    const { binding } = bucket(() => new Promise(() => {}));
    const controller = new AbortController();
    const put = r2Datastore(binding).putKey("a/1", new Uint8Array(3), { signal: controller.signal });
    await Promise.resolve();
    controller.abort(new Error("the lease has ended"));
    assertEquals((await assertRejects(() => put) as Error).message, "the lease has ended");
  });

  it("makes no call once the budget is used up", async () => {
    const { calls, binding } = bucket(null, null, null);
    let left = 2;
    const onRequest = () => {
      if (left-- === 0) throw new Error("no requests left");
    };
    const error = await assertRejects(() =>
      r2Datastore(binding, { concurrency: 1 }).fetchKeys(["a", "b", "c"], { onRequest })
    );
    assertEquals([(error as Error).message, calls.length], ["no requests left", 2]);
  });

  it("never passes over the rest of a listing in silence", async () => {
    const { binding } = bucket({ objects: [{ key: "a" }], truncated: true });
    hasCode(await assertRejects(() => r2Datastore(binding, { retries: 0 }).listKeys("")), "UNAVAILABLE");
  });

  it("refuses what is no bucket, and options out of range, before any call", () => {
    const { binding } = bucket();
    const cases: [unknown, unknown][] = [
      [undefined, {}],
      [{ put: () => {} }, {}],
      [binding, null],
      [binding, { prefix: "a//b" }],
      [binding, { prefix: "/a" }],
      [binding, { concurrency: 0 }],
      [binding, { retries: 11 }],
    ];
    for (const [given, options] of cases) {
      hasCode(assertThrows(() => r2Datastore(given as typeof binding, options as object)), "BAD_ARGUMENT");
    }
  });
});
