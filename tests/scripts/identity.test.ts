import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { memoryDatastore, type PutOptions, TundraError, type TundraStore, tundraStore } from "../../mod.ts";
import { proposeId, replaceId } from "../../src/scripts/id.ts";
import { versionsIn } from "../support/fixtures.ts";
import { withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

const OWNERS = "default/~owner/";

describe("the index's id:", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(() => stack.flush());

  const id = async (): Promise<string | undefined> => {
    const reply = await raw("GET", "tundra:default:id");
    return reply === null ? undefined : String(reply);
  };

  describe("propose", () => {
    it("gives the id to the first one to come, without a TTL", async () => {
      assertEquals(await proposeId(tools.index, "first"), "new:first");
      assertEquals([await id(), await tools.expiry("tundra:default:id")], ["new:first", -1]);
    });

    it("replies what is there to all others, and changes nothing", async () => {
      for (const there of ["new:first", "first"]) {
        await raw("MSET", "tundra:default:id", there, "tundra:default:tick", "0");
        assertEquals(await proposeId(tools.index, "second"), there);
        assertEquals(await id(), there);
      }
    });

    it("does nothing as a late copy, once the id is confirmed", async () => {
      const { again } = await tools.copied(() => proposeId(tools.index, "first"));
      await replaceId(tools.index, "new:first", "first");
      await again();
      assertEquals(await id(), "first");
    });
  });

  describe("replace", () => {
    it("confirms what was proposed, without a TTL, and may run twice", async () => {
      await proposeId(tools.index, "first");
      assertEquals(await replaceId(tools.index, "new:first", "first"), "first");
      assertEquals(await replaceId(tools.index, "new:first", "first"), "first");
      assertEquals([await id(), await tools.expiry("tundra:default:id")], ["first", -1]);
    });

    it("replies what is there if that is something else, and changes nothing", async () => {
      for (const there of ["new:first", "first"]) {
        await raw("SET", "tundra:default:id", there);
        assertEquals(await replaceId(tools.index, "new:second", "second"), there);
        assertEquals(await id(), there);
      }
    });

    it("makes no id of an index that was lost meanwhile: a late copy must not", async () => {
      await proposeId(tools.index, "first");
      const { again } = await tools.copied(() => replaceId(tools.index, "new:first", "first"));
      await raw("FLUSHDB");
      assertEquals(await replaceId(tools.index, "new:first", "first"), "");
      await again();
      assertEquals(await id(), undefined);
    });

    it("withdraws a proposal for another one, and a late copy of the first does not bring it back", async () => {
      const { again } = await tools.copied(() => proposeId(tools.index, "first"));
      assertEquals(await replaceId(tools.index, "new:first", "new:second"), "new:second");
      await again();
      assertEquals(await id(), "new:second");
    });
  });

  it("each of the two costs 1 request and 4 commands, and works on a Redis that is full", async () => {
    await proposeId(tools.index, "x");
    await replaceId(tools.index, "new:x", "x");
    await raw("DEL", "tundra:default:id");
    await raw("SET", "large", "x".repeat(200_000));
    await raw("CONFIG", "SET", "maxmemory", "100kb");
    try {
      assertEquals(await tools.bill(() => proposeId(tools.index, "x")), { requests: 1, billable: 4 });
      assertEquals(await tools.bill(() => replaceId(tools.index, "new:x", "x")), { requests: 1, billable: 4 });
    } finally {
      await raw("CONFIG", "SET", "maxmemory", "0");
    }
    assertEquals(await id(), "x");
  });
});

describe("index and archive", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);
  let archive: ReturnType<typeof faultyArchive>;
  let store: TundraStore;

  beforeEach(async () => {
    await stack.flush();
    archive = faultyArchive();
    store = makeStore();
  });

  /** An archive in memory whose calls tests can watch and break. */
  function faultyArchive() {
    const memory = memoryDatastore();
    const puts: string[] = [];
    const faults: {
      put?: (name: string) => Error | undefined | Promise<undefined>;
      putLate?: (name: string) => Error | undefined;
      fetch?: (names: string[]) => Promise<(Uint8Array | Error)[]> | undefined;
      list?: (prefix: string) => Promise<{ names: string[] }> | undefined;
    } = {};
    return {
      memory,
      puts,
      faults,
      /** The id in the owner objects, all of which hold the same. */
      owner: () => {
        const owners = [...memory.objects].filter(([name]) => name.startsWith(OWNERS));
        const ids = new Set(owners.map(([, bytes]) => new TextDecoder().decode(bytes)));
        assert(ids.size <= 1, [...ids].join());
        return [...ids][0];
      },
      datastore: {
        ...memory,
        async putKey(name: string, value: Uint8Array, options?: PutOptions): Promise<true> {
          const before = await faults.put?.(name);
          if (before) throw before;
          puts.push(name);
          await memory.putKey(name, value, options);
          const after = faults.putLate?.(name);
          if (after) throw after;
          return true;
        },
        fetchKeys: async (names: string[]): Promise<(Uint8Array | Error)[]> =>
          await faults.fetch?.(names) ?? await memory.fetchKeys(names),
        listKeys: async (prefix: string) => await faults.list?.(prefix) ?? await memory.listKeys(prefix),
      },
    };
  }

  const makeStore = (): TundraStore => tundraStore(archive.datastore, { redis: stack.connection });
  const id = async () => String(await raw("GET", "tundra:default:id"));

  async function archived(key: string, value: string): Promise<void> {
    await raw("SET", key, value);
    await store.dirty(key);
    await store.tick();
    assertEquals((await store.evict(key)).evicted, [key]);
  }

  const down = () => new TundraError("UNAVAILABLE", "Cannot reach the archive: no route");
  const onlyOwner = (names: string[] | string) => [names].flat().every((name) => name.startsWith(OWNERS));

  const operations: Record<string, () => Promise<unknown>> = {
    ensureKs: () => store.ensureKs("a"),
    tick: () => store.tick(),
    evict: () => store.evict("a"),
    del: () => store.del("a"),
  };

  async function assertAllReject(code: string, message: RegExp): Promise<void> {
    for (const [name, act] of Object.entries(operations)) {
      const before = await tools.everything();
      const objects = [...archive.memory.objects.keys()];
      const error = await assertRejects(act, TundraError);
      assertEquals(error.code, code, `${name}: ${error.message}`);
      assertMatch(error.message, message, name);
      assertEquals(await tools.everything(), before, name);
      assertEquals([...archive.memory.objects.keys()], objects, name);
    }
  }

  describe("that are new", () => {
    it("get the same id by the first tick, the archive before any other object", async () => {
      await raw("SET", "a", "1");
      await store.dirty("a");
      assertEquals((await store.tick()).frozen, 1);
      assertMatch(await id(), /^[0-9a-f]{8}-[0-9a-f-]{27}@127\.0\.0\.1:\d+$/);
      assertEquals(archive.owner(), await id());
      assertEquals(archive.puts.map((name) => name.split("/")[1]), ["~owner", "~owner", "a"]);
    });

    it("keep it: a later tick asks once for the owner, ensureKs never", async () => {
      await archived("a", "1");
      const first = await id();
      let asked = 0;
      archive.faults.fetch = (names) => {
        if (onlyOwner(names)) asked++;
        return undefined;
      };
      await raw("SET", "b", "1");
      await store.dirty("b");
      assertEquals((await store.tick()).frozen, 1);
      await store.ensureKs("a");
      assertEquals([asked, await id(), archive.owner()], [1, first, first]);
    });

    it("hold nothing yet: ensureKs resolves, evict keeps all, del deletes", async () => {
      await raw("SET", "a", "1");
      await store.ensureKs("a", "nowhere");
      assertEquals(await store.evict("a"), { evicted: [], kept: { a: "never archived" } });
      assertEquals(await store.del("a"), 1);
      assertEquals(await raw("EXISTS", "a", "tundra:default:id"), 0);
    });

    it("are no one else's if two stores of other names share Redis and bucket", async () => {
      const other = tundraStore(archive.datastore, { redis: stack.connection, tqname: "other" });
      await store.tick();
      await other.tick();
      const both = [await id(), String(await raw("GET", "tundra:other:id"))];
      assert(both[0] !== both[1]);
      const owners = ["default/~owner/first", "other/~owner/first"].map((name) =>
        new TextDecoder().decode(archive.memory.objects.get(name))
      );
      assertEquals(owners, both);
    });

    it("end up with one id if several first ticks run at once, and freeze each key once", async () => {
      for (let round = 0; round < 8; round++) {
        await stack.flush();
        archive = faultyArchive();
        store = makeStore();
        for (let i = 0; i < 5; i++) await raw("SET", `k${i}`, "1");
        await store.dirty("k0", "k1", "k2", "k3", "k4");
        const reports = await Promise.all([makeStore(), makeStore(), makeStore()].map((each) => each.tick()));
        assertEquals(reports.map(({ errors }) => errors), [[], [], []]);
        assertEquals(reports.reduce((sum, { frozen }) => sum + frozen, 0), 5);
        assertEquals(archive.owner(), await id());
        assertEquals((await store.status()).dirty, 0);
        const versions = await versionsIn(archive.memory.objects);
        assertEquals(versions.map((each) => each.split(" ")[0]), ["k0", "k1", "k2", "k3", "k4"]);
      }
    });
  });

  describe("that are half begun", () => {
    it("put nothing, evict nothing and keep the queue while the owner object's PUT fails", async () => {
      await raw("SET", "a", "1");
      await store.dirty("a");
      archive.faults.put = (name) => onlyOwner(name) ? down() : undefined;
      const before = await tools.score("dirty", "a");
      for (let i = 0; i < 2; i++) {
        const error = await assertRejects(() => store.tick(), TundraError);
        assertEquals(error.code, "UNAVAILABLE");
        assertEquals(archive.memory.objects.size, 0);
        assertMatch(await id(), /^new:/);
        assertEquals(await store.evict("a"), { evicted: [], kept: { a: "never archived" } });
        await store.ensureKs("a");
        assertEquals(await tools.score("dirty", "a"), before);
      }
      assertEquals(String(await raw("GET", "a")), "1");
    });

    it("are finished by another, with the id that was proposed first; and then FLUSHDB is LOST", async () => {
      archive.faults.put = (name) => onlyOwner(name) ? down() : undefined;
      await assertRejects(() => store.tick(), TundraError);
      const proposed = await id();
      delete archive.faults.put;
      store = makeStore();
      await archived("a", "1");
      assertEquals([`new:${await id()}`, `new:${archive.owner()}`], [proposed, proposed]);
      await raw("FLUSHDB");
      await assertAllReject("LOST", /rebuild first/);
    });

    it("make no id if it went away before it was confirmed", async () => {
      await raw("SET", "a", "1");
      await store.dirty("a");
      archive.faults.put = async () => void await raw("DEL", "tundra:default:id");
      const error = await assertRejects(() => store.tick(), TundraError);
      assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
      assertEquals(await raw("EXISTS", "tundra:default:id"), 0);
      assert(archive.puts.every(onlyOwner), archive.puts.join());
      assertEquals((await store.status()).dirty, 1);
    });

    it("are finished if the owner object was put and the answer lost", async () => {
      archive.faults.putLate = (name) => onlyOwner(name) ? down() : undefined;
      await assertRejects(() => store.tick(), TundraError);
      const proposed = await id();
      assertEquals(`new:${archive.owner()}`, proposed);
      await store.ensureKs("a"); // no key was ever evicted: nothing is lost
      delete archive.faults.putLate;
      await archived("a", "1");
      assertEquals([`new:${await id()}`, `new:${archive.owner()}`], [proposed, proposed]);
      assertEquals(archive.puts.filter((name) => name.endsWith("/first")).length, 2); // the second one was refused: it was there
    });
  });

  describe("of which the index was lost", () => {
    beforeEach(async () => {
      await archived("a", "1");
    });

    it("are LOST to every call: rebuild first, nothing changed", async () => {
      await raw("FLUSHDB");
      await assertAllReject("LOST", /rebuild first/);
      await raw("SET", "a", "new");
      await assertAllReject("LOST", /rebuild first/);
    });

    it("are LOST to a store that was made after it, too", async () => {
      await raw("FLUSHDB");
      store = makeStore();
      await assertAllReject("LOST", /rebuild first/);
    });

    it("are LOST although the proposal of another first tick comes late", async () => {
      const owner = archive.owner();
      await raw("FLUSHDB");
      assertEquals(await proposeId(tools.index, stack.id("late")), stack.id("new:late"));
      await assertAllReject("LOST", /rebuild first/);
      assertEquals([await id(), archive.owner()], [stack.id("new:late"), owner]);
    });

    it("are LOST so if the datastore cannot list, too", async () => {
      const { listKeys: _, ...datastore } = archive.datastore;
      const owner = archive.owner()!;
      await raw("FLUSHDB");
      await proposeId(tools.index, stack.id("late"));
      store = tundraStore(datastore, { redis: stack.connection });
      await assertAllReject("LOST", /rebuild first/);
      assertEquals([await id(), archive.owner()], [stack.id("new:late"), owner]);
    });

    it("begin anew if the archive holds nothing but this database's owner objects: nothing can be lost", async () => {
      const owner = archive.owner()!;
      for (const name of archive.memory.objects.keys()) if (!onlyOwner(name)) archive.memory.objects.delete(name);
      await raw("FLUSHDB");
      store = makeStore();
      await archived("a", "2");
      const now = await id();
      assert(now !== owner);
      // the former one stays: this database's own others stand in nobody's way, its ticks' neither
      const owners = [...archive.memory.objects.keys()].filter(onlyOwner);
      assertEquals(owners.sort(), [owner, now, "first"].map((id) => OWNERS + id.split("@")[0]).sort());
      await archived("b", "3");
      assertEquals(await id(), now);
    });

    it("are LOST although the owner objects went first: the archive holds what an index has put there", async () => {
      for (const name of archive.memory.objects.keys()) if (onlyOwner(name)) archive.memory.objects.delete(name);
      await raw("FLUSHDB");
      await assertAllReject("LOST", /rebuild first/);
    });

    it("are LOST although the proposal that was confirmed comes once more: the archive holds more than its owner", async () => {
      const owner = archive.owner()!;
      await raw("FLUSHDB");
      assertEquals(await proposeId(tools.index, owner), `new:${owner}`);
      await assertAllReject("LOST", /rebuild first/);
      assertEquals(await id(), `new:${owner}`);
    });

    it("are fine for the keys once the id is back", async () => {
      const dump = await raw("DUMP", "tundra:default:rec:a") as Uint8Array;
      const owner = archive.owner()!;
      await raw("FLUSHDB");
      await assertRejects(() => store.ensureKs("a"), TundraError);
      await raw("RESTORE", "tundra:default:rec:a", 0, dump);
      await raw("SET", "tundra:default:id", owner);
      await assertAllReject("LOST", /put back by hand/); // without its seal
      await raw("SET", "tundra:default:tick", "0");
      await store.ensureKs("a");
      assertEquals(String(await raw("GET", "a")), "1");
    });

    it("are not lost if just the reader was behind: another first user had given the id", async () => {
      const owner = archive.owner()!;
      for (const seen of [undefined, stack.id("new:late")]) {
        await raw("DEL", "tundra:default:id", "a");
        if (seen) await raw("SET", "tundra:default:id", seen);
        archive.faults.list = (prefix) =>
          raw("SET", "tundra:default:id", owner).then(() => archive.memory.listKeys(prefix));
        await store.ensureKs("a");
        assertEquals(String(await raw("GET", "a")), "1", seen);
        await raw("DEL", "tundra:default:id");
        if (seen) await raw("SET", "tundra:default:id", seen);
        assertEquals((await store.evict("a")).evicted, ["a"], seen);
      }
      await raw("DEL", "tundra:default:id");
      assertEquals(await store.del("a"), 1);
      await raw("DEL", "tundra:default:id");
      assertEquals((await store.tick()).missing, 1);
    });
  });

  describe("if the archive cannot say who its owner is", () => {
    const answers: Record<string, () => Promise<(Uint8Array | Error)[]>> = {
      "an error in its place": () => Promise.resolve([new Error("503 SlowDown")]),
      "a call that fails": () => Promise.reject(new Error("no route")),
      "no answer": () => Promise.resolve([]),
      "a web page, as endpoints that are no object store answer": () =>
        Promise.resolve([new TextEncoder().encode("<!doctype html><title>Sign in</title>")]),
    };
    for (const [how, answer] of Object.entries(answers)) {
      it(`are UNAVAILABLE: ${how}`, async () => {
        await archived("b", "1");
        const confirmed = await id();
        archive.faults.fetch = (names) => onlyOwner(names) ? answer() : undefined;
        await raw("SET", "a", "1");
        await store.dirty("a");
        const before = await tools.everything();
        const report = await store.tick({ retryBackoffMs: 0 });
        assertEquals([report.claimed, report.failed, report.frozen], [1, 1, 0]);
        assertEquals(report.errors.map(({ key, code }) => [key, code]), [["a", "UNAVAILABLE"]]);
        assertMatch(report.errors[0]!.message, /owner/);
        const others = (keys: Record<string, string>) =>
          Object.entries(keys).filter(([name]) => !/^tundra:default:(dirty|tick|rec:a)$/.test(name));
        assertEquals(others(await tools.everything()), others(before));
        assertEquals((await tools.readRecord("a")).attempts, 0);
        archive.faults.fetch = undefined;
        assertEquals((await store.tick()).frozen, 1);
        assertEquals([await id(), archive.owner()], [confirmed, confirmed]);
      });
    }

    it("are UNAVAILABLE: a listing that fails", async () => {
      archive.faults.list = () => Promise.reject(new Error("no route"));
      await raw("SET", "a", "1");
      await assertAllReject("UNAVAILABLE", /owner/);
      await raw("SET", "tundra:default:id", stack.id("new:x"));
      await assertAllReject("UNAVAILABLE", /owner/);
      archive.faults.list = undefined;
      await store.tick();
      assertEquals([await id(), archive.owner()], [stack.id("x"), stack.id("x")]);
    });
  });
});
