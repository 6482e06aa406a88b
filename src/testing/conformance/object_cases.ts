/**
 * The cases about single objects: bytes, names, copies, replacement, absence.
 * @module
 */
import { nameTaken, type TundraError } from "../../base/errors.ts";
import { codeOf, equal, must, rejection, sameBytes } from "./assertions.ts";
import { type Case, listAll, putAgain, type Trial } from "./trial.ts";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** Names that a file system, a folder or a cleaned path takes for one another. */
const ALIKE = [
  "a",
  "A",
  "a.",
  "a~",
  "a-",
  "a_",
  "a/b",
  "a.b",
  "a-b",
  "a_b",
  "a~b",
  "A/b",
  "a/B",
  "ab",
  "a/b/c",
  "a..b",
];

export const objectCases: Case[] = [
  {
    title: "gives back exactly the bytes that were put",
    async act({ store, randomBytes }) {
      const values: Record<string, Uint8Array> = {
        "bytes/empty": new Uint8Array(0),
        "bytes/zero": new Uint8Array(1),
        "bytes/every": Uint8Array.from({ length: 256 }, (_, i) => i),
        "bytes/random": randomBytes(70_001),
        "bytes/large": randomBytes(3_000_000, 1),
      };
      for (const [name, value] of Object.entries(values)) {
        equal(await store.putKey(name, value), true, "what putKey says");
      }
      const fetched = await store.fetchKeys(Object.keys(values));
      equal(fetched.length, 5, "the number of slots");
      for (const [i, [name, value]] of Object.entries(values).entries()) sameBytes(fetched[i], value, name);
    },
  },
  { title: "takes every name that a datastore must take", act: takesOddNames },
  {
    title: "keeps apart names that look alike",
    async act({ store, can }) {
      const names = ALIKE.map((name) => `alike/${name}`);
      for (const [i, name] of names.entries()) await store.putKey(name, bytes(i));
      equal(await store.fetchKeys(names), names.map((_, i) => bytes(i)), "the objects");
      equal((await store.fetchKeys(["ALIKE/a", "alike", "alike/a/b/c/d"])).map(codeOf), Array(3).fill("NOT_FOUND"));
      if (can("listKeys")) equal((await listAll(store, "alike/")).names, [...names].sort(), "the listed names");
    },
  },
  {
    title: "puts the bytes that a view shows, and holds a copy",
    async act({ store }) {
      const buffer = bytes(1, 2, 3, 4, 5, 6);
      await store.putKey("views/a", buffer.subarray(2, 4));
      buffer.fill(0);
      const [first] = await store.fetchKeys(["views/a"]);
      equal(first, bytes(3, 4), "the object, after the buffer that was put has changed");
      (first as Uint8Array).fill(9);
      equal(await store.fetchKeys(["views/a"]), [bytes(3, 4)], "the object, after what was fetched has changed");
    },
  },
  {
    title: "shows at once what was put, replaced and deleted, also if it was absent a moment before",
    async act(trial) {
      const { store, can } = trial;
      equal((await store.fetchKeys(["now/a"])).map(codeOf), ["NOT_FOUND"], "the object before it is put");
      await store.putKey("now/a", bytes(1));
      equal(await store.fetchKeys(["now/a"]), [bytes(1)], "the object that was just put");
      if (can("hasKeys")) equal(await store.hasKeys(["now/a"]), [true], "its existence");
      if (can("listKeys")) equal(await listAll(store, "now/"), { names: ["now/a"], pages: 1 }, "the listing");
      if (await putAgain(trial, "now/a", bytes(2))) {
        equal(await store.fetchKeys(["now/a"]), [bytes(2)], "the object that was just replaced");
      }
      if (!can("deleteKeys")) return;
      await store.deleteKeys(["now/a"]);
      equal((await store.fetchKeys(["now/a"])).map(codeOf), ["NOT_FOUND"], "the object that was just deleted");
      if (can("hasKeys")) equal(await store.hasKeys(["now/a"]), [false], "its existence");
      if (can("listKeys")) equal(await listAll(store, "now/"), { names: [], pages: 1 }, "the listing");
    },
  },
  {
    title: "says NOT_FOUND in the slot of an absent object, and gives back the others",
    async act({ store, can }) {
      await store.putKey("partial/a", bytes(1));
      await store.putKey("partial/c", bytes(3));
      const names = ["partial/a", "partial/b", "partial/c", "partial/c/d"];
      const slots = await store.fetchKeys(names);
      equal(slots.map(codeOf), [bytes(1), "NOT_FOUND", bytes(3), "NOT_FOUND"], "the slots");
      const absent = slots[1] as TundraError;
      equal(absent.retryable, false, "retryable of the error");
      must(absent.message.includes("partial/b"), `the message must name the object: ${absent.message}`);
      if (can("hasKeys")) equal(await store.hasKeys(names), [true, false, true, false], "what hasKeys says");
    },
  },
];

/** The case about a name that is put again, as the datastore claims it. */
export function replacementCase(claimed: boolean | undefined): Case {
  const title = claimed
    ? "replaces an object that is put again"
    : claimed === false
    ? "refuses other bytes under a name that is taken, and keeps what is there"
    : "replaces an object that is put again, or refuses other bytes and keeps what is there";
  return { title, act: replacesOrRefuses };
}

/** The case about `ifAbsent`, as the datastore claims it. */
export function newObjectCase(claimed: boolean | undefined): Case {
  if (claimed) {
    return {
      title: "refuses an object that must be new if its name is taken, and keeps what is there",
      act: refusesTaken,
    };
  }
  if (claimed === false) {
    return {
      title: "stores an object that must be new although its name is taken, as it cannot tell",
      act: storesTaken,
    };
  }
  return {
    title: "refuses an object that must be new if its name is taken, or stores it",
    act: (trial) =>
      takenIsRefused(trial, "new/c").then((refused) => refused ? refusesTaken(trial) : storesTaken(trial)),
  };
}

async function replacesOrRefuses(trial: Trial): Promise<void> {
  const { store } = trial;
  await store.putKey("again/a", bytes(1, 2, 3));
  const replaced = await putAgain(trial, "again/a", bytes(4));
  equal(await store.fetchKeys(["again/a"]), [replaced ? bytes(4) : bytes(1, 2, 3)], "the object");
  // a request whose answer is lost is sent again
  const same = replaced ? bytes(4) : bytes(1, 2, 3);
  equal(await store.putKey("again/a", same), true, "what putKey says of the same bytes again");
  equal(await store.fetchKeys(["again/a"]), [same], "the object, after the same bytes again");
}

async function takesOddNames({ store, can, oddNames }: Trial): Promise<void> {
  for (const [i, name] of oddNames.entries()) await store.putKey(name, bytes(i));
  equal(await store.fetchKeys([...oddNames]), oddNames.map((_, i) => bytes(i)), "the objects");
  if (can("hasKeys")) equal(await store.hasKeys([...oddNames]), oddNames.map(() => true), "their existence");
  if (!can("listKeys")) return;
  const { names } = await listAll(store, "");
  equal(oddNames.filter((name) => !names.includes(name)), [], "the names that are not listed");
}

async function takenIsRefused({ store }: Trial, name: string): Promise<boolean> {
  await store.putKey(name, bytes(1));
  return await store.putKey(name, bytes(2), { ifAbsent: true }).then(
    () => false,
    (e) => codeOf(e) === nameTaken("").code,
  );
}

async function refusesTaken({ store }: Trial): Promise<void> {
  equal(await store.putKey("new/a", bytes(1), { ifAbsent: true }), true, "what putKey says of a new name");
  const again = await rejection(() => store.putKey("new/a", bytes(2), { ifAbsent: true }), "putKey of a taken name");
  equal(codeOf(again), "CONFLICT", "the error of a taken name");
  equal(await store.fetchKeys(["new/a"]), [bytes(1)], "the object that was there");
  const racing = await Promise.all(
    Array.from(
      { length: 8 },
      (_, i) => store.putKey("new/b", bytes(i), { ifAbsent: true }).then(() => [i], () => []),
    ),
  );
  equal(racing.flat().length, 1, "the number of puts that succeed if 8 begin at once");
  equal(await store.fetchKeys(["new/b"]), [Uint8Array.from(racing.flat())], "the object of the put that succeeded");
}

async function storesTaken({ store }: Trial): Promise<void> {
  equal(await store.putKey("new/a", bytes(1), { ifAbsent: true }), true, "what putKey says of a new name");
  equal(await store.putKey("new/a", bytes(2), { ifAbsent: true }), true, "what putKey says of a taken name");
  equal(await store.fetchKeys(["new/a"]), [bytes(2)], "the object");
}
