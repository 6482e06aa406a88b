import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { dropTemporary, putTemporary } from "../../src/scripts/put_temporary.ts";
import { encodePayload } from "../../src/upstash/payload.ts";
import { withIndex, writesOf } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

const NAME = "tundra:default:tmp:x";

describe("put_temporary", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);
  let payload: string;

  beforeEach(async () => {
    await stack.flush();
    await raw("HSET", "source", "field", "value");
    payload = encodePayload(new Uint8Array(await raw("DUMP", "source") as Uint8Array));
    await raw("DEL", "source");
  });

  const put = (exp = 0, ttlMs = 60_000) => putTemporary(tools.index, NAME, { ttlMs, exp, payload });

  it("puts the value for a while", async () => {
    assertEquals(await put(), "there");
    assertEquals((await raw("HGETALL", NAME) as unknown[]).map(String), ["field", "value"]);
    assertAlmostEquals(await tools.expiry(NAME), await tools.nowMs() + 60_000, 2000);
  });

  it("lets it go at its own expiry, if that comes first", async () => {
    const soon = await tools.nowMs() + 5_000;
    assertEquals(await put(soon), "there");
    assertEquals(await tools.expiry(NAME), soon);
    assertEquals(await put(soon + 1e6), "there");
    assertAlmostEquals(await tools.expiry(NAME), await tools.nowMs() + 60_000, 2000);
  });

  it("never shows what is past its own expiry", async () => {
    assertEquals(await tools.changesNothing(async () => put(await tools.nowMs())), "expired");
  });

  it("says what Redis refuses, and puts nothing", async () => {
    payload = payload.slice(0, -1) + "x";
    const refused = await tools.changesNothing(() => put());
    assert(typeof refused === "object");
    assertMatch(refused.refused, /payload version or checksum/);
  });

  it("as a late copy makes a key that goes by itself", async () => {
    const { again } = await tools.copied(() => put());
    assertEquals(await dropTemporary(tools.connection, NAME), true);
    assertEquals([await raw("EXISTS", NAME), await dropTemporary(tools.connection, NAME)], [0, false]);
    await again();
    assertAlmostEquals(await tools.expiry(NAME), await tools.nowMs() + 60_000, 2000);
    await again(); // it may be there already
  });

  it("writes that key alone, and costs 1 request and 3 commands, its removal 1 and 1", async () => {
    await put();
    assertEquals(writesOf(await tools.scripted(() => put())), ["RESTORE"]);
    assertEquals(await tools.bill(() => put()), { requests: 1, billable: 3 });
    assertEquals(await tools.bill(() => dropTemporary(tools.connection, NAME)), { requests: 1, billable: 1 });
  });
});
