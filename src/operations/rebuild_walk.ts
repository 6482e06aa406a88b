/**
 * The walk of a rebuild: one listing of the whole archive. Objects of keys' own come first, by their names; then packs,
 * by their directories. Each step gives the newest versions that a part of it holds, and where the next step begins.
 * @module
 */
import type { PackEntry } from "../archive/pack.ts";
import { asTundraError, isNotFound, show, TundraError } from "../base/errors.ts";
import { goneOf, keyOfObject, newestOf, packName, versionMicros } from "../base/keys.ts";
import type { Context } from "../core/context.ts";
import { isShortened, learnKey } from "../core/learn_key.ts";
import { packsIn, readDirectory, wordOf } from "../core/newest_version.ts";
import type { Datastore } from "../datastores/datastore.ts";
import { inParallel } from "../datastores/parallel.ts";
import type { ArchivedKey } from "../scripts/raise.ts";
import { byPrefix } from "./archive_walk.ts";
import type { Bounds } from "./bounds.ts";

/** The place that a rebuild has come to. */
export interface Position {
  stage: "copy" | "walk" | "end";
  /** The page of the listing; absent: the first. */
  page?: string;
  /** The last name of it that is done with. */
  after?: string;
  /** The pack of which so many keys are. */
  pack?: string;
  keys?: number;
}

/** One step of a rebuild. */
export interface Step {
  found: ArchivedKey[];
  objects: number;
  packs: number;
  copied: number;
  next: Position;
  /** Errors of what could not be read, and was passed over. */
  damaged: TundraError[];
  /** `true`: it goes back to the beginning of its stage, and counts objects and packs from 0. */
  anew?: boolean;
}

/** The objects that a walk reads, and its bounds. */
export interface Walk {
  bounds: Bounds;
  /** The store, or one with the datastore to read. */
  context: Context;
  /** `true`: what cannot be read is passed over. */
  skipDamaged: boolean;
  quota: Quota;
}

/** The keys, or objects to copy, that a call may still deal with. */
export interface Quota {
  left: number;
}

/** Keys of a step. */
const MOST_KEYS = 1_000;
/** Objects that a step reads for the names of their keys, and how many at once. */
const [MOST_READ, READS_AT_ONCE] = [60, 6];
/** Directories that are read at once. */
const PACKS_AT_ONCE = 4;
/** Requests of a step: two for a directory, one for the script, and its text. */
const STEP_REQUESTS = 4;
/** Versions that share a block take at most as much together, KB: see BLOCK_BYTES of archive/pack.ts. */
const BLOCK_KB = 32;

const NOTHING: Omit<Step, "next"> = { found: [], objects: 0, packs: 0, copied: 0, damaged: [] };

/** The steps from a position on, until a bound is reached; the last one of all leads to the stage `end`. */
export async function* walkArchive(walk: Walk, from: Position): AsyncGenerator<Step, void, void> {
  const { context } = walk;
  for (let at = from; mayGoOn(walk);) {
    const { names, cursor } = yield* listed(walk, context.datastore, at);
    const end: Position = cursor === undefined ? { stage: "end" } : { stage: "walk", page: cursor };
    const steps = pageSteps(walk, names.filter((name) => name > (at.after ?? "")), at);
    let last: Step = { ...NOTHING, next: at };
    let one = await steps.next();
    for (; !one.done; one = await steps.next()) {
      if (last.next !== at) yield last;
      last = one.value;
    }
    const isWhole = one.value;
    if (isWhole || last.next !== at) yield isWhole ? { ...last, next: end } : last;
    if (!isWhole || end.stage === "end") return;
    at = end;
  }
}

/**
 * A page of all that is under the store's tqname. If the datastore may not know its cursor any more, as after a move to
 * another bucket, it goes back to the first page, for the next call, and throws.
 */
export async function* listed(
  { bounds }: Pick<Walk, "bounds">,
  datastore: Datastore,
  { stage, page }: Position,
): AsyncGenerator<Step, { names: string[]; cursor?: string }, void> {
  try {
    return await bounds.counted((call) => datastore.listKeys!(`${bounds.context.tqname}/`, page, call));
  } catch (thrown) {
    const isFinal = !asTundraError(thrown, "list objects").retryable;
    if (page !== undefined && isFinal) yield { ...NOTHING, next: { stage }, anew: true };
    throw thrown;
  }
}

function mayGoOn({ bounds, quota }: Walk, requests = STEP_REQUESTS): boolean {
  return quota.left > 0 && bounds.mayBegin(requests);
}

/** The steps over a page of names; returns `false` if a bound was reached. */
async function* pageSteps(walk: Walk, names: string[], at: Position): AsyncGenerator<Step, boolean, void> {
  const own = ownNames(names);
  if (!(yield* ownSteps(walk, own, at))) return false;
  return yield* packSteps(walk, packsIn(walk.context, names), { ...at, after: own.at(-1) ?? at.after });
}

/** Those that are versions of keys in objects of their own. */
function ownNames(names: string[]): string[] {
  return names.filter((name) => {
    const [, segment = "", ver = ""] = name.split("/");
    return versionMicros(ver) > 0 && (segment === "~" || !segment.startsWith("~"));
  });
}

/** The objects of one key. */
interface Group {
  prefix: string;
  versions: string[];
  /** `undefined`: their name is shortened, or no key's. */
  key: string | undefined;
}

/** The steps over objects of keys' own. */
async function* ownSteps(walk: Walk, names: string[], { page }: Position): AsyncGenerator<Step, boolean, void> {
  const { bounds, quota } = walk;
  const groups = await groupsOf(names);
  while (groups.length > 0) {
    if (!mayGoOn(walk)) return false;
    const mostRead = Math.max(1, Math.min(MOST_READ, bounds.requestsLeft() - STEP_REQUESTS + 1));
    let reads = 0;
    const beyond = groups.findIndex((group, i) => i >= quota.left || (isUnknown(group) && ++reads > mostRead));
    const some = groups.splice(0, beyond < 0 ? groups.length : beyond);
    quota.left -= some.length;
    const damaged: TundraError[] = [];
    const found = await inParallel(some, READS_AT_ONCE, (group) => newestOfGroup(walk, group, damaged));
    const { prefix, versions } = some.at(-1)!;
    yield {
      ...{ found: found.filter((each) => each !== undefined), damaged, packs: 0, copied: 0 },
      objects: some.reduce((sum, { versions }) => sum + versions.length, 0),
      next: position(page, prefix + versions.at(-1)!),
    };
  }
  return true;
}

async function groupsOf(names: string[]): Promise<Group[]> {
  return await Promise.all(
    [...byPrefix(names)].map(async ([prefix, group]) => ({
      prefix,
      versions: group.map((name) => name.slice(prefix.length)),
      key: await keyOfObject(prefix),
    })),
  );
}

function isUnknown({ prefix, key }: Group): boolean {
  return key === undefined && isShortened(prefix);
}

async function newestOfGroup(
  walk: Walk,
  group: Group,
  damaged: TundraError[],
): Promise<ArchivedKey | undefined> {
  const { bounds, context } = walk;
  const { prefix, versions } = group;
  let { key } = group;
  if (isUnknown(group)) {
    try {
      key = await learnKey(context, prefix, versions, (act) => bounds.counted(act));
    } catch (thrown) {
      damaged.push(passedOver(walk, thrown, `learn the key of ${show(prefix)}`));
    }
  }
  const [ver, rival] = newestOf(versions);
  if (key === undefined || ver === undefined) return undefined;
  return { key, ver, what: rival === undefined ? kindOf(goneOf(ver)) : "rivals", exp: 0, kb: 0 };
}

function kindOf(gone: PackEntry["gone"]): ArchivedKey["what"] {
  return gone === undefined ? "value" : gone === true ? "gone" : "missing";
}

function position(page: string | undefined, after = "", pack = "", keys = 0): Position {
  return { stage: "walk", ...(page !== undefined && { page }), after, ...(keys > 0 && { pack, keys }) };
}

/** The steps over packs. */
async function* packSteps(walk: Walk, packs: string[], at: Position): AsyncGenerator<Step, boolean, void> {
  const { bounds, context, quota } = walk;
  const waiting = [...packs];
  let { after } = at;
  while (waiting.length > 0) {
    if (!mayGoOn(walk)) return false;
    const most = Math.min(PACKS_AT_ONCE, quota.left, Math.floor(bounds.requestsLeft() / (2 * STEP_REQUESTS)));
    const wave = waiting.splice(0, Math.max(1, most)).map((pack) => ({ pack, damaged: [] as TundraError[] }));
    const held = await inParallel(wave, PACKS_AT_ONCE, ({ pack, damaged }) => keysOfPack(walk, pack, damaged));
    for (const [i, { pack, damaged }] of wave.entries()) {
      const all = held[i]!;
      const name = packName(context.tqname, pack);
      for (let end = at.pack === pack ? at.keys ?? 0 : 0, isLast = false; !isLast;) {
        if (!mayGoOn(walk, STEP_REQUESTS / 2)) return false;
        const found = all.slice(end, end + Math.min(MOST_KEYS, quota.left));
        quota.left -= Math.max(1, found.length);
        end += found.length;
        isLast = end >= all.length;
        const next = isLast ? position(at.page, name) : position(at.page, after, pack, end);
        yield { found, damaged: damaged.splice(0), objects: 0, packs: isLast ? 1 : 0, copied: 0, next };
      }
      after = name;
    }
  }
  return true;
}

/** The newest version of each key that a pack holds; none if the pack is no more. */
async function keysOfPack(walk: Walk, pack: string, damaged: TundraError[]): Promise<ArchivedKey[]> {
  let entries: PackEntry[];
  try {
    ({ entries } = await readDirectory(walk.context, pack, new Map(), (act) => walk.bounds.counted(act)));
  } catch (thrown) {
    if (thrown instanceof TundraError && isNotFound(thrown.cause)) return []; // a listing that lags
    damaged.push(passedOver(walk, thrown, `read the pack ${show(pack)}`));
    return [];
  }
  const sharing = new Map<number, number>();
  const byKey = new Map<string, PackEntry[]>();
  for (const entry of entries) {
    sharing.set(entry.offset, (sharing.get(entry.offset) ?? 0) + 1);
    const others = byKey.get(entry.key);
    if (others) others.push(entry);
    else byKey.set(entry.key, [entry]);
  }
  return [...byKey].map(([key, versions]) => {
    const [ver = "", rival] = newestOf(versions.map((entry) => wordOf(pack, entry)));
    const newest = versions.find((entry) => wordOf(pack, entry) === ver)!;
    const kb = newest.gone === undefined && sharing.get(newest.offset)! > 1 ? BLOCK_KB : 0;
    return { key, ver, what: rival === undefined ? kindOf(newest.gone) : "rivals", exp: newest.exp, kb };
  });
}

/** The error of something that is passed over; throws if nothing may be, or if it may be read later. */
export function passedOver({ skipDamaged }: Pick<Walk, "skipDamaged">, thrown: unknown, what: string): TundraError {
  const error = asTundraError(thrown, what);
  if (error.code === "UNAVAILABLE") throw error;
  if (skipDamaged) return error;
  throw new TundraError(
    error.code,
    `Cannot rebuild as everything that names keys must be readable, or older versions would take the place of newer ` +
      `ones: ${error.message}. Put the object right, or pass { skipDamaged: true }`,
    { cause: error },
  );
}
