/**
 * ensureKs: evicted keys come back before they are used.
 *
 *   check      one request: what is not simply there?
 *   touch      what is in use again
 *   reconcile  what is there although its record says evicted
 *   fetch      what is evicted, in bounded waves, then restore by compare-and-set
 *
 * Whatever moved on meanwhile is checked again.
 * @module
 */
import { thawRecord } from "./archive/record.ts";
import { failed, forBatches, MAX_ROUNDS } from "./batches.ts";
import { compare } from "./compare.ts";
import type { Context } from "./context.ts";
import { listPages } from "./datastores/guarded.ts";
import { asTundraError, isNotFound, show, TundraError } from "./errors.ts";
import { checkIdentity } from "./identity.ts";
import { movedOn, unsupportedRecord } from "./key_errors.ts";
import { objectName, objectPrefix, versionMicros } from "./keys.ts";
import { archivePlace } from "./owner.ts";
import { check, type CheckFinding } from "./scripts/check.ts";
import { look } from "./scripts/look.ts";
import { reconcile } from "./scripts/reconcile.ts";
import { parseRecord } from "./scripts/record.ts";
import { encodePayload, payloadBytes, restore, type Thawed, TOMBSTONE } from "./scripts/restore.ts";
import { touch } from "./scripts/touch.ts";
import { binary } from "./upstash/connection.ts";
import { batches, inParts, keyBytes } from "./upstash/requests.ts";

/** Objects in memory at once. */
const WAVE = 128;

/** Fetches under way, by object name: concurrent calls for the same version share one. The guard ends each in time. */
export type Fetches = Map<string, Promise<Uint8Array | Error>>;

type Failures = Map<string, TundraError>;

/** Brings keys back; see {@linkcode TundraStore.ensureKs}. */
export async function ensureKs(context: Context, fetches: Fetches | undefined, keys: string[]): Promise<void> {
  const failures: Failures = new Map(); // of keys
  const calls: Failures = new Map(); // of whole calls
  await forBatches(context, keys, calls, "ensure keys", async (batch) => {
    let waiting = batch;
    for (let round = 1; waiting.length > 0; round++) {
      if (round > MAX_ROUNDS) {
        for (const key of waiting) failures.set(key, movedOn("ensure", key));
        return;
      }
      waiting = await ensureBatch(context, fetches, waiting, failures);
    }
  });
  if (calls.size > 0) {
    throw failed("ensure", new Map([...failures, ...calls]), ["LOST", "UNSUPPORTED", "UNAVAILABLE"], "UNAVAILABLE");
  }
  if (failures.size === 0) return;
  const onlyConflicts = [...failures.values()].every((error) => error.code === "CONFLICT");
  throw failed("ensure", failures, [], onlyConflicts ? "CONFLICT" : "ENSURE_FAILED");
}

/** One round; returns the keys to look at again. */
async function ensureBatch(
  context: Context,
  fetches: Fetches | undefined,
  keys: string[],
  failures: Failures,
): Promise<string[]> {
  const { id, findings } = await check(context.index, keys);
  if (await checkIdentity(context, id)) return keys;
  const needing = (needs: CheckFinding["needs"]) => findings.filter((finding) => finding.needs === needs);
  const again: string[] = [];

  for (const { key } of needing("unsupported")) failures.set(key, unsupportedRecord("ensure", key));

  const inUse = needing("touch").map(({ key }) => key);
  if (inUse.length > 0) again.push(...await touch(context.index, inUse));

  const there = needing("reconcile");
  if (there.length > 0) {
    const outcomes = await reconcile(context.index, there);
    for (const [i, { key, record }] of there.entries()) {
      if (outcomes[i] === "again") again.push(key);
      if (outcomes[i] !== "conflict") continue;
      try {
        const found = await compare(context, key, record);
        if (found === "again") again.push(key);
        else if (found !== "healed") failures.set(key, blindWrite(key));
      } catch (thrown) {
        failures.set(key, asTundraError(thrown, `ensure ${show(key)}`));
      }
    }
  }

  again.push(...await bringBack(context, fetches, needing("evicted"), failures));
  return again;
}

/** Fetches in waves and restores in as few requests as their size allows; returns the keys to look at again. */
async function bringBack(
  context: Context,
  fetches: Fetches | undefined,
  evicted: CheckFinding[],
  failures: Failures,
): Promise<string[]> {
  const again: string[] = [];
  const sendPart = async (batch: Thawed[]) => {
    try {
      const outcomes = await restore(context.index, batch);
      batch.forEach(({ key }, i) => {
        const outcome = outcomes[i]!;
        if (outcome === "again") again.push(key);
        if (typeof outcome === "object") failures.set(key, refused(key, outcome.refused));
      });
    } catch (thrown) {
      const error = asTundraError(thrown, "restore keys");
      if (error.code === "TOO_LARGE" && batch.length > 1) throw error;
      for (const { key } of batch) failures.set(key, error);
    }
  };

  const weigh = (t: Thawed) => keyBytes(t.key) + payloadBytes(t.payload);
  const send = (batch: Thawed[]) => inParts(batch, weigh, context.connection.requestLimit, sendPart);
  let thawed: Thawed[] = [];
  for (let start = 0; start < evicted.length; start += WAVE) {
    thawed.push(...await thawWave(context, fetches, evicted.slice(start, start + WAVE), failures, again));
    const requests = batches(thawed, weigh, context.connection.requestLimit());
    const last = start + WAVE >= evicted.length;
    thawed = last ? [] : requests.pop() ?? []; // the last one may still grow
    for (const request of requests) await send(request);
  }
  return again;
}

/** Fetches and thaws; a key that fails is in `failures`, one that moved on in `again`. */
async function thawWave(
  context: Context,
  fetches: Fetches | undefined,
  wave: CheckFinding[],
  failures: Failures,
  again: string[],
): Promise<Thawed[]> {
  const wanted = await Promise.all(wave.map(async ({ key, record }) => {
    const { ver } = parseRecord(record)!;
    return { key, record, ver, name: await objectName(context.tqname, key, ver) };
  }));
  const objects = await fetchObjects(context, fetches, wanted.map(({ name }) => name));
  const thawed = await Promise.all(wanted.map(async (each, i) => {
    try {
      return await thaw(context, each, objects[i]!);
    } catch (thrown) {
      const error = asTundraError(thrown, `ensure ${show(each.key)}`);
      // a tick removes the objects of a key that was deleted meanwhile: that is no loss
      if (error.code === "LOST" && await hasMovedOn(context, each)) again.push(each.key);
      else failures.set(each.key, error);
    }
  }));
  return thawed.filter((each) => each !== undefined);
}

async function hasMovedOn(context: Context, { key, record }: { key: string; record: string }): Promise<boolean> {
  try {
    const { sights: [sight] } = await look(context.index, [key]);
    return sight!.record !== record;
  } catch {
    return false; // the loss is what there is to say
  }
}

async function thaw(
  context: Context,
  { key, record, ver, name }: { key: string; record: string; ver: string; name: string },
  object: Uint8Array | Error,
): Promise<Thawed> {
  if (isNotFound(object)) return await thawNewer(context, key, record, ver);
  if (object instanceof Error) throw asTundraError(object, `fetch ${show(key)}`);
  const archived = await thawRecord(object, { key, ver }, name, context.freezers);
  if ("gone" in archived) return { key, expected: record, ver, exp: 0, payload: TOMBSTONE };
  return { key, expected: record, ver, exp: archived.exp, payload: encodePayload(binary(archived.dump)) };
}

/**
 * The record names an object that the archive lacks: Redis lost acknowledged writes, or the bucket lost objects. A newer
 * version is what was acknowledged later; an older one never is.
 */
async function thawNewer(
  context: Context,
  key: string,
  record: string,
  ver: string,
): Promise<Thawed> {
  const lost = (rest: string) =>
    new TundraError(
      "LOST",
      `Cannot bring ${show(key)} back as the archive must hold version ${ver} or a newer one: ${rest}. ` +
        `It was looked for under ${archivePlace(context)}; bucket, prefix or tqname may be the wrong ones`,
      { keys: [key] },
    );
  const { datastore } = context;
  if (!datastore.listKeys) throw lost("it does not, and this datastore cannot list others");
  const prefix = await objectPrefix(context.tqname, key);
  let newest = "";
  let rival = ""; // of the same time: nothing says which of the two came later
  for await (const names of listPages(datastore, prefix)) {
    for (const name of names) {
      const found = name.slice(prefix.length);
      if (versionMicros(found) === 0 || found === newest || versionMicros(found) < versionMicros(newest)) continue;
      rival = versionMicros(found) === versionMicros(newest) ? found : "";
      if (rival === "") newest = found;
    }
  }
  if (versionMicros(newest) <= versionMicros(ver)) throw lost(newest ? `its newest is ${newest}` : "it holds none");
  if (rival !== "") throw lost(`its newest are ${newest} and ${rival}, and nothing says which came last`);
  const name = prefix + newest;
  const [object] = await datastore.fetchKeys([name]);
  if (isNotFound(object)) throw lost(`its newest, ${newest}, went before it was fetched`);
  if (!(object instanceof Uint8Array)) throw asTundraError(object, `fetch ${show(key)}`);
  return await thaw(context, { key, record, ver: newest, name }, object);
}

/** Fetches objects in the order of `names`; those already under way are waited for. */
async function fetchObjects(
  context: Context,
  fetches: Fetches | undefined,
  names: string[],
): Promise<(Uint8Array | Error)[]> {
  const fetchAll = async (wanted: string[]): Promise<(Uint8Array | Error)[]> => {
    try {
      return await context.datastore.fetchKeys(wanted);
    } catch (thrown) {
      return wanted.map(() => asTundraError(thrown, "fetch objects"));
    }
  };
  if (!fetches) return await fetchAll(names);
  const fresh = names.filter((name) => !fetches.has(name));
  if (fresh.length > 0) {
    const under = fetchAll(fresh);
    fresh.forEach((name, i) => {
      fetches.set(name, under.then((objects) => objects[i]!).finally(() => fetches.delete(name)));
    });
  }
  return await Promise.all(names.map((name) => fetches.get(name)!));
}

function blindWrite(key: string): TundraError {
  return new TundraError(
    "CONFLICT",
    `Cannot ensure ${show(key)} as what is in Redis must be what was archived: it was written while evicted; ` +
      `evict({ discard: true }, ...) drops what is in Redis and keeps the archived value: then call ensureKs() and repeat ` +
      `the change; or del() it, or mark it with { overwrite: true } to keep what is in Redis`,
    { keys: [key] },
  );
}

function refused(key: string, message: string): TundraError {
  return new TundraError("UNSUPPORTED", `Cannot restore ${show(key)} as Redis must accept its payload: ${message}`, {
    keys: [key],
  });
}
