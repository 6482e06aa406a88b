/** A DUMP payload is known by its checksum: what a reply lost or gained on its way is never archived. */
import { describe, it } from "node:test";
import { assert, assertEquals, assertFalse } from "@std/assert";
import { damagedDump, isAboutEndpoint, isWholeDump } from "../../src/upstash/dump.ts";
import { dumpString } from "../model/redis/redis.ts";
import { seededRandom } from "../support/random.ts";

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
const latin1 = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");

describe("a DUMP payload", () => {
  it("of any length is whole as Redis sends it", () => {
    const random = seededRandom("lengths of payloads");
    for (let length = 0; length < 64; length++) {
      const value = latin1(Uint8Array.from({ length }, () => random.int(256)));
      assert(isWholeDump(bytesOf(dumpString(value))), `${length}`);
    }
    assert(isWholeDump(bytesOf(dumpString("long ".repeat(10_000)))));
  });

  it("ends with CRC-64 (Jones), the lowest byte first: the polynomial's own test value", () => {
    const checksum = [0xca, 0xd9, 0xb8, 0xc4, 0x14, 0xd9, 0xc6, 0xe9];
    assert(isWholeDump(Uint8Array.from([...bytesOf("123456789"), ...checksum])));
  });

  it("is found damaged by any bit, any missing and any added byte", () => {
    const whole = bytesOf(dumpString("a value of some length"));
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const flipped = whole.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      assertFalse(isWholeDump(flipped), `bit ${bit}`);
    }
    for (let length = 0; length < whole.length; length++) assertFalse(isWholeDump(whole.slice(0, length)), `${length}`);
    assertFalse(isWholeDump(Uint8Array.from([...whole, 1])));
    assertFalse(isWholeDump(Uint8Array.from([1, ...whole])));
  });

  it("that was decoded as text is the endpoint's fault, any other damage is this reply's", () => {
    const whole = bytesOf(dumpString("value"));
    const decoded = new TextEncoder().encode(new TextDecoder().decode(whole));
    assertFalse(isWholeDump(decoded));
    const error = damagedDump("k", decoded);
    assertEquals([error.code, isAboutEndpoint(error), error.keys], ["UNSUPPORTED", true, []]);
    assert(error.message.includes("this endpoint changes binary replies"), error.message);
    const other = damagedDump("k", whole.slice(1));
    assertEquals([other.code, isAboutEndpoint(other), other.keys], ["UNSUPPORTED", false, ["k"]]);
  });
});
