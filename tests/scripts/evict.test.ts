import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertGreater } from "@std/assert";
import { notFound } from "../../src/base/errors.ts";
import type { Datastore } from "../../src/datastores/datastore.ts";
import { memoryDatastore } from "../../src/datastores/memory.ts";
import { type Candidate, evict, type EvictOutcome } from "../../src/scripts/evict.ts";
import { mark } from "../../src/scripts/mark.ts";
import { evictIdle } from "../../src/tick/evict_idle.ts";
import { OLD_VER, withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";
import { DAY_MS, HOUR_MS } from "../support/times.ts";

describe("evict", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(async () => {
    await stack.flush();
    await stack.confirmId("an-id");
  });

  const candidate = (key: string, more: Partial<Candidate> = {}): Candidate => ({
    key,
    action: "evict",
    ver: "",
    ...more,
  });
  const now = async (...candidates: (string | Candidate)[]): Promise<EvictOutcome[]> =>
    (await evict(tools.index, candidates.map((c) => typeof c === "string" ? candidate(c) : c), undefined)).outcomes;
  const inTick = async (limitMs: number, ...candidates: (string | Candidate)[]): Promise<EvictOutcome[]> =>
    (await evict(tools.index, candidates.map((c) => typeof c === "string" ? candidate(c) : c), limitMs)).outcomes;
  const stats = async (field: string) => Number(await raw("HGET", "tundra:default:stats", field));

  /** A key that was marked: queued since now, its fields as before but for rev. */
  async function assertRescued(key: string): Promise<void> {
    const nowMs = await tools.nowMs();
    const record = await tools.readRecord(key);
    assertEquals(record.flag, "r");
    assertAlmostEquals(record.rev / 1000, nowMs, 2000);
    assertAlmostEquals(Number(await tools.score("dirty", key)), nowMs, 2000);
    assertEquals(await tools.score("idle", key), undefined);
  }

  describe("of a clean key", () => {
    it("takes it out of Redis and of the idle ones, and says so in the record alone", async () => {
      await tools.clean("a", "1");
      const before = await tools.readRecord("a");
      assertEquals(await now("a"), ["evicted"]);
      assertEquals(await tools.readRecord("a"), { ...before, flag: "e" });
      assertEquals(await raw("EXISTS", "a"), 0);
      assertEquals(await tools.score("idle", "a"), undefined);
      assertEquals(await tools.score("dirty", "a"), undefined);
      assertEquals(await stats("evicted"), 1);
      assertEquals(await tools.expiry("tundra:default:rec:a"), -1);
    });

    it("not in a tick if it is too small or may not leave, and it is no longer idle; by hand all the same", async () => {
      const limit = await tools.nowMs() + 1000;
      for (const key of ["small", "large", "kept"]) await tools.clean(key, key === "small" ? "1" : "v".repeat(100));
      const bytes = (await raw("DUMP", "large") as Uint8Array).length;
      const records = await Promise.all(["small", "kept"].map((key) => tools.readRecord(key)));
      const some = [candidate("small"), candidate("kept", { action: "stay" }), candidate("large")];
      const of = async (least: number) => (await evict(tools.index, some, limit, undefined, least)).outcomes;
      assertEquals(await of(bytes + 1), ["stays", "stays", "stays"]);
      assertEquals(await tools.scores("idle"), {});
      assertEquals(await of(bytes + 1), ["in use", "in use", "in use"]);
      await tools.setScores("idle", { small: 1, kept: 1, large: 1 });
      assertEquals(await of(bytes), ["stays", "stays", "evicted"]);
      assertEquals(await Promise.all(["small", "kept"].map((key) => tools.readRecord(key))), records);
      assertEquals([await raw("EXISTS", "small", "kept", "large"), await stats("evicted")], [2, 1]);
      assertEquals(await now("small", "kept"), ["evicted", "evicted"]);
    });

    it("in a tick, half undone, whatever its size: its record says evicted", async () => {
      const limit = await tools.nowMs() + 1000;
      await tools.clean("a", "1", { flag: "e" });
      const outcome = await evict(tools.index, [candidate("a", { action: "stay" })], limit, undefined, 9_999);
      assertEquals([outcome.outcomes, await raw("EXISTS", "a")], [["evicted"], 0]);
    });

    it("not in a tick before its version is an hour old, and looks again then", async () => {
      const nowMs = await tools.nowMs();
      const limit = nowMs - 10 * HOUR_MS;
      const version = (ageMs: number) => `${nowMs - ageMs}000-00000000`;
      await tools.clean("new", "1", { touch: 5, ver: version(20 * 60_000) });
      await tools.clean("old", "1", { touch: 5, ver: version(HOUR_MS + 1) });
      await tools.clean("ahead", "1", { touch: 5, ver: version(-2 * DAY_MS) }); // of a clock that ran ahead
      for (const key of ["new", "old", "ahead"]) await raw("ZADD", "tundra:default:idle", "XX", 5, key);
      const record = await tools.recordText("new");
      assertEquals(await inTick(limit, "new", "old", "ahead"), ["in use", "evicted", "evicted"]);
      assertEquals(await tools.recordText("new"), record);
      assertAlmostEquals(Number(await tools.score("idle", "new")), limit + 40 * 60_000, 5_000);
      assertEquals(await now("new"), ["evicted"]); // evict() does not wait
    });

    it("asks for what is over a day old, if it is told to ask: nothing changes", async () => {
      const young = `${await tools.nowMs() - DAY_MS + 60_000}000-00000000`;
      await tools.clean("old", "1");
      await tools.clean("young", "1", { ver: young });
      await tools.evicted("evicted", "1");
      await tools.clean("half", "1", { flag: "e" });
      const ask = ["old", "young", "evicted", "half"].map((key) => candidate(key, { action: "ask" }));
      const record = await tools.recordText("old");
      const { outcomes, asked } = await evict(tools.index, ask, undefined);
      assertEquals([outcomes, asked], [["ask", "evicted", "evicted", "ask"], [OLD_VER, OLD_VER]]);
      assertEquals([await tools.recordText("old"), await raw("EXISTS", "old", "half")], [record, 2]);
      assert(await tools.score("idle", "old"));
    });

    it("rescues a key three times in a row without a mark, then leaves it alone; a mark or an eviction begins anew", async () => {
      await tools.clean("a", "1");
      const changed = async (fields = {}) => {
        const { rescues } = await tools.readRecord("a");
        await raw("ZREM", "tundra:default:dirty", "a");
        await tools.writeRecord("a", { ver: OLD_VER, fp: "others", touch: 5, rescues, ...fields });
        await raw("ZADD", "tundra:default:idle", 5, "a");
      };
      for (let i = 1; i <= 3; i++) {
        await changed();
        assertEquals(await now("a"), ["rescued"]);
        assertEquals((await tools.readRecord("a")).rescues, i);
      }
      await changed();
      const record = await tools.recordText("a");
      assertEquals(await inTick(await tools.nowMs(), "a"), ["unstable"]);
      assertEquals([await tools.recordText("a"), await raw("EXISTS", "a")], [record, 1]);
      assertEquals([await tools.score("idle", "a"), await tools.score("dirty", "a")], [undefined, undefined]);
      await mark(tools.index, ["a"], { freezeDelayMs: 0, missing: "throw", overwrite: "never" });
      assertEquals((await tools.readRecord("a")).rescues, 0);
      await changed({ fp: await tools.fingerprint("a"), rescues: 3 });
      assertEquals([await now("a"), (await tools.readRecord("a")).rescues], [["evicted"], 0]);
    });

    it("drops what was written over an evicted value, and nothing else: its record stays as it is", async () => {
      await tools.evicted("a", "whole");
      await raw("SET", "a", "partial");
      await tools.clean("resident", "1");
      const drop = async (key: string) => candidate(key, { action: "drop", ver: await tools.recordText(key) ?? "" });
      const record = await tools.recordText("a");
      const moved = candidate("a", { action: "drop", ver: record + "x" });
      assertEquals(await now(moved, await drop("resident")), ["moved on", "moved on"]);
      assertEquals(await raw("EXISTS", "a", "resident"), 2);
      const { value, again } = await tools.copied(async () => await now(await drop("a")));
      assertEquals([value, await raw("EXISTS", "a"), await tools.recordText("a")], [["evicted"], 0, record]);
      await tools.writeRecord("a", { ...await tools.readRecord("a"), touch: 7 }); // restored and evicted once more
      await raw("SET", "a", "another");
      await again();
      assertEquals(await raw("EXISTS", "a"), 1);
    });

    it("replies the id of the index", async () => {
      await tools.clean("a", "1");
      assertEquals(await evict(tools.index, [candidate("a")], undefined), {
        id: stack.id("an-id"),
        asked: [],
        outcomes: ["evicted"],
      });
    });

    it("does it once: a second time and a late copy say evicted and change nothing", async () => {
      await tools.clean("a", "1");
      const { value, again } = await tools.copied(() => now("a"));
      assertEquals(value, ["evicted"]);
      const after = await tools.everything();
      assertEquals(await now("a"), ["evicted"]);
      await again();
      assertEquals(await tools.everything(), after);
    });

    it("keeps the record of a key with an expiry of its own: it goes with the key's objects", async () => {
      const exp = await tools.nowMs() + 50_000;
      await tools.clean("a", "1", { exp });
      assertEquals(await now("a"), ["evicted"]);
      assertEquals((await tools.readRecord("a")).exp, exp);
      assertEquals(await tools.expiry("tundra:default:rec:a"), -1);
    });

    it("compares values of every type by all of their bytes", async () => {
      await raw("HSET", "hash", "f", "1", "g", "2");
      await raw("ZADD", "zset", "-inf", "a", "1.5", "b");
      await raw("XADD", "stream", "1-1", "f", "v");
      for (const key of ["hash", "zset", "stream"]) {
        await tools.writeRecord(key, { ver: OLD_VER, fp: await tools.fingerprint(key) });
      }
      await raw("ZADD", "zset", "1.6", "b");
      assertEquals(await now("hash", "zset", "stream"), ["evicted", "rescued", "evicted"]);
      assertEquals(await raw("EXISTS", "hash", "stream"), 0);
      assertEquals(await raw("EXISTS", "zset"), 1);
    });
  });

  describe("of a key that must stay", () => {
    it("says missing if nobody has the key, and takes it out of the idle ones", async () => {
      await tools.clean("a", "1");
      await raw("DEL", "a");
      const record = await tools.recordText("a");
      assertEquals(await now("a"), ["missing"]);
      assertEquals(await tools.recordText("a"), record);
      assertEquals(await tools.score("idle", "a"), undefined);
      assertEquals(await raw("HLEN", "tundra:default:stats"), 0);
    });

    it("says never archived if the record has no version, and if there is no record", async () => {
      await raw("MSET", "a", "1", "b", "2");
      await tools.writeRecord("a", { touch: 5 });
      const before = await tools.everything();
      assertEquals(await now("a", "b"), ["never archived", "never archived"]);
      assertEquals(await tools.everything(), before);
    });

    it("says dirty if it is queued, and changes nothing but the idle ones", async () => {
      await tools.clean("a", "1", { rev: 7 });
      await raw("ZADD", "tundra:default:dirty", 12, "a");
      const record = await tools.recordText("a");
      assertEquals(await now("a"), ["dirty"]);
      assertEquals(String(await raw("GET", "a")), "1");
      assertEquals(await tools.recordText("a"), record);
      assertEquals(await tools.score("dirty", "a"), "12");
      assertEquals(await tools.score("idle", "a"), undefined);
    });

    it("says dirty if it is in the queue although its revision is 0", async () => {
      await tools.clean("a", "1");
      await raw("ZADD", "tundra:default:dirty", 12, "a");
      assertEquals(await now("a"), ["dirty"]);
      assertEquals(String(await raw("GET", "a")), "1");
    });

    it("says dirty of a dead key, which stays dead", async () => {
      await tools.clean("a", "1", { rev: 7, attempts: 3 });
      await raw("ZADD", "tundra:default:dead", 12, "a");
      assertEquals(await now("a"), ["dirty"]);
      assertEquals(String(await raw("GET", "a")), "1");
      assertEquals(await tools.score("dead", "a"), "12");
      assertEquals(await tools.score("dirty", "a"), undefined);
    });

    it("queues a dirty key again that is in neither queue", async () => {
      await tools.clean("a", "1", { rev: 7 });
      const record = await tools.recordText("a");
      assertEquals(await now("a"), ["dirty"]);
      assertAlmostEquals(Number(await tools.score("dirty", "a")), await tools.nowMs(), 2000);
      assertEquals(await tools.recordText("a"), record);
    });

    it("rescues bytes that are not those archived", async () => {
      await tools.clean("a", "1", { touch: 5 });
      const before = await tools.readRecord("a");
      await raw("SET", "a", "2");
      assertEquals(await now("a"), ["rescued"]);
      assertEquals(String(await raw("GET", "a")), "2");
      await assertRescued("a");
      const { rev } = await tools.readRecord("a");
      assertEquals(await tools.readRecord("a"), { ...before, rev, rescues: 1 }); // touch too: a rescue is no use
      assertEquals([await stats("rescued"), await raw("HEXISTS", "tundra:default:stats", "evicted")], [1, 0]);
    });

    it("says dirty of a rescued key, which keeps its place in the queue", async () => {
      await tools.clean("a", "1");
      await raw("SET", "a", "2");
      assertEquals(await now("a"), ["rescued"]);
      await raw("ZADD", "tundra:default:dirty", 12.5, "a");
      assertEquals(await now("a"), ["dirty"]);
      assertEquals(await tools.score("dirty", "a"), "12.5");
    });

    it("says so once: a late copy of a rescue changes nothing", async () => {
      await tools.clean("a", "1");
      await raw("SET", "a", "2");
      const { value, again } = await tools.copied(() => now("a"));
      assertEquals(value, ["rescued"]);
      const after = await tools.everything();
      await again();
      assertEquals(await tools.everything(), after);
    });

    it("rescues a key that got, lost or changed its own expiry", async () => {
      const exp = await tools.nowMs() + 90_000;
      for (const key of ["lost", "changed"]) await tools.clean(key, "1", { exp });
      for (const key of ["got"]) await tools.clean(key, "1");
      await raw("PERSIST", "lost");
      await raw("PEXPIREAT", "changed", exp + 1);
      await raw("PEXPIREAT", "got", exp);
      assertEquals(await now("lost", "changed", "got"), ["rescued", "rescued", "rescued"]);
      for (const key of ["lost", "changed", "got"]) await assertRescued(key);
      assertEquals(await Promise.all(["lost", "changed", "got"].map(tools.expiry)), [-1, exp + 1, exp]);
      // dirty now, so the records do not expire
      assertEquals(await tools.expiry("tundra:default:rec:lost"), -1);
      assertEquals(await tools.expiry("tundra:default:rec:changed"), -1);
    });

    it("rescues a key that was made anew after its removal, for the archive holds a tombstone", async () => {
      await tools.clean("a", "1", { flag: "g" });
      assertEquals(await now("a"), ["rescued"]);
      assertEquals(String(await raw("GET", "a")), "1");
      await assertRescued("a");
    });
  });

  describe("of a key whose record says evicted", () => {
    it("takes bytes out again that are those archived", async () => {
      await tools.clean("a", "1", { flag: "e" });
      const record = await tools.recordText("a");
      assertEquals(await now("a"), ["evicted"]);
      assertEquals(await raw("EXISTS", "a"), 0);
      assertEquals(await tools.recordText("a"), record);
    });

    it("keeps other bytes as a conflict: neither evicted nor queued, record unchanged", async () => {
      await tools.evicted("a", "whole");
      await raw("SET", "a", "part");
      const before = await tools.everything();
      assertEquals(await now("a"), ["conflict"]);
      assertEquals(await tools.everything(), before);
    });

    it("rescues a key that was made anew after the archived one had expired", async () => {
      await tools.evicted("a", "1");
      await tools.writeRecord("a", { ...await tools.readRecord("a"), exp: await tools.nowMs() - 1000 });
      await raw("SET", "a", "new");
      assertEquals(await now("a"), ["rescued"]);
      assertEquals([String(await raw("GET", "a")), (await tools.readRecord("a"))?.flag], ["new", "r"]);
    });

    it("keeps the same bytes with another expiry as a conflict", async () => {
      await tools.clean("a", "1", { flag: "e" });
      await raw("PEXPIREAT", "a", await tools.nowMs() + 90_000);
      assertEquals(await now("a"), ["conflict"]);
      assertEquals(await raw("EXISTS", "a"), 1);
      assertEquals((await tools.readRecord("a")).flag, "e");
    });

    it("marks it if the archive lost it and Redis has the same bytes; a conflict stays one", async () => {
      await tools.clean("same", "1", { flag: "e" });
      await tools.clean("other", "1", { flag: "e" });
      await raw("SET", "other", "2");
      assertEquals(
        await now(candidate("same", { action: "mark" }), candidate("other", { action: "mark" })),
        ["rescued", "conflict"],
      );
      await assertRescued("same");
      assertEquals((await tools.readRecord("other")).flag, "e");
    });
  });

  describe("in a tick", () => {
    it("takes a key that was last touched at the limit or before, and leaves one in use as it is", async () => {
      const limit = await tools.nowMs() - 10 * HOUR_MS;
      await tools.clean("at", "1", { touch: limit });
      await tools.clean("before", "1", { touch: limit - 1 });
      await tools.clean("after", "1", { touch: limit + 1 });
      await tools.clean("nowhere", "1");
      await raw("ZREM", "tundra:default:idle", "nowhere");
      assertEquals(await inTick(limit, "at", "before", "after", "nowhere"), ["evicted", "evicted", "in use", "in use"]);
      assertEquals(await raw("EXISTS", "at", "before"), 0);
      assertEquals(await raw("EXISTS", "after", "nowhere"), 2);
      assertEquals(await tools.score("idle", "after"), String(limit + 1));
      assertEquals((await tools.readRecord("after")).flag, "r");
    });

    it("marks a key that the archive lost, bytes untouched", async () => {
      const limit = await tools.nowMs();
      await tools.clean("a", "1", { touch: 5 });
      assertEquals(await inTick(limit, candidate("a", { action: "mark", ver: OLD_VER })), ["rescued"]);
      assertEquals(String(await raw("GET", "a")), "1");
      await assertRescued("a");
    });

    it("keeps a key of which the archive said nothing, and asks again an hour on", async () => {
      const limit = await tools.nowMs() - 10 * HOUR_MS;
      await tools.clean("a", "1", { touch: 5 });
      const record = await tools.recordText("a");
      const keep = candidate("a", { action: "keep", ver: OLD_VER });
      assertEquals(await inTick(limit, keep), ["unknown"]);
      assertEquals(String(await raw("GET", "a")), "1");
      assertEquals(await tools.recordText("a"), record);
      // a tick an hour on has an hour more as its limit
      assertEquals(await tools.score("idle", "a"), String(limit + HOUR_MS));
      assertEquals(await inTick(limit, keep), ["in use"]);
      assertEquals(await inTick(limit + HOUR_MS, "a"), ["evicted"]);
    });

    it("acts only on the version that the archive was asked for", async () => {
      const limit = await tools.nowMs();
      const newer = "1700000000000001-00000000";
      for (const action of ["evict", "mark", "keep"] as const) {
        await tools.clean("a", "1", { touch: 5, ver: newer });
        const before = await tools.everything();
        assertEquals(await inTick(limit, candidate("a", { action, ver: OLD_VER })), ["moved on"], action);
        assertEquals(await tools.everything(), before, action);
      }
      assertEquals(await inTick(limit, candidate("a", { ver: newer })), ["evicted"]);
    });

    it("takes a key out of the idle ones that is dirty, missing, in conflict or never archived", async () => {
      const limit = await tools.nowMs();
      await tools.clean("dirty", "1", { rev: 7, touch: 5 });
      await tools.clean("missing", "1", { touch: 5 });
      await tools.clean("conflict", "1", { touch: 5, flag: "e" });
      await tools.clean("never", "1", { touch: 5, ver: "-" });
      await raw("DEL", "missing");
      await raw("SET", "conflict", "2");
      assertEquals(await inTick(limit, "dirty", "missing", "conflict", "never"), [
        "dirty",
        "missing",
        "conflict",
        "never archived",
      ]);
      assertEquals(await raw("ZCARD", "tundra:default:idle"), 0);
      assertEquals(await raw("EXISTS", "dirty", "conflict", "never"), 3);
    });
  });

  describe("in a tick, before it evicts,", () => {
    const asked: string[][] = [];
    const young = async () => `${await tools.nowMs() - DAY_MS + 60_000}000-00000000`;

    beforeEach(() => {
      asked.length = 0;
    });

    const archive = (answers?: (names: string[]) => (boolean | Error)[]): Datastore => {
      const { putKey, fetchKeys } = memoryDatastore();
      if (!answers) return { putKey, fetchKeys };
      const hasKeys = (names: string[]) => {
        asked.push(names);
        return Promise.resolve().then(() => answers(names));
      };
      return { putKey, fetchKeys, hasKeys };
    };

    const evictFrom = async (datastore: Datastore, ...keys: string[]) => {
      const nowMs = await tools.nowMs();
      const context = {
        tqname: "default",
        connection: tools.connection,
        index: tools.index,
        datastore,
        freezers: [],
        redisTtlMs: 10 * HOUR_MS,
        minEvictBytes: 0,
        evictable: undefined,
        freezeDelayMs: 0,
        packBytes: 0,
        maxPackedBytes: 0,
        clientOptions: {},
        maxBytesInFlight: Infinity,
        lookInArchive: false,
        flights: undefined,
        onEvent: undefined,
      };
      return (await evictIdle(
        context,
        keys,
        { limitMs: nowMs - 10 * HOUR_MS, nowMs, questionsLeft: () => Infinity },
        {},
      ))
        .map(({ outcome }) => outcome);
    };

    it("asks the archive for versions older than a day, and for no other", async () => {
      await tools.clean("old/1", "1", { touch: 5 });
      await tools.clean("young", "1", { touch: 5, ver: await young() });
      await tools.clean("none", "1", { touch: 5, ver: "-" });
      const outcomes = await evictFrom(archive((names) => names.map(() => true)), "old/1", "young", "none");
      assertEquals(outcomes, ["evicted", "evicted", "never archived"]);
      assertEquals(asked, [[`default/old.2F1/${OLD_VER}`]]);
    });

    it("marks what is absent, keeps what is unknown for an hour, and evicts what is there", async () => {
      for (const key of ["absent", "provably absent", "unknown", "there"]) await tools.clean(key, "1", { touch: 5 });
      const answers = [false, notFound("x"), new Error("503"), true];
      const outcomes = await evictFrom(archive(() => answers), "absent", "provably absent", "unknown", "there");
      assertEquals(outcomes, ["rescued", "rescued", "unknown", "evicted"]);
      await assertRescued("absent");
      await assertRescued("provably absent");
      assertAlmostEquals(Number(await tools.score("idle", "unknown")), await tools.nowMs() - 9 * HOUR_MS, 2000);
      assertEquals((await tools.readRecord("unknown")).flag, "r");
      assertEquals(await raw("EXISTS", "absent", "provably absent", "unknown", "there"), 3);
    });

    it("keeps all of them if the archive cannot be asked or leaves a name out", async () => {
      for (const key of ["a", "b"]) await tools.clean(key, "1", { touch: 5 });
      const down = archive(() => {
        throw new Error("no route");
      });
      assertEquals(await evictFrom(down, "a", "b"), ["unknown", "unknown"]);
      for (const key of ["a", "b"]) await raw("ZADD", "tundra:default:idle", 5, key);
      assertEquals(await evictFrom(archive(() => [true]), "a", "b"), ["evicted", "unknown"]);
    });

    it("leaves a key alone that got another version while the archive was asked", async () => {
      await tools.clean("a", "1", { touch: 5 });
      const newer = "1700000000000001-00000000";
      const datastore = archive(() => [false]);
      const hasKeys = datastore.hasKeys!;
      datastore.hasKeys = async (names) => {
        await tools.clean("a", "1", { touch: 5, ver: newer });
        return await hasKeys(names);
      };
      assertEquals(await evictFrom(datastore, "a"), ["moved on"]);
      assertEquals(await tools.readRecord("a").then(({ ver, rev, flag }) => [ver, rev, flag]), [newer, 0, "r"]);
      assertEquals(await tools.score("dirty", "a"), undefined);
    });

    it("evicts without asking if the datastore cannot tell", async () => {
      await tools.clean("a", "1", { touch: 5 });
      assertEquals(await evictFrom(archive(), "a"), ["evicted"]);
    });
  });

  describe("with a record of another version", () => {
    it("spoils that key only, and touches neither key nor record", async () => {
      await tools.clean("good", "1");
      await tools.clean("odd", "2");
      await raw("SET", "tundra:default:rec:odd", "2 whatever");
      assertEquals(await now("odd", "good"), ["unsupported", "evicted"]);
      assertEquals(await tools.recordText("odd"), "2 whatever");
      assertEquals(String(await raw("GET", "odd")), "2");
      assertEquals(await raw("EXISTS", "good"), 0);
    });

    it("looks at it again an hour on", async () => {
      const limit = await tools.nowMs() - 10 * HOUR_MS;
      await tools.clean("odd", "2", { touch: 5 });
      await raw("SET", "tundra:default:rec:odd", "2 whatever");
      assertEquals(await inTick(limit, "odd"), ["unsupported"]);
      assertEquals(await tools.score("idle", "odd"), String(limit + HOUR_MS));
    });
  });

  const ids: Record<string, () => string> = {
    "no id": () => "",
    "an id that is not confirmed": () => stack.id("new:an-id"),
    "the id of another database, of which this one is a copy": () => "an-id@another.example",
  };
  for (const [what, idOf] of Object.entries(ids)) {
    it(`does nothing with ${what}`, async () => {
      const id = idOf();
      await tools.clean("a", "1");
      await raw("DEL", "tundra:default:id");
      if (id) await raw("SET", "tundra:default:id", id);
      const before = await tools.everything();
      assertEquals(await evict(tools.index, [candidate("a")], undefined), { id, asked: [], outcomes: [] });
      assertEquals(await tools.everything(), before);
    });
  }

  it("writes records first, then the queue, then what leaves it; UNLINK comes last", async () => {
    const exp = await tools.nowMs() + 90_000;
    await tools.clean("a", "1");
    await tools.clean("b", "1", { exp });
    await tools.clean("c", "1");
    await raw("SET", "c", "2");
    await now("a");
    await tools.clean("a", "1");
    const commands = await tools.scripted(() => now("a", "b", "c"));
    assertEquals(commands.filter((command) => !/^(TIME|GET|MGET|HMGET|ZMSCORE|DUMP|PEXPIRETIME)/.test(command)), [
      "MSET tundra:default:rec:a",
      "ZADD tundra:default:dirty",
      "ZREM tundra:default:idle",
      "HSET tundra:default:stats",
      "UNLINK a",
    ]);
  });

  it("costs 1 request, 2 commands a key and 9; in a tick 10, own expiries or not", async () => {
    const all = Array.from({ length: 100 }, (_, i) => `k${i}`);
    const limit = await tools.nowMs();
    for (const key of all) await tools.clean(key, "1", { touch: 5 });
    assertEquals(await inTick(limit, "k0"), ["evicted"]);
    await tools.clean("k0", "1", { touch: 5 });
    assertEquals(await tools.bill(() => now(...all)), { requests: 1, billable: 209 });
    for (const key of all) await tools.clean(key, "1", { touch: 5 });
    assertEquals(await tools.bill(() => inTick(limit, ...all)), { requests: 1, billable: 210 });
    for (const key of all) await tools.clean(key, "1", { touch: 5, exp: limit + 90_000 });
    assertEquals(await tools.bill(() => now(...all)), { requests: 1, billable: 209 });
  });

  it("takes 1,000 keys in one call, each with its own outcome", async () => {
    const all = Array.from({ length: 1000 }, (_, i) => `key ${i}`);
    await raw("MSET", ...all.flatMap((key) => [key, "v"]));
    const fp = await tools.fingerprint("key 0");
    await raw(
      "MSET",
      ...all.flatMap((
        key,
        i,
      ) => [`tundra:default:rec:${key}`, `1 0 ${OLD_VER} r ${i % 3 ? fp : "0"} 0 5 0 - - - 0 0 `]),
    );
    assertEquals(await now(...all), all.map((_, i) => i % 3 ? "evicted" : "rescued"));
    assertEquals(await raw("EXISTS", ...all), 334);
    assertEquals(await raw("ZCARD", "tundra:default:dirty"), 334);
  });

  it("never sets or clears a TTL of a key that stays", async () => {
    const exp = await tools.nowMs() + 90_000;
    await tools.clean("rescued", "1", { exp });
    await raw("SET", "rescued", "2", "KEEPTTL");
    await tools.clean("dirty", "1", { exp, rev: 7 });
    await tools.clean("conflict", "1", { exp, flag: "e" });
    await raw("SET", "conflict", "2", "KEEPTTL");
    await tools.clean("unknown", "1", { exp });
    await raw("SET", "never", "1", "PXAT", exp);
    const outcomes = await now("rescued", "dirty", "conflict", candidate("unknown", { action: "keep" }), "never");
    assertEquals(outcomes, ["rescued", "dirty", "conflict", "unknown", "never archived"]);
    for (const key of ["rescued", "dirty", "conflict", "unknown", "never"]) {
      assertEquals(await tools.expiry(key), exp, key);
    }
  });

  it("works on a Redis that is full", async () => {
    await tools.clean("a", "x".repeat(200_000));
    await raw("CONFIG", "SET", "maxmemory", "100kb");
    try {
      assertEquals(await now("a"), ["evicted"]);
    } finally {
      await raw("CONFIG", "SET", "maxmemory", "0");
    }
    assertEquals(await raw("EXISTS", "a"), 0);
    assert((await tools.readRecord("a")).flag === "e");
    assertGreater(await stats("evicted"), 0);
  });
});
