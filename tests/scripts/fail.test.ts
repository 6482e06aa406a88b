import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { commit } from "../../src/scripts/commit.ts";
import { fail, type Failure, MAX_ODD } from "../../src/scripts/fail.ts";
import { mark } from "../../src/scripts/mark.ts";
import { assertBetween, EMPTY, OLD_VER, type RecordFields, withIndex, writesOf } from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";
import { HOUR_MS } from "../support/times.ts";

const TOKEN = "1900000000000.5";
const OPTIONS = { token: TOKEN, leaseMs: 60_000, nattempts: 3 };
const DIRTY: RecordFields = { ...EMPTY, rev: 5, ver: OLD_VER, touch: 3 };

/** A failure for a reason specific to the key, unless told otherwise. */
function failure(key: string, fields: Partial<Failure> = {}): Failure {
  return {
    key,
    code: "UNAVAILABLE",
    message: "a 4xx",
    fault: "own",
    begun: false,
    alone: false,
    backoffMs: 1000,
    ...fields,
  };
}

describe("fail", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  it("queues a key again after its backoff, counts the attempt and keeps the error", async () => {
    await t.setRecords({ a: { ...DIRTY, before: "1.5", after: "2.5", error: "CORRUPT old" }, b: DIRTY });
    await t.setScores("dirty", { a: TOKEN, b: TOKEN, other: TOKEN });
    const from = await t.nowMs();
    const outcomes = await fail(t.index, [
      failure("a", { backoffMs: 12 * HOUR_MS }),
      failure("b", { code: "TOO_LARGE", message: "too large", backoffMs: 0.6 }),
    ], OPTIONS);
    assertEquals(outcomes, [{ outcome: "queued", attempts: 1 }, { outcome: "queued", attempts: 1 }]);
    const a = { ...DIRTY, attempts: 1, before: "1.5", after: "2.5", error: "UNAVAILABLE a 4xx" };
    assertEquals(await t.readRecord("a"), a);
    assertEquals(await t.readRecord("b"), { ...DIRTY, attempts: 1, error: "TOO_LARGE too large" });
    const scores = await t.scores("dirty");
    const now = Number(scores.b) - 1;
    assertBetween(now, from, await t.nowMs());
    assertEquals(scores, { a: String(now + 12 * HOUR_MS), b: String(now + 1), other: TOKEN });
    assertEquals([await t.scores("dead"), await t.expiry(keys.record("a"))], [{}, -1]);
  });

  it("counts a failure specific to the key once, and takes back any other", async () => {
    const all: [name: string, attempts: number, counted: boolean, begun: boolean, after: number, half: boolean][] = [
      ["specific to the key, in a batch", 1, true, false, 2, false],
      ["specific to the key, begun alone: counted already", 1, true, true, 1, false],
      ["the store's fault, in a batch", 1, false, false, 1, false],
      ["the store's fault, begun alone: stays a suspect", 1, false, true, 0, true],
      ["the store's fault, never below 0", 0, false, true, 0, true],
    ];
    await t.setRecords(Object.fromEntries(all.map(([key, attempts]) => [key, { ...DIRTY, attempts }])));
    await t.setScores("dirty", Object.fromEntries(all.map(([key]) => [key, TOKEN])));
    const outcomes = await fail(
      t.index,
      all.map(([key, , counted, begun]) => failure(key, { fault: counted ? "own" : "passing", begun })),
      OPTIONS,
    );
    assertEquals(outcomes, all.map(([, , , , attempts]) => ({ outcome: "queued" as const, attempts })));
    const scores = await t.scores("dirty");
    for (const [key, , , , after, half] of all) {
      assertEquals([key, (await t.readRecord(key)).attempts], [key, after]);
      assertEquals([key, scores[key]!.endsWith(".5")], [key, half]);
    }
  });

  it("takes trouble that meets one key in ten ticks in a row, while others fare well, for that key's own from then on", async () => {
    await t.setKeys("odd");
    await t.setRecords({ odd: DIRTY });
    const attempts: number[] = [];
    const errors: string[] = [];
    for (let n = 1; n <= MAX_ODD + 2; n++) {
      await t.setScores("dirty", { odd: TOKEN });
      // an outage in between changes nothing
      await fail(t.index, [failure("odd", { fault: "passing", message: "away" })], OPTIONS);
      errors.push((await t.readRecord("odd")).error);
      await t.setScores("dirty", { odd: TOKEN });
      const [outcome] = await fail(t.index, [failure("odd", { fault: "odd", message: "HTTP 500" })], OPTIONS);
      attempts.push(outcome!.attempts);
    }
    assertEquals(attempts, [...Array(MAX_ODD - 1).fill(0), 1, 2, 3]);
    assertEquals(errors.slice(0, 3), [
      "UNAVAILABLE away",
      "UNAVAILABLE (1 in a row) away",
      "UNAVAILABLE (2 in a row) away",
    ]);
    assertEquals((await t.readRecord("odd")).error, `UNAVAILABLE (${MAX_ODD + 2} in a row) HTTP 500`);
    assertEquals([Object.keys(await t.scores("dead")), await t.scores("dirty")], [["odd"], {}]);
  });

  it("counts anew if the key was archived in between", async () => {
    await t.setKeys("odd");
    await t.setRecords({ odd: DIRTY });
    for (let n = 1; n <= 2 * (MAX_ODD - 1); n++) {
      await t.setScores("dirty", { odd: TOKEN });
      const [outcome] = await fail(t.index, [failure("odd", { fault: "odd" })], OPTIONS);
      assertEquals([n, outcome!.attempts], [n, 0]);
      if (n !== MAX_ODD - 1) continue;
      await t.setScores("dirty", { odd: TOKEN });
      const archived = { key: "odd", rev: 4, ver: "1900000000000000-00000001", fp: "f", exp: 0, bytes: 5, kb: 1 };
      assertEquals(await commit(t.index, [archived], { ...OPTIONS, freezeDelayMs: 0 }), ["requeued"]);
    }
  });

  it("takes back the attempt of a begin whose reply never came: the token before it is good enough, once", async () => {
    const [before, after] = [TOKEN, "1900000000007.5"];
    await t.setRecords({ k: { ...DIRTY, attempts: 2, before, after } });
    await t.setScores("dirty", { k: after });
    const unheard = () => fail(t.index, [failure("k", { fault: "passing", alone: true, backoffMs: 0 })], OPTIONS);
    assertEquals(await unheard(), [{ outcome: "queued", attempts: 1 }]);
    assertEquals((await t.scores("dirty")).k!.endsWith(".5"), true);
    await t.changesNothing(unheard);
    await t.setScores("dirty", { k: "1900000000008.5" }); // begun by another since
    await t.changesNothing(unheard);
  });

  it("lets a key come alone from now on: its score keeps the half of a suspect", async () => {
    await t.setRecords({ k: DIRTY });
    await t.setScores("dirty", { k: TOKEN });
    assertEquals(await fail(t.index, [failure("k", { alone: true })], OPTIONS), [{ outcome: "queued", attempts: 1 }]);
    assertEquals((await t.scores("dirty")).k!.endsWith(".5"), true);
  });

  it("makes a key dead at nattempts, no attempt sooner; it stays in Redis", async () => {
    await t.setKeys("last", "begun", "early", "over");
    await t.setRecords({
      last: { ...DIRTY, attempts: 2 },
      begun: { ...DIRTY, attempts: 3 },
      early: { ...DIRTY, attempts: 1 },
      over: { ...DIRTY, attempts: 7 },
    });
    await stack.raw("PEXPIRE", keys.record("last"), HOUR_MS);
    await t.setScores("dirty", { last: TOKEN, begun: TOKEN, early: TOKEN, over: TOKEN });
    const [from, user] = [await t.nowMs(), await t.userKeys()];
    const failures = [failure("last"), failure("begun", { begun: true }), failure("early"), failure("over")];
    assertEquals(await fail(t.index, failures, OPTIONS), [
      { outcome: "dead", attempts: 3 },
      { outcome: "dead", attempts: 3 },
      { outcome: "queued", attempts: 2 },
      { outcome: "dead", attempts: 8 },
    ]);
    assertEquals(Object.keys(await t.scores("dirty")), ["early"]);
    const { last, begun, over, ...others } = await t.scores("dead");
    assertBetween(Number(last), from, await t.nowMs());
    assertEquals([begun, over, others], [last, last, {}]);
    assertEquals(await t.readRecord("last"), { ...DIRTY, attempts: 3, error: "UNAVAILABLE a 4xx" });
    assertEquals([await t.expiry(keys.record("last")), await t.userKeys()], [-1, user]);
  });

  it("kills no key by outages of the store, however many", async () => {
    await t.setRecords({ a: { ...DIRTY, attempts: 2 }, b: { ...DIRTY, attempts: 3 } });
    for (let tick = 0; tick < 5; tick++) {
      await t.setScores("dirty", { a: TOKEN, b: TOKEN });
      const outcomes = await fail(
        t.index,
        [failure("a", { fault: "passing" }), failure("b", { fault: "passing" })],
        OPTIONS,
      );
      assertEquals(outcomes, [{ outcome: "queued", attempts: 2 }, { outcome: "queued", attempts: 3 }]);
    }
    assertEquals(await t.scores("dead"), {});
  });

  it("keeps of a message what a record can hold: 300 characters of printable ASCII", async () => {
    await t.setRecords({ a: DIRTY, b: DIRTY });
    await t.setScores("dirty", { a: TOKEN, b: TOKEN });
    const failures = [failure("a", { message: "é\n\t€ x" }), failure("b", { message: "m".repeat(1000) })];
    await fail(t.index, failures, OPTIONS);
    assertEquals((await t.readRecord("a")).error, "UNAVAILABLE ???? x");
    assertEquals((await t.readRecord("b")).error, "UNAVAILABLE " + "m".repeat(288));
  });

  it("asks again in an hour for a key whose record is of another version, and leaves the record alone", async () => {
    await t.setRecords({ a: "2 of another version", b: DIRTY });
    await t.setScores("dirty", { a: TOKEN, b: TOKEN });
    const from = await t.nowMs();
    const outcomes = await fail(t.index, [failure("a"), failure("b")], { ...OPTIONS, nattempts: 1 });
    assertEquals(outcomes, [{ outcome: "unsupported", attempts: 0 }, { outcome: "dead", attempts: 1 }]);
    assertEquals(await t.recordText("a"), "2 of another version");
    assertBetween(Number((await t.scores("dirty")).a), from + HOUR_MS, await t.nowMs() + HOUR_MS);
    assertEquals(Object.keys(await t.scores("dead")), ["b"]);
  });

  it("changes nothing about keys whose token is not the one given", async () => {
    await t.setRecords({ a: DIRTY, b: DIRTY, c: "2 of another version" });
    await t.setScores("dirty", { a: "1900000000001.5", b: "1900000000000", c: "5" });
    await t.changesNothing(async () => {
      const outcomes = await fail(t.index, ["a", "b", "c", "d"].map((key) => failure(key)), OPTIONS);
      assertEquals(outcomes, Array(4).fill({ outcome: "stale", attempts: 0 }));
    });
  });

  it("leaves every Redis key as it is when it runs again, and when it comes after the lease was taken over", async () => {
    const kinds = ["queued", "dying", "suspect", "unknown"];
    await t.setRecords({
      queued: DIRTY,
      dying: { ...DIRTY, attempts: 2 },
      suspect: { ...DIRTY, attempts: 1 },
      unknown: "2 of another version",
    });
    await t.setScores("dirty", Object.fromEntries(kinds.map((key) => [key, TOKEN])));
    const { value, again } = await t.copied(() =>
      fail(
        t.index,
        kinds.map((key) => failure(key, key === "suspect" ? { fault: "passing", begun: true } : {})),
        OPTIONS,
      )
    );
    assertEquals(value.map(({ outcome }) => outcome), ["queued", "dead", "queued", "unsupported"]);
    await t.changesNothing(again);
    await t.setScores("dirty", Object.fromEntries(kinds.map((key) => [key, "1900000060000.5"])));
    await t.changesNothing(again);
    await t.setKeys(...kinds);
    await mark(t.index, kinds, { freezeDelayMs: 0, missing: "throw", overwrite: "never" });
    await t.changesNothing(again);
    await stack.raw("DEL", keys.dirty);
    await t.changesNothing(again);
  });

  it("costs 1 request and 6 commands for 1,000 keys of any Unicode, 2 more if some of them die", async () => {
    const random = seededRandom("fail costs 1 request and 6 commands for 1,000 keys of any Unicode");
    const all = ["", ...new Set(Array.from({ length: 999 }, (_, i) => `${i}:${random.text(10)}`))];
    const lease = async () => await t.setScores("dirty", Object.fromEntries(all.map((key) => [key, TOKEN])));
    await t.setRecords(Object.fromEntries(all.map((key, i) => [key, { ...DIRTY, attempts: i % 2 }])));
    await fail(t.index, [failure("warm")], OPTIONS);
    await lease();
    const failures = all.map((key) => failure(key));
    assertEquals(await t.bill(() => fail(t.index, failures, OPTIONS)), { requests: 1, billable: 6 });
    await lease();
    assertEquals(await t.bill(() => fail(t.index, failures, OPTIONS)), { requests: 1, billable: 8 });
    const dead = all.filter((_, i) => i % 2 === 1).sort();
    assertEquals(Object.keys(await t.scores("dead")).sort(), dead);
    assertEquals(Object.keys(await t.scores("dirty")).length, all.length - dead.length);
  });

  it("writes records, then dead and the queue, and takes keys out of the queue last; never a user's key", async () => {
    await stack.raw("SET", "a", "v", "PX", HOUR_MS);
    await t.setKeys("b");
    await t.setRecords({ a: DIRTY, b: { ...DIRTY, attempts: 2 } });
    await t.setScores("dirty", { a: TOKEN, b: TOKEN });
    const user = await t.userKeys();
    const lines = await t.scripted(() => fail(t.index, [failure("a"), failure("b")], OPTIONS));
    assertEquals(writesOf(lines), ["MSET", "ZADD", "ZADD", "ZREM"]);
    assertEquals(lines.filter((line) => line.startsWith("ZADD")), [`ZADD ${keys.dead}`, `ZADD ${keys.dirty}`]);
    assertEquals(await t.userKeys(), user);
  });
});
