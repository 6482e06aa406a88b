/**
 * Keys that have a record: a scan of the records' names.
 * @module
 */
import type { Context, RequestOptions } from "../core/context.ts";
import { readDead } from "../scripts/measure.ts";
import type { KeyRecord } from "../scripts/prelude.ts";
import { readTexts } from "../scripts/read_records.ts";
import { scan, SCAN_START } from "../scripts/scan.ts";

/** Records that one step of the scan has found. */
export interface RecordPage {
  /** The records as they are, by key. */
  texts: Map<string, string>;
  /** The cursor of the next step; `undefined` if this was the last. */
  next: string | undefined;
}

/**
 * The records of keys that match, from a cursor on, step by step; a step may find none, and a record may be found
 * twice.
 *
 * Cost: a command a step, and one more if it finds any.
 */
export async function* scanRecords(
  context: Context,
  what: string,
  match = "*",
  from: string = SCAN_START,
  call?: RequestOptions,
): AsyncGenerator<RecordPage, void> {
  const prefix = context.index.keys.record(""); // `tundra:<tqname>:rec:`: none of its characters has a meaning in patterns
  let cursor = from;
  do {
    const step = await scan(context.connection, what, cursor, { match: prefix + match }, call);
    const keys = step.keys.map((name) => name.slice(prefix.length));
    const found = keys.length > 0 ? await readTexts(context, keys, call) : [];
    const texts = new Map<string, string>();
    for (const [i, key] of keys.entries()) {
      const text = found[i];
      if (typeof text === "string") texts.set(key, text); // else it went meanwhile
    }
    cursor = step.cursor;
    yield { texts, next: cursor === SCAN_START ? undefined : cursor };
  } while (cursor !== SCAN_START);
}

/** Redis' clock, ms, and which of some keys are dead. Cost: 1 request, 1 command, 2 if some of them have failed. */
export async function readClock(
  context: Context,
  what: string,
  records: Map<string, KeyRecord | undefined>,
  call?: RequestOptions,
): Promise<{ nowMs: number; dead: Set<string> }> {
  if (records.size === 0) return { nowMs: 0, dead: new Set() };
  const failed = [...records].flatMap(([key, record]) => record && record.rev > 0 && record.attempts > 0 ? [key] : []);
  const { nowMs, dead } = await readDead(context.connection, what, context.index.keys.dead, failed, call);
  return { nowMs, dead: new Set(failed.filter((_, i) => dead[i])) };
}
