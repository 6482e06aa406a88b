/**
 * The store's own calls in an exploration: programs of one call.
 * @module
 */
import { checkEnsure, checkError, checkEvict, checkTick } from "../simulation/workload.ts";
import type { Actor, Program } from "./explore_process.ts";

/** A tick. */
export function tickProgram(name: string, number: number, leaseMs: number): Program {
  return {
    name,
    number,
    async run({ store, call }) {
      await call("tick", [], () => store.tick({ leaseMs, retryBackoffMs: 0 }), (view, _op, report, error) => {
        if (error) checkError(view, "tick", error);
        checkTick(view, report?.errors ?? []);
      });
    },
  };
}

/** ensureKs(); its result says whether it resolved. */
export function ensureProgram(name: string, number: number, keys: readonly string[]): Program {
  return { name, number, timeless: true, run: async (actor) => await ensureAll(actor, keys) };
}

/** ensureKs() in a program. */
export async function ensureAll(
  { store, call }: Actor,
  keys: readonly string[],
): Promise<boolean> {
  const done = await call("ensureKs", keys, () => store.ensureKs(...keys), (view, op, _value, error) => {
    if (error) checkError(view, "ensureKs", error);
    if (!view.stale) checkEnsure(view, op, error);
  });
  return done !== undefined;
}

/** evict(). */
export function evictProgram(name: string, number: number, keys: readonly string[]): Program {
  return {
    name,
    number,
    timeless: true,
    async run({ store, call }) {
      await call("evict", keys, () => store.evict(...keys), (view, op, report, error) => {
        if (error) checkError(view, "evict", error);
        checkEvict(view, op, report?.evicted ?? []);
      });
    },
  };
}
