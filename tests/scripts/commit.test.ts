import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { type Archived, commit } from "../../src/scripts/commit.ts";
import { mark } from "../../src/scripts/mark.ts";
import {
  assertBetween,
  EMPTY,
  EXPIRED_MS,
  GRACE_MS,
  OLD_VER,
  type RecordFields,
  withIndex,
  writesOf,
} from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";
import { HOUR_MS } from "../support/times.ts";

const TOKEN = "1900000000000.5";
const OPTIONS = { token: TOKEN, leaseMs: 60_000, freezeDelayMs: 0 };
const VER = "1800000000000000-abcdef01";
const [OLD_FP, FP] = ["0".repeat(40), "f".repeat(40)];
const UNKNOWN = "2 of another version";
const DIRTY: RecordFields = { ...EMPTY, rev: 5, ver: OLD_VER, fp: OLD_FP, touch: 3, attempts: 2, error: "CORRUPT x" };

/** Bytes that were archived at revision 5. */
function archived(key: string, fields: Partial<Archived> = {}): Archived {
  return { key, rev: 5, ver: VER, fp: FP, exp: 0, bytes: 100, kb: 3, ...fields };
}

/** A tombstone that was archived at revision 5. */
function tombstone(key: string, fields: Partial<Archived> = {}): Archived {
  return { ...archived(key), fp: "", bytes: 50, kb: 0, ...fields };
}

describe("commit", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  /** Leases keys and writes their records. */
  const lease = async (records: Record<string, Partial<RecordFields> | string>) => {
    await t.setRecords(records);
    await t.setScores("dirty", Object.fromEntries(Object.keys(records).map((key) => [key, TOKEN])));
  };

  it("removes a record that says nothing, if its key is missing: begin made it of one that Redis has lost", async () => {
    await lease({
      none: { attempts: 1, before: "1.5", after: TOKEN },
      e: { ver: VER, flag: "e" },
      removed: { old: VER },
    });
    const nothing = (key: string) => tombstone(key, { rev: 0, ver: "" });
    assertEquals(await commit(t.index, ["none", "e", "removed"].map(nothing), OPTIONS), [
      "evicted",
      "evicted",
      "evicted",
    ]);
    assertEquals([await t.recordText("none"), await t.scores("dirty")], [undefined, {}]);
    assertEquals([(await t.readRecord("e")).ver, (await t.readRecord("removed")).old], [VER, VER]);
  });

  it("clean: the record names what was archived, and the key goes from the queue to idle with its last touch", async () => {
    await t.setKeys("a", "b");
    await lease({ a: { ...DIRTY, before: "1.5", after: "2.5" }, b: { rev: 5 } });
    const [from, user] = [await t.nowMs(), await t.userKeys()];
    assertEquals(await commit(t.index, [archived("a"), archived("b", { bytes: 23 })], OPTIONS), ["clean", "clean"]);
    const a = { ...EMPTY, ver: VER, fp: FP, kb: 3, touch: 3, before: "1.5", after: "2.5" };
    assertEquals(await t.readRecord("a"), a);
    const { touch } = await t.readRecord("b");
    assertBetween(touch, from, await t.nowMs());
    assertEquals(await t.readRecord("b"), { ...EMPTY, ver: VER, fp: FP, kb: 3, touch });
    assertEquals([await t.scores("dirty"), await t.scores("idle")], [{}, { a: "3", b: String(touch) }]);
    assertEquals(await t.stats(), { frozen: "2", bytes: "123", archived: "1" }); // a had been archived before
    assertEquals([await t.expiry(keys.record("a")), await t.userKeys()], [-1, user]);
  });

  it("clean: a value that stays comes not to idle, and leaves it", async () => {
    await t.setKeys("a", "b", "c");
    await lease({ a: DIRTY, b: DIRTY, c: DIRTY });
    await t.setScores("idle", { b: 99, c: 99 });
    const all = [archived("a", { stays: true }), archived("b", { stays: true }), archived("c", { stays: false })];
    assertEquals(await commit(t.index, all, OPTIONS), ["clean", "clean", "clean"]);
    assertEquals(await t.scores("idle"), { c: "3" });
    for (const key of ["a", "b", "c"]) assertEquals((await t.readRecord(key)).kb, 3);
  });

  it("clean: a commit is no use of the key, so that idle keeps its last touch", async () => {
    await t.setKeys("a");
    await lease({ a: DIRTY });
    await t.setScores("idle", { a: 99 });
    await commit(t.index, [archived("a")], OPTIONS);
    assertEquals(await t.scores("idle"), { a: "3" });
  });

  it("clean, requeued: a key that is there is resident, also if its record called it removed or evicted", async () => {
    await t.setKeys("gone", "evicted", "changed");
    await lease({
      gone: { rev: 5, flag: "g" },
      evicted: { rev: 5, flag: "e", exp: 1 },
      changed: { rev: 6, flag: "g" },
    });
    const all = ["gone", "evicted", "changed"];
    const outcomes = await commit(t.index, all.map((key) => archived(key)), OPTIONS);
    assertEquals(outcomes, ["clean", "clean", "requeued"]);
    for (const key of all) assertEquals([key, (await t.readRecord(key)).flag], [key, "r"]);
    assertEquals([await t.expiry(keys.record("gone")), await t.expiry(keys.record("evicted"))], [-1, -1]);
  });

  it("clean: the record of a key with an expiry of its own stays, and its objects are to be deleted two days after it", async () => {
    const exp = await t.nowMs() + HOUR_MS;
    await stack.raw("SET", "a", "v", "PXAT", exp);
    await lease({ a: DIRTY });
    const user = await t.userKeys();
    assertEquals(await commit(t.index, [archived("a", { exp })], OPTIONS), ["clean"]);
    assertEquals((await t.readRecord("a")).exp, exp);
    assertEquals(await t.scores("purge"), { a: String(exp + EXPIRED_MS) });
    await mark(t.index, ["a"], { freezeDelayMs: 0, missing: "throw", overwrite: "never" });
    assertEquals(await t.expiry(keys.record("a")), -1);
    await t.setScores("dirty", { a: TOKEN });
    const { rev } = await t.readRecord("a");
    await stack.raw("PERSIST", "a");
    await stack.raw("PEXPIREAT", "a", exp + 1);
    assertEquals(await commit(t.index, [archived("a", { rev, exp: exp + 1 })], OPTIONS), ["clean"]);
    assertEquals([await t.expiry(keys.record("a")), await t.expiry("a")], [-1, exp + 1]);
    assertEquals(await t.scores("purge"), { a: String(exp + 1 + EXPIRED_MS) });
    assertEquals(Object.keys(user), ["a"]);
  });

  it("requeued: what changed meanwhile keeps its revision and is due after the delay", async () => {
    await t.setKeys("a");
    await lease({ a: { ...DIRTY, rev: 6 } });
    const from = await t.nowMs();
    const exp = from + HOUR_MS;
    assertEquals(await commit(t.index, [archived("a", { exp })], { ...OPTIONS, freezeDelayMs: 5000 }), ["requeued"]);
    assertEquals(await t.readRecord("a"), { ...EMPTY, rev: 6, ver: VER, fp: FP, kb: 3, exp, touch: 3 });
    assertBetween(Number((await t.scores("dirty")).a), from + 5000, await t.nowMs() + 5000);
    assertEquals([await t.scores("idle"), await t.expiry(keys.record("a"))], [{}, -1]);
    assertEquals(await t.stats(), { frozen: "1", bytes: "100" });
  });

  it("gone: what was archived but is missing by now is due for its tombstone at once", async () => {
    await lease({ a: DIRTY, changed: { ...DIRTY, rev: 9 }, removed: { ...DIRTY, rev: 9, flag: "g" } });
    const from = await t.nowMs();
    const outcomes = await commit(t.index, ["a", "changed", "removed"].map((key) => archived(key, { exp: 1 })), {
      ...OPTIONS,
      freezeDelayMs: 5000,
    });
    assertEquals(outcomes, ["gone", "gone", "gone"]);
    assertEquals(await t.readRecord("a"), { ...EMPTY, rev: 5, ver: VER, fp: FP, kb: 3, exp: 1, touch: 3 });
    assertEquals([(await t.readRecord("changed")).rev, (await t.readRecord("removed")).flag], [9, "g"]);
    const { a, changed, removed } = await t.scores("dirty");
    assertBetween(Number(a), from, await t.nowMs());
    assertEquals([changed, removed, await t.scores("idle")], [a, a, {}]);
    assertEquals([await t.expiry(keys.record("a")), await t.stats()], [-1, { frozen: "3", bytes: "300" }]);
  });

  it("removed: a tombstone ends it, and the record expires after a grace period", async () => {
    await lease({ a: DIRTY, b: { ...DIRTY, flag: "g" } });
    await t.setScores("idle", { a: 3, other: 4 });
    const from = await t.nowMs();
    assertEquals(await commit(t.index, [tombstone("a"), tombstone("b")], OPTIONS), ["removed", "removed"]);
    const record = { ...EMPTY, ver: VER, touch: 3, error: "CORRUPT x" };
    // nobody had said that a was removed
    assertEquals([await t.readRecord("a"), await t.readRecord("b")], [{ ...record, flag: "m" }, {
      ...record,
      flag: "g",
    }]);
    assertBetween(await t.expiry(keys.record("a")), from + GRACE_MS, await t.nowMs() + GRACE_MS);
    assertEquals([await t.scores("dirty"), await t.scores("idle")], [{}, { other: "4" }]);
    assertEquals(await t.stats(), { removed: "1", archived: "-1" }); // a had been archived
  });

  it("expired: the tombstone of a key whose own expiry has passed by then, unless it was removed on purpose", async () => {
    const exp = await t.nowMs() - 1;
    await lease({
      a: { ...DIRTY, exp },
      old: { ...DIRTY, exp, old: OLD_VER },
      g: { ...DIRTY, exp, flag: "g" },
      later: { ...DIRTY, exp: exp + HOUR_MS },
    });
    const all = ["a", "old", "g", "later"].map((key) => tombstone(key));
    const outcomes = await commit(t.index, all, OPTIONS);
    assertEquals(outcomes, ["expired", "expired", "removed", "removed"]);
    assertEquals([(await t.readRecord("a")).flag, (await t.readRecord("later")).flag], ["m", "m"]);
  });

  it("requeued: a key that was removed once more needs a later tombstone", async () => {
    await lease({ a: { ...DIRTY, rev: 6 } });
    const from = await t.nowMs();
    assertEquals(await commit(t.index, [tombstone("a")], OPTIONS), ["requeued"]);
    const record = { ...EMPTY, rev: 6, ver: VER, touch: 3, error: "CORRUPT x" };
    assertEquals(await t.readRecord("a"), record);
    assertBetween(Number((await t.scores("dirty")).a), from, await t.nowMs());
    assertEquals(await t.expiry(keys.record("a")), -1);
  });

  it("recreated: a tombstone does nothing to a key that exists again but queue it at once", async () => {
    await stack.raw("SET", "a", "new", "PX", HOUR_MS);
    await lease({ a: DIRTY });
    const [before, from, user] = [await t.recordText("a"), await t.nowMs(), await t.userKeys()];
    assertEquals(await commit(t.index, [tombstone("a")], { ...OPTIONS, freezeDelayMs: 5000 }), ["recreated"]);
    assertEquals(await t.recordText("a"), before);
    assertBetween(Number((await t.scores("dirty")).a), from, await t.nowMs());
    assertEquals(await t.userKeys(), user);
  });

  it("evicted: a missing key with an archived value only leaves the queue, and that value lives", async () => {
    const records = {
      tombstone: { ...DIRTY, rev: 0, flag: "e" as const },
      dirtyTombstone: { ...DIRTY, flag: "e" as const },
      cleanTombstone: { ...DIRTY, rev: 0 },
      bytes: { ...DIRTY, flag: "e" as const },
      cleanBytes: { ...DIRTY, rev: 0 },
    };
    await lease(records);
    const before = await Promise.all(Object.keys(records).map((key) => t.recordText(key)));
    const outcomes = await commit(t.index, [
      tombstone("tombstone", { rev: 0 }),
      tombstone("dirtyTombstone"),
      tombstone("cleanTombstone", { rev: 0 }),
      archived("bytes"),
      archived("cleanBytes", { rev: 0 }),
    ], OPTIONS);
    assertEquals(outcomes, Array(5).fill("evicted"));
    assertEquals(await Promise.all(Object.keys(records).map((key) => t.recordText(key))), before);
    assertEquals([await t.scores("dirty"), await t.scores("idle")], [{}, {}]);
    assertEquals(await t.stats(), {});
  });

  it("stale: without the token of the lease nothing is changed", async () => {
    await t.setKeys("later", "due", "near", "never");
    await lease({ later: DIRTY, due: DIRTY, near: DIRTY, gone: DIRTY, never: DIRTY, unknown: UNKNOWN });
    const scores = { later: "1900000000001.5", due: "5", near: "1900000000000", gone: "6", unknown: "7" };
    await t.setScores("dirty", scores);
    await stack.raw("ZREM", keys.dirty, "never");
    const all = ["later", "due", "near", "gone", "never", "unknown"];
    await t.changesNothing(async () => {
      assertEquals(await commit(t.index, all.map((key) => archived(key)), OPTIONS), Array(6).fill("stale"));
      assertEquals(await commit(t.index, all.map((key) => tombstone(key)), OPTIONS), Array(6).fill("stale"));
    });
  });

  it("unsupported: a record of another version is left alone, its key due in an hour; the others are committed", async () => {
    await t.setKeys("a", "b");
    await lease({ a: UNKNOWN, b: DIRTY, c: UNKNOWN });
    const from = await t.nowMs();
    const outcomes = await commit(t.index, [archived("a"), archived("b"), tombstone("c")], OPTIONS);
    assertEquals(outcomes, ["unsupported", "clean", "unsupported"]);
    assertEquals([await t.recordText("a"), await t.recordText("c")], [UNKNOWN, UNKNOWN]);
    const { a, c, ...others } = await t.scores("dirty");
    assertBetween(Number(a), from + HOUR_MS, await t.nowMs() + HOUR_MS);
    assertEquals([c, others, await t.stats()], [a, {}, { frozen: "1", bytes: "100" }]);
  });

  it("decides key by key in one call, at its cost: 1 request and 10 commands if all are clean", async () => {
    const random = seededRandom("commit decides key by key in one call");
    const all = ["", ...new Set(Array.from({ length: 999 }, (_, i) => `${i}:${random.text(10)}`))];
    await commit(t.index, [archived("warm")], OPTIONS);
    await t.setKeys(...all);
    await lease(Object.fromEntries(all.map((key) => [key, DIRTY])));
    let outcomes: string[] = [];
    const bill = await t.bill(async () => outcomes = await commit(t.index, all.map((key) => archived(key)), OPTIONS));
    assertEquals([bill, outcomes], [{ requests: 1, billable: 10 }, Array(all.length).fill("clean")]);
    assertEquals(Object.keys(await t.scores("idle")).sort(), [...all].sort());

    await stack.flush();
    const exp = await t.nowMs() + HOUR_MS;
    const kinds = all.map(() => random.pick(["clean", "requeued", "gone", "removed", "recreated", "stale"]));
    const where = (...of: string[]) => all.filter((_, i) => of.includes(kinds[i]!));
    const there = where("clean", "requeued", "recreated");
    await t.setKeys(...there);
    await lease(
      Object.fromEntries(all.map((key, i) => [key, { ...DIRTY, rev: kinds[i] === "requeued" ? 6 : 5 }])),
    );
    await t.setScores("dirty", Object.fromEntries(where("stale").map((key) => [key, 5])));
    const given = all.map((key, i) =>
      ["removed", "recreated"].includes(kinds[i]!) ? tombstone(key) : archived(key, { exp: i === 0 ? exp : 0 })
    );
    assertEquals(await commit(t.index, given, OPTIONS), kinds);
    assertEquals(Object.keys(await t.scores("idle")).sort(), where("clean").sort());
    const queued = where("requeued", "gone", "recreated", "stale").sort();
    assertEquals(Object.keys(await t.scores("dirty")).sort(), queued);
  });

  it("costs one command more if keys have expiries of their own", async () => {
    const exp = await t.nowMs() + HOUR_MS;
    await commit(t.index, [archived("warm")], OPTIONS);
    await t.setKeys("a", "b", "c");
    await lease({ a: DIRTY, b: DIRTY, c: DIRTY });
    const three = [archived("a", { exp }), archived("b", { exp }), archived("c")];
    assertEquals(await t.bill(() => commit(t.index, three, OPTIONS)), { requests: 1, billable: 11 });
  });

  it("writes records, then sets, then takes keys out of them", async () => {
    await t.setKeys("clean", "changed");
    await lease({ clean: DIRTY, changed: { ...DIRTY, rev: 6 }, gone: DIRTY });
    const all = [archived("clean"), archived("changed"), tombstone("gone")];
    const lines = await t.scripted(() => commit(t.index, all, OPTIONS));
    const writes = writesOf(lines);
    assertEquals(writes, ["SET", "MSET", "ZADD", "ZADD", "ZREM", "ZREM", "HSET"]);
    assertEquals(lines.filter((line) => line.startsWith("ZADD")), [`ZADD ${keys.idle}`, `ZADD ${keys.dirty}`]);
    assertEquals(lines.filter((line) => line.startsWith("ZREM")), [`ZREM ${keys.dirty}`, `ZREM ${keys.idle}`]);
  });

  it("leaves every Redis key as it is when it runs again, and when it comes after the lease was taken over", async () => {
    const exp = await t.nowMs() + HOUR_MS;
    const kinds = ["clean", "requeued", "gone", "removed", "again", "recreated", "evicted", "unknown"];
    await stack.raw("SET", "clean", "v", "PXAT", exp);
    await t.setKeys("requeued", "recreated");
    await lease({
      clean: DIRTY,
      requeued: { ...DIRTY, rev: 6 },
      gone: DIRTY,
      removed: DIRTY,
      again: { ...DIRTY, rev: 6 },
      recreated: DIRTY,
      evicted: { ...DIRTY, flag: "e" },
      unknown: UNKNOWN,
    });
    const all = kinds.map((key) =>
      ["removed", "again", "recreated"].includes(key)
        ? tombstone(key)
        : archived(key, { exp: key === "clean" ? exp : 0 })
    );
    const { value, again } = await t.copied(() => commit(t.index, all, OPTIONS));
    const outcomes = ["clean", "requeued", "gone", "removed", "requeued", "recreated", "evicted", "unsupported"];
    assertEquals(value, outcomes);
    await t.changesNothing(again);
    await t.setKeys(...kinds);
    await mark(t.index, kinds, { freezeDelayMs: 0, missing: "throw", overwrite: "now" });
    await t.changesNothing(again);
    await t.setScores("dirty", Object.fromEntries(kinds.map((key) => [key, "1900000060000.5"])));
    await t.changesNothing(again);
    await stack.raw("DEL", keys.dirty, ...kinds);
    await t.changesNothing(again);
  });

  it("never sets or clears a TTL or a byte of the application's keys", async () => {
    const exp = await t.nowMs() + HOUR_MS;
    const kinds = ["clean", "requeued", "recreated", "unknown"];
    await t.setKeys(...kinds, "plain");
    for (const key of kinds) await stack.raw("PEXPIREAT", key, exp);
    await lease({ clean: DIRTY, requeued: { ...DIRTY, rev: 6 }, recreated: DIRTY, unknown: UNKNOWN, plain: DIRTY });
    const user = await t.userKeys();
    const all = [
      archived("clean", { exp }),
      archived("requeued", { exp }),
      tombstone("recreated"),
      archived("unknown"),
      archived("plain"),
    ];
    const outcomes = ["clean", "requeued", "recreated", "unsupported", "clean"];
    assertEquals(await commit(t.index, all, OPTIONS) as string[], outcomes);
    assertEquals(await t.userKeys(), user);
  });
});
