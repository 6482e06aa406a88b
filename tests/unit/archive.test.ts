/** The archive format: what goes in comes out, on every runtime the same, or an error says why. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { Decoder } from "cbor-x/decode";
import { Encoder } from "cbor-x/encode";
import { sealContainer } from "../../src/archive/container.ts";
import type { Freezer } from "../../src/archive/freezer.ts";
import {
  type ArchiveRecord,
  checkFreezers,
  thawRecord as shippedThaw,
  type Tombstone,
} from "../../src/archive/record.ts";
import { TundraError } from "../../src/base/errors.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { freezeRecord, NAME, thawRecord } from "../support/records.ts";

const RECORD: ArchiveRecord = {
  key: "user:1",
  ver: "1764000000000001-0a1b2c3d",
  at: 1764000000000,
  exp: 1764003600123,
  dump: Uint8Array.from([0, 5, 104, 101, 108, 108, 111, 11, 0, 255, 128]),
};
const TEXT: ArchiveRecord = { ...RECORD, exp: 0, dump: new TextEncoder().encode("tundra ".repeat(40)) };
const GONE: Tombstone = { key: "user:1", ver: RECORD.ver, at: RECORD.at, gone: true };
const flip: Freezer = {
  id: "flip",
  freeze: (bytes) => bytes.map((byte) => byte ^ 255),
  thaw: (bytes) => bytes.map((byte) => byte ^ 255),
};
const later: Freezer = {
  id: "later",
  freeze: async (bytes) => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    return Uint8Array.from([42, ...bytes]);
  },
  thaw: (bytes) => Promise.resolve(bytes.subarray(1)),
};

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

async function failure(promise: Promise<unknown>): Promise<TundraError> {
  return await assertRejects(() => promise, TundraError);
}

/** A container around any bytes, with a checksum that is right. */
async function sealed(fields: unknown, options = {}): Promise<Uint8Array> {
  const encoder = new Encoder({ tagUint8Array: false, variableMapSize: true, useRecords: false, ...options });
  return await sealContainer([], new Uint8Array(encoder.encode(fields)));
}

describe("an archive object", () => {
  it("holds the CBOR that cbor-x writes, and cbor-x reads it", async () => {
    const encoder = new Encoder({ tagUint8Array: false, variableMapSize: true, useRecords: false });
    const keys = [
      "",
      "a",
      "k".repeat(23),
      "k".repeat(24),
      "k".repeat(255),
      "ü".repeat(128),
      "k".repeat(70_000),
      "\ufeff\u{1f9ca}",
    ];
    const times = [0, 1, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 1_764_000_000_123, 2 ** 53 - 1];
    const sizes = [0, 1, 23, 24, 255, 256, 65_535, 65_536, 100_000];
    for (let i = 0; i < 100; i++) {
      const [key, ver, at] = [keys[i % 8]!, `${1e15 + i}-0a1b2c3d`, times[i % 12]!];
      const exp = times[(i * 5) % 12]!;
      const dump = new Uint8Array(sizes[i % 9]!).map((_, j) => i + j);
      const gone = i % 10 === 9;
      const record = gone ? { key, ver, at, gone: true as const } : { key, ver, at, exp, dump };
      const written = (await freezeRecord(record, [])).subarray(38);
      const theirs = new Uint8Array(encoder.encode({ v: 1, ...record }));
      assertEquals(
        hex(written) === hex(theirs),
        true,
        JSON.stringify({ i, key: key.length, at, exp, size: dump.length }),
      );
      const read = new Decoder({ mapsAsObjects: false, useRecords: false }).decode(written) as Map<string, unknown>;
      assertEquals([...read.keys()], ["v", ...Object.keys(record)]);
      assertEquals(await thawRecord(await freezeRecord(record, []), record, []), record);
    }
  });

  it("is the same bytes on every runtime", async () => {
    assertEquals(
      hex(await freezeRecord(RECORD, [])),
      "544e4452397a035d3e116a1febf156e4398d1bc5a818ecf66ef3c3d82ce47b3198b96f150100a6617601636b657966757365" +
        "723a31637665727819313736343030303030303030303030312d3061316232633364626174fb4279ab697e80000063657870" +
        "fb4279ab6ced6fb0006464756d704b000568656c6c6f0b00ff80",
    );
    assertEquals(
      hex(await freezeRecord(GONE, [])),
      "544e4452689dcac69174ca1edfb3a82a01b50e912e1fd42c32dab768b4e8c9a5599baa8c0100a5617601636b657966757365" +
        "723a31637665727819313736343030303030303030303030312d3061316232633364626174fb4279ab697e80000064676f6e" +
        "65f5",
    );
    assertEquals(
      hex(await freezeRecord(TEXT, checkFreezers(undefined))),
      "544e4452fb63e5a4fd1cb7fb0d98ffb6539e747fc9f8227f76bbd06d7524b2d380990cd80101076465666c61746501000001" +
        "5f5b9658c6989c9d5a99565a9c5a6465985c965a542169686e6662800086ba0689864946c9c629498925bf9d2a5767d63530" +
        "3024a7561430a4a494e61644324a9494e6a514252a8c52681400",
    );
  });

  it("gives back records and tombstones, whatever the freezers", async () => {
    for (const freezers of [[], [flip], [deflateFreezer()], [deflateFreezer({ level: 9 }), later, flip]]) {
      for (const record of [RECORD, TEXT, GONE, { ...RECORD, dump: new Uint8Array(0) }]) {
        assertEquals(await thawRecord(await freezeRecord(record, freezers), record, freezers), record);
      }
    }
  });

  it("gives back dumps of every length class and random bytes", async () => {
    const seed = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);
    console.log(`TUNDRA_SEED=${seed}`);
    let state = seed;
    const byte = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 24;
    for (const length of [1, 23, 24, 255, 256, 65535, 65536, 70_001]) {
      const record = { ...RECORD, dump: Uint8Array.from({ length }, byte) };
      for (const freezers of [[], [deflateFreezer()]]) {
        assertEquals(await thawRecord(await freezeRecord(record, freezers), record, freezers), record);
      }
    }
  });

  it("gives back keys of any Unicode text and length", async () => {
    for (
      const key of [
        "",
        "__proto__",
        "é".repeat(13),
        "\uFEFF" + "x".repeat(100),
        "🐧".repeat(70),
        "k".repeat(32768),
        "\0",
      ]
    ) {
      const record = { ...RECORD, key };
      assertEquals(await thawRecord(await freezeRecord(record, []), record, []), record);
    }
  });

  it("holds copies: changing an input or an output changes nothing else", async () => {
    const dump = Uint8Array.from([1, 2, 3]);
    const bytes = await freezeRecord({ ...RECORD, dump }, []);
    dump[0] = 9;
    const thawed = await thawRecord(bytes, RECORD, []) as ArchiveRecord;
    bytes.fill(0);
    assertEquals(thawed.dump, Uint8Array.from([1, 2, 3]));
    assertEquals(thawed.dump.buffer.byteLength, 3);
  });

  it("leaves no memory taken: the encoder's buffer does not stay as large as its largest record", async () => {
    const record = { ...RECORD, dump: new Uint8Array(3_000_000) };
    assertEquals(await thawRecord(await freezeRecord(record, []), record, []), record);
    const { buffer } = new Encoder({}).encode("all encoders share one buffer");
    assertEquals(buffer.byteLength <= 65_536, true, String(buffer.byteLength));
    const text = { ...RECORD, key: "k".repeat(300) };
    assertEquals(await thawRecord(await freezeRecord(text, []), text, []), text);
  });

  it("needs no permission: neither to read the environment nor to load an addon", () => {
    const program = fileURLToPath(new URL("../support/freeze_record.ts", import.meta.url));
    const deno = process.versions.deno ? process.execPath : "deno";
    const run = spawnSync(deno, ["run", "--no-prompt", "--quiet", program], { encoding: "utf8" });
    assertEquals([run.stdout.trim(), run.status], ["1000", 0], run.stderr);
  });

  it("refuses to freeze what could not be thawed", async () => {
    for (const wrong of [{ key: "\ud800" }, { at: -1 }, { at: 1.5 }, { exp: NaN }, { exp: Infinity }]) {
      assertEquals((await failure(freezeRecord({ ...RECORD, ...wrong }, []))).code, "BAD_ARGUMENT");
    }
  });
});

describe("a damaged archive object", () => {
  const kinds: [string, ArchiveRecord | Tombstone, readonly Freezer[]][] = [
    ["plain", RECORD, []],
    ["tombstone", GONE, [deflateFreezer()]],
    ["deflated", TEXT, [deflateFreezer()]],
    ["chained", RECORD, [deflateFreezer(), flip]],
  ];
  for (const [name, record, freezers] of kinds) {
    it(`is CORRUPT with any single bit flipped (${name})`, async () => {
      const bytes = await freezeRecord(record, freezers);
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const damaged = new Uint8Array(bytes);
        damaged[bit >> 3]! ^= 1 << (bit & 7);
        assertEquals([bit, (await failure(thawRecord(damaged, record, freezers))).code], [bit, "CORRUPT"]);
      }
    });

    it(`is CORRUPT with any end or beginning missing, or more of it (${name})`, async () => {
      const bytes = await freezeRecord(record, freezers);
      for (let length = 0; length < bytes.length; length++) {
        assertEquals((await failure(thawRecord(bytes.subarray(0, length), record, freezers))).code, "CORRUPT");
        assertEquals((await failure(thawRecord(bytes.subarray(length + 1), record, freezers))).code, "CORRUPT");
      }
      assertEquals((await failure(thawRecord(Uint8Array.from([...bytes, 0]), record, freezers))).code, "CORRUPT");
    });
  }

  it("is found out before a freezer sees it", async () => {
    let thawed = 0;
    const counting: Freezer = { id: "count", freeze: (bytes) => bytes, thaw: (bytes) => (thawed++, bytes) };
    const bytes = await freezeRecord(RECORD, [counting]);
    bytes[bytes.length - 1]! ^= 1;
    assertEquals((await failure(thawRecord(bytes, RECORD, [counting]))).code, "CORRUPT");
    assertEquals(thawed, 0);
  });

  it("names the key and says what is wrong", async () => {
    const error = await failure(thawRecord(new Uint8Array(100), RECORD, []));
    assertStringIncludes(error.message, 'Cannot thaw "user:1" as its archive object must');
    assertEquals(error.retryable, false);
  });
});

describe("an intact archive object", () => {
  it("of another key or version is CORRUPT, never a wrong value", async () => {
    for (const record of [RECORD, GONE]) {
      const bytes = await freezeRecord(record, []);
      assertEquals((await failure(thawRecord(bytes, { ...record, key: "user:2" }, []))).code, "CORRUPT");
      assertEquals((await failure(thawRecord(bytes, { ...record, ver: "1" }, []))).code, "CORRUPT");
    }
  });

  it("of an unknown format or record version is UNSUPPORTED", async () => {
    const bytes = await freezeRecord(RECORD, []);
    bytes[36] = 2;
    bytes.set(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice(36))), 4);
    const format = await failure(thawRecord(bytes, RECORD, []));
    assertEquals(format.code, "UNSUPPORTED");
    assertStringIncludes(format.message, "must have archive format 1: current value is 2");
    const version = await failure(thawRecord(await sealed({ v: 3, ...RECORD }), RECORD, []));
    assertEquals(version.code, "UNSUPPORTED");
    assertStringIncludes(version.message, "must have record version 2: current value is 3");
    // whatever else such a record holds
    for (const rest of [{ list: [[1], { a: new Date(0) }] }, { big: 2n ** 80n }, { more: null }]) {
      const other = await failure(thawRecord(await sealed({ v: 300, ...rest }), RECORD, []));
      assertEquals([other.code, other.keys], ["UNSUPPORTED", ["user:1"]]);
      assertStringIncludes(other.message, "current value is 300");
    }
  });

  it("is CORRUPT if it holds anything but a record in its one form", async () => {
    const good = { v: 1, ...RECORD };
    assertEquals(await thawRecord(await sealed(good), RECORD, []), RECORD);
    const { key, ver, at, exp, dump } = RECORD;
    const wrong: [string, unknown, object?][] = [
      ["nothing", null],
      ["a list", [good]],
      ["a number", 7],
      ["no version", { key, ver, at, exp, dump }],
      ["a wrong version", { ...good, v: "1" }],
      ["version 0", { ...good, v: 0 }],
      ["a missing field", { v: 1, key, ver, at, exp }],
      ["another field", { ...good, more: 1 }],
      ["another order", { v: 1, ver, key, at, exp, dump }],
      ["a record that is gone", { ...good, gone: true }],
      ["a tombstone that is not gone", { v: 1, key, ver, at, gone: false }],
      ["a dump of text", { ...good, dump: "hello" }],
      ["a dump that is an array", { ...good, dump: [1] }],
      ["a tagged dump", good, { tagUint8Array: true }],
      ["a negative time", { ...good, at: -1 }],
      ["a broken time", { ...good, at: 0.5 }],
      ["an endless time", { ...good, exp: Infinity }],
      ["a date", { ...good, at: new Date(0) }],
      ["a large integer", { ...good, at: 2n ** 60n }],
      ["a map that is longer than needed", good, { variableMapSize: false }],
      ["a prototype", { ...good, ["__proto__"]: { polluted: true } }],
    ];
    for (const [name, fields, options] of wrong) {
      const error = await failure(thawRecord(await sealed(fields, options), RECORD, []));
      assertEquals([name, error.code], [name, "CORRUPT"]);
    }
    assertEquals(({} as { polluted?: boolean }).polluted, undefined);
  });

  it("is CORRUPT, quickly and in little memory, if its CBOR is hostile", async () => {
    const hostile: Record<string, number[]> = {
      "a map of 4 billion": [0xba, 0xff, 0xff, 0xff, 0xff],
      "an array of 4 billion": [0x9a, 0xff, 0xff, 0xff, 0xff, 1],
      "bytes that are not there": [0x5a, 0x7f, 0xff, 0xff, 0xff],
      "a text that is not there": [0x7b, 0, 0, 0, 1, 0, 0, 0, 0],
      "nesting without end": new Array(200_000).fill(0x81),
      "an unending map": [0xbf, 0x61, 0x76, 1],
      "a record definition": [0xd9, 0xdf, 0xff, 0x83, 0x19, 0xe0, 0, 0x81, 0x61, 0x76, 1],
      "nothing": [],
      "two values": [0xa0, 0xa0],
    };
    for (const [name, bytes] of Object.entries(hostile)) {
      const error = await failure(thawRecord(await sealContainer([], Uint8Array.from(bytes)), RECORD, []));
      assertEquals([name, error.code], [name, "CORRUPT"]);
    }
    assertEquals(await thawRecord(await freezeRecord(RECORD, []), RECORD, []), RECORD); // nothing is left behind
  });

  it("is CORRUPT if its list of freezers is malformed", async () => {
    for (const list of [[1], [1, 0], [1, 200, 65], [1, 1, 0x20], [255]]) {
      const bytes = Uint8Array.from([...new Array(36).fill(0), 1, ...list]);
      bytes.set([0x54, 0x4e, 0x44, 0x52]);
      bytes.set(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice(36))), 4);
      assertEquals((await failure(thawRecord(bytes, RECORD, [flip]))).code, "CORRUPT");
    }
  });
});

describe("freezers", () => {
  it("freeze in order, thaw in reverse, and are found by their ids", async () => {
    const log: string[] = [];
    const logged = (freezer: Freezer): Freezer => ({
      id: freezer.id,
      freeze: (bytes, object) => (log.push(`freeze ${freezer.id}`), freezer.freeze(bytes, object)),
      thaw: (bytes, object) => (log.push(`thaw ${freezer.id}`), freezer.thaw(bytes, object)),
    });
    const bytes = await freezeRecord(RECORD, [logged(later), logged(flip)]);
    const other: Freezer = { id: "other", freeze: (bytes) => bytes, thaw: (bytes) => bytes };
    assertEquals(await thawRecord(bytes, RECORD, [logged(flip), other, logged(later)]), RECORD);
    assertEquals(log, ["freeze later", "freeze flip", "thaw flip", "thaw later"]);
  });

  it("of yesterday thaw today; one that is not configured is UNSUPPORTED and named", async () => {
    assertEquals(await thawRecord(await freezeRecord(RECORD, []), RECORD, [flip]), RECORD);
    const bytes = await freezeRecord(RECORD, [flip, deflateFreezer()]);
    assertEquals(await thawRecord(bytes, RECORD, [deflateFreezer(), flip]), RECORD);
    const error = await failure(thawRecord(bytes, RECORD, [deflateFreezer()]));
    assertEquals(error.code, "UNSUPPORTED");
    assertStringIncludes(error.message, '"flip"');
  });

  it("are told the object's name, both ways, each of them", async () => {
    const told: unknown[] = [];
    const curious = (id: string): Freezer => ({
      id,
      freeze: (bytes, object) => (told.push([id, "freeze", { ...object }]), bytes),
      thaw: (bytes, object) => (told.push([id, "thaw", { ...object }]), bytes),
    });
    const freezers = [curious("a"), curious("b")];
    await thawRecord(await freezeRecord(RECORD, freezers), RECORD, freezers);
    const object = { name: NAME };
    assertEquals(told, [["a", "freeze", object], ["b", "freeze", object], ["b", "thaw", object], [
      "a",
      "thaw",
      object,
    ]]);
  });

  it("that bind the name as associated data thaw an object under its own name only", async () => {
    const bound: Freezer = {
      id: "bound",
      freeze: (bytes, { name }) => Uint8Array.of(name.length, ...bytes),
      thaw: (bytes, { name }) => {
        if (bytes[0] !== name.length) throw new TundraError("CORRUPT", "Cannot decrypt");
        return bytes.subarray(1);
      },
    };
    const bytes = await freezeRecord(RECORD, [bound]);
    assertEquals(await thawRecord(bytes, RECORD, [bound]), RECORD);
    assertEquals((await failure(shippedThaw(bytes, RECORD, NAME + "0", [bound]))).code, "CORRUPT");
  });

  it("may work in place: neither the object nor what another call thaws from it changes", async () => {
    const inPlace = (bytes: Uint8Array) => {
      for (let i = 0; i < bytes.length; i++) bytes[i]! ^= 255;
      return Promise.resolve(bytes);
    };
    for (const others of [[], [deflateFreezer()], [deflateFreezer({ level: 0 }), later]]) {
      const freezers = [...others, { id: "in-place", freeze: inPlace, thaw: inPlace }];
      const record = { ...TEXT, dump: TEXT.dump.slice() };
      const bytes = await freezeRecord(record, freezers);
      assertEquals(record, TEXT);
      const before = hex(bytes);
      for (let i = 0; i < 2; i++) {
        const all = await Promise.all(Array.from({ length: 5 }, () => thawRecord(bytes, TEXT, freezers)));
        assertEquals(all, Array(5).fill(TEXT));
      }
      assertEquals(hex(bytes), before);
    }
  });

  it("that throw are trouble that passes; a TundraError passes with its own code and `retryable`; never CORRUPT by itself", async () => {
    const frozen = await freezeRecord(RECORD, [{ ...flip, id: "broken" }]);
    const plain = new RangeError("no such luck");
    const thrown: [cause: unknown, code: string, retryable: boolean, reason: string][] = [
      [plain, "UNAVAILABLE", true, "no such luck"],
      ["a text", "UNAVAILABLE", true, "a text"],
      [undefined, "UNAVAILABLE", true, "undefined"],
      [new TundraError("UNAVAILABLE", "Cannot ask"), "UNAVAILABLE", true, "Cannot ask"],
      [new TundraError("UNAVAILABLE", "Cannot ask", { retryable: false }), "UNAVAILABLE", false, "Cannot ask"],
      [new TundraError("UNSUPPORTED", "Cannot at all"), "UNSUPPORTED", false, "Cannot at all"],
      [new TundraError("TOO_LARGE", "Cannot now", { retryable: true }), "TOO_LARGE", true, "Cannot now"],
      [new TundraError("CORRUPT", "Cannot decrypt"), "CORRUPT", false, "Cannot decrypt"],
    ];
    for (const [cause, code, retryable, reason] of thrown) {
      const fails = [
        () => {
          throw cause;
        },
        () => Promise.reject(cause),
        async () => {
          await new Promise((resolve) => setTimeout(resolve, 1));
          throw cause;
        },
      ];
      for (const fail of fails) {
        const broken: Freezer = { id: "broken", freeze: fail, thaw: fail };
        const freezing = await failure(freezeRecord(RECORD, [broken]));
        const thawing = await failure(thawRecord(frozen, RECORD, [broken]));
        for (const [what, error] of [["freeze", freezing], ["thaw", thawing]] as const) {
          assertEquals([error.code, error.retryable, error.cause, error.keys], [code, retryable, cause, ["user:1"]]);
          assertEquals(error.message, `Cannot ${what} "user:1" as freezer "broken" must accept it: ${reason}`);
        }
      }
    }
    assertEquals(await thawRecord(frozen, RECORD, [{ ...flip, id: "broken" }]), RECORD);
  });

  it("that return anything but bytes are found out, and are no damage", async () => {
    const text = { ...flip, freeze: () => "text", thaw: () => "text" } as unknown as Freezer;
    assertEquals((await failure(freezeRecord(RECORD, [text]))).code, "UNSUPPORTED");
    assertEquals((await failure(thawRecord(await freezeRecord(RECORD, [flip]), RECORD, [text]))).code, "UNSUPPORTED");
  });

  it("are checked: deflate by default, null for none, ids well-formed and unique", () => {
    assertEquals(checkFreezers(undefined).map(({ id }) => id), ["deflate"]);
    assertEquals(checkFreezers(null), []);
    assertEquals(checkFreezers([]), []);
    assertEquals(checkFreezers(flip), [flip]);
    assertEquals(checkFreezers([flip, later]), [flip, later]);
    const given = [flip];
    const checked = checkFreezers(given);
    given.push(later);
    assertEquals(checked, [flip]);
    const wrong: unknown[] = [
      7,
      "deflate",
      {},
      [null],
      [undefined],
      { id: "x", freeze: flip.freeze },
      { ...flip, id: "" },
      { ...flip, id: "a b" },
      { ...flip, id: "x".repeat(33) },
      { ...flip, id: undefined },
      [flip, { ...later, id: "flip" }],
      Array.from({ length: 17 }, (_, i) => ({ ...flip, id: `f${i}` })),
    ];
    for (const freezer of wrong) {
      let thrown: unknown;
      try {
        checkFreezers(freezer as Freezer);
      } catch (error) {
        thrown = error;
      }
      assertEquals((thrown as TundraError | undefined)?.code, "BAD_ARGUMENT");
    }
  });
});
