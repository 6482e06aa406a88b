/**
 * Searches all versions of the keys for which a sweep wants to know them.
 * @module
 */
import { versionMicros } from "../base/keys.ts";
import { fetchArchived, thawArchived } from "../core/fetch_archived.ts";
import { inParallel } from "../datastores/parallel.ts";
import { type Listed, ownPage, packEntries, packsYoungestFirst } from "./archive_walk.ts";
import { ownHeld, packHeld } from "./sweep_gather.ts";
import { noteFound, noteVersion } from "./sweep_notes.ts";
import { SAFE_US } from "./sweep_rules.ts";
import { reportKept, type SweepRun, type SweepState, trimDirectories } from "./sweep_run.ts";

const REQUESTS = 6;
/** Fetches at once. */
const WAVE = 16;

/** Searches the listing and all directories; `false` if a bound was reached. */
export async function searchWanted(run: SweepRun, state: SweepState): Promise<boolean> {
  const { bounds, times } = run;
  const { notes, search } = state;
  while (search.own !== undefined) {
    if (!bounds.mayBegin(REQUESTS)) return false;
    const { versions, next } = await ownPage(bounds, search.own);
    for (const version of versions) {
      noteVersion(notes, ownHeld(version), true);
      noteFound(notes, version, undefined, times);
    }
    search.own = next;
  }
  const packs = (await packsYoungestFirst(bounds)).filter((pack) => search.pack === "" || pack <= search.pack);
  for (const pack of packs) {
    search.pack = pack;
    if (!bounds.mayBegin(REQUESTS)) return false;
    const entries = await readEntries(run, state, pack);
    for (const entry of entries) {
      if (!notes.wanted.has(entry.key)) continue;
      noteVersion(notes, packHeld(pack, entry), true);
      noteFound(notes, { ...entry, pack }, entry.prev, times);
    }
    trimDirectories(run);
  }
  if (!await readOwnChains(run, state)) return false;
  notes.complete = !search.blind;
  search.blind = false;
  search.own = { cursor: undefined, rest: [] };
  search.pack = "";
  return true;
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
 * this frees at least half as many versions.
 */
async function readOwnChains(run: SweepRun, { notes }: SweepState): Promise<boolean> {
  const { times, bounds, context } = run;
  const cutoff = times.nowUs - SAFE_US - times.keepUs;
  for (const [key, found] of notes.wanted) {
    if (found.own.length === 0) continue;
    const own = found.own.toSorted().reverse();
    const [newestOld, ...free] = own.filter((ver) => versionMicros(ver) <= cutoff);
    const recent = own.filter((ver) => versionMicros(ver) > times.nowUs - 1.5 * SAFE_US);
    const wanted = newestOld === undefined ? recent : [newestOld, ...recent];
    if (free.length + found.chain.length < Math.max(1, wanted.length / 2)) {
      if (own.some((ver) => versionMicros(ver) > cutoff)) found.youngPrevUs = 0; // what they name is not known
      found.own = [];
      continue;
    }
    if (!bounds.mayBegin(wanted.length + REQUESTS)) return false;
    found.own = [];
    try {
      await inParallel(wanted, WAVE, async (ver) => {
        const [fetched] = await bounds.counted((call) => fetchArchived(context, [{ key, ver }], { call }));
        noteFound(notes, { key, ver }, (await thawArchived(context, fetched!)).prev ?? "", times);
      });
    } catch (thrown) {
      found.youngPrevUs = 0; // what it names is not known
      reportKept(run, key, thrown);
    }
  }
  return true;
}
