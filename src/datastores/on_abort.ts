/**
 * One listener a signal, however many requests it ends: Node warns of a leak from the eleventh on.
 * @module
 */

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
    watch = { acts, end: () => signal.removeEventListener("abort", aborted) };
    watches.set(signal, watch);
  }
  const { acts, end } = watch;
  const own = () => act(); // the same function may be given twice
  acts.add(own);
  return () => {
    if (!acts.delete(own) || acts.size > 0) return;
    end();
    watches.delete(signal);
  };
}
