/** Digests of payloads. */
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { sha1Hex } from "../../src/upstash/script.ts";

describe("sha1Hex", () => {
  it("is Redis' SHA-1 whatever the length: below and above the one from which WebCrypto makes it", async () => {
    for (const length of [...Array(130).keys(), 512, 2047, 2048, 2049, 10_000]) {
      const whole = Uint8Array.from({ length: length + 3 }, (_, i) => (i * 31 + length) & 255);
      const view = whole.subarray(3); // not at the beginning of its buffer
      assertEquals(await sha1Hex(view), createHash("sha1").update(view).digest("hex"), `${length} bytes`);
    }
  });
});
