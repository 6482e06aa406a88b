/**
 * Errors about one key, or about the whole index, that several operations share.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";

/** The most rounds of a call for one key. If the key has changed in each of them, the call fails for it. */
export const MAX_ROUNDS = 4;

/** The error for a record that another version of this package wrote. */
export function unsupportedRecord(what: string, key: string): TundraError {
  return new TundraError(
    "UNSUPPORTED",
    `Cannot ${what} ${show(key)} as its record must be of a version that is known: it is of another`,
    { keys: [key] },
  );
}

/** The error if a key was changed each time that it was read. */
export function movedOn(what: string, key: string): TundraError {
  return new TundraError(
    "UNAVAILABLE",
    `Cannot ${what} ${show(key)} as its record must stay the same during the call: it changed ${MAX_ROUNDS} times`,
    { keys: [key] },
  );
}

/** The error if the index's id names another database: this one is a copy, or its URL has changed. */
export function copiedIndex(id: string): TundraError {
  const origin = show(id.slice(id.lastIndexOf("@") + 1));
  return new TundraError(
    "LOST",
    `Cannot use this index as its id must name this database: it names ${origin}. Nothing was changed. ` +
      `If this database is a copy, such as a restored backup, it must not share the original's archive: delete its keys ` +
      `tundra:<tqname>:* and give it its own bucket, prefix or tqname. If the database has moved here, stop the ticks of ` +
      `the old one and call moveIndex() of @tundra/store/operations. If just its URL differs, pass databaseId`,
  );
}

/** The error while the index's records are made of the archive; `id` is its id. */
export function rebuildUnderWay(id: string): TundraError {
  return new TundraError(
    "LOST",
    `Cannot use this index as its records must be complete: a rebuild is under way (${
      show(id)
    }). Nothing was changed. ` +
      `Call rebuild() of @tundra/store/operations until its report says done`,
  );
}
