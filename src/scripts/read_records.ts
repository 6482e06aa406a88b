/**
 * Records of keys, read outside of scripts.
 * @module
 */
import type { CallOptions, Connection } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { ask } from "../upstash/script.ts";
import { type Index, type KeyRecord, parseRecord } from "./prelude.ts";

/** The means to read records. */
interface Reading {
  connection: Connection;
  index: Index;
}

/** The records of keys as they are, in their order; `null` for none. One command for each 1,000 keys. */
export async function readTexts(
  { connection, index }: Reading,
  keys: readonly string[],
  call?: CallOptions,
): Promise<(string | null)[]> {
  return await inRequests(keys, keyBytes, connection.requestLimit, async (batch) => {
    const command = ["MGET", ...batch.map(index.keys.record)];
    return await ask(connection, "read records", command, call) as (string | null)[];
  });
}

/** The records of keys, in their order; `undefined` for one of another version. Costs as much. */
export async function readRecords(
  reading: Reading,
  keys: readonly string[],
  call?: CallOptions,
): Promise<(KeyRecord | undefined)[]> {
  return (await readTexts(reading, keys, call)).map(parseRecord);
}
