/** The archive in memory. */
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { memoryDatastore } from "../../src/datastores/memory.ts";
import { datastoreConformance } from "./datastore.ts";

datastoreConformance("in memory", () => Promise.resolve({ store: memoryDatastore(), stop: () => Promise.resolve() }));

describe("memoryDatastore", () => {
  it("shows its objects, and damage done to them", async () => {
    const store = memoryDatastore();
    await store.putKey("a", Uint8Array.from([1, 2]));
    store.objects.get("a")![0] = 9;
    assertEquals(await store.fetchKeys(["a"]), [Uint8Array.from([9, 2])]);
    assertEquals([...store.objects.keys()], ["a"]);
  });

  it("shares nothing with another one", async () => {
    const [one, other] = [memoryDatastore(), memoryDatastore()];
    await one.putKey("a", new Uint8Array(1));
    assertEquals(await other.hasKeys(["a"]), [false]);
  });
});
