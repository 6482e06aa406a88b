/** The default freezer. */
import { describe, it } from "node:test";
import { inflateRawSync } from "node:zlib";
import { assertEquals, assertLess, assertStringIncludes, assertThrows } from "@std/assert";
import { deflateSync } from "fflate";
import { TundraError } from "../../src/base/errors.ts";
import { deflateFreezer } from "../../src/freezers/deflate.ts";

const freezer = deflateFreezer();
const freeze = (bytes: Uint8Array, by = freezer) => by.freeze(bytes, { name: "a/b/c" }) as Uint8Array;
const thaw = (bytes: Uint8Array, by = freezer) => by.thaw(bytes, { name: "a/b/c" }) as Uint8Array;

function code(act: () => unknown): string {
  return assertThrows(act, TundraError).code;
}

/** The result of `deflateFreezer` for a stream if it trusted the length. */
function claiming(length: number, stream: Uint8Array): Uint8Array {
  const frozen = new Uint8Array(5 + stream.length);
  frozen[0] = 1;
  new DataView(frozen.buffer).setUint32(1, length);
  frozen.set(stream, 5);
  return frozen;
}

describe("deflateFreezer", () => {
  it("gives back everything, at every level", () => {
    const inputs = [0, 1, 2, 100, 70_000].flatMap((length) => [
      new Uint8Array(length),
      Uint8Array.from({ length }, (_, i) => i * i * 7919 >> 3),
    ]);
    for (let level = 0; level <= 9; level++) {
      for (const input of inputs) assertEquals(thaw(freeze(input, deflateFreezer({ level }))), input);
    }
  });

  it("writes plain DEFLATE that any other library reads", () => {
    const input = new TextEncoder().encode("tundra ".repeat(1000));
    const frozen = freeze(input);
    assertLess(frozen.length, 100);
    assertEquals(frozen[0], 1);
    assertEquals(new Uint8Array(inflateRawSync(frozen.subarray(5))), input);
  });

  it("keeps what does not shrink as it is, one byte longer", () => {
    const noise = crypto.getRandomValues(new Uint8Array(1000));
    assertEquals(freeze(noise), Uint8Array.from([0, ...noise]));
    assertEquals(freeze(new Uint8Array(0)), Uint8Array.from([0]));
    assertEquals(freeze(new Uint8Array(100), deflateFreezer({ level: 0 })).length, 101);
  });

  it("changes neither its input nor shares memory with what it froze", () => {
    const input = crypto.getRandomValues(new Uint8Array(100));
    const before = new Uint8Array(input);
    const frozen = freeze(input);
    frozen.fill(0);
    assertEquals(input, before);
  });

  it("refuses to freeze what it would not thaw", () => {
    const small = deflateFreezer({ maxBytes: 1000 });
    assertEquals(thaw(freeze(new Uint8Array(1000), small), small), new Uint8Array(1000));
    assertEquals(code(() => freeze(new Uint8Array(1001), small)), "TOO_LARGE");
  });

  it("stops a bomb before memory is taken", () => {
    const stream = deflateSync(new Uint8Array(50_000_000), { level: 9 });
    assertLess(stream.length, 60_000);
    assertEquals(code(() => thaw(claiming(50_000_000, stream), deflateFreezer({ maxBytes: 10_000_000 }))), "CORRUPT");
    assertEquals(thaw(claiming(50_000_000, stream)).length, 50_000_000);
    // More than DEFLATE can do.
    const error = assertThrows(() => thaw(claiming(200_000_000, stream.subarray(0, 1000))), TundraError);
    assertEquals(error.code, "CORRUPT");
    assertStringIncludes(error.message, "it claims 200000000");
  });

  it("refuses a stream that is longer or shorter than it claims", () => {
    const zeros = new Uint8Array(10_000);
    const noise = crypto.getRandomValues(new Uint8Array(9_000));
    // short and long, in blocks of each kind
    const inputs = [[zeros, 9], [noise, 9], [noise, 0], [noise.subarray(0, 3_000), 0]] as const;
    for (const [bytes, level] of inputs) {
      const stream = deflateSync(bytes, { level });
      const { length } = bytes;
      assertEquals(thaw(claiming(length, stream)), bytes);
      for (const other of [0, 1, length - 1, length + 1]) {
        assertEquals(code(() => thaw(claiming(other, stream))), "CORRUPT");
      }
    }
  });

  it("refuses what it cannot have made", () => {
    for (const bytes of [[], [1], [1, 0, 0, 0, 1], [2, 1, 2, 3], [1, 0, 0, 0, 9, 255, 255], [1, 0, 0, 0, 5, 0, 1, 2]]) {
      assertEquals(code(() => thaw(Uint8Array.from(bytes))), "CORRUPT");
    }
  });

  it("reads a view in the middle of a buffer", () => {
    const frozen = freeze(new Uint8Array(1000).fill(3));
    const padded = new Uint8Array(frozen.length + 20);
    padded.set(frozen, 7);
    assertEquals(thaw(padded.subarray(7, 7 + frozen.length)), new Uint8Array(1000).fill(3));
  });

  it("checks its options", () => {
    for (const level of [-1, 10, 1.5, NaN, "6"]) {
      assertEquals(code(() => deflateFreezer({ level: level as number })), "BAD_ARGUMENT");
    }
    for (const maxBytes of [0, -1, 2 ** 32, Infinity, "1"]) {
      assertEquals(code(() => deflateFreezer({ maxBytes: maxBytes as number })), "BAD_ARGUMENT");
    }
    assertEquals(deflateFreezer().id, "deflate");
  });
});
