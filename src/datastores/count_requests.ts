/**
 * The requests of a call of a datastore: those that it tells of, or one if it tells of none.
 * @module
 */

/** Calls a datastore: `onRequest` is called for each request that it tells of, or `untold` afterwards if for none. */
export async function countRequests<T>(
  act: (onRequest: () => void) => Promise<T>,
  onRequest: () => void,
  untold: () => void,
): Promise<T> {
  let told = false;
  try {
    return await act(() => {
      told = true;
      onRequest();
    });
  } finally {
    if (!told) untold();
  }
}
