/**
 * Checks of arguments that several rooms make: bad input gets a clear error before anything is sent.
 * @module
 */
import { badArgument } from "./errors.ts";

/** A whole number in this range; infinite where the range is. */
export function checkNumber(
  what: string,
  name: string,
  value: unknown,
  least: number,
  most: number,
  unit: "" | " of milliseconds" = "",
): number {
  const fits = typeof value === "number" && value >= least && value <= most &&
    (Number.isInteger(value) || value === Infinity);
  if (!fits) {
    const number = `a whole number${unit}`;
    const must = most === Infinity ? `${number}, at least ${least}` : `${number} from ${least} to ${most}`;
    throw badArgument(what, name, must, value);
  }
  return value;
}

/** Refuses options that nobody reads: a misspelt bound would be no bound. */
export function checkNames(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw badArgument(what, "its options", "an object", options);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw badArgument(what, "an option", `one of ${known.join(", ")}`, name);
  }
}

/** A function, or nothing. */
export function checkFunction(what: string, name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") throw badArgument(what, name, "a function", typeof value);
}
