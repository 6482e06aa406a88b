import { beforeEach, describe, it } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { touch } from "../../src/scripts/touch.ts";
import { OLD_VER, withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";
import { DAY_MS } from "../support/times.ts";

const anySize = () => 0;

describe("touch", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(() => stack.flush());

  it("writes the time into the record and into the idle ones, and nothing else", async () => {
    await tools.clean("a", "1", { touch: 5 });
    const before = await tools.readRecord("a");
    assertEquals(await touch(tools.index, ["a"], anySize), []);
    const after = await tools.readRecord("a");
    assertAlmostEquals(after.touch, await tools.nowMs(), 2000);
    assertEquals(after, { ...before, touch: after.touch });
    assertEquals(await tools.score("idle", "a"), String(after.touch));
    assertEquals(await tools.expiry("tundra:default:rec:a"), -1);
  });

  it("writes it into the record of a dirty key, which is not idle", async () => {
    await tools.clean("a", "1", { touch: 5, rev: 7 });
    await raw("ZREM", "tundra:default:idle", "a");
    await raw("ZADD", "tundra:default:dirty", 12, "a");
    assertEquals(await touch(tools.index, ["a"], anySize), []);
    const after = await tools.readRecord("a");
    assertAlmostEquals(after.touch, await tools.nowMs(), 2000);
    assertEquals([after.rev, await tools.score("dirty", "a"), await tools.score("idle", "a")], [7, "12", undefined]);
  });

  it("replies keys that have been evicted meanwhile, and changes nothing of them", async () => {
    await tools.evicted("evicted", "1");
    await tools.clean("half evicted", "1", { flag: "e", touch: 5 });
    await tools.clean("a", "1", { touch: 5 });
    await touch(tools.index, ["a"], anySize);
    const before = await tools.everything();
    assertEquals(await touch(tools.index, ["evicted", "half evicted"], anySize), ["evicted", "half evicted"]);
    assertEquals(await tools.everything(), before);
    assertEquals(await touch(tools.index, ["a", "evicted"], anySize), ["evicted"]);
  });

  it("leaves keys alone that are missing or have no record", async () => {
    await tools.clean("missing", "1", { touch: 5 });
    await raw("DEL", "missing");
    await raw("SET", "no record", "1");
    const before = await tools.everything();
    assertEquals(await touch(tools.index, ["missing", "no record", "neither"], anySize), []);
    assertEquals(await tools.everything(), before);
  });

  it("leaves a record of another version alone, and spoils no other key", async () => {
    await tools.clean("a", "1", { touch: 5 });
    await raw("MSET", "odd", "1", "tundra:default:rec:odd", "2 whatever");
    assertEquals(await touch(tools.index, ["odd", "a"], anySize), []);
    assertEquals(await tools.recordText("odd"), "2 whatever");
    assertAlmostEquals((await tools.readRecord("a")).touch, await tools.nowMs(), 2000);
  });

  it("brings a clean key back among the idle ones that Redis lost there, or it would never be evicted", async () => {
    await tools.clean("a", "1", { touch: 5 });
    await raw("ZREM", "tundra:default:idle", "a");
    assertEquals(await touch(tools.index, ["a"], anySize), []);
    assertEquals(await tools.score("idle", "a"), String((await tools.readRecord("a")).touch));
  });

  it("makes no key idle that is not archived", async () => {
    await tools.clean("never archived", "1", { touch: 5, ver: "-" });
    await tools.clean("removed and made anew", "1", { touch: 5, flag: "g" });
    await raw("DEL", "tundra:default:idle");
    assertEquals(await touch(tools.index, ["never archived", "removed and made anew"], anySize), []);
    assertEquals(await raw("EXISTS", "tundra:default:idle"), 0);
  });

  it("sets the TTL again of a record that has one: no other gets one", async () => {
    const nowMs = await tools.nowMs();
    const exp = nowMs + 50_000;
    await tools.clean("expiring", "1", { touch: 5, exp });
    await tools.clean("gone", "1", { touch: 5, flag: "g" });
    await tools.clean("dirty", "1", { touch: 5, exp, rev: 7 });
    for (const key of ["expiring", "gone"]) await raw("PEXPIREAT", `tundra:default:rec:${key}`, nowMs + 1000);
    await touch(tools.index, ["expiring", "gone", "dirty"], anySize);
    assertEquals(await tools.expiry("tundra:default:rec:expiring"), -1);
    assertAlmostEquals(await tools.expiry("tundra:default:rec:gone"), nowMs + DAY_MS, 2000);
    assertEquals(await tools.expiry("tundra:default:rec:dirty"), -1);
  });

  it("never sets or clears a TTL of a user's key", async () => {
    const exp = await tools.nowMs() + 50_000;
    await tools.clean("with", "1", { touch: 5, exp });
    await tools.clean("without", "1", { touch: 5 });
    await touch(tools.index, ["with", "without"], anySize);
    assertEquals([await tools.expiry("with"), await tools.expiry("without")], [exp, -1]);
  });

  it("does not put a value that stays among the idle ones, and notes its use if it is there", async () => {
    const sizes: Record<string, number> = { small: 1, there: 1, large: 2, unknown: 0 };
    for (const [key, kb] of Object.entries(sizes)) await tools.clean(key, "1", { kb, touch: 5 });
    await raw("ZREM", "tundra:default:idle", "small", "large", "unknown");
    assertEquals(await touch(tools.index, Object.keys(sizes), () => 1024), []);
    assertEquals(Object.keys(await tools.scores("idle")).sort(), ["large", "there", "unknown"]);
    assertAlmostEquals(Number(await tools.score("idle", "there")), await tools.nowMs(), 2000);
    for (const key of Object.keys(sizes)) {
      assertAlmostEquals((await tools.readRecord(key)).touch, await tools.nowMs(), 2000);
    }
    await tools.setScores("idle", { large: 7 });
    await touch(tools.index, ["large"], (key) => key === "large" ? Number.MAX_SAFE_INTEGER : 0);
    assertAlmostEquals(Number(await tools.score("idle", "large")), await tools.nowMs(), 2000);
    await raw("ZREM", "tundra:default:idle", "large");
    await touch(tools.index, ["large"], () => Number.MAX_SAFE_INTEGER);
    assertEquals(await tools.score("idle", "large"), undefined);
  });

  it("does nothing as a late copy, after the key was evicted", async () => {
    await tools.clean("a", "1", { touch: 5 });
    const { again } = await tools.copied(() => touch(tools.index, ["a"], anySize));
    await tools.evicted("a", "1", { touch: 6 });
    const before = await tools.everything();
    await again();
    assertEquals(await tools.everything(), before);
  });

  it("writes records before the idle ones", async () => {
    await tools.clean("a", "1", { touch: 5 });
    await touch(tools.index, ["a"], anySize);
    const commands = await tools.scripted(() => touch(tools.index, ["a"], anySize));
    assertEquals(commands.slice(-2), ["MSET tundra:default:rec:a", "ZADD tundra:default:idle"]);
  });

  it("costs 1 request and 6 commands, own expiries or not", async () => {
    const keys = Array.from({ length: 50 }, (_, i) => `k${i}`);
    for (const key of keys) await tools.clean(key, "1", { touch: 5 });
    await touch(tools.index, ["k0"], anySize);
    assertEquals(await tools.bill(() => touch(tools.index, keys, anySize)), { requests: 1, billable: 6 });
    const exp = await tools.nowMs() + 50_000;
    for (const key of keys.slice(1)) await tools.clean(key, "1", { touch: 5, exp, ver: OLD_VER });
    assertEquals(await tools.bill(() => touch(tools.index, keys, anySize)), { requests: 1, billable: 6 });
  });
});
