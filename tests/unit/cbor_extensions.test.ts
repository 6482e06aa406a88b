/** An application may use cbor-x too, and register extensions: they are global, and must never meet the archive. */
import { describe, it } from "node:test";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { addExtension } from "cbor-x/decode";
import { addExtension as addEncoderExtension, Encoder } from "cbor-x/encode";
import { sealContainer } from "../../src/archive/container.ts";
import { TundraError } from "../../src/base/errors.ts";
import { freezeRecord, thawRecord } from "../support/records.ts";

const RECORD = { key: "k", ver: "v", at: 1, exp: 0, dump: Uint8Array.of(1, 2, 3) };

describe("an extension of cbor-x that the application registered", () => {
  it("is never run on what an archive object holds", async () => {
    let runs = 0;
    class Ours {}
    addExtension({ Class: Ours, tag: 4321, encode: () => new Uint8Array(0), decode: () => ++runs });
    const tagged = (item: number[]) => Uint8Array.of(0xa2, 0x61, 0x76, 1, 0x61, 0x78, ...item);
    for (const item of [[0xd9, 0x10, 0xe1, 1], [0x81, 0xd9, 0x10, 0xe1, 1], [0xc1, 0], [0xd8, 27, 0x81, 0x60]]) {
      const object = await sealContainer([], tagged(item));
      const error = await assertRejects(() => thawRecord(object, RECORD, []), TundraError);
      assertEquals([item, error.code], [item, "CORRUPT"]);
    }
    assertEquals(runs, 0);
    assertEquals(await thawRecord(await freezeRecord(RECORD, []), RECORD, []), RECORD);
  });

  it("that rewrites bytes makes freezing fail, before anything is archived that others could not read", async () => {
    addEncoderExtension({
      Class: Uint8Array,
      tag: 4322,
      encode: (bytes, encode) => encode([...bytes]),
      decode: () => new Uint8Array(0),
    });
    assertEquals(new Encoder().encode(RECORD.dump)[0], 0xd9);
    const error = await assertRejects(() => freezeRecord(RECORD, []), TundraError);
    assertEquals(error.code, "UNSUPPORTED");
    assertStringIncludes(error.message, "an extension for Uint8Array is registered");
  });
});
