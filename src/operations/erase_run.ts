/**
 * One call of an erasure, and the cursor that it keeps for the next one.
 * @module
 */
import { hexDigest } from "../base/platform.ts";
import type { Context } from "../core/context.ts";
import { readCursor, writeCursor } from "../scripts/cursor.ts";
import { SCAN_START } from "../scripts/scan.ts";
import { OWN_START, type OwnCursor } from "./archive_walk.ts";
import type { Bounds } from "./bounds.ts";
import type { KeyErrors } from "./key_errors.ts";
import type { LastLook } from "./records_now.ts";

/** One call. */
export interface EraseRun extends LastLook {
  readonly context: Context;
  readonly bounds: Bounds;
  /** The keys, if they are listed, sorted: the next call may list them in another order. */
  readonly keys: string[] | undefined;
  /** Their pattern, if they are not. */
  readonly match: string | undefined;
  readonly isChosen: (key: string) => boolean;
  readonly dryRun: boolean;
  readonly maxKeys: number;
  /** Keys and versions that this call has looked at. */
  looked: number;
  id: string;
  readonly report: { versions: number; objects: number; moved: number; waiting: number };
  /** Keys of which something was erased. */
  readonly erased: Set<string>;
  readonly errors: KeyErrors;
  /** Objects that this call has reported, and, after "=", keys whose records are of another version. */
  readonly reported: Set<string>;
}

/**
 * The steps of an erasure, in order. No tombstone goes before all values, as those may have moved to younger packs, or be
 * on their way there: "proof of values" comes in between.
 */
export const STEPS = [
  "removal",
  "ticks",
  "values",
  "packed values",
  "proof of values",
  "tombstones",
  "packed tombstones",
  "proof of packs",
  "proof of objects",
  "proof of keys",
] as const;

/** The progress of an erasure: its step, and how far that is. One of other keys has its own. */
export interface EraseState {
  step: typeof STEPS[number];
  /** Listed keys: the number of those that are done. */
  keys: number;
  /** Keys that match: the cursor of Redis' scan, and the point of the archive's listing, `undefined` at their ends. */
  scan: string | undefined;
  own: OwnCursor | undefined;
  /** Keys whose removal waits for a tick, of those that the step has looked at. */
  waiting: number;
  /** Packs up to this one are done; "" for none. */
  pack: string;
  /** `true`: values stay, as their keys were written meanwhile, or objects of which nothing tells if they are the keys'. */
  someStay: boolean;
  /**
   * The time at which it began to erase values, microseconds, 0 if it has not: a later tombstone may stand above some that
   * it has not seen.
   */
  sinceUs: number;
  /** Packs that hold tombstones of the keys; `undefined`: any may. */
  tombstonePacks: string[] | undefined;
  /** The time at which the proof began, microseconds: a key that was removed later was written meanwhile. */
  provedUs: number;
  /** Numbers for the proof. */
  proof: ErasureProof;
  /** Digests of keys of which something was erased: names that are to be forgotten do not stand in Redis. */
  erased: string[];
}

/** The proof that nothing is left, by a listing and all directories of packs that were read after the last deletion. */
export interface ErasureProof {
  /** Objects of keys' own that were listed, none of an erased key: with `match` all. A list of keys is looked up: 0. */
  objects: number;
  /** Packs whose directories were read. None holds a version of an erased key. */
  packs: number;
}

/**
 * A state is kept for so long, and a proof may take so long, ms: after a day the record of a key that was removed
 * meanwhile is gone.
 */
export const STATE_MS = 12 * 60 * 60 * 1000;

/** The beginning of a step. */
export function begin(
  step: EraseState["step"],
): Pick<EraseState, "step" | "keys" | "scan" | "own" | "waiting" | "pack"> {
  return { step, keys: 0, scan: SCAN_START, own: OWN_START, waiting: 0, pack: "" };
}

/** Tells if something may be begun that takes so many requests. */
export function mayGoOn({ bounds, looked, maxKeys }: EraseRun, requests: number): boolean {
  return bounds.mayBegin(requests) && looked < maxKeys;
}

/** Sends the erasure back to its beginning: something came meanwhile, or stayed. */
export function anew(state: EraseState): false {
  Object.assign(state, begin("removal"), { sinceUs: 0, someStay: false });
  return false;
}

/** The state of a call for just these keys that a bound has interrupted, or a new one. */
export async function readEraseState(run: EraseRun): Promise<EraseState> {
  const fresh: EraseState = {
    ...begin("removal"),
    ...{
      someStay: false,
      sinceUs: 0,
      tombstonePacks: undefined,
      provedUs: 0,
      proof: { objects: 0, packs: 0 },
      erased: [],
    },
  };
  if (run.dryRun) return fresh;
  const text = await readCursor(run.context, await cursorOf(run), run.bounds.call);
  // JSON has no undefined: a listing at its end
  return text === undefined ? fresh : JSON.parse(text);
}

/** Keeps the state for the next call. */
export async function saveEraseState(run: EraseRun, state: EraseState): Promise<void> {
  if (run.dryRun) return;
  await writeCursor(run.context, await cursorOf(run), JSON.stringify(state), run.bounds.closing, STATE_MS);
}

/** Notes which keys this call has erased something of; their number since the erasure began. */
export async function noteErased({ erased }: EraseRun, state: EraseState): Promise<number> {
  const digests = await Promise.all([...erased].map((key) => digestOf(key)));
  state.erased = [...new Set([...state.erased, ...digests])];
  return state.erased.length;
}

/** Forgets the state. */
export async function dropEraseState(run: EraseRun): Promise<void> {
  if (!run.dryRun) await writeCursor(run.context, await cursorOf(run), undefined, run.bounds.closing);
}

/** The cursor of the erasures of just these keys; its name tells nothing of them. */
async function cursorOf({ keys, match }: EraseRun): Promise<string> {
  return `erase:${await digestOf(JSON.stringify(keys ?? { match }))}`;
}

async function digestOf(text: string): Promise<string> {
  return (await hexDigest("SHA-256", new TextEncoder().encode(text))).slice(0, 16);
}
