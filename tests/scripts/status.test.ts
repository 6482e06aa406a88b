import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { readStatus } from "../../src/scripts/status.ts";
import { withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

describe("status", () => {
  const stack = withStack({ upstash: { record: true } });
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(() => stack.flush());

  it("is all zeros for a new store", async () => {
    assertEquals(await readStatus(tools.index), {
      queued: 0,
      due: 0,
      idle: 0,
      dead: 0,
      purge: 0,
      oldestDueMs: 0,
      lastTickMs: 0,
      totals: {},
    });
  });

  it("counts what is queued, due, idle and dead, and says how long the oldest has been due", async () => {
    const nowMs = await tools.nowMs();
    await raw("ZADD", "tundra:default:dirty", nowMs - 7000, "a", nowMs - 5000, "b", nowMs + 60_000.5, "leased");
    await raw("ZADD", "tundra:default:idle", 5, "c", 6, "d", 7, "e", 8, "f");
    await raw("ZADD", "tundra:default:dead", 5, "g");
    await raw("ZADD", "tundra:default:purge", 5, "h", nowMs + 60_000, "later");
    await raw("SET", "tundra:default:tick", "9");
    const { oldestDueMs, ...counts } = await readStatus(tools.index);
    assertEquals(counts, { queued: 3, due: 2, idle: 4, dead: 1, purge: 1, lastTickMs: 9, totals: {} });
    assertAlmostEquals(oldestDueMs, 7000, 1000);
  });

  it("takes nothing as overdue if all of it is leased or delayed", async () => {
    await raw("ZADD", "tundra:default:dirty", await tools.nowMs() + 60_000, "a");
    const { queued, due, oldestDueMs } = await readStatus(tools.index);
    assertEquals([queued, due, oldestDueMs], [1, 0, 0]);
  });

  it("replies the totals as numbers", async () => {
    await raw("HSET", "tundra:default:stats", "frozen", 3, "bytes", 4_000_000_000_000);
    assertEquals((await readStatus(tools.index)).totals, { frozen: 3, bytes: 4_000_000_000_000 });
  });

  it("counts nothing of a store with another name", async () => {
    await raw("ZADD", "tundra:other:dirty", 5, "a");
    await raw("HSET", "tundra:other:stats", "frozen", 3);
    const { queued, totals } = await readStatus(tools.index);
    assertEquals([queued, totals], [0, {}]);
  });

  it("writes nothing, is sent as a script that cannot, and costs 1 request and 10 commands", async () => {
    await raw("ZADD", "tundra:default:dirty", 5, "a");
    await readStatus(tools.index);
    const before = await tools.everything();
    assertEquals(await tools.bill(() => readStatus(tools.index)), { requests: 1, billable: 10 });
    const names = stack.server.log.flatMap(({ commands }) => commands.map(([name]) => name));
    assert(names.length > 0 && names.every((name) => name === "EVALSHA_RO"), names.join());
    assertEquals(await tools.everything(), before);
  });
});
