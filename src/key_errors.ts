/**
 * Errors about one key, or about the whole index, that several operations share.
 * @module
 */
import { MAX_ROUNDS } from "./batches.ts";
import { show, TundraError } from "./errors.ts";

/** The error for a record that another version of this package wrote. */
export function unsupportedRecord(what: string, key: string): TundraError {
  return new TundraError(
    "UNSUPPORTED",
    `Cannot ${what} ${show(key)} as its record must be of a version that this package knows: it is of another one`,
    { keys: [key] },
  );
}

/** The error where a key was changed each time that it was looked at. */
export function movedOn(what: string, key: string): TundraError {
  return new TundraError(
    "UNAVAILABLE",
    `Cannot ${what} ${show(key)} as its record must hold still: it changed ${MAX_ROUNDS} times`,
    { keys: [key] },
  );
}

/** The error if the index's id names another database: this one is a copy, or its URL has changed. */
export function copiedIndex(id: string): TundraError {
  const origin = show(id.slice(id.lastIndexOf("@") + 1));
  return new TundraError(
    "LOST",
    `Cannot use this index as its id must name this database: it names ${origin}. Nothing was changed. ` +
      `If this database is a copy of ${origin}, such as a restored backup or a staging database, it must not share the ` +
      `original's archive: delete its keys tundra:<tqname>:* and give it a bucket, prefix or tqname of its own. ` +
      `If the database itself has moved here, stop the ticks of the old one and call moveIndex() of ` +
      `@tundra/store/operations. If just its URL differs, name the database by the option databaseId`,
  );
}
