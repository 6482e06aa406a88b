/**
 * A record to archive bytes and back: CBOR, the freezers in order, the container.
 * @module
 */
import { badArgument, show, type TundraError } from "../base/errors.ts";
import { deflateFreezer } from "../freezers/deflate.ts";
import { FREEZER_ID, MAX_FREEZERS } from "./container.ts";
import { type ArchiveRecord, decodeRecord, encodeRecord, isTime, type Tombstone } from "./encoding.ts";
import type { Freezer } from "./freezer.ts";
import { seal, unseal } from "./seal.ts";

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
  return await seal(checkedBytes(record), name, freezers, `freeze ${show(record.key)}`, [record.key]);
}

/** The bytes of a record before it is frozen. */
export function checkedBytes(record: ArchiveRecord | Tombstone): Uint8Array {
  const { key, at } = record;
  if (!key.isWellFormed()) throw refused(key, "its key", "well-formed text", key);
  if (!isTime(at)) throw refused(key, "at", "milliseconds since 1970", at);
  if (!("gone" in record) && !isTime(record.exp)) throw refused(key, "exp", "milliseconds, or 0", record.exp);
  return encodeRecord(record);
}

function refused(key: string, name: string, must: string, is: unknown): TundraError {
  return badArgument(`freeze ${show(key)}`, name, must, is);
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
  const of = `thaw ${show(expected.key)}`;
  const thawed = await unseal(bytes, name, freezers, of, [expected.key]);
  return decodeRecord(thawed, expected, `Cannot ${of} as its archive object`);
}
