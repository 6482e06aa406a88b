/**
 * snapshot: one consistent view of keys and their records. A transaction, no script: DUMPs go straight to the reply.
 * @module
 */
import { type Answer, bytes, type CallOptions, type Connection, type Reply } from "../upstash/connection.ts";
import { batches, keyBytes } from "../upstash/requests.ts";
import { saidOf, saysFull } from "../upstash/said.ts";
import { defineScript, results } from "../upstash/script.ts";
import { type Index, type KeyRecord, layout, parseRecord } from "./record.ts";

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
 * The same view, where a transaction is refused: a full Redis queues no command.
 *
 *     KEYS  n records, n keys
 *     OUT   the records, then for each key: expiry (ms; -2 missing), DUMP payload
 *     INV   7: a Redis that is full of dirty keys can be archived, and so emptied
 */
const SNAPSHOT = defineScript(
  "snapshot",
  ["no-writes", "allow-oom"],
  `
local n = #KEYS / 2
local out = { redis.call('MGET', unpack(KEYS, 1, n)) }
for i = n + 1, 2 * n do
  out[#out + 1] = redis.call('PEXPIRETIME', KEYS[i])
  out[#out + 1] = redis.call('DUMP', KEYS[i])
end
return out
`,
);

/**
 * One request, 2 billable commands a key and 3; one request more on a full Redis. Keys with long names take several, each
 * of them one view.
 *
 * @throws TundraError `TOO_LARGE` where the reply is: ask for fewer keys
 */
export async function snapshot(
  connection: Connection,
  index: Index,
  keys: string[],
  call?: CallOptions,
): Promise<Snapshot[]> {
  const snapshots: Snapshot[] = [];
  for (const batch of batches(keys, keyBytes, connection.requestLimit())) {
    snapshots.push(...await view(connection, index, batch, call));
  }
  return snapshots;
}

async function view(connection: Connection, index: Index, keys: string[], call?: CallOptions): Promise<Snapshot[]> {
  const [records, ...views] = await read(connection, index, keys, call);
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

async function read(connection: Connection, index: Index, keys: string[], call?: CallOptions): Promise<Reply[]> {
  let answers: Answer[];
  try {
    answers = await connection.multi([
      ["MGET", ...keys.map(index.keys.record)],
      ...keys.flatMap((key) => [["PEXPIRETIME", key], ["DUMP", key]]),
    ], call);
  } catch (error) {
    if (!saysFull(saidOf(error))) throw error;
    return await index.scripts.run(SNAPSHOT, layout(index, [], keys), [], call) as Reply[];
  }
  return results("read keys to archive", answers);
}
