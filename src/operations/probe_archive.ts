/**
 * The assumptions about an archive, each tried on objects of its own.
 *
 * They lie under `~probe/<tqname>/<version>/`, outside of `<tqname>/`: no index may begin with an archive that holds
 * anything there besides owners, and a probe that died must not stand in its way. No tqname begins with `~`.
 * @module
 */
import { freezeRecord, thawRecord } from "../archive/record.ts";
import { isNotFound, TundraError } from "../base/errors.ts";
import { objectName, versionAfter, versionMicros } from "../base/keys.ts";
import { wallClockMs } from "../base/platform.ts";
import type { Context } from "../core/context.ts";
import type { Datastore, DatastoreCallOptions } from "../datastores/datastore.ts";
import { listPages } from "../datastores/guarded.ts";
import { inParallel } from "../datastores/parallel.ts";
import { expect } from "../scripts/probe/server_probe.ts";

/** The means of a probe of an archive. */
export interface ArchiveProbe {
  context: Context;
  /** Calls the datastore within the bounds of the probe. */
  counted: <T>(act: (call: DatastoreCallOptions) => Promise<T>) => Promise<T>;
  /** The beginning of the names of its own objects. */
  prefix: string;
  /** Names that it may have put. */
  put: Set<string>;
  /** Tells if so many requests may be made. */
  mayBegin: (requests: number) => boolean;
  /** `true` once an object was deleted: else a thousand of them would stay. */
  deletes?: boolean;
}

/** One assumption; as for a server. */
export interface ArchiveCheck {
  name: string;
  try: (probe: ArchiveProbe) => Promise<string>;
}

/** A page of S3's and R2's listings. */
const PAGE = 1_000;
const UPLOADS = 6;
const LARGE_BYTES = 1_048_576;
/** Objects of a probe that died so long ago go with the next one. */
const LEFT_MS = 60 * 60 * 1000;
const SMALL = "small.-_~";
const VALUE = Uint8Array.from({ length: 1_024 }, (_, i) => i % 256);

/** The beginning of the names of all probes of a store. */
export function probePrefix({ tqname }: Context): string {
  return `~probe/${tqname}/`;
}

/** A prefix for one probe. */
export function newProbePrefix(context: Context): string {
  return `${probePrefix(context)}${versionAfter(1000 * Math.floor(wallClockMs()), "")}/`;
}

async function put(probe: ArchiveProbe, name: string, value: Uint8Array = VALUE, ifAbsent?: boolean): Promise<string> {
  const whole = probe.prefix + name;
  probe.put.add(whole);
  const { datastore } = probe.context;
  await probe.counted((call) => datastore.putKey(whole, value, { ...call, ...(ifAbsent && { ifAbsent }) }));
  return whole;
}

/** The name of the small object, which is put unless it was before. */
async function small(probe: ArchiveProbe): Promise<string> {
  return probe.put.has(probe.prefix + SMALL) ? probe.prefix + SMALL : await put(probe, SMALL);
}

async function fetch(probe: ArchiveProbe, name: string): Promise<Uint8Array | Error> {
  const [object] = await probe.counted((call) => probe.context.datastore.fetchKeys([name], call));
  return object!;
}

/** The function of a datastore that it need not have, or what goes without. */
function optional<K extends keyof Datastore>(
  probe: ArchiveProbe,
  name: K,
): NonNullable<Datastore[K]> | undefined {
  return probe.context.datastore[name] ?? undefined;
}

async function putAndGet(probe: ArchiveProbe): Promise<string> {
  for (const [name, value] of [[SMALL, VALUE], ["large", large()]] as const) {
    const object = await fetch(probe, await put(probe, name, value));
    if (object instanceof Error) {
      const again = "an object must be there once its PUT has succeeded; rights to read may be missing";
      expect(false, `an object that was just put cannot be fetched (${object.message}): ${again}`);
    } else {
      const end = "the store, or a proxy before it, changes what it holds";
      expect(equal(object, value), `${value.length} bytes were put and ${object.length} others came back: ${end}`);
    }
  }
  return "objects of 1 KiB and of 1 MiB come back as they were put";
}

function large(): Uint8Array {
  return Uint8Array.from({ length: LARGE_BYTES }, (_, i) => (i * 31 + (i >> 8)) % 256);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

async function absent(probe: ArchiveProbe): Promise<string> {
  const object = await fetch(probe, probe.prefix + "absent");
  const seen = object instanceof Uint8Array ? `${object.length} bytes` : object.message;
  const rights = "S3 says so only to a user who may list (s3:ListBucket); a web page answers to any name";
  expect(isNotFound(object), `an object that was never put must be "not found": the answer is ${seen}; ${rights}`);
  const has = optional(probe, "hasKeys");
  if (has) {
    const there = await small(probe);
    const answers = await probe.counted((call) => has([there, probe.prefix + "absent"], call));
    const shown = answers.map((answer) => answer instanceof Error ? answer.message : answer).join(" and ");
    expect(answers[0] === true && answers[1] === false, `it must have one of two objects: it says ${shown}`);
  }
  return "an object that was never put is not found";
}

async function ranges(probe: ArchiveProbe): Promise<string> {
  const read = optional(probe, "fetchRanges");
  if (!read) return "the datastore has no fetchRanges(): each value is an object of its own, one PUT each";
  const name = await small(probe);
  const reads = [[250, 300], [1_000, 24]].map(([offset, length]) => ({
    name,
    offset: offset!,
    length: length!,
  }));
  const found = await probe.counted((call) => read([...reads, { name, offset: 1_000, length: 25 }], call));
  for (const [i, { offset, length }] of reads.entries()) {
    const part = found[i]!;
    const seen = part instanceof Error ? part.message : `${part.length} bytes, or others`;
    const is = part instanceof Uint8Array && equal(part, VALUE.subarray(offset, offset + length));
    expect(is, `bytes ${offset} to ${offset + length - 1} of an object must be read: ${seen}; set packBytes: 0`);
  }
  const beyond = found[2]!;
  const isUnknown = beyond instanceof Error && !isNotFound(beyond);
  expect(isUnknown, "a range that ends behind the object's end must be an error: it is not; set packBytes: 0");
  return "ranges are read to the byte, and no range beyond an object's end";
}

async function conditional(probe: ArchiveProbe): Promise<string> {
  await put(probe, "once", VALUE, true);
  try {
    await put(probe, "once", new Uint8Array([1]), true);
  } catch (thrown) {
    if (!(thrown instanceof TundraError) || thrown.code !== "CONFLICT") throw thrown;
    const object = await fetch(probe, probe.prefix + "once");
    const kept = object instanceof Uint8Array && equal(object, VALUE);
    expect(kept, "a PUT that was refused has replaced the object all the same: do not use this store");
    return "a second PUT with If-None-Match: * is refused";
  }
  const without = "a second PUT with If-None-Match: * replaces the object";
  expect(optional(probe, "listKeys") !== undefined, `${without}, and the store cannot list: two databases may take it`);
  return `${without}: Tundra then tells two databases that begin at the same moment apart by listing`;
}

async function listing(probe: ArchiveProbe): Promise<string> {
  if (!optional(probe, "listKeys")) {
    return "the datastore cannot list: what Redis has lost is not noticed, and sweep() and rebuild() do not work";
  }
  const names: string[] = [];
  for (const name of ["list/a.2", "list/a-1", "list/A", "list/a/x"]) names.push(await put(probe, name));
  const found = await listed(probe, "list/");
  const expected = names.toSorted();
  const order = "names must come in ascending order of their characters, all that were put, and no others";
  expect(found.join() === expected.join(), `${order}: ${shorten(probe, found)}, not ${shorten(probe, expected)}`);
  return "what was put is listed at once, in order";
}

async function listed(probe: ArchiveProbe, under: string): Promise<string[]> {
  const names: string[] = [];
  await probe.counted(async (call) => {
    for await (const page of listPages(probe.context.datastore, probe.prefix + under, call)) names.push(...page);
  });
  return names;
}

function shorten({ prefix }: ArchiveProbe, names: string[]): string {
  return names.length === 0 ? "nothing" : names.map((name) => name.slice(prefix.length)).join(" ");
}

async function deleting(probe: ArchiveProbe): Promise<string> {
  const remove = optional(probe, "deleteKeys");
  if (!remove) {
    return "the datastore cannot delete: del() leaves the bytes in the archive; this probe leaves a few objects";
  }
  const name = await small(probe);
  await probe.counted((call) => remove([name, probe.prefix + "absent"], call));
  const object = await fetch(probe, name);
  expect(isNotFound(object), "an object that was deleted is still there: rights to delete may be missing");
  if (optional(probe, "listKeys")) {
    const left = await listed(probe, SMALL);
    expect(left.length === 0, "an object that was deleted is still listed");
  }
  probe.put.delete(name);
  probe.deletes = true;
  return "what was deleted is gone at once, and an absent object is no error (a versioned bucket keeps its bytes)";
}

async function pages(probe: ArchiveProbe): Promise<string> {
  const remove = optional(probe, "deleteKeys");
  const count = PAGE + 1;
  if (!remove || !probe.deletes || !optional(probe, "listKeys")) {
    return `not tried, as it puts ${count} objects, which must be listed and deleted`;
  }
  if (!probe.mayBegin(count + 10)) return `not tried, as it takes ${count} PUTs: give the probe more requests or time`;
  const names = Array.from({ length: count }, (_, i) => `pages/${String(i).padStart(4, "0")}`);
  await inParallel(names, UPLOADS, (name) => put(probe, name, new Uint8Array([1])));
  const found = await listed(probe, "pages/");
  const seen = `${found.length} of ${count} names were listed, ${new Set(found).size} different ones`;
  expect(found.length === count, `a listing of several pages must be whole: ${seen}; evicted keys would be LOST`);
  expect(found.every((name, i) => name === probe.prefix + names[i]), "a listing of several pages must keep its order");
  await probe.counted((call) => remove(found, call));
  const left = await listed(probe, "pages/");
  expect(left.length === 0, `${left.length} of ${count} objects are left after they were deleted together`);
  for (const name of found) probe.put.delete(name);
  return `${count} names are listed in pages, in order, and deleted together`;
}

async function freezers(probe: ArchiveProbe): Promise<string> {
  const { freezers } = probe.context;
  const ver = versionAfter(1000 * Math.floor(wallClockMs()), "");
  const name = await objectName(probe.context, "probe", ver);
  const record = { key: "probe", ver, at: 0, index: "probe", prev: "", exp: 0, dump: VALUE };
  const thawed = await thawRecord(await freezeRecord(record, name, freezers), { key: "probe", ver }, name, freezers);
  expect("dump" in thawed && equal(thawed.dump, VALUE), "a value comes back changed from the freezers: change them");
  return freezers.length === 0
    ? "there are none"
    : `a value comes back from ${freezers.map(({ id }) => id).join(", ")}`;
}

/** All of them, in this order. */
export const ARCHIVE_CHECKS: readonly ArchiveCheck[] = [
  { name: "archive: PUT and GET", try: putAndGet },
  { name: "archive: absent objects", try: absent },
  { name: "archive: ranges", try: ranges },
  { name: "archive: conditional PUT", try: conditional },
  { name: "archive: list", try: listing },
  { name: "archive: delete", try: deleting },
  { name: "archive: pages of a listing", try: pages },
  { name: "archive: freezers", try: freezers },
];

/** Deletes what a probe has put, and what one has left that died; returns the number of objects that stay. */
export async function removeProbeObjects(
  { context, put }: ArchiveProbe,
  call: DatastoreCallOptions,
): Promise<number> {
  const { datastore } = context;
  if (!datastore.deleteKeys) return put.size;
  const names = new Set(put);
  const before = 1000 * (wallClockMs() - LEFT_MS);
  if (datastore.listKeys) {
    const under = probePrefix(context);
    const { names: found } = await datastore.listKeys(under, undefined, call);
    for (const name of found) if (versionMicros(name.slice(under.length).split("/")[0]!) < before) names.add(name);
  }
  if (names.size > 0) await datastore.deleteKeys([...names], call);
  return 0;
}
