/**
 * One run of a verification: what it has found, and where it goes on.
 * @module
 */
import { asTundraError, isDamage, type TundraError } from "../base/errors.ts";
import { random } from "../base/platform.ts";
import { readCursor } from "../scripts/cursor.ts";
import { noteRun, type Run } from "../scripts/note_run.ts";
import type { Bounds } from "./bounds.ts";
import type { KeyErrors } from "./key_errors.ts";

/** A version whose bytes are wrong. */
export interface DamagedVersion {
  /**
   * The key; "" if a pack's directory is damaged, or an object whose name is shortened or hidden. If records name what it
   * holds, each such key is told as well, once the verification comes to the records: for the first 1,000 such objects.
   */
  key: string;
  /** `CORRUPT`: other bytes than those that were put. `UNSUPPORTED`: of another format, or a freezer is missing. */
  code: "CORRUPT" | "UNSUPPORTED";
  /** The version's name; that of the pack, if its directory is damaged. */
  version: string;
  /** The object that holds it. */
  object: string;
  /** `true` if the key's record names this version; `false` for an older one, or an orphan. */
  current: boolean;
  /** `true` if the key will be archived again. */
  repaired: boolean;
  /** The message of its error. */
  message: string;
}

/** The code of damage. */
export type DamageCode = DamagedVersion["code"];

/** The damage that an error tells of; `undefined` if it is none. */
export function damageOf(error: TundraError): DamageCode | undefined {
  return isDamage(error) ? error.code : undefined;
}

/** A version that a record names, and that the archive does not hold. */
export interface MissingVersion {
  /** The key. */
  key: string;
  /** The version's name. */
  version: string;
  /** The object that is missing. */
  object: string;
  /** `true` if the key will be archived again. */
  repaired: boolean;
}

/** The position at which it goes on. */
export interface VerifyPosition {
  /** Objects of the archive first, then records. */
  part: "objects" | "records";
  /** The datastore's cursor of the page, or that of the scan; "" for the first. */
  page: string;
  /** The last name of that page that was dealt with, or "=" and the last key; "" for none. */
  after: string;
  /** A pack, and its blocks that were read: those before this offset. It may be gone in the next call. */
  pack: string;
  offset: number;
  /** Damaged objects of whose keys only the records tell: packs, and objects whose names are shortened or hidden. */
  unread: Record<string, DamageCode>;
  share: number;
  seed: number;
}

/** One call. */
export interface VerifyRun {
  readonly bounds: Bounds;
  readonly repair: boolean;
  readonly maxKeys: number;
  readonly position: VerifyPosition;
  readonly errors: KeyErrors;
  readonly damaged: DamagedVersion[];
  readonly missing: MissingVersion[];
  /** Packs that are known to be there. */
  readonly present: Set<string>;
  /** The position when the archive last answered anything. */
  answeredAt: VerifyPosition;
  /** Objects in a row of which it has answered none. */
  unanswered: number;
  /** Versions read, and records of which the archive was asked. */
  checked: number;
  records: number;
}

/** A call ends when it has found so many: the next one tells the rest. */
const MOST_FOUND = 1_000;

/** Tells if work may be begun that takes so many requests. */
export function mayGoOn({ bounds, maxKeys, checked, records, damaged, missing }: VerifyRun, requests: number): boolean {
  return bounds.mayBegin(requests) && checked + records < maxKeys && damaged.length + missing.length < MOST_FOUND;
}

/** So many objects in a row that the archive does not answer mean that it is down, and not that some are special. */
const MOST_UNANSWERED = 12;

/**
 * Notes which objects the archive has answered. It throws if a bound was the reason, or if the archive seems to be down;
 * else what it does not answer is an error of the keys.
 */
export function noteAnswers(run: VerifyRun, keys: readonly string[], errors: readonly (unknown | undefined)[]): void {
  const { bounds } = run;
  const failed = errors.flatMap((error, i) => error === undefined ? [] : [{ key: keys[i]!, error }]);
  const error = failed.length > 0 ? asTundraError(failed[0]!.error, "ask the archive") : undefined;
  if (error && (bounds.signal?.aborted || bounds.requestsLeft() <= 0)) throw error;
  if (failed.length < errors.length) {
    run.unanswered = 0;
    run.answeredAt = { ...run.position };
  } else run.unanswered += failed.length;
  if (error && run.unanswered >= MOST_UNANSWERED) throw error;
  for (const each of failed) run.errors.add(each.key, asTundraError(each.error, "ask the archive"));
}

/** Tells if an object is in the share: the same for each part of a run, and for each that has this seed. */
export function isInShare({ position: { share, seed } }: VerifyRun, name: string): boolean {
  if (share === 1) return true;
  let hash = 0x811c9dc5 ^ seed; // FNV-1a, and a last mix: names that differ in their last digits must not be neighbours
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) < share * 2 ** 32;
}

/** The cursor of calls with these options: those with others, which take turns with them, have their own. */
export function cursorName(share: number, seed: number | undefined, repair: boolean): string {
  return `verify:${JSON.stringify([share, seed ?? null, repair])}`;
}

/** The beginning. */
export function startOf(share: number, seed: number | undefined): VerifyPosition {
  const drawn = seed ?? Math.floor(random() * 2 ** 32);
  return { part: "objects", page: "", after: "", pack: "", offset: 0, unread: {}, share, seed: drawn };
}

/** Goes to the position that a call before has left, if there is one. */
export async function goToPosition({ bounds, position }: VerifyRun, name: string): Promise<void> {
  try {
    Object.assign(position, JSON.parse(await readCursor(bounds.context, name, bounds.call) ?? "{}"));
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
  }
}

/** Keeps the position for the next call; at the end it is removed. */
export async function keepPosition(run: VerifyRun, name: string, done: boolean): Promise<void> {
  const { bounds, position } = run;
  const text = JSON.stringify(position).replace(
    /[^\x20-\x7e]/g,
    (unit) => "\\u" + unit.charCodeAt(0).toString(16).padStart(4, "0"),
  );
  await noteRun(bounds.context, name, done ? undefined : text, runOf(run, done), bounds.closing);
}

/** The numbers of a verification that the index keeps; see `runsOf` of activity.ts. */
function runOf({ checked, records, damaged, missing, errors }: VerifyRun, done: boolean): Run {
  const numbers = [checked + records, damaged.length, missing.length, errors.report().failed] as const;
  return { operation: "verify", done, numbers };
}
