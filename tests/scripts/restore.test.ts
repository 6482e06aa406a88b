import { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assert, assertAlmostEquals, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { check } from "../../src/scripts/check.ts";
import { evict } from "../../src/scripts/evict.ts";
import { restore, type Thawed } from "../../src/scripts/restore.ts";
import { encodePayload, payloadBytes } from "../../src/upstash/payload.ts";
import { OLD_VER, withIndex } from "../support/index.ts";
import { seededRandom } from "../support/random.ts";
import { withStack } from "../support/stack.ts";

const NEWER = "1700000000000001-00000000";

describe("encodePayload", () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);

  it("makes a text that JSON carries without a single escape", () => {
    assertEquals(JSON.stringify(encodePayload(all)), `"${encodePayload(all)}"`);
    assertEquals(new Set(encodePayload(all)).size, 256);
  });

  it("says how many bytes that takes in a request", () => {
    for (const dump of [new Uint8Array(), new Uint8Array([97, 98, 99]), all, new Uint8Array([...all, ...all, 120])]) {
      assertEquals(payloadBytes(dump), new TextEncoder().encode(encodePayload(dump)).length);
    }
  });
});

describe("restore", () => {
  const stack = withStack();
  const { raw } = stack;
  const tools = withIndex(stack);

  beforeEach(async () => {
    await stack.flush();
    await stack.confirmId("an-id");
  });

  /** Makes an evicted key, and what restores it. */
  async function thawed(key: string, value: string, more: { exp?: number; ver?: string } = {}): Promise<Thawed> {
    const { record, dump } = await tools.evicted(key, value, more);
    const { exp = 0, ver = OLD_VER } = more;
    return { key, expected: record, ver, exp, payload: encodePayload(dump) };
  }

  /** Removes the key and its idle entry; returns the arguments that restore it. */
  async function takeAway(key: string): Promise<Thawed & { dump: Buffer }> {
    const dump = await raw("DUMP", key) as Buffer;
    const exp = Math.max(0, await tools.expiry(key));
    const fp = await tools.fingerprint(key);
    const expected = await tools.writeRecord(key, { ver: OLD_VER, fp, exp, flag: "e", touch: 5 });
    await raw("DEL", key);
    return { key, expected, ver: OLD_VER, exp, payload: encodePayload(dump), dump };
  }

  it("brings the value back: resident, in use, idle, counted", async () => {
    const one = await thawed("a", "1");
    const before = await tools.readRecord("a");
    assertEquals(await restore(tools.index, [one]), ["restored"]);
    const after = await tools.readRecord("a");
    assertAlmostEquals(after.touch, await tools.nowMs(), 2000);
    assertEquals(after, { ...before, flag: "r", touch: after.touch, kb: 1 });
    assertEquals(String(await raw("GET", "a")), "1");
    assertEquals(await tools.expiry("a"), -1);
    assertEquals(await tools.score("idle", "a"), String(after.touch));
    assertEquals(await tools.score("dirty", "a"), undefined);
    assertEquals(String(await raw("HGET", "tundra:default:stats", "restored")), "1");
  });

  it("brings back what another client removed without a call of Tundra", async () => {
    const one = await thawed("a", "1");
    const expected = await tools.writeRecord("a", { ...await tools.readRecord("a"), flag: "r" });
    assertEquals(await restore(tools.index, [{ ...one, expected }]), ["restored"]);
    assertEquals(String(await raw("GET", "a")), "1");
  });

  it("writes the version that it brought back, which may be newer than the one that the record named", async () => {
    const one = await thawed("a", "1");
    const exp = await tools.nowMs() + 90_000;
    assertEquals(await restore(tools.index, [{ ...one, ver: NEWER, exp }]), ["restored"]);
    const { ver, exp: own } = await tools.readRecord("a");
    assertEquals([ver, own, await tools.expiry("a")], [NEWER, exp, exp]);
  });

  describe("carries every byte:", () => {
    it("all 256 values, in every pair", async () => {
      const pairs = new Uint8Array(2 * 65_536);
      for (let i = 0; i < 65_536; i++) pairs.set([i >> 8, i & 255], 2 * i);
      await raw("CONFIG", "SET", "rdbcompression", "no");
      await raw("SET", "a", pairs);
      const one = await takeAway("a");
      assert(one.dump.includes(Buffer.from(pairs)), "stored as it is");
      assertEquals(await restore(tools.index, [one]), ["restored"]);
      assertEquals(Buffer.compare(await raw("GET", "a") as Buffer, Buffer.from(pairs)), 0);
      await raw("CONFIG", "SET", "rdbcompression", "yes");
    });

    it("random values of each type have the same DUMP afterwards, in one batch", async () => {
      const random = seededRandom("restore");
      const bytes = () => random.bytes(random.int(random.pick([3, 60, 3000])));
      const some = <T>(make: () => T) => Array.from({ length: 1 + random.int(12) }, make);
      const all: (Thawed & { dump: Buffer })[] = [];
      for (let i = 0; i < 120; i++) {
        const key = `${i} ${random.text(12)}`;
        const write = [
          () => raw("SET", key, bytes()),
          () => raw("RPUSH", key, ...some(bytes)),
          () => raw("HSET", key, ...some(() => [bytes().slice(0, 64), bytes().slice(0, 64)]).flat()), // larger: no order
          () => raw("SADD", key, ...some(() => random.int(2 ** 31))),
          () => raw("ZADD", key, ...some(() => [random.pick(["-inf", "-0", "1e-300", "inf", "17.5"]), bytes()]).flat()),
          () => raw("XADD", key, `${1 + random.int(99)}-${random.int(99)}`, bytes(), bytes()),
          () => raw("PFADD", key, ...some(bytes)),
          () => raw("SETBIT", key, random.int(5000), 1),
        ][i % 8]!;
        await write();
        if (random.int(3) === 0) await raw("PEXPIRE", key, 100_000 + random.int(100_000));
        all.push(await takeAway(key));
      }
      assertEquals(await restore(tools.index, all), all.map(() => "restored"));
      for (const { key, dump, exp } of all) {
        const replay = `seed ${random.seed}, key ${JSON.stringify(key)}`;
        assertEquals((await raw("DUMP", key) as Buffer).toString("hex"), dump.toString("hex"), replay);
        assertEquals(Math.max(0, await tools.expiry(key)), exp, replay);
      }
    });

    it("a large hash and a large set have all their members, and can be evicted again at once", async () => {
      const members = Array.from({ length: 5000 }, (_, i) => `member ${i}`);
      await raw("HSET", "hash", ...members.flatMap((member, i) => [member, i]));
      await raw("SADD", "set", ...members);
      const read = async () => {
        const fields = (await raw("HGETALL", "hash") as Buffer[]).map(String);
        const pairs = fields.flatMap((field, i) => i % 2 ? [] : [`${field}=${fields[i + 1]}`]);
        return [pairs.sort(), (await raw("SMEMBERS", "set") as Buffer[]).map(String).sort()];
      };
      const before = await read();
      const both = [await takeAway("hash"), await takeAway("set")];
      assertEquals(await restore(tools.index, both), ["restored", "restored"]);
      assertEquals(await read(), before);
      for (const key of ["hash", "set"]) {
        assertEquals((await tools.readRecord(key)).fp, await tools.fingerprint(key)); // RESTORE may order them anew
      }
      const candidates = both.map(({ key }) => ({ key, action: "evict" as const, ver: "" }));
      assertEquals((await evict(tools.index, candidates, undefined)).outcomes, ["evicted", "evicted"]);
    });
  });

  describe("of a key with its own expiry", () => {
    it("sets it to the millisecond, and the record has no TTL: it goes with the key's objects", async () => {
      const exp = await tools.nowMs() + 123_457;
      const one = await thawed("a", "1", { exp });
      await raw("PEXPIREAT", "tundra:default:rec:a", exp + 1);
      assertEquals(await restore(tools.index, [one]), ["restored"]);
      assertEquals(await tools.expiry("a"), exp);
      assertEquals(await tools.expiry("tundra:default:rec:a"), -1);
      assertEquals((await tools.readRecord("a")).exp, exp);
    });

    it("never restores what is past it", async () => {
      const one = await thawed("a", "1", { exp: await tools.nowMs() + 100_000 });
      const exp = await tools.nowMs();
      const expected = await tools.writeRecord("a", { ...await tools.readRecord("a"), exp });
      const before = await tools.everything();
      assertEquals(await restore(tools.index, [{ ...one, expected, exp }]), ["expired"]);
      assertEquals(await tools.everything(), before);
    });
  });

  describe("changes nothing", () => {
    it("if the key is there: resident, or to be looked at again if its record says evicted", async () => {
      const resident = await thawed("resident", "1");
      await tools.clean("resident", "2", { exp: await tools.nowMs() + 100_000 });
      const evicted = await thawed("evicted", "1");
      await raw("SET", "evicted", "2");
      const unmarked = await thawed("unmarked", "1");
      await raw("DEL", "tundra:default:rec:unmarked");
      await raw("SET", "unmarked", "2");
      const before = await tools.everything();
      assertEquals(await restore(tools.index, [resident, evicted, unmarked]), ["resident", "again", "resident"]);
      assertEquals(await tools.everything(), before);
    });

    it("if the record moved on: another version, a mark, a removal, none, another layout", async () => {
      const all: Thawed[] = [];
      for (const key of ["version", "mark", "removal", "none", "layout"]) all.push(await thawed(key, "1"));
      await tools.writeRecord("version", { ...await tools.readRecord("version"), ver: NEWER });
      await tools.writeRecord("mark", { ...await tools.readRecord("mark"), rev: 7, flag: "r" });
      await tools.writeRecord("removal", { ...await tools.readRecord("removal"), rev: 7, flag: "g" });
      await raw("DEL", "tundra:default:rec:none");
      await raw("SET", "tundra:default:rec:layout", "2 whatever");
      all[4]!.expected = "2 whatever";
      const before = await tools.everything();
      assertEquals(await restore(tools.index, all), ["again", "again", "again", "again", "again"]);
      assertEquals(await tools.everything(), before);
    });

    it("on a Redis that is full: the call rejects, the keys stay evicted", async () => {
      const one = await thawed("a", "1");
      await raw("SET", "large", "x".repeat(200_000));
      const before = await tools.everything();
      await raw("CONFIG", "SET", "maxmemory", "100kb");
      try {
        const error = await assertRejects(() => restore(tools.index, [one]), TundraError);
        assertEquals(error.code, "UNAVAILABLE");
        assertMatch(error.message, /OOM/);
      } finally {
        await raw("CONFIG", "SET", "maxmemory", "0");
      }
      assertEquals(await tools.everything(), before);
    });
  });

  describe("of a payload that Redis refuses", () => {
    for (const own of [false, true]) {
      it(`is that key's result only, and leaves ${own ? "an expiring" : "its"} record as it was`, async () => {
        const exp = own ? await tools.nowMs() + 100_000 : 0;
        const bad = await thawed("bad", "1", { exp });
        const before = await tools.everything();
        const damaged = { ...bad, payload: bad.payload.slice(0, -1) + (bad.payload.endsWith("x") ? "y" : "x") };
        const good = await thawed("good", "2");
        const [refused, ...others] = await restore(tools.index, [damaged, good]);
        assert(typeof refused === "object");
        assertMatch(refused.refused, /DUMP payload version or checksum are wrong/);
        assertEquals(others, ["restored"]);
        assertEquals(String(await raw("GET", "good")), "2");
        const after = await tools.everything();
        assertEquals(after["tundra:default:rec:bad"], before["tundra:default:rec:bad"]);
        assertEquals([after.bad, await tools.score("idle", "bad")], [undefined, undefined]);
        assertEquals(String(await raw("HGET", "tundra:default:stats", "restored")), "1");
        assertEquals((await check(tools.index, ["bad"])).findings.map(({ needs }) => needs), ["evicted"]);
        assertEquals(await restore(tools.index, [bad]), ["restored"]);
      });
    }

    it("counts nothing if it was the only one", async () => {
      const bad = await thawed("bad", "1");
      const before = await tools.everything();
      const [refused] = await restore(tools.index, [{ ...bad, payload: "" }]);
      assert(typeof refused === "object");
      assertEquals(await tools.everything(), before);
    });
  });

  describe("as a late copy", () => {
    const restored = async () => {
      const one = await thawed("a", "1");
      const { value, again } = await tools.copied(() => restore(tools.index, [one]));
      assertEquals(value, ["restored"]);
      return again;
    };

    const cases: Record<string, () => Promise<unknown>> = {
      "right after it": () => Promise.resolve(),
      "after a write": () => raw("SET", "a", "new"),
      "after a removal behind our back": () => raw("DEL", "a"),
      "after a removal that was marked": async () => {
        await raw("DEL", "a");
        await tools.writeRecord("a", { ...await tools.readRecord("a"), flag: "g", rev: 7 });
      },
      "after the record of the removal expired": () => raw("DEL", "a", "tundra:default:rec:a"),
      "after the same version was evicted once more": async () => {
        await raw("DEL", "a");
        await tools.writeRecord("a", { ...await tools.readRecord("a"), flag: "e" });
      },
      "after a newer version was evicted": () => tools.evicted("a", "new", { ver: NEWER }),
    };
    for (const [when, act] of Object.entries(cases)) {
      it(`${when} does nothing`, async () => {
        const again = await restored();
        await act();
        const before = await tools.everything();
        await again();
        assertEquals(await tools.everything(), before);
      });
    }
  });

  it("writes the record, then the value, then the record again, then the idle ones", async () => {
    const one = await thawed("a", "1");
    const two = await thawed("b", "1", { exp: await tools.nowMs() + 100_000 });
    await restore(tools.index, [await thawed("c", "1")]);
    assertEquals(await tools.scripted(() => restore(tools.index, [one, two])), [
      "TIME",
      "MGET tundra:default:rec:a",
      "EXISTS a",
      "MSET tundra:default:rec:a",
      "RESTORE a",
      "DUMP a",
      "RESTORE b",
      "DUMP b",
      "MSET tundra:default:rec:a",
      "ZADD tundra:default:idle",
      "HINCRBY tundra:default:stats",
    ]);
  });

  it("costs 1 request, 2 commands a key and 8, own expiries or not", async () => {
    const make = async (own: number) => {
      const all: Thawed[] = [];
      const exp = await tools.nowMs() + 100_000;
      for (let i = 0; i < 100; i++) all.push(await thawed(`k${i}`, "1", i < own ? { exp } : {}));
      return all;
    };
    await restore(tools.index, [await thawed("other", "1")]);
    let all = await make(0);
    assertEquals(await tools.bill(() => restore(tools.index, all)), { requests: 1, billable: 208 });
    await raw("DEL", ...all.map(({ key }) => key));
    all = await make(40);
    assertEquals(await tools.bill(() => restore(tools.index, all)), { requests: 1, billable: 208 });
  });
});
