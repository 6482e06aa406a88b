/**
 * The cases about `fetchRanges`.
 * @module
 */
import type { RangeRead } from "../../datastores/datastore.ts";
import { codeOf, equal, must, sameBytes } from "./assertions.ts";
import type { Case, Trial } from "./trial.ts";

export const rangeCases: Case[] = ([
  { title: "gives back exactly the ranges that were asked for, in the order of the reads", act: readsRanges },
  {
    title: "gives back the first byte alone",
    async act({ store }) {
      await store.putKey("ranges/first", Uint8Array.from([1, 2, 3]));
      const slots = await store.fetchRanges([{ name: "ranges/first", offset: 0, length: 1 }]);
      equal(slots, [Uint8Array.from([1])], "the range");
    },
  },
  {
    title: "gives back ranges that are copies",
    async act({ store }) {
      await store.putKey("ranges/copied", Uint8Array.from([1, 2, 3, 4]));
      const read = { name: "ranges/copied", offset: 1, length: 2 };
      const [first, second] = await store.fetchRanges([read, read]) as [Uint8Array, Uint8Array];
      first.fill(9);
      equal(second, Uint8Array.from([2, 3]), "the second range, after the first has changed");
      equal(await store.fetchKeys(["ranges/copied"]), [Uint8Array.from([1, 2, 3, 4])], "the object");
    },
  },
  {
    title: "says NOT_FOUND of a range only if the object is absent; a range behind its end is CORRUPT",
    act: knowsTheEnd,
  },
  { title: "refuses a range that cannot be, before it asks for any", act: refusesRanges },
] satisfies Case[]).map((each) => ({ ...each, needs: ["fetchRanges"] }));

async function readsRanges({ store, randomBytes }: Trial): Promise<void> {
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
  equal(slots.length, reads.length, "the number of slots");
  for (const [i, { name, offset, length }] of asked.entries()) {
    sameBytes(slots[i], values[name]!.slice(offset, offset + length), `range ${i}`);
  }
  equal(reads, asked, "the reads, which must not change");
}

async function knowsTheEnd({ store, randomBytes }: Trial): Promise<void> {
  await store.putKey("ranges/ten", randomBytes(10, 4));
  await store.putKey("ranges/empty", new Uint8Array(0));
  const slots = await store.fetchRanges([
    { name: "ranges/ten", offset: 9, length: 2 }, // one byte too many
    { name: "ranges/none", offset: 0, length: 1 },
    { name: "ranges/ten", offset: 11, length: 1 },
    { name: "ranges/ten", offset: 8, length: 2 },
    { name: "ranges/ten", offset: 1e15, length: 1e15 },
    { name: "ranges/ten", offset: 0, length: 11 },
    { name: "ranges/ten/none", offset: 5, length: 5 },
    { name: "ranges/ten", offset: 10, length: 1 },
    { name: "ranges/empty", offset: 0, length: 1 },
  ]);
  const atEnd = slots.splice(-2).map(codeOf);
  equal(slots.map(codeOf), [
    "CORRUPT",
    "NOT_FOUND",
    "CORRUPT",
    randomBytes(10, 4).slice(8),
    "CORRUPT",
    "CORRUPT",
    "NOT_FOUND",
  ], "the slots");
  // some servers do not know this end
  must(atEnd.every((code) => code === "CORRUPT" || code === "UNAVAILABLE"), "no range may begin at an object's end");
  const { message } = slots[1] as Error;
  must(message.includes("ranges/none"), `the message must name the object: ${message}`);
}

async function refusesRanges({ store }: Trial): Promise<void> {
  await store.putKey("ranges/there", Uint8Array.from([1, 2, 3]));
  const good = { name: "ranges/there", offset: 0, length: 1 };
  const bad = [
    ...[-1, 0.5, NaN, Infinity, 2 ** 53, "0", null, undefined].map((offset) => ({ ...good, offset })),
    ...[0, -1, 1.5, NaN, Infinity, 2 ** 53, "1", null, undefined].map((length) => ({ ...good, length })),
    { ...good, offset: Number.MAX_SAFE_INTEGER, length: Number.MAX_SAFE_INTEGER },
  ];
  let requests = 0;
  for (const read of bad) {
    const fetched = store.fetchRanges([good, read as RangeRead], { onRequest: () => void requests++ });
    const outcome = await fetched.then(() => "it was fetched", codeOf);
    equal(outcome, "BAD_ARGUMENT", `the error of the offset ${read.offset} with the length ${read.length}`);
  }
  equal(requests, 0, "the number of requests");
}
