/** The format of large values: golden bytes, and segments in each other's places. */
import { describe, it } from "node:test";
import { assertEquals, assertRejects } from "@std/assert";
import {
  freezeHead,
  freezeSegment,
  headLength,
  LARGE_END,
  LARGE_HEAD,
  type LargeHead,
  SEGMENT_BYTES,
  thawHead,
  thawSegment,
} from "../../src/archive/large.ts";
import { join } from "../../src/archive/block.ts";
import type { Freezer } from "../../src/archive/freezer.ts";
import { isLarge, largeVersion } from "../../src/base/keys.ts";
import { TundraError, type TundraErrorCode } from "../../mod.ts";
import { placeOf } from "../../src/archive/place.ts";

const VER = largeVersion("1764000000000001-0a1b2c3d");
const NAME = `default/big/${VER}`;
const HEAD: LargeHead = {
  key: "big",
  ver: VER,
  at: 1_764_000_000_000,
  index: "uuid@host",
  prev: "1763000000000001-0a1b2c3d",
  exp: 0,
  bytes: 6,
  parts: 2,
  sha1: "1f8ac10f23c5b5bc1167bda84b833e5c057a77d2",
};
const PARTS = [Uint8Array.of(97, 98, 99, 100), Uint8Array.of(101, 102)];

const hexOf = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

async function object(head = HEAD, name = NAME): Promise<{ bytes: Uint8Array; segments: Uint8Array[] }> {
  const segments = await Promise.all(PARTS.map((dump, i) => freezeSegment(head, i, dump, name, [])));
  return { bytes: join([await freezeHead(head, name, []), ...segments, LARGE_END()]), segments };
}

async function refused(code: TundraErrorCode, act: () => Promise<unknown>): Promise<void> {
  assertEquals((await assertRejects(act, TundraError)).code, code);
}

describe("the object of a large value", () => {
  it("has these bytes", async () => {
    assertEquals(hexOf((await object()).bytes), GOLDEN);
  });

  it("is read by its head, and each segment by its place", async () => {
    const { bytes } = await object();
    const head = await thawHead(bytes, HEAD, NAME, []);
    assertEquals({ ...head, first: undefined }, { ...HEAD, first: undefined });
    const { offset, length } = head.first;
    assertEquals(await thawSegment(bytes.subarray(offset, offset + length), head, 0, NAME, []), PARTS[0]);
    assertEquals((await thawHead(bytes, { ver: VER }, NAME, [])).key, "big");
  });

  it("tells its key, also a long one that begins with a byte order mark", async () => {
    const key = "\uFEFF" + "k".repeat(100);
    const { bytes } = await object({ ...HEAD, key });
    assertEquals((await thawHead(bytes, { ver: VER }, NAME, [])).key, key);
  });

  it("is not made with a head or a segment that is larger than readers accept: TOO_LARGE", async () => {
    const grow = (times: number): Freezer => ({
      id: "grow",
      freeze: (bytes) => join(Array.from({ length: times }, () => bytes)),
      thaw: (bytes) => bytes.subarray(0, bytes.length / times),
    });
    const full = new Uint8Array(SEGMENT_BYTES).fill(7);
    await refused("TOO_LARGE", () => freezeSegment(HEAD, 0, full, NAME, [grow(3)]));
    await refused("TOO_LARGE", () => freezeHead(HEAD, NAME, [grow(10_000)]));
    const bytes = join([await freezeHead(HEAD, NAME, [grow(2)]), await freezeSegment(HEAD, 0, full, NAME, [grow(2)])]);
    const { offset, length } = (await thawHead(bytes, HEAD, NAME, [grow(2)])).first;
    assertEquals(await thawSegment(bytes.subarray(offset, offset + length), HEAD, 0, NAME, [grow(2)]), full);
  });

  it("is CORRUPT with a segment in another's place, of another version or of another key", async () => {
    const { segments } = await object();
    const sealed = segments.map((segment) => segment.subarray(4));
    await refused("CORRUPT", () => thawSegment(sealed[1]!, HEAD, 0, NAME, []));
    await refused("CORRUPT", () => thawSegment(sealed[0]!, { ...HEAD, ver: VER.replace("1764", "1765") }, 0, NAME, []));
    await refused("CORRUPT", () => thawSegment(sealed[0]!, { ...HEAD, key: "other" }, 0, NAME, []));
  });

  it("is CORRUPT with any bit of its head or of a segment flipped, or cut off", async () => {
    const { bytes, segments } = await object();
    const end = LARGE_HEAD + headLength(bytes, NAME);
    for (let at = 0; at < end; at++) {
      const flipped = new Uint8Array(bytes);
      flipped[at]! ^= 4;
      await refused(at === 4 ? "UNSUPPORTED" : "CORRUPT", () => thawHead(flipped, HEAD, NAME, []));
    }
    for (const length of [0, 5, 11, 50, end, end + 3]) {
      await refused("CORRUPT", () => thawHead(bytes.subarray(0, length), HEAD, NAME, []));
    }
    const sealed = segments[0]!.subarray(4);
    for (let at = 0; at < sealed.length; at++) {
      const flipped = new Uint8Array(sealed);
      flipped[at]! ^= 4;
      await refused("CORRUPT", () => thawSegment(flipped, HEAD, 0, NAME, []));
    }
  });

  it("is CORRUPT for another key or version", async () => {
    const { bytes } = await object();
    await refused("CORRUPT", () => thawHead(bytes, { key: "other", ver: VER }, NAME, []));
    await refused("CORRUPT", () => thawHead(bytes, { key: "big", ver: VER.replace("1764", "1765") }, NAME, []));
  });

  it("is told by its version, wherever that stands", () => {
    assertEquals([VER, NAME].map(isLarge), [true, true]);
    const others = [
      "1764000000000001-0a1b2c3a",
      "1764000000000001-0a1b2c3de",
      "default/~packs/1764000000000001-0a1b2c3a",
    ];
    assertEquals([...others, "1764000000000001-0a1b2c3d@:16:99"].map(isLarge), [false, false, false, false]);
    assertEquals(placeOf(VER), { ver: VER, pack: "", offset: 0, length: 0 });
  });
});

const GOLDEN = [
  "544e444c01000000000000d0544e44526a62da279cfa7257f6349e9df0a778b6d8bc143407d58f7725f005179568954e0100aa617603",
  "636b65796362696763766572781a313736343030303030303030303030312d306131623263336461626174fb4279ab697e8000006569",
  "6e646578697575696440686f737464707265767819313736333030303030303030303030312d30613162326333646365787000656279",
  "746573066570617274730264736861317828316638616331306632336335623562633131363762646138346238333365356330353761",
  "3737643200000062544e4452df47ba97f0364257613ceb9bb9a956d16f363b8d86f87dd6169c677466d9921d0100a5617603636b6579",
  "6362696763766572781a313736343030303030303030303030312d3061316232633364616470617274006464756d7044616263640000",
  "0060544e4452dcac52804c55f8b16c069f21db32826e101ed78d51c797e5b52583269e66119c0100a5617603636b6579636269676376",
  "6572781a313736343030303030303030303030312d3061316232633364616470617274016464756d7042656600000000",
].join("");
