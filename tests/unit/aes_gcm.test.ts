/** Encryption: frames, keys, and what is tampered with. */
import { describe, it } from "node:test";
import { inspect } from "node:util";
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { recordOf, thawBlock } from "../../src/archive/block.ts";
import type { Freezer } from "../../src/archive/freezer.ts";
import { directoryPlace, freezePack, thawDirectory } from "../../src/archive/pack.ts";
import { freezeRecord, thawRecord } from "../../src/archive/record.ts";
import { TundraError } from "../../src/base/errors.ts";
import { aesGcmFreezer } from "../../src/encryption/mod.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { checkFrames, checkWycheproof, encrypted, masterKey } from "../support/encryption.ts";
import { tundraError } from "../support/fixtures.ts";
import { sleep } from "../support/waiting.ts";

const NAME = "default/user.3A1/1764000000000001-0a1b2c3d";
const PACK = "default/~packs/1764000000000001-0a1b2c3d";
const VER = "1764000000000001-0a1b2c3d";
const object = { name: NAME };
const bytes = new TextEncoder().encode("a value");

function record(key: string, length = 300) {
  const dump = Uint8Array.from({ length }, (_, i) => (i * 7919 + key.length) >> 3);
  return { key, ver: VER, at: 1, index: "i", prev: "", exp: 0, dump };
}

/** The container with its checksum made anew, as somebody does who wants to deceive. */
async function resealed(container: Uint8Array): Promise<Uint8Array> {
  const forged = new Uint8Array(container);
  forged.set(new Uint8Array(await crypto.subtle.digest("SHA-256", forged.slice(36))), 4);
  return forged;
}

function flipped(container: Uint8Array, at: number, bit = 1): Uint8Array {
  const changed = new Uint8Array(container);
  changed[at]! ^= bit;
  return changed;
}

async function codeOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
    return "nothing";
  } catch (error) {
    return error instanceof TundraError ? error.code : String(error);
  }
}

describe("aesGcmFreezer", () => {
  it("makes and reads the frames that another implementation makes", async () => {
    assertEquals(await checkFrames(), 4);
  });

  it("calls HKDF-SHA-256 and AES-256-GCM as Wycheproof's vectors want", async () => {
    assertEquals(await checkWycheproof(), 34);
  });

  it("gives back what it froze, 82 bytes and the id longer; each time under another key", async () => {
    const freezer = aesGcmFreezer({ keys: { k1: masterKey(1) }, current: "k1" });
    for (const length of [0, 1, 15, 16, 17, 70_000]) {
      const plain = Uint8Array.from({ length }, (_, i) => i * i >> 3);
      const [one, two] = [await freezer.freeze(plain, object), await freezer.freeze(plain, object)];
      assertEquals(one.length, length + 84);
      assertNotEquals(one.slice(4, 36), two.slice(4, 36), "the salt is another one");
      assertNotEquals(one.slice(36, 68), two.slice(36, 68), "and so the commitment");
      assertNotEquals(one.slice(68), two.slice(68));
      assertEquals([await freezer.thaw(one, object), await freezer.thaw(two, object)], [plain, plain]);
    }
  });

  it("keeps copies of the keys: what the application does with its own changes nothing", async () => {
    const key = masterKey(1);
    const freezer = aesGcmFreezer({ keys: { a: key }, current: "a" });
    key.fill(0);
    const frozen = await freezer.freeze(bytes, object);
    const other = aesGcmFreezer({ keys: { a: masterKey(1) }, current: "a" });
    assertEquals(await other.thaw(frozen, object), bytes);
  });

  it("shows no secret: not by JSON, not by inspect, not in an error", async () => {
    const secret = Uint8Array.from({ length: 32 }, (_, i) => 200 + i);
    const freezer = aesGcmFreezer({ keys: { a: secret }, current: "a", keyFor: () => "a" });
    await freezer.freeze(bytes, object);
    const wrong = aesGcmFreezer({ keys: { a: masterKey(9) }, current: "a" });
    const error = await tundraError("UNSUPPORTED", async () => wrong.thaw(await freezer.freeze(bytes, object), object));
    const bad = await tundraError(
      "BAD_ARGUMENT",
      () => aesGcmFreezer({ keys: { a: secret.slice(0, 31) }, current: "a" }),
    );
    const text = await tundraError(
      "BAD_ARGUMENT",
      () => aesGcmFreezer({ keys: { a: "hunter2hunter2" as never }, current: "a" }),
    );
    assertStringIncludes(bad.message, "31 bytes");
    for (const thing of [freezer, wrong, error, bad, text]) {
      const shown = JSON.stringify(thing) + inspect(thing, { depth: 20, showHidden: true });
      assert(!/200,|201, ?202|c8c9ca|hunter2/i.test(shown), shown);
    }
    assertEquals(JSON.stringify(wrong), '{"id":"aes-gcm","required":true}');
  });

  for (
    const [options, message] of [
      [{}, "keys must be an object of keys by their ids, or a function: current value is"],
      [{ keys: { a: masterKey(1) } }, "current must be the id of one of the keys"],
      [{ keys: { a: masterKey(1) }, current: "b" }, 'current must be the id of one of the keys: current value is "b"'],
      [{ keys: { a: masterKey(1) }, current: "toString" }, "current must be the id of one of the keys"],
      [{ keys: { "ü": masterKey(1) }, current: "ü" }, "a key id must be 1 to 64 characters"],
      [{ keys: { a: masterKey(1) }, current: "a", keyfor: 1 }, "an option must be one of keys, current"],
      [{ keys: { a: masterKey(1) }, current: "a", keyFor: "a" }, "keyFor must be a function"],
      [{ keys: { a: masterKey(1) }, current: "a", acceptPlain: 1 }, "acceptPlain must be true or false"],
      [{ keys: { a: masterKey(1) }, current: "a", keyTtlMs: -1 }, "keyTtlMs must be a whole number"],
    ] as const
  ) {
    it(`refuses options: ${message}`, async () => {
      const error = await tundraError("BAD_ARGUMENT", () => aesGcmFreezer(options as never));
      assertStringIncludes(error.message, `Cannot make an AES-GCM freezer as ${message}`);
    });
  }
});

describe("an encrypted object", () => {
  const freezers = encrypted();

  it("is CORRUPT if any byte is changed; if the checksum is forged as well, no byte passes", async () => {
    const key = "user:1";
    const container = await freezeRecord(record(key), NAME, freezers);
    const thaw = (forged: Uint8Array) => thawRecord(forged, { key, ver: VER }, NAME, freezers);
    assertEquals((await thaw(container)).key, key);
    const frame = 38 + 8 + 8; // ids: deflate, aes-gcm
    const codes = new Set<string>();
    for (let at = 0; at < container.length; at++) {
      const changed = flipped(container, at, 1 << (at % 8));
      assertEquals(await codeOf(() => thaw(changed)), "CORRUPT", `byte ${at}`);
      if (at < 36) continue;
      const code = await codeOf(async () => thaw(await resealed(changed)));
      // format, id, salt and commitment: as if another key had encrypted it
      if (at >= frame + 3 + 64) assertEquals(code, "CORRUPT", `byte ${at}`);
      else assert(code === "CORRUPT" || code === "UNSUPPORTED", `byte ${at}: ${code}`);
      codes.add(code);
    }
    assertEquals([...codes].sort(), ["CORRUPT", "UNSUPPORTED"]);
    for (const end of [37, 46, frame, frame + 2, frame + 40, frame + 67, frame + 82, container.length - 1]) {
      assertEquals(await codeOf(async () => thaw(await resealed(container.subarray(0, end)))), "CORRUPT", `end ${end}`);
    }
  });

  it("is CORRUPT under another name, also if the checksum is right: it was moved or swapped", async () => {
    const container = await freezeRecord(record("user:1"), NAME, freezers);
    for (const name of [NAME.replace("0001-", "0002-"), NAME.replace("user", "usar"), NAME + "d", "x" + NAME]) {
      const error = await tundraError(
        "CORRUPT",
        () => thawRecord(container, { key: "user:1", ver: VER }, name, freezers),
      );
      assertStringIncludes(error.message, "encrypted under this object's name");
    }
  });

  it("is UNSUPPORTED with the wrong key, without the key, and without the freezer; the id is named", async () => {
    const container = await freezeRecord(record("user:1"), NAME, freezers);
    for (
      const [others, message] of [
        [encrypted({ keys: { a: masterKey(2) } }), 'the key "a" must be the one that encrypted: it is another'],
        [encrypted({ keys: { b: masterKey(1) }, current: "b" }), 'the key "a" must be among the keys: it is not'],
        [encrypted({ keys: () => undefined }), 'the key "a" must be among the keys: it is not'],
        [[deflateFreezer()], '"aes-gcm" is not among them'],
      ] as const
    ) {
      const error = await tundraError(
        "UNSUPPORTED",
        () => thawRecord(container, { key: "user:1", ver: VER }, NAME, others),
      );
      assertStringIncludes(error.message, message);
      assertEquals([error.keys, error.retryable], [["user:1"], false]);
    }
  });

  it("is UNSUPPORTED if it is not encrypted at all, as it may be forged; unless acceptPlain says otherwise", async () => {
    const plain = await freezeRecord(record("user:1"), NAME, [deflateFreezer()]);
    const thaw = (by: Freezer[]) => thawRecord(plain, { key: "user:1", ver: VER }, NAME, by);
    const error = await tundraError("UNSUPPORTED", () => thaw(freezers));
    assertStringIncludes(error.message, 'must be made by freezer "aes-gcm": it is not');
    assertEquals((await thaw(encrypted({ acceptPlain: true }))).key, "user:1");
  });

  it("thaws with the key of its id, whichever is current now", async () => {
    const container = await freezeRecord(record("user:1"), NAME, freezers);
    const later = encrypted({ keys: { a: masterKey(1), b: masterKey(2) }, current: "b" });
    assertEquals((await thawRecord(container, { key: "user:1", ver: VER }, NAME, later)).key, "user:1");
  });
});

describe("an encrypted pack", () => {
  const freezers = encrypted();
  const keys = Array.from({ length: 300 }, (_, i) => `key:${String(i).padStart(3, "0")}`);
  const make = (name = PACK, by = freezers, some = keys) =>
    freezePack(some.map((key) => record(key)), name, by, Infinity, "index");

  it("is CORRUPT block by block if any byte is changed, and so is its directory", async () => {
    const pack = await make(PACK, freezers, keys.slice(0, 3));
    const [{ offset, length }] = pack.entries as [typeof pack.entries[0]];
    const block = pack.bytes.slice(offset, offset + length);
    const place = directoryPlace(pack.bytes, PACK);
    const directory = pack.bytes.slice(place.offset, place.offset + place.length);
    for (
      const [what, container, thaw] of [
        [
          "block",
          block,
          async (changed: Uint8Array) =>
            recordOf(await thawBlock(changed, PACK, freezers, keys), { key: keys[0]!, ver: VER }),
        ],
        ["directory", directory, (changed: Uint8Array) => thawDirectory(changed, PACK, freezers)],
      ] as const
    ) {
      await thaw(container);
      for (let at = 0; at < container.length; at++) {
        assertEquals(await codeOf(() => thaw(flipped(container, at))), "CORRUPT", `${what}, byte ${at}`);
        if (at < 36) continue;
        const code = await codeOf(async () => thaw(await resealed(flipped(container, at))));
        assert(code === "CORRUPT" || code === "UNSUPPORTED", `${what}, byte ${at}: ${code}`);
      }
      assertEquals(await codeOf(() => thaw(what === "block" ? directory : block)), "CORRUPT", `${what} swapped`);
    }
  });

  it("is CORRUPT where two of its blocks are swapped, or one comes from another pack", async () => {
    const pack = await make();
    const blocks = [...new Map(pack.entries.map((entry) => [entry.offset, entry])).values()];
    assert(blocks.length > 2);
    const [one, two] = blocks as [typeof blocks[0], typeof blocks[0]];
    const bytesOf = ({ offset, length }: typeof one) => pack.bytes.slice(offset, offset + length);
    // the name is the same for both: what tells them apart are the key and the version inside, which are authentic
    const swapped = await thawBlock(bytesOf(two), PACK, freezers, [one.key]);
    const error = await tundraError("CORRUPT", () => Promise.resolve(recordOf(swapped, { key: one.key, ver: VER })));
    assertStringIncludes(error.message, "must hold its version");
    await tundraError("CORRUPT", () => thawBlock(bytesOf(one), PACK.replace("0001-", "0002-"), freezers, [one.key]));
  });

  it("has blocks with keys of one key id each, and a directory under the current one", async () => {
    const tenants = encrypted({
      keys: { a: masterKey(1), "tenant:0": masterKey(2), "tenant:1": masterKey(3) },
      keyFor: (key) => key < "key:200" ? `tenant:${Number(key.at(-1)) % 2}` : undefined,
    });
    const pack = await make(PACK, tenants);
    assertEquals(pack.entries.map(({ key }) => key), keys);
    const ids = new Map<number, Set<string>>();
    for (const { key, offset } of pack.entries) {
      ids.set(offset, (ids.get(offset) ?? new Set()).add(key < "key:200" ? `tenant:${Number(key.at(-1)) % 2}` : "a"));
    }
    for (const [offset, of] of ids) {
      assertEquals(of.size, 1);
      const at = offset + 38 + 16;
      assertEquals(
        new TextDecoder().decode(pack.bytes.subarray(at + 2, at + 2 + pack.bytes[at + 1]!)),
        [...of][0],
      );
    }
    const { offset, length } = directoryPlace(pack.bytes, PACK);
    const only = encrypted();
    assertEquals((await thawDirectory(pack.bytes.slice(offset, offset + length), PACK, only)).entries.length, 300);
  });
});

describe("a key that a function gives", () => {
  /** A freezer whose key service counts its calls. */
  function service(act: (id: string) => unknown, options: object = {}) {
    const calls: string[] = [];
    const keys = (id: string) => {
      calls.push(id);
      return act(id) as Promise<Uint8Array>;
    };
    return { calls, freezer: aesGcmFreezer({ keys, current: "a", ...options }) };
  }

  it("is asked for once, however many units want it at once, and again after keyTtlMs", async () => {
    for (const [ttl, more] of [[undefined, 0], [30, 1], [0, 1]] as const) {
      const { calls, freezer } = service(
        () => sleep(5).then(() => masterKey(1)),
        ttl === undefined ? {} : { keyTtlMs: ttl },
      );
      const frozen = await Promise.all(Array.from({ length: 20 }, () => freezer.freeze(bytes, object)));
      assertEquals(calls.length, 1);
      await sleep(50);
      assertEquals(await freezer.thaw(frozen[0]!, object), bytes);
      assertEquals(calls.length, 1 + more);
    }
  });

  it("may stand beside given ones, by its id", async () => {
    let calls = 0;
    const keys = { a: masterKey(1), b: () => (calls++, Promise.resolve(masterKey(2))) };
    const freezer = aesGcmFreezer({ keys, current: "b" });
    const frozen = await freezer.freeze(bytes, object);
    const given = aesGcmFreezer({ keys: { b: masterKey(2) }, current: "b" });
    assertEquals([await given.thaw(frozen, object), calls], [bytes, 1]);
  });

  it("that is not given is UNAVAILABLE, and is asked for again by the next call", async () => {
    let down = true;
    const { calls, freezer } = service(() => {
      if (down) throw new Error("token=hunter2 was refused");
      return masterKey(1);
    });
    const error = await tundraError("UNAVAILABLE", () => freezer.freeze(bytes, object));
    assertEquals(error.message, 'Cannot encrypt as the function for the key "a" must answer: it has failed');
    assertEquals([error.retryable, (error.cause as Error).message], [true, "token=hunter2 was refused"]);
    down = false;
    await freezer.freeze(bytes, object);
    assertEquals(calls.length, 2);
  });

  it("that takes too long is UNAVAILABLE", async () => {
    const { freezer } = service(() => new Promise(() => {}), { keyTimeoutMs: 20 });
    const error = await tundraError("UNAVAILABLE", () => freezer.freeze(bytes, object));
    assertStringIncludes(error.message, "it has not within 20 ms");
  });

  it("that has not 32 bytes, or does not exist, is UNSUPPORTED: no key dies of it while the service learns", async () => {
    for (const answer of [new Uint8Array(16), "text", null, undefined]) {
      const { freezer } = service(() => answer);
      const error = await tundraError("UNSUPPORTED", () => freezer.freeze(bytes, object));
      assertEquals(error.retryable, true);
      assertStringIncludes(error.message, '"a"');
    }
  });

  it("is kept in bounded number", async () => {
    const { calls, freezer } = service(() => masterKey(1), { keyFor: (key: string) => key });
    const freeze = (i: number) => freezer.freeze(bytes, { name: NAME, group: `t${i}` });
    for (let i = 0; i < 1001; i++) await freeze(i);
    assertEquals(calls.length, 1001);
    await freeze(1000);
    await freeze(1);
    assertEquals(calls.length, 1001, "the last ones are kept");
    await freeze(0);
    assertEquals(calls.length, 1002, "the first one is not");
  });
});
