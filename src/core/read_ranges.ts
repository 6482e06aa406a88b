/**
 * Reads of parts of objects, whether the datastore can read parts or not.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";
import type { DatastoreCallOptions, RangeRead } from "../datastores/datastore.ts";
import type { Context } from "./context.ts";

/** Parts of objects; a datastore that cannot read parts fetches each object whole. */
export async function readRanges(
  context: Context,
  reads: readonly RangeRead[],
  call?: DatastoreCallOptions,
): Promise<(Uint8Array | Error)[]> {
  const { datastore } = context;
  if (datastore.fetchRanges) {
    return await datastore.fetchRanges(reads.map(({ name, offset, length }) => ({ name, offset, length })), call);
  }
  const names = [...new Set(reads.map(({ name }) => name))];
  const objects = new Map((await datastore.fetchKeys(names, call)).map((object, i) => [names[i]!, object]));
  return reads.map(({ name, offset, length }) => {
    const object = objects.get(name)!;
    if (object instanceof Error || object.length >= offset + length) {
      return object instanceof Error ? object : object.subarray(offset, offset + length);
    }
    const must = `have ${offset + length} bytes: it has ${object.length}`;
    return new TundraError("CORRUPT", `Cannot read ${show(name)} as it must ${must}`);
  });
}
