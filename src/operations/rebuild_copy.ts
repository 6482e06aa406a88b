/**
 * The copy of an archive: each version, pack and former id, put under the same name.
 * @module
 */
import { asTundraError, isNotFound, show, type TundraError } from "../base/errors.ts";
import { formerPrefix, isLarge, packPrefix } from "../base/keys.ts";
import type { Datastore } from "../datastores/datastore.ts";
import { inParallel } from "../datastores/parallel.ts";
import type { Bounds } from "./bounds.ts";
import { listed, passedOver, type Position, type Quota, type Step } from "./rebuild_walk.ts";

/** Objects in memory at once; two requests for each. */
const AT_ONCE = 4;
const STEP_REQUESTS = 2 * AT_ONCE + 2;

/** The archive to copy, and the bounds. */
interface Copy {
  bounds: Bounds;
  source: Datastore;
  /** `true`: what cannot be read is passed over. */
  skipDamaged: boolean;
  quota: Quota;
}

/**
 * The steps of copying all objects under the store's tqname, until a bound is reached; the last one leads to the walk.
 * An object that is there already is left as it is: a step that was interrupted has put it.
 */
export async function* copyArchive(copy: Copy, from: Position): AsyncGenerator<Step, void, void> {
  const { bounds, source, quota } = copy;
  const { tqname } = bounds.context;
  for (let at = from; quota.left > 0 && bounds.mayBegin(STEP_REQUESTS + 1);) {
    const { names, cursor } = yield* listed({ bounds }, source, at);
    const left = names.filter((name) => name > (at.after ?? "") && belongsInCopy(tqname, name));
    const end: Position = cursor === undefined ? { stage: "walk" } : { stage: "copy", page: cursor };
    do {
      if (quota.left <= 0 || !bounds.mayBegin(STEP_REQUESTS)) return;
      const some = left.splice(0, Math.min(AT_ONCE, quota.left));
      quota.left -= some.length;
      const damaged: TundraError[] = [];
      const copied = await inParallel(some, AT_ONCE, (name) => copyObject(copy, name, damaged));
      const next = left.length > 0 ? { ...at, after: some.at(-1)! } : end;
      const count = copied.filter(Boolean).length;
      yield { found: [], damaged, objects: 0, packs: 0, copied: count, next };
    } while (left.length > 0);
    if (end.stage === "walk") return;
    at = end;
  }
}

/** Tells if it is a version, a pack or a former id. Owners and notes of a sweep concern the other index alone. */
function belongsInCopy(tqname: string, name: string): boolean {
  const own = [packPrefix(tqname), formerPrefix(tqname)];
  return !name.startsWith(`${tqname}/~`) || name.startsWith(`${tqname}/~/`) ||
    own.some((each) => name.startsWith(each));
}

/** Copies one large value, a segment at a time; `false` if it is no more, is there already, or was passed over. */
async function copyLarge(copy: Copy, name: string, damaged: TundraError[]): Promise<boolean> {
  const { bounds: { context, counted }, source } = copy;
  const { datastore } = context;
  const [there] = await counted((call) => datastore.hasKeys!([name], call));
  if (there === true) return false;
  const { largeBytes } = await import("../core/large.ts");
  const { putLarge } = await import("../core/put_large.ts");
  let failure: unknown;
  const bytes = async function* () {
    try {
      yield* largeBytes({ ...context, datastore: source }, name, counted);
    } catch (thrown) {
      failure = thrown;
      throw thrown;
    }
  };
  try {
    await putLarge(datastore, name, bytes(), counted);
    return true;
  } catch (thrown) {
    if (failure === undefined) throw thrown;
    if (!isNotFound(failure)) damaged.push(passedOver(copy, failure, `copy ${show(name)}`));
    return false;
  }
}

/** Copies one object; `false` if it is no more, is there already, or was passed over. */
async function copyObject(copy: Copy, name: string, damaged: TundraError[]): Promise<boolean> {
  const { bounds: { context, counted }, source } = copy;
  const { putParts, hasKeys } = context.datastore;
  if (isLarge(name) && putParts && hasKeys && source.fetchRanges) {
    return await copyLarge(copy, name, damaged);
  }
  const [object] = await counted((call) => source.fetchKeys([name], call));
  if (isNotFound(object)) return false; // deleted meanwhile, by its own index
  if (!(object instanceof Uint8Array)) {
    damaged.push(passedOver(copy, object, `copy ${show(name)}`));
    return false;
  }
  try {
    return await counted((call) => context.datastore.putKey(name, object, { ...call, ifAbsent: true }));
  } catch (thrown) {
    const error = asTundraError(thrown, "copy an archive");
    if (error.code === "CONFLICT") return false;
    throw error;
  }
}
