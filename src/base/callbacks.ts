/**
 * Callbacks of the application.
 * @module
 */

/** Runs a callback and ignores what it throws, and what its promise rejects with. */
export function ignoreErrors(act: () => unknown): void {
  (async () => await act())().catch(() => {}); // a failing logger must not cost a key
}
