/**
 * Gathers, by the records alone, what a sweep might delete or move.
 * @module
 */
import { asTundraError } from "../base/errors.ts";
import { goneOf, versionMicros } from "../base/keys.ts";
import { uuidOf } from "../core/owner.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { readTexts } from "../scripts/read_records.ts";
import {
  type Listed,
  type OwnCursor,
  type OwnPage,
  ownPage,
  type OwnVersion,
  packEntries,
  packsYoungestFirst,
} from "./archive_walk.ts";
import { copiesUnder, factsOf, MOST_ACTS, noteVersion, want } from "./sweep_notes.ts";
import { type Held, judge, wantsFacts } from "./sweep_rules.ts";
import { beginAnew, keep, reportKept, roomFor, type SweepRun, type SweepState, trimDirectories } from "./sweep_run.ts";

/** Requests of a page or a pack: the listing or two parts of it, records, and a few keys of shortened names. */
const REQUESTS = 6;

/** A version in an object of a key's own. */
export function ownHeld({ key, ver }: Pick<OwnVersion, "key" | "ver">): Held {
  return { key, ver, word: ver, pack: "", exp: 0, gone: goneOf(ver), isMarker: false };
}

/** A version in a pack. */
export function packHeld(pack: string, { key, ver, word, exp, gone, prev }: Listed): Held {
  const isMarker = gone !== undefined && versionMicros(ver) === versionMicros(prev) + 1;
  return { key, ver, word, pack, exp, gone, isMarker };
}

/** Records of keys, each read once; `undefined` for one of another version, `null` for none. */
export async function recordsOf(run: SweepRun, keys: string[]) {
  const unique = [...new Set(keys)];
  const texts = await readTexts(run.context, unique, run.bounds.call);
  return new Map(unique.map((key, i) => [key, texts[i] === null ? null : parseRecord(texts[i])]));
}

function mayGoOn({ bounds, looked, maxKeys }: SweepRun): boolean {
  return bounds.mayBegin(REQUESTS) && looked < maxKeys;
}

function isFull({ ownActs, packActs, notes }: SweepState): boolean {
  return ownActs.length + packActs.length >= MOST_ACTS || notes.wanted.size >= notes.most / 2;
}

/**
 * A page of objects of keys' own. A datastore may not know its cursor any more, as after a move to another bucket: then
 * the next call begins anew.
 */
export async function ownPageAt(run: SweepRun, state: SweepState, at: OwnCursor): Promise<OwnPage> {
  try {
    return await ownPage(run.bounds, at);
  } catch (thrown) {
    if (at.cursor !== undefined && !asTundraError(thrown, "list objects").retryable) beginAnew(run, state);
    throw thrown;
  }
}

/** Requests to look at the versions of a pack: their records, a proof, the owner, the deletion. */
export function requestsToLook(entries: readonly unknown[]): number {
  return Math.ceil(entries.length / 1_000) + 3;
}

/** Gathers objects of keys' own, until the end or until the batch is full; `false` if a bound was reached. */
export async function gatherOwn(run: SweepRun, state: SweepState): Promise<boolean> {
  const { times, bounds } = run;
  if (state.ownActs.length === 0) state.begunUs = times.nowUs;
  while (state.own !== undefined && !isFull(state)) {
    if (!mayGoOn(run)) return false;
    const { versions, unfinished, unknown, next } = await ownPageAt(run, state, state.own);
    const all = [...versions, ...unfinished];
    const records = await recordsOf(run, all.map(({ key }) => key));
    const acts = new Map<string, string[]>();
    for (const [i, version] of all.entries()) {
      const held = ownHeld(version);
      const record = records.get(held.key);
      // what was never put supersedes nothing
      if (i < versions.length) noteVersion(state.notes, held, record?.ver === held.word);
      const facts = factsOf(state.notes, held);
      const verdict = judge(held, record, facts, times);
      const wants = !verdict.goes && wantsFacts(held, record, facts, times);
      if (wants) want(state.notes, held.key);
      if (verdict.goes || wants) acts.set(held.key, [...acts.get(held.key) ?? [], held.ver]);
      else keep(run, verdict.reason);
    }
    for (const name of unknown) reportKept(run, name, new Error("its name, or its key, is not understood"));
    state.ownActs.push(...acts);
    state.own = next;
    run.looked += versions.length;
    run.gotOn = true;
    bounds.progress(run.looked);
  }
  return true;
}

/** The directory of a pack; `undefined` if the pack is gone, or cannot be read, which is reported. */
export async function readPack(run: SweepRun, pack: string) {
  try {
    return await packEntries(run.bounds, pack, run.directories);
  } catch (thrown) {
    if (!run.bounds.mayBegin()) throw thrown;
    return reportKept(run, pack, thrown);
  }
}

/**
 * Gathers packs, the youngest first, so that a removal is met before what was removed; `false` if a bound was reached.
 */
export async function gatherPacks(run: SweepRun, state: SweepState): Promise<boolean> {
  const { bounds } = run;
  if (state.packActs.length === 0) state.begunUs = run.times.nowUs;
  if (!mayGoOn(run)) return false;
  const packs = await packsYoungestFirst(bounds);
  const from = state.pack === "" ? packs : packs.filter((pack) => pack <= state.pack!);
  for (const [i, pack] of from.entries()) {
    state.pack = pack;
    if (isFull(state)) return true;
    if (!mayGoOn(run)) return false;
    if (!await gatherPack(run, state, pack)) return false;
    run.gotOn = true;
    trimDirectories(run);
    bounds.progress(run.looked);
    state.pack = from[i + 1];
  }
  state.pack = undefined;
  return true;
}

/** Gathers a pack; `false` if there are not enough requests for it. */
async function gatherPack(run: SweepRun, state: SweepState, pack: string): Promise<boolean> {
  const directory = await readPack(run, pack);
  if (directory === undefined) return true;
  const { index, entries } = directory;
  if (!run.ids.includes(uuidOf(index))) {
    reportKept(run, pack, new Error(`another index has put it: ${index}`));
    return true;
  }
  const room = roomFor(run, pack, requestsToLook(entries));
  if (room !== true) return room === "passed";
  run.looked += entries.length;
  const records = await recordsOf(run, entries.map(({ key }) => key));
  let mayChange = false;
  const all = entries.map((entry) => packHeld(pack, entry));
  for (const held of all) {
    const copies = copiesUnder(state.notes, held);
    noteVersion(state.notes, held, records.get(held.key)?.ver === held.word);
    state.packActs.push(...copies.filter((copy) => !state.packActs.includes(copy)));
    if (copies.length > 0 && !state.notes.gone.has(held.key)) want(state.notes, held.key);
  }
  const reasons = all.map((held) => {
    const record = records.get(held.key);
    const facts = factsOf(state.notes, held);
    const verdict = judge(held, record, facts, run.times);
    const wants = !verdict.goes && wantsFacts(held, record, facts, run.times);
    if (wants) want(state.notes, held.key);
    mayChange ||= verdict.goes || verdict.ends || wants;
    return verdict.reason;
  });
  if (mayChange) state.packActs.push(pack);
  else for (const reason of reasons) keep(run, reason);
  return true;
}
