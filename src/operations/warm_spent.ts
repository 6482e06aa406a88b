/**
 * Keys that take more requests than a call of `warm` has: they must not keep it from those behind them.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { showKeys } from "../base/keys.ts";
import type { Bounds } from "./bounds.ts";
import type { KeyErrors } from "./key_errors.ts";

/** The way in which a call goes through evicted keys. */
export interface Pace {
  readonly bounds: Bounds;
  readonly errors: KeyErrors;
  /** `true`: they are a list, of which nothing is kept between calls. */
  readonly isList: boolean;
  /** `true` until other keys have taken requests: what the next ones take then is more than a call has. */
  isFresh: boolean;
  /** `true`: they are brought back one by one, as some together took more requests than were left. */
  isSingly: boolean;
}

/** Tells if requests were used up before any of some keys was back. */
export function isSpent({ bounds }: Pace, thrown: unknown, keys: readonly string[]): boolean {
  if (!(thrown instanceof TundraError) || bounds.signal?.aborted) return false;
  return bounds.requestsLeft() <= 0 && thrown.keys.length === keys.length;
}

/**
 * Notes that; `true` if it is a key that takes more than a call has: it is reported, and the next call goes on behind it.
 * Of several the next call looks for it, one by one.
 */
export function noteSpent(pace: Pace, keys: string[]): boolean {
  const isIt = pace.isFresh && keys.length === 1;
  if (isIt || (pace.isFresh && pace.isList)) {
    const must = "take no more requests than maxSubrequests allows: they take more. Pass fewer, or raise it";
    const error = new TundraError("TOO_LARGE", `Cannot warm ${showKeys(keys)} as these must ${must}`, { keys });
    pace.errors.add(isIt ? keys[0]! : "", error);
  }
  pace.isSingly = !isIt;
  return isIt;
}
