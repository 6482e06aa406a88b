/**
 * askArchive: asks the archive, before an eviction, if it still has the versions that records name. A bucket's
 * lifecycle rule may have removed them.
 * @module
 */
import { holderName } from "../archive/place.ts";
import { isNotFound } from "../base/errors.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import type { Candidate } from "../scripts/evict.ts";
import type { Context } from "./context.ts";

/**
 * Asks if the archive still has these versions, one question for each object or pack, as many as `questions`. Keys
 * whose version is lost are marked; if the archive does not say, they stay. Returns the keys for which no question was
 * left.
 */
export async function askArchive(
  context: Context,
  old: Candidate[],
  call?: DatastoreCallOptions,
  questions = Infinity,
): Promise<Set<Candidate>> {
  const names = await Promise.all(old.map(({ key, ver }) => holderName(context, key, ver)));
  const asked = [...new Set(names)].slice(0, Math.max(0, questions));
  let answers: (boolean | Error)[] = [];
  try {
    if (asked.length > 0) answers = await context.datastore.hasKeys!(asked, call);
  } catch (thrown) {
    answers = asked.map(() => thrown as Error);
  }
  const answerOf = new Map(asked.map((name, i) => [name, answers[i]]));
  const passedOver = new Set<Candidate>();
  old.forEach((candidate, i) => {
    const answer = answerOf.get(names[i]!);
    if (!answerOf.has(names[i]!)) passedOver.add(candidate);
    else if (answer !== true) candidate.action = answer === false || isNotFound(answer) ? "mark" : "keep";
  });
  return passedOver;
}
