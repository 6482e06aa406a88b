/**
 * Reads of ranges: their validation, and the error of a range that is too short.
 * @module
 */
import { checkNumber } from "../base/arguments.ts";
import { show, TundraError } from "../base/errors.ts";
import type { RangeRead } from "./datastore.ts";

/** Checks what is to be read, before anything is sent. */
export function checkReads(reads: readonly RangeRead[]): void {
  for (const { name, offset, length } of reads) {
    const what = `fetch a range of ${show(name)}`;
    const most = Number.MAX_SAFE_INTEGER;
    // checkNumber lets undefined pass
    checkNumber(what, "its length", length ?? NaN, 1, most);
    checkNumber(what, "its offset", offset ?? NaN, 0, most - length);
  }
}

/** The error of a range with another number of bytes than asked for; with fewer the object ends before it. */
export function wrongLength({ name, offset, length }: RangeRead, got: number): TundraError {
  const must = `the object must hold ${length} bytes from ${offset} on`;
  const message = `Cannot fetch a range of ${show(name)} as ${must}: current value is ${got} bytes`;
  return new TundraError(got < length ? "CORRUPT" : "UNAVAILABLE", message, { retryable: false });
}
