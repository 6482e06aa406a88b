import { describe, it } from "node:test";
import { assert, assertEquals, assertFalse, assertLess, assertStrictEquals } from "@std/assert";
import {
  asTundraError,
  badArgument,
  isKeysOwn,
  isNotFound,
  notFound,
  show,
  TundraError,
  type TundraErrorCode,
} from "../../src/base/errors.ts";

describe("TundraError", () => {
  it("is an Error with a name, a code, a message and a stack", () => {
    const error = new TundraError("MISSING", "Cannot mark");
    assert(error instanceof Error);
    assertEquals([error.name, error.code, error.message], ["TundraError", "MISSING", "Cannot mark"]);
    assertEquals(String(error), "TundraError: Cannot mark");
    assert(error.stack?.includes("errors.test"), "the stack names the caller");
  });

  it("has no keys, no causes and no cause unless it is given them", () => {
    const error = new TundraError("MISSING", "Cannot mark");
    assertEquals(error.keys, []);
    assertEquals(Object.keys(error.causes), []);
    assertFalse("cause" in error);
  });

  it("carries keys, causes by key and the error behind it", () => {
    const [inner, cause] = [new Error("inner"), new TypeError("cause")];
    const error = new TundraError("ENSURE_FAILED", "Cannot", { keys: ["a"], causes: { a: inner }, cause });
    assertEquals(error.keys, ["a"]);
    assertStrictEquals(error.causes["a"], inner);
    assertStrictEquals(error.cause, cause);
  });

  it("has no cause for a key like __proto__ or constructor if none was given", () => {
    const { causes } = new TundraError("ENSURE_FAILED", "Cannot");
    assertEquals([causes["__proto__"], causes["constructor"], causes["toString"]], [undefined, undefined, undefined]);
  });

  it("is retryable by default only when the server is unavailable, and as told otherwise", () => {
    const codes: TundraErrorCode[] = [
      ...(["BAD_ARGUMENT", "MISSING", "ENSURE_FAILED", "UNAVAILABLE", "CONFLICT"] as const),
      ...(["CORRUPT", "LOST", "NOT_FOUND", "TOO_LARGE", "UNSUPPORTED"] as const),
    ];
    assertEquals(codes.filter((code) => new TundraError(code, "").retryable), ["UNAVAILABLE"]);
    assertFalse(new TundraError("UNAVAILABLE", "", { retryable: false }).retryable);
    assert(new TundraError("CORRUPT", "", { retryable: true }).retryable);
  });
});

describe("isKeysOwn", () => {
  it("blames no key for a store that is unavailable, also if only a person can end that, and for what may yet succeed", () => {
    for (const retryable of [true, false]) assertFalse(isKeysOwn(new TundraError("UNAVAILABLE", "", { retryable })));
    for (const code of ["TOO_LARGE", "UNSUPPORTED", "CORRUPT", "BAD_ARGUMENT"] as const) {
      assert(isKeysOwn(new TundraError(code, "")), code);
      assertFalse(isKeysOwn(new TundraError(code, "", { retryable: true })), code);
    }
  });
});

describe("notFound and isNotFound", () => {
  it("name the object, and are told from every other error", () => {
    const error = notFound("default/a/1");
    assertEquals([error.code, error.retryable], ["NOT_FOUND", false]);
    assertEquals(error.message, `Cannot fetch "default/a/1" as the archive must hold it: it does not exist`);
    assert(isNotFound(error));
    for (const other of [new TundraError("UNAVAILABLE", ""), new Error("NOT_FOUND"), { code: "NOT_FOUND" }, null]) {
      assertFalse(isNotFound(other));
    }
  });
});

describe("badArgument", () => {
  it("says what cannot be done, what must be and what is", () => {
    const error = badArgument("tick", "maxKeys", "a whole number above 0", -1.5);
    assertEquals(error.code, "BAD_ARGUMENT");
    assertEquals(error.message, "Cannot tick as maxKeys must be a whole number above 0: current value is -1.5");
  });
});

describe("show", () => {
  const circular: Record<string, unknown> = Object.create(null);
  circular.self = circular;
  const values: [what: string, value: unknown, shown: string][] = [
    ["text quoted, on one line", `a"b\nc`, `"a\\"b\\nc"`],
    ["a number", 1.5, "1.5"],
    ["undefined", undefined, "undefined"],
    ["null", null, "null"],
    ["a bigint", 12n, "12n"],
    ["a symbol", Symbol("s"), "Symbol(s)"],
    ["a function, not its source", () => "secret", "a function"],
    ["an object, not what its fields hold", { a: [1], token: "secret" }, `{"a":"...","token":"..."}`],
    ["an array", ["a", { token: "secret" }], `["a",{"token":"..."}]`],
    ["what is circular", circular, `{"self":"..."}`],
    ["a toJSON that throws", {
      toJSON: () => {
        throw new Error();
      },
    }, "[object Object]"],
    [
      "what has neither JSON nor text",
      Object.assign(Object.create(null), {
        toJSON: () => {
          throw new Error();
        },
      }),
      "an object",
    ],
  ];
  for (const [what, value, shown] of values) {
    it(`shows ${what}`, () => assertEquals(show(value), shown));
  }

  it("shortens what is long and says how long it was", () => {
    const shown = show("x".repeat(5000));
    assertEquals(shown, `"${"x".repeat(99)}... (5000 characters)`);
    assertEquals(show("y".repeat(118)), `"${"y".repeat(118)}"`);
    assertLess(show({ value: "z".repeat(100_000) }).length, 150);
  });
});

describe("asTundraError", () => {
  it("leaves a TundraError as it is", () => {
    const error = new TundraError("LOST", "gone");
    assertStrictEquals(asTundraError(error, "fetch"), error);
  });

  it("makes anything else UNAVAILABLE, with the reason and the cause", () => {
    const cause = new TypeError("fetch failed");
    const error = asTundraError(cause, "reach Redis");
    assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
    assertEquals(error.message, "Cannot reach Redis: fetch failed");
    assertStrictEquals(error.cause, cause);
    assertEquals(asTundraError("text", "reach Redis").message, "Cannot reach Redis: text");
    assertEquals(asTundraError(undefined, "reach Redis").message, "Cannot reach Redis: undefined");
    assertEquals(asTundraError({ token: "secret" }, "reach Redis").message, "Cannot reach Redis: [object Object]");
    assertEquals(asTundraError(Object.create(null), "reach Redis").message, "Cannot reach Redis: an object");
  });
});
