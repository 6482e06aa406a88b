/**
 * Removes keys from Redis, and waits until ticks have archived that: else one would put a tombstone after the proof.
 * @module
 */
import { asTundraError, badArgument, show, TundraError, type TundraErrorCode } from "../base/errors.ts";
import { versionMicros } from "../base/keys.ts";
import { del } from "../del.ts";
import { readDead } from "../scripts/measure.ts";
import type { KeyRecord } from "../scripts/prelude.ts";
import { readRecords } from "../scripts/read_records.ts";
import { readState } from "../scripts/read_state.ts";
import { scan, SCAN_START } from "../scripts/scan.ts";
import { tick } from "../tick/tick.ts";
import { boundedContext } from "./bounded_context.ts";
import { reportAhead, reportRecord } from "./erase_damage.ts";
import { anew, begin, type EraseRun, type EraseState, mayGoOn, STATE_MS } from "./erase_run.ts";
import { indexWent } from "./owned_index.ts";
import { recordIn, recordsNow } from "./records_now.ts";

const WHAT = "erase keys";
/** Listed keys that are dealt with together. */
const BATCH = 500;
/** Requests of one step: `del`, or the least tick. */
const REQUESTS = 14;
/** A tick's time. */
const TICK_MS = 8_000;

/** Removes keys; `false` if a bound was reached. */
export async function removeKeys(run: EraseRun, state: EraseState): Promise<boolean> {
  const context = boundedContext(run.bounds);
  return await forChosen(run, state, async (keys, unreadable) => {
    for (const key of unreadable) run.errors.add(key, badArgument(WHAT, "a key", "UTF-8", key));
    try {
      await del(context, keys);
    } catch (thrown) {
      const { causes, code } = asTundraError(thrown, "delete keys");
      const isOfRecords = Object.values(causes).every((cause) => asTundraError(cause, WHAT).code === "UNSUPPORTED");
      if (code !== "UNSUPPORTED" || !isOfRecords) throw thrown;
      for (const key of Object.keys(causes)) reportRecord(run, key); // they stay, the others are removed
    }
    return true;
  });
}

/**
 * Tells if some of the keys were written since the call that this one goes on from. Of a pattern, or a long list, nobody
 * asks: such a key is a `CONFLICT` then, or found at the end. Cost: a request for up to 500 listed keys.
 */
export async function wereWritten({ context, keys = [], bounds }: EraseRun, { step }: EraseState): Promise<boolean> {
  if (step === "removal" || keys.length === 0 || keys.length > BATCH) return false;
  const { states } = await readState(context.index, keys, bounds.call);
  return states.some(({ exists, record: text }) => {
    const record = recordIn(text); // one of another version is no sign, and cannot be removed
    return record === null ? exists : record !== undefined && (exists || !/[gm]/.test(record.flag));
  });
}

/** Archives removals; `false` if a bound was reached, or other ticks hold some of them. */
export async function archiveRemovals(run: EraseRun, state: EraseState): Promise<boolean> {
  const { bounds, report } = run;
  const context = boundedContext(bounds, false);
  const { signal } = bounds;
  let mayClaim = true; // what it cannot claim now is under another tick's lease, or delayed
  const isAtEnd = await forChosen(run, state, async (keys) => {
    let waiting = await countWaiting(run, keys);
    while (waiting > 0 && mayClaim) {
      report.waiting = state.waiting + waiting;
      if (!bounds.mayBegin(REQUESTS)) return false;
      const maxSubrequests = bounds.requestsLeft();
      const { claimed, errors: [error] } = await tick(context, { maxSubrequests, deadlineMs: TICK_MS, signal });
      mayClaim = claimed > 0;
      if (!mayClaim && error !== undefined) throw new TundraError(error.code, error.message);
      waiting = await countWaiting(run, keys);
    }
    if (waiting > 0) await reportDead(run, keys);
    report.waiting = state.waiting += waiting;
    return true;
  });
  if (!isAtEnd || state.waiting === 0) return isAtEnd;
  Object.assign(state, begin("ticks"));
  return false;
}

/**
 * Looks into Redis once more: a key that was written meanwhile may not be in the archive yet, or be removed again and
 * lie where the proof had looked before; `false` if there is one, or a bound was reached, or the proof has taken so long
 * that the record of such a key may be gone.
 */
export async function proveKeys(run: EraseRun, state: EraseState): Promise<boolean> {
  const isLate = (us: number) => us > state.provedUs + 1_000 * STATE_MS;
  const isAtEnd = await forChosen(run, state, async (keys, unreadable) => {
    if (unreadable.length > 0) return anew(state);
    const { states, nowMs } = await readState(run.context.index, keys, run.bounds.call);
    if (isLate(1_000 * nowMs)) return anew(state);
    const ahead: { key: string; ver: string }[] = [];
    let isProved = true;
    for (const { key, exists, record: text } of states) {
      const record = recordIn(text);
      const isGone = record && isRemoved(record);
      if (!exists && (record === null || (isGone && versionMicros(record.ver) < state.provedUs))) continue;
      isProved = false;
      if (isGone) ahead.push({ key, ver: record.ver });
    }
    await reportAhead(run, ahead);
    return isProved || anew(state);
  });
  if (!isAtEnd || run.keys !== undefined) return isAtEnd;
  await recordsNow(run, [], indexWent); // a pattern may have shown none: for Redis' clock
  return isLate(run.clockUs) ? anew(state) : true;
}

/** Tells if a record says that the key was removed, and that this is archived. */
export function isRemoved(record: KeyRecord | undefined): boolean {
  return record !== undefined && record.rev === 0 && /[gm]/.test(record.flag);
}

/** Keys that are dealt with together, and where the next ones begin; `undefined` at the end. */
interface Page {
  some: string[];
  /** Keys that match, and are no UTF-8: only their application can remove them. */
  unreadable: string[];
  next: string | undefined;
}

/**
 * Acts on the keys, some at a time, from where the last call has ended; of a pattern on those in Redis that match, and
 * those of records. `false` if a bound was reached, or `act` says so: then they come once more.
 */
async function forChosen(
  run: EraseRun,
  state: EraseState,
  act: (keys: string[], unreadable: string[]) => Promise<boolean>,
): Promise<boolean> {
  const { keys, bounds } = run;
  const somethingIsLeft = () => keys === undefined ? state.scan !== undefined : state.keys < keys.length;
  while (somethingIsLeft()) {
    if (!mayGoOn(run, 1)) return false;
    const { some, unreadable, next }: Page = keys === undefined ? await scanned(run, state.scan!) : {
      some: keys.slice(state.keys, state.keys + Math.min(BATCH, run.maxKeys - run.looked)),
      unreadable: [],
      next: undefined,
    };
    const isEmpty = some.length + unreadable.length === 0;
    if (!isEmpty && !(bounds.mayBegin(REQUESTS) && await act(some, unreadable))) return false;
    run.looked += some.length;
    bounds.progress(run.looked);
    state.keys += some.length;
    state.scan = next;
  }
  return true;
}

/**
 * A step of a scan through all names of the database. One command.
 *
 * Redis' patterns are of bytes: `?` is one, and a set holds some. The archive's are of characters. So Redis matches
 * only what is neither.
 */
async function scanned({ context, match, isChosen, bounds }: EraseRun, from: string): Promise<Page> {
  const pattern = /[?[\\]/.test(match!) ? "*" : `*${match}`; // the name of a record is a prefix, and the key
  const step = await scan(context.connection, WHAT, from, { match: pattern }, bounds.call);
  const prefix = context.index.keys.record("");
  const keys = step.keys.flatMap((name) => {
    if (name.startsWith(prefix)) return [name.slice(prefix.length)];
    return name.startsWith("tundra:") ? [] : [name];
  });
  return {
    some: [...new Set(keys)].filter(isChosen),
    unreadable: step.unreadable.filter((name) => isChosen(name) && !name.startsWith("tundra:")),
    next: step.cursor === SCAN_START ? undefined : step.cursor,
  };
}

/** Reports those whose removal no tick tries any more. */
async function reportDead({ context, bounds, errors }: EraseRun, keys: string[]): Promise<void> {
  const { dead } = await readDead(context.connection, WHAT, context.index.keys.dead, keys, bounds.call);
  const some = keys.filter((_, i) => dead[i]);
  const records = await readRecords(context, some, bounds.call);
  for (const [i, key] of some.entries()) {
    const [code = "", ...words] = records[i]?.error.split(" ") ?? [];
    const must = "its removal must be archived: it is a dead letter; put the cause right, then call retryDead()";
    const message = `Cannot erase ${show(key)} as ${must}. ${words.join(" ")}`;
    errors.add(key, new TundraError(code === "" ? "UNAVAILABLE" : code as TundraErrorCode, message, { keys: [key] }));
  }
}

/** The number of keys whose removal waits for a tick. */
async function countWaiting({ context, bounds }: EraseRun, keys: string[]): Promise<number> {
  let waiting = 0;
  for (const record of await readRecords(context, keys, bounds.call)) {
    if (record !== undefined && record.rev !== 0 && record.flag === "g") waiting++;
  }
  return waiting;
}
