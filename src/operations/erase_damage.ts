/**
 * Objects that an erasure cannot read: any of them may hold what is to be erased. They stay, all else is erased, and there
 * is no proof until a person has put them back or deleted them.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { packName, versionMicros } from "../base/keys.ts";
import { isShortened, learnKey } from "../core/learn_key.ts";
import { type Listed, packEntries } from "./archive_walk.ts";
import type { EraseRun } from "./erase_run.ts";

/** Contents that such an object may have, and the remedy. */
const CHOSEN =
  "it may hold some of the keys: put it back from a backup, or keep a copy of it, delete it, and erase again";
export const OTHERS =
  "it stays for the other keys in it: put it back from a backup, or delete it once they are archived elsewhere";

/** Tells if this says of an object that it cannot be read, now and later. */
export function isDamage(thrown: unknown): thrown is TundraError {
  return thrown instanceof TundraError && (thrown.code === "CORRUPT" || thrown.code === "UNSUPPORTED");
}

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

/** Tells if among these objects, whose names tell no key, is one whose key cannot be read; the first is reported. */
export async function areHidden(run: EraseRun, names: string[]): Promise<boolean> {
  const versions = new Map<string, string[]>();
  for (const name of names) {
    const end = name.lastIndexOf("/") + 1;
    const [prefix, ver] = [name.slice(0, end), name.slice(end)];
    if (isShortened(prefix) && versionMicros(ver) > 0) versions.set(prefix, [...versions.get(prefix) ?? [], ver]);
  }
  for (const [prefix, vers] of versions) {
    try {
      await learnKey(run.context, prefix, vers, (act) => run.bounds.counted(act));
    } catch (thrown) {
      if (!isDamage(thrown)) throw thrown;
      reportDamage(run, prefix, thrown, CHOSEN);
      return true;
    }
  }
  return false;
}
