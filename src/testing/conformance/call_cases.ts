/**
 * The cases about calls: order, many at once, half-written objects, aborts, requests, a place that is not there.
 * @module
 */
import { codeOf, equal, must, rejection, sameBytes } from "./assertions.ts";
import { type Case, putAgain, type Trial } from "./trial.ts";

const one = (): Uint8Array => Uint8Array.from([1]);

/** The title of the case that a datastore whose puts are not atomic leaves out. */
export const WHOLE = "shows an object whole or not at all while it is put";
/** The title of the case that a datastore without requests may leave out. */
export const ANNOUNCES = "announces each request, and makes none that was not allowed";
/** The title of the case for which the suite needs a datastore whose place is not there. */
export const UNREACHABLE = "says that it does not know, never that objects are absent, if its place is not there";

export const callCases: Case[] = [
  {
    title: "answers in the order of the names, the same name as often as asked",
    async act({ store }) {
      const names = Array.from({ length: 50 }, (_, i) => `order/${(i * 37) % 50}`);
      for (const name of names) await store.putKey(name, new TextEncoder().encode(name));
      const asked = [...names, "order/7", "order/7"];
      const fetched = await store.fetchKeys(asked);
      const texts = fetched.map((value) => value instanceof Uint8Array ? new TextDecoder().decode(value) : value);
      equal(texts, asked, "the objects, which hold their names");
    },
  },
  { title: WHOLE, act: showsWhole },
  {
    title: "serves many calls at once",
    async act({ store, randomBytes }) {
      const names = Array.from({ length: 120 }, (_, i) => `many/${i}`);
      const put = await Promise.all(names.map((name, i) => store.putKey(name, randomBytes(1000, i))));
      equal(put, names.map(() => true), "what putKey says");
      const [together, ...alone] = await Promise.all([
        store.fetchKeys(names),
        ...names.map((name) => store.fetchKeys([name])),
      ]);
      equal([together.length, alone.flat().length], [120, 120], "the number of slots");
      for (const [i, slot] of [...together, ...alone.flat()].entries()) {
        sameBytes(slot, randomBytes(1000, i % 120), names[i % 120]!);
      }
    },
  },
  {
    title: "resolves without names",
    async act({ store, can }) {
      equal(await store.fetchKeys([]), [], "fetchKeys");
      if (can("fetchRanges")) equal(await store.fetchRanges([]), [], "fetchRanges");
      if (can("hasKeys")) equal(await store.hasKeys([]), [], "hasKeys");
      if (can("deleteKeys")) equal(await store.deleteKeys([]), undefined, "deleteKeys");
    },
  },
  { title: "does nothing once its signal is aborted, and rejects with the signal's reason", act: heedsSignal },
  { title: ANNOUNCES, act: announces },
  {
    title: UNREACHABLE,
    async act({ can, unreachable }) {
      const store = await unreachable();
      const names = ["a", "b"];
      for (const slot of await store.fetchKeys(names)) isUnknown(slot, "fetchKeys");
      isUnknown(await rejection(() => store.putKey("a", one()), "putKey"), "putKey");
      if (can("hasKeys")) { for (const slot of await store.hasKeys!(names)) isUnknown(slot, "hasKeys"); }
      if (can("fetchRanges")) {
        const reads = names.map((name) => ({ name, offset: 0, length: 1 }));
        for (const slot of await store.fetchRanges!(reads)) isUnknown(slot, "fetchRanges");
      }
      if (can("listKeys")) isUnknown(await rejection(() => store.listKeys!(""), "listKeys"), "listKeys");
      if (can("deleteKeys")) isUnknown(await rejection(() => store.deleteKeys!(names), "deleteKeys"), "deleteKeys");
    },
  },
];

function isUnknown(slot: unknown, what: string): void {
  const shown = slot instanceof Error ? `${codeOf(slot)} (${slot.message})` : String(slot);
  must(slot instanceof Error, `${what} must answer an error: current value is ${shown}`);
  must(codeOf(slot) !== "NOT_FOUND", `${what} must not answer that an object is absent: current value is ${shown}`);
}

/** Reads while it is put, again and again: each time it is one of the whole objects, absent, or an error. */
async function showsWhole(trial: Trial): Promise<void> {
  const { store, randomBytes } = trial;
  const values = [randomBytes(300_000, 10), randomBytes(200_000, 11), randomBytes(250_000, 12)];
  await store.putKey("whole/small", one());
  const replaces = await putAgain(trial, "whole/small", Uint8Array.from([2]));
  for (const [i, value] of values.entries()) {
    const name = replaces ? "whole/a" : `whole/${i}`;
    let writing = true;
    const put = store.putKey(name, value).finally(() => writing = false);
    try {
      do {
        await new Promise((resolve) => setTimeout(resolve, 0)); // a put must have its turn, whatever a fetch takes
        const [slot] = await store.fetchKeys([name]);
        if (!(slot instanceof Uint8Array)) {
          must(
            i === 0 || !replaces || codeOf(slot) !== "NOT_FOUND",
            "an object that is replaced must not be absent meanwhile",
          );
          continue;
        }
        const which = values.slice(Math.max(0, i - 1), i + 1).find((each) => each.length === slot.length);
        must(which !== undefined, `a fetch during a put must find a whole object: it found ${slot.length} bytes`);
        sameBytes(slot, which, "an object that is fetched during a put");
      } while (writing);
    } finally {
      await put;
    }
  }
}

async function heedsSignal({ store, can }: Trial): Promise<void> {
  await store.putKey("abort/there", one());
  const reason = new Error("enough");
  const options = { signal: AbortSignal.abort(reason) };
  const calls: Record<string, () => Promise<unknown>> = {
    putKey: () => store.putKey("abort/new", one(), options),
    fetchKeys: () => store.fetchKeys(["abort/there"], options),
  };
  if (can("fetchRanges")) {
    calls.fetchRanges = () => store.fetchRanges([{ name: "abort/there", offset: 0, length: 1 }], options);
  }
  if (can("hasKeys")) calls.hasKeys = () => store.hasKeys(["abort/there"], options);
  if (can("deleteKeys")) calls.deleteKeys = () => store.deleteKeys(["abort/there"], options);
  if (can("listKeys")) calls.listKeys = () => store.listKeys("abort/", undefined, options);
  for (const [what, call] of Object.entries(calls)) {
    must(await rejection(call, `${what} with an aborted signal`) === reason, `${what} must reject with the reason`);
  }
  equal((await store.fetchKeys(["abort/there", "abort/new"])).map(codeOf), [one(), "NOT_FOUND"], "the objects");
}

async function announces({ store, can, onRequest }: Trial): Promise<void> {
  let requests = 0;
  const count = { onRequest: () => void requests++ };
  const names = ["request/a", "request/b", "request/c"];
  const calls: Record<string, (options: typeof count) => Promise<unknown>> = {
    fetchKeys: (options) => store.fetchKeys(names, options),
  };
  if (can("fetchRanges")) {
    calls.fetchRanges = (options) => store.fetchRanges(names.map((name) => ({ name, offset: 0, length: 1 })), options);
  }
  if (can("hasKeys")) calls.hasKeys = (options) => store.hasKeys(names, options);
  if (can("listKeys")) calls.listKeys = (options) => store.listKeys("request/", undefined, options);
  if (can("deleteKeys")) calls.deleteKeys = (options) => store.deleteKeys(names, options);
  for (const name of names) await store.putKey(name, one(), count);
  if (requests === 0) return must(!onRequest, "putKey must call onRequest before its request");
  must(requests >= names.length, `3 calls of putKey must announce 3 requests: current value is ${requests}`);
  const refused = new Error("no request is left");
  const refuse = {
    onRequest: () => {
      throw refused;
    },
  };
  for (const [what, call] of Object.entries(calls)) {
    must(
      await rejection(() => call(refuse), `${what} without a request left`) === refused,
      `${what} must reject with it`,
    );
    if (what === "deleteKeys") {
      equal(await store.fetchKeys(names), names.map(one), "objects that were not to be deleted");
    }
    requests = 0;
    await call(count);
    must(requests > 0, `${what} must call onRequest`);
  }
  must(
    await rejection(() => store.putKey("request/d", one(), refuse), "putKey without a request left") === refused,
    "putKey must reject with it",
  );
  equal((await store.fetchKeys(["request/d"])).map(codeOf), ["NOT_FOUND"], "the object that was not to be put");
}
