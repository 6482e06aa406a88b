/** readValue: values of many entries and bytes, in several requests, as far as it is told. */
import { Buffer } from "node:buffer";
import { beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { readValue } from "../../src/scripts/read_value.ts";
import { connect } from "../../src/upstash/connection.ts";
import { tundraError } from "../support/fixtures.ts";
import { withStack } from "../support/stack.ts";

describe("readValue", () => {
  const stack = withStack();
  const read = (name: string, limits = { bytes: Infinity, entries: Infinity }) =>
    readValue(connect(stack.connection), "read", name, limits);
  const numbers = Array.from({ length: 2_500 }, (_, i) => `${i}`);
  beforeEach(() => stack.flush());

  it("reads all entries of each type, each once", async () => {
    await stack.raw("RPUSH", "list", ...numbers);
    await stack.raw("SADD", "set", ...numbers);
    await stack.raw("HSET", "hash", ...numbers.flatMap((n) => [n, `value ${n}`]));
    await stack.raw("ZADD", "zset", ...numbers.flatMap((n) => [n, `member ${n}`]));
    for (const n of numbers) await stack.raw("XADD", "stream", `1-${Number(n) + 1}`, "f", n);
    const expected: Record<string, string[][]> = {
      list: numbers.map((n) => [n]),
      set: numbers.map((n) => [n]),
      hash: numbers.map((n) => [n, `value ${n}`]),
      zset: numbers.map((n) => [`member ${n}`, n]),
      stream: numbers.map((n) => [`1-${Number(n) + 1}`, "f", n]),
    };
    for (const [type, entries] of Object.entries(expected)) {
      const value = await read(type);
      assertEquals([value?.type, value?.length, value?.ttlMs], [type, 2_500, -1]);
      const found = ["set", "hash"].includes(type)
        ? value!.entries!.sort(([a], [b]) => Number(a) - Number(b))
        : value!.entries!;
      assertEquals(found, entries);
      const part = await read(type, { bytes: Infinity, entries: 1_200 });
      assertEquals([part?.length, part?.entries?.length], [2_500, 1_200]);
    }
  });

  it("reads a string in pieces, byte by byte, and its beginning", async () => {
    const bytes = Buffer.alloc(5_000_000, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));
    await stack.raw("SET", "string", bytes, "PX", 60_000);
    const value = await read("string");
    assertEquals(Buffer.from(value!.text!, "latin1").equals(bytes), true);
    assertEquals([value!.length, value!.ttlMs > 0], [5_000_000, true]);
    assertEquals((await read("string", { bytes: 10, entries: 1 }))!.text, bytes.toString("latin1", 0, 10));
  });

  it("answers nothing for what is absent, and refuses a value that is none", async () => {
    assertEquals(await read("absent"), undefined);
    await stack.raw("SET", "empty", "");
    assertEquals((await read("empty"))?.text, "");
    const answers = [[{ result: btoa("module-type") }, { result: -1 }]];
    const fetch = () => Promise.resolve(new Response(JSON.stringify(answers.shift())));
    await tundraError(
      "UNSUPPORTED",
      () => readValue(connect({ ...stack.connection, fetch }), "read", "k", { bytes: 1, entries: 1 }),
    );
  });
});
