/**
 * versions: lists what the archive holds of one key.
 * @module
 */
import { holderName, placeOf } from "../archive/place.ts";
import { checkNumber } from "../base/arguments.ts";
import type { TundraErrorCode } from "../base/errors.ts";
import { checkKeys, versionMicros } from "../base/keys.ts";
import { type Context, contextOf } from "../core/context.ts";
import { checkIdentity } from "../core/identity.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import { told } from "../core/told.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { readTexts } from "../scripts/read_records.ts";
import { readState } from "../scripts/read_state.ts";
import type { TundraStore } from "../store_interface.ts";
import { beginOperation, type Bounds, type OperationOptions } from "./bounds.ts";
import { historyOf, type Kept, MOST_PACKS } from "./history.ts";

/** Options of {@linkcode versions}. */
export interface VersionsOptions extends OperationOptions {
  /**
   * The most versions to list, the newest ones: at least 1. Each is read.
   *
   * @default {100}
   */
  maxVersions?: number;
  /**
   * Packs whose directories are read, the youngest ones: at least 0. Of what lies in older packs only the versions are
   * found that a version after them names.
   *
   * @default {256}
   */
  maxPacks?: number;
}

/** One version of a key. */
export interface Version {
  /** The version's name, for {@linkcode restoreVersion}. */
  version: string;
  /** The time at which it was archived, by Redis' clock: milliseconds since 1970. */
  atMs: number;
  /** Bytes of the value, as Redis' `DUMP` gives it; 0 for a removal and for what cannot be read. */
  bytes: number;
  /** The value's own expiry: milliseconds since 1970; 0 for none. */
  expMs: number;
  /** `false` for a value. A removal: on purpose, or inferred by a tick that did not find the key. */
  gone: false | "removed" | "inferred";
  /** `true` if the key's record in Redis names this version. */
  current: boolean;
  /**
   * `true` if it is newer than what the record names, or if there is no record and no later removal: Redis has lost
   * its commit, or a tick put it in vain. It may be the last copy of an acknowledged value.
   */
  orphan: boolean;
  /** The name of the object that holds it: its own, or a pack. */
  place: string;
  /** The reason why it cannot be read: `CORRUPT` or `UNSUPPORTED`. */
  error?: TundraErrorCode;
}

/** The result of {@linkcode versions}. */
export interface Versions extends Array<Version> {
  /**
   * The number of packs whose directories were not read, as there are more than `maxPacks` or they are damaged: they may
   * hold versions that no other one names. `Infinity` if the datastore cannot list. Not enumerable.
   */
  readonly unreadPacks: number;
}

const MOST_VERSIONS = 100;

/**
 * Lists the versions of a key that the archive holds, the newest first: those that its record and other versions name,
 * objects of its own, and what lies in packs, also what Redis has forgotten. One that lies in two packs, as it was
 * moved, is one version. A change that no tick has archived yet is none.
 *
 * It changes nothing.
 *
 * Cost: 2 requests to Redis, 4 billable commands. To the archive: a listing for each 1,000 objects of the key and each
 * 1,000 packs, two ranges for each pack of `maxPacks`, and one object or block for each version. If `maxSubrequests`
 * does not suffice, fewer packs are read.
 *
 * @throws {TundraError} `BAD_ARGUMENT`; `LOST` if the index is lost or another database's; `UNSUPPORTED` if the key's
 * record is of another version of this package; `UNAVAILABLE` if servers fail or a bound is reached
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { versions } from "@tundra/store/operations";
 *
 * export async function history(key: string): Promise<string[]> {
 *   const all = await versions(tundraFromEnv(), key);
 *   return all.map(({ atMs, bytes, gone }) => `${new Date(atMs).toISOString()} ${gone || `${bytes} bytes`}`);
 * }
 * ```
 */
export async function versions(store: TundraStore, key: string, options: VersionsOptions = {}): Promise<Versions> {
  return await told(contextOf("list versions", store), "versions", 0, (context) => versionsWith(context, key, options));
}

async function versionsWith(context: Context, key: string, options: VersionsOptions): Promise<Versions> {
  const what = "list versions";
  checkKeys(what, [[key]]);
  const bounds = beginOperation(what, context, options, ["maxVersions", "maxPacks"]);
  const { maxVersions = MOST_VERSIONS, maxPacks = MOST_PACKS } = options;
  checkNumber(what, "maxVersions", maxVersions, 1, Infinity);
  checkNumber(what, "maxPacks", maxPacks, 0, Infinity);
  await checkIdentity(context, (await readState(context.index, [], bounds.call)).id, bounds.call);
  let named: string | undefined;
  const { kept, unreadPacks } = await historyOf(
    bounds,
    key,
    async () => (named = await namedBy(bounds, key)) ?? "",
    maxPacks,
    (kept) => kept.slice(0, maxVersions),
  );
  const listed = kept.slice(0, maxVersions);
  const { ver = "" } = placeOf(named ?? "");
  const known = named === undefined ? lastRemoval(listed) : ver;
  const all = await Promise.all(listed.map((each) => versionOf(bounds, key, each, ver, known)));
  bounds.answered();
  return Object.defineProperty(all, "unreadPacks", { value: unreadPacks }) as Version[] as Versions;
}

/** The word that a key's record names, "" for none; `undefined` without a record. */
async function namedBy(bounds: Bounds, key: string): Promise<string | undefined> {
  const [text] = await readTexts(bounds.context, [key], bounds.call);
  const record = parseRecord(text);
  if (record === undefined) throw unsupportedRecord("list the versions of", key);
  return text === null ? undefined : record.ver;
}

function lastRemoval(kept: Kept[]): string {
  return kept.find(({ gone }) => gone === true)?.ver ?? "";
}

async function versionOf(bounds: Bounds, key: string, kept: Kept, named: string, known: string): Promise<Version> {
  const { ver, words, gone, exp = 0, bytes = 0, error } = kept;
  const micros = versionMicros(ver);
  return {
    version: ver,
    atMs: Math.floor(micros / 1000),
    bytes,
    expMs: exp,
    gone: gone === undefined ? false : gone === true ? "removed" : "inferred",
    current: ver === named,
    orphan: micros > versionMicros(known),
    place: await holderName(bounds.context, key, words[0]!),
    ...(error && { error: error.code }),
  };
}
