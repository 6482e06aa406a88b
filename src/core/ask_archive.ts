/**
 * askArchive: asks the archive, before an eviction, if it still has the versions that records name. A bucket's
 * lifecycle rule may have removed them.
 * @module
 */
import { isNotFound } from "../base/errors.ts";
import { objectName } from "../base/keys.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import type { Candidate } from "../scripts/evict.ts";
import type { Context } from "./context.ts";

/**
 * Asks if the archive still has these versions. Keys whose version is lost are marked; if it does not say, they stay.
 */
export async function askArchive(
  context: Context,
  old: Candidate[],
  call?: DatastoreCallOptions,
): Promise<void> {
  const names = await Promise.all(old.map(({ key, ver }) => objectName(context.tqname, key, ver)));
  let answers: (boolean | Error)[];
  try {
    answers = await context.datastore.hasKeys!(names, call);
  } catch (thrown) {
    answers = names.map(() => thrown as Error);
  }
  old.forEach((candidate, i) => {
    const answer = answers[i];
    if (answer === true) return;
    candidate.action = answer === false || isNotFound(answer) ? "mark" : "keep";
  });
}
