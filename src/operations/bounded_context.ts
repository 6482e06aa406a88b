/**
 * boundedContext: a store's calls within the bounds of an operation.
 * @module
 */
import type { Context } from "../core/context.ts";
import type { Datastore } from "../datastores/datastore.ts";
import { defaults, withOptions } from "../upstash/with_options.ts";
import type { Bounds } from "./bounds.ts";

/** The same store, but each of its requests is counted, and refused at a bound, as the operation's own. */
export function boundedContext({ call, context, counted }: Bounds): Context {
  const { connection, scripts } = withOptions(context.connection, context.index.scripts, defaults(call));
  const { datastore: given } = context;
  const { deleteKeys, fetchRanges, hasKeys, listKeys } = given;
  const datastore: Datastore = {
    ...given,
    putKey: (name, value, own) => counted((options) => given.putKey(name, value, { ...own, ...options })),
    fetchKeys: (names) => counted((options) => given.fetchKeys(names, options)),
    ...(fetchRanges && { fetchRanges: (reads) => counted((options) => fetchRanges(reads, options)) }),
    ...(deleteKeys && { deleteKeys: (names) => counted((options) => deleteKeys(names, options)) }),
    ...(hasKeys && { hasKeys: (names) => counted((options) => hasKeys(names, options)) }),
    ...(listKeys && { listKeys: (prefix, cursor) => counted((options) => listKeys(prefix, cursor, options)) }),
  };
  return { ...context, connection, datastore, index: { ...context.index, scripts } };
}
