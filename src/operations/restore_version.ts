/**
 * restoreVersion: an archived version becomes a key's value again.
 * @module
 */
import type { ArchiveRecord, Tombstone } from "../archive/encoding.ts";
import type { LargeRecord } from "../archive/large.ts";
import { holderName, placeOf } from "../archive/place.ts";
import { checkBoolean, checkNumber } from "../base/arguments.ts";
import { badArgument, isNotFound, show, TundraError } from "../base/errors.ts";
import { checkKeys, newestOf, objectName, versionMicros } from "../base/keys.ts";
import { nonce } from "../base/platform.ts";
import { type Context, contextOf } from "../core/context.ts";
import { MAX_ROUNDS, movedOn, unsupportedRecord } from "../core/key_errors.ts";
import type { LargeObject } from "../core/restore_large.ts";
import { told } from "../core/told.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { type KeyState, readState } from "../scripts/read_state.ts";
import { restoreVersion as restoreScript, type Revival } from "../scripts/restore_version.ts";
import type { TundraStore } from "../store_interface.ts";
import { encodePayload, payloadBytes } from "../upstash/payload.ts";
import { keyBytes, roomIn } from "../upstash/requests.ts";
import { beginOperation, type Bounds, type OperationOptions, type OperationReport } from "./bounds.ts";
import { findInPack, historyOf, type Kept, MOST_PACKS, readFound, thawFirst } from "./history.ts";
import { indexWent, ownedIndex } from "./owned_index.ts";
import { conflict, mayBeRestored, refusal, RUN_A_TICK } from "./restore_refused.ts";

/** Options of {@linkcode restoreVersion}. */
export interface RestoreVersionOptions extends OperationOptions {
  /** Another key that is to hold the value; the present one is left alone. That key must hold nothing. */
  to?: string;
  /**
   * `true`: a version that is past its own expiry is restored as well, without an expiry. `false`: it is refused.
   *
   * @default {false}
   */
  expired?: boolean;
  /**
   * Packs whose directories are searched, the youngest ones: at least 0. What lies in older packs is found if other
   * versions name it.
   *
   * @default {256}
   */
  maxPacks?: number;
  /**
   * `true`: finds the version and checks all conditions, and writes nothing.
   *
   * @default {false}
   */
  dryRun?: boolean;
}

/** The result of {@linkcode restoreVersion}. */
export interface RestoreVersionReport extends OperationReport {
  /** The key that holds the value now. */
  key: string;
  /** The version that was restored. */
  version: string;
  /** The time at which it had been archived, by Redis' clock: milliseconds since 1970. */
  atMs: number;
  /** Bytes of the value, as Redis' `DUMP` gives it. */
  bytes: number;
  /** Its own expiry, which it keeps: milliseconds since 1970; 0 for none. */
  expMs: number;
}

const WHAT = "restore a version";
const VERSION = /^\d{16}-[0-9a-f]{8,9}$/;

/**
 * Makes an archived version a key's value again, as a new change: the key is marked, and a tick archives it as a newer
 * version. The value that it replaces stays in the history. It keeps its own expiry.
 *
 * The key may hold what is archived, be evicted, removed or unknown. A change that no tick has archived yet is never
 * replaced: `CONFLICT`; run a tick first. What `del` removed is still deleted from the archive, the version that is
 * restored too: its value then lives on as the newer version.
 *
 * A `Date` chooses the version that was the newest at that time, also one whose commit Redis has lost. A version's time
 * is when a tick claimed the key, which comes after the change itself.
 *
 * It may be repeated: a call that was interrupted has restored the value, or changed nothing.
 *
 * Cost: 2 requests to Redis, 11 to 13 billable commands; a request and a command more for each of its two scripts that
 * is new to the server. To the archive: the owner object, the version, and if the key holds a value one question for its
 * present version. If neither the key's record nor an object of its own is this version, the directory of the pack of
 * that name. For a `Date`, or if it was moved, a search as {@linkcode versions} does it.
 *
 * @param version its name, as {@linkcode versions} lists it; or a time
 * @throws {TundraError} `CONFLICT` if the key holds a change that is not archived, was written while evicted, or `to`
 * names a key that holds something; `NOT_FOUND` if the archive does not hold the version, or none of that time;
 * `MISSING` if the key was removed then, or the value is past its own expiry; `CORRUPT` or `UNSUPPORTED` if the version
 * cannot be read; `TOO_LARGE` if no request can carry it; `LOST` if the index or the archive is not this store's;
 * `UNAVAILABLE`; `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { restoreVersion } from "@tundra/store/operations";
 *
 * const DAY_MS = 24 * 60 * 60 * 1000;
 * export const asYesterday = (key: string) =>
 *   restoreVersion(tundraFromEnv(), key, new Date(Date.now() - DAY_MS), { to: `${key}:yesterday` });
 * ```
 */
export async function restoreVersion(
  store: TundraStore,
  key: string,
  version: string | Date,
  options: RestoreVersionOptions = {},
): Promise<RestoreVersionReport> {
  return await told(
    contextOf(WHAT, store),
    "restoreVersion",
    0,
    (context) => restoreVersionWith(context, key, version, options),
  );
}

async function restoreVersionWith(
  context: Context,
  key: string,
  version: string | Date,
  options: RestoreVersionOptions,
): Promise<RestoreVersionReport> {
  checkKeys(WHAT, [[key]]);
  const bounds = beginOperation(WHAT, context, options, ["to", "expired", "maxPacks", "dryRun"]);
  const { to = key, expired = false, maxPacks = MOST_PACKS, dryRun = false } = options;
  checkKeys(WHAT, [[to]]);
  if (options.to === key) throw badArgument(WHAT, "to", "another key", to);
  checkBoolean(WHAT, "expired", expired);
  checkBoolean(WHAT, "dryRun", dryRun);
  checkNumber(WHAT, "maxPacks", maxPacks, 0, Infinity);
  const time = checkVersion(version);

  const owned = await ownedIndex(bounds, to === key ? [key] : [key, to]);
  if (owned === undefined) throw notHeld(key, version);
  const [source, target = source] = owned.states;
  const named = parseRecord(source!.record || null);
  if (named === undefined) throw unsupportedRecord("restore a version of", key);
  const value = typeof version === "string"
    ? await findNamed(bounds, key, version, named.ver, maxPacks)
    : await findByTime(bounds, key, time, named.ver, maxPacks);
  if (value === undefined) throw notHeld(key, version);
  const { ver, exp, ...rest } = valueOf(value, key);
  const note = `RESTORED ${ver} ${nonce()}`;
  const head = { key: to, note, exp, expired, fresh: to !== key, dryRun };
  const done = (bytes: number, expMs: number) => {
    bounds.answered();
    const atMs = Math.floor(versionMicros(ver) / 1000);
    return { key: to, version: ver, atMs, bytes, expMs, ...bounds.report(true) };
  };
  if (!("dump" in rest)) {
    const large = { head: { ...rest, ver, exp }, name: await objectName(context, key, ver) };
    return done(rest.bytes, await bringBackLarge(bounds, large, head, target!));
  }
  const { dump } = rest;
  const room = roomIn(context.connection.requestLimit()) - keyBytes(to);
  const size = payloadBytes(dump);
  if (size > room) {
    const must = `fit into one request, at most ${room} bytes: it takes ${size}`;
    throw new TundraError("TOO_LARGE", `Cannot restore ${show(to)} as its value must ${must}`, { keys: [to] });
  }
  return done(dump.length, await bringBack(bounds, { ...head, payload: encodePayload(dump) }, target!));
}

/** Writes a large value by way of a temporary key; a dry run puts nothing there. */
async function bringBackLarge(
  bounds: Bounds,
  large: LargeObject,
  head: Omit<Revival, "expected" | "payload" | "staged">,
  seen: KeyState,
): Promise<number> {
  const payload = large.head.sha1;
  if (head.dryRun) return await bringBack(bounds, { ...head, payload }, seen);
  const put = (staged: string) => bringBack(bounds, { ...head, payload, staged }, seen);
  const { withPieces } = await import("../core/restore_large.ts");
  const expMs = await withPieces(bounds.context, large, put, bounds.call);
  if (expMs === "again") throw notHeld(large.head.key, large.head.ver);
  return expMs;
}

/** A time in microseconds, all of its millisecond included; 0 for a name. */
function checkVersion(version: unknown): number {
  if (version instanceof Date && Number.isFinite(version.getTime())) return 1000 * version.getTime() + 999;
  if (typeof version === "string" && VERSION.test(version)) return 0;
  throw badArgument(WHAT, "version", "a name that versions() lists, or a valid Date", version);
}

/** Finds a version by its name: by the record, in an object of its own, in the pack of that name, by a search. */
async function findNamed(bounds: Bounds, key: string, version: string, named: string, maxPacks: number) {
  const kept: Pick<Kept, "words" | "error"> = { words: placeOf(named).ver === version ? [named, version] : [version] };
  const near = await thawFirst(bounds, key, kept);
  if (near) return near;
  const found = new Map<string, Kept>();
  await findInPack(bounds, key, version, found);
  const packed = found.get(version) && await thawFirst(bounds, key, found.get(version)!);
  if (packed) return packed;
  const history = () => historyOf(bounds, key, () => Promise.resolve(named), maxPacks, chainTo(versionMicros(version)));
  const find = async () => (await history()).kept.find(({ ver }) => ver === version);
  const moved = await readFound(bounds, key, find, kept);
  if (moved?.value) return moved.value;
  const error = kept.error ?? moved?.error;
  if (error) throw error;
  return undefined;
}

/** Finds the version that was the newest at a time, microseconds. */
async function findByTime(bounds: Bounds, key: string, timeUs: number, named: string, maxPacks: number) {
  const newest = await readFound(bounds, key, async () => {
    const { kept } = await historyOf(bounds, key, () => Promise.resolve(named), maxPacks, chainTo(timeUs));
    const [newest, ...rivals] = newestOf(
      kept.map(({ ver }) => ver).filter((ver) => versionMicros(ver) <= timeUs),
    );
    if (rivals.length > 0) {
      const must = `be told which of the newest versions of that time is meant: ${newest} or ${rivals.join(" or ")}`;
      throw new TundraError("CONFLICT", `Cannot restore a version of ${show(key)} as it must ${must}`, { keys: [key] });
    }
    return kept.find(({ ver }) => ver === newest);
  });
  if (newest === undefined || newest.value) return newest?.value;
  throw newest.error ?? notHeld(key, newest.ver);
}

/** Reads the chain down to a time, if there are packs that no directory tells of. */
function chainTo(timeUs: number) {
  return (kept: Kept[], unreadPacks: number): Kept[] =>
    unreadPacks === 0 ? [] : kept.filter(({ ver, prev }) => prev === undefined && versionMicros(ver) > timeUs);
}

function valueOf(found: ArchiveRecord | LargeRecord | Tombstone, key: string): ArchiveRecord | LargeRecord {
  if (!("gone" in found)) return found;
  const is = found.gone === true ? "it was removed then" : "a tick did not find the key then";
  const must = `hold a value at that time: ${is} (version ${found.ver})`;
  throw new TundraError("MISSING", `Cannot restore a version of ${show(key)} as it must ${must}`, { keys: [key] });
}

function notHeld(key: string, version: string | Date): TundraError {
  const is = typeof version === "string" ? `version ${version}` : `a version of ${version.toISOString()} or before`;
  const must = `hold ${is}: it does not. A sweep or a removal may have deleted it, or maxPacks may be too low`;
  return new TundraError("NOT_FOUND", `Cannot restore ${show(key)} as the archive must ${must}`, { keys: [key] });
}

/** Writes the value by compare-and-set; the own expiry that it has. */
async function bringBack(bounds: Bounds, revival: Omit<Revival, "expected">, seen: KeyState): Promise<number> {
  const { context, call } = bounds;
  const { key } = revival;
  let state = seen;
  let requests = 0;
  let isUncertain = false;
  const onRequest = () => {
    call.onRequest?.();
    requests++;
  };
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const lost = await lostName(bounds, state);
    if (lost !== undefined) {
      const now = (await readState(context.index, [key], call)).states[0]!;
      if (now.record === state.record) throw conflict(key, `${lost} is not there. ${RUN_A_TICK}`);
      state = now; // its pack was moved meanwhile
      continue;
    }
    requests = 0;
    const options = { ...call, onRequest };
    const { id, outcome } = await restoreScript(context.index, { ...revival, expected: state.record }, options);
    if (outcome === "no index") throw indexWent(id);
    if (typeof outcome === "object" && "expMs" in outcome) return outcome.expMs;
    if (outcome !== "again") {
      // what refuses it now may be its own change: a tick has written over the note in the record
      throw isUncertain ? mayBeRestored(key) : refusal(key, revival.exp, outcome);
    }
    isUncertain ||= requests > 1; // a reply was lost, unless the script was new to the server
    state = (await readState(context.index, [key], call)).states[0]!;
  }
  throw movedOn("restore a version of", key);
}

/** The object of the version that is to be replaced, if the archive has lost it: it would drop out of the history. */
async function lostName(bounds: Bounds, { key, record, exists }: KeyState): Promise<string | undefined> {
  const { datastore } = bounds.context;
  const { rev, ver } = parseRecord(record || null) ?? { rev: 0, ver: "" };
  if (!exists || rev !== 0 || ver === "" || !datastore.hasKeys) return undefined;
  const name = await holderName(bounds.context, key, ver);
  const [there] = await bounds.counted((call) => datastore.hasKeys!([name], call));
  if (there === false || isNotFound(there)) return `its present version must be in the archive: ${show(name)}`;
  if (there instanceof Error) throw there;
  return undefined;
}
