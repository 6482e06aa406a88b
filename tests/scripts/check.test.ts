import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { check } from "../../src/scripts/check.ts";
import { OLD_VER, withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

const TOUCH_MS = 2.5 * 3_600_000;

describe("check", () => {
  const stack = withStack({ upstash: { record: true } });
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(() => stack.flush());

  const needs = async (...keys: string[]): Promise<Record<string, string>> => {
    const { findings } = await check(tools.index, keys);
    for (const { key, record } of findings) assertEquals(record, await tools.recordText(key) ?? "", key);
    return Object.fromEntries(findings.map(({ key, needs }) => [key, needs]));
  };

  it("finds nothing to do for keys that are there: clean, dirty, dead, gone and made anew, never marked", async () => {
    const touch = await tools.nowMs();
    await tools.clean("clean", "1");
    await tools.clean("dirty", "1", { rev: 7, touch });
    await tools.clean("dead", "1", { rev: 7, touch, attempts: 3 });
    await tools.clean("made anew", "1", { flag: "g", touch });
    await raw("SET", "never marked", "1");
    assertEquals(await needs("clean", "dirty", "dead", "made anew", "never marked"), {});
  });

  it("finds what is evicted: archived, clean and missing, whoever took it away", async () => {
    await tools.evicted("evicted", "1");
    await tools.clean("deleted behind our back", "1");
    await raw("DEL", "deleted behind our back");
    assertEquals(await needs("evicted", "deleted behind our back"), {
      "evicted": "evicted",
      "deleted behind our back": "evicted",
    });
  });

  it("takes a missing key as absent if it was never archived, is dirty, dead or removed", async () => {
    await tools.writeRecord("never archived", {});
    await tools.writeRecord("dirty", { ver: OLD_VER, fp: "f", rev: 7 });
    await tools.writeRecord("removed", { ver: OLD_VER, fp: "f", flag: "g" });
    await tools.writeRecord("being removed", { ver: OLD_VER, fp: "f", flag: "g", rev: 7 });
    assertEquals(await needs("no record", "never archived", "dirty", "removed", "being removed"), {});
  });

  it("takes a missing key as absent once its own expiry has passed", async () => {
    const nowMs = await tools.nowMs();
    await tools.evicted("past", "1", { exp: nowMs + 100_000 });
    await tools.writeRecord("past", { ver: OLD_VER, fp: "f", flag: "e", exp: nowMs });
    await tools.evicted("to come", "1", { exp: nowMs + 100_000 });
    assertEquals(await needs("past", "to come"), { "to come": "evicted" });
  });

  it("finds a key to reconcile that is there although its record says evicted", async () => {
    await tools.clean("a", "1", { flag: "e" });
    assertEquals(await needs("a"), { a: "reconcile" });
  });

  it("lets a key be made anew whose archive is past its own expiry", async () => {
    await tools.clean("a", "1", { flag: "e", exp: await tools.nowMs() + 100_000 });
    await tools.writeRecord("a", { ver: OLD_VER, fp: "f", flag: "e", exp: await tools.nowMs() - 1 });
    assertEquals(await raw("EXISTS", "a"), 1);
    assertEquals(await needs("a"), {});
  });

  it("finds a key to touch that was last used more than 2.5 hours ago, dirty ones too", async () => {
    const nowMs = await tools.nowMs();
    await tools.clean("fresh", "1", { touch: nowMs - TOUCH_MS + 60_000 });
    await tools.clean("old", "1", { touch: nowMs - TOUCH_MS - 1 });
    await tools.clean("dirty", "1", { rev: 7, touch: nowMs - TOUCH_MS - 1 });
    assertEquals(await needs("fresh", "old", "dirty"), { old: "touch", dirty: "touch" });
  });

  it("says of a record of another version just that, and spoils no other key", async () => {
    await raw("SET", "there", "1");
    for (const key of ["there", "missing"]) await raw("SET", `tundra:default:rec:${key}`, "2 whatever");
    await tools.evicted("good", "1");
    assertEquals(await needs("there", "missing", "good"), {
      there: "unsupported",
      missing: "unsupported",
      good: "evicted",
    });
  });

  it("replies the id: none, proposed, confirmed", async () => {
    assertEquals((await check(tools.index, ["a"])).id, "");
    await raw("SET", "tundra:default:id", stack.id("new:x"));
    assertEquals((await check(tools.index, ["a"])).id, stack.id("new:x"));
    await stack.confirmId("x");
    assertEquals((await check(tools.index, ["a"])).id, stack.id("x"));
  });

  it("takes a confirmed id without its seal for none", async () => {
    await raw("SET", "tundra:default:id", stack.id("x"));
    assertEquals((await check(tools.index, ["a"])).id, "");
  });

  it("names keys of which Redis knows nothing if it is asked to, with Redis' time", async () => {
    await tools.clean("there", "1");
    await raw("SET", "unmarked", "1");
    await tools.writeRecord("deleted", { ver: OLD_VER, flag: "g" });
    const fromMs = await tools.nowMs();
    const { findings } = await check(tools.index, ["there", "unmarked", "never", "deleted"], true);
    assertEquals(findings.map(({ key, needs }) => [key, needs]), [["never", "unknown"]]);
    const ms = Number(findings[0]!.record);
    assert(ms >= fromMs && ms <= await tools.nowMs(), String(ms));
  });

  it("tells keys apart whose presence is mixed in any way", async () => {
    const keys = Array.from({ length: 9 }, (_, i) => `k${i}`);
    for (const key of keys) await tools.evicted(key, "v");
    for (const there of [0b000000001, 0b100000000, 0b010101010, 0b111101111, 0b000111000, 0b111111111]) {
      const present = keys.filter((_, i) => there & 1 << i);
      await raw("DEL", ...keys);
      await raw("MSET", ...present.flatMap((key) => [key, "v"]));
      const expected = keys.map((key) => [key, present.includes(key) ? "reconcile" : "evicted"]);
      assertEquals(await needs(...keys), Object.fromEntries(expected));
    }
  });

  it("writes nothing, and is sent as a script that cannot", async () => {
    await tools.clean("there", "1", { touch: 5 });
    await tools.evicted("evicted", "1");
    await tools.clean("odd", "1", { flag: "e" });
    const before = await tools.everything();
    await stack.server.resetCounters();
    await needs("there", "evicted", "odd");
    const names = stack.server.log.flatMap(({ commands }) => commands.map(([name]) => name));
    assert(names.length > 0 && names.every((name) => name === "EVALSHA_RO" || name === "EVAL_RO"), names.join());
    assertEquals(await tools.everything(), before);
  });

  it("costs 1 request and 4 commands, however many keys, if all or none of them exist", async () => {
    const keys = Array.from({ length: 1000 }, (_, i) => `key ${i}`);
    await needs("a");
    assertEquals(await tools.bill(() => check(tools.index, keys)), { requests: 1, billable: 4 });
    await raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    assertEquals(await tools.bill(() => check(tools.index, keys)), { requests: 1, billable: 4 });
    await raw("DEL", "key 0"); // looked for by halves: 1,000 -> 500 -> 250 ... -> 1
    assertEquals(await tools.bill(() => check(tools.index, keys)), { requests: 1, billable: 4 + 10 });
  });
});
