import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { mark, type MarkOptions } from "../../src/scripts/mark.ts";
import { assertBetween, EMPTY, GRACE_MS, OLD_VER, textOf, withIndex, writesOf } from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";
import { HOUR_MS } from "../support/times.ts";

const PLAIN: MarkOptions = { freezeDelayMs: 0, missing: "throw", overwrite: "never" };
const DEL: MarkOptions = { ...PLAIN, missing: "del" };
const FP = "0123456789abcdef0123456789abcdef01234567";
const UNKNOWN = "2 what a later version writes";
const names = (n: number) => Array.from({ length: n }, (_, i) => `k${i}`);

describe("mark", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  /** Runs a mark that must leave every Redis key as it is. */
  it("gives an existing key a revision, the time as its touch, and a place in the queue after the delay", async () => {
    await t.setKeys("a");
    const from = await t.nowUs();
    assertEquals(await mark(t.index, ["a"], { ...PLAIN, freezeDelayMs: 5000 }), []);
    const record = await t.readRecord("a");
    assertBetween(record.rev, from, await t.nowUs());
    const now = Math.floor(record.rev / 1000);
    assertEquals(record, { ...EMPTY, rev: record.rev, touch: now });
    assertEquals(await t.scores("dirty"), { a: String(now + 5000) });
    assertEquals(await t.expiry(keys.record("a")), -1);
    assertEquals(Object.keys(await t.everything()).sort(), ["a", keys.dirty, keys.record("a")].sort());
  });

  it("costs 1 request and 6 commands for 1 key and for 1,000", async () => {
    const thousand = names(1000);
    await t.setKeys(...thousand);
    await mark(t.index, ["k0"], PLAIN);
    assertEquals(await t.bill(() => mark(t.index, ["k0"], PLAIN)), { requests: 1, billable: 6 });
    assertEquals(await t.bill(() => mark(t.index, thousand, PLAIN)), { requests: 1, billable: 6 });
    assertEquals(Object.keys(await t.scores("dirty")).sort(), [...thousand].sort());
  });

  it("writes records before it writes the queue, and takes keys out of dead last", async () => {
    await t.setKeys("a", "d");
    await t.setRecords({ d: { rev: 5, attempts: 3 } });
    await t.setScores("dead", { d: 5 });
    assertEquals(writesOf(await t.scripted(() => mark(t.index, ["a", "d"], PLAIN))), ["MSET", "ZADD", "ZREM"]);
  });

  it("gives a later revision each time, also if the clock went back, and keeps score and touch of a dirty key", async () => {
    await t.setKeys("a", "ahead");
    const future = (await t.nowUs()) + 60 * HOUR_MS * 1000;
    await t.setRecords({ a: { rev: 7, touch: 3 }, ahead: { rev: future, touch: 4 } });
    await t.setScores("dirty", { a: 12, ahead: 13 });
    assertEquals(await mark(t.index, ["a", "ahead"], PLAIN), []);
    const first = await t.readRecord("a");
    assertEquals(first.touch, 3);
    assertEquals(await t.readRecord("ahead"), { ...EMPTY, rev: future + 1, touch: 4 });
    await mark(t.index, ["a", "ahead"], PLAIN);
    assertEquals((await t.readRecord("a")).rev > first.rev, true);
    assertEquals((await t.readRecord("ahead")).rev, future + 2);
    assertEquals(await t.scores("dirty"), { a: "12", ahead: "13" });
  });

  it("keeps the score of a leased key and of one that is backing off, and their attempts", async () => {
    const now = await t.nowMs();
    await t.setKeys("leased", "waiting");
    await t.setRecords({ leased: { rev: 1, attempts: 1 }, waiting: { rev: 1, attempts: 2, error: "CORRUPT x y" } });
    const scores = { leased: `${now + 60_000}.5`, waiting: String(now + HOUR_MS) };
    await t.setScores("dirty", scores);
    assertEquals(await mark(t.index, ["leased", "waiting"], { ...PLAIN, freezeDelayMs: 9 }), []);
    assertEquals(await t.scores("dirty"), scores);
    assertEquals((await t.readRecord("leased")).attempts, 1);
    const waiting = await t.readRecord("waiting");
    assertEquals([waiting.attempts, waiting.error], [2, "CORRUPT x y"]);
  });

  it("makes a clean key dirty: version and fingerprint stay, touch is now, and its record expires no more", async () => {
    const exp = (await t.nowMs()) + HOUR_MS;
    await t.clean("a", "v", { exp, touch: 5 });
    await stack.raw("PEXPIREAT", keys.record("a"), exp + GRACE_MS);
    const fp = await t.fingerprint("a");
    const user = await t.userKeys();
    assertEquals(await mark(t.index, ["a"], PLAIN), []);
    const record = await t.readRecord("a");
    assertEquals(record, { ...EMPTY, rev: record.rev, ver: OLD_VER, fp, exp, touch: Math.floor(record.rev / 1000) });
    assertEquals(await t.expiry(keys.record("a")), -1);
    assertEquals(await t.userKeys(), user);
  });

  it("requeues a dead key with all its attempts, and no other", async () => {
    await t.setKeys("a", "b");
    await t.setRecords({ a: { rev: 5, touch: 2, attempts: 3 }, b: { rev: 5, touch: 2, attempts: 2 } });
    await t.setScores("dead", { a: 5, other: 6 });
    await t.setScores("dirty", { b: 9 });
    assertEquals(await mark(t.index, ["a", "b"], PLAIN), []);
    const a = await t.readRecord("a");
    assertEquals(a, { ...EMPTY, rev: a.rev, touch: 2 });
    assertEquals((await t.readRecord("b")).attempts, 2);
    assertEquals(await t.scores("dirty"), { a: String(Math.floor(a.rev / 1000)), b: "9" });
    assertEquals(await t.scores("dead"), { other: "6" });
  });

  it("reports each missing key, changes nothing about it, and marks the others all the same", async () => {
    await t.setKeys("there");
    await t.setRecords({
      dirty: { rev: 5 },
      clean: { ver: OLD_VER, fp: FP },
      gone: { ver: OLD_VER, flag: "g" },
      past: { ver: OLD_VER, flag: "e", fp: FP, exp: 1 },
    });
    const missing = ["dirty", "never", "clean", "gone", "past"];
    const before = await t.everything();
    const exceptions = await mark(t.index, [...missing, "there"], PLAIN);
    assertEquals(exceptions.map(({ key, why }) => [key, why]), missing.map((key) => [key, "missing"]));
    assertEquals(exceptions.map(({ record }) => record), [
      textOf({ rev: 5 }),
      "",
      textOf({ ver: OLD_VER, fp: FP }),
      textOf({ ver: OLD_VER, flag: "g" }),
      textOf({ ver: OLD_VER, flag: "e", fp: FP, exp: 1 }),
    ]);
    const { [keys.record("there")]: record, [keys.dirty]: dirty, ...rest } = await t.everything();
    assertEquals(rest, before);
    assertEquals([record !== undefined, dirty !== undefined], [true, true]);
    assertEquals(Object.keys(await t.scores("dirty")), ["there"]);
  });

  it("takes a missing key that is evicted as marked, but as missing with overwrite; nothing changes", async () => {
    const { record } = await t.evicted("a", "v");
    await t.changesNothing(async () => {
      assertEquals(await mark(t.index, ["a"], PLAIN), []);
      for (const overwrite of ["report", "now"] as const) {
        assertEquals(await mark(t.index, ["a"], { ...PLAIN, overwrite }), [{ key: "a", why: "missing", record }]);
      }
      const cas: MarkOptions = { ...PLAIN, overwrite: "cas", expected: [record] };
      assertEquals(await mark(t.index, ["a"], cas), [{ key: "a", why: "missing", record }]);
    });
  });

  it("refuses a write over an evicted value and replies the record; nothing changes", async () => {
    const { record } = await t.evicted("a", "v");
    await t.setKeys("a");
    await t.changesNothing(async () => {
      for (const overwrite of ["never", "report"] as const) {
        for (const missing of ["throw", "del"] as const) {
          const exceptions = await mark(t.index, ["a"], { freezeDelayMs: 0, missing, overwrite });
          assertEquals(exceptions, [{ key: "a", why: "blind write", record }]);
        }
      }
    });
  });

  it("lets a key be created anew whose archived value is past its own expiry", async () => {
    await t.setKeys("a");
    await t.setRecords({ a: { ver: OLD_VER, flag: "e", fp: FP, exp: 1000 } });
    assertEquals(await mark(t.index, ["a"], PLAIN), []);
    const record = await t.readRecord("a");
    const touch = Math.floor(record.rev / 1000);
    assertEquals(record, { ...EMPTY, rev: record.rev, ver: OLD_VER, fp: FP, exp: 1000, touch });
  });

  it("overwrites an evicted value at once with `now`", async () => {
    await t.evicted("a", "v");
    const old = await t.readRecord("a");
    await t.setKeys("a");
    assertEquals(await mark(t.index, ["a"], { ...PLAIN, overwrite: "now", freezeDelayMs: 11 }), []);
    const record = await t.readRecord("a");
    const now = Math.floor(record.rev / 1000);
    assertEquals(record, { ...old, flag: "r", rev: record.rev, touch: now });
    assertEquals(await t.scores("dirty"), { a: String(now + 11) });
  });

  it("overwrites by compare-and-set only over the record given, key by key", async () => {
    const { record } = await t.evicted("same", "v");
    const { record: moved } = await t.evicted("moved", "w");
    await t.setKeys("same", "moved");
    const before = await t.readRecord("same");
    const expected = [moved.replace(OLD_VER, "1600000000000000-00000000"), record];
    const exceptions = await mark(t.index, ["moved", "same"], { ...PLAIN, overwrite: "cas", expected });
    assertEquals(exceptions, [{ key: "moved", why: "again", record: moved }]);
    const marked = await t.readRecord("same");
    assertEquals(marked, { ...before, flag: "r", rev: marked.rev, touch: Math.floor(marked.rev / 1000) });
    assertEquals(await t.recordText("moved"), moved);
    assertEquals(Object.keys(await t.scores("dirty")), ["same"]);
  });

  it("acts on no record but the one given with compare-and-set, whatever the key is by now", async () => {
    await t.setKeys("dirty", "clean", "none", "written", "requeued");
    await t.setRecords({
      dirty: { rev: 9, touch: 4 },
      clean: { ver: OLD_VER, fp: FP },
      gone: { rev: 3, flag: "g" },
      removed: { rev: 3, ver: OLD_VER },
      evicted: { ver: OLD_VER, fp: FP, flag: "e" },
      written: { ver: OLD_VER, fp: FP, flag: "e" },
      requeued: { rev: 4, attempts: 3 },
    });
    await t.setScores("dead", { requeued: 4 });
    const all = ["dirty", "clean", "none", "gone", "removed", "evicted", "written", "requeued"];
    const expected = all.map(() => textOf({ ver: "1600000000000000-00000000", fp: FP, flag: "e" }));
    await t.changesNothing(async () => {
      for (const missing of ["throw", "del"] as const) {
        const options: MarkOptions = { freezeDelayMs: 0, missing, overwrite: "cas", expected };
        const exceptions = await mark(t.index, all, options);
        assertEquals(exceptions.map(({ key, why }) => [key, why]), all.map((key) => [key, "again"]));
      }
    });
  });

  it("with missing: del makes a resident key that is missing gone, as a change of its own", async () => {
    await t.setRecords({
      dirty: { rev: 5, touch: 3 },
      clean: { ver: OLD_VER, fp: FP, touch: 3 },
      dead: { rev: 6, touch: 3, attempts: 3 },
    });
    await stack.raw("PEXPIRE", keys.record("clean"), HOUR_MS);
    await t.setScores("dead", { dead: 6 });
    await t.setScores("dirty", { dirty: 44 });
    const from = await t.nowUs();
    assertEquals(await mark(t.index, ["dirty", "clean", "dead"], { ...DEL, freezeDelayMs: 20 }), []);
    const { rev } = await t.readRecord("clean");
    assertBetween(rev, from, await t.nowUs());
    assertEquals(await t.readRecord("dirty"), { ...EMPTY, rev, touch: 3, flag: "g" });
    assertEquals(await t.readRecord("clean"), {
      ...EMPTY,
      rev,
      touch: 3,
      flag: "g",
      ver: OLD_VER,
      old: OLD_VER,
      fp: FP,
    });
    assertEquals(await t.readRecord("dead"), { ...EMPTY, rev, touch: 3, flag: "g" });
    const score = String(Math.floor(rev / 1000) + 20);
    assertEquals(await t.scores("dirty"), { dirty: "44", clean: score, dead: score });
    assertEquals(await t.scores("dead"), {});
    assertEquals(await t.expiry(keys.record("clean")), -1);
  });

  it("with missing: del marks a key that exists as ever", async () => {
    await t.setKeys("a");
    assertEquals(await mark(t.index, ["a"], DEL), []);
    const { rev, flag } = await t.readRecord("a");
    assertEquals([flag, await t.scores("dirty")], ["r", { a: String(Math.floor(rev / 1000)) }]);
  });

  it("with missing: del is content if there is nothing to remove; nothing changes", async () => {
    await t.setRecords({
      gone: { rev: 5, flag: "g" },
      removed: { ver: OLD_VER, flag: "g" },
      touched: { touch: 3 },
      expired: { ver: OLD_VER, fp: FP, exp: 1000 },
      past: { ver: OLD_VER, flag: "e", fp: FP, exp: 1000 },
    });
    await t.changesNothing(async () => {
      assertEquals(await mark(t.index, ["gone", "removed", "touched", "expired", "past", "never"], DEL), []);
    });
  });

  it("with missing: del refuses a removal from an evicted value, with overwrite too; nothing changes", async () => {
    const { record } = await t.evicted("a", "v");
    await t.changesNothing(async () => {
      for (const overwrite of ["never", "report", "now"] as const) {
        const exceptions = await mark(t.index, ["a"], { ...DEL, overwrite });
        assertEquals(exceptions, [{ key: "a", why: "blind removal", record }]);
      }
      const cas: MarkOptions = { ...DEL, overwrite: "cas", expected: [record] };
      assertEquals(await mark(t.index, ["a"], cas), [{ key: "a", why: "blind removal", record }]);
    });
  });

  it("reports a record of another version and leaves it alone, there or missing; the others are marked", async () => {
    await t.setKeys("a", "b");
    await t.setRecords({ a: UNKNOWN, c: UNKNOWN });
    for (const options of [PLAIN, DEL, { ...PLAIN, overwrite: "now" as const }]) {
      const exceptions = await mark(t.index, ["a", "b", "c"], options);
      assertEquals(exceptions, ["a", "c"].map((key) => ({ key, why: "unsupported" as const, record: UNKNOWN })));
    }
    assertEquals([await t.recordText("a"), await t.recordText("c")], [UNKNOWN, UNKNOWN]);
    assertEquals(Object.keys(await t.scores("dirty")), ["b"]);
  });

  it("never sets or clears a TTL or a byte of the application's keys", async () => {
    const now = await t.nowMs();
    const { record } = await t.evicted("blind", "v");
    const { record: over } = await t.evicted("over", "v");
    await t.setKeys("plain", "blind", "over", "dead", "unknown");
    await t.setRecords({ unknown: UNKNOWN, dead: { rev: 2, attempts: 3 }, removed: { rev: 3 } });
    await t.setScores("dead", { dead: 4 });
    await t.clean("clean", "v", { exp: now + HOUR_MS });
    for (const key of ["blind", "over", "dead"]) await stack.raw("PEXPIREAT", key, now + 2 * HOUR_MS);
    const all = ["plain", "blind", "dead", "unknown", "removed", "clean"];
    const before = await t.userKeys();
    await mark(t.index, all, PLAIN);
    await mark(t.index, all, DEL);
    await mark(t.index, ["over"], { ...PLAIN, overwrite: "cas", expected: [over] });
    assertEquals(await t.recordText("blind"), record);
    assertEquals(await t.userKeys(), before);
    assertEquals([await t.expiry("plain"), await t.expiry("over")], [-1, now + 2 * HOUR_MS]);
  });

  it("tells 1,000 mixed keys of any Unicode apart as EXISTS does, one by one", async () => {
    const random = seededRandom("mark tells 1,000 mixed keys of any Unicode apart as EXISTS does, one by one");
    for (let round = 0; round < 6; round++) {
      await stack.raw("FLUSHALL");
      const n = round === 0 ? 1000 : 1 + random.int(200);
      const all = [...new Set(Array.from({ length: n }, () => random.text(12)))].filter((k) =>
        !k.startsWith("tundra:")
      );
      const share = random.next();
      for (const key of all) if (random.next() < share) await stack.raw("SET", key, "v");
      const missing: string[] = [];
      for (const key of all) if (await stack.raw("EXISTS", key) === 0) missing.push(key);
      const exceptions = await mark(t.index, all, PLAIN);
      assertEquals(exceptions, missing.map((key) => ({ key, why: "missing" as const, record: "" })));
      const marked = all.filter((key) => !missing.includes(key)).sort();
      assertEquals(Object.keys(await t.scores("dirty")).sort(), marked);
    }
  });

  describe("a late copy", () => {
    it("of a plain mark changes nothing once the key was evicted, written blindly, or removed", async () => {
      await t.setKeys("a");
      const { again } = await t.copied(() => mark(t.index, ["a"], PLAIN));
      await stack.raw("FLUSHALL");
      const { record } = await t.evicted("a", "v");
      await t.changesNothing(again);
      await t.setKeys("a");
      await t.changesNothing(again);
      assertEquals(await t.recordText("a"), record);
      await stack.raw("FLUSHALL");
      await t.setRecords({ a: { ver: OLD_VER, flag: "g" } });
      await t.changesNothing(again);
    });

    it("of a plain mark marks a key that is there once more, at the most", async () => {
      await t.clean("a", "v");
      const { again } = await t.copied(() => mark(t.index, ["a"], PLAIN));
      const [first, user] = [await t.readRecord("a"), await t.userKeys()];
      const queue = await t.scores("dirty");
      await again();
      const record = await t.readRecord("a");
      assertEquals(record, { ...first, rev: record.rev });
      assertEquals(record.rev > first.rev, true);
      assertEquals([await t.scores("dirty"), await t.userKeys()], [queue, user]);
    });

    it("of an overwrite changes nothing once it has taken effect, nor after the key moved on", async () => {
      const { record } = await t.evicted("a", "v");
      await t.setKeys("a");
      const cas: MarkOptions = { ...PLAIN, overwrite: "cas", expected: [record] };
      const { value, again } = await t.copied(() => mark(t.index, ["a"], cas));
      assertEquals(value, []);
      await t.changesNothing(again);
      await stack.raw("FLUSHALL");
      await t.clean("a", "newer", { ver: "1800000000000000-00000000" });
      await t.changesNothing(again);
      await stack.raw("FLUSHALL");
      await t.evicted("a", "newer", { ver: "1800000000000000-00000000" });
      await t.changesNothing(again);
      await t.setKeys("a");
      await t.changesNothing(again);
    });

    it("of a removal changes nothing once it has taken effect, nor once the key is archived again and evicted", async () => {
      await t.setRecords({ a: { rev: 5 } });
      const { again } = await t.copied(() => mark(t.index, ["a"], DEL));
      assertEquals((await t.readRecord("a")).flag, "g");
      await t.changesNothing(again);
      await t.setRecords({ a: { ver: OLD_VER, flag: "g" } });
      await t.changesNothing(again);
      await t.evicted("a", "v");
      await t.changesNothing(again);
    });

    it("of a removal removes nothing from a key that was created anew", async () => {
      await t.setRecords({ a: { rev: 5 } });
      const { again } = await t.copied(() => mark(t.index, ["a"], DEL));
      await stack.raw("FLUSHALL");
      await t.clean("a", "new");
      const user = await t.userKeys();
      await again();
      assertEquals([(await t.readRecord("a")).flag, await t.userKeys()], ["r", user]);
    });
  });

  it("is a matter of one queue name only", async () => {
    await t.setKeys("a");
    const other = withIndex(stack, "other");
    await mark(other.index, ["a"], PLAIN);
    assertEquals(Object.keys(await t.everything()).sort(), ["a", "tundra:other:dirty", "tundra:other:rec:a"]);
  });
});
