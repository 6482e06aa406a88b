/**
 * Any number of keys in calls of a bounded size, and one error for all that failed.
 * @module
 */
import { asTundraError, TundraError, type TundraErrorCode } from "../base/errors.ts";
import { countKeys, showKeys } from "../base/keys.ts";
import { inParts, keyBytes } from "../upstash/requests.ts";
import type { Context } from "./context.ts";
import { MAX_ROUNDS, movedOn } from "./key_errors.ts";

/**
 * Calls `act` for each batch of keys; an error that it throws becomes the failure of each of its keys. A batch that is
 * too large is halved: `act` may be called again for keys that it was called for.
 */
export async function forBatches(
  { connection }: Pick<Context, "connection">,
  keys: readonly string[],
  failures: Map<string, TundraError>,
  what: string,
  act: (batch: string[]) => Promise<void>,
): Promise<void> {
  const one = async (batch: string[]): Promise<void> => {
    try {
      await act(batch);
    } catch (thrown) {
      const error = asTundraError(thrown, what);
      if (error.code === "TOO_LARGE" && batch.length > 1) throw error;
      for (const key of batch) if (!failures.has(key)) failures.set(key, error);
    }
  };
  await inParts(keys, keyBytes, connection.requestLimit, one);
}

/**
 * Acts on a batch, then again on the keys that `act` returns: those that another client changed meanwhile. A key that
 * is returned too often fails.
 */
export async function inRounds(
  what: string,
  batch: string[],
  failures: Map<string, TundraError>,
  act: (keys: string[]) => Promise<string[]>,
): Promise<void> {
  let waiting = batch;
  for (let round = 0; round < MAX_ROUNDS && waiting.length > 0; round++) waiting = await act(waiting);
  for (const key of waiting) failures.set(key, movedOn(what, key));
}

/** The error of a call whose keys failed for these reasons; `codes` in the order in which one outranks the next. */
export function failed(
  what: string,
  failures: ReadonlyMap<string, TundraError>,
  codes: readonly TundraErrorCode[],
  otherwise: TundraErrorCode,
  alsoFailed?: unknown,
): TundraError {
  const keys = [...failures.keys()];
  const errors = [...failures.values()];
  const worst = codes.find((code) => errors.some((error) => error.code === code));
  const cause = errors.find((error) => error.code === worst) ?? errors[0]!;
  const error = new TundraError(
    worst ?? otherwise,
    `Cannot ${what} ${countKeys(keys)} (${showKeys(keys)}). ${
      keys.length > 1 ? "The first cause: " : ""
    }${cause.message}`,
    {
      keys,
      causes: Object.fromEntries(failures),
      // one key's message is in this one already: what is printed says it once
      cause: alsoFailed ?? (keys.length === 1 ? cause.cause : cause),
      retryable: errors.every((error) => error.retryable),
    },
  );
  if (keys.length === 1) Object.defineProperty(error, "causes", { enumerable: false });
  return error;
}
