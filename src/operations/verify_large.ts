/**
 * The verification of a large value: its head and all its segments, one after another.
 * @module
 */
import { thawHead } from "../archive/large.ts";
import { asTundraError, isNotFound, show, TundraError } from "../base/errors.ts";
import { keyOfObject, objectPrefix } from "../base/keys.ts";
import { fetchHeads, segmentsOf } from "../core/large.ts";
import type { ReadVersion } from "./verify_check.ts";
import { damageOf, type VerifyRun } from "./verify_state.ts";

/** Requests besides those for segments: the head, and the records. */
const OTHER_REQUESTS = 3;

/**
 * Reads all of a large value; `undefined` if it went meanwhile, `"later"` if the requests left do not suffice. If those
 * of a whole call do not, it is reported and passed over.
 */
export async function thawLarge(run: VerifyRun, name: string): Promise<ReadVersion | undefined | "later"> {
  const { bounds } = run;
  const { context } = bounds;
  const end = name.lastIndexOf("/") + 1;
  const [prefix, ver] = [name.slice(0, end), name.slice(end)];
  let key = await keyOfObject(prefix);
  const [object] = await bounds.counted((call) => fetchHeads(context, [name], call));
  if (isNotFound(object)) return undefined;
  if (object instanceof Error) {
    const isDamage = damageOf(asTundraError(object, `read ${show(name)}`)) !== undefined;
    const read = { key, ver, object: name };
    return isDamage
      ? { ...read, archived: object as TundraError }
      : { ...read, archived: undefined, unanswered: object };
  }
  try {
    const head = await thawHead(object!, { ...(key !== undefined && { key }), ver }, name, context.freezers);
    key ??= head.key;
    if (await objectPrefix(context, key) !== prefix) {
      throw new TundraError("CORRUPT", `Cannot read ${show(name)} as it must hold a key of that name: it does not`);
    }
    const segments = context.datastore.fetchRanges ? head.parts : 1;
    if (segments + OTHER_REQUESTS > bounds.requestsLeft()) {
      if (run.checked > 0) return "later";
      const must = `take no more requests than maxSubrequests allows: it takes ${segments}`;
      run.errors.add(
        key,
        new TundraError("TOO_LARGE", `Cannot verify ${show(name)} as it must ${must}`, { keys: [key] }),
      );
      return undefined;
    }
    const counted = { ...context, datastore: { ...context.datastore } };
    const { fetchRanges } = context.datastore;
    if (fetchRanges) counted.datastore.fetchRanges = (reads) => bounds.counted((call) => fetchRanges(reads, call));
    for await (const _ of segmentsOf(counted, head, name)) {
      // each is checked
    }
    return { key, ver, object: name, archived: head };
  } catch (thrown) {
    const error = asTundraError(thrown, `read ${show(name)}`);
    if (isNotFound(error)) return undefined;
    if (error.code === "UNAVAILABLE") return { key, ver, object: name, archived: undefined, unanswered: error };
    return { key, ver, object: name, archived: error };
  }
}
