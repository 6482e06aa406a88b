/**
 * snapshot: one consistent view of keys and their records. A transaction, no script: DUMPs go straight to the reply.
 * @module
 */
import { show, type TundraError } from "../base/errors.ts";
import { type Answer, bytes, type CallOptions, type Connection, type Reply } from "../upstash/connection.ts";
import { damagedDump, isAboutEndpoint, isWholeDump } from "../upstash/dump.ts";
import { batches, keyBytes } from "../upstash/requests.ts";
import { saidOf, saysFull } from "../upstash/said.ts";
import { defineScript, replyError, results } from "../upstash/script.ts";
import { type Index, type KeyRecord, parseRecord } from "./prelude.ts";

/** One key as it was. */
export interface Snapshot {
  key: string;
  /** `undefined`: of another version. */
  record: KeyRecord | undefined;
  /** The key's own expiry, ms since 1970; 0: none. */
  exp: number;
  /** The DUMP payload; `undefined`: the key is missing, or was not shown. */
  dump: Uint8Array | undefined;
  /** The reason why Redis did not show this key, from its own slot of the reply. */
  error?: TundraError;
}

/**
 * The same view, if a transaction is refused: a full Redis queues no command.
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
 * One request, 2 billable commands a key and 3; one request more on a full Redis. Keys with long names take several,
 * each of them one view. What Redis says of one key is that key's `error`.
 *
 * @throws {TundraError} `TOO_LARGE` if the reply is: ask for fewer keys; `UNSUPPORTED` if the endpoint changes replies
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
  const [records, ...views] = await read(connection, index, keys.map(index.keys.record), keys, call);
  const [texts] = results(WHAT, [records!]);
  return keys.map((key, i) => {
    const record = parseRecord((texts as (string | null)[])[i]);
    const pair = views.slice(2 * i, 2 * i + 2);
    const refused = pair.find(({ error }) => error !== undefined);
    if (refused) {
      return {
        key,
        record,
        exp: 0,
        dump: undefined,
        error: replyError(`read ${show(key)}`, refused.error!, saidOf(refused)),
      };
    }
    const [exp, reply] = pair.map(({ result }) => result ?? null);
    const dump = typeof reply === "string" ? bytes(reply) : undefined;
    const seen = { key, record, exp: Math.max(0, Number(exp)) };
    if (dump === undefined || isWholeDump(dump)) return { ...seen, dump };
    const error = damagedDump(key, dump);
    if (isAboutEndpoint(error)) throw error;
    return { ...seen, dump: undefined, error };
  });
}

/**
 * True if Redis shows a key of the index, its id. If it does, a refusal concerns the keys that were
 * asked for.
 */
export async function showsOthers(connection: Connection, index: Index, call?: CallOptions): Promise<boolean> {
  try {
    const answers = await read(connection, index, [index.keys.id], [index.keys.id], call);
    return answers.every(({ error }) => error === undefined);
  } catch {
    return false;
  }
}

const WHAT = "read keys to archive";

async function read(
  connection: Connection,
  index: Index,
  records: string[],
  keys: string[],
  call?: CallOptions,
): Promise<Answer[]> {
  try {
    return await connection.multi([
      ["MGET", ...records],
      ...keys.flatMap((key) => [["PEXPIRETIME", key], ["DUMP", key]]),
    ], call);
  } catch (error) {
    if (!saysFull(saidOf(error))) throw error;
    const replies = await index.scripts.run(SNAPSHOT, [...records, ...keys], [], call) as Reply[];
    return replies.map((result) => ({ result }));
  }
}
