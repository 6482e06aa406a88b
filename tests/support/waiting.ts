/**
 * Waiting in tests: for a time, for a condition, or for another part of the test.
 * @module
 */

/** A closed gate: `wait()` resolves after `open()`; `reached` resolves at the first `wait()`. */
export interface Gate {
  wait(): Promise<void>;
  open(): void;
  readonly reached: Promise<void>;
}

/** Makes a gate that is closed. */
export function gate(): Gate {
  let open!: () => void;
  let reach!: () => void;
  const opened = new Promise<void>((resolve) => open = resolve);
  const reached = new Promise<void>((resolve) => reach = resolve);
  return {
    wait() {
      reach();
      return opened;
    },
    open,
    reached,
  };
}

/** Waits for `ms` milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits until `met` is true; rejects after `withinMs`. */
export async function until(what: string, met: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!await met()) {
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(5);
  }
}
