/** The guard around every datastore: what it believes, how long it waits, and when a listing ends. */
import { afterEach, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { notFound, TundraError } from "../../src/base/errors.ts";
import { setPlatform } from "../../src/base/platform.ts";
import type { Datastore } from "../../src/datastores/datastore.ts";
import { guardedDatastore, listPages } from "../../src/datastores/guarded.ts";
import { memoryDatastore } from "../../src/datastores/memory.ts";

const never = () => new Promise<never>(() => {});

function guarded(changes: Record<string, unknown>): Required<Datastore> {
  return guardedDatastore({ ...memoryDatastore(), ...changes } as Datastore) as Required<Datastore>;
}

async function unavailable(promise: Promise<unknown>): Promise<string> {
  const error = await assertRejects(() => promise, TundraError);
  assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
  return error.message;
}

describe("what a datastore answers", () => {
  it("to putKey is success if it is true, and nothing else is", async () => {
    assertEquals(await guarded({}).putKey("a", new Uint8Array(1)), true);
    for (const lie of [false, undefined, null, 1, "true", {}, new Error("disk full")]) {
      const message = await unavailable(guarded({ putKey: () => Promise.resolve(lie) }).putKey("a", new Uint8Array(1)));
      assertStringIncludes(message, "must resolve with true once it is stored");
      if (lie instanceof Error) assertStringIncludes(message, "disk full");
    }
    // said with a reason of its own
    const reason = new TundraError("TOO_LARGE", "no");
    const refused = guarded({ putKey: () => Promise.resolve(reason) }).putKey("a", new Uint8Array(1));
    assertEquals(await assertRejects(() => refused), reason);
  });

  it("to fetchKeys and hasKeys spoils its own slot if it is missing or of another kind", async () => {
    const bytes = new Uint8Array([1]);
    const own = new Error("own");
    const absent = notFound("c");
    const wrong = [null, undefined, "text", 7, true, {}, new ArrayBuffer(1)];
    const names = ["a", "b", "c", ...wrong.map((_, i) => `w${i}`), "short"];
    const slots = await guarded({ fetchKeys: () => Promise.resolve([bytes, own, absent, ...wrong]) }).fetchKeys(names);
    assertEquals(slots.slice(0, 3), [bytes, own, absent]);
    assertEquals(slots.length, names.length);
    slots.slice(3).forEach((slot, i) => {
      assertInstanceOf(slot, TundraError);
      assertEquals([slot.code, slot.retryable], ["UNAVAILABLE", true]);
      assertStringIncludes(slot.message, `fetch "${names[i + 3]}"`);
    });
    const has = await guarded({ hasKeys: () => Promise.resolve([true, false, own, null, 1, bytes]) })
      .hasKeys(["a", "b", "c", "d", "e", "f", "g"]);
    assertEquals(has.slice(0, 3), [true, false, own]);
    for (const slot of has.slice(3)) assertInstanceOf(slot, TundraError);
    for (const none of [undefined, null, "ab", { 0: bytes }]) {
      const all = await guarded({ fetchKeys: () => Promise.resolve(none) }).fetchKeys(["a", "b"]);
      assert(all.length === 2 && all.every((slot) => slot instanceof TundraError));
    }
  });

  it("to fetchRanges spoils its own slot if it has another length, or is of another kind", async () => {
    const bytes = new Uint8Array([1, 2, 3]);
    const own = new Error("own");
    const wrong = [
      new Uint8Array(2),
      new Uint8Array(4),
      new Uint8Array(0),
      null,
      undefined,
      [1, 2, 3],
      "abc",
      bytes.buffer,
    ];
    const reads = [bytes, own, ...wrong, "missing"].map((_, i) => ({ name: `r${i}`, offset: 5, length: 3 }));
    let asked: unknown[] = [];
    const answering = (answers: unknown) =>
      guarded({ fetchRanges: (...args: unknown[]) => (asked = args, Promise.resolve(answers)) });
    const slots = await answering([bytes, own, ...wrong]).fetchRanges(reads);
    assertEquals(asked[0], reads);
    assertEquals(slots.slice(0, 2), [bytes, own]);
    assertEquals(slots.length, reads.length);
    slots.slice(2).forEach((slot, i) => {
      assertInstanceOf(slot, TundraError);
      assertEquals([slot.code, slot.retryable], ["UNAVAILABLE", true]);
      assertStringIncludes(slot.message, `fetch a range of "r${i + 2}"`);
    });
    assertStringIncludes((slots[3] as Error).message, "current value is 4 bytes");
    for (const none of [undefined, null, bytes, { 0: bytes }]) {
      const [slot] = await answering(none).fetchRanges(reads.slice(0, 1));
      assertInstanceOf(slot, TundraError);
    }
  });

  it("by throwing, at once or later, is a rejection: a TundraError as it is, anything else as UNAVAILABLE", async () => {
    const own = new TundraError("UNSUPPORTED", "no");
    const thrower = (thrown: unknown) => () => {
      throw thrown;
    };
    for (const call of ["putKey", "fetchKeys", "fetchRanges", "hasKeys", "deleteKeys", "listKeys"] as const) {
      const act = (store: Required<Datastore>) => {
        if (call === "fetchRanges") return store[call]([{ name: "a", offset: 0, length: 1 }]);
        return call === "putKey" || call === "listKeys"
          ? store[call]("a", new Uint8Array(1) as never)
          : store[call](["a"]);
      };
      assertEquals(await assertRejects(() => act(guarded({ [call]: thrower(own) })) as Promise<unknown>), own);
      const message = await unavailable(act(guarded({ [call]: thrower("disk full") })) as Promise<unknown>);
      assertStringIncludes(message, "disk full");
    }
  });

  it("is asked for only if there is a name, and offered only if the datastore can", async () => {
    const store = guarded({ fetchKeys: never, fetchRanges: never, hasKeys: never, deleteKeys: never });
    assertEquals(await store.fetchRanges([]), []);
    assertEquals([await store.fetchKeys([]), await store.hasKeys([]), await store.deleteKeys([])], [[], [], undefined]);
    const { putKey, fetchKeys } = memoryDatastore();
    assertEquals(Object.keys(guardedDatastore({ putKey, fetchKeys })), ["putKey", "fetchKeys"]);
  });
});

describe("a datastore that does not answer", () => {
  // a thousand times as fast
  const timers: number[] = [];
  beforeEach(() => {
    timers.length = 0;
    setPlatform({
      monotonicMs: () => performance.now() * 1000,
      wallClockMs: () => Date.now(),
      uuid: () => crypto.randomUUID(),
      nonce: () => "00000000",
      random: () => 0.5,
      digest: (algorithm, data) => crypto.subtle.digest(algorithm, data),
      after(ms, act) {
        timers.push(ms);
        const timer = setTimeout(act, ms / 1000);
        return () => clearTimeout(timer);
      },
    });
  });
  afterEach(() => setPlatform());

  it("is given up, whatever it is asked; its late answer concerns nobody", async () => {
    const functions = ["putKey", "fetchKeys", "fetchRanges", "hasKeys", "deleteKeys", "listKeys"];
    const hung = guarded(Object.fromEntries(functions.map((name) => [name, never])));
    for (
      const call of [
        hung.putKey("a", new Uint8Array(1)),
        hung.fetchKeys(["a"]),
        hung.fetchRanges([{ name: "a", offset: 0, length: 1 }]),
        hung.hasKeys(["a"]),
        hung.deleteKeys(["a"]),
        hung.listKeys("a"),
      ]
    ) assertStringIncludes(await unavailable(call), "as the datastore must answer in time: it has not in 302");
  });

  it("gets time by what it is asked, one timer a call, and by its own limit", async () => {
    const store = guarded({});
    await store.putKey("a", new Uint8Array(9_000_000));
    await store.fetchKeys(Array.from({ length: 128 }, () => "a"));
    await guarded({ timeoutMs: 600_000 }).hasKeys(["a"]);
    await store.fetchRanges([6_000_000, 3_000_000].map((length) => ({ name: "a", offset: 9_000_000, length })));
    assertEquals(timers, [
      30_000 + 200 + 18_000,
      30_000 + 128 * 200,
      10_000 + 1_200_000 + 200,
      30_000 + 2 * 200 + 18_000,
    ]);
  });

  it("hears that it was given up, and is left at once when the caller's signal is aborted", async () => {
    const signals: AbortSignal[] = [];
    const store = guarded({
      fetchKeys: (_: string[], { signal }: { signal: AbortSignal }) => (signals.push(signal), never()),
    });
    await unavailable(store.fetchKeys(["a"]));
    assertEquals(signals[0]!.aborted, true);
    const reason = new Error("enough");
    const abort = new AbortController();
    setTimeout(() => abort.abort(reason), 1);
    assertEquals(await assertRejects(() => store.fetchKeys(["a"], { signal: abort.signal })), reason);
    assertEquals(await assertRejects(() => store.fetchKeys(["a"], { signal: abort.signal })), reason);
    assertEquals([signals.length, signals[1]!.aborted], [2, true]);
  });
});

describe("a listing", () => {
  const pages = (answers: unknown[]) => {
    let n = 0;
    return guarded({ listKeys: () => Promise.resolve(answers[Math.min(n++, answers.length - 1)]) });
  };
  async function all(store: Datastore): Promise<string[]> {
    const names: string[] = [];
    for await (const page of listPages(store, "q/")) names.push(...page);
    return names;
  }

  it("is read to its end", async () => {
    const answers = [{ names: ["q/a"], cursor: "1" }, { names: [], cursor: "2" }, {
      names: ["q/b", "q/c"],
      cursor: null,
    }];
    assertEquals(await all(pages(answers)), ["q/a", "q/b", "q/c"]);
  });

  it("has no page that is empty but for a cursor: nobody takes that for an end", async () => {
    const store = pages([{ names: [], cursor: "1" }, { names: [], cursor: "2" }, { names: ["q/a"], cursor: "3" }]);
    assertEquals(await store.listKeys!("q/"), { names: ["q/a"], cursor: "3" });
  });

  const bad: [string, unknown[], string][] = [
    ["answers its first page again", [{ names: ["q/a", "q/b"], cursor: "1" }], "came again"],
    [
      "answers its first page again under new cursors",
      [1, 2, 3].map((n) => ({ names: ["q/a"], cursor: `${n}` })),
      "again",
    ],
    ["goes round in a circle of empty pages", [{ names: [], cursor: "1" }], "a cursor came again"],
    ["names what was not asked for", [{ names: ["q/a", "r/a"] }], '"r/a"'],
    ["names another case", [{ names: ["Q/a"] }], '"Q/a"'],
    ["names no text", [{ names: ["q/a", undefined] }], "undefined"],
    ["is none", [undefined], "reply { names, cursor }"],
    ["has no names", [{ cursor: "1" }], "reply { names, cursor }"],
    ["has a cursor that is no text", [{ names: [], cursor: 7 }], "a cursor that is text"],
  ];
  for (const [what, answers, says] of bad) {
    it(`that ${what} is an error, never a part of the truth`, async () => {
      assertStringIncludes(await unavailable(all(pages(answers))), says);
    });
  }

  it("that never ends is given up", async () => {
    let n = 0;
    const endless = guarded({ listKeys: () => Promise.resolve({ names: [], cursor: `${n++}` }) });
    assertStringIncludes(await unavailable(all(endless)), "within 10000 pages");
  });
});
