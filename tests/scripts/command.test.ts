import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { runCommand, type Use } from "../../src/scripts/command.ts";
import { withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

describe("command", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(() => stack.flush());

  const run = (command: string, keys: string[], uses: Use[], tells = false) =>
    runCommand(tools.index, { words: command.split(" "), keys, uses, tells, runsWhenFull: false, marks: true }, {
      freezeDelayMs: 0,
      allowed: "", // the index has no id
      nameUnknown: false,
    });

  it("takes an evicted key that a command replaced by nothing for removed", async () => {
    await tools.evicted("a", "1");
    assertEquals(await run("SUNIONSTORE a none", ["a", "none"], ["o", "r"]), { reply: 0, marked: ["a"], idle: [] });
    assertEquals((await tools.readRecord("a")).flag, "g");
  });

  it("leaves an evicted key as it was that a command said to replace it has not replaced", async () => {
    await tools.evicted("a", "1");
    const before = await tools.everything();
    assertEquals(await run("SET a 2 XX", ["a"], ["o"]), { reply: null, marked: [], idle: [] });
    assertEquals(await tools.everything(), before);
  });

  it("names the keys that have been idle and that it has not marked", async () => {
    await tools.clean("idle", "1", { touch: 5 });
    await tools.clean("changed", "1", { touch: 5 });
    await tools.clean("used", "1", { touch: await tools.nowMs() });
    await raw("SET", "never archived", "1");
    const keys = ["idle", "changed", "used", "never archived"];
    assertEquals(await run("PING", keys, ["r", "w", "r", "r"]), { reply: "PONG", marked: ["changed"], idle: ["idle"] });
    assertEquals(await run("HDEL none f", ["none", "idle"], ["w", "w"], true), {
      reply: 0,
      marked: [],
      idle: ["idle"],
    });
    assertEquals(await run("DEL idle", ["idle"], ["-"]), { reply: 1, marked: [], idle: [] });
  });

  it("replies the largest integers, which Lua rounds beyond what an integer holds", async () => {
    for (const number of ["9223372036854775807", "9223372036854775295", "-9223372036854775808", "9007199254740993"]) {
      await raw("SET", "n", number);
      const { reply } = await run("INCRBY n 0", ["n"], ["w"]) as { reply: unknown };
      assertEquals(reply, Number(number));
      await raw("BITFIELD", "b", "SET", "i64", 0, number, "SET", "u8", 64, 7);
      const fields = await run("BITFIELD b GET i64 0 GET u8 64", ["b"], ["w"]) as { reply: unknown };
      assertEquals(fields.reply, [Number(number), 7]);
    }
    await raw("SET", "text", "9223372036854775807");
    assertEquals((await run("GETSET text 1", ["text"], ["w"]) as { reply: unknown }).reply, "9223372036854775807");
  });
});
