import { assertEquals } from "@std/assert";
import { beforeEach, describe, it } from "node:test";
import { redisKeys } from "../../src/keys.ts";
import { claim } from "../../src/scripts/claim.ts";
import { release } from "../../src/scripts/release.ts";
import { withIndex } from "../support/index.ts";
import { assertBetween, looksInto, writesOf } from "../support/looks.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";

const TOKEN = "1900000000000.5";

describe("release", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const looks = looksInto(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  it("makes leased keys due at once; a suspect stays one by its .5", async () => {
    await looks.setScores("dirty", { a: TOKEN, poison: TOKEN, b: TOKEN, other: TOKEN });
    const from = await t.nowMs();
    const released = await release(t.index, [
      { key: "a", suspect: false },
      { key: "poison", suspect: true },
      { key: "b", suspect: false },
    ], TOKEN);
    assertEquals(released, 3);
    const { a, b, poison, other } = await looks.scores("dirty");
    assertBetween(Number(a), from, await t.nowMs());
    assertEquals([Number.isInteger(Number(a)), b, poison, other], [true, a, `${a}.5`, TOKEN]);
  });

  it("gives keys to the next claim, suspects as such", async () => {
    await stack.raw("SET", keys.id, "an-id");
    await looks.setScores("dirty", { a: TOKEN, poison: TOKEN });
    await release(t.index, [{ key: "a", suspect: false }, { key: "poison", suspect: true }], TOKEN);
    await new Promise((resolve) => setTimeout(resolve, 3));
    const claimed = await claim(t.index, { maxKeys: 9, leaseMs: 1000, maxIdle: 0, redisTtlMs: 0 });
    assertEquals([claimed.keys, claimed.suspects], [["a", "poison"], ["poison"]]);
  });

  it("leaves keys alone whose token is not the one given, and says how many it released", async () => {
    const scores = { later: "1900000000001.5", due: "5", near: "1900000000000" };
    await looks.setScores("dirty", { ...scores, mine: TOKEN });
    const all = ["later", "due", "near", "missing", "mine"].map((key) => ({ key, suspect: false }));
    assertEquals(await release(t.index, all, TOKEN), 1);
    const { mine, ...others } = await looks.scores("dirty");
    assertEquals([others, mine === TOKEN], [scores, false]);
  });

  it("leaves every Redis key as it is when it runs again, and when it comes after the lease was taken over", async () => {
    await looks.setScores("dirty", { a: TOKEN, poison: TOKEN });
    const pair = [{ key: "a", suspect: false }, { key: "poison", suspect: true }];
    const { again } = await t.copied(() => release(t.index, pair, TOKEN));
    const released = await looks.everything();
    await again();
    assertEquals(await looks.everything(), released);
    for (const score of ["1900000060000.5", "1899999999999.5"]) {
      await looks.setScores("dirty", { a: score, poison: score });
      const before = await looks.everything();
      await again();
      assertEquals(await release(t.index, pair, TOKEN), 0);
      assertEquals(await looks.everything(), before);
    }
    await stack.raw("DEL", keys.dirty);
    const before = await looks.everything();
    await again();
    assertEquals(await looks.everything(), before);
  });

  it("costs 1 request and 4 commands for 1,000 keys of any Unicode", async () => {
    const random = seededRandom("release costs 1 request and 4 commands for 1,000 keys of any Unicode");
    const all = ["", ...new Set(Array.from({ length: 999 }, (_, i) => `${i}:${random.text(10)}`))];
    await looks.setScores("dirty", Object.fromEntries(all.map((key) => [key, TOKEN])));
    await release(t.index, [{ key: "warm", suspect: false }], TOKEN);
    const given = all.map((key) => ({ key, suspect: random.int(2) === 1 }));
    let released = 0;
    const bill = await t.bill(async () => released = await release(t.index, given, TOKEN));
    assertEquals([bill, released], [{ requests: 1, billable: 4 }, all.length]);
    const scores = await looks.scores("dirty");
    const suspects = given.filter(({ key }) => scores[key]!.endsWith(".5")).map(({ key }) => key);
    assertEquals(suspects, given.filter(({ suspect }) => suspect).map(({ key }) => key));
  });

  it("counts nothing: records and the application's keys stay as they are", async () => {
    await stack.raw("SET", "a", "v", "PX", 60_000);
    await looks.setKeys("b");
    await looks.setRecords({ a: { rev: 5, attempts: 2, error: "CORRUPT x" }, b: "2 of another version" });
    await looks.setScores("dirty", { a: TOKEN, b: TOKEN });
    const { [keys.dirty]: _, ...before } = await looks.everything();
    const both = [{ key: "a", suspect: true }, { key: "b", suspect: false }];
    assertEquals(writesOf(await t.scripted(() => release(t.index, both, TOKEN))), ["ZADD"]);
    const { [keys.dirty]: __, ...after } = await looks.everything();
    assertEquals(after, before);
  });
});
