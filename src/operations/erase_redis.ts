/**
 * Removes keys from Redis, and waits until ticks have archived that: else one would put a tombstone after the proof.
 * @module
 */
import { asTundraError, TundraError } from "../base/errors.ts";
import { versionMicros } from "../base/keys.ts";
import { del } from "../del.ts";
import { type KeyRecord, parseRecord } from "../scripts/prelude.ts";
import { readTexts } from "../scripts/read_records.ts";
import { type KeyState, readState } from "../scripts/read_state.ts";
import { tick } from "../tick/tick.ts";
import { boundedContext } from "./bounded_context.ts";
import { anew, type EraseRun, type EraseState } from "./erase_run.ts";
import { scanRecords } from "./known_keys.ts";

/** Keys in one call of `del`. */
const BATCH = 500;
/** Requests of one step: `del`, or the least tick. */
const REQUESTS = 14;
/** A tick's time. */
const TICK_MS = 8_000;

/** Removes keys, and archives that; `false` if a bound was reached, or other ticks hold some of them. */
export async function removeKeys(run: EraseRun): Promise<boolean> {
  const { bounds } = run;
  const context = boundedContext(bounds);
  for await (const keys of chosen(run)) {
    if (!bounds.mayBegin(REQUESTS)) return false;
    try {
      await del(context, keys);
    } catch (thrown) {
      const error = asTundraError(thrown, "delete keys");
      if (Object.keys(error.causes).length === 0 && error.keys.length === 0) throw error;
      for (const key of error.keys) run.errors.add(key, error);
      throw error;
    }
  }
  for (;;) {
    run.report.waiting = await countWaiting(run);
    if (run.report.waiting === 0) return true;
    if (!bounds.mayBegin(REQUESTS)) return false;
    const maxSubrequests = bounds.requestsLeft();
    const { claimed, errors } = await tick(context, { maxSubrequests, deadlineMs: TICK_MS });
    if (claimed > 0) continue;
    const [error] = errors;
    if (error !== undefined) throw new TundraError(error.code, error.message);
    return false; // under another tick's lease, or delayed
  }
}

/**
 * Looks into Redis once more: a key that was written meanwhile may not be in the archive yet, or be removed again and
 * lie where the proof had looked before; `false` if there is one, or a bound was reached.
 */
export async function proveKeys(run: EraseRun, state: EraseState): Promise<boolean> {
  for await (const keys of chosen(run)) {
    if (!run.bounds.mayBegin(REQUESTS)) return false;
    const { states } = await readState(run.context.index, keys, run.bounds.call);
    const wasWritten = ({ exists, record: text }: KeyState) => {
      const record = text === "" ? null : parseRecord(text);
      return exists || (record !== null && !(isRemoved(record) && versionMicros(record!.ver) < state.provedUs));
    };
    if (states.some(wasWritten)) return anew(state);
  }
  return true;
}

/** Tells if a record says that the key was removed, and that this is archived. */
export function isRemoved(record: KeyRecord | undefined): boolean {
  return record !== undefined && record.rev === 0 && /[gm]/.test(record.flag);
}

/** The keys, some at a time; of a pattern those that Redis knows. */
async function* chosen({ context, bounds, keys, match }: EraseRun): AsyncGenerator<string[]> {
  if (keys !== undefined) {
    for (let i = 0; i < keys.length; i += BATCH) yield keys.slice(i, i + BATCH);
    return;
  }
  for await (const { texts } of scanRecords(context, "erase keys", match, undefined, bounds.call)) {
    if (texts.size > 0) yield [...texts.keys()];
  }
}

/** The number of keys whose removal waits for a tick. */
async function countWaiting(run: EraseRun): Promise<number> {
  let waiting = 0;
  for await (const keys of chosen(run)) {
    const texts = await readTexts(run.context, keys, run.bounds.call);
    for (const text of texts) {
      const record = parseRecord(text);
      if (record !== undefined && record.rev !== 0 && record.flag === "g") waiting++;
    }
  }
  return waiting;
}
