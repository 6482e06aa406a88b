/**
 * Any number of keys in calls of a bounded size, and one error for all that failed.
 * @module
 */
import { showKeys } from "./keys.ts";
import { asTundraError, TundraError, type TundraErrorCode } from "./errors.ts";

/** Lua's `unpack` ends near 8,000 values. */
const MAX_KEYS = 1_000;
/** Upstash refuses requests over 10 MB. */
export const MAX_REQUEST_BYTES = 9_000_000;
/** After this many rounds of "look again" somebody else keeps changing the key. */
export const MAX_ROUNDS = 4;

/** Splits `items` so that no batch has more than 1,000 or weighs more than a request may. */
export function batches<T>(items: readonly T[], requestBytes: (item: T) => number): T[][] {
  const all: T[][] = [];
  let room = 0;
  for (const item of items) {
    const weight = requestBytes(item);
    const last = all.at(-1);
    if (last === undefined || last.length === MAX_KEYS || weight > room) {
      all.push([item]);
      room = MAX_REQUEST_BYTES - weight;
    } else {
      last.push(item);
      room -= weight;
    }
  }
  return all;
}

/** What one key takes in a script's request: its record's name and its own, its record's text, and arguments. */
export function keyBytes(key: string): number {
  const json = JSON.stringify(key).length;
  return 3 * 3 * json + 700;
}

/** Calls `act` for each batch of keys; what a call throws becomes the failure of each of its keys. */
export async function forBatches(
  keys: readonly string[],
  failures: Map<string, TundraError>,
  what: string,
  act: (batch: string[]) => Promise<void>,
): Promise<void> {
  for (const batch of batches(keys, keyBytes)) {
    try {
      await act(batch);
    } catch (thrown) {
      const error = asTundraError(thrown, what);
      for (const key of batch) if (!failures.has(key)) failures.set(key, error);
    }
  }
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
  const count = keys.length === 1 ? "1 key" : `${keys.length} keys`;
  return new TundraError(
    worst ?? otherwise,
    `Cannot ${what} ${count} (${showKeys(keys)}). ${keys.length > 1 ? "The first cause: " : ""}${cause.message}`,
    {
      keys,
      causes: Object.fromEntries(failures),
      cause: alsoFailed ?? cause,
      retryable: errors.every((error) => error.retryable),
    },
  );
}
