import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { noteErasure } from "../../src/scripts/note_erasure.ts";
import { readIndex } from "../../src/scripts/read_index.ts";
import { relocate } from "../../src/scripts/relocate.ts";
import { assertBetween, textOf, withIndex } from "../support/index.ts";
import { names } from "../support/fixtures.ts";
import { withStack } from "../support/stack.ts";
import { HOUR_US } from "../support/times.ts";

const VER = "1700000000000000-00000000";
const FROM = `${VER}@:16:100`;

describe("relocate", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);
  let pack: string;
  let to: string;

  const packOf = async (hoursAgo: number) => `${Math.round(await tools.nowUs() - hoursAgo * HOUR_US)}-0000000a`;

  beforeEach(async () => {
    await stack.flush();
    await stack.raw("MSET", "tundra:default:id", "u@db", "tundra:default:tick", "5");
    Object.assign(seen, { id: "u@db", erasedUs: 0 });
    pack = await packOf(0);
    to = `${VER}@${pack}:16:50`;
  });

  const seen = { id: "u@db", erasedUs: 0 };
  const move = (...keys: string[]) => relocate(tools.index, pack, seen, keys.map((key) => ({ key, from: FROM, to })));

  it("changes the place that a record names, and nothing else", async () => {
    await tools.setRecords({ r: { ver: FROM, rev: 7, touch: 9, kb: 3, error: "X y" }, e: { ver: FROM, flag: "e" } });
    const before = [await tools.readRecord("r"), await tools.readRecord("e")];
    assertEquals(await move("r", "e"), ["moved", "moved"]);
    assertEquals([await tools.readRecord("r"), await tools.readRecord("e")], before.map((r) => ({ ...r, ver: to })));
    assertEquals(await tools.expiry("tundra:default:rec:e"), -1);
  });

  it("keeps the record's TTL", async () => {
    await tools.setRecords({ k: { ver: FROM, flag: "g" } });
    await raw("PEXPIRE", "tundra:default:rec:k", 60_000);
    const at = await tools.expiry("tundra:default:rec:k");
    assertEquals(await move("k"), ["moved"]);
    assertEquals([(await tools.readRecord("k")).ver, await tools.expiry("tundra:default:rec:k")], [to, at]);
  });

  it("lets what is to be deleted up to this version stay so: nothing newer is archived yet", async () => {
    await tools.setRecords({ k: { ver: FROM, old: FROM, flag: "g", rev: 5 }, l: { ver: FROM, old: VER } });
    assertEquals(await move("k", "l"), ["moved", "moved"]);
    assertEquals([(await tools.readRecord("k")).old, (await tools.readRecord("l")).old], [to, VER]);
  });

  it("leaves a record that names another place by now, none, or one of another layout", async () => {
    await tools.setRecords({ other: { ver: `${VER}@:16:99` }, none: {}, odd: "3 x" });
    await tools.changesNothing(async () =>
      assertEquals(await move("other", "none", "odd", "unknown"), ["again", "again", "unsupported", "again"])
    );
  });

  it("names no pack that is older than 12 hours", async () => {
    await tools.setRecords({ k: { ver: FROM } });
    pack = await packOf(12.1);
    await tools.changesNothing(async () => assertEquals(await move("k"), ["late"]));
    pack = await packOf(11.9);
    assertEquals(await move("k"), ["moved"]);
  });

  it("names nothing that was read before an erasure looked what is left, whatever its keys", async () => {
    await tools.setRecords({ k: { ver: FROM }, l: { ver: FROM } });
    const { again } = await tools.copied(() => noteErasure(tools.index));
    await tools.changesNothing(async () => {
      assertEquals(await move("k", "l"), ["erased", "erased"]);
      assertEquals(await move(), ["erased"]);
    });
    ({ erasedUs: seen.erasedUs } = await readIndex(tools.index, []));
    assertEquals([await move("k"), await move()], [["moved"], []]);
    await again(); // a late copy counts as an erasure
    await tools.changesNothing(async () => assertEquals(await move("l"), ["erased"]));
  });

  it("changes nothing if the index is another one, or has lost its seal", async () => {
    await tools.setRecords({ k: { ver: FROM } });
    await stack.raw("SET", "tundra:default:id", "v@db");
    await tools.changesNothing(async () => assertEquals(await move("k"), ["erased"]));
    await stack.raw("SET", "tundra:default:id", "u@db");
    await stack.raw("DEL", "tundra:default:tick");
    await tools.changesNothing(async () => assertEquals(await move("k"), ["erased"]));
  });

  it("changes nothing the second time", async () => {
    await tools.setRecords({ k: { ver: FROM } });
    const { again } = await tools.copied(() => move("k"));
    await tools.changesNothing(again);
  });

  it("costs one request and 4 commands for 1,000 keys", async () => {
    const keys = names(1000);
    await tools.setRecords(Object.fromEntries(keys.map((key) => [key, { ver: FROM }])));
    await move("x");
    const { requests, billable } = await tools.bill(() => move(...keys));
    assertEquals([requests, billable], [1, 4]);
    assertEquals((await tools.readRecord(keys.at(-1)!)).ver, to);
  });
});

describe("note_erasure", () => {
  const stack = withStack();
  const tools = withIndex(stack);
  beforeEach(() => stack.flush());

  it("says a later time each time, also if the clock went back; 1 request, 4 commands", async () => {
    const nowUs = await tools.nowUs();
    const first = await noteErasure(tools.index);
    assertBetween(first, nowUs, nowUs + 5_000_000);
    assertEquals((await readIndex(tools.index, [])).erasedUs, first);
    await stack.raw("SET", "tundra:default:erased", String(first + 60_000_000));
    assertEquals(await noteErasure(tools.index), first + 60_000_001);
    assertEquals(await tools.expiry("tundra:default:erased"), -1);
    assertEquals(await tools.bill(() => noteErasure(tools.index)), { requests: 1, billable: 4 });
  });
});

describe("read_index", () => {
  const stack = withStack();
  const tools = withIndex(stack);
  beforeEach(() => stack.flush());

  it("replies id, clock and records of one moment, and changes nothing", async () => {
    await stack.raw("MSET", "tundra:default:id", "u@db", "tundra:default:tick", "5");
    const text = await tools.writeRecord("a", { ver: VER });
    const nowUs = await tools.nowUs();
    const found = await tools.changesNothing(() => readIndex(tools.index, ["a", "none"]));
    assertEquals([found.id, found.erasedUs, found.records], ["u@db", 0, [text, ""]]);
    assertEquals(text, textOf({ ver: VER }));
    assertBetween(found.nowUs, nowUs, nowUs + 5_000_000);
  });

  it("replies no id that has no seal, and asks in parts for keys of any number", async () => {
    await stack.raw("SET", "tundra:default:id", "u@db");
    const keys = names(2500);
    await tools.setRecords({ [keys[2400]!]: { ver: VER } });
    const { id, records } = await readIndex(tools.index, keys);
    assertEquals([id, records.length, records[2400]], ["", 2500, textOf({ ver: VER })]);
    await readIndex(tools.index, []);
    assertEquals(await tools.bill(() => readIndex(tools.index, keys.slice(0, 1000))), { requests: 1, billable: 3 });
    assert((await tools.bill(() => readIndex(tools.index, []))).billable === 3);
  });
});
