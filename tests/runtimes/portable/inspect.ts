/**
 * Stands in for `node:util` in the portable bundle, whose assertions want to print values.
 * @module
 */

/** A value for a message. */
export function inspect(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  return JSON.stringify(value, (_, one) => one instanceof Uint8Array ? `bytes ${[...one]}` : one) ?? String(value);
}
