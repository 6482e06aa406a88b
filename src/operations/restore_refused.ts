/**
 * Errors of a version that is not restored.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import type { RevivalOutcome } from "../scripts/restore_version.ts";

/** A reply was lost, and the key has changed since. */
export function mayBeRestored(key: string): TundraError {
  const must = "hear if it took effect: a reply was lost, and the key has changed since. It may have been restored";
  return new TundraError("UNAVAILABLE", `Cannot restore ${show(key)} as it must ${must}`, { keys: [key] });
}

/** The advice for a value that is not archived. */
export const RUN_A_TICK = "Call dirty() and run a tick first";

/** The error of a key that, as it is now, takes no version. */
export function conflict(key: string, rest: string): TundraError {
  return new TundraError("CONFLICT", `Cannot restore a version to ${show(key)} as ${rest}`, { keys: [key] });
}

/** The error for what the script said. */
export function refusal(key: string, exp: number, outcome: Exclude<RevivalOutcome, { expMs: number }>): TundraError {
  if (typeof outcome === "object") {
    const must = `accept its payload: ${outcome.refused}`;
    return new TundraError("UNSUPPORTED", `Cannot restore ${show(key)} as Redis must ${must}`, { keys: [key] });
  }
  if (outcome === "unsupported") return unsupportedRecord("restore a version to", key);
  if (outcome === "dirty") {
    return conflict(key, "it must hold no change that is not archived: it does. Run a tick first");
  }
  if (outcome === "blind write") {
    return conflict(key, "it must not be written while evicted: call ensureKs() and see its error");
  }
  if (outcome === "occupied") return conflict(key, "no key may have that name: there is one, or it is evicted");
  if (outcome === "expired") {
    const must = `not be past its own expiry, ${
      new Date(exp).toISOString()
    }: pass { expired: true } to restore it without`;
    return new TundraError("MISSING", `Cannot restore ${show(key)} as the version must ${must}`, { keys: [key] });
  }
  return conflict(key, `it must hold what was archived: it was changed without a mark. ${RUN_A_TICK}`);
}
