/**
 * Notes about the state of a store: is its data safe, and must a person act?
 * @module
 */
import { count, counted } from "../base/counts.ts";
import type { TundraError } from "../base/errors.ts";
import { isConfirmed } from "../core/identity.ts";
import { type DailyRun, lastVerification } from "../operations/activity.ts";
import type { Status } from "../store_interface.ts";
import { ago, duration } from "./output/format.ts";

/** Something that a person should know. */
export interface Note {
  /** `false`: a person must act. */
  ok: boolean;
  about: "index" | "data" | "ticks" | "age" | "dead" | "verify" | "sweep";
  message: string;
}

/** The notes about these counts. */
export function notesOf(
  status: Status,
  runs: readonly DailyRun[],
  limits: { ageMs: number; silenceMs: number },
  nowMs: number,
  id: string | TundraError,
): Note[] {
  const { dead, dirty, due, lastTickMs, oldestDueMs } = status;
  const notes: Note[] = [];
  const add = (about: Note["about"], ok: boolean, message: string) => notes.push({ ok, about, message });
  if (typeof id !== "string") {
    add("index", false, `${id.message}. If Redis was emptied: tundra rebuild`);
    return notes;
  }
  if (isConfirmed(id)) add("index", true, "the index is there, and belongs to this database and archive");
  else add("index", true, "this is a new store: its first tick takes the archive");
  if (dirty > 0) {
    add("data", true, `${counted(dirty, "key")} with changes that only Redis has, until ticks archive them`);
  } else add("data", true, "every change that was marked is archived");
  if (lastTickMs > 0) {
    const ok = nowMs - lastTickMs <= limits.silenceMs;
    add("ticks", ok, `the last tick began ${ago(lastTickMs, nowMs)}${ok ? "" : ": does the cron trigger run?"}`);
  } else {add(
      "ticks",
      dirty === 0,
      dirty === 0 ? "no tick has run yet" : "no tick has run yet: set up the cron trigger",
    );}
  if (due > 0) {
    const ok = oldestDueMs <= limits.ageMs;
    const late = ok ? "" : ": ticks are too few, or fail; see tundra tick";
    add("age", ok, `the oldest of ${counted(due, "due key")} has been waiting for ${duration(oldestDueMs)}${late}`);
  }
  if (dead > 0) add("dead", false, `${counted(dead, "key")} could not be archived: see tundra dead list`);
  else add("dead", true, "no key is dead");
  const verified = verification(runs, nowMs);
  if (verified) notes.push(verified);
  const swept = runs.find(({ operation }) => operation === "sweep");
  if (swept) {
    add("sweep", true, `swept ${ago(swept.atMs, nowMs)}: ${counted(swept.counts.deleted ?? 0, "version")} deleted`);
  }
  return notes;
}

function verification(runs: readonly DailyRun[], nowMs: number): Note | undefined {
  const last = lastVerification(runs);
  if (last === undefined) return undefined;
  const { atMs, checked, damaged, missing } = last;
  const found = damaged + missing > 0
    ? `${count(damaged)} damaged and ${count(missing)} missing: see tundra verify`
    : `${counted(checked, "version")}, nothing damaged or missing`;
  return { about: "verify", ok: damaged + missing === 0, message: `verified ${ago(atMs, nowMs)}: ${found}` };
}
