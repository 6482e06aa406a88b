import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { remove } from "../../src/scripts/remove.ts";
import { withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";
import { DAY_MS } from "../support/times.ts";

describe("remove", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(() => stack.flush());

  const removed = async (...keys: string[]) =>
    await remove(
      tools.index,
      await Promise.all(keys.map(async (key) => ({ key, record: await tools.recordText(key) ?? "" }))),
    );

  it("deletes an archived key: gone, what it named to be deleted, queued for its tombstone, not idle", async () => {
    await tools.clean("a", "1", { touch: 5, attempts: 1, error: "UNAVAILABLE once" });
    const before = await tools.readRecord("a");
    assertEquals(await removed("a"), ["deleted"]);
    const after = await tools.readRecord("a");
    assertAlmostEquals(after.rev / 1000, await tools.nowMs(), 2000);
    assertEquals(after, { ...before, rev: after.rev, flag: "g", old: before.ver, attempts: 0, error: "" });
    assertEquals(await raw("EXISTS", "a"), 0);
    assertAlmostEquals(Number(await tools.score("dirty", "a")), await tools.nowMs(), 2000);
    assertEquals(await tools.score("idle", "a"), undefined);
    assertEquals(await tools.expiry("tundra:default:rec:a"), -1);
  });

  it("deletes an evicted key, which the archive still holds", async () => {
    await tools.evicted("a", "1");
    assertEquals(await removed("a"), ["deleted"]);
    assertEquals((await tools.readRecord("a")).flag, "g");
    assert(await tools.score("dirty", "a"));
  });

  it("deletes a dead key, which is queued again", async () => {
    await tools.clean("a", "1", { rev: 7, attempts: 3 });
    await raw("ZADD", "tundra:default:dead", 12, "a");
    assertEquals(await removed("a"), ["deleted"]);
    assertEquals(await tools.score("dead", "a"), undefined);
    assert(await tools.score("dirty", "a"));
    assertEquals((await tools.readRecord("a")).attempts, 0);
  });

  it("gives a revision after the one before, even if the clock went back", async () => {
    const rev = (await tools.nowMs() + 60_000) * 1000;
    await tools.clean("a", "1", { rev });
    await removed("a");
    assertEquals((await tools.readRecord("a")).rev, rev + 1);
  });

  it("leaves the score of a leased key, so that the tick's commit finds its token", async () => {
    await tools.clean("a", "1", { rev: 7 });
    await raw("ZADD", "tundra:default:dirty", "9999999999999.5", "a");
    await removed("a");
    assertEquals(await tools.score("dirty", "a"), "9999999999999.5");
  });

  it("leaves a record that expires after a day, and no work, of a key that never had one", async () => {
    await raw("SET", "a", "1");
    assertEquals(await removed("a"), ["deleted"]);
    assertEquals(await raw("EXISTS", "a"), 0);
    const { flag, rev, ver } = await tools.readRecord("a");
    assertEquals([flag, rev, ver], ["g", 0, "-"]);
    assertEquals(await tools.score("dirty", "a"), undefined);
    assertAlmostEquals(await tools.expiry("tundra:default:rec:a"), await tools.nowMs() + DAY_MS, 2000);
  });

  it("takes the TTL off a record that is dirty from now on", async () => {
    await tools.evicted("a", "1", { exp: await tools.nowMs() + 50_000 });
    await raw("PEXPIREAT", "tundra:default:rec:a", await tools.nowMs() + 90_000);
    await removed("a");
    assertEquals(await tools.expiry("tundra:default:rec:a"), -1);
  });

  it("deletes nothing if the record moved on, came or went: look again", async () => {
    await tools.clean("moved", "1", { touch: 5 });
    await tools.clean("came", "1");
    await raw("SET", "went", "1");
    const before = await tools.everything();
    assertEquals(
      await remove(tools.index, [
        { key: "moved", record: (await tools.recordText("moved"))!.replace(" 5 ", " 6 ") },
        { key: "came", record: "" },
        { key: "went", record: (await tools.recordText("came"))! },
      ]),
      ["again", "again", "again"],
    );
    assertEquals(await tools.everything(), before);
  });

  it("leaves a key alone whose record is of another version, and spoils no other", async () => {
    await tools.clean("a", "1");
    await raw("MSET", "odd", "1", "tundra:default:rec:odd", "2 whatever");
    assertEquals(await removed("odd", "a"), ["unsupported", "deleted"]);
    assertEquals([String(await raw("GET", "odd")), await tools.recordText("odd")], ["1", "2 whatever"]);
  });

  for (const had of ["a record", "no record"]) {
    it(`does nothing as a late copy, after a key with ${had} was made anew`, async () => {
      if (had === "a record") await tools.clean("a", "1");
      else await raw("SET", "a", "1");
      const seen = [{ key: "a", record: await tools.recordText("a") ?? "" }];
      const { value, again } = await tools.copied(() => remove(tools.index, seen));
      assertEquals(value, ["deleted"]);
      await again();
      for (const marked of [false, true]) {
        await raw("SET", "a", "new");
        if (marked) await tools.writeRecord("a", { ...await tools.readRecord("a"), rev: 99, flag: "r" });
        const before = await tools.everything();
        await again();
        assertEquals(await tools.everything(), before, `marked: ${marked}`);
      }
      assertEquals(String(await raw("GET", "a")), "new");
    });
  }

  it("always changes the record, or a copy would find what it expects", async () => {
    await tools.clean("a", "1", { flag: "g" });
    const before = await tools.recordText("a");
    await removed("a");
    assertNotEquals(await tools.recordText("a"), before);
  });

  it("writes records first, then the queue, then what leaves it; UNLINK comes last", async () => {
    await tools.clean("a", "1");
    await removed("a");
    await tools.clean("a", "1");
    await raw("SET", "b", "1");
    const commands = await tools.scripted(() => removed("a", "b"));
    assertEquals(commands.slice(2), [
      "SET tundra:default:rec:b",
      "MSET tundra:default:rec:a",
      "ZADD tundra:default:dirty",
      "ZREM tundra:default:idle",
      "ZREM tundra:default:dead",
      "HINCRBY tundra:default:stats",
      "UNLINK a",
    ]);
  });

  it("works on a Redis that is full", async () => {
    await tools.clean("a", "x".repeat(200_000));
    await raw("CONFIG", "SET", "maxmemory", "100kb");
    try {
      assertEquals(await removed("a"), ["deleted"]);
    } finally {
      await raw("CONFIG", "SET", "maxmemory", "0");
    }
    assertEquals(await raw("EXISTS", "a"), 0);
  });

  it("costs 1 request and 9 commands, and one for each key that has no record", async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `k${i}`);
    const seen = await Promise.all(keys.map(async (key) => ({ key, record: await tools.clean(key, "1") })));
    const more = Array.from({ length: 20 }, (_, i) => ({ key: `n${i}`, record: "" }));
    await removed("other");
    assertEquals(await tools.bill(() => remove(tools.index, seen)), { requests: 1, billable: 9 });
    const again = await Promise.all(keys.map(async (key) => ({ key, record: (await tools.recordText(key))! })));
    assertEquals(await tools.bill(() => remove(tools.index, [...again, ...more])), { requests: 1, billable: 8 + 20 });
  });
});
