/**
 * Objects and records that an erasure cannot read: any of those may hold what is to be erased. They stay, all else is
 * erased, and there is no proof until a person has put them back or deleted them.
 * @module
 */
import { isDamage, show, TundraError } from "../base/errors.ts";
import { packName, versionMicros } from "../base/keys.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import { type Hidden, type Listed, packEntries } from "./archive_walk.ts";
import type { EraseRun } from "./erase_run.ts";
import { indexWent } from "./owned_index.ts";
import { recordsNow } from "./records_now.ts";

/** Contents that such an object may have, and the remedy. */
const CHOSEN =
  "it may hold some of the keys: put it back from a backup, or keep a copy of it, delete it, and erase again";
export const OTHERS =
  "it stays for the other keys in it: put it back from a backup, or delete it once they are archived elsewhere";

/** Reports an object that stays as it is, once a call. */
export function reportDamage(
  { errors, reported }: EraseRun,
  name: string,
  { code, message }: TundraError,
  why: string,
): void {
  if (reported.has(name)) return;
  reported.add(name);
  errors.add("", new TundraError(code, `Cannot erase all as ${name} must be readable, and ${why}. ${message}`));
}

/** Reports a key that stays as it is, as its record is of another version, once a call. */
export function reportRecord({ errors, reported }: EraseRun, key: string): void {
  if (reported.has(`=${key}`)) return;
  reported.add(`=${key}`);
  errors.add(key, unsupportedRecord("erase", key));
}

/**
 * Reports those of some removals whose time is still to come, once a call: Redis' clock went back. Until it has caught up,
 * nothing tells if one came after values were erased. Cost: a request to Redis.
 */
export async function reportAhead(run: EraseRun, removals: readonly { key: string; ver: string }[]): Promise<void> {
  if (removals.length === 0) return;
  await recordsNow(run, [], indexWent); // for Redis' clock
  for (const { key, ver } of removals) {
    const us = versionMicros(ver);
    if (us <= run.clockUs || run.reported.has(`=${key}`)) continue;
    run.reported.add(`=${key}`);
    const must = `Redis' clock must have passed the time of its removal, ${new Date(us / 1000).toISOString()}`;
    const message = `Cannot erase ${show(key)} yet as ${must}: the clock went back. Call erase() again then`;
    run.errors.add(key, new TundraError("UNAVAILABLE", message, { keys: [key] }));
  }
}

/**
 * The versions in a pack; `undefined` if it went meanwhile, and what it held may be in a pack put since, or if its
 * directory is unreadable, which is reported.
 */
export async function listedIn(run: EraseRun, pack: string): Promise<Listed[] | undefined> {
  try {
    const directory = await packEntries(run.bounds, pack, new Map());
    run.looked += directory?.entries.length ?? 0;
    return directory?.entries;
  } catch (thrown) {
    if (!isDamage(thrown)) throw thrown;
    reportDamage(run, packName(run.context.tqname, pack), thrown, CHOSEN);
    return undefined;
  }
}

/** Tells if there are objects whose keys cannot be read; the first is reported. */
export function areHidden(run: EraseRun, [first]: readonly Hidden[]): boolean {
  if (first === undefined) return false;
  if (!isDamage(first.error)) throw first.error;
  reportDamage(run, first.prefix, first.error, CHOSEN);
  return true;
}
