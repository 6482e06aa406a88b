import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { readState } from "../../src/scripts/read_state.ts";
import { assertBetween, withIndex } from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";

describe("read_state", () => {
  const stack = withStack({ upstash: { record: true } });
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(() => stack.flush());

  it("replies id, time, records as they are, and existence", async () => {
    await raw("SET", "tundra:default:id", stack.id("new:x"));
    const both = await tools.clean("both", "1");
    const { record } = await tools.evicted("record", "1");
    await raw("MSET", "key", "1", "tundra:default:rec:odd", "2 whatever");
    const from = await tools.nowMs();
    const { nowMs, ...state } = await readState(tools.index, ["both", "record", "key", "odd", "neither"]);
    assertBetween(nowMs, from, await tools.nowMs());
    assertEquals(state, {
      id: stack.id("new:x"),
      states: [
        { key: "both", record: both, exists: true, evictable: false },
        { key: "record", record, exists: false, evictable: true },
        { key: "key", record: "", exists: true, evictable: false },
        { key: "odd", record: "2 whatever", exists: false, evictable: false },
        { key: "neither", record: "", exists: false, evictable: false },
      ],
    });
  });

  it("replies the id alone if it is asked for no key", async () => {
    const read = async () => {
      const { id, states } = await readState(tools.index, []);
      return { id, states };
    };
    assertEquals(await read(), { id: "", states: [] });
    await raw("SET", "tundra:default:id", stack.id("x"));
    assertEquals(await read(), { id: "", states: [] }); // without its seal it counts as none
    await raw("SET", "tundra:default:tick", "0");
    assertEquals(await read(), { id: stack.id("x"), states: [] });
  });

  it("tells which keys exist, however they are mixed", async () => {
    const random = seededRandom("read_state");
    for (let round = 0; round < 60; round++) {
      const chance = random.next();
      const keys = Array.from({ length: 1 + random.int(40) }, (_, i) => `${i} ${random.text(5)}`);
      const there = keys.map(() => random.next() < chance);
      await raw("FLUSHALL");
      for (const [i, key] of keys.entries()) if (there[i]) await raw("SET", key, "1");
      const { states } = await readState(tools.index, keys);
      assertEquals(states.map(({ exists }) => exists), there, `seed ${random.seed}, round ${round}`);
    }
  });

  it("is answered by the primary, for it is sent as a script that may write; and writes nothing", async () => {
    await tools.clean("a", "1");
    await tools.evicted("b", "1");
    const before = await tools.everything();
    await stack.server.resetCounters();
    await readState(tools.index, ["a", "b", "c"]);
    const names = stack.server.log.flatMap(({ commands }) => commands.map(([name]) => name));
    assert(names.length > 0 && names.every((name) => name === "EVALSHA" || name === "EVAL"), names.join());
    assertEquals(await tools.everything(), before);
  });

  it("costs 1 request and 4 commands if all keys exist or none does; 3 without keys", async () => {
    const keys = Array.from({ length: 1000 }, (_, i) => `key ${i}`);
    await readState(tools.index, []);
    assertEquals(await tools.bill(() => readState(tools.index, keys)), { requests: 1, billable: 4 });
    await raw("MSET", ...keys.flatMap((key) => [key, "v"]));
    assertEquals(await tools.bill(() => readState(tools.index, keys)), { requests: 1, billable: 4 });
    assertEquals(await tools.bill(() => readState(tools.index, [])), { requests: 1, billable: 3 });
  });
});
