/**
 * Former ids: those that an archive had before its present one. An id changes when the index moves to another database
 * or is rebuilt, and what was archived under a former one stays the archive's own. An object for each says so.
 *
 *   <tqname>/~former/<uuid>    holds the id; put before the owner changes, and never deleted
 * @module
 */
import { asTundraError } from "../base/errors.ts";
import { formerPrefix } from "../base/keys.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import { listPages } from "../datastores/guarded.ts";
import type { Context } from "./context.ts";
import { uuidOf } from "./owner.ts";

/**
 * The uuids of all ids that this archive had before its present one; none if its datastore cannot list. Cost: a request
 * for each 1,000.
 */
export async function formerIds({ datastore, tqname }: Context, call?: DatastoreCallOptions): Promise<string[]> {
  if (!datastore.listKeys) return [];
  const prefix = formerPrefix(tqname);
  const uuids: string[] = [];
  for await (const names of listPages(datastore, prefix, call)) {
    uuids.push(...names.map((name) => name.slice(prefix.length)));
  }
  return uuids;
}

/** Puts the objects of ids that the archive will have had before. */
export async function putFormer(context: Context, ids: readonly string[], call?: DatastoreCallOptions): Promise<void> {
  for (const id of ids) {
    const name = formerPrefix(context.tqname) + uuidOf(id);
    try {
      await context.datastore.putKey(name, new TextEncoder().encode(id), { ...call, ifAbsent: true });
    } catch (thrown) {
      const error = asTundraError(thrown, "note a former id of the archive");
      if (error.code !== "CONFLICT") throw error; // it is there
    }
  }
}
