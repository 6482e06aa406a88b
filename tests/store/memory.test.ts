/**
 * The memory of ensureKs(): values that the datastore has handed out and that are not yet restored. Many large ones
 * together must fit a Worker, and small ones must cost no more requests for it.
 */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater } from "@std/assert";
import type { TundraStore } from "../../mod.ts";
import { placeOf } from "../../src/archive/place.ts";
import { hooked, names, type StoreOptions, tundraError, withArchive } from "../support/fixtures.ts";
import { seededRandom } from "../support/random.ts";

const MB = 1_048_576;
/** The bytes of an object besides its value. */
const HEAD = 1_024;

function noise(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

/** Evicted keys with values of these sizes. */
async function evictedKeys(stack: ReturnType<typeof withArchive>, sizes: number[]): Promise<string[]> {
  const keys = names(sizes.length);
  for (const [i, key] of keys.entries()) await stack.raw("SET", key, noise(sizes[i]!));
  const store = stack.store({ freezer: null });
  await store.dirty(keys);
  for (let done = false; !done;) ({ done } = await store.tick());
  assertEquals((await store.evict(keys)).evicted.length, keys.length);
  return keys;
}

describe("the bytes in flight of ensureKs()", () => {
  const stack = withArchive({ packBytes: 0 });
  beforeEach(() => stack.flush());

  const evicted = (sizes: number[]) => evictedKeys(stack, sizes);

  /** A store that counts bytes that its datastore has handed out, until the request that restores them is answered. */
  function watched(options: StoreOptions): TundraStore & { peak: number; fetches: number[]; restores: number } {
    const out = new Map<string, number>();
    const datastore = stack.datastore();
    const self = { peak: 0, fetches: [] as number[], restores: 0 };
    const store = stack.store({
      freezer: null,
      ...options,
      datastore: hooked(datastore, {
        async fetchKeys(names, call) {
          const objects = await datastore.fetchKeys(names, call);
          self.fetches.push(names.length);
          names.forEach((name, i) => out.set(name.split("/")[1]!, (objects[i] as Uint8Array).length));
          self.peak = Math.max(self.peak, [...out.values()].reduce((sum, bytes) => sum + bytes, 0));
          return objects;
        },
      }),
      redis: {
        async fetch(url, init) {
          const reply = await fetch(url, init);
          const body = String(init!.body);
          const back = [...out.keys()].filter((segment) => body.includes(`"${segment.replace(".3A", ":")}"`));
          if (back.length > 0) self.restores++;
          for (const segment of back) out.delete(segment);
          return reply;
        },
      },
    });
    return Object.assign(self, store);
  }

  it("are at most maxBytesInFlight, whatever the sizes and their order", async () => {
    const random = seededRandom("bytes in flight");
    const mixed = Array.from({ length: 60 }, () => random.int(random.pick([500, 40_000, 300_000])));
    const smallFirst = [...Array.from({ length: 80 }, () => 300), ...Array.from({ length: 20 }, () => 250_000)];
    for (const sizes of [mixed, smallFirst, smallFirst.toReversed()]) {
      await stack.flush();
      const keys = await evicted(sizes);
      const store = watched({ maxBytesInFlight: MB });
      await store.ensureKs(keys);
      assertEquals(await stack.exists(...keys), keys.length);
      assert(store.peak <= MB, `${store.peak} bytes in flight`);
      assertGreater(store.peak, MB / 3);
    }
  });

  it("are those of one value if it is larger than the bound", async () => {
    const sizes = [1_500_000, 2_000_000, 1_200_000];
    const keys = await evicted(sizes);
    const store = watched({ maxBytesInFlight: MB });
    await store.ensureKs(keys);
    assertEquals(await stack.exists(...keys), 3);
    assert(store.peak <= 2_000_000 + HEAD, `${store.peak} bytes in flight`);
    assertEquals(store.fetches, [1, 1, 1]);
  });

  it("are at most 16 MiB by default, and requests as full as ever", async () => {
    const keys = await evicted(Array.from({ length: 9 }, () => 2_000_000));
    const store = watched({});
    await store.ensureKs(keys);
    assertEquals(await stack.exists(...keys), 9);
    assert(store.peak <= 16 * MB, `${store.peak} bytes in flight`);
    assertGreater(store.peak, 8 * MB);
    assertEquals(store.restores, 5); // two a request: three would not fit
  });

  it("small values are fetched 128 at a time and come back in one request", async () => {
    const keys = await evicted(Array.from({ length: 300 }, (_, i) => i));
    const store = watched({ maxBytesInFlight: MB });
    await store.ensureKs(keys);
    assertEquals(await stack.exists(...keys), 300);
    assertEquals([store.fetches, store.restores], [[128, 128, 44], 1]);
  });

  it("count a value whose size its record does not say for as large as a request may be", async () => {
    const keys = await evicted([300, 300, 300]);
    for (const key of keys) await stack.editRecord(key, { kb: 0 });
    const store = watched({ maxBytesInFlight: MB });
    await store.ensureKs(keys);
    assertEquals(await stack.exists(...keys), 3);
    assertEquals(store.fetches, [1, 1, 1]);
  });

  it("are known from the record: what a tick archived, and what came back of a newer version", async () => {
    const [key] = await evicted([5_000]) as [string];
    assertEquals((await stack.record(key))!.kb, 5);
    await stack.store({ freezer: null }).ensureKs(key);
    const dump = await stack.raw("DUMP", key) as Uint8Array;
    assertEquals((await stack.record(key))!.kb, Math.ceil(dump.length / 1024));
  });

  it("a bound below 1 MiB, or that is no whole number, is BAD_ARGUMENT", async () => {
    for (const maxBytesInFlight of [MB - 1, 0, -1, 2.5e6 + 0.5, NaN, "8 MB" as unknown as number]) {
      const { message } = await tundraError("BAD_ARGUMENT", () => stack.store({ maxBytesInFlight }));
      assert(message.includes("maxBytesInFlight") && message.includes("1048576"), message);
    }
    stack.store({ maxBytesInFlight: Infinity });
  });
});

describe("the bytes in flight of ensureKs() from packs", () => {
  const stack = withArchive();
  beforeEach(() => stack.flush());

  /** Evicted keys of these sizes, and the unit of the archive that holds each: its block, or an object of its own. */
  async function evicted(sizes: number[]): Promise<Map<string, string>> {
    const keys = await evictedKeys(stack, sizes);
    const units = await Promise.all(keys.map(async (key) => {
      const { pack, offset } = placeOf((await stack.record(key))!.ver);
      return pack === "" ? key : `${pack} ${offset}`;
    }));
    return new Map(keys.map((key, i) => [key, units[i]!]));
  }

  /**
   * A store that counts bytes of values that its datastore has handed out, until the request that restores them is
   * answered.
   */
  function watched(sizes: number[], units: Map<string, string>, maxBytesInFlight: number) {
    const bytesOf = new Map([...units.keys()].map((key, i) => [key, sizes[i]!]));
    const datastore = stack.datastore();
    const out = new Set<string>();
    const self = { peak: 0, units: [] as string[], ranges: 0 };
    const handOut = (holds: (unit: string) => boolean) => {
      const keys = [...units].filter(([, unit]) => holds(unit)).map(([key]) => key);
      for (const key of keys) out.add(key);
      self.units.push(...new Set(keys.map((key) => units.get(key)!)));
      self.peak = Math.max(self.peak, [...out].reduce((sum, key) => sum + bytesOf.get(key)!, 0));
    };
    const store = stack.store({
      freezer: null,
      maxBytesInFlight,
      datastore: hooked(datastore, {
        async fetchKeys(names, call) {
          const objects = await datastore.fetchKeys(names, call);
          for (const name of names) handOut((unit) => unit.replace(":", ".3A") === name.split("/")[1]);
          return objects;
        },
        async fetchRanges(reads, call) {
          const ranges = await datastore.fetchRanges(reads, call);
          self.ranges += reads.length;
          for (const { name, offset, length } of reads) {
            handOut((unit) => {
              const [pack, from] = unit.split(" ");
              return name.endsWith(`/${pack}`) && offset <= Number(from) && Number(from) < offset + length;
            });
          }
          return ranges;
        },
      }),
      redis: {
        async fetch(url, init) {
          const reply = await fetch(url, init);
          const body = String(init!.body);
          for (const key of out) if (body.includes(`"${key}"`)) out.delete(key);
          return reply;
        },
      },
    });
    return Object.assign(self, { store });
  }

  it("are at most maxBytesInFlight, whatever the sizes and their order, and each block is read once", async () => {
    const random = seededRandom("bytes in flight from packs");
    const mixed = Array.from({ length: 150 }, () => random.int(random.pick([500, 20_000, 60_000, 100_000])));
    const small = Array.from({ length: 1_000 }, () => 1_000 + random.int(3_000));
    const smallFirst = [...Array.from({ length: 200 }, () => 300), ...Array.from({ length: 40 }, () => 60_000)];
    for (const sizes of [mixed, small, smallFirst, smallFirst.toReversed()]) {
      await stack.flush();
      const units = await evicted(sizes);
      const self = watched(sizes, units, MB);
      await self.store.ensureKs([...units.keys()]);
      assertEquals(await stack.exists(...units.keys()), sizes.length);
      assert(self.peak <= MB, `${self.peak} bytes in flight`);
      assertGreater(self.peak, MB / 4);
      const blocks = new Set(units.values()).size;
      assert(self.units.length <= 1.5 * blocks, `${self.units.length} reads of ${blocks} blocks`);
    }
  });

  it("small values come back in one range and one request", async () => {
    const sizes = Array.from({ length: 300 }, (_, i) => i);
    const units = await evicted(sizes);
    const self = watched(sizes, units, MB);
    await stack.store().ensureKs("other"); // Redis knows the script of a check
    await stack.server.resetCounters();
    await self.store.ensureKs([...units.keys()]);
    assertEquals(await stack.exists(...units.keys()), 300);
    assertEquals([stack.server.requests, self.ranges, self.units.length], [2, 1, new Set(units.values()).size]);
  });
});
