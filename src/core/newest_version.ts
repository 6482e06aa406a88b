/**
 * The newest version of a key that the archive holds.
 * @module
 */
import { newestOf } from "../base/keys.ts";
import type { Datastore } from "../datastores/datastore.ts";
import { listPages } from "../datastores/guarded.ts";

/** The newest versions under a key's prefix, as {@linkcode newestOf} has them. Cost: a request a page. */
export async function newestVersions(datastore: Datastore, prefix: string): Promise<string[]> {
  let newest: string[] = [];
  for await (const names of listPages(datastore, prefix)) {
    newest = newestOf([...newest, ...names.map((name) => name.slice(prefix.length))]);
  }
  return newest;
}
