/**
 * What every operation of one store works with.
 * @module
 */
import type { Freezer } from "./archive/freezer.ts";
import type { DataStore } from "./datastores/datastore.ts";
import type { Index } from "./scripts/record.ts";
import type { Connection } from "./upstash/connection.ts";

/** One store: its connection, its index in Redis, its archive. */
export interface Context {
  readonly tqname: string;
  readonly connection: Connection;
  readonly index: Index;
  readonly datastore: DataStore;
  readonly freezers: readonly Freezer[];
  /** `undefined`: never evict. */
  readonly redisTtlMs: number | undefined;
  readonly freezeDelayMs: number;
}
