import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertIsError, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { memoryDatastore } from "../../src/datastores/memory.ts";
import type { EvalQueue } from "../../src/dirty_in.ts";
import { tundraStore } from "../../src/store.ts";
import type { TundraOptions } from "../../src/store_interface.ts";
import { EMPTY, OLD_VER, withIndex } from "../support/index.ts";
import { type Stack, withStack } from "../support/stack.ts";

const storeOn = (stack: Stack, options: Partial<TundraOptions> = {}) =>
  tundraStore(memoryDatastore(), { redis: { ...stack.connection, retry: false }, ...options });

async function rejects(act: () => Promise<unknown>): Promise<TundraError> {
  const error = await assertRejects(act);
  assertIsError(error, TundraError);
  return error as TundraError;
}

/** The part in which `dirty` and `exec` must agree. */
const facts = ({ code, message, keys, causes, retryable }: TundraError) => ({
  code,
  message,
  keys,
  retryable,
  causes: Object.entries(causes).map(([key, { message }]) => [key, message]),
});

/** The scripts that were sent, each its first line. */
const shebangs = (stack: Stack) =>
  stack.server.log.flatMap(({ commands }) =>
    commands.filter(([name]) => name!.toUpperCase() === "EVAL").map(([, source]) => source!.split("\n")[0]!)
  );

describe("dirtyIn", () => {
  const stack = withStack({ upstash: { record: true } });
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  for (const [kind, path] of [["pipeline", "/pipeline"], ["multi", "/multi-exec"]] as const) {
    describe(`on a ${kind}`, () => {
      it("marks in the same request, and the results are those of the other commands", async () => {
        const store = storeOn(stack);
        const queue = store.redis[kind]();
        queue.set("a", { some: "json" });
        queue.hset("h", { field: 1 });
        store.dirtyIn(queue, "a", "h");
        queue.get("a");
        assertEquals(await queue.exec(), ["OK", 1, { some: "json" }]);
        assertEquals([stack.server.requests, stack.server.log[0]!.path], [1, path]);
        const { rev, touch } = await t.readRecord("a");
        assertEquals(await t.readRecord("a"), { ...EMPTY, rev, touch: Math.floor(rev / 1000) });
        assertEquals(await t.scores("dirty"), { a: String(touch), h: String(touch) });
      });

      it("holds several marks, first and last ones too, and wraps exec once", async () => {
        const store = storeOn(stack);
        await t.setKeys("before");
        const queue = store.redis[kind]();
        store.dirtyIn(queue, "before");
        const { exec } = queue;
        queue.set("a", "1");
        store.dirtyIn(queue, ["a"]);
        queue.incr("n");
        store.dirtyIn(queue, "n", "a");
        assert(queue.exec === exec);
        assertEquals(await queue.exec(), ["OK", 1]);
        assertEquals(Object.keys(await t.scores("dirty")).sort(), ["a", "before", "n"]);
      });

      it("rejects as dirty would for keys that are missing; the others are marked, the commands took effect", async () => {
        const store = storeOn(stack);
        const queue = store.redis[kind]().set("a", "v");
        store.dirtyIn(queue, "none", "a", "nothing");
        const error = await rejects(() => queue.exec());
        assertEquals([error.code, error.keys], ["MISSING", ["none", "nothing"]]);
        assertEquals(Object.keys(await t.scores("dirty")), ["a"]);
        assertEquals(String(await stack.raw("GET", "a")), "v");
        assertEquals(facts(error), facts(await rejects(() => store.dirty("none", "a", "nothing"))));
      });

      it("rejects as dirty would for a write over an evicted value, which outranks what is missing", async () => {
        const store = storeOn(stack);
        const { record } = await t.evicted("a", "v");
        const queue = store.redis[kind]().set("a", "new");
        store.dirtyIn(queue, "none");
        store.dirtyIn(queue, "a");
        const error = await rejects(() => queue.exec());
        assertEquals([error.code, error.keys], ["CONFLICT", ["none", "a"]]);
        assertEquals([await t.recordText("a"), await t.scores("dirty")], [record, {}]);
        assertEquals(facts(error), facts(await rejects(() => store.dirty("none", "a"))));
      });

      it("overwrites an evicted value at once when it is told so", async () => {
        const store = storeOn(stack);
        await t.evicted("a", "v");
        const before = await t.readRecord("a");
        const queue = store.redis[kind]().set("a", "new");
        store.dirtyIn(queue, { overwrite: true }, "a");
        assertEquals(await queue.exec(), ["OK"]);
        const { rev } = await t.readRecord("a");
        assertEquals(await t.readRecord("a"), { ...before, flag: "r", rev, touch: Math.floor(rev / 1000) });
        assertEquals([stack.server.requests, Object.keys(await t.scores("dirty"))], [1, ["a"]]);
      });

      it("with missing: del takes a key that the command removed as a removal", async () => {
        const store = storeOn(stack);
        await stack.raw("RPUSH", "list", "last");
        await store.dirty("list");
        const queue = store.redis[kind]().lpop("list");
        store.dirtyIn(queue, { missing: "del" }, "list");
        assertEquals(await queue.exec(), ["last"]);
        assertEquals((await t.readRecord("list")).flag, "g");
        await t.evicted("away", "v");
        const blind = store.redis[kind]().lpop("away");
        store.dirtyIn(blind, { missing: "del" }, "away");
        assertEquals((await rejects(() => blind.exec())).code, "CONFLICT");
      });

      it("with keepErrors answers each other command with its result or error", async () => {
        const store = storeOn(stack);
        await stack.raw("SET", "s", "v");
        const fill = () => store.redis[kind]().set("a", "1").lpop("s").get("a");
        const expected = await fill().exec({ keepErrors: true });
        const queue = fill();
        store.dirtyIn(queue, "a");
        assertEquals(await queue.exec({ keepErrors: true }) as unknown, expected as unknown);
        assertEquals((expected as { error?: string }[]).map(({ error }) => error !== undefined), [false, true, false]);
        assertEquals(Object.keys(await t.scores("dirty")), ["a"]);
        const failing = fill();
        store.dirtyIn(failing, "none");
        assertEquals((await rejects(() => failing.exec({ keepErrors: true }))).code, "MISSING");
      });

      it("rejects as without it if another command fails, and marks all the same", async () => {
        const store = storeOn(stack);
        await stack.raw("SET", "s", "v");
        const fill = (queue: ReturnType<typeof store.redis.multi>) => queue.lpop("s").get("s");
        const expected = await assertRejects(() => fill(store.redis[kind]().set("a", "1")).exec()) as Error;
        const queue = store.redis[kind]().set("a", "1");
        store.dirtyIn(queue, "a");
        const error = await assertRejects(() => fill(queue).exec()) as Error;
        assertEquals([error.name, error.message], [expected.name, expected.message]);
        assertMatch(error.message, /^Command 2 \[ lpop \] failed: WRONGTYPE /);
        assertEquals(Object.keys(await t.scores("dirty")), ["a"]);
      });

      it("throws the mark's error if both fail, with the other as its cause", async () => {
        const store = storeOn(stack);
        await stack.raw("SET", "s", "v");
        const queue = store.redis[kind]();
        store.dirtyIn(queue, "none");
        queue.lpop("s");
        const error = await rejects(() => queue.exec());
        assertEquals([error.code, error.keys], ["MISSING", ["none"]]);
        assertMatch((error.cause as Error).message, /^Command 1 \[ lpop \] failed: WRONGTYPE /);
        assertEquals((error.cause as Error).name, "UpstashError");
      });

      it("names all keys of a mark that Redis refused, and says that the commands took effect: they must not be repeated", async () => {
        const store = storeOn(stack);
        await stack.raw("SET", keys.dirty, "not a sorted set");
        const queue = store.redis[kind]().mset({ a: "1", b: "2" });
        store.dirtyIn(queue, "a", "b");
        const error = await rejects(() => queue.exec());
        assertEquals([error.code, error.keys, error.retryable], ["UNAVAILABLE", ["a", "b"], false]);
        assertMatch(error.causes.a!.message, /^Cannot mark in a pipeline as Redis refused it: WRONGTYPE .*took effect/);
        assertEquals(String(await stack.raw("GET", "b")), "2");
      });

      it("may be repeated if Redis refused the mark and all other commands", async () => {
        const store = storeOn(stack);
        await stack.raw("SET", keys.dirty, "not a sorted set");
        await stack.raw("SET", "a", "not a list");
        const queue = store.redis[kind]().lpush("a", "1");
        store.dirtyIn(queue, "a");
        const error = await rejects(() => queue.exec());
        assertEquals([error.code, error.keys, error.retryable], ["UNAVAILABLE", ["a"], true]);
        assertMatch((error.cause as Error).message, /^Command 1 \[ lpush \] failed: WRONGTYPE /);
      });

      it("takes more than 1,000 keys in one request, and finds the missing ones among them", async () => {
        const store = storeOn(stack);
        const all = Array.from({ length: 2500 }, (_, i) => `k${i}`);
        await t.setKeys(...all);
        const queue = store.redis[kind]().set("x", "1");
        store.dirtyIn(queue, all);
        queue.get("x");
        await stack.server.resetCounters();
        assertEquals(await queue.exec() as unknown[], ["OK", 1]);
        assertEquals([stack.server.requests, shebangs(stack).length], [1, 3]);
        assertEquals(Object.keys(await t.scores("dirty")).length, 2500);
        await stack.raw("DEL", "k3", "k1003", "k2499");
        const again = store.redis[kind]();
        store.dirtyIn(again, ...all);
        assertEquals((await rejects(() => again.exec())).keys, ["k3", "k1003", "k2499"]);
      });

      it("adds no request and 6 commands", async () => {
        const store = storeOn(stack);
        const fill = () => store.redis[kind]().set("a", "1").set("b", "2");
        const run = async (marking: boolean) => {
          const queue = fill();
          if (marking) store.dirtyIn(queue, "a", "b");
          await queue.exec();
        };
        await run(true);
        const without = await t.bill(() => run(false));
        assertEquals(await t.bill(() => run(true)), { requests: 1, billable: without.billable + 6 });
      });

      it("is content with nothing but marks", async () => {
        const store = storeOn(stack, { freezeDelayMs: 5000 });
        await t.setKeys("a");
        const queue = store.redis[kind]();
        store.dirtyIn(queue, "a");
        assertEquals(await queue.exec() as unknown[], []);
        const { touch } = await t.readRecord("a");
        assertEquals(await t.scores("dirty"), { a: String(touch + 5000) });
      });
    });
  }

  it("works as the very first call, then asks for key locking in pipelines, never in a transaction", async () => {
    const store = storeOn(stack);
    const run = async (kind: "pipeline" | "multi") => {
      await stack.server.resetCounters();
      const queue = store.redis[kind]().set("a", "1");
      store.dirtyIn(queue, "a");
      assertEquals(await queue.exec(), ["OK"]);
      return [stack.server.requests, ...shebangs(stack)];
    };
    assertEquals(await run("pipeline"), [1, ""]);
    assertEquals(await run("multi"), [1, ""]);
    await store.dirty("a");
    assertEquals(await run("pipeline"), [1, "#!lua flags=allow-key-locking"]);
    assertEquals(await run("multi"), [1, ""]);
  });

  it("asks to be let in at the memory limit once the server is known to take that flag, as it does after ensureKs", async () => {
    const store = storeOn(stack);
    await store.ensureKs("a");
    for (const [kind, flags] of [["pipeline", "allow-key-locking,allow-oom"], ["multi", "allow-oom"]] as const) {
      await stack.server.resetCounters();
      const queue = store.redis[kind]().set("a", "1");
      store.dirtyIn(queue, "a");
      assertEquals(await queue.exec(), ["OK"]);
      assertEquals(shebangs(stack), [`#!lua flags=${flags}`]);
    }
  });

  it("sends no flag to a queue that does not say whether it is a transaction, and needs no more than three methods", async () => {
    const store = storeOn(stack);
    await t.setKeys("a");
    await store.dirty("a");
    const queued: unknown[][] = [];
    const database = stack.id("").slice(1);
    let execs = 0;
    const queue: EvalQueue = {
      eval: (source, keys, args) => queued.push(["eval", source.split("\n")[0], keys, args]),
      length: () => queued.length,
      exec(options) {
        assertEquals([this === queue, options], [true, { keepErrors: true }]);
        execs++;
        return Promise.resolve([{ result: "first" }, { result: [] }, { error: "ERR third" }, {
          result: [1, "M", ""],
        }]);
      },
    };
    queued.push(["first"]);
    store.dirtyIn(queue, "a");
    queued.push(["third"]);
    store.dirtyIn(queue, { missing: "del", overwrite: true }, "b");
    assertEquals(queued, [
      ["first"],
      ["eval", "", [keys.dirty, keys.dead, keys.stats, keys.id, keys.record("a"), "a"], [
        database,
        0,
        "throw",
        "never",
      ]],
      ["third"],
      ["eval", "", [keys.dirty, keys.dead, keys.stats, keys.id, keys.record("b"), "b"], [database, 0, "del", "now"]],
    ]);
    const error = await rejects(() => queue.exec());
    assertEquals([error.code, error.keys, execs], ["MISSING", ["b"], 1]);
    assertEquals((error.cause as Error).message, "Command 2 [ ? ] failed: ERR third");
  });

  it("names all its keys if the whole request failed, with what exec rejected with as the cause", async () => {
    const store = storeOn(stack);
    const queue = store.redis.multi().set("a", "1").mset({});
    store.dirtyIn(queue, "a");
    store.dirtyIn(queue, "b", "c");
    const error = await rejects(() => queue.exec());
    assertEquals([error.code, error.keys, Object.keys(error.causes)], ["UNAVAILABLE", ["a", "b", "c"], [
      "a",
      "b",
      "c",
    ]]);
    assertEquals((error.cause as Error).name, "UpstashError");
    assertMatch((error.cause as Error).message, /^EXECABORT /);
    const reason = new Error("no network");
    const failing: EvalQueue = { eval: () => {}, length: () => 0, exec: () => Promise.reject(reason) };
    store.dirtyIn(failing, "a");
    const { code, keys: named, cause } = await rejects(() => failing.exec());
    assertEquals([code, named, cause === reason], ["UNAVAILABLE", ["a"], true]);
    assertEquals(await t.everything(), {});
  });

  it("checks its arguments before it queues anything, and queues nothing for no keys", () => {
    const store = storeOn(stack);
    const queue = store.redis.pipeline();
    const { exec } = queue;
    const wrong: [() => void, RegExp][] = [
      [() => store.dirtyIn(queue, "tundra:default:dirty"), /Tundra's own/],
      [() => store.dirtyIn(queue, "a", "\ud800"), /lone surrogate/],
      [() => store.dirtyIn(queue, { missing: "no" } as never, "a"), /missing must be/],
      [() => store.dirtyIn(queue, { overwrite: 1 } as never, "a"), /overwrite must be/],
      [() => store.dirtyIn(queue, { overwrit: true } as never, "a"), /an option must be one of overwrite, missing/],
      [() => store.dirtyIn({} as never, "a"), /the pipeline must be one with eval\(\)/],
      [() => store.dirtyIn(undefined as never, "a"), /the pipeline must be one with eval\(\)/],
    ];
    for (const [act, message] of wrong) {
      const error = assertThrows(act) as TundraError;
      assertEquals(error.code, "BAD_ARGUMENT");
      assertMatch(error.message, message);
    }
    store.dirtyIn(queue);
    store.dirtyIn(queue, []);
    store.dirtyIn(queue, { overwrite: true });
    assertEquals([queue.length(), queue.exec === exec], [0, true]);
  });

  it("never sets or clears a TTL or a byte of the application's keys", async () => {
    const store = storeOn(stack);
    await stack.raw("SET", "a", "v", "PX", 3_600_000);
    await t.setKeys("b");
    const user = await t.userKeys();
    const queue = store.redis.multi();
    store.dirtyIn(queue, { missing: "del" }, "a", "b", "c");
    await queue.exec();
    assertEquals(await t.userKeys(), user);
  });

  it("marks an evicted key as dirty does: nothing to do if the value is away", async () => {
    const store = storeOn(stack);
    const { record } = await t.evicted("a", "v", { ver: OLD_VER });
    const queue = store.redis.pipeline().get("a");
    store.dirtyIn(queue, "a");
    assertEquals([await queue.exec(), await t.recordText("a")], [[null], record]);
  });

  it("reads its reply whatever the client does with replies", async () => {
    for (const options of [{ automaticDeserialization: false }, { responseEncoding: false as const }]) {
      const store = storeOn(stack, { redis: { ...stack.connection, ...options } });
      await stack.flush();
      await t.setRecords({ u: "2", e: { ver: OLD_VER, flag: "e", fp: "f0" } });
      await t.setKeys("e", "ok", "u");
      const queue = store.redis.pipeline();
      store.dirtyIn(queue, "none", "u", "e", "ok");
      const error = await rejects(() => queue.exec());
      assertEquals(
        Object.entries(error.causes).map(([key, cause]) => [key, (cause as TundraError).code]),
        [["none", "MISSING"], ["u", "UNSUPPORTED"], ["e", "CONFLICT"]],
      );
      assertEquals([error.code, Object.keys(await t.scores("dirty"))], ["UNSUPPORTED", ["ok"]]);
    }
  });
});

describe("dirtyIn on a server that refuses key locking", () => {
  const stack = withStack({ upstash: { record: true, keyLocking: false } });
  const t = withIndex(stack);
  beforeEach(() => stack.flush());

  it("works as the very first call and ever after, in one request each", async () => {
    const store = storeOn(stack);
    for (const round of [1, 2]) {
      for (const kind of ["pipeline", "multi"] as const) {
        await stack.server.resetCounters();
        const queue = store.redis[kind]().set(kind, "1");
        store.dirtyIn(queue, kind);
        assertEquals([await queue.exec(), stack.server.requests, round], [["OK"], 1, round]);
        assertEquals(shebangs(stack), [""]);
      }
      await store.dirty("pipeline");
    }
    assertEquals(Object.keys(await t.scores("dirty")).sort(), ["multi", "pipeline"]);
  });
});
