import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { commit } from "../../src/scripts/commit.ts";
import { restoreVersion, type Revival, type RevivalOutcome } from "../../src/scripts/restore_version.ts";
import { encodePayload } from "../../src/upstash/payload.ts";
import { OLD_VER, type RecordFields, withIndex, writesOf } from "../support/index.ts";
import { withStack } from "../support/stack.ts";

const TOMBSTONE = "1700000000000009-00000000d";

describe("restore_version", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);
  let payload: string;

  beforeEach(async () => {
    await stack.flush();
    await stack.confirmId("an-id");
    await raw("SET", "source", "an older value");
    payload = encodePayload(new Uint8Array(await raw("DUMP", "source") as Uint8Array));
    await raw("DEL", "source");
  });

  function revival(key: string, expected: string, more: Partial<Revival> = {}): Revival {
    return {
      key,
      expected,
      note: `RESTORED ${OLD_VER} 0000000a`,
      exp: 0,
      expired: false,
      fresh: false,
      dryRun: false,
      payload,
      ...more,
    };
  }

  const run = async (one: Revival) => (await restoreVersion(tools.index, one)).outcome;
  const value = async (key: string) => String(await raw("GET", key));

  /** Each state that may be replaced; the record's text. */
  const REPLACEABLE: Record<string, (key: string) => Promise<string>> = {
    "a clean key": (key) => tools.clean(key, "present"),
    "an evicted key": async (key) => (await tools.evicted(key, "present")).record,
    "an eviction half undone": (key) => tools.clean(key, "present", { flag: "e" }),
    "a key that Redis removed by itself": async (key) => {
      const record = await tools.clean(key, "present");
      await raw("DEL", key);
      return record;
    },
    "a removed key": (key) => tools.writeRecord(key, { ver: TOMBSTONE, flag: "g" }),
    "a key that went missing": (key) => tools.writeRecord(key, { ver: TOMBSTONE, flag: "m" }),
    "an unknown key": () => Promise.resolve(""),
  };

  for (const [what, make] of Object.entries(REPLACEABLE)) {
    it(`restores to ${what}: marked as a change, queued, in use, counted as not evicted any more`, async () => {
      const expected = await make("k");
      await raw("HSET", "tundra:default:stats", "evicted", 1, "restored", 0, "left", 0);
      assertEquals(await run(revival("k", expected)), { expMs: 0 });
      assertEquals(await value("k"), "an older value");
      const now = await tools.nowMs();
      const record = await tools.readRecord("k");
      assertAlmostEquals(record.rev, now * 1000, 2e6);
      assertAlmostEquals(record.touch, now, 2000);
      assertAlmostEquals(Number(await tools.score("dirty", "k")), now, 2000);
      assertEquals([record.flag, record.rescues, record.error], ["r", 0, `RESTORED ${OLD_VER} 0000000a`]);
      assertEquals(record.ver, expected === "" ? "-" : expected.split(" ")[2]);
      assertEquals(await tools.expiry("tundra:default:rec:k"), -1);
      const { left } = await tools.stats();
      assertEquals(left, /evict/.test(what) ? "1" : "0");
    });
  }

  it("keeps the value's own expiry to the millisecond", async () => {
    const exp = await tools.nowMs() + 123_457;
    assertEquals(await run(revival("k", await tools.clean("k", "present"), { exp })), { expMs: exp });
    assertEquals(await tools.expiry("k"), exp);
  });

  it("refuses what is past its own expiry, unless told: then it has none", async () => {
    const exp = await tools.nowMs() - 1;
    const record = await tools.clean("k", "present");
    assertEquals(await tools.changesNothing(() => run(revival("k", record, { exp }))), "expired");
    assertEquals(await run(revival("k", record, { exp, expired: true })), { expMs: 0 });
    assertEquals([await value("k"), await tools.expiry("k")], ["an older value", -1]);
  });

  it("keeps one that has not passed, told or not", async () => {
    const exp = await tools.nowMs() + 100_000;
    assertEquals(await run(revival("k", "", { exp, expired: true })), { expMs: exp });
    assertEquals(await tools.expiry("k"), exp);
  });

  /** Each state that must not be replaced, and the outcome; the record's text. */
  const KEPT: Record<string, [outcome: RevivalOutcome, make: (key: string) => Promise<string>]> = {
    "a dirty key": ["dirty", (key) => tools.clean(key, "present", { rev: 7 })],
    "a removal that is not archived yet": [
      "dirty",
      (key) => tools.writeRecord(key, { rev: 7, flag: "g", ver: OLD_VER }),
    ],
    "a key that was never archived": ["unmarked", async (key) => (await raw("SET", key, "present"), "")],
    "a key that was written without a mark": ["unmarked", async (key) => {
      const record = await tools.clean(key, "present");
      await raw("SET", key, "changed");
      return record;
    }],
    "a key that was given another expiry without a mark": ["unmarked", async (key) => {
      const record = await tools.clean(key, "present");
      await raw("PEXPIREAT", key, await tools.nowMs() + 100_000);
      return record;
    }],
    "a removed key that was made anew without a mark": ["unmarked", async (key) => {
      await raw("SET", key, "anew");
      return await tools.writeRecord(key, { ver: TOMBSTONE, flag: "g" });
    }],
    "an expired key that was made anew without a mark": ["unmarked", async (key) => {
      await tools.evicted(key, "present", { exp: await tools.nowMs() + 100_000 });
      const exp = await tools.nowMs() - 1000;
      await raw("SET", key, "anew");
      return await tools.writeRecord(key, { ...await tools.readRecord(key), exp });
    }],
    "a key that was written while evicted": ["blind write", async (key) => {
      const { record } = await tools.evicted(key, "present");
      await raw("SET", key, "partial");
      return record;
    }],
  };

  for (const [what, [outcome, make]] of Object.entries(KEPT)) {
    it(`never replaces ${what}: ${outcome}`, async () => {
      const expected = await make("k");
      assertEquals(await tools.changesNothing(() => run(revival("k", expected))), outcome);
      const moved = await tools.changesNothing(() => run(revival("k", expected + " ")));
      assertEquals(moved, "again");
    });
  }

  describe("to a key that must hold nothing", () => {
    it("is refused if there is one, or one that is evicted", async () => {
      const clean = await tools.clean("clean", "present");
      const { record } = await tools.evicted("evicted", "present");
      await raw("SET", "unknown", "present");
      for (const [key, expected] of [["clean", clean], ["evicted", record], ["unknown", ""]]) {
        const one = revival(key!, expected!, { fresh: true });
        assertEquals(await tools.changesNothing(() => run(one)), "occupied", key);
      }
    });

    it("is done if there is none, or if it was removed or has expired", async () => {
      const removed = await tools.writeRecord("removed", { ver: TOMBSTONE, flag: "g" });
      await tools.evicted("expired", "present");
      const exp = await tools.nowMs() - 1000;
      const expired = await tools.writeRecord("expired", { ...await tools.readRecord("expired"), exp });
      for (const [key, expected] of [["none", ""], ["removed", removed], ["expired", expired]]) {
        assertEquals(await run(revival(key!, expected!, { fresh: true })), { expMs: 0 }, key);
        assertEquals(await value(key!), "an older value");
      }
    });
  });

  it("as a dry run answers the same and writes nothing", async () => {
    const record = await tools.clean("k", "present");
    assertEquals(await tools.changesNothing(() => run(revival("k", record, { dryRun: true }))), { expMs: 0 });
    await raw("SET", "k", "changed");
    assertEquals(await tools.changesNothing(() => run(revival("k", record, { dryRun: true }))), "unmarked");
  });

  it("is refused without a confirmed id of this database", async () => {
    const record = await tools.clean("k", "present");
    for (const id of ["", "an-id@elsewhere.example", stack.id("new:an-id")]) {
      if (id === "") await raw("DEL", "tundra:default:id");
      else await raw("SET", "tundra:default:id", id);
      assertEquals(await tools.changesNothing(() => restoreVersion(tools.index, revival("k", record))), {
        id,
        outcome: "no index",
      });
    }
  });

  it("leaves a record of another version alone", async () => {
    await raw("SET", "tundra:default:rec:k", "3 whatever");
    assertEquals(await tools.changesNothing(() => run(revival("k", "3 whatever"))), "unsupported");
  });

  it("of a payload that Redis refuses changes nothing", async () => {
    const record = await tools.clean("k", "present");
    const outcome = await tools.changesNothing(() =>
      run(revival("k", record, { payload: payload.slice(0, -1) + "x" }))
    );
    assert(typeof outcome === "object" && "refused" in outcome);
    assertMatch(outcome.refused, /payload version or checksum/);
  });

  it("spares the objects of a key that had expired, and lets those go that were removed on purpose", async () => {
    const exp = await tools.nowMs() - 1000;
    const fields: Partial<RecordFields> = { ver: TOMBSTONE, old: OLD_VER };
    await run(revival("expired", await tools.writeRecord("expired", { ...fields, flag: "m", exp })));
    await run(revival("removed", await tools.writeRecord("removed", { ...fields, flag: "g" })));
    assertEquals([(await tools.readRecord("expired")).old, (await tools.readRecord("removed")).old], ["-", OLD_VER]);
  });

  describe("as a late copy", () => {
    const cases: Record<string, () => Promise<unknown>> = {
      "right after it": () => Promise.resolve(),
      "after a write": () => raw("SET", "k", "new"),
      "after a write that was marked": async () => {
        await raw("SET", "k", "new");
        await tools.writeRecord("k", { ...await tools.readRecord("k"), rev: 2_000_000_000_000_000 });
      },
      "after it was archived and changed": async () => {
        const { rev } = await tools.readRecord("k");
        const token = `${await tools.nowMs() + 60_000}.5`;
        await tools.setScores("dirty", { k: token });
        const archived = { key: "k", rev, ver: TOMBSTONE.slice(0, -1), fp: await tools.fingerprint("k"), exp: 0 };
        const options = { token, leaseMs: 60_000, freezeDelayMs: 0 };
        assertEquals(await commit(tools.index, [{ ...archived, bytes: 1, kb: 1 }], options), ["clean"]);
      },
      "after a removal": async () => {
        await raw("DEL", "k");
        await tools.writeRecord("k", { ...await tools.readRecord("k"), flag: "g", rev: 2_000_000_000_000_000 });
      },
    };
    for (const [what, make] of Object.entries(REPLACEABLE)) {
      for (const [when, act] of Object.entries(cases)) {
        it(`${when} of ${what} does nothing`, async () => {
          const one = revival("k", await make("k"));
          const { value: outcome, again } = await tools.copied(() => run(one));
          assertEquals(outcome, { expMs: 0 });
          await act();
          const before = await tools.everything();
          await again();
          assertEquals(await tools.everything(), before);
        });
      }
    }

    it("or as the client's own retry is answered as the first one was", async () => {
      const one = revival("k", await tools.clean("k", "present"));
      await run(one);
      assertEquals(await run(one), { expMs: 0 });
      assertEquals(await run({ ...one, note: "another" }), "again");
    });
  });

  it("writes the value, then the record, then the queue; costs 1 request and 7 to 9 commands", async () => {
    const one = revival("k", (await tools.evicted("k", "present")).record);
    await run(revival("other", ""));
    const lines = await tools.scripted(() => run(one));
    assertEquals(writesOf(lines), ["RESTORE", "MSET", "ZADD", "HINCRBY"]);
    assertEquals(await tools.bill(async () => run(revival("a", await tools.clean("a", "present")))), {
      requests: 1,
      billable: 8,
    });
    assertEquals(await tools.bill(() => run(revival("b", ""))), { requests: 1, billable: 7 });
  });
});
