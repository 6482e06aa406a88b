/** advise: what archiving would cost and save, from a sample, before anything is adopted. */
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { advise, type AdviseReport, type PrefixAdvice } from "../../src/operations/mod.ts";
import { estimate, memoryAMonth, planAdvice } from "../../src/operations/advice.ts";
import { PRICES } from "../../src/operations/prices.ts";
import { BILLS, daysToPayBack } from "../../dev/tools/pays_back.ts";
import { names, tundraError, withArchive } from "../support/fixtures.ts";
import { changesNothing } from "../support/operations.ts";
import { DAY_MS } from "../support/times.ts";

const assertNear = (actual: number, expected: number, share = 0.1) =>
  assert(Math.abs(actual - expected) <= share * expected, `${actual}, not about ${expected}`);

describe("advise", () => {
  const stack = withArchive();
  const { raw } = stack;
  beforeEach(() => stack.flush());

  const set = async (keys: string[], bytes: number) => {
    for (let i = 0; i < keys.length; i += 2_000) {
      await raw("MSET", ...keys.slice(i, i + 2_000).flatMap((key) => [key, "v".repeat(bytes)]));
    }
  };
  const of = ({ prefixes }: AdviseReport, prefix: string): PrefixAdvice =>
    prefixes.find((each) => each.prefix === prefix)!;

  it("tells prefixes apart: keys, memory, expiries, and what is too small to leave", async () => {
    await set(names(300, "cart"), 20_000);
    await set(names(500, "flag"), 20);
    await set(names(200, "session"), 3_000);
    for (const key of names(100, "session")) await raw("PEXPIRE", key, DAY_MS);
    await set(["plain", "other"], 5_000);
    const { url, token } = stack.connection;
    const report = await advise({ url, token });
    assertEquals([report.done, report.exact, report.keys], [true, true, 1_002]);
    assertEquals(report.prefixes.map(({ prefix }) => prefix), ["cart:", "session:", "flag:", ""]);
    assertEquals(report.prefixes.map(({ keys }) => keys), [300, 200, 500, 2]);
    assertNear(of(report, "cart:").bytes, 300 * 20_600);
    assertNear(report.bytes, 300 * 20_600 + 500 * 80 + 200 * 3_150 + 2 * 5_200);
    assertEquals([of(report, "cart:").small, of(report, "flag:").small], [0, 1]);
    assertEquals([of(report, "cart:").expiring, of(report, "session:").expiring], [0, 0.5]);
    assert(of(report, "session:").measured >= 100);
    for (const { plans } of report.prefixes) {
      assertEquals(Object.keys(plans), ["pay as you go, S3", "pay as you go, R2", "fixed plan, S3", "fixed plan, R2"]);
    }
    const flags = of(report, "flag:").plans["fixed plan, S3"]!;
    assertEquals([flags.once, flags.savedAMonth, flags.payBackDays], [0, 0, Infinity]);
    const carts = of(report, "cart:").plans;
    assert(carts["fixed plan, R2"]!.payBackDays < 3 && carts["fixed plan, R2"]!.savedAMonth > 0.1);
    // the first GB is free: nothing is saved there
    assertEquals(carts["pay as you go, S3"]!.payBackDays, Infinity);
    assertEquals(report.plans["pay as you go, S3"], { nowAMonth: 0, thenAMonth: 0 });
    assertEquals(report.plans["fixed plan, S3"], { nowAMonth: 10, thenAMonth: 10 });
  });

  it("estimates a database that is larger than its sample, within its bounds", async () => {
    await set(names(15_000, "a"), 100);
    await set(names(5_000, "b"), 2_000);
    const store = stack.store();
    await stack.server.resetCounters();
    const report = await advise(store, { maxKeys: 4_000, sampleKeys: 400 });
    assertEquals([report.done, report.exact], [true, false]);
    assertNear(report.keys, 20_000, 0.05);
    assertNear(of(report, "a:").keys, 15_000);
    assertNear(of(report, "b:").keys, 5_000, 0.15);
    assertNear(of(report, "b:").bytes, 5_000 * 2_600, 0.4);
    const measured = of(report, "a:").measured + of(report, "b:").measured;
    assert(measured >= 395 && measured <= 400, `${measured} of 400 were measured`);
    const [billed, { requests }] = [await stack.server.billable(), stack.server];
    assertEquals([report.commands, report.subrequests], [billed, requests]);
    assert(requests <= 7 && billed <= 5 + 2 * 400 + 1, `${requests} requests, ${billed} commands`);
  });

  it("is ended by bounds and aborts, with what it knows by then", async () => {
    await set(names(20_000, "a"), 10);
    const bounded = await advise(stack.store(), { maxSubrequests: 12 });
    assertEquals([bounded.done, bounded.exact], [false, false]);
    assertNear(bounded.keys, 20_000, 0.1);
    assert(bounded.subrequests <= 12);
    const aborted = await advise(stack.store(), { signal: AbortSignal.abort() });
    assertEquals([aborted.done, aborted.keys, aborted.prefixes], [false, 0, []]);
    const empty = await advise(stack.store(), { match: "nothing:*" });
    assertEquals([empty.done, empty.exact, empty.keys, empty.prefixes], [true, true, 0, []]);
  });

  it("gives the same answer to two at once", async () => {
    await set(names(3_000, "a"), 500);
    await set(names(700, "b"), 3_000);
    const adviseOnce = async (): Promise<Partial<AdviseReport>> => {
      const { durationMs: _, ...report } = await advise(stack.store());
      return report;
    };
    const alone = await adviseOnce();
    assertEquals([alone.done, alone.keys], [true, 3_700]);
    for (const report of await Promise.all([adviseOnce(), adviseOnce()])) assertEquals(report, alone);
  });

  it("only reads, counts no use of a key, and leaves Tundra's own keys out", async () => {
    const store = stack.store();
    await set(names(50, "a"), 2_000);
    await store.dirty("a:0");
    await store.tick();
    const idle = async () => Number(await raw("OBJECT", "IDLETIME", "a:1"));
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const report = await advise(store);
    assert(await idle() >= 1);
    assertEquals([report.keys, report.prefixes.map(({ prefix }) => prefix)], [50, ["a:"]]);
    await changesNothing(stack, () => advise(store));
  });

  it("folds prefixes after the first thousand into one, and shows fifty", async () => {
    const keys = Array.from({ length: 3_000 }, (_, i) => `user${i}:cart`);
    await set(keys, 10);
    const report = await advise(stack.store(), { sampleKeys: 200 });
    assertEquals([report.prefixes.length, report.keys], [50, 3_000]);
    const others = of(report, "*");
    assertEquals([others.keys, report.prefixes[0]!.prefix], [2_000, "*"]);
    const slash = await advise(stack.store(), { separator: "r" });
    assertEquals(slash.prefixes.map(({ prefix, keys }) => [prefix, keys]), [["user", 3_000]]);
  });

  it("takes other prices, sizes and numbers of returns", async () => {
    await set(names(100, "a"), 10_000);
    const prices = {
      redis: { dear: { command: 0, gbMonth: 1_000 } },
      archive: { free: { put: 0, get: 0, gbMonth: 0 } },
    };
    const [dear] = (await advise(stack.store(), { prices })).prefixes;
    const { savedAMonth, once, payBackDays } = dear!.plans["dear, free"]!;
    assertNear(savedAMonth, 100 * 10_000 / 1e6);
    assertEquals([once, payBackDays, Object.keys(dear!.plans)], [0, 0, ["dear, free"]]);
    const prices2 = { redis: { plan: { command: 1e-5, gbMonth: 100 } } };
    const of = async (returnsAMonth: number) =>
      (await advise(stack.store(), { prices: prices2, returnsAMonth })).prefixes[0]!.plans["plan, S3"]!;
    const [never, often] = [await of(0), await of(30)];
    assert(never.savedAMonth > 0 && never.payBackDays < Infinity);
    assert(often.savedAMonth < 0 && often.payBackDays === Infinity);
    const [kept] = (await advise(stack.store(), { minEvictBytes: 50_000 })).prefixes;
    assertEquals(kept!.small, 1);
  });

  it("refuses bad options before anything is sent", async () => {
    const bad: unknown[] = [
      ...[{ match: 1 }, { separator: "" }, { maxKeys: 5 }, { sampleKeys: 5 }, { minEvictBytes: -1 }, { dryRun: true }],
      ...[{ returnsAMonth: -1 }, { returnsAMonth: NaN }, { prices: { redis: { a: { command: 1 } } } }, 1],
      ...[{ prices: { s3: {} } }, { prices: { archive: { a: { put: 0, get: 0, gbMonth: "1" } } } }],
    ];
    for (const options of bad) await tundraError("BAD_ARGUMENT", () => advise(stack.store(), options as never));
    await tundraError("BAD_ARGUMENT", () => advise({ url: "x", token: "t" }));
    await tundraError("BAD_ARGUMENT", () => advise({} as never));
    assertEquals(stack.server.requests, 0);
  });
});

describe("the arithmetic of advice", () => {
  const keys = (bytes: number, ttlMs = -1) => Array.from({ length: 100 }, () => ({ bytes, ttlMs }));

  it("is that of docs/costs.md for a value that stays away, but for a PUT that is shared", () => {
    for (const [plan, redis] of [["pay as you go", PRICES.payAsYouGo], ["fixed plan", PRICES.fixed]] as const) {
      for (const [name, archive] of [["S3", PRICES.s3], ["R2", PRICES.r2]] as const) {
        const sums = estimate(keys(100_000), 1_000_000, 1_024); // too large for packs: one PUT each
        const { payBackDays } = planAdvice(sums, redis, archive, 0, 1_000);
        const [, bill] = BILLS.find(([each]) => each === `${plan}, ${name}`)!;
        assertNear(payBackDays, daysToPayBack(100_000, bill), 0.01);
        const small = planAdvice(estimate(keys(2_000), 1_000_000, 1_024), redis, archive, 0, 1_000);
        assert(small.payBackDays < daysToPayBack(2_000, bill));
      }
    }
  });

  it("saves nothing below the free GB, and only while a value lives", () => {
    const sums = estimate(keys(10_000), 100_000, 1_024); // 1 GB
    const at = (gb: number) => planAdvice(sums, PRICES.payAsYouGo, PRICES.r2, 0, gb).savedAMonth;
    assert(at(1) < 0 && at(1.5) > 0 && at(1.5) < at(2));
    assertEquals(at(2), at(5));
    const month = planAdvice(estimate(keys(10_000, 3 * DAY_MS), 100_000, 1_024), PRICES.fixed, PRICES.r2, 0, 5);
    const ever = planAdvice(sums, PRICES.fixed, PRICES.r2, 0, 5);
    assert(month.savedAMonth < 0.11 * ever.savedAMonth && month.once === ever.once);
  });

  it("takes the smallest size of a fixed plan that fits", () => {
    assertEquals([0.1, 0.25, 0.9, 4, 60].map((gb) => memoryAMonth(gb, PRICES.fixed)), [10, 10, 20, 100, 1_200]);
    assertEquals([0.5, 3].map((gb) => memoryAMonth(gb, PRICES.payAsYouGo)), [0, 0.5]);
  });
});
