import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { requeueDead } from "../../src/scripts/requeue_dead.ts";
import { assertBetween, EMPTY, OLD_VER, withIndex, writesOf } from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";

const DEAD = { rev: 5, ver: OLD_VER, touch: 3, attempts: 3, error: "TOO_LARGE too large" };
const ALIVE = { ...EMPTY, rev: 5, ver: OLD_VER, touch: 3 };

describe("requeueDead", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  it("queues dead keys at once with all their attempts and no error; the revision stays", async () => {
    await t.setRecords({ a: DEAD, b: { ...DEAD, flag: "g" }, other: DEAD });
    await t.setScores("dead", { a: 9, b: 9, other: 9 });
    const from = await t.nowMs();
    assertEquals(await requeueDead(t.index, ["a", "b"]), 2);
    assertEquals([await t.readRecord("a"), await t.readRecord("b")], [ALIVE, { ...ALIVE, flag: "g" }]);
    const { a, b, ...rest } = await t.scores("dirty");
    assertBetween(Number(a), from, await t.nowMs());
    assertEquals([b, rest, await t.scores("dead")], [a, {}, { other: "9" }]);
  });

  it("gives a dead key whose record was lost a new revision, so that it is dirty", async () => {
    await t.setRecords({ empty: { ...DEAD, ver: "-", rev: 0 } });
    await t.setScores("dead", { empty: 9, lost: 9 });
    const from = await t.nowUs();
    assertEquals(await requeueDead(t.index, ["empty", "lost"]), 2);
    const { rev } = await t.readRecord("lost");
    assertBetween(rev, from, await t.nowUs());
    assertEquals(await t.readRecord("lost"), { ...EMPTY, rev });
    assertEquals(await t.readRecord("empty"), { ...ALIVE, ver: "-", rev });
    assertEquals(Object.keys(await t.scores("dirty")).sort(), ["empty", "lost"]);
  });

  it("only takes a key out of dead that is archived already, resident, evicted or gone: nothing makes it dirty", async () => {
    const clean = { ...DEAD, rev: 0 };
    await t.setRecords({ resident: clean, evicted: { ...clean, flag: "e" }, gone: { ...clean, flag: "g" } });
    await t.setScores("dead", { resident: 9, evicted: 9, gone: 9 });
    assertEquals(await requeueDead(t.index, ["resident", "evicted", "gone"]), 3);
    assertEquals(await t.readRecord("resident"), { ...ALIVE, rev: 0 });
    assertEquals(await t.readRecord("evicted"), { ...ALIVE, rev: 0, flag: "e" });
    assertEquals(await t.readRecord("gone"), { ...ALIVE, rev: 0, flag: "g" });
    assertEquals([await t.scores("dirty"), await t.scores("dead")], [{}, {}]);
  });

  it("touches no key that is not dead", async () => {
    await t.setKeys("dirty");
    await t.setRecords({ dirty: { ...DEAD, attempts: 2 }, clean: { ver: OLD_VER } });
    await t.setScores("dirty", { dirty: 77 });
    await t.setScores("dead", { other: 9 });
    const before = await t.everything();
    assertEquals(await requeueDead(t.index, ["dirty", "clean", "never"]), 0);
    assertEquals(await t.everything(), before);
  });

  it("leaves a dead key dead whose record is of another version; the others are requeued", async () => {
    await t.setRecords({ a: "2 of another version", b: DEAD });
    await t.setScores("dead", { a: 9, b: 9 });
    assertEquals(await requeueDead(t.index, ["a", "b"]), 1);
    assertEquals(await t.recordText("a"), "2 of another version");
    assertEquals([Object.keys(await t.scores("dirty")), await t.scores("dead")], [["b"], { a: "9" }]);
  });

  it("keeps the score of a key that is queued already", async () => {
    await t.setRecords({ a: DEAD });
    await t.setScores("dead", { a: 9 });
    await t.setScores("dirty", { a: "1900000000000.5" });
    assertEquals(await requeueDead(t.index, ["a"]), 1);
    assertEquals([await t.scores("dirty"), await t.scores("dead")], [{ a: "1900000000000.5" }, {}]);
  });

  it("finds nothing dead and changes nothing when it runs again", async () => {
    await t.setRecords({ a: DEAD });
    await t.setScores("dead", { a: 9 });
    const { value, again } = await t.copied(() => requeueDead(t.index, ["a"]));
    const before = await t.everything();
    await again();
    assertEquals([value, await requeueDead(t.index, ["a"])], [1, 0]);
    assertEquals(await t.everything(), before);
  });

  it("costs 1 request and 7 commands for 1,000 keys of any Unicode", async () => {
    const random = seededRandom("requeueDead costs 1 request and 7 commands for 1,000 keys of any Unicode");
    const all = ["", ...new Set(Array.from({ length: 999 }, (_, i) => `${i}:${random.text(10)}`))];
    await requeueDead(t.index, ["warm"]);
    await t.setRecords(Object.fromEntries(all.map((key) => [key, DEAD])));
    await t.setScores("dead", Object.fromEntries(all.map((key) => [key, 9])));
    let requeued = 0;
    const bill = await t.bill(async () => requeued = await requeueDead(t.index, all));
    assertEquals([bill, requeued], [{ requests: 1, billable: 7 }, all.length]);
    assertEquals(Object.keys(await t.scores("dirty")).sort(), [...all].sort());
    assertEquals(await t.readRecord(all.at(-1)!), ALIVE);
  });

  it("writes records, then the queue, then takes keys out of dead; never one of the application's keys", async () => {
    await stack.raw("SET", "a", "v", "PX", 60_000);
    await t.setKeys("b");
    await t.setRecords({ a: DEAD, b: DEAD });
    await t.setScores("dead", { a: 9, b: 9 });
    const user = await t.userKeys();
    assertEquals(writesOf(await t.scripted(() => requeueDead(t.index, ["a", "b"]))), ["MSET", "ZADD", "ZREM"]);
    assertEquals([await t.userKeys(), await t.expiry(keys.record("a"))], [user, -1]);
  });
});
