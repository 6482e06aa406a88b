import { beforeEach, describe, it } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { reconcile } from "../../src/scripts/reconcile.ts";
import { OLD_VER, withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

describe("reconcile", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(() => stack.flush());

  it("heals an eviction half undone: resident, in use, idle", async () => {
    const record = await tools.clean("a", "1", { flag: "e", touch: 5 });
    await raw("ZREM", "tundra:default:idle", "a");
    const before = await tools.readRecord("a");
    assertEquals(await reconcile(tools.index, [{ key: "a", record }]), ["healed"]);
    const after = await tools.readRecord("a");
    assertAlmostEquals(after.touch, await tools.nowMs(), 2000);
    assertEquals(after, { ...before, flag: "r", touch: after.touch });
    assertEquals(await tools.score("idle", "a"), String(after.touch));
    assertEquals(String(await raw("GET", "a")), "1");
  });

  it("never takes a partial value for the whole: conflict, nothing changed", async () => {
    await raw("HSET", "a", "one", "1", "two", "2");
    const record = await tools.writeRecord("a", { ver: OLD_VER, fp: await tools.fingerprint("a"), flag: "e" });
    await raw("HDEL", "a", "two");
    const before = await tools.everything();
    assertEquals(await reconcile(tools.index, [{ key: "a", record }]), ["conflict"]);
    assertEquals(await tools.everything(), before);
  });

  it("looks again if the record moved on or the key is missing, nothing changed", async () => {
    const moved = await tools.clean("moved", "1", { flag: "e", touch: 5 });
    await tools.writeRecord("moved", { ...await tools.readRecord("moved"), touch: 6 });
    const { record: missing } = await tools.evicted("missing", "1");
    const record = await tools.clean("record", "1", { flag: "e" });
    await raw("DEL", "tundra:default:rec:record");
    const before = await tools.everything();
    assertEquals(
      await reconcile(tools.index, [
        { key: "moved", record: moved },
        { key: "missing", record: missing },
        { key: "record", record },
      ]),
      ["again", "again", "again"],
    );
    assertEquals(await tools.everything(), before);
  });

  it("leaves a record of another version alone, and spoils no other key", async () => {
    const record = await tools.clean("a", "1", { flag: "e" });
    await raw("MSET", "odd", "1", "tundra:default:rec:odd", "2 whatever");
    assertEquals(
      await reconcile(tools.index, [{ key: "odd", record: "2 whatever" }, { key: "a", record }]),
      ["again", "healed"],
    );
    assertEquals(await tools.recordText("odd"), "2 whatever");
  });

  it("gives each key its own outcome", async () => {
    const seen: { key: string; record: string }[] = [];
    for (let i = 0; i < 6; i++) seen.push({ key: `k${i}`, record: await tools.clean(`k${i}`, "1", { flag: "e" }) });
    await raw("SET", "k1", "2");
    await raw("DEL", "k4");
    assertEquals(await reconcile(tools.index, seen), ["healed", "conflict", "healed", "healed", "again", "healed"]);
  });

  it("does nothing as a late copy, also if the key was evicted once more", async () => {
    const record = await tools.clean("a", "1", { flag: "e", touch: 5 });
    const { value, again } = await tools.copied(() => reconcile(tools.index, [{ key: "a", record }]));
    assertEquals(value, ["healed"]);
    const healed = await tools.everything();
    await again();
    assertEquals(await tools.everything(), healed);
    await tools.clean("a", "1", { ...await tools.readRecord("a"), flag: "e" });
    const evicted = await tools.everything();
    await again();
    assertEquals(await tools.everything(), evicted);
  });

  it("leaves the own expiry of a key as it is, and its record without a TTL", async () => {
    const exp = await tools.nowMs() + 50_000;
    const record = await tools.clean("a", "1", { flag: "e", exp });
    assertEquals(await reconcile(tools.index, [{ key: "a", record }]), ["healed"]);
    assertEquals(await tools.expiry("tundra:default:rec:a"), -1);
    assertEquals(await tools.expiry("a"), exp);
  });

  it("writes records before the idle ones", async () => {
    const record = await tools.clean("a", "1", { flag: "e" });
    const commands = await tools.scripted(() => reconcile(tools.index, [{ key: "a", record }]));
    assertEquals(commands.slice(-3), [
      "MSET tundra:default:rec:a",
      "ZADD tundra:default:idle",
      "HINCRBY tundra:default:stats",
    ]);
  });

  it("costs 1 request, 1 command a key and 6", async () => {
    const seen: { key: string; record: string }[] = [];
    for (let i = 0; i < 20; i++) seen.push({ key: `k${i}`, record: await tools.clean(`k${i}`, "1", { flag: "e" }) });
    await reconcile(tools.index, seen.splice(0, 1));
    assertEquals(await tools.bill(() => reconcile(tools.index, seen)), { requests: 1, billable: 19 + 6 });
  });
});
