/**
 * snapshot: one consistent view of keys and their records. A transaction, no script: DUMPs go straight to the reply.
 * @module
 */
import { bytes, type CallOptions, type Connection } from "../upstash/connection.ts";
import { results } from "../upstash/script.ts";
import { type Index, type KeyRecord, parseRecord } from "./record.ts";

/** One key as it was. */
export interface Snapshot {
  key: string;
  /** `undefined`: of another version. */
  record: KeyRecord | undefined;
  /** The key's own expiry, ms since 1970; 0: none. */
  exp: number;
  /** The DUMP payload; `undefined`: the key is missing. */
  dump: Uint8Array | undefined;
}

/**
 * One request, 2 billable commands a key and 3.
 *
 * @throws TundraError `TOO_LARGE` where the reply is: ask for fewer keys
 */
export async function snapshot(
  connection: Connection,
  index: Index,
  keys: string[],
  call?: CallOptions,
): Promise<Snapshot[]> {
  const answers = await connection.multi([
    ["MGET", ...keys.map(index.keys.record)],
    ...keys.flatMap((key) => [["PEXPIRETIME", key], ["DUMP", key]]),
  ], call);
  const [records, ...views] = results("read keys to archive", answers);
  return keys.map((key, i) => {
    const dump = views[2 * i + 1];
    return {
      key,
      record: parseRecord((records as (string | null)[])[i]),
      exp: Math.max(0, Number(views[2 * i])),
      dump: typeof dump === "string" ? bytes(dump) : undefined,
    };
  });
}
