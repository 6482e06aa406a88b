/**
 * read_index: the id, Redis' clock, the last erasure, and records, as the primary has them.
 * @module
 */
import type { CallOptions } from "../upstash/connection.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { defineScript } from "../upstash/script.ts";
import { type Index, PRELUDE } from "./prelude.ts";

/**
 * Id, clock, the time of the last erasure, and records at one moment. It could be read-only, and is not: a script that may write is answered by the
 * primary, and a replica that is behind must not decide what is deleted.
 *
 *     KEYS  id, tick, erased, n records
 *     OUT   id, Redis time (microseconds), erased ('0' for none), n records ('' for none)
 */
const READ_INDEX = defineScript(
  "read_index",
  ["allow-oom"],
  `
${PRELUDE}
local texts = redis.call('MGET', unpack(KEYS))
local out = { sealed(texts[1], texts[2]), int(now_us), texts[3] or '0' }
for i = 4, #KEYS do out[i] = texts[i] or '' end
return out
`,
);

/** An index at one moment. */
export interface IndexState {
  id: string;
  /** Redis time, microseconds: that of the first request, if there are several. */
  nowUs: number;
  /** The time at which an erasure last began to look what is left, microseconds; 0 for never. That of the first request. */
  erasedUs: number;
  /** Records in the order of the keys; "" for none. */
  records: string[];
}

/** One request for each 1,000 keys, 3 billable commands. */
export async function readIndex(index: Index, keys: readonly string[], call?: CallOptions): Promise<IndexState> {
  const { id, tick, erased, record } = index.keys;
  let first: Omit<IndexState, "records"> | undefined;
  const read = async (batch: readonly string[]) => {
    const [found, nowUs, erasedUs, ...records] = await index.scripts.run(
      READ_INDEX,
      [id, tick, erased, ...batch.map(record)],
      [],
      call,
    ) as string[];
    if (first !== undefined && first.id !== found) first.id = ""; // it changed between two requests: it counts as lost
    first ??= { id: found!, nowUs: Number(nowUs), erasedUs: Number(erasedUs) };
    return records;
  };
  const records = keys.length === 0
    ? await read([])
    : await inRequests(keys, keyBytes, index.scripts.requestLimit, read);
  return { ...first!, records };
}
