/**
 * The promises of every datastore. A store's test file calls {@linkcode datastoreConformance} with a function that
 * makes an empty one.
 * @module
 */
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { assert, assertEquals, assertInstanceOf, assertRejects, assertStringIncludes } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import type { Datastore } from "../../src/datastores/datastore.ts";

/** A store for one suite; it begins empty. */
export interface DatastoreFixture {
  store: Required<Datastore>;
  stop(): Promise<void>;
}

/** Every character that a name may hold, segments that look odd, and the greatest length. */
export const ODD_NAMES: readonly string[] = [
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.~/x",
  "default/user.3A1.2F.C3.A9/1764000000000001-0a1b2c3d",
  "default/~owner/first",
  "a..b/.c/d./.../~/-/_",
  "0",
  "-",
  "..a",
  "x".repeat(900),
  Array.from({ length: 225 }, (_, i) => "a.~_"[i % 4] + "-0/").join("").slice(0, 899) + "z",
];

const seed = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);

/** Random bytes, the same for one seed. */
export function randomBytes(length: number, salt = 0): Uint8Array {
  let state = (seed + salt * 7919) | 0;
  return Uint8Array.from({ length }, () => (state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 24);
}

/** The code of an error in a slot; anything else as it is. */
export function codeOf(slot: unknown): unknown {
  return slot instanceof TundraError ? slot.code : slot;
}

/** All names under a prefix, page by page. */
export async function listAll(store: Required<Datastore>, prefix: string): Promise<{ names: string[]; pages: number }> {
  const names: string[] = [];
  let cursor: string | undefined;
  for (let pages = 1;; pages++) {
    const page = await store.listKeys(prefix, cursor);
    names.push(...page.names);
    cursor = page.cursor;
    if (cursor === undefined) return { names, pages };
    assert(pages < 100, "the listing must end");
  }
}

/**
 * The cases in which a foreign server differs: nothing is skipped, each case that it fails must fail as is said here.
 */
export interface Deviations {
  /** The names of ODD_NAMES that it can take; default: all. */
  odd?: readonly string[];
  /** By the case's title: what its failure says. */
  fails?: Readonly<Record<string, string>>;
}

/** `it`, but a case in which the server deviates must fail, and say so. */
export function caseFor({ fails = {} }: Deviations): (title: string, act: () => Promise<unknown>) => void {
  return (title, act) => {
    const says = fails[title];
    if (says === undefined) return void it(title, async () => void await act());
    it(`${title}: this server does not (${says})`, async () => {
      const failure = await assertRejects(act);
      assertStringIncludes((failure as Error).message, says);
    });
  };
}

/** Runs the suite. */
export function datastoreConformance(
  name: string,
  make: () => Promise<DatastoreFixture>,
  deviations: Deviations = {},
): void {
  const { odd = ODD_NAMES } = deviations;
  const it = caseFor(deviations);
  describe(`the datastore ${name}`, () => {
    let fixture: DatastoreFixture;
    let store: Required<Datastore>;
    before(async () => {
      fixture = await make();
      store = fixture.store;
      console.log(`TUNDRA_SEED=${seed}`);
    });
    after(() => fixture?.stop());

    it("gives back exactly the bytes that were put", async () => {
      const values: Record<string, Uint8Array> = {
        "bytes/empty": new Uint8Array(0),
        "bytes/zero": new Uint8Array(1),
        "bytes/every": Uint8Array.from({ length: 256 }, (_, i) => i),
        "bytes/random": randomBytes(70_001),
        "bytes/large": randomBytes(3_000_000, 1),
      };
      for (const [name, value] of Object.entries(values)) assertEquals(await store.putKey(name, value), true);
      const fetched = await store.fetchKeys(Object.keys(values));
      assertEquals(fetched.map((each) => each.constructor), fetched.map(() => Uint8Array));
      for (const [i, value] of Object.values(values).entries()) {
        // Not assertEquals: it would print megabytes.
        assertEquals((fetched[i] as Uint8Array).length, value.length);
        assert(value.every((byte, at) => byte === (fetched[i] as Uint8Array)[at]), "every byte must be the same");
      }
    });

    it("takes every name that a datastore must take", async () => {
      for (const [i, name] of odd.entries()) await store.putKey(name, Uint8Array.from([i]));
      assertEquals(await store.fetchKeys([...odd]), odd.map((_, i) => Uint8Array.from([i])));
      assertEquals(await store.hasKeys([...odd]), odd.map(() => true));
      const { names } = await listAll(store, "");
      assertEquals(odd.filter((name) => !names.includes(name)), []);
    });

    it("puts the bytes that a view shows, and holds a copy", async () => {
      const buffer = Uint8Array.from([1, 2, 3, 4, 5, 6]);
      await store.putKey("views/a", buffer.subarray(2, 4));
      buffer.fill(0);
      const [first] = await store.fetchKeys(["views/a"]);
      assertEquals(first, Uint8Array.from([3, 4]));
      (first as Uint8Array).fill(9);
      assertEquals(await store.fetchKeys(["views/a"]), [Uint8Array.from([3, 4])]);
    });

    it("replaces an object that is put again", async () => {
      await store.putKey("again/a", Uint8Array.from([1, 2, 3]));
      await store.putKey("again/a", Uint8Array.from([4]));
      assertEquals(await store.fetchKeys(["again/a"]), [Uint8Array.from([4])]);
    });

    it("refuses an object that must be new if its name is taken, and keeps what is there", async () => {
      assertEquals(await store.putKey("new/a", Uint8Array.from([1]), { ifAbsent: true }), true);
      const again = store.putKey("new/a", Uint8Array.from([2]), { ifAbsent: true });
      assertEquals(await again.then(() => "it was put", codeOf), "CONFLICT");
      assertEquals(await store.fetchKeys(["new/a"]), [Uint8Array.from([1])]);
      // one of several at once
      const racing = await Promise.all(
        Array.from(
          { length: 8 },
          (_, i) => store.putKey("new/b", Uint8Array.from([i]), { ifAbsent: true }).then(() => [i], () => []),
        ),
      );
      assertEquals(racing.flat().length, 1);
      assertEquals(await store.fetchKeys(["new/b"]), [Uint8Array.from(racing.flat())]);
    });

    it("answers in the order of the names, the same name as often as asked", async () => {
      const names = Array.from({ length: 50 }, (_, i) => `order/${(i * 37) % 50}`);
      for (const name of names) await store.putKey(name, new TextEncoder().encode(name));
      const asked = [...names, "order/7", "order/7"];
      const fetched = await store.fetchKeys(asked);
      assertEquals(fetched.map((value) => new TextDecoder().decode(value as Uint8Array)), asked);
    });

    it("says NOT_FOUND in the slot of an absent object, and gives back the others", async () => {
      await store.putKey("partial/a", Uint8Array.from([1]));
      await store.putKey("partial/c", Uint8Array.from([3]));
      const names = ["partial/a", "partial/b", "partial/c", "partial/c/d"];
      const slots = await store.fetchKeys(names);
      assertEquals(slots.map(codeOf), [Uint8Array.from([1]), "NOT_FOUND", Uint8Array.from([3]), "NOT_FOUND"]);
      assertInstanceOf(slots[1], TundraError);
      assertEquals(slots[1].retryable, false);
      assert(slots[1].message.includes("partial/b"), "the message must name the object");
      assertEquals(await store.hasKeys(names), [true, false, true, false]);
    });

    it("gives back exactly the ranges that were asked for, in the order of the reads", async () => {
      const values: Record<string, Uint8Array> = {
        "ranges/one": Uint8Array.from([7]),
        "ranges/random": randomBytes(70_001, 2),
        "ranges/large": randomBytes(3_000_000, 3),
      };
      for (const [name, value] of Object.entries(values)) await store.putKey(name, value);
      const reads = [
        { name: "ranges/random", offset: 70_000, length: 1 }, // the last byte
        { name: "ranges/one", offset: 0, length: 1 },
        { name: "ranges/random", offset: 0, length: 2 },
        { name: "ranges/random", offset: 0, length: 70_001 }, // the whole object
        { name: "ranges/large", offset: 1_500_000, length: 1_000_000 },
        { name: "ranges/random", offset: 1, length: 70_000 },
        { name: "ranges/large", offset: 2_999_999, length: 1 },
        { name: "ranges/random", offset: 33_333, length: 17 },
        { name: "ranges/random", offset: 33_340, length: 17 },
        { name: "ranges/random", offset: 33_333, length: 17 },
      ];
      const asked = structuredClone(reads);
      const slots = await store.fetchRanges(reads);
      assertEquals(slots.length, reads.length);
      for (const [i, { name, offset, length }] of reads.entries()) {
        const slot = slots[i];
        assertInstanceOf(slot, Uint8Array, String(slot));
        // Not assertEquals: it would print megabytes.
        assertEquals([slot.constructor, slot.length], [Uint8Array, length]);
        assert(slot.every((byte, at) => byte === values[name]![offset + at]), `range ${i} must hold those bytes`);
      }
      assertEquals(reads, asked);
    });

    it("gives back the first byte alone", async () => {
      await store.putKey("ranges/first", Uint8Array.from([1, 2, 3]));
      const slots = await store.fetchRanges([{ name: "ranges/first", offset: 0, length: 1 }]);
      assertEquals(slots, [Uint8Array.from([1])]);
    });

    it("gives back ranges that are copies", async () => {
      await store.putKey("ranges/copied", Uint8Array.from([1, 2, 3, 4]));
      const read = { name: "ranges/copied", offset: 1, length: 2 };
      const [first, second] = await store.fetchRanges([read, read]) as [Uint8Array, Uint8Array];
      first.fill(9);
      assertEquals(second, Uint8Array.from([2, 3]));
      assertEquals(await store.fetchKeys(["ranges/copied"]), [Uint8Array.from([1, 2, 3, 4])]);
    });

    it("says NOT_FOUND of a range only if the object is absent; a range behind its end is UNAVAILABLE", async () => {
      await store.putKey("ranges/ten", randomBytes(10, 4));
      await store.putKey("ranges/empty", new Uint8Array(0));
      const slots = await store.fetchRanges([
        { name: "ranges/ten", offset: 9, length: 2 }, // one byte too many
        { name: "ranges/none", offset: 0, length: 1 },
        { name: "ranges/ten", offset: 10, length: 1 },
        { name: "ranges/ten", offset: 8, length: 2 },
        { name: "ranges/ten", offset: 1e15, length: 1e15 },
        { name: "ranges/ten", offset: 0, length: 11 },
        { name: "ranges/empty", offset: 0, length: 1 },
        { name: "ranges/ten/none", offset: 5, length: 5 },
      ]);
      assertEquals(slots.map(codeOf), [
        "UNAVAILABLE",
        "NOT_FOUND",
        "UNAVAILABLE",
        randomBytes(10, 4).slice(8),
        "UNAVAILABLE",
        "UNAVAILABLE",
        "UNAVAILABLE",
        "NOT_FOUND",
      ]);
      assertStringIncludes((slots[1] as Error).message, "ranges/none");
    });

    it("refuses a range that cannot be, before it asks for any", async () => {
      await store.putKey("ranges/there", Uint8Array.from([1, 2, 3]));
      const good = { name: "ranges/there", offset: 0, length: 1 };
      const bad = [
        ...[-1, 0.5, NaN, Infinity, 2 ** 53, "0", null, undefined].map((offset) => ({ ...good, offset })),
        ...[0, -1, 1.5, NaN, Infinity, 2 ** 53, "1", null, undefined].map((length) => ({ ...good, length })),
        { ...good, offset: Number.MAX_SAFE_INTEGER, length: Number.MAX_SAFE_INTEGER },
      ];
      let requests = 0;
      for (const read of bad) {
        const fetched = store.fetchRanges([good, read as typeof good], { onRequest: () => void requests++ });
        assertEquals([read, await fetched.then(() => "it was fetched", codeOf)], [read, "BAD_ARGUMENT"]);
      }
      assertEquals(requests, 0);
    });

    it("deletes what it is told to, and nothing else; absent objects are no error", async () => {
      const names = ["delete/a", "delete/ab", "delete/b"];
      for (const name of names) await store.putKey(name, new Uint8Array(1));
      assertEquals(await store.deleteKeys(["delete/a", "delete/none", "delete/b"]), undefined);
      assertEquals(await store.hasKeys(names), [false, true, false]);
      await store.deleteKeys(["delete/a"]);
      assertEquals((await store.fetchKeys(["delete/a"])).map(codeOf), ["NOT_FOUND"]);
      await store.putKey("delete/a", Uint8Array.from([2]));
      assertEquals(await store.fetchKeys(["delete/a"]), [Uint8Array.from([2])]);
    });

    it("lists more than 1,000 names in ascending order, a page at a time", async () => {
      const names = Array.from({ length: 1050 }, (_, i) => `list/in/${String(i).padStart(5, "0")}~.-_`);
      const others = ["list/i", "list/in", "list/ina", "list/on/1"];
      await inPool([...names, ...others], 16, (name) => store.putKey(name, new Uint8Array(1)));
      const listed = await listAll(store, "list/in/");
      assertEquals(listed.names, names);
      assert(listed.pages >= 2, "one page holds 1,000 names at most");
      assertEquals(await listAll(store, "list/in/0000"), { names: names.slice(0, 10), pages: 1 });
      assertEquals(await listAll(store, "list/nothing"), { names: [], pages: 1 });
      assertEquals((await listAll(store, "list/i")).names, ["list/i", "list/in", ...names, "list/ina"]);
      assertEquals((await store.hasKeys([...names, "list/in/x"])).filter((has) => has === true).length, 1050);
      await store.deleteKeys(names);
      assertEquals(await listAll(store, "list/in/"), { names: [], pages: 1 });
    });

    it("serves many calls at once", async () => {
      const names = Array.from({ length: 120 }, (_, i) => `many/${i}`);
      const put = await Promise.all(names.map((name, i) => store.putKey(name, randomBytes(1000, i))));
      assertEquals(put, names.map(() => true));
      const [together, ...alone] = await Promise.all([
        store.fetchKeys(names),
        ...names.map((name) => store.fetchKeys([name])),
      ]);
      const failures = [...together, ...alone.flat()].filter((slot) => slot instanceof Error);
      assertEquals(failures.map(String), []);
      assertEquals(together, names.map((_, i) => randomBytes(1000, i)));
      assertEquals(alone.flat(), together);
    });

    it("resolves without names", async () => {
      assertEquals(await store.fetchKeys([]), []);
      assertEquals(await store.fetchRanges([]), []);
      assertEquals(await store.hasKeys([]), []);
      assertEquals(await store.deleteKeys([]), undefined);
    });

    it("does nothing once its signal is aborted, and rejects with the signal's reason", async () => {
      await store.putKey("abort/there", Uint8Array.from([1]));
      const reason = new Error("enough");
      const options = { signal: AbortSignal.abort(reason) };
      const calls: (() => Promise<unknown>)[] = [
        () => store.putKey("abort/new", new Uint8Array(1), options),
        () => store.fetchKeys(["abort/there"], options),
        () => store.fetchRanges([{ name: "abort/there", offset: 0, length: 1 }], options),
        () => store.hasKeys(["abort/there"], options),
        () => store.deleteKeys(["abort/there"], options),
        () => store.listKeys("abort/", undefined, options),
      ];
      for (const call of calls) assertEquals(await assertRejects(call), reason);
      assertEquals(await store.hasKeys(["abort/there", "abort/new"]), [true, false]);
    });
  });
}

async function inPool(names: string[], size: number, act: (name: string) => Promise<unknown>): Promise<void> {
  const queue = [...names];
  await Promise.all(Array.from({ length: size }, async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) await act(name);
  }));
}
