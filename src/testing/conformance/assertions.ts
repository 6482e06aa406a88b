/**
 * The assertions of the conformance suite: few, and of no library, so that an application needs none.
 * @module
 */
import { TundraError } from "../../base/errors.ts";

/** Fails unless a value is as it must be: bytes by content and class, arrays and plain objects by their parts. */
export function equal(actual: unknown, expected: unknown, what = "the value"): void {
  if (!same(actual, expected)) throw new Error(`${what} must be ${shown(expected)}: current value is ${shown(actual)}`);
}

/** Fails with this message unless the condition holds. */
export function must(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** Fails unless these are the same bytes; says how they differ, and prints none of them. */
export function sameBytes(actual: unknown, expected: Uint8Array, what: string): void {
  if (!(actual instanceof Uint8Array) || actual.constructor !== Uint8Array) {
    throw new Error(`${what} must be a Uint8Array of ${expected.length} bytes: current value is ${shown(actual)}`);
  }
  must(
    actual.length === expected.length,
    `${what} must have ${expected.length} bytes: current value is ${actual.length}`,
  );
  let at = 0; // megabytes: no call for each byte
  while (at < expected.length && actual[at] === expected[at]) at++;
  must(at === expected.length, `${what} must have the byte ${expected[at]} at ${at}: current value is ${actual[at]}`);
}

/** The reason for which a call rejects; fails if it does not. */
export async function rejection(call: () => Promise<unknown>, what: string): Promise<unknown> {
  let resolved: unknown;
  try {
    resolved = await call();
  } catch (reason) {
    return reason;
  }
  throw new Error(`${what} must reject: it resolved to ${shown(resolved)}`);
}

/** The code of an error in a slot; anything else as it is. */
export function codeOf(slot: unknown): unknown {
  return slot instanceof TundraError ? slot.code : slot;
}

function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Error || a.constructor !== b.constructor) return false;
  if (a instanceof Uint8Array) return a.length === (b as Uint8Array).length && a.every((v, i) => v === (b as never)[i]);
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  return keys.length === others.length &&
    keys.every((key) => Object.hasOwn(b, key) && same((a as never)[key], (b as never)[key]));
}

function shown(value: unknown): string {
  if (value instanceof TundraError) return `${value.code} (${value.message})`;
  if (value instanceof Error) return `${value.name} (${value.message})`;
  if (value instanceof Uint8Array) {
    const hex = Array.from(value.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    return `${value.constructor.name} of ${value.length} bytes${hex && `, ${hex}`}`;
  }
  if (Array.isArray(value)) {
    const more = value.length > 12 ? `, and ${value.length - 12} more` : "";
    return `[${value.slice(0, 12).map(shown).join(", ")}${more}]`;
  }
  if (typeof value === "object" && value !== null) {
    return `{ ${Object.entries(value).map(([key, field]) => `${key}: ${shown(field)}`).join(", ")} }`;
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
