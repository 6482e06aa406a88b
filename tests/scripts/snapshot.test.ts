import { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assertEquals, assertIsError, assertRejects } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { snapshot } from "../../src/scripts/snapshot.ts";
import { connect } from "../../src/upstash/connection.ts";
import { fakeFetch } from "../support/fake_fetch.ts";
import { OLD_VER, withIndex } from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";

const NONE = {
  rev: 0,
  ver: "",
  flag: "r" as const,
  fp: "",
  exp: 0,
  touch: 0,
  attempts: 0,
  old: "",
  rescues: 0,
  kb: 0,
  error: "",
};

describe("snapshot", () => {
  const stack = withStack({ upstash: { record: true } });
  const t = withIndex(stack);
  const keys = redisKeys("default");
  beforeEach(() => stack.flush());

  it("reads record, own expiry and bytes of each key, in order", async () => {
    const exp = await t.nowMs() + 3_600_000;
    await stack.raw("SET", "bytes", Uint8Array.from({ length: 256 }, (_, i) => i), "PXAT", exp);
    await stack.raw("RPUSH", "list", "a", "ä", "");
    await t.setRecords({
      bytes: {
        rev: 1,
        ver: OLD_VER,
        fp: "f0",
        exp: 7,
        touch: 8,
        attempts: 2,
        before: "1.5",
        after: "2.5",
        old: OLD_VER,
        rescues: 1,
        kb: 7,
        error: "A b c",
      },
      gone: { rev: 3, flag: "g" },
    });
    const views = await snapshot(t.connection, t.index, ["list", "bytes", "gone", "never"]);
    assertEquals(views.map(({ key, exp }) => [key, exp]), [["list", 0], ["bytes", exp], ["gone", 0], ["never", 0]]);
    assertEquals(views.map(({ record }) => record), [
      NONE,
      {
        rev: 1,
        ver: OLD_VER,
        flag: "r",
        fp: "f0",
        exp: 7,
        touch: 8,
        attempts: 2,
        old: OLD_VER,
        rescues: 1,
        kb: 7,
        error: "A b c",
      },
      { ...NONE, rev: 3, flag: "g" },
      NONE,
    ]);
    for (const { key, dump } of views.slice(0, 2)) assertEquals(Buffer.from(dump!), await stack.raw("DUMP", key));
    assertEquals(views.slice(2).map(({ dump }) => dump), [undefined, undefined]);
  });

  it("spoils the one key whose record is of another version", async () => {
    await t.setKeys("a", "b");
    await t.setRecords({ a: "2 of another version", b: { rev: 4 } });
    const [a, b] = await snapshot(t.connection, t.index, ["a", "b"]);
    assertEquals([a!.record, b!.record], [undefined, { ...NONE, rev: 4 }]);
    assertEquals([Buffer.from(a!.dump!), Buffer.from(b!.dump!)], [
      await stack.raw("DUMP", "a") as Buffer,
      await stack.raw("DUMP", "b") as Buffer,
    ]);
  });

  it("is one transaction, records first, and no script: 1 request, 2 commands a key and 3", async () => {
    await t.setKeys("a");
    assertEquals(await t.bill(() => snapshot(t.connection, t.index, ["a", "b"])), { requests: 1, billable: 7 });
    const { path, commands } = stack.server.log[0]!;
    assertEquals([path, commands], ["/multi-exec", [
      ["MGET", keys.record("a"), keys.record("b")],
      ["PEXPIRETIME", "a"],
      ["DUMP", "a"],
      ["PEXPIRETIME", "b"],
      ["DUMP", "b"],
    ]]);
  });

  it("changes nothing: no byte, no TTL", async () => {
    await stack.raw("SET", "a", "v", "PX", 60_000);
    await t.setKeys("b");
    await t.setRecords({ a: { rev: 3 } });
    await stack.raw("PEXPIRE", keys.record("a"), 60_000);
    await t.setScores("dirty", { a: "5.5" });
    const before = await t.everything();
    await snapshot(t.connection, t.index, ["a", "b", "c"]);
    assertEquals(await t.everything(), before);
  });

  it("reads 1,000 keys of any Unicode in one request, there and missing", async () => {
    const random = seededRandom("snapshot reads 1,000 keys of any Unicode in one request, there and missing");
    const all = ["", ...new Set(Array.from({ length: 999 }, (_, i) => `${i}:${random.text(10)}`))];
    const there = all.filter(() => random.int(2) === 0);
    await t.setKeys(...there);
    await t.setRecords(Object.fromEntries(all.map((key, i) => [key, { rev: i + 1 }])));
    let views: Awaited<ReturnType<typeof snapshot>> = [];
    const bill = await t.bill(async () => views = await snapshot(t.connection, t.index, all));
    assertEquals(bill, { requests: 1, billable: 2003 });
    assertEquals(views.map(({ key, record }) => [key, record!.rev]), all.map((key, i) => [key, i + 1]));
    assertEquals(views.filter(({ dump }) => dump !== undefined).map(({ key }) => key), there);
    const some = there.at(-1)!;
    assertEquals(
      Buffer.from(views.find(({ key }) => key === some)!.dump!),
      await stack.raw("DUMP", some) as Buffer,
    );
  });

  it("is TOO_LARGE if its reply is, so that fewer keys can be asked for", async () => {
    await stack.raw("SET", "a", seededRandom("snapshot is TOO_LARGE where its reply is").bytes(3000));
    await stack.raw("SET", "b", "small");
    const connection = connect({ ...stack.connection, maxReplyBytes: 3000 });
    const error = await assertRejects(() => snapshot(connection, t.index, ["a", "b"]));
    assertIsError(error, TundraError);
    assertEquals((error as TundraError).code, "TOO_LARGE");
    const [b] = await snapshot(connection, t.index, ["b"]);
    assertEquals(Buffer.from(b!.dump!), await stack.raw("DUMP", "b") as Buffer);
  });

  it("says of a key that could not be read why, and takes it for no missing one; without records it fails as a whole", async () => {
    for (const failing of [0, 1, 2]) {
      const replies = [{ result: [null, null] }, { result: -2 }, { result: null }, { result: -2 }, { result: null }];
      const { fetch } = fakeFetch(() =>
        replies.map((reply, i) => i === failing ? { error: "ERR out of luck" } : reply)
      );
      const connection = connect({ url: "https://db.example", token: "tok", fetch, retry: false });
      const read = () => snapshot(connection, t.index, ["a", "b"]);
      if (failing === 0) {
        const error = await assertRejects(read) as TundraError;
        assertEquals(error.code, "UNAVAILABLE");
        assertEquals(error.message, "Cannot read keys to archive as Redis refused it: ERR out of luck");
        continue;
      }
      const [a, b] = await read();
      assertEquals(a!.error!.message, 'Cannot read "a" as Redis refused it: ERR out of luck');
      assertEquals([b!.error, b!.dump, b!.exp], [undefined, undefined, 0]);
    }
  });
});
