/**
 * Has Redis lost records? A key without one counts as never archived, so what Redis removes by itself (Eviction), forgets
 * in a failover, or never had (an index whose id was put back by hand) would be absent without a word. The archive knows
 * better: its newest object of such a key holds a value, no tombstone.
 * @module
 */
import { monotonicMs, random } from "./ambient.ts";
import { thawRecord } from "./archive/record.ts";
import type { Context } from "./context.ts";
import type { DataStoreCallOptions } from "./datastores/datastore.ts";
import { listPages } from "./datastores/guarded.ts";
import { inParallel } from "./datastores/parallel.ts";
import { asTundraError, isNotFound, show, TundraError } from "./errors.ts";
import { keyOfObject, objectPrefix, showKeys, versionMicros } from "./keys.ts";
import { archivePlace } from "./owner.ts";
import type { Claim } from "./scripts/claim.ts";
import { look } from "./scripts/look.ts";
import type { TickRun } from "./tick_run.ts";
import type { CallOptions } from "./upstash/connection.ts";
import { results } from "./upstash/script.ts";

type Call = CallOptions & DataStoreCallOptions;

/** The newest object of a key. */
interface Newest {
  key: string;
  ver: string;
  name: string;
}

const EVERY_MS = 60 * 60 * 1000;
/** Records to ask for, and objects to fetch of keys that have none. */
const RECORDS = 256;
const OBJECTS = 8;
/** Keys at once that are looked for in the archive. */
const WAVE = 16;
/** All requests of a look: INFO, a page, records, a script and its source, the note; and the objects. */
const REQUESTS = 6 + OBJECTS;

/**
 * Looks once an hour whether Redis removes keys by itself, and whether it still has the records of keys that one page of
 * the archive's listing names; the next look goes on from there, or stays where records are lost. Reports; never throws.
 *
 * Cost: 3 requests, 2 billable commands (INFO is free) and a listing; where records are missing, 1 request, 4 commands and at
 * most 8 fetches more.
 */
export async function lookForLosses(run: TickRun, { looked, nowUs }: Claim): Promise<void> {
  const nowMs = Math.floor(nowUs / 1000);
  const [at, cursor] = looked.split(" ");
  const agoMs = nowMs - Number(at);
  if (looked !== "" && agoMs < EVERY_MS && agoMs > -EVERY_MS) return;
  if (run.requestsLeft() < REQUESTS) return;
  const { connection, index, datastore, tqname } = run.context;
  const { signal, end } = run.until(monotonicMs() + run.settings.leaseMs);
  try {
    reportEviction(run, (await connection.command(["INFO"], run.call)).result);
    let next: string | undefined;
    if (datastore.listKeys) {
      const page = await run.counted((call) => datastore.listKeys!(`${tqname}/`, cursor || undefined, call), signal);
      const found = await newestOf(page.names, page.cursor !== undefined);
      next = await reportLosses(run, found, nowMs, signal) ? cursor : page.cursor;
    }
    await connection.command(["SET", index.keys.look, `${nowMs} ${next ?? ""}`], run.call);
  } catch (thrown) {
    if (run.stopped()) return;
    run.fail(asTundraError(thrown, "look for lost records"));
    // a cursor that the archive does not know any more must not stand in the way for ever
    if (cursor) await connection.command(["SET", index.keys.look, "0 "], run.call).catch(() => {});
  } finally {
    end();
  }
}

/** What INFO says, where it says anything. */
function reportEviction(run: TickRun, info: unknown): void {
  const field = (name: string) => new RegExp(`^${name}:(\\S+)`, "m").exec(String(info))?.[1];
  const policy = field("maxmemory_policy");
  if (policy === undefined || policy === "noeviction" || field("maxmemory") === "0") return;
  const removed = Number(field("evicted_keys") ?? 0);
  run.fail(
    new TundraError(
      "UNSUPPORTED",
      `Cannot rely on Redis as it must not remove keys by itself: its maxmemory-policy is ${policy}` +
        `${
          removed > 0 ? `, it has removed ${removed} since it started` : ""
        }. It takes what is marked and not archived ` +
        `yet, and records, without which archived keys are absent. Switch Eviction off (noeviction)`,
    ),
  );
}

/** The newest object of each key that a page names, as far as a name tells the key; `more`: the last key's may come later. */
async function newestOf(names: string[], more: boolean): Promise<Newest[]> {
  const newest = new Map<string, { ver: string; name: string }>();
  for (const name of names) {
    const end = name.lastIndexOf("/") + 1;
    const [prefix, ver] = [name.slice(0, end), name.slice(end)];
    if (versionMicros(ver) > versionMicros(newest.get(prefix)?.ver ?? "")) newest.set(prefix, { ver, name });
  }
  const all = [...newest.values()];
  if (more) all.pop();
  const some = all.filter(() => random() * all.length < RECORDS);
  const found = await Promise.all(some.map(async (each) => ({ ...each, key: await keyOfObject(each.name) })));
  return found.filter((each): each is Newest => each.key !== undefined);
}

/** Reports keys whose value is in the archive alone while Redis has no record of them; are there any? */
async function reportLosses(run: TickRun, found: Newest[], nowMs: number, signal: AbortSignal): Promise<boolean> {
  if (found.length === 0) return false;
  const { connection, datastore, index } = run.context;
  const mget = ["MGET", ...found.map(({ key }) => index.keys.record(key))];
  const [records] = results("read records", [await connection.command(mget, run.call)]) as [(string | null)[]];
  const without = found.filter((_, i) => records[i] === null);
  const some = without.filter(() => random() * without.length < OBJECTS).slice(0, OBJECTS);
  if (some.length === 0) return false;
  const objects = await run.counted((call) => datastore.fetchKeys(some.map(({ name }) => name), call), signal);
  const values: Newest[] = [];
  for (const [i, each] of some.entries()) {
    // what is damaged is nobody's value
    const holds = holdsValue(run.context, each, objects[i]!, nowMs).catch((error) => {
      if (error === objects[i]) throw error;
      return false;
    });
    if (await holds) values.push(each);
  }
  const lost = await stillWithoutRecord(run.context, values, run.call);
  if (lost.length === 0) return false;
  const keys = lost.map(({ key }) => key);
  const none = without.length === found.length ? ", so the index was lost, whatever its id says" : "";
  run.fail(
    new TundraError(
      "LOST",
      `Cannot bring ${
        showKeys(keys)
      } back as Redis must hold their records: it has lost them. Of ${found.length} keys ` +
        `of ${
          archivePlace(run.context)
        } ${without.length} have no record${none}. Eviction is on, Redis went back to an ` +
        `earlier state, or an id was put back by hand. ensureKs() takes such keys for never archived unless the store ` +
        `has lookInArchive; the newest versions are ${lost.map(({ name }) => show(name)).join(", ")}`,
      { keys },
    ),
  );
  return true;
}

/** Does the object hold a value that has not expired? A tombstone is none, nor is what was deleted meanwhile. */
async function holdsValue(
  context: Context,
  newest: Newest,
  object: Uint8Array | Error,
  nowMs: number,
): Promise<boolean> {
  if (isNotFound(object)) return false;
  if (object instanceof Error) throw object;
  const archived = await thawRecord(object, newest, newest.name, context.freezers);
  return !("gone" in archived) && (archived.exp === 0 || archived.exp > nowMs);
}

/** Those of them of which Redis knows nothing: no record, no value. To be asked last: the archive's side may have changed before. */
async function stillWithoutRecord<T extends { key: string }>(context: Context, found: T[], call?: Call): Promise<T[]> {
  if (found.length === 0) return [];
  const { sights } = await look(context.index, found.map(({ key }) => key), call);
  return found.filter((_, i) => sights[i]!.record === "" && !sights[i]!.exists);
}

/**
 * Keys of which Redis knows nothing, and that may have been archived all the same: a failure for each whose newest object
 * holds a value. It is not brought back: nothing proves that it was not deleted. Returns keys to look at again.
 *
 * Cost: a listing a key; for one that was archived a fetch, and for all of these 1 request.
 */
export async function lookInArchive(
  context: Context,
  keys: string[],
  nowMs: number,
  failures: Map<string, TundraError>,
): Promise<string[]> {
  const { datastore } = context;
  const looked = await inParallel(keys, WAVE, async (key): Promise<Newest | undefined> => {
    try {
      const prefix = await objectPrefix(context.tqname, key);
      let ver = "";
      for await (const names of listPages(datastore, prefix)) {
        for (const each of names.map((name) => name.slice(prefix.length))) {
          if (versionMicros(each) > versionMicros(ver)) ver = each;
        }
      }
      if (ver === "") return undefined;
      const newest = { key, ver, name: prefix + ver };
      const [object] = await datastore.fetchKeys([newest.name]);
      return await holdsValue(context, newest, object!, nowMs) ? newest : undefined;
    } catch (thrown) {
      failures.set(key, asTundraError(thrown, `look for ${show(key)} in the archive`));
    }
  });
  const values = looked.filter((each) => each !== undefined);
  const lost = await stillWithoutRecord(context, values);
  for (const { key, name } of lost) {
    failures.set(
      key,
      new TundraError(
        "LOST",
        `Cannot ensure ${show(key)} as Redis must hold its record: it has none, and the archive holds a value, ` +
          `${
            show(name)
          }. Nothing says whether that is its last one, or was deleted: write the key anew and mark it, or ` +
          `del() it`,
        { keys: [key] },
      ),
    );
  }
  return values.filter((each) => !lost.includes(each)).map(({ key }) => key);
}
