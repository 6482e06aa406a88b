/**
 * Bounded parallelism.
 * @module
 */

/**
 * `act` on every item, at most `limit` at once; results in the order of the items. After the first rejection nothing more
 * is started, and once what runs has settled, the result rejects with it.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  act: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let failure: { reason: unknown } | undefined;
  const lane = async () => {
    while (next < items.length && !failure) {
      const i = next++;
      try {
        results[i] = await act(items[i]!);
      } catch (reason) {
        failure ??= { reason };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  if (failure) throw (failure as { reason: unknown }).reason;
  return results;
}
