/**
 * Errors about one key that several operations share.
 * @module
 */
import { MAX_ROUNDS } from "./batches.ts";
import { show, TundraError } from "./errors.ts";

/** The error for a record that another version of this package wrote. */
export function unsupportedRecord(what: string, key: string): TundraError {
  return new TundraError(
    "UNSUPPORTED",
    `Cannot ${what} ${show(key)} as its record must be of a version that this package knows: it is of another one`,
    { keys: [key] },
  );
}

/** The error where a key was changed each time that it was looked at. */
export function movedOn(what: string, key: string): TundraError {
  return new TundraError(
    "UNAVAILABLE",
    `Cannot ${what} ${show(key)} as its record must hold still: it changed ${MAX_ROUNDS} times`,
    { keys: [key] },
  );
}
