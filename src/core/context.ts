/**
 * The parts of one store, as its calls and operations use them.
 * @module
 */
import type { Freezer } from "../archive/freezer.ts";
import { badArgument } from "../base/errors.ts";
import type { Naming } from "../base/keys.ts";
import type { Datastore, DatastoreCallOptions } from "../datastores/datastore.ts";
import type { Index } from "../scripts/prelude.ts";
import type { ClientOptions } from "../upstash/client.ts";
import type { CallOptions, Connection } from "../upstash/connection.ts";
import type { TundraEvent } from "./events.ts";

/** Fetches under way, by unit: concurrent calls for one share its fetch. The guard ends each in time. */
export type SingleFlight = Map<string, { object: Promise<Uint8Array | Error>; sharedUntil: number }>;

/** One store: its connection, its index in Redis, its archive. */
export interface Context extends Naming {
  readonly connection: Connection;
  /** The options of clients on this connection. */
  readonly clientOptions: ClientOptions;
  readonly index: Index;
  readonly datastore: Datastore;
  readonly freezers: readonly Freezer[];
  /** Idle keys are evicted after this time; `undefined`: never. */
  readonly redisTtlMs: number | undefined;
  readonly freezeDelayMs: number;
  /** No tick evicts a value whose payload has fewer bytes. */
  readonly minEvictBytes: number;
  /** Tells which keys a tick may evict; `undefined`: all. */
  readonly evictable: ((key: string) => boolean) | undefined;
  /** Bytes of a pack; 0: none are made. */
  readonly packBytes: number;
  /** Payloads of at most this many bytes share packs. */
  readonly maxPackedBytes: number;
  /** Bytes of values that one call may have in memory. */
  readonly maxBytesInFlight: number;
  /** `true`: ensureKs() asks the archive for keys of which Redis has neither value nor record. */
  readonly lookInArchive: boolean;
  /** Fetches that concurrent calls share; `undefined`: each call has its own. */
  readonly flights: SingleFlight | undefined;
  /** Tells the application; what its listener throws is ignored. `undefined`: nobody listens. */
  readonly onEvent: ((event: TundraEvent) => void) | undefined;
}

/** Options of requests to Redis and to the archive alike. */
export type RequestOptions = CallOptions & DatastoreCallOptions;

const contexts = new WeakMap<object, Context>();

/** Remembers the parts of a store, for operations that are not part of it. */
export function rememberContext<T extends object>(store: T, context: Context): T {
  contexts.set(store, context);
  return store;
}

/** The parts of a store. */
export function contextOf(what: string, store: object): Context {
  const context = typeof store === "object" && store !== null ? contexts.get(store) : undefined;
  if (context === undefined) throw badArgument(what, "store", "a store made by tundraStore()", typeof store);
  return context;
}
