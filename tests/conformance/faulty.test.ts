/** `faultyDatastore`: its faults are those that it names, on the side of the effect that it names, and come again. */
import { describe, it } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Datastore, memoryDatastore, TundraError } from "../../mod.ts";
import { type DatastoreFault, faultyDatastore } from "../../src/testing/mod.ts";
import { datastoreConformance } from "./datastore.ts";

const one = Uint8Array.from([1]);

datastoreConformance("in memory, late at every call", () => {
  return Promise.resolve(faultyDatastore(memoryDatastore(), { rate: 1, faults: ["delay"], maxDelayMs: 1 }));
});

/** Always this fault, on objects that one can look at. */
function always(fault: DatastoreFault, objects: string[] = []) {
  const inner = memoryDatastore();
  for (const name of objects) inner.objects.set(name, one);
  return { inner, faulty: faultyDatastore(inner, { rate: 1, faults: [fault], maxDelayMs: 5 }) };
}

describe("faultyDatastore", () => {
  it("refuses before the effect", async () => {
    const { inner, faulty } = always("refused", ["a"]);
    const calls: (() => Promise<unknown>)[] = [
      () => faulty.putKey("b", one),
      () => faulty.fetchKeys(["a"]),
      () => faulty.fetchRanges!([{ name: "a", offset: 0, length: 1 }]),
      () => faulty.hasKeys!(["a"]),
      () => faulty.listKeys!(""),
      () => faulty.deleteKeys!(["a"]),
    ];
    for (const call of calls) assertEquals((await assertRejects(call, TundraError)).code, "UNAVAILABLE");
    assertEquals([...inner.objects.keys()], ["a"]);
    assertEquals(faulty.met.map(({ call, fault }) => [call, fault]), [
      ["putKey", "refused"],
      ["fetchKeys", "refused"],
      ["fetchRanges", "refused"],
      ["hasKeys", "refused"],
      ["listKeys", "refused"],
      ["deleteKeys", "refused"],
    ]);
  });

  it("loses the reply after the effect", async () => {
    const { inner, faulty } = always("lost", ["a"]);
    await assertRejects(() => faulty.putKey("b", one), TundraError);
    assertEquals([...inner.objects.keys()], ["a", "b"]);
    await assertRejects(() => faulty.deleteKeys!(["a"]), TundraError);
    assertEquals([...inner.objects.keys()], ["b"]);
    await assertRejects(() => faulty.fetchKeys(["b"]), TundraError);
    const parts = async function* () {
      yield await Promise.resolve(one);
    };
    await assertRejects(() => faulty.putParts!("c", parts()), TundraError);
    assertEquals([...inner.objects.keys()], ["b", "c"]);
  });

  it("has a late effect after the call has failed, of the bytes that were given", async () => {
    const { inner, faulty } = always("late", ["a"]);
    const bytes = Uint8Array.from([1, 2]);
    await assertRejects(() => faulty.putKey("b", bytes), TundraError);
    await assertRejects(() => faulty.deleteKeys!(["a"]), TundraError);
    bytes.fill(9);
    assertEquals([...inner.objects.keys()], ["a"]);
    await faulty.settled();
    assertEquals([...inner.objects], [["b", Uint8Array.from([1, 2])]]);
    assertEquals(await faulty.fetchKeys(["b"]), [Uint8Array.from([1, 2])]); // a read has no late effect
  });

  it("fails some slots of a read, and deletes some of what it was told to", async () => {
    const names = Array.from({ length: 40 }, (_, i) => `n/${i}`);
    const { inner, faulty } = always("partial", names);
    const slots = await faulty.fetchKeys(names);
    const failed = slots.filter((slot) => slot instanceof TundraError && slot.code === "UNAVAILABLE").length;
    assert(failed > 5 && failed < 35, `${failed} of 40`);
    assertEquals(slots.filter((slot) => slot instanceof Uint8Array).length, 40 - failed);
    await assertRejects(() => faulty.deleteKeys!(names), TundraError);
    assert(inner.objects.size > 5 && inner.objects.size < 35, `${inner.objects.size} of 40`);
  });

  it("meets the same faults again with the same seed, others with another, as many as its rate, until it is healed", async () => {
    const play = async (seed: number) => {
      const faulty = faultyDatastore(memoryDatastore(), { seed, rate: 0.3, maxDelayMs: 0 });
      for (let i = 0; i < 200; i++) await faulty.putKey(`a/${i}`, one).catch(() => {});
      const met = [...faulty.met];
      faulty.heal();
      for (let i = 0; i < 50; i++) await faulty.putKey(`b/${i}`, one);
      assertEquals(faulty.met.length, met.length);
      return met;
    };
    const first = await play(7);
    assertEquals(await play(7), first);
    assert(first.length > 40 && first.length < 80, `${first.length} of 200`);
    assert(JSON.stringify(await play(8)) !== JSON.stringify(first));
  });

  it("has only the functions of the datastore in it, and refuses a rate that is none", () => {
    const { putKey, fetchKeys } = memoryDatastore();
    const two: Datastore = { putKey, fetchKeys };
    const faulty = faultyDatastore(two);
    assertEquals(["putParts", "fetchRanges", "hasKeys", "deleteKeys", "listKeys"].filter((name) => name in faulty), []);
    for (const rate of [-0.1, 1.1, NaN]) {
      let code: unknown;
      try {
        faultyDatastore(two, { rate });
      } catch (error) {
        code = (error as TundraError).code;
      }
      assertEquals(code, "BAD_ARGUMENT");
    }
  });
});
