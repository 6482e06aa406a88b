import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { type ArchivedKey, raise, type RebuildStep } from "../../src/scripts/raise.ts";
import { confirmRebuild, readRebuild } from "../../src/scripts/rebuild.ts";
import { assertBetween, EXPIRED_MS, type RecordFields, textOf, withIndex, writesOf } from "../support/index.ts";
import { withStack } from "../support/stack.ts";
import { DAY_MS, HOUR_MS } from "../support/times.ts";

const BASE = 1_764_000_000_000_000;
const version = (after: number, nonce = "0a1b2c3d") => `${BASE + after}-${nonce}`;
const WALK = "walk";

describe("raise", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  const STATE = keys.cursor("rebuild");
  let id: string;

  beforeEach(async () => {
    await stack.flush();
    id = stack.id("new:rebuild:u");
    await stack.raw("SET", keys.id, id);
  });

  const value = (key: string, ver: string, more: Partial<ArchivedKey> = {}): ArchivedKey => ({
    ...{ key, ver, what: "value", exp: 0, kb: 0 },
    ...more,
  });
  const step = (at: string, next: string): RebuildStep => ({
    ...{ id, at, next, again: WALK },
    adds: { objects: 3, packs: 1, copied: 0 },
  });
  /** One step that stays at the beginning. */
  const run = async (...archived: ArchivedKey[]) => (await raise(t.index, step("", ""), archived)).outcomes;
  const fields = async (key: string): Promise<Partial<RecordFields>> => {
    const { rev, ver, flag, fp, exp, old, kb } = await t.readRecord(key);
    return { rev, ver, flag, fp, exp, old, kb };
  };
  const EVICTED = { rev: 0, flag: "e", fp: "?", exp: 0, old: "-", kb: 0 } as const;

  it("makes records: evicted ones, that count so, and removed ones, which outlive a walk", async () => {
    const from = await t.nowMs();
    const exp = from + HOUR_MS;
    const outcomes = await run(
      value("a", version(1)),
      value("p", `${version(2)}@:16:300`, { kb: 32, exp }),
      value("g", version(3), { what: "gone" }),
      value("m", version(4), { what: "missing" }),
    );
    assertEquals(outcomes, ["made", "made", "made", "made"]);
    assertEquals(await fields("a"), { ...EVICTED, ver: version(1) });
    assertEquals(await fields("p"), { ...EVICTED, ver: `${version(2)}@:16:300`, exp, kb: 32 });
    assertEquals((await t.recordText("p"))![0], "2"); // the layout of a record that names a place
    for (const [key, flag, after] of [["g", "g", 3], ["m", "m", 4]] as const) {
      assertEquals(await fields(key), { ...EVICTED, ver: version(after), flag, fp: "-" });
      assertBetween(await t.expiry(keys.record(key)), from + 8 * DAY_MS, await t.nowMs() + 8 * DAY_MS);
    }
    assertEquals([await t.expiry(keys.record("a")), await t.expiry(keys.record("p"))], [-1, -1]);
    assertEquals([await t.scores("dirty"), await t.scores("purge")], [{}, { p: String(exp + EXPIRED_MS) }]);
    assertEquals(await t.stats(), { archived: "2", left: "-2" });
  });

  it("takes what expired long ago for missing, and what expired just now for evicted", async () => {
    const now = await t.nowMs();
    await run(
      value("long", version(1), { exp: now - EXPIRED_MS - 1 }),
      value("now", version(1), { exp: now - HOUR_MS }),
    );
    assertEquals([(await fields("long")).flag, (await fields("now")).flag], ["m", "e"]);
    assertEquals(Object.keys(await t.scores("purge")), ["now"]);
  });

  it("raises a record to a newer version, and to no other, in whatever order they come", async () => {
    const orders = [[1, 2, 3], [3, 2, 1], [2, 3, 1], [3, 1, 2, 3]];
    for (const order of orders) {
      await stack.raw("DEL", keys.record("a"), keys.record("g"), keys.stats);
      for (const after of order) {
        await run(
          value("a", version(after)),
          value("g", version(after), { what: after === 3 ? "gone" : "value" }),
        );
      }
      assertEquals(await fields("a"), { ...EVICTED, ver: version(3) });
      assertEquals(await fields("g"), { ...EVICTED, ver: version(3), flag: "g", fp: "-" });
      assertEquals((await t.stats()).archived, "1");
    }
  });

  it("takes a version in two packs for one, and the younger pack's place", async () => {
    const [first, moved, younger] = [
      `${version(1)}@:16:300`,
      `${version(1)}@${version(7)}:16:99`,
      `${version(1)}@${version(9)}:16:99`,
    ];
    for (const order of [[first, moved, younger], [younger, moved, first], [moved, younger, first]]) {
      await stack.raw("DEL", keys.record("a"));
      for (const word of order) await run(value("a", word!));
      assertEquals(await fields("a"), { ...EVICTED, ver: younger! });
    }
    await run(value("a", version(1)));
    assertEquals((await fields("a")).ver, younger!); // an object of its own is older than any pack that it came into
  });

  it("takes neither of two versions of the same time: the record names what no object is, just below them", async () => {
    const [one, other] = [version(5, "aaaaaaaa"), version(5, "bbbbbbbb")];
    for (const order of [[one, other], [one, other, one, version(4)], [version(4), other, one]]) {
      await stack.raw("DEL", keys.record("a"), keys.stats);
      const outcomes = [];
      for (const ver of order) outcomes.push(...await run(value("a", ver)));
      assertEquals(outcomes.includes("rivals"), true);
      assertEquals(await fields("a"), { ...EVICTED, ver: version(4, "00000000") });
      assertEquals((await t.readRecord("a")).error.slice(0, 5), "LOST ");
    }
    assertEquals(await run(value("b", one, { what: "rivals" })), ["rivals"]);
    assertEquals(await run(value("a", version(6)), value("b", version(6), { what: "gone" })), ["raised", "raised"]);
    assertEquals([await fields("a"), (await fields("b")).flag], [{ ...EVICTED, ver: version(6) }, "g"]);
    assertEquals((await t.readRecord("a")).error, "");
  });

  it("queues a key that is in Redis, whatever the archive holds of it, and never makes it evicted", async () => {
    await t.setKeys("v", "g", "l");
    const from = await t.nowUs();
    const all = [
      value("v", version(1), { exp: 5_000_000_000_000, kb: 32 }),
      value("g", version(1), { what: "gone" }),
      value("l", version(1), { what: "rivals" }),
    ];
    assertEquals(await run(...all), ["made", "made", "made"]);
    assertEquals(await run(...all), ["kept", "kept", "kept"]);
    for (const key of ["v", "g", "l"]) {
      const { rev, ver, flag } = await t.readRecord(key);
      assertEquals([ver, flag], [version(1), "r"]);
      assertBetween(rev, from, await t.nowUs());
    }
    assertEquals(Object.keys(await t.scores("dirty")).sort(), ["g", "l", "v"]);
    assertEquals([await t.scores("purge"), await t.expiry(keys.record("g"))], [{}, -1]);
  });

  it("leaves what was marked meanwhile as it is, but for the version that the next one follows", async () => {
    const marked = { rev: 7, touch: 3, attempts: 2 };
    await t.setRecords({
      r: marked,
      g: { ...marked, flag: "g", attempts: 0 },
      newer: { ...marked, ver: version(9), fp: "f" },
      dead: marked,
    });
    await t.setScores("dead", { dead: 5 });
    await t.setScores("dirty", { r: "17.5" });
    await run(...["r", "g", "newer", "dead"].map((key) => value(key, version(1))));
    assertEquals(await fields("r"), { ...EVICTED, rev: 7, ver: version(1), flag: "r" });
    assertEquals(await fields("g"), { ...EVICTED, rev: 7, ver: version(1), flag: "g", old: version(1) });
    assertEquals(await fields("newer"), { ...EVICTED, rev: 7, ver: version(9), flag: "r", fp: "f" });
    const { r, ...others } = await t.scores("dirty");
    assertEquals([r, Object.keys(others).sort()], ["17.5", ["g", "newer"]]);
  });

  it("raises a clean record that a failover took back, and leaves one that names the newest", async () => {
    const text = await t.clean("same", "value", { ver: version(2) });
    await t.evicted("older", "value", { ver: version(1) });
    await t.setRecords({ odd: "9 what another release wrote" });
    const outcomes = await run(...["same", "older", "odd"].map((key) => value(key, version(2))));
    assertEquals(outcomes, ["kept", "raised", "unsupported"]);
    assertEquals([await t.recordText("same"), (await fields("older")).ver], [text, version(2)]);
    assertEquals(await t.recordText("odd"), "9 what another release wrote");
  });

  it("notes with each step how far it has come, and counts what it has made", async () => {
    await t.setKeys("r");
    const first = await raise(t.index, step("", "one"), [value("a", version(1)), value("r", version(1))]);
    assertEquals([first.id, first.at], [id, "one"]);
    const { counts } = await raise(t.index, step("one", "two"), [
      value("a", version(2), { what: "gone" }),
      value("b", version(2), { what: "rivals" }),
    ]);
    const expected = {
      ...{ keys: 3, evicted: 0, gone: 1, resident: 1, lost: 1 },
      ...{ objects: 6, packs: 2, copied: 0 },
    };
    assertEquals(counts, expected);
    assertEquals(await readRebuild(t, id), { id, at: "two", counts: expected });
    assertEquals((await raise(t.index, step("two", "three"), [])).at, "three");
  });

  it("does nothing for a rebuild that stands elsewhere, has ended, or has another id: a late copy changes nothing", async () => {
    const { again } = await t.copied(() => raise(t.index, step("", "one"), [value("a", version(1))]));
    await t.changesNothing(again);
    const late = await t.changesNothing(() => raise(t.index, step("", "one"), [value("a", version(2))]));
    assertEquals([late.at, late.outcomes], ["one", []]);
    for (const other of ["", stack.id("u"), stack.id("new:rebuild:other"), stack.id("new:u")]) {
      if (other === "") await stack.raw("DEL", keys.id);
      else await stack.raw("SET", keys.id, other);
      const { at, outcomes, id: now } = await t.changesNothing(() =>
        raise(t.index, step("one", "two"), [value("a", version(2))])
      );
      assertEquals([now, at, outcomes], [other, "", []]);
    }
  });

  it("takes the state that another rebuild has left for none", async () => {
    await raise(t.index, step("", "one"), [value("a", version(1))]);
    id = stack.id("new:rebuild:next");
    await stack.raw("SET", keys.id, id);
    assertEquals((await readRebuild(t, id)).at, "");
    const { at, counts } = await raise(t.index, step("", "one"), [value("b", version(1))]);
    assertEquals([at, counts.keys, counts.objects], ["one", 1, 3]);
  });

  it("begins its walk again after a week, before the records of removed keys go", async () => {
    await raise(t.index, step("", "one"), [value("g", version(1), { what: "gone" })]);
    const age = async (ms: number) => {
      const text = String(await stack.raw("GET", STATE));
      await stack.raw("SET", STATE, text.replace(/ \d{13} /, ` ${await t.nowMs() - ms} `));
    };
    await age(7 * DAY_MS - HOUR_MS);
    assertEquals((await raise(t.index, step("one", "two"), [])).at, "two");
    await age(7 * DAY_MS + 1);
    const { at, outcomes } = await raise(t.index, step("two", "three"), [value("a", version(1))]);
    assertEquals([at, outcomes, await t.recordText("a")], [WALK, [], undefined]);
    await stack.raw("PEXPIRE", keys.record("g"), DAY_MS);
    await raise(t.index, step(WALK, "one"), [value("g", version(1), { what: "gone" })]);
    assertBetween(await t.expiry(keys.record("g")), await t.nowMs() + 7 * DAY_MS, Infinity);
    await age(30 * DAY_MS); // while objects are copied no record is made
    assertEquals((await raise(t.index, { ...step("one", "two"), again: "" }, [])).at, "two");
  });

  it("sends long names in several requests, and comes further with the last one alone", async () => {
    const all = Array.from({ length: 60 }, (_, i) => value(`${i}`.padEnd(30_000, "e"), version(1)));
    await stack.server.resetCounters();
    const { at, outcomes } = await raise(t.index, step("", "one"), all);
    assertEquals([at, outcomes.length, (await t.everything())[STATE] === undefined], ["one", 60, false]);
    assertEquals(stack.server.requests > 1, true);
    assertEquals((await raise(t.index, step("one", "one"), all)).counts.keys, 60);
  });

  it("costs what it says, writes records first, then the queues, and how far it has come last", async () => {
    await t.setKeys("r");
    const all = Array.from({ length: 998 }, (_, i) => value(`k${i}`, version(1), { exp: 5_000_000_000_000 }));
    const some = [...all, value("r", version(1)), value("g", version(1), { what: "gone" })];
    await run();
    const { requests, billable } = await t.bill(() => raise(t.index, step("", "one"), some));
    assertEquals(requests, 1);
    assertBetween(billable, 9, 30); // EXISTS is asked by halves where some are there
    await stack.raw("DEL", ...some.map(({ key }) => keys.record(key)), keys.dirty, keys.purge, "r");
    const writes = writesOf(await t.scripted(() => raise(t.index, step("one", "two"), [...all, some.at(-1)!])));
    assertEquals(writes, ["SET", "MSET", "ZADD", "HSET", "SET"]);
    assertEquals((await t.bill(() => raise(t.index, step("two", "two"), all))).billable, 6);
  });

  it("ends with a confirmed id if it has come to its end, and only then", async () => {
    const to = stack.id("u");
    await raise(t.index, step("", "one"), [value("a", version(1))]);
    assertEquals(await t.changesNothing(() => confirmRebuild(t.index, id, to, "end")), id);
    await raise(t.index, step("one", "end"), []);
    const { value: now, again } = await t.copied(() => confirmRebuild(t.index, id, to, "end"));
    assertEquals([now, String(await stack.raw("GET", keys.id)), String(await stack.raw("GET", keys.tick))], [
      to,
      to,
      "0",
    ]);
    assertEquals([await stack.raw("EXISTS", STATE), (await t.stats()).frozen], [0, "0"]);
    await t.changesNothing(again);
    await stack.raw("SET", STATE, textOf({}));
    assertEquals((await readRebuild(t, to)).at, "");
  });
});
