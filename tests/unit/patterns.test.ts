import { describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { globOf } from "../../src/base/patterns.ts";
import { withStack } from "../support/stack.ts";

describe("a pattern of keys", () => {
  const stack = withStack();

  it("matches as Redis matches: ends of a range that is reversed, a class that is empty or not closed", () => {
    const expected: [pattern: string, matching: string[], others: string[]][] = [
      ["cart:*", ["cart:", "cart:1\n2"], ["cart", "xcart:1"]],
      ["a?c", ["abc", "a*c"], ["ac"]],
      ["[z-a]", ["a", "m", "z"], ["0", "", "-"]],
      ["x[9-0]*", ["x5", "x50"], ["xa"]],
      ["[^c-a]", ["d"], ["b"]],
      ["[]a", [], ["a", "]a"]],
      ["[^]a", ["xa"], ["a"]],
      ["[ab", ["a", "b"], ["[ab", "c"]],
      ["[a\\]b]", ["a", "]", "b"], ["\\"]],
      ["[a\\-z]", ["a", "-", "z"], ["m"]],
      ["[.$^]", [".", "$", "^"], ["a"]],
      ["\\*a", ["*a"], ["ba", "\\*a"]],
      ["a\\", ["a\\"], ["a"]],
    ];
    for (const [pattern, matching, others] of expected) {
      for (const key of matching) assertEquals([pattern, key, globOf(pattern)(key)], [pattern, key, true]);
      for (const key of others) assertEquals([pattern, key, globOf(pattern)(key)], [pattern, key, false]);
    }
  });

  it("matches of random keys those that the server finds", async () => {
    const text = (characters: string, maxLength: number) =>
      fc.array(fc.constantFrom(...characters), { minLength: 1, maxLength }).map((all) => all.join(""));
    const keys = fc.sample(text("abcz-]^[*?\\", 3), { numRuns: 300, seed: 41 });
    await stack.flush();
    await stack.raw("MSET", ...keys.flatMap((key) => [key, "1"]));
    const all = [...new Set(keys)].sort();
    const property = fc.asyncProperty(text("abz-]^[*?\\", 7), async (pattern) => {
      fc.pre(!/\[\^?$/.test(pattern)); // the server reads beyond the end of such a pattern
      const found = (await stack.raw("KEYS", pattern) as unknown[]).map(String).sort();
      assertEquals([pattern, all.filter(globOf(pattern))], [pattern, found]);
    });
    await fc.assert(property, { numRuns: 500 });
  });
});
