import { beforeEach, describe, it } from "node:test";
import { assertEquals, assertIsError, assertMatch, assertRejects } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { memoryDatastore } from "../../src/datastores/memory.ts";
import { tundraStore } from "../../src/store.ts";
import { OLD_VER, withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

describe("dirty({ overwrite: true }) while others change the record", () => {
  const stack = withStack();
  const t = withIndex(stack);
  beforeEach(() => stack.flush());

  /** A store whose first request is followed by `between(1)`, and so on. */
  const storeBetween = (between: (request: number) => Promise<unknown>) => {
    let requests = 0;
    const fetching: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      const answered = !(await response.clone().text()).includes("NOSCRIPT");
      if (answered) await between(++requests);
      return response;
    };
    return tundraStore(memoryDatastore(), { redis: { ...stack.connection, fetch: fetching, retry: false } });
  };
  /** Another eviction of the key, as its record tells it. */
  const evictedAgain = (n: number) => t.setRecords({ a: { ver: OLD_VER, fp: "f0", flag: "e", touch: n } });

  it("looks again after each change, and marks what has stayed the same", async () => {
    await t.evicted("a", "v");
    await t.setKeys("a");
    const seen: number[] = [];
    const store = storeBetween(async (request) => {
      seen.push(request);
      if (request === 1 || request === 3) await evictedAgain(request);
    });
    await store.dirty({ overwrite: true }, "a");
    assertEquals([seen, (await t.readRecord("a")).flag], [[1, 2, 3, 4, 5, 6], "r"]);
    assertEquals(Object.keys(await t.scores("dirty")), ["a"]);
  });

  it("marks a key that another client has brought back meanwhile, however often it changes", async () => {
    await t.evicted("a", "v");
    await t.setKeys("a");
    let requests = 0;
    const store = storeBetween(async (request) => {
      requests = request;
      await t.setRecords({ a: { rev: request, touch: 1 } });
    });
    await store.dirty({ overwrite: true }, "a");
    assertEquals([requests, Object.keys(await t.scores("dirty"))], [3, ["a"]]);
  });

  it("gives up after four rounds: UNAVAILABLE, never a silent success; other keys are marked", async () => {
    await t.evicted("a", "v");
    await t.evicted("b", "v");
    await t.setKeys("a", "b");
    let requests = 0;
    const store = storeBetween(async (request) => {
      requests = request;
      await evictedAgain(request);
    });
    const error = await assertRejects(() => store.dirty({ overwrite: true }, "a", "b"));
    assertIsError(error, TundraError);
    const { code, keys, retryable, message } = error as TundraError;
    assertEquals([code, keys, retryable, requests], ["UNAVAILABLE", ["a"], true, 8]);
    assertMatch(message, /it changed 4 times$/);
    assertEquals(Object.keys(await t.scores("dirty")), ["b"]);
  });
});
