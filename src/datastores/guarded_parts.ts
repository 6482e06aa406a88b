/**
 * The checks of an upload in parts, as guarded.ts has them for other calls: its time limit begins anew with each part.
 * @module
 */
import { linkSignals, untilAborted } from "../base/abort.ts";
import { asTundraError, show, TundraError } from "../base/errors.ts";
import type { Datastore, DatastoreCallOptions } from "./datastore.ts";

/** The time limit of a part: a base, twice the datastore's limit for a request, and for each KB; in ms. */
const [BASE_MS, REQUEST_MS, KILOBYTE_MS] = [10_000, 10_000, 2];

/** Puts parts within their time, even if the datastore ignores its signal. Only `true` says that they are stored. */
export async function putParts(
  datastore: Datastore,
  name: string,
  parts: AsyncIterable<Uint8Array>,
  options?: DatastoreCallOptions,
): Promise<true> {
  const what = `put ${show(name)}`;
  const must = (must: string, is: string) =>
    new TundraError("UNAVAILABLE", `Cannot ${what} as the datastore must ${must}: ${is}`);
  options?.signal?.throwIfAborted();
  const link = linkSignals([options?.signal]);
  const allow = (bytes: number) => {
    const ms = BASE_MS + 2 * (datastore.timeoutMs ?? REQUEST_MS) + KILOBYTE_MS * Math.ceil(bytes / 1000);
    link.limit(ms, () => must("take each part in time", `it has not in ${ms} ms`));
  };
  const each = async function* () {
    for await (const part of parts) {
      allow(part.length);
      yield part;
    }
  };
  allow(0);
  try {
    const put = async () => await datastore.putParts!(name, each(), { ...options, signal: link.signal });
    const stored: unknown = await untilAborted(put(), link.signal);
    if (stored === true) return true;
    throw stored instanceof TundraError
      ? stored
      : must("resolve with true once it is stored", `current value is ${typeof stored}`);
  } catch (thrown) {
    if (options?.signal?.aborted) throw options.signal.reason;
    throw asTundraError(thrown, what);
  } finally {
    link.release();
  }
}
