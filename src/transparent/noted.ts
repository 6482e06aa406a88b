/**
 * The times at which keys were last noted to be in use: a key that is only read must not count as idle.
 * @module
 */
import { monotonicMs } from "../base/platform.ts";
import type { Context } from "../core/context.ts";
import { leastEvicted } from "../core/policy.ts";
import { TOUCH_MS } from "../scripts/check.ts";
import { touch } from "../scripts/touch.ts";

/** Keys that are remembered: some 1 MB. The use of others is noted again sooner. */
const MOST_KEYS = 10_000;

/** The uses that one client has noted. */
export interface Uses {
  /** Those of the keys whose use has to be noted again. */
  due(keys: readonly string[]): string[];
  /** Remembers that their use is noted. */
  note(keys: readonly string[]): void;
}

/** Remembers uses, in this process alone. */
export function usesOf(): Uses {
  const notedMs = new Map<string, number>();
  return {
    due: (keys) => keys.filter((key) => monotonicMs() - (notedMs.get(key) ?? -Infinity) >= TOUCH_MS),
    note(keys) {
      for (const key of keys) {
        notedMs.delete(key); // the oldest comes first
        notedMs.set(key, monotonicMs());
      }
      for (const key of notedMs.keys()) {
        if (notedMs.size <= MOST_KEYS) break;
        notedMs.delete(key);
      }
    },
  };
}

/** Notes the use of keys that have been idle. One request; those that have been evicted meanwhile stay away. */
export async function touchIdle(context: Context, keys: string[]): Promise<void> {
  await touch(context.index, keys, (key) => leastEvicted(context, key));
}
