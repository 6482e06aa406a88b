/**
 * untilBound: the work of an operation, ended by a bound without an error.
 * @module
 */
import type { Bounds } from "./bounds.ts";

/**
 * Works until the end, a bound, or an abort; tells if it was the end. Any other failure is thrown. A call that was
 * aborted before it began does nothing.
 */
export async function untilBound(
  bounds: Pick<Bounds, "signal" | "requestsLeft">,
  work: () => Promise<boolean>,
): Promise<boolean> {
  if (bounds.signal?.aborted) return false;
  try {
    return await work();
  } catch (thrown) {
    // retries may use up the requests in the middle of a step
    if (bounds.signal?.aborted || bounds.requestsLeft() <= 0) return false;
    throw thrown;
  }
}
