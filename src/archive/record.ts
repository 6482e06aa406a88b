/**
 * A record to archive bytes and back: CBOR, the freezers in order, the container.
 * @module
 */
import { asTundraError, badArgument, show, TundraError } from "../base/errors.ts";
import { deflateFreezer } from "../freezers/deflate.ts";
import { FREEZER_ID, MAX_FREEZERS, openContainer, sealContainer } from "./container.ts";
import { type ArchiveRecord, decodeRecord, encodeRecord, isTime, type Tombstone } from "./encoding.ts";
import type { Freezer } from "./freezer.ts";

export type { ArchiveRecord, Tombstone };

/**
 * Checks the option `freezer`: `undefined` means {@linkcode deflateFreezer}, `null` none.
 *
 * @throws {TundraError} `BAD_ARGUMENT` for what is no freezer, a malformed id, or an id that stands twice
 */
export function checkFreezers(freezer: Freezer | Freezer[] | null | undefined): readonly Freezer[] {
  if (freezer === undefined) return [deflateFreezer()];
  if (freezer === null) return [];
  const freezers: readonly unknown[] = Array.isArray(freezer) ? [...freezer] : [freezer];
  const make = "make a store";
  if (freezers.length > MAX_FREEZERS) throw badArgument(make, "freezer", `at most ${MAX_FREEZERS}`, freezers.length);
  const ids = new Set<string>();
  for (const each of freezers as (Partial<Freezer> | null | undefined)[]) {
    if (typeof each?.freeze !== "function" || typeof each.thaw !== "function") {
      throw badArgument(make, "a freezer", "an object { id, freeze, thaw }", each === null ? null : typeof each);
    }
    const id: unknown = each.id;
    if (typeof id !== "string" || !FREEZER_ID.test(id)) {
      throw badArgument(make, "a freezer's id", "1 to 32 characters A-Z a-z 0-9 . _ -", id);
    }
    if (ids.has(id)) throw badArgument(make, "a freezer's id", "unique", id);
    ids.add(id);
  }
  return freezers as readonly Freezer[];
}

/**
 * The archive bytes of a record; `name` is the object's.
 *
 * @throws {TundraError} with the code and `retryable` of the TundraError that a freezer threw; `UNAVAILABLE` for
 * anything else that one threw; `UNSUPPORTED` if it returned no bytes
 */
export async function freezeRecord(
  record: ArchiveRecord | Tombstone,
  name: string,
  freezers: readonly Freezer[],
): Promise<Uint8Array> {
  const what = `freeze ${show(record.key)}`;
  if (!record.key.isWellFormed()) throw badArgument(what, "its key", "well-formed text", record.key);
  if (!isTime(record.at)) throw badArgument(what, "at", "milliseconds since 1970", record.at);
  if (!("gone" in record) && !isTime(record.exp)) throw badArgument(what, "exp", "milliseconds, or 0", record.exp);
  let bytes = encodeRecord(record);
  for (const freezer of freezers) {
    bytes = await passThrough(() => freezer.freeze(bytes, { name }), freezer.id, record.key, `Cannot ${what}`);
  }
  return await sealContainer(freezers.map((freezer) => freezer.id), bytes);
}

/**
 * The bytes that a freezer returns. Its failure is a TundraError: with its own code and `retryable`, else
 * `UNAVAILABLE`.
 */
async function passThrough(
  act: () => Uint8Array | Promise<Uint8Array>,
  id: string,
  key: string,
  what: string,
): Promise<Uint8Array> {
  const must = `${what} as freezer ${show(id)} must`;
  let bytes: unknown;
  try {
    bytes = await act();
  } catch (cause) {
    const { code, retryable } = asTundraError(cause, what);
    throw new TundraError(code, `${must} accept it: ${reason(cause)}`, { keys: [key], retryable, cause });
  }
  if (bytes instanceof Uint8Array) return bytes;
  throw new TundraError("UNSUPPORTED", `${must} return a Uint8Array: current value is ${typeof bytes}`, {
    keys: [key],
  });
}

/**
 * The record that archive bytes hold; `expected` says which one it must be, and `name` what its object is called.
 * Freezers are found by the ids in the container, whatever order they are configured in. `bytes` are left as they are.
 *
 * @throws {TundraError} `CORRUPT` for any damage and for another key's or version's object; `UNSUPPORTED` for an
 * unknown format, a freezer that is not configured, or one that returned no bytes; with the code and `retryable` of the
 * TundraError that a freezer threw; `UNAVAILABLE` for anything else that one threw
 */
export async function thawRecord(
  bytes: Uint8Array,
  expected: { key: string; ver: string },
  name: string,
  freezers: readonly Freezer[],
): Promise<ArchiveRecord | Tombstone> {
  const { key } = expected;
  const what = `Cannot thaw ${show(key)} as its archive object`;
  const failed = (code: "CORRUPT" | "UNSUPPORTED", message: string) => new TundraError(code, message, { keys: [key] });
  if (!(bytes instanceof Uint8Array)) {
    throw failed("CORRUPT", `${what} must be bytes: current value is ${typeof bytes}`);
  }
  const { ids, frozen } = await openContainer(bytes, what);
  // All are looked up before the first one runs: a missing freezer is a matter of options, not of bytes.
  const chain = ids.map((id) => {
    const freezer = freezers.find((each) => each.id === id);
    if (freezer) return freezer;
    throw failed("UNSUPPORTED", `${what} must be made by configured freezers: ${show(id)} is not among them`);
  });
  // A copy: another call may thaw the same object now, and a freezer may work in place.
  let thawed = chain.length > 0 ? new Uint8Array(frozen) : frozen;
  for (const freezer of chain.reverse()) {
    thawed = await passThrough(() => freezer.thaw(thawed, { name }), freezer.id, key, `Cannot thaw ${show(key)}`);
  }
  return decodeRecord(thawed, expected, what);
}

function reason(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.length > 200 ? text.slice(0, 200) + "..." : text;
}
