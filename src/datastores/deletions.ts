/**
 * The error of a call in which some of several objects could not be deleted.
 * @module
 */
import { TundraError } from "../base/errors.ts";

/** An error that names those objects, in the order of `names`; `retryable` if any of their errors is. */
export function deletionFailure(names: readonly string[], errors: ReadonlyMap<string, Error>): TundraError {
  const keys = names.filter((name) => errors.has(name));
  const all = [...errors.values()].filter((error) => error instanceof TundraError);
  const first = all.find((error) => error.retryable) ?? all[0]!;
  const more = keys.length > 1 ? ` (and ${keys.length - 1} more)` : "";
  return new TundraError(first.code, first.message + more, {
    keys,
    causes: Object.fromEntries(keys.map((name) => [name, errors.get(name)!])),
    retryable: first.retryable,
    cause: first,
  });
}
