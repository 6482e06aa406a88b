/**
 * Removes keys from Redis, and waits until ticks have archived that: else one would put a tombstone after the proof.
 * @module
 */
import { asTundraError, TundraError } from "../base/errors.ts";
import { versionMicros } from "../base/keys.ts";
import { del } from "../del.ts";
import { type KeyRecord, parseRecord } from "../scripts/prelude.ts";
import { readRecords } from "../scripts/read_records.ts";
import { type KeyState, readState } from "../scripts/read_state.ts";
import { tick } from "../tick/tick.ts";
import { boundedContext } from "./bounded_context.ts";
import { anew, begin, type EraseRun, type EraseState, mayGoOn } from "./erase_run.ts";
import { scanRecords } from "./known_keys.ts";

/** Listed keys that are dealt with together. */
const BATCH = 500;
/** Requests of one step: `del`, or the least tick. */
const REQUESTS = 14;
/** A tick's time. */
const TICK_MS = 8_000;

/** Removes keys; `false` if a bound was reached. */
export async function removeKeys(run: EraseRun, state: EraseState): Promise<boolean> {
  const context = boundedContext(run.bounds);
  return await forChosen(run, state, async (keys) => {
    try {
      await del(context, keys);
    } catch (thrown) {
      const error = asTundraError(thrown, "delete keys");
      if (Object.keys(error.causes).length === 0 && error.keys.length === 0) throw error;
      for (const key of error.keys) run.errors.add(key, error);
      throw error;
    }
    return true;
  });
}

/** Archives removals; `false` if a bound was reached, or other ticks hold some of them. */
export async function archiveRemovals(run: EraseRun, state: EraseState): Promise<boolean> {
  const { bounds, report } = run;
  const context = boundedContext(bounds);
  let mayClaim = true; // what it cannot claim now is under another tick's lease, or delayed
  const isAtEnd = await forChosen(run, state, async (keys) => {
    let waiting = await countWaiting(run, keys);
    while (waiting > 0 && mayClaim) {
      report.waiting = state.waiting + waiting;
      if (!bounds.mayBegin(REQUESTS)) return false;
      const maxSubrequests = bounds.requestsLeft();
      const { claimed, errors: [error] } = await tick(context, { maxSubrequests, deadlineMs: TICK_MS });
      mayClaim = claimed > 0;
      if (!mayClaim && error !== undefined) throw new TundraError(error.code, error.message);
      waiting = await countWaiting(run, keys);
    }
    report.waiting = state.waiting += waiting;
    return true;
  });
  if (!isAtEnd || state.waiting === 0) return isAtEnd;
  Object.assign(state, begin("ticks"));
  return false;
}

/**
 * Looks into Redis once more: a key that was written meanwhile may not be in the archive yet, or be removed again and
 * lie where the proof had looked before; `false` if there is one, or a bound was reached.
 */
export async function proveKeys(run: EraseRun, state: EraseState): Promise<boolean> {
  return await forChosen(run, state, async (keys) => {
    const { states } = await readState(run.context.index, keys, run.bounds.call);
    const wasWritten = ({ exists, record: text }: KeyState) => {
      const record = text === "" ? null : parseRecord(text);
      return exists || (record !== null && !(isRemoved(record) && versionMicros(record!.ver) < state.provedUs));
    };
    return states.some(wasWritten) ? anew(state) : true;
  });
}

/** Tells if a record says that the key was removed, and that this is archived. */
export function isRemoved(record: KeyRecord | undefined): boolean {
  return record !== undefined && record.rev === 0 && /[gm]/.test(record.flag);
}

/**
 * Acts on the keys, some at a time, from where the last call has ended; of a pattern on those that Redis knows. `false`
 * if a bound was reached, or `act` says so: then they come once more.
 */
async function forChosen(
  run: EraseRun,
  state: EraseState,
  act: (keys: string[]) => Promise<boolean>,
): Promise<boolean> {
  const { keys } = run;
  while (keys === undefined ? state.scan !== undefined : state.keys < keys.length) {
    if (!mayGoOn(run, 1)) return false;
    const most = Math.min(BATCH, run.maxKeys - run.looked);
    const page = keys === undefined
      ? await scanned(run, state.scan!)
      : { some: keys.slice(state.keys, state.keys + most), next: undefined };
    const { some, next } = page;
    if (some.length > 0 && !(run.bounds.mayBegin(REQUESTS) && await act(some))) return false;
    run.looked += some.length;
    if (keys === undefined) state.scan = next;
    else state.keys += some.length;
  }
  return true;
}

/** A step of a scan: keys that match, and the cursor of the next one. */
async function scanned({ context, match, bounds }: EraseRun, from: string) {
  for await (const { texts, next } of scanRecords(context, "erase keys", match, from, bounds.call)) {
    return { some: [...texts.keys()], next };
  }
  return { some: [], next: undefined };
}

/** The number of keys whose removal waits for a tick. */
async function countWaiting({ context, bounds }: EraseRun, keys: string[]): Promise<number> {
  let waiting = 0;
  for (const record of await readRecords(context, keys, bounds.call)) {
    if (record !== undefined && record.rev !== 0 && record.flag === "g") waiting++;
  }
  return waiting;
}
