/**
 * The first part of a verification: the objects of the archive, a page of the listing after another.
 * @module
 */
import type { Block } from "../archive/block.ts";
import type { PackEntry } from "../archive/pack.ts";
import { asTundraError, isNotFound } from "../base/errors.ts";
import { isLarge, versionMicros } from "../base/keys.ts";
import { fetchArchived } from "../core/fetch_archived.ts";
import { packsIn, readDirectory, wordOf } from "../core/newest_version.ts";
import { checkVersions, noteUnread, thawOwn, thawPacked } from "./verify_check.ts";
import { thawLarge } from "./verify_large.ts";
import { damageOf, isInShare, mayGoOn, type VerifyRun } from "./verify_state.ts";

/** Objects of keys' own that are in memory together. */
const WAVE = 6;
/** Bytes of blocks that are read together. */
const READ_BYTES = 1024 * 1024;
/** Requests of a group of blocks: a read, and the records. */
const GROUP_REQUESTS = 2;
/** Those of a directory. */
const DIRECTORY_REQUESTS = 2;

/** Verifies objects until the end or a bound; tells if it was the end. */
export async function verifyObjects(run: VerifyRun): Promise<boolean> {
  const { bounds, position } = run;
  const { datastore, tqname } = bounds.context;
  for (;;) {
    if (!mayGoOn(run, 1)) return false;
    const page = await bounds.counted((call) => datastore.listKeys!(`${tqname}/`, position.page || undefined, call))
      .catch((thrown) => {
        // it may not know its cursor any more: the next call begins anew
        if (!asTundraError(thrown, "list objects").retryable) position.page = run.answeredAt.page = "";
        throw thrown;
      });
    const packs = new Set(packsIn(bounds.context, page.names).map((pack) => `${tqname}/~packs/${pack}`));
    const chosen = page.names.filter((name) => isInShare(run, name) && (packs.has(name) || isOwn(tqname, name)));
    const waiting = chosen.filter((name) => name > position.after);
    while (waiting.length > 0) {
      const isPack = packs.has(waiting[0]!);
      if (!mayGoOn(run, isPack ? DIRECTORY_REQUESTS + GROUP_REQUESTS : 2)) return false;
      const most = isPack ? 1 : Math.min(WAVE, bounds.requestsLeft() - 1);
      const next = waiting.findIndex((name, i) => i === most || packs.has(name) !== isPack);
      const group = waiting.slice(0, next < 0 ? waiting.length : next);
      if (isPack) {
        if (!await verifyPack(run, group[0]!)) return false;
      } else if (!await verifyOwn(run, group)) return false;
      waiting.splice(0, group.length);
      Object.assign(position, { after: group.at(-1)!, pack: "", offset: 0 });
      bounds.progress(run.checked);
    }
    Object.assign(position, { page: page.cursor ?? "", after: "", pack: "", offset: 0 });
    if (page.cursor === undefined) return true;
  }
}

/** Tells if this is the name of an object with one version. "~" begins no key's segment but the empty key's. */
function isOwn(tqname: string, name: string): boolean {
  const [segment = "", ver = "", ...more] = name.slice(tqname.length + 1).split("/");
  return !/^~./.test(segment) && more.length === 0 && versionMicros(ver) > 0;
}

/** Verifies objects with one version; `false` if a bound was reached before their end. */
async function verifyOwn(run: VerifyRun, all: string[]): Promise<boolean> {
  const { bounds } = run;
  const names = all.filter((name) => !isLarge(name));
  const objects = await bounds.counted((call) => bounds.context.datastore.fetchKeys(names, call));
  const read = await Promise.all(names.map((name, i) => thawOwn(bounds, name, objects[i]!)));
  for (const name of all.filter(isLarge)) {
    const version = await thawLarge(run, name);
    if (version === "later") return false;
    read.push(version);
  }
  await checkVersions(run, read);
  return true;
}

/** Verifies the blocks of a pack; `false` if a bound was reached before its end. */
async function verifyPack(run: VerifyRun, name: string): Promise<boolean> {
  const { bounds, position } = run;
  const pack = name.slice(name.lastIndexOf("/") + 1);
  let entries: PackEntry[];
  try {
    ({ entries } = await readDirectory(bounds.context, pack, new Map(), (act) => bounds.counted(act)));
  } catch (thrown) {
    const error = asTundraError(thrown, "read the directory of a pack");
    const { message, cause } = error;
    if (isNotFound(cause)) return true; // it was swept meanwhile
    const code = damageOf(error);
    if (code === undefined) throw thrown;
    noteUnread(run, name, code);
    run.damaged.push({ key: "", code, version: pack, object: name, current: false, repaired: false, message });
    return true;
  }
  if (position.pack !== name) Object.assign(position, { pack: name, offset: 0 });
  let waiting = entries.filter(({ offset }) => offset >= position.offset).sort((a, b) => a.offset - b.offset);
  while (waiting.length > 0) {
    if (!mayGoOn(run, GROUP_REQUESTS)) return false;
    const group = firstBlocks(waiting, run.maxKeys - run.checked - run.records);
    waiting = waiting.slice(group.length);
    const wanted = group.map((entry) => ({ key: entry.key, ver: wordOf(pack, entry) }));
    const fetched = await bounds.counted((call) => fetchArchived(bounds.context, wanted, { call }));
    const blocks = new Map<string, Promise<Block>>();
    await checkVersions(run, await Promise.all(fetched.map((each) => thawPacked(bounds, each, blocks))));
    position.offset = group.at(-1)!.offset + 1;
    bounds.progress(run.checked);
  }
  return true;
}

/** The entries of the first blocks: whole blocks, until they hold so many keys or bytes. */
function firstBlocks(entries: PackEntry[], keys: number): PackEntry[] {
  let [bytes, end] = [0, -1];
  const beyond = entries.findIndex(({ offset, length }, i) => {
    if (offset === end) return false;
    if (i > 0 && (bytes + length > READ_BYTES || i >= keys)) return true;
    bytes += length;
    end = offset;
    return false;
  });
  return beyond < 0 ? entries : entries.slice(0, beyond);
}
