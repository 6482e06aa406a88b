/**
 * One call of a rebuild, and its way: from a look at index and archive, step by step, to the id that it confirms.
 * @module
 */
import { show, TundraError } from "../base/errors.ts";
import { idChanged } from "../core/identity.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import { raise, type RaiseOutcome } from "../scripts/raise.ts";
import { confirmRebuild, type RebuildCounts, type RebuildState } from "../scripts/rebuild.ts";
import type { Bounds } from "./bounds.ts";
import type { KeyErrors } from "./key_errors.ts";
import { beginRebuild, checkStillOwner, copyMarks, examine, idToBe, type Wishes } from "./rebuild_begin.ts";
import { copyArchive } from "./rebuild_copy.ts";
import { planRebuild } from "./rebuild_plan.ts";
import { type Position, type Quota, type Step, walkArchive } from "./rebuild_walk.ts";

/** One call. */
export interface RebuildRun {
  readonly bounds: Bounds;
  readonly wishes: Wishes;
  readonly skipDamaged: boolean;
  readonly quota: Quota;
  /** Since the rebuild began, as Redis keeps them; of a plan: those of what it would do. */
  counts: RebuildCounts;
  /** Those of this call. */
  readonly errors: KeyErrors;
}

/** Requests that end a rebuild. */
const END_REQUESTS = 5;
const WALK: Position = { stage: "walk" };
const END = textOf({ stage: "end" });

/** Goes on until the end, `true`, or until a bound is reached. */
export async function goOn(run: RebuildRun): Promise<boolean> {
  const { bounds, wishes } = run;
  for (;;) {
    const situation = await examine(bounds, wishes);
    if (situation.nothing) return true;
    const start = textOf(wishes.source ? { stage: "copy" } : WALK);
    const begun = situation.state ?? await beginRebuild(bounds, situation, wishes, start);
    const state = await advance(run, begun);
    if (state.id !== begun.id) return hasEnded(begun.id, state.id);
    if (state.at === "") continue; // Redis has lost how far it had come
    if (state.at !== END || !bounds.mayBegin(END_REQUESTS)) return false;
    const now = await end(run, state.id);
    if (now !== state.id) return hasEnded(state.id, now);
  } // Redis went back, and the rebuild with it
}

/** Counts what a rebuild would do, and changes nothing; `false` if a bound was reached. */
export async function plan(run: RebuildRun): Promise<boolean> {
  const { bounds, wishes, skipDamaged, quota } = run;
  const { nothing } = await examine(bounds, wishes);
  if (nothing) return true;
  const { context } = bounds;
  const { source = context.datastore } = wishes;
  const planned = await planRebuild({ bounds, context: { ...context, datastore: source }, skipDamaged, quota });
  run.counts = planned.counts;
  for (const key of planned.rivals) note(run, rivalsOf(key));
  for (const error of planned.damaged) note(run, error);
  return planned.done;
}

/** Takes steps until the end, or until a bound is reached; where the rebuild stands then. */
async function advance(run: RebuildRun, begun: RebuildState): Promise<RebuildState> {
  const { call, context, progress } = run.bounds;
  const { id } = begun;
  let state = begun;
  let came = true;
  let dealt = 0;
  run.counts = state.counts;
  while (came && state.id === id && state.at !== "" && state.at !== END) {
    came = false;
    const position: Position = JSON.parse(state.at);
    const again = position.stage === "copy" ? "" : textOf(WALK);
    for await (const { found, objects, packs, copied, damaged, next, anew } of stepsFrom(run, position)) {
      const { counts } = state;
      const adds = anew ? { objects: -counts.objects, packs: -counts.packs, copied } : { objects, packs, copied };
      const step = { id, at: state.at, next: textOf(next), again, adds };
      const raised = await raise(context.index, step, found, call);
      state = raised;
      if (raised.id !== id) break;
      came = true;
      for (const error of damaged) note(run, error);
      raised.outcomes.forEach((outcome, i) => noteOutcome(run, found[i]!.key, outcome));
      run.counts = raised.counts;
      progress(dealt += found.length + copied);
      if (raised.at !== step.next) break; // another process has gone further, or Redis went back
    }
  }
  return state;
}

function stepsFrom(
  { bounds, wishes, skipDamaged, quota }: RebuildRun,
  position: Position,
): AsyncGenerator<Step, void, void> {
  if (position.stage === "copy") return copyArchive({ bounds, source: wishes.source!, skipDamaged, quota }, position);
  return walkArchive({ bounds, context: bounds.context, skipDamaged, quota }, position);
}

/** Ends a rebuild that has come to its end; the id as it is now. */
async function end({ bounds }: RebuildRun, id: string): Promise<string> {
  const { call, context, counted } = bounds;
  await checkStillOwner(bounds, idToBe(id));
  const marks = await copyMarks(bounds);
  if (marks.length > 0) await counted((each) => context.datastore.deleteKeys!(marks, each));
  return await confirmRebuild(context.index, id, idToBe(id), END, call);
}

/** True if the rebuild `id` is what has given the index its id. */
function hasEnded(id: string, now: string): boolean {
  if (now === idToBe(id)) return true;
  throw idChanged();
}

/** A position as Redis keeps it. */
function textOf(position: Position): string {
  return JSON.stringify(position);
}

function noteOutcome(run: RebuildRun, key: string, outcome: RaiseOutcome): void {
  if (outcome === "rivals") note(run, rivalsOf(key));
  if (outcome === "unsupported") note(run, unsupportedRecord("rebuild", key));
}

function note({ errors }: RebuildRun, error: TundraError): void {
  errors.add(error.keys[0] ?? "", error);
}

function rivalsOf(key: string): TundraError {
  const message =
    `Cannot tell which version of ${show(key)} came last as its newest ones must differ in their times: ` +
    `they have the same one. ensureKs() fails for it with LOST; del() it, or write it anew with { overwrite: true }`;
  return new TundraError("LOST", message, { keys: [key] });
}
