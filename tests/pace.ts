/**
 * How many test files run at a time: one more when a core was idle, one less when all were busy. Files wait for timers
 * and servers for about half of their time, and a test that waits for a timer must not wait for a core as well.
 * @module
 */
import { cpus } from "node:os";

/** From one look at the cores to the next: what a file that has begun needs must show. */
export const LOOK_MS = 500;

/** A moment, and the time for which the cores have been idle until then, all together. */
export interface Look {
  atMs: number;
  idleMs: number;
}

/** Returns what tells how many files may run now, from `least` to `most`; ask it about every `LOOK_MS`. */
export function pace(least: number, most: number, look: () => Look = lookAtCores): () => number {
  let files = least;
  let last = look();
  return () => {
    const now = look();
    const ms = now.atMs - last.atMs;
    if (ms < LOOK_MS) return files;
    const idleCores = (now.idleMs - last.idleMs) / ms;
    if (idleCores > 0.6) files = Math.min(most, files + 1);
    else if (idleCores < 0.2) files = Math.max(least, files - 1);
    last = now;
    return files;
  };
}

function lookAtCores(): Look {
  return { atMs: performance.now(), idleMs: cpus().reduce((sum, { times }) => sum + times.idle, 0) };
}
