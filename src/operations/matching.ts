/**
 * Patterns of keys.
 * @module
 */
import { badArgument } from "../base/errors.ts";

const MOST = 1_024;

/** Checks for a pattern of Redis' `SCAN`, or nothing. */
export function checkMatch(what: string, match: unknown): void {
  if (match === undefined || (typeof match === "string" && match.length <= MOST && match.isWellFormed())) return;
  throw badArgument(what, "match", `a pattern of at most ${MOST} characters`, match);
}
