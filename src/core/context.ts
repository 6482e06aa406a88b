/**
 * What every operation of one store works with.
 * @module
 */
import type { Freezer } from "../archive/freezer.ts";
import { badArgument } from "../base/errors.ts";
import type { Datastore } from "../datastores/datastore.ts";
import type { Index } from "../scripts/prelude.ts";
import type { Connection } from "../upstash/connection.ts";

/** One store: its connection, its index in Redis, its archive. */
export interface Context {
  readonly tqname: string;
  readonly connection: Connection;
  readonly index: Index;
  readonly datastore: Datastore;
  readonly freezers: readonly Freezer[];
  /** `undefined`: never evict. */
  readonly redisTtlMs: number | undefined;
  readonly freezeDelayMs: number;
  /** Of values on their way back, in one call. */
  readonly maxBytesInFlight: number;
  /** Does ensureKs() ask the archive for keys of which Redis knows nothing? */
  readonly lookInArchive: boolean;
}

const contexts = new WeakMap<object, Context>();

/** Remembers what a store works with, for operations that are not part of it. */
export function rememberContext<T extends object>(store: T, context: Context): T {
  contexts.set(store, context);
  return store;
}

/** What a store works with. */
export function contextOf(what: string, store: object): Context {
  const context = typeof store === "object" && store !== null ? contexts.get(store) : undefined;
  if (context === undefined) throw badArgument(what, "store", "a store made by tundraStore()", typeof store);
  return context;
}
