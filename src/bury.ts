/**
 * What a tombstone buries leaves the archive. Best effort: what stays is garbage, as no record names it.
 * @module
 */
import type { Context } from "./context.ts";
import type { DataStoreCallOptions } from "./datastores/datastore.ts";
import { listPages } from "./datastores/guarded.ts";
import { asTundraError, show } from "./errors.ts";
import { objectPrefix, versionMicros } from "./keys.ts";
import type { TickRun } from "./tick_run.ts";

/**
 * Deletes the objects of removed keys, up to the version that the record named: a newer one would say that Redis lost a
 * commit, and then it may be the last copy. Where the datastore cannot list, only the one that the record named; where
 * it cannot delete, none.
 *
 * Cost: a request to list and one to delete for each key.
 */
export async function buryOlder(
  run: TickRun,
  endsAt: number,
  removed: { key: string; previous: string }[],
): Promise<void> {
  const { context } = run;
  if (!context.datastore.deleteKeys || removed.length === 0) return;
  // one by one to the end: after its report a tick must have nothing under way
  await Promise.all(removed.map(async (tombstone) => {
    const done = await run.uploads.acquire();
    try {
      if (run.mayBegin()) await buryOne(run, endsAt, tombstone);
    } catch (thrown) {
      if (!run.stopped()) run.fail(asTundraError(thrown, `delete what the tombstone of ${show(tombstone.key)} buries`));
    } finally {
      done();
    }
  }));
}

async function buryOne(
  run: TickRun,
  endsAt: number,
  { key, previous }: { key: string; previous: string },
): Promise<void> {
  const { context } = run;
  const { signal, end } = run.until(endsAt);
  try {
    const prefix = await objectPrefix(context.tqname, key);
    const names = context.datastore.listKeys
      ? await run.counted((call) => upTo(context, prefix, previous, call), signal)
      : [prefix + previous];
    if (names.length === 0) return;
    await run.counted((call) => context.datastore.deleteKeys!(names, call), signal);
  } finally {
    end();
  }
}

async function upTo(
  context: Context,
  prefix: string,
  last: string,
  call: DataStoreCallOptions,
): Promise<string[]> {
  const names: string[] = [];
  for await (const page of listPages(context.datastore, prefix, call)) {
    for (const name of page) {
      const micros = versionMicros(name.slice(prefix.length));
      if (micros > 0 && micros <= versionMicros(last)) names.push(name);
    }
  }
  return names;
}
