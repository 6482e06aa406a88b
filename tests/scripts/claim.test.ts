import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { redisKeys } from "../../src/base/keys.ts";
import { type Claim, claim, type ClaimOptions } from "../../src/scripts/claim.ts";
import { connect } from "../../src/upstash/connection.ts";
import { scriptRunner } from "../../src/upstash/script.ts";
import { assertBetween, withIndex, writesOf } from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";
import { DAY_MS } from "../support/times.ts";

const OPTIONS: ClaimOptions = {
  maxKeys: 100,
  maxSuspects: 0,
  leaseMs: 60_000,
  maxIdle: 0,
  redisTtlMs: 0,
  first: false,
  maxPurge: 0,
};

describe("claim", () => {
  const stack = withStack();
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(async () => {
    await stack.flush();
    await stack.raw("MSET", keys.id, stack.id("an-id"), keys.tick, "0");
  });

  it("leases the first due keys until the lease's end plus .5, which is their token", async () => {
    const from = await t.nowUs();
    const now = Math.floor(from / 1000);
    const later = String(now + 60_000);
    await t.setScores("dirty", { c: now - 1, a: 5, b: 7, d: now, later, z: 6 });
    const claimed = await claim(t.index, { ...OPTIONS, maxKeys: 3, leaseMs: 1234 });
    assertBetween(claimed.nowUs, from, await t.nowUs());
    const token = `${Math.floor(claimed.nowUs / 1000) + 1234}.5`;
    assertEquals(claimed, {
      id: stack.id("an-id"),
      nowUs: claimed.nowUs,
      token,
      keys: ["a", "z", "b"],
      suspects: false,
      idle: [],
      idleLimitMs: Math.floor(claimed.nowUs / 1000),
      idleLeft: 0,
      purge: [],
      lastSearch: "",
      purgeLeft: 0,
      unheard: false,
      left: 2,
      passed: 0,
    });
    assertEquals(await t.scores("dirty"), {
      c: String(now - 1),
      d: String(now),
      a: token,
      b: token,
      z: token,
      later,
    });
  });

  it("claims nothing, and changes nothing, before the index has a confirmed id of this database", async () => {
    await t.setScores("dirty", { a: 5 });
    await t.setScores("idle", { b: 5 });
    for (
      const [id, seen] of [["new:123", "new:123"], ["123@another.example", "123@another.example"], [
        undefined,
        "",
      ]] as const
    ) {
      if (id === undefined) await stack.raw("DEL", keys.id);
      else await stack.raw("SET", keys.id, id);
      const before = await t.everything();
      const { nowUs, ...claimed } = await claim(t.index, { ...OPTIONS, maxIdle: 10 });
      const idleLimitMs = Math.floor(nowUs / 1000);
      assertEquals(claimed, {
        id: seen,
        token: "",
        keys: [],
        suspects: false,
        idle: [],
        idleLimitMs,
        idleLeft: 0,
        left: 0,
        passed: 0,
        purge: [],
        lastSearch: "",
        purgeLeft: 0,
        unheard: false,
      });
      assertEquals(await t.everything(), before);
    }
  });

  it("claims suspects, whose last lease has expired, apart from fresh keys, and leaves living leases alone", async () => {
    const now = await t.nowMs();
    const living = `${now + 60_000}.5`;
    await t.setScores("dirty", { plain: 8, dead: "7.5", living, older: "6.5", retried: now - 3 });
    const some = await claim(t.index, { ...OPTIONS, maxSuspects: 1 });
    assertEquals([some.keys, some.suspects, some.left, some.passed], [["older"], true, 3, 1]);
    const fresh = await claim(t.index, OPTIONS);
    assertEquals([fresh.keys, fresh.suspects, fresh.left, fresh.passed], [["plain", "retried"], false, 1, 1]);
    const last = await claim(t.index, { ...OPTIONS, maxKeys: 0, maxSuspects: 5 });
    assertEquals([last.keys, last.suspects, last.left, last.passed], [["dead"], true, 0, 0]);
    assertEquals((await t.scores("dirty")).living, living);
    const { older, dead, plain } = await t.scores("dirty");
    assertEquals([older, dead, plain], [some.token, last.token, fresh.token]);
  });

  it("takes fresh keys if there are no suspects among as many keys as were asked for", async () => {
    await t.setScores("dirty", { a: 5, b: 6, c: 7, suspect: "8.5" });
    const claimed = await claim(t.index, { ...OPTIONS, maxKeys: 2, maxSuspects: 1 });
    assertEquals([claimed.keys, claimed.suspects, claimed.left, claimed.passed], [["a", "b"], false, 2, 0]);
    const next = await claim(t.index, { ...OPTIONS, maxKeys: 2, maxSuspects: 1 });
    assertEquals([next.keys, next.suspects, next.left, next.passed], [["suspect"], true, 1, 0]);
  });

  it("finds a fresh key behind 3,000 suspects: a command for each 1,000 of them, and no suspect is leased", async () => {
    await t.setScores("dirty", Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`s${i}`, `${i}.5`])));
    await t.setScores("dirty", { fresh: 4000, next: 4001 });
    await claim(t.index, { ...OPTIONS, maxKeys: 0 });
    let claimed: Claim | undefined;
    const bill = await t.bill(async () => claimed = await claim(t.index, { ...OPTIONS, maxKeys: 1 }));
    assertEquals([claimed!.keys, claimed!.suspects, claimed!.left, claimed!.passed], [["fresh"], false, 3001, 3000]);
    assertEquals(bill, { requests: 1, billable: 6 + 3 });
    assertEquals((await t.scores("dirty")).s0, "0.5");
  });

  it("takes keys that a clock which ran ahead has queued, after those that are due; suspects apart", async () => {
    const now = await t.nowMs();
    await t.setScores("dirty", {
      due: 5,
      nextDay: now + DAY_MS - 5000,
      ahead: now + DAY_MS + 5000,
      leased: `${now + 2 * DAY_MS}.5`,
      far: now + 9 * DAY_MS,
    });
    const claimed = await claim(t.index, { ...OPTIONS, maxKeys: 2 });
    assertEquals([claimed.keys, claimed.suspects, claimed.left, claimed.passed], [["due", "ahead"], false, 1, 1]);
    const { token } = claimed;
    const nextDay = String(now + DAY_MS - 5000);
    const leased = `${now + 2 * DAY_MS}.5`;
    assertEquals(await t.scores("dirty"), {
      due: token,
      ahead: token,
      leased,
      nextDay,
      far: String(now + 9 * DAY_MS),
    });
    const next = await claim(t.index, { ...OPTIONS, maxKeys: 1, maxSuspects: 1 });
    assertEquals([next.keys, next.suspects], [["leased"], true]);
    assertEquals((await claim(t.index, OPTIONS)).keys, ["far"]);
  });

  it("takes a touch of a clock that ran ahead for one of now: idle keys come back into the order of their use", async () => {
    const now = await t.nowMs();
    const tomorrow = now + DAY_MS - 5000;
    await t.setScores("idle", { ahead: now + 365 * DAY_MS, tomorrow, used: now - 5000 });
    const claimed = await claim(t.index, { ...OPTIONS, maxIdle: 9, redisTtlMs: 60_000, first: true });
    assertEquals(claimed.idle, []);
    const { ahead, ...others } = await t.scores("idle");
    assertEquals(others, { tomorrow: String(tomorrow), used: String(now - 5000) });
    assertBetween(Number(ahead), now, await t.nowMs());
  });

  it("counts the due keys that are left, and asks for none of the future if the present is enough", async () => {
    const now = await t.nowMs();
    await t.setScores("dirty", { a: 1, b: 2, c: 3, ahead: now + 2 * DAY_MS });
    const claimed = await claim(t.index, { ...OPTIONS, maxKeys: 2 });
    assertEquals([claimed.keys, claimed.left], [["a", "b"], 1]);
    const rest = await claim(t.index, { ...OPTIONS, maxKeys: 2 });
    assertEquals([rest.keys, rest.left], [["c", "ahead"], 0]);
  });

  it("replies the first idle keys that were last touched long enough ago, and changes none of them", async () => {
    const now = await t.nowMs();
    const idle = { b: 20, a: 10, c: 30, young: now - 5000 };
    await t.setScores("idle", idle);
    const { nowUs, ...claimed } = await claim(t.index, { ...OPTIONS, maxIdle: 2, redisTtlMs: 60_000 });
    assertEquals([claimed.idle, claimed.idleLimitMs], [["a", "b"], Math.floor(nowUs / 1000) - 60_000]);
    assertEquals((await claim(t.index, { ...OPTIONS, maxIdle: 9, redisTtlMs: 60_000 })).idle, ["a", "b", "c"]);
    assertEquals((await claim(t.index, { ...OPTIONS, maxIdle: 9, redisTtlMs: 1 })).idle, ["a", "b", "c", "young"]);
    assertEquals((await claim(t.index, { ...OPTIONS, maxIdle: 0, redisTtlMs: 1 })).idle, []);
    assertEquals(await t.scores("idle"), { a: "10", b: "20", c: "30", young: String(now - 5000) });
  });

  it("replies the first keys with objects to delete that are due, for one command", async () => {
    const now = await t.nowMs();
    await t.setScores("purge", { b: 20, a: 10, later: now + 60_000 });
    assertEquals((await claim(t.index, { ...OPTIONS, maxPurge: 1 })).purge, ["a"]);
    assertEquals((await claim(t.index, { ...OPTIONS, maxPurge: 5 })).purge, ["a", "b"]);
    assertEquals((await claim(t.index, OPTIONS)).purge, []);
    assertEquals(await t.bill(() => claim(t.index, { ...OPTIONS, maxPurge: 5 })), { requests: 1, billable: 6 });
  });

  describe("names that are long", () => {
    const limited = (maxReplyBytes: number) => {
      const connection = connect({ ...stack.connection, maxReplyBytes });
      return { ...t.index, scripts: scriptRunner(connection) };
    };
    const long = (n: number, prefix: string, length = 1_000) =>
      Object.fromEntries(Array.from({ length: n }, (_, i) => [`${prefix}${i}`.padEnd(length, "x"), i + 1]));
    const all = { ...OPTIONS, maxIdle: 40, redisTtlMs: 1, maxPurge: 40 };

    it("are leased no further than their reply may be long, the rest is left and due as before", async () => {
      const due = long(100, "k");
      await t.setScores("dirty", due);
      const claimed = await claim(limited(60_000), OPTIONS);
      assertBetween(claimed.keys.length, 20, 30); // half of the room
      assertEquals(claimed.keys, Object.keys(due).slice(0, claimed.keys.length));
      assertEquals([claimed.left, claimed.passed], [100 - claimed.keys.length, 0]);
      const scores = await t.scores("dirty");
      for (const [key, score] of Object.entries(due)) {
        assertEquals(scores[key], claimed.keys.includes(key) ? claimed.token : String(score));
      }
    });

    it("leave room for idle keys and those with objects to delete; what they cut off is counted", async () => {
      await t.setScores("dirty", long(100, "k"));
      await t.setScores("idle", long(60, "i"));
      await t.setScores("purge", long(30, "p"));
      const claimed = await claim(limited(60_000), all);
      assertBetween(claimed.idle.length, 8, 15);
      assertBetween(claimed.purge.length, 4, 10);
      assertEquals([claimed.idle.length + claimed.idleLeft, claimed.purge.length + claimed.purgeLeft], [40, 30]);
    });

    it("of suspects that are cut off are still suspects before the others", async () => {
      await t.setScores(
        "dirty",
        Object.fromEntries(Object.entries(long(50, "s")).map(([key, at]) => [key, `${at}.5`])),
      );
      const claimed = await claim(limited(20_000), { ...OPTIONS, maxSuspects: 40 });
      assertEquals([claimed.suspects, claimed.keys.length < 10], [true, true]);
      assertEquals([claimed.left, claimed.passed], [50 - claimed.keys.length, 50 - claimed.keys.length]);
    });

    it("are replied one at least of each kind", async () => {
      await t.setScores("dirty", long(3, "k", 32_000));
      await t.setScores("idle", long(3, "i", 32_000));
      await t.setScores("purge", long(3, "p", 32_000));
      const claimed = await claim(limited(140_000), all);
      assertEquals([claimed.keys.length, claimed.idle.length, claimed.purge.length], [1, 1, 1]);
      assertEquals([claimed.left, claimed.idleLeft, claimed.purgeLeft], [2, 2, 2]);
    });

    it("all of them, short ones: 1,000 and no command more", async () => {
      const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, i]));
      for (const set of ["dirty", "idle", "purge"] as const) await t.setScores(set, many);
      const options = { ...OPTIONS, maxKeys: 1000, maxIdle: 1000, maxPurge: 1000, redisTtlMs: 1 };
      await claim(t.index, { ...OPTIONS, maxKeys: 0 });
      let claimed: Claim | undefined;
      const bill = await t.bill(async () => claimed = await claim(t.index, options));
      assertEquals([claimed!.keys.length, claimed!.idle.length, claimed!.purge.length], [1000, 1000, 1000]);
      assertEquals([claimed!.left, claimed!.idleLeft, claimed!.purgeLeft], [0, 0, 0]);
      assertEquals(bill, { requests: 1, billable: 8 });
    });
  });

  it("evicts on if nothing may be claimed: maxKeys 0 leases nothing", async () => {
    await t.setScores("dirty", { a: 5 });
    await t.setScores("idle", { b: 5 });
    const before = await t.everything();
    const claimed = await claim(t.index, { ...OPTIONS, maxKeys: 0, maxIdle: 5 });
    assertEquals([claimed.keys, claimed.idle], [[], ["b"]]);
    assertEquals(await t.everything(), before);
  });

  it("costs 1 request and 6 commands, 5 if nothing is due, one more with idle keys, and as a tick's first one more to note its time and one to look for idle keys of a clock ahead", async () => {
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, i]));
    await claim(t.index, OPTIONS);
    await t.setScores("dirty", { a: 5 });
    assertEquals(await t.bill(() => claim(t.index, OPTIONS)), { requests: 1, billable: 6 });
    assertEquals(await t.bill(() => claim(t.index, OPTIONS)), { requests: 1, billable: 5 });
    assertEquals(await t.bill(() => claim(t.index, { ...OPTIONS, maxIdle: 5, first: true })), {
      requests: 1,
      billable: 8,
    });
    assertEquals(await t.bill(() => claim(t.index, { ...OPTIONS, maxIdle: 5 })), { requests: 1, billable: 6 });
    await t.setScores("idle", { i: 5 });
    assertEquals(await t.bill(() => claim(t.index, { ...OPTIONS, maxIdle: 5 })), { requests: 1, billable: 6 });
    await t.setScores("dirty", many);
    assertEquals(await t.bill(() => claim(t.index, { ...OPTIONS, maxKeys: 1000 })), { requests: 1, billable: 6 });
  });

  it("claims 1,000 keys of any Unicode in one call, each once", async () => {
    const random = seededRandom("claim claims 1,000 keys of any Unicode in one call, each once");
    const all = ["", ...new Set(Array.from({ length: 1000 }, (_, i) => `${i}:${random.text(10)}`))].slice(0, 1000);
    await t.setScores("dirty", Object.fromEntries(all.map((key) => [key, random.int(1000)])));
    const first = await claim(t.index, { ...OPTIONS, maxKeys: 400 });
    const second = await claim(t.index, { ...OPTIONS, maxKeys: 1000 });
    assertEquals([first.keys.length, first.left, second.keys.length, second.left], [400, 600, 600, 0]);
    assertEquals([...first.keys, ...second.keys].sort(), [...all].sort());
    assertEquals(
      Object.values(await t.scores("dirty")).every((s) => [first.token, second.token].includes(s)),
      true,
    );
  });

  it("shares the queue among ticks that claim at once", async () => {
    const all = Array.from({ length: 60 }, (_, i) => `k${i}`);
    await t.setScores("dirty", Object.fromEntries(all.map((key, i) => [key, i])));
    const claims = await Promise.all([1, 2, 3, 4].map(() => claim(t.index, { ...OPTIONS, maxKeys: 20 })));
    assertEquals(claims.flatMap((claimed) => claimed.keys).sort(), [...all].sort());
  });

  it("gives a key whose lease expired a later token", async () => {
    await t.setScores("dirty", { a: 5 });
    const first = await claim(t.index, { ...OPTIONS, leaseMs: 1 });
    while (await t.nowMs() < Number(first.token)) await new Promise((resolve) => setTimeout(resolve, 1));
    const second = await claim(t.index, { ...OPTIONS, maxSuspects: 1, leaseMs: 1 });
    assertEquals([second.keys, second.suspects], [["a"], true]);
    assertEquals(Number(second.token) > Number(first.token), true);
    assertEquals(await t.scores("dirty"), { a: second.token });
  });

  it("changes nothing when it runs again while all leases live", async () => {
    await t.setScores("dirty", { a: 5, b: 6 });
    await t.setScores("idle", { c: 5 });
    const { again } = await t.copied(() => claim(t.index, { ...OPTIONS, maxIdle: 5 }));
    const before = await t.everything();
    await again();
    assertEquals(await t.everything(), before);
  });

  it("touches nothing but the queue: no record, none of the application's keys", async () => {
    await stack.raw("SET", "a", "v", "PX", 60_000);
    await t.setKeys("b");
    await t.setRecords({ a: { rev: 5 }, b: "2 of another version" });
    await t.setScores("dirty", { a: 5, b: 5, missing: 5 });
    const { [keys.dirty]: _, ...before } = await t.everything();
    const lines = await t.scripted(() => claim(t.index, OPTIONS));
    assertEquals(writesOf(lines), ["ZADD"]);
    const { [keys.dirty]: __, ...after } = await t.everything();
    assertEquals(after, before);
  });

  it("leases also if Redis is full", async () => {
    await t.setScores("dirty", { a: 5 });
    await claim(t.index, { ...OPTIONS, maxKeys: 0 });
    try {
      await stack.raw("CONFIG", "SET", "maxmemory", 1);
      assertEquals((await claim(t.index, OPTIONS)).keys, ["a"]);
    } finally {
      await stack.raw("CONFIG", "SET", "maxmemory", 0);
    }
  });
});
