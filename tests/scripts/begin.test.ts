import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { begin } from "../../src/scripts/begin.ts";
import { assertBetween, EMPTY, OLD_VER, type RecordFields, withIndex, writesOf } from "../support/index.ts";
import { withStack } from "../support/stack.ts";
import { HOUR_MS, MINUTE_MS } from "../support/times.ts";

const ENDED_MS = Date.now() - HOUR_MS;
const TOKEN = `${ENDED_MS}.5`;
const LATER = "1900000000000.5";
const OPTIONS = { token: TOKEN, leaseMs: 60_000, nattempts: 3 };
const DIRTY: RecordFields = { ...EMPTY, rev: 5, ver: OLD_VER, touch: 3, error: "UNAVAILABLE a 5xx" };

type Begun = Exclude<Awaited<ReturnType<typeof begin>>, string>;

describe("begin", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(async () => {
    await stack.flush();
    await stack.raw("SET", "a", "v", "PX", 60_000);
    await t.setRecords({ a: DIRTY });
    await t.setScores("dirty", { a: TOKEN, b: TOKEN });
  });

  it("counts one attempt, renews the lease by a new token, remembers both tokens, and tells the time", async () => {
    const [from, user] = [await t.nowMs(), await t.userKeys()];
    const begun = await begin(t.index, "a", OPTIONS) as Begun;
    const record = await t.readRecord("a");
    assertEquals(record, { ...DIRTY, attempts: 1, before: TOKEN, after: record.after });
    assertEquals(begun.token, record.after);
    assertBetween(begun.nowUs, 1000 * from, 1000 * (await t.nowMs() + 1));
    assertBetween(Number(record.after), from + 60_000.5, await t.nowMs() + 60_000.5);
    assertEquals(Number(record.after) % 1, 0.5);
    assertEquals(await t.scores("dirty"), { b: TOKEN, a: record.after });
    assertEquals([await t.userKeys(), await t.expiry(keys.record("a"))], [user, -1]);
  });

  it("gives a later token also if the old one lies further ahead", async () => {
    await t.setScores("dirty", { a: LATER });
    const { token } = await begin(t.index, "a", { ...OPTIONS, token: LATER }) as Begun;
    assertEquals(token, "1900000000001.5");
    assertEquals((await t.scores("dirty")).a, "1900000000001.5");
  });

  it("begins on a key without a record", async () => {
    const { token } = await begin(t.index, "b", OPTIONS) as Begun;
    const record = await t.readRecord("b");
    assertEquals(record, { ...EMPTY, attempts: 1, before: TOKEN, after: record.after });
    assertEquals(token, record.after);
  });

  it("answers a repeat with the old token by the new one, and counts nothing", async () => {
    const { value, again } = await t.copied(() => begin(t.index, "a", OPTIONS));
    const { token } = value as Begun;
    await t.changesNothing(async () => {
      assertEquals((await begin(t.index, "a", OPTIONS) as Begun).token, token);
    });
    await t.changesNothing(again);
  });

  it("counts each attempt that begins with the token of its own lease", async () => {
    let token = TOKEN;
    for (let attempts = 1; attempts <= 3; attempts++) {
      const begun = await begin(t.index, "a", { ...OPTIONS, token }) as Begun;
      const record = await t.readRecord("a");
      assertEquals([record.attempts, record.before, record.after], [attempts, token, begun.token]);
      assertEquals(Number(begun.token) > Number(token), true);
      token = begun.token;
    }
  });

  it("is stale, and changes nothing, if the lease was taken over or the key left the queue", async () => {
    const { again } = await t.copied(() => begin(t.index, "a", OPTIONS));
    for (const score of [LATER, "5", `${ENDED_MS}`, `${ENDED_MS + 1}.5`]) {
      await t.setScores("dirty", { a: score });
      await t.changesNothing(async () => assertEquals(await begin(t.index, "a", OPTIONS), "stale"));
      await t.changesNothing(again);
    }
    await stack.raw("ZREM", keys.dirty, "a");
    await t.changesNothing(async () => assertEquals(await begin(t.index, "a", OPTIONS), "stale"));
    await t.changesNothing(again);
  });

  it("is stale, and changes nothing, if it comes more than 12 hours after its lease ended: the key is due as it was", async () => {
    const ended = await t.nowMs() - 12 * HOUR_MS;
    for (const attempts of [0, 3]) {
      await t.setRecords({ a: { ...DIRTY, attempts } });
      const token = `${ended - MINUTE_MS}.5`;
      await t.setScores("dirty", { a: token });
      await t.changesNothing(async () => assertEquals(await begin(t.index, "a", { ...OPTIONS, token }), "stale"));
    }
    const token = `${ended + MINUTE_MS}.5`;
    await t.setRecords({ a: DIRTY });
    await t.setScores("dirty", { a: token });
    assertEquals(typeof await begin(t.index, "a", { ...OPTIONS, token }), "object");
  });

  it("makes a key dead that had its attempts: out of the queue, its value unchanged, and the reason in its record", async () => {
    await t.setRecords({ a: { ...DIRTY, attempts: 3 } });
    await stack.raw("PEXPIRE", keys.record("a"), 60_000);
    const [from, user] = [await t.nowMs(), await t.userKeys()];
    assertEquals(await begin(t.index, "a", { ...OPTIONS, nattempts: 3 }), "dead");
    const error = "UNAVAILABLE 3 ticks ended before they had archived it";
    assertEquals(await t.readRecord("a"), { ...DIRTY, attempts: 3, error });
    assertEquals(await t.scores("dirty"), { b: TOKEN });
    const { a, ...others } = await t.scores("dead");
    assertBetween(Number(a), from, await t.nowMs());
    assertEquals([others, await t.userKeys(), await t.expiry(keys.record("a"))], [{}, user, -1]);
  });

  it("lets exactly nattempts begin", async () => {
    await t.setRecords({ a: { ...DIRTY, attempts: 2 } });
    assertEquals(typeof await begin(t.index, "a", OPTIONS), "object");
    const { after } = await t.readRecord("a");
    assertEquals(await begin(t.index, "a", { ...OPTIONS, token: after }), "dead");
    assertEquals((await t.readRecord("a")).attempts, 3);
  });

  it("changes nothing when it comes again after the key died, or was requeued and claimed anew", async () => {
    await t.setRecords({ a: { ...DIRTY, attempts: 3 } });
    const { again } = await t.copied(() => begin(t.index, "a", OPTIONS));
    assertEquals(Object.keys(await t.scores("dead")), ["a"]);
    await t.changesNothing(again);
    await stack.raw("DEL", keys.dead);
    await t.setScores("dirty", { a: LATER });
    await t.changesNothing(again);
  });

  it("leaves a record of another version alone", async () => {
    await t.setRecords({ a: "2 of another version" });
    await t.changesNothing(async () => assertEquals(await begin(t.index, "a", OPTIONS), "unsupported"));
  });

  it("costs 1 request and 6 commands, 7 if the key dies, 4 if it is stale", async () => {
    const old = await begin(t.index, "b", OPTIONS) as Begun;
    assertEquals(await t.bill(() => begin(t.index, "a", OPTIONS)), { requests: 1, billable: 6 });
    assertEquals(await t.bill(() => begin(t.index, "c", OPTIONS)), { requests: 1, billable: 4 });
    const dies = { ...OPTIONS, token: old.token, nattempts: 1 };
    assertEquals(await t.bill(() => begin(t.index, "b", dies)), { requests: 1, billable: 7 });
  });

  it("writes the record first, and takes a key out of the queue last", async () => {
    assertEquals(writesOf(await t.scripted(() => begin(t.index, "a", OPTIONS))), ["MSET", "ZADD"]);
    await t.setRecords({ b: { ...DIRTY, attempts: 3 } });
    assertEquals(writesOf(await t.scripted(() => begin(t.index, "b", OPTIONS))), ["MSET", "ZADD", "ZREM"]);
  });

  it("takes keys of any Unicode", async () => {
    for (const key of ["", " ", "ä/€😀\n%\0..", "b c d"]) {
      await t.setScores("dirty", { [key]: TOKEN });
      const begun = await begin(t.index, key, OPTIONS) as Begun;
      assertEquals((await t.scores("dirty"))[key], begun.token);
    }
  });
});
