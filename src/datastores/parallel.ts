/**
 * Bounded parallelism.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import type { DatastoreCallOptions } from "./datastore.ts";

/**
 * Calls `act` on every item, at most `limit` at once; results come in the order of the items. After the first rejection
 * no further call begins. Once those under way have settled, the result rejects with it.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  act: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let failure: { reason: unknown } | undefined;
  const worker = async () => {
    while (next < items.length && !failure) {
      const i = next++;
      try {
        results[i] = await act(items[i]!);
      } catch (reason) {
        failure ??= { reason };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failure) throw (failure as { reason: unknown }).reason;
  return results;
}

/**
 * Calls `act` on every name, at most `limit` at once. A TundraError becomes its name's result. An abort ends all, and
 * so does what `onRequest` throws.
 */
export async function forEachName<R>(
  names: readonly string[],
  limit: number,
  options: DatastoreCallOptions = {},
  act: (name: string, i: number, options: DatastoreCallOptions) => Promise<R | Error>,
): Promise<(R | Error)[]> {
  const { signal } = options;
  signal?.throwIfAborted();
  let stopped: { reason: unknown } | undefined;
  const onRequest = () => {
    if (stopped) throw stopped.reason;
    try {
      options.onRequest?.();
    } catch (reason) {
      stopped = { reason };
      throw reason;
    }
  };
  return await inParallel(names.map((_, i) => i), limit, async (i) => {
    try {
      return await act(names[i]!, i, { signal, onRequest });
    } catch (error) {
      if (stopped || signal?.aborted || !(error instanceof TundraError)) throw error;
      return error;
    }
  });
}
