/**
 * The assertions themselves: what they accept, and what they must not.
 * @module
 */
import type { Assert, Equal } from "./equal.ts";

export type Same = Assert<Equal<{ a: string; b?: number }, { a: string; b?: number }>>;
// @ts-expect-error a union is wider than one of its members
export type Wider = Assert<Equal<"a" | "b", "a">>;
// @ts-expect-error string is wider than a union of strings
export type AnyText = Assert<Equal<string, "a" | "b">>;
// @ts-expect-error one of them is optional
export type Optional = Assert<Equal<{ a?: string }, { a: string }>>;
// @ts-expect-error one of them is readonly
export type Readonly = Assert<Equal<{ readonly a: string }, { a: string }>>;
// @ts-expect-error any equals nothing else
// deno-lint-ignore no-explicit-any
export type Anything = Assert<Equal<any, string>>;
