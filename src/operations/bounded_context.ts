/**
 * boundedContext: a store's calls within the bounds of an operation.
 * @module
 */
import type { Context } from "../core/context.ts";
import type { Datastore, DatastoreCallOptions } from "../datastores/datastore.ts";
import type { CallOptions } from "../upstash/connection.ts";
import { withOptions } from "../upstash/with_options.ts";
import type { Bounds } from "./bounds.ts";

/**
 * The same store, but each of its requests is counted, and refused at a bound, as the operation's own; a call that
 * counts by itself goes on doing so. Pass it to calls of the store only: what is given the operation's own options would
 * count twice.
 *
 * @param aborts `false`: the call itself is told to end, and may end what it has begun
 */
export function boundedContext({ call, context, counted }: Bounds, aborts = true): Context {
  const { connection, scripts } = withOptions(context.connection, context.index.scripts, (own): CallOptions => ({
    ...(aborts && call.signal && { signal: call.signal }),
    ...own,
    onRequest() {
      call.onRequest?.();
      own?.onRequest?.();
    },
    onCommands(count) {
      call.onCommands?.(count);
      own?.onCommands?.(count);
    },
  }));
  const { datastore: given } = context;
  const { deleteKeys, fetchRanges, hasKeys, listKeys } = given;
  /** Counts for the operation, and for the call. */
  const bounded = <T, O extends DatastoreCallOptions>(
    own: O | undefined,
    act: (options: O) => Promise<T>,
  ): Promise<T> =>
    counted((options) => {
      const onRequest = () => {
        options.onRequest?.();
        own?.onRequest?.();
      };
      const signal = own?.signal ?? (aborts ? options.signal : undefined);
      return act({ ...own, ...(signal && { signal }), onRequest } as O);
    });
  const datastore: Datastore = {
    ...given,
    putKey: (name, value, own) => bounded(own, (options) => given.putKey(name, value, options)),
    fetchKeys: (names, own) => bounded(own, (options) => given.fetchKeys(names, options)),
    ...(fetchRanges && { fetchRanges: (reads, own) => bounded(own, (options) => fetchRanges(reads, options)) }),
    ...(deleteKeys && { deleteKeys: (names, own) => bounded(own, (options) => deleteKeys(names, options)) }),
    ...(hasKeys && { hasKeys: (names, own) => bounded(own, (options) => hasKeys(names, options)) }),
    ...(listKeys && {
      listKeys: (prefix, cursor, own) => bounded(own, (options) => listKeys(prefix, cursor, options)),
    }),
  };
  return { ...context, connection, datastore, index: { ...context.index, scripts } };
}
