/**
 * Packs, blocks, directories and places: what goes in comes out, on every runtime the same; damage is found where it
 * is.
 */
import { describe, it } from "node:test";
import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { freezeBlock, join, recordOf, thawBlock } from "../../src/archive/block.ts";
import { encodeMap, encodeRecord } from "../../src/archive/encoding.ts";
import type { Freezer } from "../../src/archive/freezer.ts";
import {
  directoryPlace,
  freezePack,
  type Pack,
  PACK_HEAD,
  type PackEntry,
  thawDirectory,
} from "../../src/archive/pack.ts";
import { holderName, placeOf, placeWord } from "../../src/archive/place.ts";
import { type ArchiveRecord, freezeRecord, thawRecord, type Tombstone } from "../../src/archive/record.ts";
import { seal } from "../../src/archive/seal.ts";
import { TundraError } from "../../src/base/errors.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";
import { seededRandom } from "../support/random.ts";

type AnyRecord = ArchiveRecord | Tombstone;

const VER = "1764000000000001-0a1b2c3d";
const NAME = `default/~packs/${VER}`;
const OTHER_VER = "1764000000000002-00000000";
const INDEX = "00000000-0000-4000-8000-000000000000@redis.example";
const deflate = [deflateFreezer()];

const flip: Freezer = {
  id: "flip",
  freeze: (bytes) => bytes.map((byte) => byte ^ 255),
  thaw: (bytes) => bytes.map((byte) => byte ^ 255),
};

const utf8 = new TextEncoder();
const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function value(key: string, dump: Uint8Array<ArrayBuffer>, ver = VER): ArchiveRecord {
  return { key, ver, at: 1764000000000, index: INDEX, prev: "", exp: 0, dump };
}

function tombstone(key: string, gone: Tombstone["gone"], ver = VER): Tombstone {
  return { key, ver, at: 1764000000000, index: INDEX, prev: "1763000000000000-0000000a", gone };
}

/** Records of about 300 bytes each, and two tombstones. */
function small(n: number, ver = VER): AnyRecord[] {
  const values = Array.from({ length: n }, (_, i) => value(`k:${i}`, utf8.encode(`value ${i} `.repeat(20)), ver));
  return [...values, tombstone("k:removed", true, ver), tombstone("k:missing", "inferred", ver)];
}

/** A pack, and the records in it. */
interface Made extends Pack {
  records: AnyRecord[];
}

async function made(records: AnyRecord[], freezers: readonly Freezer[], maxBytes: number, name = NAME): Promise<Made> {
  const pack = await freezePack(records, name, freezers, maxBytes, INDEX);
  return { ...pack, records: records.slice(0, pack.entries.length) };
}

async function failure(act: () => unknown): Promise<TundraError> {
  return await assertRejects(async () => await act(), TundraError);
}

/** The code of what a reader finds: "" for exactly what was frozen. */
async function codeOf(act: () => Promise<unknown>, expected: unknown): Promise<string> {
  let found: unknown;
  try {
    found = await act();
  } catch (error) {
    assert(error instanceof TundraError && !error.retryable, `threw ${error}`);
    return error.code;
  }
  assertEquals(found, expected);
  return "";
}

/** A range as datastores answer it: never fewer bytes than were asked for. */
function part(bytes: Uint8Array, { offset, length }: { offset: number; length: number }): Uint8Array {
  return offset + length > bytes.length ? new Uint8Array(0) : bytes.subarray(offset, offset + length);
}

/** What readers of a pack find: a code for its directory, and one for each of its records. */
async function readAll(bytes: Uint8Array, { entries, records }: Made, freezers: readonly Freezer[]) {
  const directory = await codeOf(async () => {
    const { offset, length } = directoryPlace(bytes.subarray(0, PACK_HEAD), NAME);
    return await thawDirectory(part(bytes, { offset, length }), NAME, freezers);
  }, { index: INDEX, entries });
  const codes: string[] = [];
  let block: { of: number; thawed: ReturnType<typeof thawBlock> } | undefined;
  for (const [i, { key, ver, offset, length }] of entries.entries()) {
    if (block?.of !== offset) {
      block = { of: offset, thawed: thawBlock(part(bytes, { offset, length }), NAME, freezers, [key]) };
    }
    const { thawed } = block;
    codes.push(await codeOf(async () => recordOf(await thawed, { key, ver }), records[i]));
  }
  return { directory, codes };
}

/** What they must find if these bytes are damaged. */
function expectation({ bytes, entries }: Made, from: number, to: number) {
  const { offset } = directoryPlace(bytes, NAME);
  const inHead = from < PACK_HEAD;
  const directory = !inHead && to <= offset ? "" : from === 4 && to === 5 ? "UNSUPPORTED" : "CORRUPT";
  return {
    directory,
    codes: entries.map((each) => from < each.offset + each.length && to > each.offset ? "CORRUPT" : ""),
  };
}

const blocksOf = (entries: PackEntry[]) => [...new Map(entries.map((entry) => [entry.offset, entry])).values()];

describe("a pack", () => {
  it("gives back every record, by its block and by its directory, whatever the freezers", async () => {
    const grow: Freezer = {
      id: "grow",
      freeze: (bytes) => join([bytes, bytes]),
      thaw: (bytes) => bytes.subarray(0, bytes.length / 2),
    };
    for (const freezers of [[], deflate, [deflateFreezer({ level: 9 }), grow]]) {
      const pack = await made(small(40), freezers, 1_048_576);
      assertEquals(pack.records.length, 42);
      const all = await readAll(pack.bytes, pack, freezers);
      assertEquals(all, { directory: "", codes: pack.records.map(() => "") });
    }
  });

  it("holds keys of any text and length, the empty one too", async () => {
    const marked = ["\uFEFFx", "\uFEFF" + "k".repeat(100), "\uFEFF".repeat(100)];
    const keys = ["", "__proto__", ...marked, "🐧".repeat(70), "k".repeat(32_768), "\0", "é"];
    const pack = await made(keys.map((key) => value(key, utf8.encode(key))), deflate, 1_048_576);
    assertEquals(await readAll(pack.bytes, pack, deflate), { directory: "", codes: keys.map(() => "") });
  });

  it("has blocks of at most 32 KiB before they are frozen, and one larger record alone", async () => {
    const random = seededRandom("the sizes of blocks");
    const records = [3_000, 3_000, 40_000, 3_000, 30_000, 3_000].map((size, i) => value(`k:${i}`, random.bytes(size)));
    const { entries } = await made(records, [], 1_048_576);
    assertEquals(entries.map(({ offset }) => blocksOf(entries).findIndex((block) => block.offset === offset)), [
      ...[0, 0, 1, 2, 3, 4],
    ]);
  });

  it("takes no block that would pass its limit, and takes the one that just fits", async () => {
    const random = seededRandom("the limit of a pack");
    const records = Array.from({ length: 3 }, (_, i) => value(`k:${i}`, random.bytes(30_000)));
    const { entries } = await made(records, deflate, 1_048_576);
    const [, second] = blocksOf(entries);
    const exact = second!.offset + second!.length;
    for (const [maxBytes, count] of [[exact - 1, 1], [exact, 2], [exact + 1, 2]] as const) {
      const pack = await made(records, deflate, maxBytes);
      assertEquals([maxBytes, pack.entries.length], [maxBytes, count]);
      assertEquals((await readAll(pack.bytes, pack, deflate)).codes, new Array(count).fill(""));
    }
  });

  it("takes at least one record, however small its limit", async () => {
    const pack = await made(small(3), deflate, 1);
    assertEquals([pack.entries.length, pack.entries[0]!.key], [1, "k:0"]);
    assertEquals(await readAll(pack.bytes, pack, deflate), { directory: "", codes: [""] });
  });

  it("is the same bytes on every runtime", async () => {
    const records = [value("a", Uint8Array.from([1, 2, 3])), tombstone("b", "inferred")];
    const plain = await freezePack(records, NAME, [], 1_048_576, INDEX);
    assertEquals(hex(plain.bytes), PLAIN_PACK);
    const deflated = await freezePack(records, NAME, deflate, 1_048_576, INDEX);
    assertEquals(hex(deflated.bytes), DEFLATED_PACK);
  });
});

describe("a damaged pack", () => {
  const freezers = [deflateFreezer(), flip];
  const fewBlocks = () => made(small(6), freezers, 900);

  it("is CORRUPT with any single bit flipped, for exactly the records of its block", async () => {
    const pack = await fewBlocks();
    assertGreater(blocksOf(pack.entries).length, 1);
    for (let bit = 0; bit < pack.bytes.length * 8; bit++) {
      const damaged = new Uint8Array(pack.bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const found = await readAll(damaged, pack, freezers);
      assertEquals([bit, found], [bit, expectation(pack, bit >> 3, (bit >> 3) + 1)]);
    }
  });

  it("is CORRUPT cut off anywhere, for exactly the records that are not whole", async () => {
    const pack = await fewBlocks();
    const { length } = pack.bytes;
    for (let end = 0; end < length; end++) {
      const found = await readAll(pack.bytes.subarray(0, end), pack, freezers);
      const { codes } = expectation(pack, end, length);
      assertEquals([end, found], [end, { directory: "CORRUPT", codes }]);
    }
  });

  it("is CORRUPT without its beginning, for all records", async () => {
    const pack = await fewBlocks();
    for (let start = 1; start < pack.bytes.length; start++) {
      const { directory, codes } = await readAll(pack.bytes.subarray(start), pack, freezers);
      assertEquals([start, directory, [...new Set(codes)]], [start, "CORRUPT", ["CORRUPT"]]);
    }
  });

  it("of 1 MB is so, too: 60 flipped bits and 30 cuts", async () => {
    const random = seededRandom("the damage of a large pack");
    const records = Array.from({ length: 120 }, (_, i) => value(`k:${i}`, random.bytes(10_000)));
    const pack = await made(records, deflate, 1_048_576);
    assertGreater(pack.bytes.length, 1_000_000);
    assertGreater(blocksOf(pack.entries).length, 30);
    for (let i = 0; i < 90; i++) {
      const at = random.int(pack.bytes.length);
      if (i < 60) {
        const damaged = new Uint8Array(pack.bytes);
        damaged[at]! ^= 1 << random.int(8);
        assertEquals([at, await readAll(damaged, pack, deflate)], [at, expectation(pack, at, at + 1)]);
      } else {
        const { codes } = expectation(pack, at, pack.bytes.length);
        assertEquals([at, await readAll(pack.bytes.subarray(0, at), pack, deflate)], [at, {
          directory: "CORRUPT",
          codes,
        }]);
      }
    }
  });

  it("is found out before a freezer sees its bytes", async () => {
    let thawed = 0;
    const counting: Freezer = { id: "count", freeze: (bytes) => bytes, thaw: (bytes) => (thawed++, bytes) };
    const pack = await made(small(3), [counting], 1_048_576);
    const damaged = pack.bytes.map((byte, i) => i < PACK_HEAD ? byte : byte ^ 1);
    const { directory, codes } = await readAll(damaged, pack, [counting]);
    assertEquals([directory, new Set(codes), thawed], ["CORRUPT", new Set(["CORRUPT"]), 0]);
  });
});

describe("an intact block", () => {
  it("of another pack, or another block of the same one, is CORRUPT in its place", async () => {
    const mine = await made(small(6), deflate, 900);
    const other = await made(small(6, OTHER_VER), deflate, 900, `default/~packs/${OTHER_VER}`);
    const [first, second] = blocksOf(mine.entries);
    for (const bytes of [part(other.bytes, blocksOf(other.entries)[0]!), part(mine.bytes, second!)]) {
      for (const { key, ver } of mine.entries.filter(({ offset }) => offset === first!.offset)) {
        const error = await failure(async () => recordOf(await thawBlock(bytes, NAME, deflate, [key]), { key, ver }));
        assertEquals([error.code, error.keys, error.retryable], ["CORRUPT", [key], false]);
        assertStringIncludes(error.message, `must hold its version ${ver}: it does not`);
      }
    }
  });

  it("tells a freezer the name of its pack, so that encryption can bind it", async () => {
    const names: string[] = [];
    const bound: Freezer = {
      id: "bound",
      freeze: (bytes, { name }) => (names.push(name), bytes),
      thaw: (bytes, { name }) => (names.push(name), bytes),
    };
    const pack = await made(small(1), [bound], 1_048_576);
    await readAll(pack.bytes, pack, [bound]);
    assertEquals([names.length, new Set(names)], [4, new Set([NAME])]); // a block and the directory, both ways
  });

  it("does not hold another key's or another version's record", async () => {
    const { entries: [{ offset, length }], bytes } = await made(small(2), deflate, 1_048_576) as Made & {
      entries: [PackEntry];
    };
    const block = await thawBlock(bytes.subarray(offset, offset + length), NAME, deflate, ["k:0"]);
    for (const [key, ver] of [["k:9", VER], ["k:0", OTHER_VER], ["", VER], ["k:0", ""]] as const) {
      assertEquals((await failure(() => recordOf(block, { key, ver }))).code, "CORRUPT");
    }
    assertEquals(recordOf(block, { key: "k:0", ver: VER }), small(2)[0]);
  });

  it("with other records of unknown versions gives back those that it understands", async () => {
    const newer = encodeMap({ v: 3, key: "new", ver: VER, more: 1 });
    const old = { key: "old", ver: VER, at: 1, exp: 0, dump: Uint8Array.from([1]) };
    const bytes = await freezeBlock([newer, encodeRecord(old)], NAME, deflate, []);
    const block = await thawBlock(bytes, NAME, deflate, []);
    assertEquals(recordOf(block, { key: "old", ver: VER }), old);
    const error = await failure(() => recordOf(block, { key: "new", ver: VER }));
    assertEquals([error.code, error.keys], ["UNSUPPORTED", ["new"]]);
    assertStringIncludes(error.message, "must have record version 2: current value is 3");
  });

  it("is CORRUPT if it holds anything but maps", async () => {
    for (const bytes of [[0x81, 1], [0xa0], [0xa1, 0x61], [0xff], [1], [0xf6]]) {
      const block = await seal(Uint8Array.from(bytes), NAME, [], "test", []);
      assertEquals((await failure(() => thawBlock(block, NAME, [], ["k"]))).code, "CORRUPT");
    }
  });
});

describe("an intact directory", () => {
  const ENTRY = { key: "k", ver: VER, exp: 0, gone: 0, prev: "", block: 0 };
  const HEAD = { v: 2, pack: VER, index: INDEX, blocks: 1 };
  const PART = { offset: PACK_HEAD, length: 9 };
  const directory = (...maps: object[]) => seal(join(maps.map(encodeMap)), NAME, [], "test", []);

  it("of another pack is CORRUPT in its place", async () => {
    const otherName = `default/~packs/${OTHER_VER}`;
    const { bytes } = await made(small(2, OTHER_VER), deflate, 1_048_576, otherName);
    const { offset, length } = directoryPlace(bytes, otherName);
    const part = bytes.subarray(offset, offset + length);
    assertEquals((await thawDirectory(part, otherName, deflate)).entries.length, 4);
    assertEquals((await failure(() => thawDirectory(part, NAME, deflate))).code, "CORRUPT");
  });

  it("is CORRUPT if it holds anything but its entries in their one form", async () => {
    const good = await directory({ ...HEAD, pack: NAME }, PART, ENTRY);
    assertEquals((await thawDirectory(good, NAME, [])).entries, [{ key: "k", ver: VER, exp: 0, prev: "", ...PART }]);
    const wrong: [string, object[]][] = [
      ["nothing", []],
      ["another pack's name", [{ ...HEAD, pack: "default/~packs/1" }, PART, ENTRY]],
      ["no index", [{ v: 2, pack: NAME, blocks: 1 }, PART, ENTRY]],
      ["more blocks than it says", [{ ...HEAD, pack: NAME }, PART, PART, ENTRY]],
      ["fewer blocks", [{ ...HEAD, pack: NAME, blocks: 2 }, PART, ENTRY]],
      ["a block that is not there", [{ ...HEAD, pack: NAME }, PART, { ...ENTRY, block: 1 }]],
      ["another field", [{ ...HEAD, pack: NAME }, PART, { ...ENTRY, more: 1 }]],
      ["another order", [{ ...HEAD, pack: NAME }, PART, { ver: VER, key: "k", exp: 0, gone: 0, prev: "", block: 0 }]],
      ["another removal", [{ ...HEAD, pack: NAME }, PART, { ...ENTRY, gone: "perhaps" }]],
      ["a negative expiry", [{ ...HEAD, pack: NAME }, PART, { ...ENTRY, exp: 0.5 }]],
      ["a version before that is no text", [{ ...HEAD, pack: NAME }, PART, { ...ENTRY, prev: 0 }]],
      ["a key that is no text", [{ ...HEAD, pack: NAME }, PART, { ...ENTRY, key: 1 }]],
      ["an offset that is no number", [{ ...HEAD, pack: NAME }, { offset: "16", length: 9 }, ENTRY]],
    ];
    for (const [what, maps] of wrong) {
      const error = await failure(async () => thawDirectory(await directory(...maps), NAME, []));
      assertEquals([what, error.code, error.retryable], [what, "CORRUPT", false]);
    }
  });

  it("of an unknown version is UNSUPPORTED", async () => {
    const error = await failure(async () => thawDirectory(await directory({ ...HEAD, v: 3, pack: NAME }), NAME, []));
    assertEquals(error.code, "UNSUPPORTED");
  });
});

describe("the head of a pack", () => {
  it("of an unknown format is UNSUPPORTED, and of another kind of object CORRUPT", async () => {
    const { bytes } = await made(small(1), [], 1_048_576);
    const unknown = new Uint8Array(bytes);
    unknown[4] = 2;
    const error = await failure(() => directoryPlace(unknown, NAME));
    assertEquals(error.code, "UNSUPPORTED");
    assertStringIncludes(error.message, "must have pack format 1: current value is 2");
    const object = await freezeRecord(small(1)[0]!, "default/k/1", []);
    for (const other of [object, new Uint8Array(0), bytes.subarray(0, PACK_HEAD - 1), new Uint8Array(100)]) {
      assertEquals((await failure(() => directoryPlace(other, NAME))).code, "CORRUPT");
    }
  });
});

describe("a record of version 2", () => {
  const record: ArchiveRecord = {
    key: "user:1",
    ver: VER,
    at: 1764000000000,
    index: INDEX,
    prev: "1763999999999999-0000000a@:16:96",
    exp: 1764003600123,
    dump: Uint8Array.from([0, 5, 104, 101, 108, 108, 111, 11, 0, 255, 128]),
  };
  const gone: Tombstone = { key: "user:1", ver: VER, at: record.at, index: INDEX, prev: "", gone: "inferred" };
  const name = `default/user.3A1/${VER}`;

  it("is the same bytes on every runtime", async () => {
    assertEquals(hex(await freezeRecord(record, name, [])), RECORD_2);
    assertEquals(hex(await freezeRecord(gone, name, [])), TOMBSTONE_2);
  });

  it("and one of version 1, which names neither index nor version before, come back alone and in a block", async () => {
    const { index: _, prev: __, ...first } = record;
    const firstGone: Tombstone = { key: "user:1", ver: VER, at: record.at, gone: true };
    for (const each of [record, gone, first, firstGone]) {
      assertEquals(await thawRecord(await freezeRecord(each, name, deflate), each, name, deflate), each);
      const block = await thawBlock(await freezeBlock([encodeRecord(each)], NAME, deflate, []), NAME, deflate, []);
      assertEquals(recordOf(block, each), each);
    }
    const bytes = encodeRecord(first);
    assertEquals(hex(bytes.subarray(0, 4)), "a6617601"); // a map of six fields, the first of which is v: 1
  });

  it("is CORRUPT with one of its two new fields missing, or of another type", async () => {
    const { key, ver, at, index, prev, exp, dump } = record;
    for (
      const fields of [
        { v: 2, key, ver, at, exp, dump },
        { v: 2, key, ver, at, index, exp, dump },
        { v: 2, key, ver, at, prev, exp, dump },
        { v: 2, key, ver, at, index, prev: 1, exp, dump },
        { v: 1, key, ver, at, index, prev, exp, dump },
        { v: 2, key, ver, at, prev, index, exp, dump },
      ]
    ) {
      const object = await seal(encodeMap(fields), name, [], "test", []);
      assertEquals((await failure(() => thawRecord(object, record, name, []))).code, "CORRUPT");
    }
  });
});

describe("a place", () => {
  const own = { ver: VER, pack: "", offset: 0, length: 0 };
  const words: [string, typeof own][] = [
    [VER, own],
    [`${VER}@:16:96`, { ver: VER, pack: VER, offset: 16, length: 96 }],
    [`${VER}@${OTHER_VER}:16:1048576`, { ver: VER, pack: OTHER_VER, offset: 16, length: 1_048_576 }],
  ];

  for (const [word, place] of words) {
    it(`reads and prints ${word}`, () => {
      assertEquals(placeOf(word), place);
      assertEquals(placeWord(place), word);
    });
  }

  it("has the shorter word if the pack has the version's name", () => {
    assertEquals(placeOf(`${VER}@${VER}:16:96`), placeOf(`${VER}@:16:96`));
    assertEquals(placeWord(placeOf(`${VER}@${VER}:16:96`)), `${VER}@:16:96`);
  });

  it("takes at most 20 bytes more than a version, up to packs of 64 MB", () => {
    const most = placeWord({ ver: VER, pack: VER, offset: 67_108_864, length: 67_108_864 });
    assert(most.length <= VER.length + 20, most);
  });

  it("is in the pack that its word names, or in an object of the key's own", async () => {
    assertEquals(await holderName({ tqname: "q" }, "a:b", VER), `q/a.3Ab/${VER}`);
    assertEquals(await holderName({ tqname: "q" }, "a:b", `${VER}@:16:96`), `q/~packs/${VER}`);
    assertEquals(await holderName({ tqname: "q" }, "a:b", `${VER}@${OTHER_VER}:16:96`), `q/~packs/${OTHER_VER}`);
  });

  it("is in no pack if its word is malformed", () => {
    const malformed = [
      ...["", "-", "1", `${VER}@`, `${VER}@:`, `${VER}@:16`, `${VER}@:16:`, `${VER}@::96`, `${VER}@:-1:96`],
      ...[`${VER}@:16:96:1`, `${VER}@:1.5:96`, `${VER}@x:16:96`, `${VER}@${OTHER_VER}`, ` ${VER}@:16:96`],
      ...[
        `${VER}@:16:96\n`,
        `${VER}@:9999999999999999:96`,
        `1${VER}@:16:96`,
        `${VER}g@:16:96`,
        VER.toUpperCase() + "@:1:2",
      ],
    ];
    for (const word of malformed) assertEquals(placeOf(word), { ...own, ver: word });
  });
});

const PLAIN_PACK =
  "544e445001000000000001560000014c544e4452cb80f6adb39f6daa551fe5b5d2fe136b351972303ab3a83d094a0e3745b95dad0100a861" +
  "7602636b65796161637665727819313736343030303030303030303030312d3061316232633364626174fb4279ab697e80000065696e6465" +
  "78783230303030303030302d303030302d343030302d383030302d3030303030303030303030304072656469732e6578616d706c65647072" +
  "65766063657870006464756d7043010203a7617602636b65796162637665727819313736343030303030303030303030312d306131623263" +
  "3364626174fb4279ab697e80000065696e646578783230303030303030302d303030302d343030302d383030302d30303030303030303030" +
  "30304072656469732e6578616d706c6564707265767819313736333030303030303030303030302d303030303030306164676f6e6568696e" +
  "666572726564544e4452ce2d7851f58ef4d486d73a2d61c8317be010d8e7dd65894e971464811774307b0100a4617602647061636b782864" +
  "656661756c742f7e7061636b732f313736343030303030303030303030312d306131623263336465696e646578783230303030303030302d" +
  "303030302d343030302d383030302d3030303030303030303030304072656469732e6578616d706c6566626c6f636b7301a2666f66667365" +
  "7410666c656e677468190146a6636b65796161637665727819313736343030303030303030303030312d3061316232633364636578700064" +
  "676f6e650064707265766065626c6f636b00a6636b65796162637665727819313736343030303030303030303030312d3061316232633364" +
  "636578700064676f6e6568696e66657272656464707265767819313736333030303030303030303030302d303030303030306165626c6f63" +
  "6b00";
const DEFLATED_PACK =
  "544e445001000000000000c4000000d6544e44528129419a99dde289419760d5a349b3c77e7aa5d0fb47d31dd7fa1b380c35d0fa01010764" +
  "65666c61746501000001205b9158c6949c9d5a9998985c965a542169686e6662800086ba0689864946c9c629498925bf9d2a5767d6353030" +
  "a466e6a5a4565418c154e98209903e5d0b1817061c8a5253328bf5522b12730b7252530a8a52cb1292532b0a1852524a730b9c19999897c3" +
  "9c90443f27806d31465604d39198929e9f979a919997965a04d40700544e445275aabfa96c4e449d7226db959875472ddf6144f69c4f1040" +
  "e7eff7500ae4a8f60101076465666c61746501000001258d8f4d0e82301085d113b8d41bb841fe8cbaf4280eed2b106a690a92baf130c678" +
  "020f28541bdd98388b495e66de376f6ed44fb92656db2587a093eca2cb28db28d96ed6f1a79230a6244f59c651290e6b533f095d1b77c39d" +
  "97bef606bc6a57b074d4122297cd809e5c4523448b6e262454d195f3c79dd53813b11ec62e7e5e66b03ae045a310706dd01fe080c1cb9dff" +
  "ed2e2b256086688ee22cd9776aff02bdf94f";
const RECORD_2 =
  "544e4452a3a1758eaa1a12fc64b1aeff0a83496f5aeda9bfb316fc847f11ebb315eda4170100a8617602636b657966757365723a31637665" +
  "727819313736343030303030303030303030312d3061316232633364626174fb4279ab697e80000065696e64657878323030303030303030" +
  "2d303030302d343030302d383030302d3030303030303030303030304072656469732e6578616d706c656470726576782031373633393939" +
  "3939393939393939392d3030303030303061403a31363a393663657870fb4279ab6ced6fb0006464756d704b000568656c6c6f0b00ff80";
const TOMBSTONE_2 =
  "544e44529a4b59daa6a4513f3c35cfde88624dfb71a443857382d2114f4e41cf784bd9e90100a7617602636b657966757365723a31637665" +
  "727819313736343030303030303030303030312d3061316232633364626174fb4279ab697e80000065696e64657878323030303030303030" +
  "2d303030302d343030302d383030302d3030303030303030303030304072656469732e6578616d706c6564707265766064676f6e6568696e" +
  "666572726564";
