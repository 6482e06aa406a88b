/**
 * Freezing and thawing of records, for tests in which the object's name does not matter.
 * @module
 */
import type { Freezer } from "../../src/archive/freezer.ts";
import * as shipped from "../../src/archive/record.ts";

/** The object's name, as freezers are told it. */
export const NAME = "default/user.3A1/1764000000000001-0a1b2c3d";

/** As the shipped one, under {@linkcode NAME}. */
export function freezeRecord(
  record: shipped.ArchiveRecord | shipped.Tombstone,
  freezers: readonly Freezer[],
): Promise<Uint8Array> {
  return shipped.freezeRecord(record, NAME, freezers);
}

/** As the shipped one, under {@linkcode NAME}. */
export function thawRecord(
  bytes: Uint8Array,
  expected: { key: string; ver: string },
  freezers: readonly Freezer[],
): Promise<shipped.ArchiveRecord | shipped.Tombstone> {
  return shipped.thawRecord(bytes, expected, NAME, freezers);
}
