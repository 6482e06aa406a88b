/**
 * Checks of arguments that several rooms make: bad input gets a clear error before anything is sent.
 * @module
 */
import { badArgument } from "./errors.ts";

/** Checks for a whole number in this range (infinite if the range is), or nothing. */
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
  if (value !== undefined && !fits) {
    const number = `a whole number${unit}`;
    const must = most === Infinity ? `${number}, at least ${least}` : `${number} from ${least} to ${most}`;
    throw badArgument(what, name, must, value);
  }
  return value as number;
}

/** Refuses unknown options: a misspelt bound would be no bound. */
export function checkNames(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw badArgument(what, "its options", "an object", options);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw badArgument(what, "an option", `one of ${known.join(", ")}`, name);
  }
}

/** Checks for an AbortSignal, or nothing. */
export function checkSignal(what: string, name: string, value: unknown, must = "an AbortSignal"): void {
  const { addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  if (value !== undefined && typeof addEventListener !== "function") throw badArgument(what, name, must, typeof value);
}

/** Checks for `true`, `false`, or nothing. */
export function checkBoolean(what: string, name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "boolean") throw badArgument(what, name, "true or false", value);
}

/** Takes apart options with these names, if any, and the arguments that follow them. */
export function optionsFirst<T extends object>(
  what: string,
  args: readonly unknown[],
  names: readonly string[],
): { options: Partial<T>; keys: readonly unknown[] } {
  const [first, ...keys] = args;
  if (typeof first !== "object" || first === null || Array.isArray(first)) return { options: {}, keys: args };
  checkNames(what, first, names);
  return { options: first, keys };
}

/** Checks for something that has these methods. */
export function checkMethods(
  what: string,
  name: string,
  value: unknown,
  methods: readonly string[],
  must: string,
): void {
  for (const method of methods) {
    if (typeof (value as Record<string, unknown> | null | undefined)?.[method] !== "function") {
      throw badArgument(what, name, `${must} with ${method}()`, value);
    }
  }
}

/** Checks for a function, or nothing. */
export function checkFunction(what: string, name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") throw badArgument(what, name, "a function", typeof value);
}
