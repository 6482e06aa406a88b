/**
 * Values in the youngest packs, for the search for lost records. What became of an entry since is in younger packs, or
 * in an object of the key's own: so older packs cannot be searched without reading all that are younger. Of a version
 * that a sweep has moved into a young pack, later ones may lie in older packs: it proves nothing.
 * @module
 */
import { asTundraError, isDamage, TundraError } from "../base/errors.ts";
import { packPrefix, versionMicros } from "../base/keys.ts";
import type { Named } from "../core/fetch_archived.ts";
import { type Directories, listPacks, newestOwn, packsIn, readDirectory, wordOf } from "../core/newest_version.ts";
import type { TickRun } from "./run.ts";

/** Packs that are searched. */
const PACKS = 2;
/** Leading digits of a version that are the same for 28 hours, 4 months, for ever. */
const DIGITS = [5, 3, 0];
/** Requests for this: listings, two for each directory. */
export const PACK_REQUESTS = DIGITS.length + 2 * PACKS;

/** The newest version of a key in the youngest packs. */
interface Newest extends Named {
  /** `true` for a value that would be lost if Redis had no record of it. */
  isLost: boolean;
}

/** Values of the youngest packs that no entry of a younger one supersedes. */
export function valuesIn(newest: ReadonlyMap<string, Newest>): Named[] {
  return [...newest.values()].filter(({ isLost }) => isLost).map(({ key, ver }) => ({ key, ver }));
}

/**
 * The newest version of each key that the youngest packs hold. `lastNames`: the last page of the archive's listing, if
 * it is known: packs come last. It ends at a directory that is damaged: what is older may be superseded there.
 */
export async function newestPacked(
  run: TickRun,
  lastNames: string[] | undefined,
  nowMs: number,
  signal: AbortSignal,
  onDamage?: (error: TundraError) => void,
): Promise<Map<string, Newest>> {
  const { context } = run;
  const directories: Directories = new Map();
  const newest = new Map<string, Newest>();
  const packs = lastNames ? packsIn(context, lastNames) : await listYoungest(run, nowMs, signal);
  for (const pack of packs.slice(-PACKS).toReversed()) {
    const directory = await readDirectory(context, pack, directories, (act) => run.counted(act, signal))
      .catch((thrown) => asTundraError(thrown, "read a directory"));
    if (directory instanceof TundraError) {
      if (!isDamage(directory)) throw directory;
      onDamage?.(directory);
      break;
    }
    for (const entry of directory.entries) {
      const { key, gone, exp } = entry;
      const isLost = gone === undefined && (exp === 0 || exp > nowMs) && entry.ver === pack;
      if (versionMicros(newest.get(key)?.ver ?? "") >= versionMicros(entry.ver)) continue;
      newest.set(key, { key, ver: wordOf(pack, entry), isLost });
    }
  }
  return newest;
}

/** Lists those of the last hours; if there are too few, those of a longer time. */
async function listYoungest(run: TickRun, nowMs: number, signal: AbortSignal): Promise<string[]> {
  const micros = String(nowMs * 1000).padStart(16, "0");
  for (const digits of DIGITS) {
    const prefix = packPrefix(run.context.tqname) + micros.slice(0, digits);
    const packs = await run.counted((call) => listPacks(run.context, prefix, call), signal);
    if (packs.length >= PACKS || digits === 0) return packs;
  }
  return [];
}

/**
 * Leaves out keys that have a newer version by now, and versions that are gone. Packs are asked last: a purge puts a
 * marker into one before it deletes objects and the record, and an erasure deletes values before their tombstones.
 * Cost: a listing for each key, and the packs once more.
 */
export async function withoutNewer(
  run: TickRun,
  packed: Named[],
  nowMs: number,
  signal: AbortSignal,
): Promise<Named[]> {
  if (packed.length === 0) return [];
  const some: Named[] = [];
  for (const each of packed) {
    const [own = ""] = await run.counted((call) => newestOwn(run.context, each.key, call), signal);
    if (versionMicros(own) < versionMicros(each.ver)) some.push(each);
  }
  const now = new Set(
    valuesIn(await newestPacked(run, undefined, nowMs, signal)).map(({ key, ver }) => `${ver} ${key}`),
  );
  return some.filter(({ key, ver }) => now.has(`${ver} ${key}`));
}
