/**
 * A search for records that Redis has lost. A key without a record counts as never archived. So a key whose record
 * Redis has evicted, forgotten in a failover or never had (an index whose id was put back by hand) would be absent
 * without an error. The archive shows the loss: its newest object of such a key holds a value, no tombstone.
 * @module
 */
import { holderName, placeOf } from "../archive/place.ts";
import { asTundraError, isNotFound, show, TundraError } from "../base/errors.ts";
import { keyOfObject, newestOf, showKeys, versionMicros } from "../base/keys.ts";
import { monotonicMs, random } from "../base/platform.ts";
import type { Context, RequestOptions } from "../core/context.ts";
import { fetchArchived, type Fetched, type Named, thawArchived } from "../core/fetch_archived.ts";
import { type KnownPacks, newestVersions } from "../core/newest_version.ts";
import { archivePlace } from "../core/owner.ts";
import { inParallel } from "../datastores/parallel.ts";
import { noteHour, readEvictionPolicy } from "../scripts/note_hour.ts";
import { readTexts } from "../scripts/read_records.ts";
import { readState } from "../scripts/read_state.ts";
import { newestPacked, valuesIn, withoutNewer } from "./lost_packed.ts";
import type { TickRun } from "./run.ts";

/** Records to read, and objects to fetch of keys that have none. */
const RECORDS = 256;
const OBJECTS = 8;
/** The record of a key that was removed outlives it by a day. After this much time its absence proves no loss. */
const SURE_MS = 60 * 60 * 1000;
/** Keys of which the archive is asked at once. */
const WAVE = 16;

/**
 * Checks if Redis removes keys by itself, and if it still has the records of keys that one page of the archive's listing
 * names. The next search goes on from there, or repeats this page if records are lost. It reports; it never throws.
 *
 * Cost: 3 requests, 10 billable commands (INFO is free), a listing, and for packs up to 3 listings and 4 reads; if
 * records are missing, 1 request, 4 commands, the packs once more, and at most 8 fetches or listings.
 */
export async function searchLostRecords(run: TickRun, cursor: string | undefined, nowMs: number): Promise<void> {
  const { connection, datastore, tqname } = run.context;
  const { signal, release } = run.until(monotonicMs() + run.settings.leaseMs);
  let next: string | undefined;
  try {
    reportEviction(run, await readEvictionPolicy(connection, run.call));
    if (datastore.listKeys) {
      const page = await run.counted((call) => datastore.listKeys!(`${tqname}/`, cursor || undefined, call), signal);
      const lastNames = page.cursor === undefined ? page.names : undefined;
      const packed = await newestPacked(run, lastNames, nowMs, signal, (error) => run.fail(error));
      // the newest version may have expired, in a pack, before a rebuild: then a record names no older one
      const isNewest = ({ key, ver }: Named) => versionMicros(ver) >= versionMicros(packed.get(key)?.ver ?? "");
      const found = (await newestOfPage(page.names, page.cursor !== undefined)).filter(isNewest);
      found.push(...some(valuesIn(packed), RECORDS));
      next = await reportLosses(run, found, nowMs, signal) ? cursor : page.cursor;
    }
  } catch (thrown) {
    if (run.stopped()) return;
    run.fail(asTundraError(thrown, "search for lost records"));
  } finally {
    release();
  }
  // after a failure from the beginning: the archive may not know its cursor any more
  await noteHour(run.context, nowMs, next ?? "", run.call).catch(() => {});
}

/** Reports a `maxmemory-policy` by which Redis removes keys. */
function reportEviction(run: TickRun, policy: string | undefined): void {
  if (policy === undefined) return;
  run.fail(
    new TundraError(
      "UNSUPPORTED",
      `Cannot rely on Redis as it must not remove keys by itself: its maxmemory-policy is ${policy}. It takes changes ` +
        `before they are archived, and records, without which archived keys are absent. Switch Eviction off (noeviction)`,
    ),
  );
}

/**
 * The newest object of each key that a page names. With `more` pages the last key is left out: its newest may follow.
 */
async function newestOfPage(names: string[], more: boolean): Promise<Named[]> {
  const versions = new Map<string, string[]>();
  for (const name of names) {
    const end = name.lastIndexOf("/") + 1;
    const [prefix, ver] = [name.slice(0, end), name.slice(end)];
    versions.set(prefix, newestOf([...versions.get(prefix) ?? [], ver]));
  }
  const all = [...versions].filter(([, newest]) => newest.length > 0);
  if (more) all.pop();
  const found: Named[] = [];
  for (const [prefix, vers] of some(all, RECORDS)) {
    const key = await keyOfObject(prefix);
    if (key !== undefined) found.push(...vers.map((ver) => ({ key, ver })));
  }
  return found;
}

/** Reports keys whose value is in the archive alone while Redis has no record of them; tells if there may be any. */
async function reportLosses(run: TickRun, found: Named[], nowMs: number, signal: AbortSignal): Promise<boolean> {
  if (found.length === 0) return false;
  const records = await readTexts(run.context, found.map(({ key }) => key), run.call);
  const without = found.filter((_, i) => records[i] === null);
  const sample = some(without, OBJECTS).slice(0, OBJECTS);
  if (sample.length === 0) return false;
  const isPacked = ({ ver }: Named) => placeOf(ver).pack !== "";
  const own = sample.filter((each) => !isPacked(each));
  const fetched = await run.counted((call) => fetchArchived(run.context, own, { call }), signal);
  const failures = new Map<string, TundraError>();
  const values = [
    ...await valuesOf(run.context, fetched, nowMs, failures),
    ...await withoutNewer(run, sample.filter(isPacked), nowMs, signal),
  ];
  const { lost, late } = await withoutRecord(run.context, values, nowMs, run.call);
  for (const error of failures.values()) run.fail(error);
  if (lost.length === 0) return false;
  if (late) return true; // it was frozen: the values may have expired long ago
  const keys = lost.map(({ key }) => key);
  run.fail(
    new TundraError(
      "LOST",
      `Cannot bring ${showKeys(keys)} back as Redis has lost their records: of ${found.length} keys of ` +
        `${archivePlace(run.context)} ${without.length} have none${
          without.length < found.length ? "" : ": the index was lost"
        }. ` +
        `Redis evicts, went back to an earlier state, or an id was put back by hand. Unless the store has lookInArchive, ` +
        `ensureKs() takes them for absent. The newest value of one: ${
          show(await holderName(run.context, lost[0]!.key, lost[0]!.ver))
        }`,
      { keys },
    ),
  );
  return true;
}

/** Those that hold a value that has not expired, and no tombstone. Objects that cannot be read go to `failures`. */
async function valuesOf(
  context: Context,
  found: Fetched[],
  nowMs: number,
  failures: Map<string, TundraError>,
): Promise<Fetched[]> {
  const values: Fetched[] = [];
  for (const each of found) {
    if (isNotFound(each.object)) continue; // deleted meanwhile
    try {
      const archived = await thawArchived(context, each);
      if (!("gone" in archived) && (archived.exp === 0 || archived.exp > nowMs)) values.push(each);
    } catch (thrown) {
      failures.set(each.key, asTundraError(thrown, "look in the archive"));
    }
  }
  return values;
}

/**
 * Sorts keys of which the archive holds a value: `lost` if Redis still has neither value nor record, else `changed`.
 * `late`: so much time has passed since `sinceMs` that they may have been removed meanwhile, and their records have gone.
 */
async function withoutRecord<T extends Named>(
  context: Context,
  values: T[],
  sinceMs: number,
  call?: RequestOptions,
): Promise<{ lost: T[]; changed: T[]; late: boolean }> {
  if (values.length === 0) return { lost: [], changed: [], late: false };
  // asked last: the archive's side may have changed before
  const { states, nowMs } = await readState(context.index, values.map(({ key }) => key), call);
  const isLost = (_: T, i: number) => states[i]!.record === "" && !states[i]!.exists;
  return {
    lost: values.filter(isLost),
    changed: values.filter((each, i) => !isLost(each, i)),
    late: nowMs - sinceMs > SURE_MS,
  };
}

/** About as many of them as `most`, drawn by lot; the first ones if it draws none. */
function some<T>(all: T[], most: number): T[] {
  const drawn = all.filter(() => random() * all.length < most);
  return drawn.length > 0 ? drawn : all.slice(0, most);
}

/**
 * Looks in the archive for keys of which Redis has neither value nor record. Each key whose newest object holds a value
 * becomes a failure. It is not brought back: nothing proves that it was not deleted. Returns the keys to check again:
 * those that have changed, and all if over an hour has passed since `nowMs`, Redis' time when they had no record.
 *
 * Cost: a listing, and one a key; a fetch for each that was archived, and for all of these 1 request. Directories of
 * packs: two requests each, once a call.
 */
export async function lookInArchive(
  context: Context,
  keys: string[],
  nowMs: number,
  failures: Map<string, TundraError>,
): Promise<string[]> {
  const found: Named[] = [];
  const packs: KnownPacks = { directories: new Map() };
  await inParallel(keys, WAVE, async (key) => {
    try {
      const newest = await newestVersions(context, key, packs);
      found.push(...newest.map((ver) => ({ key, ver })));
    } catch (thrown) {
      failures.set(key, asTundraError(thrown, "look in the archive"));
    }
  });
  const values: (Named & { name: string })[] = [];
  for (let from = 0; from < found.length; from += WAVE) { // few objects are in memory at a time
    const fetched = await fetchArchived(context, found.slice(from, from + WAVE));
    const some = await valuesOf(context, fetched, nowMs, failures);
    values.push(...some.map(({ key, ver, name }) => ({ key, ver, name })));
  }
  const { lost, changed, late } = await withoutRecord(context, values, nowMs);
  if (late) return values.map(({ key }) => key);
  for (const { key, name } of lost) {
    const message =
      `Cannot ensure ${show(key)} as Redis must hold its record: it has none, and the archive holds the ` +
      `value ${show(name)}. It may have been deleted: write the key anew and mark it, or del() it`;
    failures.set(key, new TundraError("LOST", message, { keys: [key] }));
  }
  return changed.map(({ key }) => key);
}
