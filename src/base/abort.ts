/**
 * Waiting until a signal is aborted or a time is over. One listener a signal, however many wait: Node warns of a leak
 * from the eleventh on.
 * @module
 */
import { after } from "./platform.ts";

interface Watch {
  acts: Set<() => void>;
  end: () => void;
}

const watches = new WeakMap<AbortSignal, Watch>();

/** Calls `act` when the signal is aborted, at once if it is; never after the returned function was called. */
export function onAbort(signal: AbortSignal, act: () => void): () => void {
  if (signal.aborted) {
    act();
    return () => {};
  }
  let watch = watches.get(signal);
  if (!watch) {
    const acts = new Set<() => void>();
    const aborted = () => acts.forEach((each) => each());
    signal.addEventListener("abort", aborted, { once: true });
    const end = () => {
      signal.removeEventListener("abort", aborted);
      watches.delete(signal);
    };
    watch = { acts, end };
    watches.set(signal, watch);
  }
  const { acts, end } = watch;
  const own = () => act(); // the same function may be given twice
  acts.add(own);
  return () => {
    if (acts.delete(own) && acts.size === 0) end();
  };
}

/** A signal that is aborted with others, or by a time limit of its own. */
export interface LinkedSignal {
  readonly signal: AbortSignal;
  /** Sets the time limit, from now on, in place of the one before. */
  limit(ms: number, reason: () => unknown): void;
  /** Ends its link to the others, and its limit. */
  release(): void;
}

/** Links a new signal to `signals`. (Not every runtime has AbortSignal.any.) */
export function linkSignals(signals: readonly (AbortSignal | undefined)[]): LinkedSignal {
  const controller = new AbortController();
  const acts = new Set<() => void>();
  watches.set(controller.signal, { acts, end: () => {} }); // nobody else aborts it: it needs no listener
  const abort = (reason: unknown) => {
    if (controller.signal.aborted) return;
    controller.abort(reason);
    acts.forEach((each) => each());
  };
  let cancel = () => {};
  const ends = signals.map((signal) => signal && onAbort(signal, () => abort(signal.reason)));
  return {
    signal: controller.signal,
    limit(ms, reason) {
      cancel();
      cancel = after(ms, () => abort(reason()));
    },
    release() {
      cancel();
      ends.forEach((end) => end?.());
    },
  };
}

/**
 * Resolves as the promise does, or rejects with the signal's reason as soon as it is aborted, even if the work ignores
 * its signal. `late` gets a value that comes after that.
 */
export function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  late?: (value: T) => void,
): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    let over = false;
    const end = onAbort(signal, () => {
      over = true;
      reject(signal.reason);
    });
    promise.then((value) => over ? late?.(value) : resolve(value), reject).finally(end);
  });
}

/** Resolves after `ms` milliseconds; rejects with the signal's reason as soon as it is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  let cancel = () => {};
  const time = new Promise<void>((resolve) => cancel = after(ms, resolve));
  return untilAborted(time, signal).finally(cancel);
}
