/**
 * The only place where time, timers and randomness come from. Nothing here runs at import.
 * @module
 */

/** Milliseconds of a clock that never goes back; only differences mean anything. */
export function monotonicMs(): number {
  return performance.now();
}

/** The wall clock, milliseconds since 1970. */
export function wallClockMs(): number {
  return Date.now();
}

/** A random UUID, version 4. */
export function uuid(): string {
  return crypto.randomUUID();
}

/** Eight random hexadecimal digits. */
export function nonce(): string {
  return crypto.getRandomValues(new Uint32Array(1))[0]!.toString(16).padStart(8, "0");
}

/** A random number in [0, 1), for jitter. */
export function random(): number {
  return Math.random();
}

/** Resolves after `ms` milliseconds; rejects with the signal's reason as soon as it is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const aborted = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, ms);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** Calls `act` after `ms` milliseconds unless the returned function is called first. */
export function after(ms: number, act: () => void): () => void {
  const timer = setTimeout(act, ms);
  return () => clearTimeout(timer);
}
