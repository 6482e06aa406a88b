import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { claim } from "../../src/scripts/claim.ts";
import { release } from "../../src/scripts/release.ts";
import { assertBetween, withIndex, writesOf } from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";

const TOKEN = "1900000000000.5";
const LEASE_MS = 60_000;

describe("release", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  it("makes leased keys due at once; a suspect stays one by its .5", async () => {
    await t.setScores("dirty", { a: TOKEN, poison: TOKEN, b: TOKEN, other: TOKEN });
    const from = await t.nowMs();
    const released = await release(t.index, [
      { key: "a", token: TOKEN, suspect: false },
      { key: "poison", token: TOKEN, suspect: true },
      { key: "b", token: TOKEN, suspect: false },
    ], LEASE_MS);
    assertEquals(released, 3);
    const { a, b, poison, other } = await t.scores("dirty");
    assertBetween(Number(a), from, await t.nowMs());
    assertEquals([Number.isInteger(Number(a)), b, poison, other], [true, a, `${a}.5`, TOKEN]);
  });

  it("gives keys to the next claim, suspects as such", async () => {
    await stack.raw("MSET", keys.id, stack.id("an-id"), keys.tick, "0");
    await t.setScores("dirty", { a: TOKEN, poison: TOKEN });
    await release(
      t.index,
      [{ key: "a", token: TOKEN, suspect: false }, { key: "poison", token: TOKEN, suspect: true }],
      LEASE_MS,
    );
    await new Promise((resolve) => setTimeout(resolve, 3));
    const options = { maxKeys: 9, leaseMs: 1000, maxIdle: 0, redisTtlMs: 0, first: false, maxPurge: 0 };
    const fresh = await claim(t.index, { ...options, maxSuspects: 0 });
    const suspects = await claim(t.index, { ...options, maxSuspects: 9 });
    assertEquals([fresh.keys, suspects.keys, suspects.suspects], [["a"], ["poison"], true]);
  });

  it("leaves keys alone whose token is not the one given, and says how many it released", async () => {
    const scores = { later: "1900000000001.5", due: "5", near: "1900000000000" };
    await t.setScores("dirty", { ...scores, mine: TOKEN });
    const all = ["later", "due", "near", "missing", "mine"].map((key) => ({ key, token: TOKEN, suspect: false }));
    assertEquals(await release(t.index, all, LEASE_MS), 1);
    const { mine, ...others } = await t.scores("dirty");
    assertEquals([others, mine === TOKEN], [scores, false]);
  });

  it("gives back any number of leases in one call, each key by its own token", async () => {
    const other = "1900000000009.5";
    await t.setScores("dirty", { a: TOKEN, b: other, c: other });
    const given = [{ key: "a", token: TOKEN }, { key: "b", token: other }, { key: "c", token: TOKEN }];
    assertEquals(await release(t.index, given.map((each) => ({ ...each, suspect: false })), LEASE_MS), 2);
    const { a, b, c } = await t.scores("dirty");
    assertEquals([a === TOKEN, b, c], [false, a, other]);
  });

  it("makes no key due in the millisecond of its claim: the next claim would give it the same token", async () => {
    let met = 0;
    for (let i = 0; i < 2_000 && met < 3; i++) {
      const now = Math.floor(await t.nowMs());
      const token = `${now + LEASE_MS}.5`;
      await t.setScores("dirty", { a: token });
      await release(t.index, [{ key: "a", token, suspect: false }], LEASE_MS);
      const due = Number((await t.scores("dirty")).a);
      assert(due > now, `${due} is not after ${now}`);
      if (due === now + 1) met++;
    }
    assertEquals(met, 3);
  });

  it("leaves every Redis key as it is when it runs again, and when it comes after the lease was taken over", async () => {
    await t.setScores("dirty", { a: TOKEN, poison: TOKEN });
    const pair = [{ key: "a", token: TOKEN, suspect: false }, { key: "poison", token: TOKEN, suspect: true }];
    const { again } = await t.copied(() => release(t.index, pair, LEASE_MS));
    const released = await t.everything();
    await again();
    assertEquals(await t.everything(), released);
    for (const score of ["1900000060000.5", "1899999999999.5"]) {
      await t.setScores("dirty", { a: score, poison: score });
      const before = await t.everything();
      await again();
      assertEquals(await release(t.index, pair, LEASE_MS), 0);
      assertEquals(await t.everything(), before);
    }
    await stack.raw("DEL", keys.dirty);
    const before = await t.everything();
    await again();
    assertEquals(await t.everything(), before);
  });

  it("costs 1 request and 4 commands for 1,000 keys of any Unicode", async () => {
    const random = seededRandom("release costs 1 request and 4 commands for 1,000 keys of any Unicode");
    const all = ["", ...new Set(Array.from({ length: 999 }, (_, i) => `${i}:${random.text(10)}`))];
    await t.setScores("dirty", Object.fromEntries(all.map((key) => [key, TOKEN])));
    await release(t.index, [{ key: "warm", token: TOKEN, suspect: false }], LEASE_MS);
    const given = all.map((key) => ({ key, token: TOKEN, suspect: random.int(2) === 1 }));
    let released = 0;
    const bill = await t.bill(async () => released = await release(t.index, given, LEASE_MS));
    assertEquals([bill, released], [{ requests: 1, billable: 4 }, all.length]);
    const scores = await t.scores("dirty");
    const suspects = given.filter(({ key }) => scores[key]!.endsWith(".5")).map(({ key }) => key);
    assertEquals(suspects, given.filter(({ suspect }) => suspect).map(({ key }) => key));
  });

  it("counts nothing: records and the application's keys stay as they are", async () => {
    await stack.raw("SET", "a", "v", "PX", 60_000);
    await t.setKeys("b");
    await t.setRecords({ a: { rev: 5, attempts: 2, error: "CORRUPT x" }, b: "2 of another version" });
    await t.setScores("dirty", { a: TOKEN, b: TOKEN });
    const { [keys.dirty]: _, ...before } = await t.everything();
    const both = [{ key: "a", token: TOKEN, suspect: true }, { key: "b", token: TOKEN, suspect: false }];
    assertEquals(writesOf(await t.scripted(() => release(t.index, both, LEASE_MS))), ["ZADD"]);
    const { [keys.dirty]: __, ...after } = await t.everything();
    assertEquals(after, before);
  });
});
