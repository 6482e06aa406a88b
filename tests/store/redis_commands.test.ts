/** Commands that Redis runs on keys that Tundra knows: what they do, row by row of docs/redis-commands.md. */
import { readFileSync } from "node:fs";
import { beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { TundraError, type TundraErrorCode, type TundraStore } from "../../mod.ts";
import { withArchive } from "../support/fixtures.ts";
import { HOUR_MS } from "../support/times.ts";

const page = readFileSync(new URL("../../docs/redis-commands.md", import.meta.url), "utf8");

/** The first column of the table under a heading, without backquotes. */
function rowsUnder(heading: string): string[] {
  const section = page.split(/^## /m).find((text) => text.startsWith(heading)) ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("|")).slice(2);
  return rows.map((row) => row.split("|")[1]!.replaceAll("`", "").trim());
}

describe("Redis' own commands", () => {
  const stack = withArchive();
  const { raw } = stack;
  beforeEach(() => stack.flush());

  /** `kept` archived and in Redis, `gone` archived and evicted. */
  async function twoKeys(): Promise<TundraStore> {
    const store = stack.store();
    await raw("MSET", "kept", "value of kept", "gone", "value of gone");
    await store.dirty("kept", "gone");
    await store.tick();
    assertEquals((await store.evict("gone")).evicted, ["gone"]);
    return store;
  }

  async function code(act: () => Promise<unknown>): Promise<TundraErrorCode> {
    return (await assertRejects(act, TundraError)).code;
  }

  /** Archives what is marked, evicts these keys, and brings them back; what they are then. */
  async function throughTheArchive(store: TundraStore, ...keys: string[]): Promise<(string | null)[]> {
    await store.tick();
    await store.evict(keys);
    assertEquals(await stack.exists(...keys), 0);
    await store.ensureKs(keys);
    return await Promise.all(keys.map((key) => stack.get(key)));
  }

  const moves: Record<string, (store: TundraStore) => Promise<void>> = {
    "RENAME of a resident key": async (store) => {
      await raw("RENAME", "kept", "new");
      await store.ensureKs("kept");
      assertEquals([await stack.get("kept"), await stack.get("new")], ["value of kept", "value of kept"]); // it came back

      const tx = store.redis.multi();
      tx.rename("kept", "newer");
      store.dirtyIn(tx, { missing: "del" }, "kept");
      store.dirtyIn(tx, { overwrite: true }, "newer");
      await tx.exec();
      assertEquals(await throughTheArchive(store, "newer"), ["value of kept"]);
      await store.ensureKs("kept");
      assertEquals(await stack.exists("kept"), 0);
    },
    "RENAME of an evicted key": async (store) => {
      await assertRejects(() => raw("RENAME", "gone", "new"), Error, "no such key");
      await store.ensureKs("gone");
      await raw("RENAME", "gone", "new");
      await store.dirty({ missing: "del" }, "gone");
      await store.dirty({ overwrite: true }, "new");
      assertEquals(await throughTheArchive(store, "new"), ["value of gone"]);
      await store.ensureKs("gone");
      assertEquals(await stack.exists("gone"), 0);
    },
    "RENAME onto an evicted key": async (store) => {
      await raw("RENAME", "kept", "gone");
      assertEquals(await code(() => store.dirty("gone")), "CONFLICT");
      await store.dirty({ missing: "del" }, "kept");
      await store.dirty({ overwrite: true }, "gone");
      assertEquals(await throughTheArchive(store, "gone"), ["value of kept"]);
    },
    "COPY of a resident key": async (store) => {
      await raw("COPY", "kept", "new");
      assertEquals([await stack.record("new"), (await store.status()).dirty], [undefined, 0]);
      await store.dirty({ overwrite: true }, "new");
      assertEquals(await throughTheArchive(store, "new", "kept"), ["value of kept", "value of kept"]);
    },
    "COPY of an evicted key": async (store) => {
      assertEquals([await raw("COPY", "gone", "new"), await stack.exists("new")], [0, 0]);
      await store.ensureKs("gone");
      assertEquals(await raw("COPY", "gone", "new"), 1);
    },
    "MOVE": async (store) => {
      assertEquals(await raw("MOVE", "gone", "1"), 0);
      assertEquals(await raw("MOVE", "kept", "1"), 1);
      await store.ensureKs("kept");
      assertEquals(await stack.get("kept"), "value of kept"); // now in both databases
      await raw("DEL", "kept");
      await store.del("kept");
      await store.ensureKs("kept");
      assertEquals(await stack.exists("kept"), 0);
    },
    "SWAPDB": async (store) => {
      await raw("SWAPDB", "0", "1");
      assertEquals(await code(() => store.ensureKs("kept")), "LOST");
      await raw("SWAPDB", "0", "1");
      await store.ensureKs("kept", "gone");
      assertEquals(await stack.get("gone"), "value of gone");
    },
    "FLUSHDB, FLUSHALL": async (store) => {
      await raw("FLUSHDB");
      const calls = [
        () => store.ensureKs("gone"),
        () => store.ensureKs("brand-new"),
        () => store.del("gone"),
        () => store.evict("kept"),
        () => store.tick(),
      ];
      for (const call of calls) assertEquals(await code(call), "LOST", String(call));
    },
    "RESTORE": async (store) => {
      const payload = await raw("DUMP", "kept") as Uint8Array;
      await assertRejects(() => raw("RESTORE", "kept", 0, payload), Error, "BUSYKEY");
      await raw("RESTORE", "gone", 0, payload); // another value than the archived one
      assertEquals(await code(() => store.ensureKs("gone")), "CONFLICT");
      assertEquals(await code(() => store.dirty("gone")), "CONFLICT");
      await store.dirty({ overwrite: true }, "gone");
      assertEquals(await throughTheArchive(store, "gone"), ["value of kept"]);
    },
    "RESTORE of the archived value": async (store) => {
      await store.ensureKs("gone");
      const payload = await raw("DUMP", "gone") as Uint8Array;
      await store.evict("gone");
      await raw("RESTORE", "gone", 0, payload);
      await store.ensureKs("gone"); // resident again
      assertEquals((await store.evict("gone")).evicted, ["gone"]);
    },
    "DEL, UNLINK": async (store) => {
      await raw("UNLINK", "kept");
      await store.ensureKs("kept");
      assertEquals(await stack.get("kept"), "value of kept"); // it came back
      await store.del("kept");
      await store.ensureKs("kept");
      assertEquals(await stack.exists("kept"), 0);
    },
    "EXPIRE, PERSIST of a resident key": async (store) => {
      const at = Math.floor(await stack.nowMs()) + HOUR_MS;
      await raw("PEXPIREAT", "kept", at);
      assertEquals((await store.evict("kept")).evicted, []); // noticed: it is marked instead
      assertEquals(await throughTheArchive(store, "kept"), ["value of kept"]);
      assertEquals(Number(await raw("PEXPIRETIME", "kept")), at);
    },
    "EXPIRE, PERSIST of an evicted key": async (store) => {
      assertEquals(await raw("EXPIRE", "gone", 100), 0);
      await store.ensureKs("gone");
      assertEquals([await raw("TTL", "gone"), await raw("EXPIRE", "gone", 100)], [-1, 1]);
      await store.dirty("gone");
      assertEquals(await throughTheArchive(store, "gone"), ["value of gone"]);
      assert(Number(await raw("TTL", "gone")) > 90);
    },
  };
  for (const [row, check] of Object.entries(moves)) {
    it(`${row}: as the page says`, async () => await check(await twoKeys()));
  }

  const blind: Record<string, () => Promise<void>> = {
    "EXISTS, TOUCH": async () => {
      assertEquals([await raw("EXISTS", "kept", "gone"), await raw("TOUCH", "kept", "gone")], [1, 1]);
    },
    "TTL, PTTL, EXPIRETIME, PEXPIRETIME": async () => {
      for (const command of ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"]) assertEquals(await raw(command, "gone"), -2);
    },
    "TYPE, DUMP, OBJECT, MEMORY USAGE": async () => {
      assertEquals(String(await raw("TYPE", "gone")), "none");
      assertEquals([await raw("DUMP", "gone"), await raw("MEMORY", "USAGE", "gone")], [null, null]);
      assertEquals(await raw("OBJECT", "ENCODING", "gone").catch(() => null), null);
    },
    "GET, MGET, HGETALL, LRANGE, ...": async () => {
      assertEquals([await raw("GET", "gone"), String(await raw("MGET", "kept", "gone"))], [null, "value of kept,"]);
      assertEquals([await raw("HGETALL", "gone"), await raw("LRANGE", "gone", 0, -1)], [[], []]);
    },
    "SUNION, ZUNION, SORT, PFCOUNT, BITOP, ...": async () => {
      await raw("SADD", "set", "member");
      assertEquals(String(await raw("SUNION", "set", "gone")), "member");
      assertEquals(await raw("BITOP", "OR", "out", "gone"), 0);
    },
    "KEYS, SCAN": async () => {
      const keys = (await raw("KEYS", "*") as Uint8Array[]).map(String);
      assert(keys.includes("kept") && !keys.includes("gone"), String(keys));
      assert(keys.includes("tundra:default:id") && keys.includes("tundra:default:rec:gone"), String(keys));
      const [, scanned] = await raw("SCAN", 0, "COUNT", 1000) as [unknown, Uint8Array[]];
      assertEquals(scanned.map(String).sort(), keys.sort());
    },
    "DBSIZE, RANDOMKEY": async () => {
      const keys = await raw("KEYS", "*") as Uint8Array[];
      assertEquals(await raw("DBSIZE"), keys.length);
      const own = keys.filter((key) => String(key).startsWith("tundra:"));
      assertEquals(keys.length, own.length + 1); // kept
      const seen = new Set<string>();
      for (let i = 0; i < 200; i++) seen.add(String(await raw("RANDOMKEY")));
      assert(!seen.has("gone") && [...seen].some((key) => key.startsWith("tundra:")), String([...seen]));
    },
  };
  for (const [row, check] of Object.entries(blind)) {
    it(`${row}: an evicted key is not there`, async () => {
      await twoKeys();
      await check();
    });
  }

  it("have a row on the page each, and no row is without a test", () => {
    assertEquals(rowsUnder("Commands that move, copy or remove keys"), Object.keys(moves));
    assertEquals(rowsUnder("Commands that do not see evicted keys"), Object.keys(blind));
  });

  it("one key under two tqnames: an older value comes back in silence, as the page warns", async () => {
    const [first, second] = [stack.store({ tqname: "first" }), stack.store({ tqname: "second" })];
    await raw("SET", "both", "old");
    for (const store of [first, second]) {
      await store.dirty("both");
      await store.tick();
    }
    await raw("SET", "both", "new");
    await first.dirty("both");
    await first.tick();
    assertEquals((await first.evict("both")).evicted, ["both"]);
    await second.ensureKs("both");
    assertEquals(await stack.get("both"), "old");
    assert(page.includes("One key belongs to one `tqname`"));
  });
});
