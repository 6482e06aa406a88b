/** stage, put_piece and restore_staged: the scripts of large values. */
import type { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { putPiece } from "../../src/scripts/put_piece.ts";
import { restoreStaged } from "../../src/scripts/restore_staged.ts";
import { readStaged, stage } from "../../src/scripts/stage.ts";
import { encodePayload } from "../../src/upstash/payload.ts";
import { sha1Hex } from "../../src/upstash/script.ts";
import { TundraError } from "../../mod.ts";
import { withIndex } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

const NAME = "tundra:default:tmp:x";
const DIRTY = "tundra:default:dirty";
const TOKEN = "1800000000000.5";

describe("the scripts of large values", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);
  let payload: Uint8Array<ArrayBuffer>;

  beforeEach(async () => {
    await stack.flush();
    await raw("SET", "k", "a value that is large to this test");
    await raw("ZADD", DIRTY, TOKEN, "k");
    payload = new Uint8Array(await raw("DUMP", "k") as Buffer);
  });

  const staged = (options: Partial<Parameters<typeof stage>[2]> = {}) =>
    stage(tools.index, "k", { token: TOKEN, name: NAME, ttlMs: 60_000, mostBytes: 1_000, ...options });

  it("stage puts the payload of this moment for a while, and says what it is", async () => {
    const { outcome, record, exp, bytes, sha1 } = await staged();
    assertEquals([outcome, record?.ver, exp], ["staged", "", 0]);
    assertEquals([bytes, sha1], [payload.length, await sha1Hex(payload)]);
    assertAlmostEquals(await tools.expiry(NAME), await tools.nowMs() + 60_000, 2000);
    const pieces = [[0, 7], [7, bytes - 7]] as const;
    const read = await Promise.all(
      pieces.map(([from, length]) => readStaged(tools.connection, { name: NAME, key: "k" }, from, length)),
    );
    assertEquals(read.flatMap((piece) => [...piece]), [...payload]);
  });

  it("stage does nothing without the lease, for a missing key, or above the most", async () => {
    assertEquals((await staged({ token: "1800000000001.5" })).outcome, "stale");
    assertEquals((await staged({ mostBytes: payload.length - 1 })).outcome, "too large");
    await raw("DEL", "k");
    assertEquals((await staged()).outcome, "missing");
    await raw("ZREM", DIRTY, "k");
    assertEquals((await staged()).outcome, "stale");
    assertEquals(await raw("EXISTS", NAME), 0);
  });

  it("stage never changes what is staged: a repeat says the same, after a change it is refused", async () => {
    const first = await staged();
    assertEquals(await staged(), first);
    await raw("SET", "k", "another value");
    assertEquals((await staged()).outcome, "other");
    assertEquals(new Uint8Array(await raw("GET", NAME) as Buffer), payload);
  });

  it("a piece that is not there any more is an error, and not fewer bytes", async () => {
    await staged();
    await raw("DEL", NAME);
    const read = () => readStaged(tools.connection, { name: NAME, key: "k" }, 0, 7);
    assertEquals((await assertRejects(read, TundraError)).code, "UNAVAILABLE");
  });

  const put = (from: number, to?: number) =>
    putPiece(tools.index, NAME, {
      ttlMs: 60_000,
      offset: from,
      payload: encodePayload(payload.subarray(from, to)),
    });

  it("put_piece makes the key with the first piece only, and each piece gives it its time", async () => {
    assertEquals([await put(7), await raw("EXISTS", NAME)], [false, 0]);
    assertEquals(await put(0, 7), true);
    await raw("PEXPIRE", NAME, 5_000);
    assertEquals(await put(7), true);
    assertAlmostEquals(await tools.expiry(NAME), await tools.nowMs() + 60_000, 2000);
    assertEquals([await put(7), await put(0, 7)], [true, true]); // repeats
    assertEquals(new Uint8Array(await raw("GET", NAME) as Buffer), payload);
  });

  it("put_piece as a late copy makes no key that stays", async () => {
    assertEquals([await put(7), await raw("EXISTS", NAME)], [false, 0]);
    await put(0, 7);
    assert(await tools.expiry(NAME) > 0);
  });

  /** An evicted key, and its record. */
  async function evicted(): Promise<string> {
    await raw("DEL", "k", DIRTY);
    const ver = "1700000000000000-0a1b2c3da";
    const record = `3 0 ${ver} e ${await sha1Hex(payload)} 0 1700000000000 0 - - - 0 1 `;
    await raw("SET", "tundra:default:rec:k", record);
    return record;
  }

  const restored = async (expected: string) => {
    const { length } = payload;
    const sha1 = await sha1Hex(payload);
    const thawed = { key: "k", expected, ver: "1700000000000000-0a1b2c3da", exp: 0, name: NAME, sha1 };
    return [await restoreStaged(tools.index, thawed), length] as const;
  };

  it("restore_staged brings back what all pieces are, and its temporary key goes", async () => {
    const record = await evicted();
    await put(0, 7);
    await put(7);
    assertEquals((await restored(record))[0], "restored");
    assertEquals(String(await raw("GET", "k")), "a value that is large to this test");
    assertEquals(await raw("EXISTS", NAME), 0);
    assertEquals((await restored(record))[0], "resident"); // a late copy
  });

  it("restore_staged brings nothing back with a piece missing or changed, or over another record", async () => {
    const record = await evicted();
    assertEquals((await restored(record))[0], "again");
    await put(0, 7);
    assertEquals((await restored(record))[0], "again");
    await put(7);
    await raw("SETRANGE", NAME, 3, "x");
    assertEquals((await restored(record))[0], "again");
    await raw("DEL", NAME);
    await put(0, 7);
    await put(7);
    assertEquals((await restored(record.replace(" 0 1 ", " 0 2 ")))[0], "again");
    assertEquals(await raw("EXISTS", "k"), 0);
  });
});
