/**
 * Commands of a search for lost records: Redis' eviction policy, and the note of how far the search has come.
 * @module
 */
import type { CallOptions, Connection } from "../upstash/connection.ts";
import type { Index } from "./prelude.ts";

/**
 * The `maxmemory-policy` by which Redis removes keys; `undefined` if it removes none or does not say. One command.
 *
 * @see https://redis.io/docs/latest/develop/reference/eviction/
 */
export async function readEvictionPolicy(connection: Connection, call?: CallOptions): Promise<string | undefined> {
  const info = String((await connection.command(["INFO"], call)).result);
  return /^maxmemory:0\s/m.test(info) ? undefined : /^maxmemory_policy:(?!noeviction)(\S+)/m.exec(info)?.[1];
}

/**
 * Notes when a search took place (ms), and the cursor of the archive's listing at which the next one begins; "" for its
 * beginning. No script is needed: it is one command, and a late copy of it only moves a search.
 */
export async function noteSearch(
  { connection, index }: { connection: Connection; index: Index },
  atMs: number,
  cursor: string,
  call?: CallOptions,
): Promise<void> {
  await connection.command(["SET", index.keys.lostRecordsCursor, `${atMs} ${cursor}`], call);
}
