/**
 * Deletion of objects, and of parts that a put which failed has left.
 *
 * Of an object with parts they go first, then its note, then its head: whatever is left after a failure is still listed,
 * and goes when it is deleted again.
 * @module
 */
import { TundraError } from "../../base/errors.ts";
import type { DatastoreCallOptions } from "../datastore.ts";
import { deletionFailure } from "../deletions.ts";
import { forEachName } from "../parallel.ts";
import { getItems, groupsOf, type Table, WRITE_AT_ONCE, writeItems } from "./batches.ts";
import { count, uniqueNames } from "./fetch.ts";
import { headKey, idOf, type ItemKey, noteKey, partKeysOf } from "./items.ts";

/** Deletes objects; absent ones are no error. */
export async function deleteObjects(
  table: Table,
  names: string[],
  options: DatastoreCallOptions | undefined,
): Promise<void> {
  const unique = uniqueNames("delete", names);
  const what = `delete ${count(unique)}`;
  const errors = new Map<string, Error>();
  const notes = await getItems(table, what, unique.map(noteKey), options);
  const parts: Doomed[] = [];
  const noted: Doomed[] = [];
  for (const name of unique) {
    const note = notes.get(idOf(noteKey(name)));
    if (note instanceof Error) errors.set(name, note);
    else if (note !== undefined) {
      noted.push({ name, key: noteKey(name) });
      for (const word of note.b?.SS ?? []) {
        for (const key of partKeysOf(name, word) ?? []) parts.push({ name, key });
      }
    }
  }
  for (const doomed of [parts, noted, unique.map((name) => ({ name, key: headKey(name) }))]) {
    await remove(table, what, doomed.filter(({ name }) => !errors.has(name)), errors, options);
  }
  if (errors.size > 0) throw deletionFailure(names, errors);
}

/** An item to delete, and the object that it belongs to. */
interface Doomed {
  name: string;
  key: ItemKey;
}

async function remove(
  table: Table,
  what: string,
  doomed: Doomed[],
  errors: Map<string, Error>,
  options: DatastoreCallOptions | undefined,
): Promise<void> {
  const groups = groupsOf(doomed, WRITE_AT_ONCE);
  const results = await forEachName(groups.map(String), table.concurrency, options, async (_, i, own) => {
    await writeItems(table, what, groups[i]!.map(({ key }) => ({ DeleteRequest: { Key: key } })), own);
  });
  for (const [i, result] of results.entries()) {
    if (!(result instanceof TundraError)) continue;
    for (const { name } of groups[i]!) errors.set(name, result);
  }
}
