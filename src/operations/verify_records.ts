/**
 * The second part of a verification: records, and if the archive has the objects that they name.
 * @module
 */
import { holderName } from "../archive/place.ts";
import { isNotFound } from "../base/errors.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import type { Datastore, DatastoreCallOptions } from "../datastores/datastore.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { readTexts } from "../scripts/read_records.ts";
import { scanRecords } from "./known_keys.ts";
import { checkUnread, repair } from "./verify_check.ts";
import { isInShare, mayGoOn, noteAnswers, type VerifyRun } from "./verify_state.ts";

/** Objects that are asked for at a time. */
const WAVE = 64;
/** Keys that are dealt with at a time. */
const KEYS = 1_000;
/** Packs that are known to be there are remembered up to this number. */
const MOST_PRESENT = 10_000;

/** A version that a record names. */
interface NamedVersion {
  key: string;
  ver: string;
  /** The object that is to hold it. */
  name: string;
}

/** Verifies records until the end or a bound; tells if it was the end. */
export async function verifyRecords(run: VerifyRun): Promise<boolean> {
  const { bounds, position } = run;
  const { context } = bounds;
  if (!mayGoOn(run, 2)) return false;
  for await (const { texts, next } of scanRecords(context, "verify", "*", position.page || undefined, bounds.call)) {
    const waiting = await namedIn(run, texts);
    while (waiting.length > 0) {
      if (!mayGoOn(run, 1)) return false;
      const wave = waiting.splice(0, fitting(run, waiting));
      const absent = await askFor(run, wave);
      await checkUnread(run, wave.filter(({ name }) => !absent.has(name)));
      run.records += wave.length;
      position.after = `=${wave.at(-1)!.key}`;
      bounds.progress(run.checked + run.records);
    }
    Object.assign(position, { page: next ?? "", after: "" });
    if (next === undefined) return true;
    if (!mayGoOn(run, 2)) return false;
  }
  return true;
}

/** The number of the first of them for whose objects there is room. */
function fitting({ bounds, present, maxKeys, checked, records }: VerifyRun, waiting: NamedVersion[]): number {
  const names = new Set<string>();
  const most = Math.min(WAVE, bounds.requestsLeft());
  const beyond = waiting.findIndex(({ name }) => !present.has(name) && names.add(name).size > most);
  return Math.min(KEYS, maxKeys - checked - records, beyond < 0 ? waiting.length : beyond);
}

/** Versions of values that records name, in the order of keys, from the position on. */
async function namedIn(run: VerifyRun, texts: Map<string, string>): Promise<NamedVersion[]> {
  const named: NamedVersion[] = [];
  for (const key of [...texts.keys()].filter((key) => `=${key}` > run.position.after).sort()) {
    const record = parseRecord(texts.get(key));
    if (record === undefined) run.errors.add(key, unsupportedRecord("verify", key));
    else if (record.ver !== "" && (record.flag === "r" || record.flag === "e")) {
      const name = await holderName(run.bounds.context, key, record.ver);
      if (isInShare(run, name)) named.push({ key, ver: record.ver, name });
    }
  }
  return named;
}

/** Asks if the archive has the objects of some versions; reports those that are missing, and returns their names. */
async function askFor(run: VerifyRun, wave: NamedVersion[]): Promise<Set<string>> {
  const { bounds, present } = run;
  const names = [...new Set(wave.map(({ name }) => name))].filter((name) => !present.has(name));
  if (names.length === 0) return new Set();
  const answers = await bounds.counted((call) => areThere(bounds.context.datastore, names, call));
  const answerOf = new Map(names.map((name, i) => [name, answers[i]!]));
  const unknown = names.map((name) => answerOf.get(name)).map((each) => each instanceof Error ? each : undefined);
  noteAnswers(run, names.map((name) => wave.find((each) => each.name === name)!.key), unknown);
  for (const name of names) {
    if (answerOf.get(name) === true && isPack(name) && present.size < MOST_PRESENT) present.add(name);
  }
  const absent = new Set(names.filter((name) => answerOf.get(name) === false));
  await reportMissing(run, wave.filter(({ name }) => absent.has(name)));
  return absent;
}

async function areThere(
  datastore: Datastore,
  names: string[],
  call: DatastoreCallOptions,
): Promise<(boolean | Error)[]> {
  const answers = datastore.hasKeys ? await datastore.hasKeys(names, call) : await datastore.fetchKeys(names, call);
  return answers.map((answer) => isNotFound(answer) ? false : answer instanceof Uint8Array ? true : answer);
}

function isPack(name: string): boolean {
  return name.includes("/~packs/");
}

/** Reports versions whose records still name them: others were archived anew, moved or removed meanwhile. */
async function reportMissing(run: VerifyRun, absent: NamedVersion[]): Promise<void> {
  if (absent.length === 0) return;
  const { context, closing } = run.bounds;
  const texts = await readTexts(context, absent.map(({ key }) => key), closing);
  const missing = absent.filter(({ ver }, i) => {
    const record = texts[i] === null ? undefined : parseRecord(texts[i]);
    return record?.ver === ver && (record.flag === "r" || record.flag === "e");
  }).map(({ key, ver: named, name: object }) => ({ key, named, object, repaired: false }));
  await repair(run, missing);
  run.missing.push(...missing.map(({ named, ...each }) => ({ ...each, version: named.split("@")[0]! })));
}
