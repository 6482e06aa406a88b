/**
 * A stand-in for the part of `jsr:@std/assert` that the tests use, so that they run where JSR is out of reach and on
 * runtimes that have no JSR. Own code with the same signatures and outcomes, never laxer; without `links` in deno.json
 * the real package takes its place.
 * @module
 */
import { inspect } from "node:util";

/** A class of errors, as `assertThrows` and others take it. */
// deno-lint-ignore no-explicit-any
type ErrorClass<E> = abstract new (...args: any[]) => E;

/** What every assertion here throws. */
export class AssertionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

const MAX_SHOWN = 4000;

function show(value: unknown): string {
  const text = value instanceof Uint8Array
    ? `${value.constructor.name}(${value.length}) <${hex(value)}>`
    : inspect(value, { depth: 12, sorted: true, maxArrayLength: 200, maxStringLength: 2000, breakLength: 100 });
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}... (${text.length} characters)` : text;
}

function hex(bytes: Uint8Array, from = 0): string {
  const shown = Array.from(bytes.subarray(from, from + 64), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return (from > 0 ? "... " : "") + shown + (bytes.length > from + 64 ? " ..." : "");
}

function suffix(msg: string | undefined): string {
  return msg ? `: ${msg}` : ".";
}

/** Where two values that look alike in print part. */
function firstDifference(actual: unknown, expected: unknown): string {
  if (actual instanceof Uint8Array && expected instanceof Uint8Array) {
    const at = indexOfDifference(actual, expected);
    const from = Math.max(0, at - 8);
    return `\n  first difference at byte ${at}: ${hex(actual, from)}\n  expected there: ${hex(expected, from)}`;
  }
  if (typeof actual === "string" && typeof expected === "string" && actual.length + expected.length > 200) {
    const at = indexOfDifference(actual, expected);
    const part = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 20), at + 60));
    return `\n  first difference at character ${at}: ${part(actual)}\n  expected there: ${part(expected)}`;
  }
  return "";
}

function indexOfDifference(a: ArrayLike<unknown>, b: ArrayLike<unknown>): number {
  let at = 0;
  while (at < a.length && at < b.length && a[at] === b[at]) at++;
  return at;
}

/** Are the two deeply equal? Classes count, `0` is `-0`, `NaN` is `NaN`, an absent property is not an undefined one. */
export function equal(c: unknown, d: unknown): boolean {
  return deepEqual(c, d, new Map());
}

function deepEqual(a: unknown, b: unknown, seen: Map<object, object>): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (classOf(a) !== classOf(b)) return false;
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (a instanceof RegExp || a instanceof URL) return String(a) === String(b);
  if (a instanceof WeakMap || a instanceof WeakSet) {
    throw new TypeError(`cannot compare ${a.constructor.name} instances`);
  }
  if (a instanceof WeakRef && b instanceof WeakRef) return deepEqual(a.deref(), b.deref(), seen);
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) return sameBytes(viewOf(a), viewOf(b));
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) return sameBytes(new Uint8Array(a), new Uint8Array(b));
  if (a instanceof Error && b instanceof Error && (a.name !== b.name || a.message !== b.message)) return false;
  if (isBox(a) && !Object.is(a.valueOf(), b.valueOf())) return false;
  if (seen.get(a) === b) return true;
  seen.set(a, b);
  if (a instanceof Map && b instanceof Map) return sameEntries(a, b, seen);
  if (a instanceof Set && b instanceof Set) return sameMembers(a, b, seen);
  if (Array.isArray(a) && a.length !== (b as unknown[]).length) return false;
  const keys = ownKeys(a);
  return keys.length === ownKeys(b).length && keys.every((key) =>
    Object.prototype.propertyIsEnumerable.call(b, key) &&
    deepEqual(a[key as keyof typeof a], b[key as keyof typeof b], seen)
  );
}

/** A null prototype counts as a plain object's. */
function classOf(value: object): unknown {
  return Object.getPrototypeOf(value)?.constructor ?? Object;
}

function isBox(value: object): boolean {
  return value instanceof Number || value instanceof String || value instanceof Boolean;
}

function ownKeys(value: object): PropertyKey[] {
  return Reflect.ownKeys(value).filter((key) => Object.prototype.propertyIsEnumerable.call(value, key));
}

function viewOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && indexOfDifference(a, b) === a.length;
}

function sameEntries(a: Map<unknown, unknown>, b: Map<unknown, unknown>, seen: Map<object, object>): boolean {
  if (a.size !== b.size) return false;
  const left = new Map(b);
  for (const [key, value] of a) {
    const match = left.has(key)
      ? key
      : [...left.keys()].find((other) => isObject(other) && deepEqual(key, other, seen));
    if (!left.has(match) || !deepEqual(value, left.get(match), seen)) return false;
    left.delete(match);
  }
  return true;
}

function sameMembers(a: Set<unknown>, b: Set<unknown>, seen: Map<object, object>): boolean {
  if (a.size !== b.size) return false;
  const left = new Set(b);
  for (const member of a) {
    const match = left.has(member)
      ? member
      : [...left].find((other) => isObject(other) && deepEqual(member, other, seen));
    if (!left.delete(match)) return false;
  }
  return true;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

/** Fails always. */
export function fail(msg?: string): never {
  throw new AssertionError(`Failed assertion${suffix(msg)}`);
}

/** `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** `expr` is falsy. */
export function assertFalse(expr: unknown, msg = ""): asserts expr is false | 0 | 0n | "" | null | undefined {
  if (expr) throw new AssertionError(msg);
}

/** The two are deeply equal, see {@linkcode equal}. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  throw new AssertionError(
    `Values are not equal${suffix(msg)}\n  actual:   ${show(actual)}\n  expected: ${show(expected)}` +
      firstDifference(actual, expected),
  );
}

/** The two are not deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) return;
  throw new AssertionError(
    `Expected actual: ${show(actual)} not to be: ${show(expected)}${suffix(msg)}`,
  );
}

/** The two are the same value (`Object.is`). */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  if (Object.is(actual, expected)) return;
  throw new AssertionError(
    `Values are not strictly equal${suffix(msg)}\n  actual:   ${show(actual)}\n  expected: ${show(expected)}` +
      firstDifference(actual, expected),
  );
}

/** `actual` is neither null nor undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    throw new AssertionError(`Expected actual: "${actual}" to not be null or undefined${suffix(msg)}`);
  }
}

/** `actual` is an instance of the class. */
export function assertInstanceOf<E>(actual: unknown, expectedType: ErrorClass<E>, msg?: string): asserts actual is E {
  if (actual instanceof expectedType) return;
  throw new AssertionError(
    `Expected object to be an instance of "${expectedType.name}" but was ${show(actual)}${suffix(msg)}`,
  );
}

/** `|actual - expected|` is at most `tolerance`, which is a ten-millionth of `expected` by default. */
export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, msg?: string): void {
  if (Object.is(actual, expected)) return;
  const most = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const delta = Math.abs(expected - actual);
  if (delta <= most) return;
  throw new AssertionError(
    `Expected actual: ${actual} to be close to ${expected}: delta ${delta} is greater than ${most}${suffix(msg)}`,
  );
}

/** `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (actual > expected) return;
  throw new AssertionError(`Expect ${show(actual)} > ${show(expected)}${suffix(msg)}`);
}

/** `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (actual >= expected) return;
  throw new AssertionError(`Expect ${show(actual)} >= ${show(expected)}${suffix(msg)}`);
}

/** `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (actual < expected) return;
  throw new AssertionError(`Expect ${show(actual)} < ${show(expected)}${suffix(msg)}`);
}

/** `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (actual <= expected) return;
  throw new AssertionError(`Expect ${show(actual)} <= ${show(expected)}${suffix(msg)}`);
}

/** `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(`Expected actual: ${show(actual)} to contain: ${show(expected)}${suffix(msg)}`);
}

/** `actual` matches. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.test(actual)) return;
  throw new AssertionError(`Expected actual: ${show(actual)} to match: ${expected}${suffix(msg)}`);
}

/** `actual` does not match. */
export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void {
  if (!expected.test(actual)) return;
  throw new AssertionError(`Expected actual: ${show(actual)} to not match: ${expected}${suffix(msg)}`);
}

/** `actual` holds something deeply equal to each of `expected`. */
export function assertArrayIncludes<T>(actual: ArrayLike<T>, expected: ArrayLike<T>, msg?: string): void {
  const missing = Array.from(expected).filter((wanted) => !Array.from(actual).some((held) => equal(wanted, held)));
  if (missing.length === 0) return;
  throw new AssertionError(
    `Expected actual: ${show(actual)} to include: ${show(expected)}${suffix(msg)}\n  missing: ${show(missing)}`,
  );
}

/** `actual` has at least what `expected` has, deeply; arrays of `expected` match the beginning. */
export function assertObjectMatch(
  // deno-lint-ignore no-explicit-any
  actual: Record<PropertyKey, any>,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
): void {
  if (covers(actual, expected, new Map())) return;
  throw new AssertionError(
    `Object does not match${suffix(msg)}\n  actual:   ${show(actual)}\n  expected at least: ${show(expected)}`,
  );
}

function covers(actual: unknown, expected: unknown, seen: Map<object, unknown>): boolean {
  if (!isObject(expected) || !isObject(actual)) return equal(actual, expected);
  const [a, e] = [actual as object, expected as object];
  if (seen.get(e) === a) return true;
  seen.set(e, a);
  if (e instanceof Map) {
    return a instanceof Map && [...e].every(([key, value]) => a.has(key) && covers(a.get(key), value, seen));
  }
  if (e instanceof Set) return a instanceof Set && [...e].every((member) => a.has(member));
  const opaque = ArrayBuffer.isView(e) || e instanceof ArrayBuffer || e instanceof Date || e instanceof RegExp ||
    e instanceof URL || e instanceof Error;
  if (opaque || Array.isArray(e) !== Array.isArray(a)) return equal(a, e);
  return ownKeys(e).every((key) => key in a && covers(a[key as keyof typeof a], e[key as keyof typeof e], seen));
}

/** `error` is an error of the class, and its message has the text or matches. */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  ErrorClass?: ErrorClass<E>,
  msgMatches?: string | RegExp,
  msg?: string,
): asserts error is E {
  if (!(error instanceof Error)) {
    throw new AssertionError(`Expected "error" to be an Error object${suffix(msg)} It is ${show(error)}`);
  }
  if (ErrorClass && !(error instanceof ErrorClass)) {
    throw new AssertionError(
      `Expected error to be instance of "${ErrorClass.name}", but was "${error.constructor?.name}"${suffix(msg)}`,
      { cause: error },
    );
  }
  if (msgMatches === undefined || msgMatches === "") return;
  const matches = typeof msgMatches === "string" ? error.message.includes(msgMatches) : msgMatches.test(error.message);
  if (!matches) {
    throw new AssertionError(
      `Expected error message to include ${show(msgMatches)}, but got ${show(error.message)}${suffix(msg)}`,
      { cause: error },
    );
  }
}

/** `fn` throws; what it threw is returned. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** `fn` throws an error of the class whose message contains the text; the error is returned. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const text = typeof classOrMsg === "string" ? classOrMsg : msg;
  try {
    fn();
  } catch (error) {
    if (typeof classOrMsg === "function") assertIsError(error, classOrMsg, msgIncludes, text);
    return error;
  }
  throw new AssertionError(`Expected function to throw${suffix(text)}`);
}

/** `fn` returns a promise that rejects; what it rejects with is returned. Throwing at once is not rejecting. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** `fn` returns a promise that rejects with an error of the class whose message contains the text; it is returned. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const text = typeof classOrMsg === "string" ? classOrMsg : msg;
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (error) {
    throw new AssertionError(`Function throws when expected to reject${suffix(text)}`, { cause: error });
  }
  if (typeof promise?.then !== "function") {
    throw new AssertionError(`Function returned no promise when expected to reject${suffix(text)}`);
  }
  try {
    await promise;
  } catch (error) {
    if (typeof classOrMsg === "function") assertIsError(error, classOrMsg, msgIncludes, text);
    return error;
  }
  throw new AssertionError(`Expected function to reject${suffix(text)}`);
}
