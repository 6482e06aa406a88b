/**
 * The store's policy: which values ticks evict.
 * @module
 */
import { ignoreErrors } from "../base/callbacks.ts";
import type { Context } from "./context.ts";

type Policy = Pick<Context, "evictable" | "minEvictBytes">;

/** Tells if ticks may evict this key, whatever its size. If the application's function throws, it stays. */
export function mayBeEvicted({ evictable }: Policy, key: string): boolean {
  if (!evictable) return true;
  let answer: unknown;
  ignoreErrors(() => answer = evictable(key));
  return answer === true;
}

/** The least bytes of a payload that ticks evict; more than any has if the key stays. */
export function leastEvicted(policy: Policy, key: string): number {
  return mayBeEvicted(policy, key) ? policy.minEvictBytes : Number.MAX_SAFE_INTEGER;
}
