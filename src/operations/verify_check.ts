/**
 * Checks of versions that were read: bytes, key and version, and that the record's fingerprint is theirs.
 * @module
 */
import { labelOf } from "../archive/encoding.ts";
import type { LargeRecord } from "../archive/large.ts";
import { placeOf } from "../archive/place.ts";
import { type ArchiveRecord, thawRecord, type Tombstone } from "../archive/record.ts";
import { unseal } from "../archive/seal.ts";
import { asTundraError, isNotFound, show, TundraError } from "../base/errors.ts";
import { keyOfObject, objectPrefix, versionMicros } from "../base/keys.ts";
import { type Fetched, thawArchived } from "../core/fetch_archived.ts";
import { evict } from "../scripts/evict.ts";
import { type KeyRecord, parseRecord } from "../scripts/prelude.ts";
import { readTexts } from "../scripts/read_records.ts";
import { inRequests, keyBytes } from "../upstash/requests.ts";
import { sha1Hex } from "../upstash/script.ts";
import type { Bounds } from "./bounds.ts";
import { type DamageCode, type DamagedVersion, damageOf, noteAnswers, type VerifyRun } from "./verify_state.ts";

/** So many objects are noted whose keys cannot be told: 30 bytes to 250 each, in the cursor. */
const MOST_UNREAD = 1_000;

/** A version that was read: its archived record, or why there is none. */
export interface ReadVersion {
  /** `undefined` if it cannot be told: the name is shortened, and the bytes are damaged. */
  key: string | undefined;
  /** Without its place. */
  ver: string;
  /** The object that holds it. */
  object: string;
  archived: ArchiveRecord | LargeRecord | Tombstone | TundraError | undefined;
  /** The reason why the archive did not answer. */
  unanswered?: Error;
}

/** Thaws an object of a key's own; `undefined` if it went meanwhile. */
export async function thawOwn(
  { context }: Bounds,
  name: string,
  bytes: Uint8Array | Error,
): Promise<ReadVersion | undefined> {
  if (isNotFound(bytes)) return undefined;
  const end = name.lastIndexOf("/") + 1;
  const ver = name.slice(end);
  let key = await keyOfObject(name.slice(0, end));
  if (bytes instanceof Error) return { key, ver, object: name, archived: undefined, unanswered: bytes };
  try {
    key ??= await keyInside(context, name, bytes);
    return { key, ver, object: name, archived: await thawRecord(bytes, { key, ver }, name, context.freezers) };
  } catch (thrown) {
    return { key, ver, object: name, archived: asTundraError(thrown, `read ${show(name)}`) };
  }
}

/** The key that an object names whose own name is shortened; its name must be that of this key. */
async function keyInside(context: Bounds["context"], name: string, bytes: Uint8Array): Promise<string> {
  const what = `read ${show(name)}`;
  const record = await unseal(bytes, name, context.freezers, what, []);
  let key: unknown;
  try {
    ({ key } = labelOf(record));
  } catch {
    // no record at all
  }
  if (typeof key === "string" && name.startsWith(await objectPrefix(context, key))) return key;
  throw new TundraError("CORRUPT", `Cannot ${what} as it must hold a record of a key of that name: it does not`);
}

/** Thaws a version of a pack; `undefined` if the pack went meanwhile. */
export async function thawPacked(
  { context }: Bounds,
  fetched: Fetched,
  blocks: Parameters<typeof thawArchived>[2],
): Promise<ReadVersion | undefined> {
  const { key, ver, name, object } = fetched;
  if (isNotFound(object)) return undefined;
  const version = { key, ver: placeOf(ver).ver, object: name };
  if (object instanceof Error) return { ...version, archived: undefined, unanswered: object };
  try {
    return { ...version, archived: await thawArchived(context, fetched, blocks) };
  } catch (thrown) {
    return { ...version, archived: asTundraError(thrown, `read ${show(key)}`) };
  }
}

/** Notes an object whose damage hides the keys that it holds; the records may tell them. */
export function noteUnread({ position: { unread } }: VerifyRun, object: string, code: DamageCode): void {
  if (Object.keys(unread).length < MOST_UNREAD) unread[object] = code;
}

/** Reports damage once more, by key, of those objects whose keys only the records tell; repairs it if told. */
export async function checkUnread(
  run: VerifyRun,
  named: readonly { key: string; ver: string; name: string }[],
): Promise<void> {
  const { unread } = run.position;
  const found = named.filter(({ name }) => Object.hasOwn(unread, name)).map(({ key, ver, name: object }) => {
    const code = unread[object]!;
    const must = code === "CORRUPT"
      ? "be intact: it is damaged"
      : "be of a format and freezers that are known: it is not";
    const message = `Cannot read ${show(key)} as its archive object ${show(object)} must ${must}`;
    return { key, code, version: placeOf(ver).ver, object, current: true, repaired: false, message, named: ver };
  });
  if (found.length === 0) return;
  await repair(run, found);
  run.damaged.push(...found.map(({ named: _, ...each }) => each));
}

/** Reports those of some versions that are damaged, and repairs them if told. */
export async function checkVersions(run: VerifyRun, read: (ReadVersion | undefined)[]): Promise<void> {
  const found = read.filter((each) => each !== undefined);
  noteAnswers(run, found.map(({ key = "" }) => key), found.map(({ unanswered }) => unanswered));
  const known = found.filter(({ unanswered }) => unanswered === undefined);
  const named = known.filter(({ key }) => key !== undefined);
  const { context, call } = run.bounds;
  const texts = named.length > 0 ? await readTexts(context, named.map(({ key }) => key!), call) : [];
  const textOf = new Map(named.map((each, i) => [each, texts[i]!]));
  const damaged: (DamagedVersion & { named: string })[] = [];
  for (const each of known) {
    const record = textOf.has(each) ? parseRecord(textOf.get(each)) : undefined;
    const error = each.archived instanceof TundraError ? each.archived : await fingerprintError(each, record);
    if (error === undefined) continue;
    const { key = "", ver: version, object } = each;
    const { message } = error;
    const code = damageOf(error);
    if (code === undefined) { // a freezer's failure
      run.errors.add(key, error);
      continue;
    }
    if (each.key === undefined) noteUnread(run, object, code);
    const current = record !== undefined && placeOf(record.ver).ver === version;
    damaged.push({ key, code, version, object, current, repaired: false, message, named: record?.ver ?? "" });
  }
  await repair(run, damaged.filter(({ current }) => current));
  run.checked += known.length;
  run.damaged.push(...damaged.map(({ named: _, ...each }) => each));
}

/**
 * The error if the record's fingerprint is not that of the bytes. It is compared only if the key was not used since it
 * was archived: a restored value may have another DUMP, and then the fingerprint is that one's.
 */
async function fingerprintError(
  { key = "", ver, object, archived }: ReadVersion,
  record: KeyRecord | undefined,
): Promise<TundraError | undefined> {
  if (record === undefined || archived === undefined || placeOf(record.ver).ver !== ver) return undefined;
  if (!("dump" in archived) && !("sha1" in archived)) return undefined;
  const { fp, touch } = record;
  if (!/^[0-9a-f]{40}$/.test(fp) || 1000 * touch > versionMicros(ver)) return undefined;
  const is = "sha1" in archived ? archived.sha1 : await sha1Hex(archived.dump);
  if (is === fp) return undefined;
  const must = `hold the value whose SHA-1 is ${fp}: it has ${is}`;
  return new TundraError("CORRUPT", `Cannot rely on ${show(object)} as it must ${must}`, { keys: [key] });
}

/**
 * Marks those of some keys that are still in Redis, if told: a tick archives them again. One request, which is never
 * refused: else what follows a damaged object might never be reached.
 */
export async function repair(
  { bounds, repair: told }: VerifyRun,
  some: { key: string; named: string; repaired: boolean }[],
): Promise<void> {
  if (!told) return;
  const { connection, index } = bounds.context;
  const outcomes = await inRequests(some, ({ key }) => keyBytes(key), connection.requestLimit, async (batch) => {
    const candidates = batch.map(({ key, named }) => ({ key, action: "mark" as const, ver: named }));
    return (await evict(index, candidates, undefined, bounds.closing)).outcomes;
  });
  some.forEach((each, i) => each.repaired = outcomes[i] === "rescued" || outcomes[i] === "dirty");
}
