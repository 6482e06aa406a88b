import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { parseRecord } from "../../src/scripts/prelude.ts";
import { purgeableUpTo, purged } from "../../src/scripts/purged.ts";
import {
  assertBetween,
  EXPIRED_MS,
  GRACE_MS,
  OLD_VER,
  type RecordFields,
  textOf,
  withIndex,
  writesOf,
} from "../support/index.ts";
import { withStack } from "../support/stack.ts";
import { HOUR_MS, MINUTE_MS } from "../support/times.ts";

const VER = "1764000000000001-0a1b2c3d";

describe("purged", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  const GONE: Partial<RecordFields> = { ver: VER, flag: "g", old: OLD_VER };

  /** Records, each queued as due. */
  async function queued(records: Record<string, Partial<RecordFields>>): Promise<void> {
    await t.setRecords(records);
    await t.setScores("purge", Object.fromEntries(Object.keys(records).map((key) => [key, 5])));
  }

  it("a removed key's objects are deleted: its record expires a grace period later, and nothing is left to do", async () => {
    await queued({
      a: GONE,
      living: { ver: VER, old: OLD_VER, fp: "f", touch: 7 },
      dirty: { ...GONE, rev: 7, flag: "r" },
    });
    const from = await t.nowMs();
    const all = ["a", "living", "dirty"].map((key) => ({ key, upTo: OLD_VER }));
    assertEquals(await purged(t.index, all, true), 0);
    const a = await t.readRecord("a");
    assertEquals([a.old, a.ver, a.flag], ["-", VER, "g"]);
    assertBetween(await t.expiry(keys.record("a")), from + GRACE_MS, await t.nowMs() + GRACE_MS);
    for (const key of ["living", "dirty"]) {
      assertEquals([(await t.readRecord(key)).old, await t.expiry(keys.record(key))], ["-", -1]);
    }
    assertEquals(await t.scores("purge"), {});
  });

  it("an expired key's objects are deleted: its record goes, and it is idle no more", async () => {
    const exp = await t.nowMs() - EXPIRED_MS - 1;
    await queued({ a: { ver: VER, fp: "f", exp }, e: { ver: VER, fp: "f", exp, flag: "e" } });
    await t.setScores("idle", { a: 3, other: 4 });
    assertEquals(await purged(t.index, [{ key: "a", upTo: VER }, { key: "e", upTo: VER }], true), 0);
    assertEquals([await t.recordText("a"), await t.recordText("e")], [undefined, undefined]);
    assertEquals([await t.scores("idle"), await t.scores("purge")], [{ other: "4" }, {}]);
  });

  it("a key that was removed, made anew and expires stays queued for that", async () => {
    const exp = await t.nowMs() + HOUR_MS;
    await queued({ a: { ver: VER, fp: "f", exp, old: OLD_VER } });
    assertEquals(await purged(t.index, [{ key: "a", upTo: OLD_VER }], true), 0);
    assertEquals(await t.scores("purge"), { a: String(exp + EXPIRED_MS) });
  });

  it("what could not be deleted is due after as long as that has been tried, from a minute to an hour", async () => {
    const now = await t.nowMs();
    const since = (ms: number) => ({ ...GONE, ver: `${now - ms}000-00000000` });
    await queued({ now: since(0), some: since(20 * MINUTE_MS), long: since(20 * HOUR_MS) });
    const before = await t.recordText("some");
    const all = ["now", "some", "long"].map((key) => ({ key, upTo: OLD_VER }));
    assertEquals(await purged(t.index, all, false), 3);
    const { now: first, some, long } = await t.scores("purge");
    assertBetween(Number(first), now + MINUTE_MS, now + MINUTE_MS + 5_000);
    assertBetween(Number(some), now + 20 * MINUTE_MS, now + 20 * MINUTE_MS + 5_000);
    assertBetween(Number(long), now + HOUR_MS, now + HOUR_MS + 5_000);
    assertEquals(await t.recordText("some"), before);
  });

  it("changes no record whose objects to delete are others by now: they stay due", async () => {
    const later = { ...GONE, old: "1763000000000001-0a1b2c3d" };
    await queued({ a: later });
    assertEquals(await purged(t.index, [{ key: "a", upTo: OLD_VER }], true), 1);
    assertEquals(await t.recordText("a"), textOf(later));
    assertBetween(Number((await t.scores("purge")).a), await t.nowMs() - 5_000, await t.nowMs());
  });

  it("a late copy does nothing to a key that was made anew, or removed again", async () => {
    await queued({ a: GONE, b: GONE });
    const all = [{ key: "a", upTo: OLD_VER }, { key: "b", upTo: OLD_VER }];
    const { again } = await t.copied(() => purged(t.index, all, true));
    const exp = await t.nowMs() + HOUR_MS;
    await t.setRecords({
      a: { ver: VER, fp: "f", exp },
      b: { ...GONE, old: VER, ver: "1765000000000001-00000000" },
    });
    await t.setScores("purge", { a: exp + EXPIRED_MS, b: 5 });
    const before = await t.everything();
    await again();
    const after = await t.everything();
    assertEquals(after[keys.record("a")], before[keys.record("a")]);
    assertEquals(after[keys.record("b")], before[keys.record("b")]);
    const { a, b } = await t.scores("purge");
    assertEquals(a, String(exp + EXPIRED_MS));
    assertBetween(Number(b), 5, await t.nowMs());
  });

  it("drops from the queue what has nothing to delete, and looks at an unknown record in an hour", async () => {
    await queued({ none: { ver: VER, fp: "f" }, waiting: { rev: 7, ver: VER, flag: "g", old: VER } });
    await t.setRecords({ unknown: "2 0 - r" });
    await t.setScores("purge", { unknown: 5, lost: 5 });
    const all = ["none", "waiting", "unknown", "lost"].map((key) => ({ key, upTo: "" }));
    assertEquals(await purged(t.index, all, true), 0);
    const left = await t.scores("purge");
    assertEquals(Object.keys(left), ["unknown"]);
    assertBetween(Number(left.unknown), await t.nowMs() + HOUR_MS - 5_000, await t.nowMs() + HOUR_MS);
    assertEquals(await t.recordText("unknown"), "2 0 - r");
  });

  it("writes records, then the queue; costs 1 request and 5 to 10 commands for any number of keys", async () => {
    const exp = await t.nowMs() - EXPIRED_MS - 1;
    const all = Array.from({ length: 100 }, (_, i) => ({ key: `k${i}`, upTo: OLD_VER }));
    await purged(t.index, all, true);
    const living = { ver: VER, old: OLD_VER, fp: "f" };
    await queued({ k0: living, k1: { ver: OLD_VER, fp: "f", exp }, k2: { ...living, exp: exp + HOUR_MS } });
    const lines = await t.scripted(() => purged(t.index, all.slice(0, 3), true));
    assertEquals(writesOf(lines), ["MSET", "ZADD", "HINCRBY", "UNLINK", "ZREM", "ZREM"]);
    await queued(Object.fromEntries(all.map(({ key }) => [key, living])));
    assertEquals(await t.bill(() => purged(t.index, all, true)), { requests: 1, billable: 5 });
  });

  it("a key that was missing as it had expired waits for two days, whatever is said of it before", async () => {
    const exp = await t.nowMs() - HOUR_MS;
    await queued({ a: { ver: VER, flag: "m", exp, old: OLD_VER } });
    const before = await t.recordText("a");
    for (const upTo of ["", OLD_VER, "1763000000000001-0a1b2c3d"]) {
      assertEquals(await purged(t.index, [{ key: "a", upTo }], true), 0);
      assertEquals([await t.recordText("a"), await t.scores("purge")], [before, { a: String(exp + EXPIRED_MS) }]);
    }
  });

  it("the package and the scripts agree on what may be deleted", async () => {
    const now = await t.nowMs();
    const records: Partial<RecordFields>[] = [];
    for (const flag of ["r", "e", "g", "m"] as const) {
      for (const rev of [0, 7]) {
        for (const old of ["-", OLD_VER, VER]) {
          for (const exp of [0, now - EXPIRED_MS - 1_000, now - 1, now + HOUR_MS]) {
            records.push({ flag, rev, old, exp, ver: VER });
          }
        }
      }
    }
    await queued(Object.fromEntries(records.map((record, i) => [`k${i}`, record])));
    const all = records.map((record, i) => ({
      key: `k${i}`,
      upTo: purgeableUpTo(parseRecord(textOf(record))!, now),
    }));
    assertEquals(await purged(t.index, all, false), all.filter(({ upTo }) => upTo !== "").length);
    const wanted = all.filter(({ upTo }) => upTo !== "").length;
    assertEquals(wanted > 20 && wanted < 70, true, String(wanted));
  });
});
