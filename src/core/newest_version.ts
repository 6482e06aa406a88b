/**
 * The newest version of a key that the archive holds.
 * @module
 */
import { versionMicros } from "../base/keys.ts";
import type { Datastore } from "../datastores/datastore.ts";
import { listPages } from "../datastores/guarded.ts";

/**
 * Finds the newest version under a key's prefix, "" if there is none; and a rival of the same time: nothing says which
 * of the two came later. Cost: a request a page.
 */
export async function newestVersion(datastore: Datastore, prefix: string): Promise<{ newest: string; rival: string }> {
  let newest = "";
  let rival = "";
  for await (const names of listPages(datastore, prefix)) {
    for (const name of names) {
      const found = name.slice(prefix.length);
      if (versionMicros(found) === 0 || found === newest || versionMicros(found) < versionMicros(newest)) continue;
      rival = versionMicros(found) === versionMicros(newest) ? found : "";
      if (rival === "") newest = found;
    }
  }
  return { newest, rival };
}
