/**
 * A semaphore: a bounded number of tasks go on at once.
 * @module
 */

/** Room for a bounded number of tasks, given in the order in which they asked. */
export interface Semaphore {
  /** Resolves when there is room; call the result, once, to give it back. */
  acquire(): Promise<() => void>;
}

/** Makes a semaphore for `most` tasks at once. */
export function semaphore(most: number): Semaphore {
  let free = most;
  const waiting: (() => void)[] = [];
  const giveBack = () => {
    const next = waiting.shift();
    if (next) next();
    else free++;
  };
  return {
    async acquire() {
      if (free > 0) free--;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      return giveBack;
    },
  };
}
