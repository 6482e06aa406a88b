/** Signals: who hears of an abort, how often one listens, and what is left behind. */
import { describe, it } from "node:test";
import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { linkSignals, onAbort, sleep, untilAborted } from "../../src/base/abort.ts";

/** A signal, and how many listeners it has. */
function counted(): { controller: AbortController; signal: AbortSignal; listeners: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = ((...args: Parameters<typeof add>) => (listeners++, add(...args))) as typeof add;
  signal.removeEventListener = ((...args: Parameters<typeof add>) => (listeners--, remove(...args))) as typeof remove;
  return { controller, signal, listeners: () => listeners };
}

const never = new Promise<never>(() => {});

describe("a signal", () => {
  it("has one listener however many wait, and none once nobody does", async () => {
    const { signal, listeners } = counted();
    const ends = Array.from({ length: 20 }, () => onAbort(signal, () => {}));
    const links = Array.from({ length: 20 }, () => linkSignals([signal]));
    const sleeps = Array.from({ length: 20 }, () => sleep(5, signal));
    const waits = Array.from({ length: 20 }, () => untilAborted(Promise.resolve(1), signal));
    assertEquals(listeners(), 1);
    for (const end of ends) end();
    for (const { release } of links) release();
    await Promise.all([...sleeps, ...waits]);
    assertEquals(listeners(), 0);
  });

  it("is heard by each who waits, with its reason, and by nobody who has stopped waiting", async () => {
    const { controller, signal } = counted();
    const reason = new Error("enough");
    const heard: string[] = [];
    onAbort(signal, () => heard.push("first"));
    onAbort(signal, () => heard.push("stopped"))();
    const link = linkSignals([undefined, signal]);
    const released = linkSignals([signal]);
    released.release();
    const waits = [sleep(60_000, signal), untilAborted(never, signal), untilAborted(never, link.signal)];
    controller.abort(reason);
    for (const wait of waits) assertStrictEquals(await assertRejects(() => wait), reason);
    assertEquals([heard, link.signal.reason, released.signal.aborted], [["first"], reason, false]);
  });

  it("that is aborted already is heard at once", async () => {
    const signal = AbortSignal.abort("over");
    let heard = 0;
    onAbort(signal, () => heard++)();
    assertEquals([heard, linkSignals([signal]).signal.reason], [1, "over"]);
    for (const wait of [() => sleep(60_000, signal), () => untilAborted(never, signal)]) {
      assertEquals(await wait().catch((reason) => reason), "over");
    }
  });
});

describe("a time limit", () => {
  it("aborts with its reason, counts from when it was last set, and ends with the link", async () => {
    const [short, renewed, released] = [linkSignals([]), linkSignals([]), linkSignals([])];
    for (const link of [short, renewed, released]) link.limit(5, () => "too late");
    renewed.limit(60_000, () => "much too late");
    released.release();
    await sleep(30);
    assertEquals(short.signal.reason, "too late");
    assertEquals([renewed.signal.aborted, released.signal.aborted], [false, false]);
    renewed.release();
  });

  it("is not what aborted if a signal came first", async () => {
    const controller = new AbortController();
    const link = linkSignals([controller.signal]);
    link.limit(1, () => "too late");
    controller.abort("first");
    await sleep(20);
    assertEquals(link.signal.reason, "first");
  });
});

describe("untilAborted", () => {
  it("hands on values and errors, and a value that comes too late to whoever cleans up", async () => {
    const { controller, signal } = counted();
    assertEquals(await untilAborted(Promise.resolve(1), undefined), 1);
    assertEquals(await untilAborted(Promise.resolve(2), signal, () => assertEquals(true, false)), 2);
    const error = new Error("no");
    assertStrictEquals(await assertRejects(() => untilAborted(Promise.reject(error), signal)), error);
    const late: string[] = [];
    let arrive = (_: string) => {};
    const wait = untilAborted(new Promise<string>((resolve) => arrive = resolve), signal, (value) => late.push(value));
    controller.abort("over");
    assertEquals(await wait.catch((reason) => reason), "over");
    arrive("a reply");
    await sleep(1);
    assertEquals(late, ["a reply"]);
  });
});
