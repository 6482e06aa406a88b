/**
 * observe: counts what one call of a store does, and tells the listener.
 * @module
 */
import { asTundraError, type TundraError, type TundraErrorCode } from "../base/errors.ts";
import { monotonicMs } from "../base/platform.ts";
import { countRequests } from "../datastores/count_requests.ts";
import type { Datastore, DatastoreCallOptions } from "../datastores/datastore.ts";
import { withOptions } from "../upstash/with_options.ts";
import type { Context } from "./context.ts";
import type { TickCounts, TundraCall, TundraEvent } from "./events.ts";

/** The cost of one call so far. */
interface Spent {
  requests: number;
  commands: number;
  bytesFetched: number;
  bytesPut: number;
}

/** The results that hold numbers to tell. */
interface Results {
  tick: TickCounts & { errors: { key: string; code: TundraErrorCode }[] };
  evict: { evicted: string[] };
}

type Tell = (event: TundraEvent) => void;

/** Runs a call on a context that counts; tells what it did, what it left and what failed. */
export async function observe<T>(
  context: Context,
  call: TundraCall,
  keys: number,
  act: (context: Context) => Promise<T>,
): Promise<T> {
  const tell = context.onEvent!;
  const spent: Spent = { requests: 0, commands: 0, bytesFetched: 0, bytesPut: 0 };
  const startedAt = monotonicMs();
  const ended = (given: number, code?: TundraErrorCode) => {
    const durationMs = Math.round(monotonicMs() - startedAt);
    tell({ type: "call", call, keys: given, durationMs, ...spent, ...(code && { code }) });
  };
  try {
    const result = await act(counting(context, spent));
    if (call === "tick") tellTick(tell, result as Results["tick"]);
    if (call === "evict") tellEvicted(tell, (result as Results["evict"]).evicted.length);
    ended(call === "tick" ? (result as Results["tick"]).claimed : keys);
    return result;
  } catch (thrown) {
    const error = asTundraError(thrown, call);
    for (const [code, failed] of failuresOf(error)) tell({ type: "failed", call, code, keys: failed });
    ended(keys, error.code);
    throw thrown;
  }
}

function tellTick(tell: Tell, { errors, ...report }: Results["tick"]): void {
  tell({ type: "tick", report: { ...report } });
  tellEvicted(tell, report.evicted);
  const keysByCode = new Map<TundraErrorCode, number>();
  for (const { key, code } of errors) keysByCode.set(code, (keysByCode.get(code) ?? 0) + (key === "" ? 0 : 1));
  for (const [code, keys] of keysByCode) tell({ type: "failed", call: "tick", code, keys });
}

function tellEvicted(tell: Tell, keys: number): void {
  if (keys > 0) tell({ type: "evicted", keys });
}

/** The codes of a failure, and how many keys failed with each. */
function failuresOf({ code, keys, causes }: TundraError): Map<TundraErrorCode, number> {
  const found = new Map<TundraErrorCode, number>();
  for (const cause of Object.values(causes)) {
    const { code: each } = asTundraError(cause, "fail");
    found.set(each, (found.get(each) ?? 0) + 1);
  }
  return found.size > 0 ? found : found.set(code, keys.length);
}

/** The same context, but what it sends and receives is added to `spent`. */
function counting(context: Context, spent: Spent): Context {
  const { connection, scripts } = withOptions(context.connection, context.index.scripts, (own = {}) => ({
    ...own,
    onRequest() {
      own.onRequest?.(); // it throws if the request must not be made
      spent.requests++;
    },
    onCommands(count) {
      spent.commands += count;
      own.onCommands?.(count);
    },
  }));
  const datastore = countingDatastore(context.datastore, spent);
  return { ...context, connection, datastore, index: { ...context.index, scripts } };
}

function countingDatastore(given: Datastore, spent: Spent): Datastore {
  /** Counts requests as a datastore says, or `units` if it says nothing. */
  const counted = <T>(
    units: number,
    own: DatastoreCallOptions | undefined,
    act: (options: DatastoreCallOptions) => Promise<T>,
  ): Promise<T> =>
    countRequests(
      (onRequest) => act({ ...own, onRequest }),
      () => {
        own?.onRequest?.();
        spent.requests++;
      },
      () => void (spent.requests += units),
    );
  const fetched = <T extends Uint8Array | Error>(slots: T[]): T[] => {
    for (const slot of slots) if (slot instanceof Uint8Array) spent.bytesFetched += slot.length;
    return slots;
  };
  const { deleteKeys, fetchRanges, hasKeys, listKeys, putParts } = given;
  return {
    ...given,
    async putKey(name, value, own) {
      await counted(1, own, (options) => given.putKey(name, value, { ...own, ...options }));
      spent.bytesPut += value.length;
      return true;
    },
    fetchKeys: async (names, own) =>
      fetched(await counted(names.length, own, (options) => given.fetchKeys(names, options))),
    ...(fetchRanges && {
      fetchRanges: async (reads, own) =>
        fetched(await counted(reads.length, own, (options) => fetchRanges(reads, options))),
    }),
    ...(putParts && {
      putParts: (name, parts, own) =>
        counted(1, own, (options) => putParts(name, countingParts(parts, spent), options)),
    }),
    ...(deleteKeys && {
      deleteKeys: (names, own) => counted(names.length, own, (options) => deleteKeys(names, options)),
    }),
    ...(hasKeys && { hasKeys: (names, own) => counted(names.length, own, (options) => hasKeys(names, options)) }),
    ...(listKeys && {
      listKeys: (prefix, cursor, own) => counted(1, own, (options) => listKeys(prefix, cursor, options)),
    }),
  };
}

async function* countingParts(parts: AsyncIterable<Uint8Array>, spent: Spent): AsyncGenerator<Uint8Array> {
  for await (const part of parts) {
    spent.bytesPut += part.length;
    yield part;
  }
}
