// Imports the stand-in by its path: with the real @std/assert in its place there is nothing to test here.
import { describe, it } from "node:test";
import * as a from "../vendor/std_assert/mod.ts";

/** The message of the failed assertion. Built on nothing of what is tested. */
function messageOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof a.AssertionError && error.name === "AssertionError") return error.message;
    throw error;
  }
  throw new Error(`does not fail: ${act}`);
}

async function rejectionOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
  } catch (error) {
    return messageOf(() => {
      throw error;
    });
  }
  throw new Error(`does not fail: ${act}`);
}

function says(message: string, ...parts: string[]): void {
  for (const part of parts) if (!message.includes(part)) throw new Error(`${JSON.stringify(message)} lacks ${part}`);
}

class Point {
  constructor(readonly x: number) {}
}

const circular = (): unknown => {
  const value: unknown[] = [1];
  value.push(value);
  return value;
};
// deno-lint-ignore no-sparse-arrays
const hole = [1, , 2];

const pairs: [what: string, equal: boolean, left: unknown, right: unknown][] = [
  ["numbers", true, 1, 1],
  ["0 and -0", true, 0, -0],
  ["NaN", true, NaN, NaN],
  ["a number and its text", false, 1, "1"],
  ["null and undefined", false, null, undefined],
  ["bigints", true, 2n, 2n],
  ["nested objects in another order", true, { a: 1, b: [{ c: 2 }] }, { b: [{ c: 2 }], a: 1 }],
  ["another depth", false, { a: { b: 1 } }, { a: { b: 2 } }],
  ["an absent and an undefined property", false, {}, { a: undefined }],
  ["a null prototype and a plain object", true, Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  ["another class", false, new Point(1), { x: 1 }],
  ["one class", true, new Point(1), new Point(1)],
  ["arrays of another length", false, [1], [1, undefined]],
  ["a hole and undefined", false, hole, [1, undefined, 2]],
  ["an array and an object", false, [], {}],
  ["symbol properties", false, { [Symbol.for("a")]: 1 }, { [Symbol.for("a")]: 2 }],
  ["dates", true, new Date(5), new Date(5)],
  ["other dates", false, new Date(5), new Date(6)],
  ["regular expressions", false, /a/g, /a/],
  ["URLs", true, new URL("http://a"), new URL("http://a/")],
  ["bytes", true, new Uint8Array([1, 2]), new Uint8Array([9, 1, 2]).subarray(1)],
  ["other bytes", false, new Uint8Array([1, 2]), new Uint8Array([1, 3])],
  ["bytes of another length", false, new Uint8Array(1), new Uint8Array(2)],
  ["bytes and their numbers", false, new Uint8Array([1]), [1]],
  ["bytes of another type", false, new Uint8Array([1]), new Int8Array([1])],
  ["buffers", true, new ArrayBuffer(2), new ArrayBuffer(2)],
  ["other buffers", false, new Uint8Array([1]).buffer, new Uint8Array([2]).buffer],
  ["sets in another order", true, new Set([1, { a: 1 }]), new Set([{ a: 1 }, 1])],
  ["other sets", false, new Set([1, { a: 1 }]), new Set([1, { a: 2 }])],
  ["maps", true, new Map([["a", [1]]]), new Map([["a", [1]]])],
  ["maps of another value", false, new Map([["a", [1]]]), new Map([["a", [2]]])],
  ["maps keyed by objects", true, new Map([[{ a: 1 }, 1]]), new Map([[{ a: 1 }, 1]])],
  ["maps of undefined under another key", false, new Map([["a", undefined]]), new Map([["b", undefined]])],
  ["errors", true, new Error("a"), new Error("a")],
  ["errors of another message", false, new Error("a"), new Error("b")],
  ["errors of another class", false, new Error("a"), new TypeError("a")],
  ["boxed values", false, new Number(1), new Number(2)],
  ["circular values", true, circular(), circular()],
  ["functions", false, () => 1, () => 1],
];

describe("the stand-in for @std/assert", () => {
  for (const [what, equal, left, right] of pairs) {
    it(`finds ${what} ${equal ? "" : "un"}equal, both ways round`, () => {
      for (const [x, y] of [[left, right], [right, left]]) {
        if (equal) {
          a.assertEquals(x, y);
          messageOf(() => a.assertNotEquals(x, y));
        } else {
          a.assertNotEquals(x, y);
          messageOf(() => a.assertEquals(x, y));
        }
      }
    });
  }

  it("shows both values and where bytes or long texts differ first", () => {
    says(messageOf(() => a.assertEquals({ a: 1 }, { a: 2 }, "why")), "why", "actual:", "{ a: 1 }", "{ a: 2 }");
    const [left, right] = [new Uint8Array(100), new Uint8Array(100)];
    right[90] = 0xab;
    says(messageOf(() => a.assertEquals(left, right)), "Uint8Array(100)", "first difference at byte 90", "ab");
    says(messageOf(() => a.assertEquals("x".repeat(500), "x".repeat(400) + "y")), "first difference at character 400");
    says(messageOf(() => a.assertEquals([new Uint8Array([1])], [new Uint8Array([2])])), "Uint8Array(1) [ 1 ]");
  });

  it("tells identity from equality", () => {
    const value = {};
    a.assertStrictEquals(value, value);
    a.assertStrictEquals(NaN, NaN);
    for (const [x, y] of [[{}, {}], [0, -0], [1, "1"]]) says(messageOf(() => a.assertStrictEquals(x, y)), "strictly");
  });

  it("tells truth, existence and class", () => {
    a.assert(1);
    a.assertFalse("");
    a.assertExists(0);
    a.assertInstanceOf(new TypeError(), Error);
    says(messageOf(() => a.assert(0, "why")), "why");
    says(messageOf(() => a.assertFalse("a", "why")), "why");
    says(messageOf(() => a.assertExists(null)), "null");
    says(messageOf(() => a.assertExists(undefined)), "undefined");
    says(messageOf(() => a.assertInstanceOf({}, Point)), "Point");
    says(messageOf(() => a.fail("why")), "why");
  });

  it("compares numbers", () => {
    a.assertGreater(2, 1);
    a.assertGreaterOrEqual(2, 2);
    a.assertLess(1, 2);
    a.assertLessOrEqual(2, 2);
    a.assertAlmostEquals(0.1 + 0.2, 0.3);
    a.assertAlmostEquals(10, 12, 2);
    messageOf(() => a.assertGreater(2, 2));
    messageOf(() => a.assertGreaterOrEqual(1, 2));
    messageOf(() => a.assertLess(2, 2));
    messageOf(() => a.assertLessOrEqual(3, 2));
    messageOf(() => a.assertGreater(NaN, 2));
    says(messageOf(() => a.assertAlmostEquals(10, 12, 1)), "10", "12", "delta 2");
    messageOf(() => a.assertAlmostEquals(NaN, 1));
  });

  it("looks into texts, arrays and objects", () => {
    a.assertStringIncludes("abc", "b");
    a.assertMatch("abc", /B/i);
    a.assertNotMatch("abc", /d/);
    a.assertArrayIncludes([1, { a: 1 }, 3], [{ a: 1 }, 1]);
    a.assertObjectMatch({ a: 1, b: { c: [1, { d: 2, e: 3 }] } }, { b: { c: [1, { d: 2 }] } });
    says(messageOf(() => a.assertStringIncludes("abc", "d")), "abc", "d");
    says(messageOf(() => a.assertMatch("abc", /d/)), "abc", "/d/");
    messageOf(() => a.assertNotMatch("abc", /b/));
    says(messageOf(() => a.assertArrayIncludes([1, 2], [2, 3])), "missing: [ 3 ]");
    for (const part of [{ b: 1 }, { a: 2 }, { a: { b: 1 } }, { l: [1, 3] }, { l: [1, 2, 3] }, { u: undefined }]) {
      says(messageOf(() => a.assertObjectMatch({ a: 1, l: [1, 2] }, part)), "does not match");
    }
    messageOf(() => a.assertObjectMatch({ a: new Uint8Array([1, 2]) }, { a: new Uint8Array([1]) }));
  });

  it("catches what a function throws, and refuses another class or message, or none", () => {
    const thrown = new TypeError("not this");
    const act = (): never => {
      throw thrown;
    };
    if (a.assertThrows(act) !== thrown || a.assertThrows(act, TypeError, "this") !== thrown) throw new Error("other");
    says(messageOf(() => a.assertThrows(act, RangeError)), `instance of "RangeError", but was "TypeError"`);
    says(messageOf(() => a.assertThrows(act, TypeError, "that")), "that", "not this");
    says(messageOf(() => a.assertThrows(() => 1, Error, "", "why")), "Expected function to throw", "why");
    says(messageOf(() => a.assertThrows(() => 1, "why")), "why");
    says(
      messageOf(() =>
        a.assertThrows(() => {
          throw "text";
        }, Error)
      ),
      "Error object",
    );
  });

  it("catches what a promise rejects with, and refuses another class or message, or none, or a throw", async () => {
    const reason = new TypeError("not this");
    const act = (): Promise<void> => Promise.reject(reason);
    if (await a.assertRejects(act) !== reason) throw new Error("other");
    if (await a.assertRejects(act, TypeError, "this") !== reason) throw new Error("other");
    says(await rejectionOf(() => a.assertRejects(act, RangeError)), "RangeError");
    says(await rejectionOf(() => a.assertRejects(act, TypeError, "that")), "that", "not this");
    says(await rejectionOf(() => a.assertRejects(() => Promise.resolve(1), "why")), "to reject", "why");
    says(
      await rejectionOf(() =>
        a.assertRejects(() => {
          throw reason;
        })
      ),
      "throws when expected to reject",
    );
  });
});
