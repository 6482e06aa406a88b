/**
 * Searches all versions of the keys for which a sweep wants to know them.
 * @module
 */
import { isNotFound } from "../base/errors.ts";
import { versionMicros } from "../base/keys.ts";
import { fetchArchived, type Named, thawArchived } from "../core/fetch_archived.ts";
import { inParallel } from "../datastores/parallel.ts";
import { type Listed, packEntries, packsYoungestFirst } from "./archive_walk.ts";
import { ownHeld, ownPageAt, packHeld } from "./sweep_gather.ts";
import { PUT_MS } from "./sweep_move.ts";
import { type Found, noteFound, type Notes, noteVersion } from "./sweep_notes.ts";
import { SAFE_US } from "./sweep_rules.ts";
import { newSearch, reportKept, type SweepRun, type SweepState, trimDirectories } from "./sweep_run.ts";

const REQUESTS = 6;
/** Fetches at once, and versions of a key that are read between two looks at the bounds. */
const WAVE = 16;
const MOST_READ = 500;
const PUT_US = PUT_MS * 1000;

/** Searches the listing and all directories; `false` if a bound was reached. */
export async function searchWanted(run: SweepRun, state: SweepState): Promise<boolean> {
  const { bounds, times } = run;
  const { notes, search } = state;
  search.sinceUs ||= times.nowUs;
  while (search.own !== undefined) {
    if (!bounds.mayBegin(REQUESTS)) return false;
    const { versions, next } = await ownPageAt(run, state, search.own);
    for (const version of versions) {
      noteVersion(notes, ownHeld(version), true);
      noteFound(notes, version, undefined, times);
    }
    search.own = next;
    run.gotOn = true;
  }
  if (!search.packed && !await searchPacks(run, state)) return false;
  search.packed = true;
  if (!await readOwnChains(run, state)) return false;
  notes.complete = !search.blind;
  state.search = newSearch();
  return true;
}

/**
 * Searches all directories, the youngest first; then those of packs that were put since it began: an erasure may have
 * moved versions there, and deleted the packs that held them at once. `false` if a bound was reached.
 */
async function searchPacks(run: SweepRun, state: SweepState): Promise<boolean> {
  const { bounds, times } = run;
  const { notes, search } = state;
  const mayBePutSince = (pack: string) => versionMicros(pack) > search.sinceUs - PUT_US;
  for (;;) {
    const packs = await packsYoungestFirst(bounds);
    const left = packs.filter((pack) =>
      search.pack === "" || pack < search.pack || (mayBePutSince(pack) && !search.seen.includes(pack))
    );
    if (left.length === 0) return true;
    for (const pack of left) {
      if (!bounds.mayBegin(REQUESTS)) return false;
      for (const entry of await readEntries(run, state, pack)) {
        if (!notes.wanted.has(entry.key)) continue;
        noteVersion(notes, packHeld(pack, entry), true);
        noteFound(notes, { ...entry, pack }, entry.prev, times);
      }
      if (search.pack === "" || pack < search.pack) search.pack = pack;
      if (mayBePutSince(pack)) search.seen.push(pack);
      run.gotOn = true;
      trimDirectories(run);
    }
  }
}

/** The entries of a pack. One that cannot be read may hold anything: then nothing is known of any key. */
async function readEntries(run: SweepRun, { search }: SweepState, pack: string): Promise<Listed[]> {
  try {
    return (await packEntries(run.bounds, pack, run.directories))?.entries ?? [];
  } catch (thrown) {
    if (!run.bounds.mayBegin()) throw thrown;
    search.blind = true;
    reportKept(run, pack, thrown);
    return [];
  }
}

/**
 * Reads what versions in objects of a key's own say was named before: the newest of those that are no longer kept as
 * history, and those of the last three days, as the record may go back to what was named then. A key is worth it once
 * this frees at least half as many versions. `false` if a bound was reached: the next call goes on with the other ones.
 */
async function readOwnChains(run: SweepRun, { notes }: SweepState): Promise<boolean> {
  const { bounds } = run;
  for (const [key, found] of notes.wanted) {
    if (!found.isChosen) chooseOwn(run, found);
    while (found.own.length > 0) {
      if (!bounds.mayBegin(REQUESTS)) return false;
      const some = found.own.slice(0, Math.min(MOST_READ, bounds.requestsLeft() - REQUESTS + 1));
      try {
        await inParallel(some, WAVE, (ver) => readOwn(run, notes, found, { key, ver }));
      } catch (thrown) {
        if (!bounds.mayBegin()) throw thrown;
        found.youngPrevUs = 0; // what it names is not known
        found.own = [];
        reportKept(run, key, thrown);
      }
    }
  }
  return true;
}

/** Keeps those of a key's own versions that are to be read; none if it is not worth it. */
function chooseOwn({ times }: SweepRun, found: Found): void {
  const cutoff = times.nowUs - SAFE_US - times.keepUs;
  const own = found.own.toSorted().reverse();
  const [newestOld, ...free] = own.filter((ver) => versionMicros(ver) <= cutoff);
  const recent = own.filter((ver) => versionMicros(ver) > times.nowUs - 1.5 * SAFE_US);
  const wanted = newestOld === undefined ? recent : [newestOld, ...recent];
  const isWorthIt = free.length + found.chain.length >= Math.max(1, wanted.length / 2);
  if (!isWorthIt && own.some((ver) => versionMicros(ver) > cutoff)) found.youngPrevUs = 0; // what they name is not known
  found.own = isWorthIt ? wanted : [];
  found.isChosen = true;
}

/** Reads a version in an object of its own, and notes what it says. */
async function readOwn(
  { bounds, context, times }: SweepRun,
  notes: Notes,
  found: Found,
  version: Named,
): Promise<void> {
  const [fetched] = await bounds.counted((call) => fetchArchived(context, [version], { call }));
  if (isNotFound(fetched!.object)) found.youngPrevUs = 0; // it was deleted meanwhile: what it named is not known
  else noteFound(notes, version, (await thawArchived(context, fetched!)).prev ?? "", times);
  found.own = found.own.filter((ver) => ver !== version.ver);
}
