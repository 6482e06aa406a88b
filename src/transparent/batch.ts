/**
 * Several commands in one request: a pipeline, or a transaction.
 * @module
 */
import { errors } from "@upstash/redis";
import { TundraError } from "../base/errors.ts";
import { wallClockMs } from "../base/platform.ts";
import { dirtyError } from "../dirty.ts";
import { type Effects, markCommands, noteUnmarked } from "../dirty_in.ts";
import { ownFailure, partOf } from "./failures.ts";
import { hideOwn } from "./keyspace.ts";
import { lifetimeMs } from "./options.ts";
import type { Outcome, Request, RequestAnswer, Transparent } from "./parts.ts";
import type { Plan } from "./plan.ts";
import { readFirst, readsFirst } from "./reads.ts";

/** Commands that replace a whole value by another one: their keys exist afterwards, unless the value expires soon. */
const REPLACING = new Set(["set", "setex", "psetex", "mset", "json.set", "restore", "rename"]);

/**
 * A value that lives no longer may have expired when its mark is made, which then must not find an evicted key: clocks
 * differ, and a request takes its time.
 */
const SHORT_LIFE_MS = 60_000;

/**
 * Runs a pipeline or a transaction.
 *
 * Commands that only read are sent first, and those whose answers are empty are read again. Else the keys of all
 * commands are brought back first, and the marks travel in the same request as the commands, behind them.
 *
 * @returns for each command its answer; or its own failure, in a pipeline: a transaction fails as a whole
 */
export async function runBatch(
  transparent: Transparent,
  plans: Plan[],
  request: Request,
  path: "pipeline" | "multi-exec",
): Promise<Outcome[]> {
  const concerned = plans.filter(({ ours }) => ours.length > 0);
  if (path === "pipeline" && transparent.ensure && concerned.length > 0 && concerned.every(readsFirst)) {
    const outcomes = await readFirst(transparent, plans, request);
    return plans.map((plan, i) => outcomeOf(plan, outcomes[i]!));
  }
  const failure = transparent.ensure ? await bringAllBack(transparent, concerned) : undefined;
  const failures = plans.map((plan) => failure && partOf(failure, neededBy(plan)));
  if (failure !== undefined && (path === "multi-exec" || failures.every((each) => each === undefined))) throw failure;
  const isSent = plans.map((_, i) => failures[i] === undefined);
  const body = (request.body as unknown[][]).filter((_, i) => isSent[i]);
  const sent = await send(transparent, plans.filter((_, i) => isSent[i]), { ...request, body }, path);
  return plans.map((plan, i) => failures[i] ?? outcomeOf(plan, sent.shift()!));
}

function outcomeOf(plan: Plan, outcome: Outcome): Outcome {
  return outcome instanceof TundraError ? outcome : hideOwn(plan, outcome);
}

/** The keys that a command needs: all that it reads or changes; what is replaced for certain may stay away. */
function neededBy({ name, words, keys, uses }: Plan): string[] {
  const leavesOne = REPLACING.has(name) && lifetimeMs(name, words, wallClockMs()) > SHORT_LIFE_MS;
  return keys.filter((_, i) => {
    const use = uses[i];
    return use === "r" || use === "w" || (use === "o" && !leavesOne);
  });
}

/** Brings back all that is needed; returns the failure of some of it. */
async function bringAllBack({ store, uses }: Transparent, plans: Plan[]): Promise<TundraError | undefined> {
  const keys = [...new Set(plans.flatMap(neededBy))];
  if (keys.length === 0) return undefined;
  try {
    await store.ensureKs(keys);
  } catch (thrown) {
    return ownFailure(thrown, undefined);
  }
  uses.note(keys);
}

/** Sends commands, and the marks behind them. */
async function send(
  transparent: Transparent,
  plans: Plan[],
  request: Request,
  path: "pipeline" | "multi-exec",
): Promise<Outcome[]> {
  if (plans.length === 0) return [];
  // a removal without its mark would be undone by the next use of the key
  const isMarked = ({ ours, deletes }: Plan) => ours.length > 0 && (transparent.mark || deletes);
  const marks = marksOf(transparent, plans.filter(isMarked), path);
  const body = [...request.body as unknown[][], ...marks.map(({ words }) => words)];
  const answers = await transparent.inner.request({ ...request, body }) as unknown as RequestAnswer[];
  const failures = settleMarks(transparent, marks, answers.slice(plans.length), path, effectsOf(plans, answers));
  if (failures.size > 0 && path === "multi-exec") throw dirtyError(failures);
  return plans.map(({ keys, uses }, i) => {
    const unmarked = keys.filter((key, at) => (uses[at] === "w" || uses[at] === "o") && failures.has(key));
    if (unmarked.length === 0) return answers[i]!;
    const { error } = answers[i]!;
    const own = new Map(unmarked.map((key) => [key, failures.get(key)!]));
    return dirtyError(own, error === undefined ? undefined : new errors.UpstashError(error));
  });
}

/** A mark in a batch. */
interface BatchMark {
  keys: string[];
  /** The use of these keys: `w` for what may only be changed, `o` for what is to be replaced. */
  use: "w" | "o";
  words: unknown[];
}

/** The marks of all that the commands may change: some for what may only be changed, some for what may be replaced. */
function marksOf({ context }: Transparent, plans: Plan[], path: string): BatchMark[] {
  const uses = new Map<string, "w" | "o">();
  for (const plan of plans) {
    plan.keys.forEach((key, i) => {
      const use = plan.uses[i];
      if (use === "w" || (use === "o" && !uses.has(key))) uses.set(key, use);
    });
  }
  return (["w", "o"] as const).flatMap((wanted) => {
    const marked = [...uses].filter(([, use]) => use === wanted).map(([key]) => key);
    const options = { missing: "del", overwrite: wanted === "o" } as const;
    return markCommands(context, marked, options, path === "multi-exec").map(({ keys, script, scriptKeys, args }) => ({
      keys,
      use: wanted,
      words: ["eval", script, scriptKeys.length, ...scriptKeys, ...args],
    }));
  });
}

/** The effects of the commands. */
function effectsOf(plans: Plan[], answers: RequestAnswer[]): Effects {
  const changed = new Set<string>();
  const replaced = new Set<string>();
  plans.forEach(({ keys, uses, isAlone }, i) => {
    const { result, error } = answers[i]!;
    const hasReplaced = error === undefined && result !== null;
    keys.forEach((key, at) => {
      // a script that failed may have changed something before
      if (uses[at] !== "r" && (error === undefined || isAlone)) changed.add(key);
      if (uses[at] === "o" && hasReplaced) replaced.add(key);
    });
  });
  return {
    tookEffect: (key) => changed.has(key),
    // evicted and missing: it would else have been brought back; if no command has replaced it, it is as it was
    needsNone: ({ key, why }) => why === "blind removal" && !replaced.has(key),
  };
}

/** The keys that are not marked, though the commands took effect, and why. */
function settleMarks(
  { tell }: Transparent,
  marks: BatchMark[],
  answers: RequestAnswer[],
  path: "pipeline" | "multi-exec",
  { tookEffect, needsNone }: Effects,
): Map<string, TundraError> {
  const failures = new Map<string, TundraError>();
  marks.forEach(({ keys, use, words }, i) => {
    const effects = use === "o" ? { tookEffect, needsNone } : { tookEffect };
    noteUnmarked(failures, keys, answers[i]!, words, effects);
  });
  tell({ type: "marked", command: path, keys: marks.flatMap(({ keys }) => keys).filter((key) => !failures.has(key)) });
  return failures;
}
