/** The output of console.error for an error: one key's message once. */
import { describe, it } from "node:test";
import { inspect as ofNode } from "node:util";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { notFound } from "../../mod.ts";
import { TundraError } from "../../src/base/errors.ts";
import { failed } from "../../src/core/batches.ts";
import { markError } from "../../src/dirty.ts";

const host = globalThis as { Deno?: { inspect(value: unknown): string }; Bun?: { inspect(value: unknown): string } };
const printed = (value: unknown): string => (host.Deno ?? host.Bun)?.inspect(value) ?? ofNode(value);
const times = (text: string, part: string): number => text.split(part).length - 1;
const missing = (key: string): [string, TundraError] => [key, markError({ key, why: "missing", record: "" })];

describe("what is printed of a call's error", () => {
  it("holds the message of one key once, and its cause and causes are still there to ask for", () => {
    const [key, inner] = missing("cart:7");
    const error = failed("mark", new Map([[key, inner]]), ["MISSING"], "UNAVAILABLE");
    const text = printed(error);
    assertEquals(times(text, "it is not in Redis"), 1, text);
    assert(text.split("\n").length < 20, text);
    assertStrictEquals(error.causes[key], inner);
    assertEquals([error.keys, error.code], [[key], "MISSING"]);
  });

  it("holds what is behind that one key's error", () => {
    const cause = notFound("default/cart.3A7/1");
    const inner = new TundraError("LOST", "Cannot bring it back", { cause });
    const error = failed("ensure", new Map([["cart:7", inner]]), [], "ENSURE_FAILED");
    assertStrictEquals(error.cause, cause);
    assertEquals([times(printed(error), "Cannot bring it back"), times(printed(error), cause.message)], [1, 1]);
  });

  it("names each of several keys with its own cause", () => {
    const error = failed("mark", new Map([missing("a"), missing("b")]), ["MISSING"], "UNAVAILABLE");
    const text = printed(error);
    assert(text.includes(`mark "a" as`) && text.includes(`mark "b" as`), text);
  });
});
