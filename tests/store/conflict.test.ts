/** A key that is in Redis although its record says evicted: the archived value all the same, or a blind write? */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Datastore, TundraStore } from "../../mod.ts";
import { hooked, tundraError, withArchive } from "../support/fixtures.ts";

describe("what is there although it is evicted", () => {
  const stack = withArchive();
  const { raw } = stack;
  beforeEach(() => stack.flush());

  const FIELDS = Array.from({ length: 600 }, (_, i) => [`field ${i}`, `value ${i}`]).flat();
  const MEMBERS = FIELDS.filter((_, i) => i % 2 === 0);
  const MORE = Array.from({ length: 3_000 }, (_, i) => `more ${i}`);

  /** The same value, in another order of bytes: as a server with another hash seed has it. */
  const TYPES: [type: string, make: () => Promise<unknown>, again: () => Promise<unknown>][] = [
    ["hash", () => raw("HSET", "k", ...FIELDS), async () => {
      await raw("HSET", "k", ...MORE.flatMap((name) => [name, "x"]));
      await raw("HSET", "k", ...FIELDS);
      await raw("HDEL", "k", ...MORE);
    }],
    ["set", () => raw("SADD", "k", ...MEMBERS), async () => {
      await raw("SADD", "k", ...MORE);
      await raw("SADD", "k", ...MEMBERS);
      await raw("SREM", "k", ...MORE);
    }],
    ["sorted set", () => raw("ZADD", "k", ...MEMBERS.flatMap((member, i) => [i, member])), async () => {
      await raw("ZADD", "k", ...MEMBERS.flatMap((member, i) => [i, member]).slice(0, 20));
      await raw("ZADD", "k", ...MEMBERS.flatMap((member, i) => [i, member]));
    }],
    ["list", () => raw("RPUSH", "k", ...MEMBERS), async () => {
      await raw("RPUSH", "k", "other", ...MEMBERS);
      await raw("LPOP", "k");
    }],
    ["string", () => raw("SET", "k", "12"), () => raw("SET", "k", "12")],
  ];

  /** Archived and evicted. */
  async function evicted(make: () => Promise<unknown>, datastore?: Datastore): Promise<TundraStore> {
    const store = stack.store({ datastore });
    await make();
    await store.dirty("k");
    await store.tick();
    assertEquals((await store.evict("k")).evicted, ["k"]);
    return store;
  }

  for (const [type, make, again] of TYPES) {
    it(`a ${type} with the same content in other bytes is no conflict: ensureKs() and evict() go on`, async () => {
      const store = await evicted(make);
      for (const end of [() => store.ensureKs("k"), () => store.evict("k")]) {
        await again();
        const { fp } = (await stack.record("k"))!;
        await end();
        const record = (await stack.record("k"))!;
        if (await stack.exists("k") === 1) {
          assertEquals(record.flag, "r");
          if (type === "hash" || type === "set") assertNotEquals(record.fp, fp, "the bytes are the same: try others");
          assertEquals((await store.evict("k")).evicted, ["k"]);
        }
        assertEquals([(await stack.record("k"))!.flag, await stack.exists("k")], ["e", 0]);
      }
      const names = (await raw("KEYS", "tundra:*:tmp:*")) as unknown[];
      assertEquals(names.length, 0);
      await store.ensureKs("k");
      assertEquals(await stack.exists("k"), 1);
    });

    it(`a partial ${type} is one: nothing changes, and discard drops it alone, so that ensureKs() brings the whole one back`, async () => {
      const store = await evicted(make);
      const whole = stack.objectNames();
      if (type === "hash") await raw("HSET", "k", "field 1", "other");
      else if (type === "set") await raw("SADD", "k", "other");
      else if (type === "sorted set") await raw("ZADD", "k", "1", "other");
      else if (type === "list") await raw("RPUSH", "k", "other");
      else await raw("APPEND", "k", "3");
      const before = await raw("DUMP", "k");
      const error = await tundraError("CONFLICT", () => store.ensureKs("k"));
      const [first] = /evict\(\{ discard: true \}|del\(\)|overwrite/.exec(error.message) ?? [];
      assertEquals(first, "evict({ discard: true }");
      assertEquals((await store.evict("k")).kept, { k: "conflict" });
      assertEquals(String(await raw("DUMP", "k")), String(before));
      assertEquals(await store.evict({ discard: true }, "k"), { evicted: ["k"], kept: {} });
      assertEquals([await stack.exists("k"), (await stack.record("k"))!.flag], [0, "e"]);
      assertEquals(stack.objectNames(), whole);
      await store.ensureKs("k");
      assertEquals((await store.evict("k")).evicted, ["k"]); // the very bytes
    });
  }

  it("discard keeps what the archive does not provably hold", async () => {
    const archive = stack.datastore();
    const store = await evicted(() => raw("SET", "k", "whole"));
    await raw("APPEND", "k", "partial");
    const unknowing = stack.store({
      datastore: hooked(archive, { fetchKeys: (names) => Promise.resolve(names.map(() => new Error("503"))) }),
    });
    assertEquals((await unknowing.evict({ discard: true }, "k")).kept, { k: "unknown" });
    const error = await tundraError("ENSURE_FAILED", () => unknowing.ensureKs("k"));
    assert(error.retryable);
    for (const name of stack.objectNames()) await archive.deleteKeys([name]);
    assertEquals((await store.evict({ discard: true }, "k")).kept, { k: "conflict" });
    assertEquals(await stack.get("k"), "partial");
  });

  it("discard is evict() for every other key: what was not archived stays", async () => {
    const store = await evicted(() => raw("SET", "k", "whole"));
    await raw("MSET", "dirty", "1", "never", "2", "unmarked", "3");
    await store.dirty("dirty", "unmarked");
    await store.tick();
    await store.dirty("dirty");
    await raw("SET", "unmarked", "4");
    assertEquals(await store.evict({ discard: true }, "k", "dirty", "never", "unmarked"), {
      evicted: ["k"],
      kept: { dirty: "dirty", never: "never archived", unmarked: "rescued" },
    });
    assertEquals(await stack.exists("dirty", "never", "unmarked"), 3);
    await tundraError("BAD_ARGUMENT", () => store.evict({ discard: 1 } as never, "k"));
    await tundraError("BAD_ARGUMENT", () => store.evict({ keep: true } as never, "k"));
  });
});
