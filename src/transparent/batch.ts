/**
 * Several commands in one request: a pipeline, or a transaction.
 * @module
 */
import type { TundraError } from "../base/errors.ts";
import { dirtyError } from "../dirty.ts";
import { markCommands, noteUnmarked } from "../dirty_in.ts";
import type { MarkException } from "../scripts/mark.ts";
import { hideOwn } from "./keyspace.ts";
import type { Request, RequestAnswer, Transparent } from "./parts.ts";
import type { Plan } from "./plan.ts";
import { readFirst, readsFirst } from "./reads.ts";

/** Commands that replace a whole value by another one: their keys exist afterwards. */
const REPLACING = new Set(["set", "setex", "psetex", "mset", "json.set", "restore", "rename"]);

/**
 * Runs a pipeline or a transaction.
 *
 * Commands that only read are sent first, and those whose answers are empty are read again. Else the keys of all
 * commands are brought back first, and the marks travel in the same request as the commands, behind them.
 */
export async function runBatch(
  transparent: Transparent,
  plans: Plan[],
  request: Request,
  path: "pipeline" | "multi-exec",
): Promise<RequestAnswer[]> {
  const { inner } = transparent;
  const commands = request.body as unknown[][];
  const concerned = plans.filter(({ ours }) => ours.length > 0);
  if (path === "pipeline" && transparent.ensure && concerned.length > 0 && concerned.every(readsFirst)) {
    const answers = await readFirst(transparent, plans, request);
    return plans.map((plan, i) => hideOwn(plan, answers[i]!));
  }
  if (transparent.ensure) await bringAllBack(transparent, concerned);
  const marks = transparent.mark ? marksOf(transparent, concerned, path) : [];
  const body = [...commands, ...marks.map(({ words }) => words)];
  const answers = await inner.request({ ...request, body }) as unknown as RequestAnswer[];
  settleMarks(transparent, marks, answers.slice(commands.length), path, replacedBy(plans, answers));
  return plans.map((plan, i) => hideOwn(plan, answers[i]!));
}

/** Brings back all that is read or changed; what is replaced for certain may stay away. */
async function bringAllBack({ store, uses }: Transparent, plans: Plan[]): Promise<void> {
  const keys = new Set<string>();
  for (const plan of plans) {
    plan.keys.forEach((key, i) => {
      const use = plan.uses[i];
      if (use === "r" || use === "w" || (use === "o" && !REPLACING.has(plan.name))) keys.add(key);
    });
  }
  if (keys.size === 0) return;
  await store.ensureKs([...keys]);
  uses.note([...keys]);
}

/** A mark in a batch. */
interface BatchMark {
  keys: string[];
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
      words: ["eval", script, scriptKeys.length, ...scriptKeys, ...args],
    }));
  });
}

/** The keys that a command has replaced: it answered no error. */
function replacedBy(plans: Plan[], answers: RequestAnswer[]): Set<string> {
  const replaced = new Set<string>();
  plans.forEach(({ keys, uses }, i) => {
    if (answers[i]!.error === undefined) keys.forEach((key, at) => uses[at] === "o" && replaced.add(key));
  });
  return replaced;
}

/**
 * Throws if a mark failed: the commands took effect. A key that is evicted and missing was to be replaced, else it would
 * have been brought back; if no command has replaced it, it is as it was.
 */
function settleMarks(
  { tell }: Transparent,
  marks: BatchMark[],
  answers: RequestAnswer[],
  path: "pipeline" | "multi-exec",
  replaced: Set<string>,
): void {
  const failures = new Map<string, TundraError>();
  const isAsBefore = ({ key, why }: MarkException) => why === "blind removal" && !replaced.has(key);
  marks.forEach(({ keys, words }, i) => noteUnmarked(failures, keys, answers[i]!, words, isAsBefore));
  tell({ type: "marked", command: path, keys: marks.flatMap(({ keys }) => keys).filter((key) => !failures.has(key)) });
  if (failures.size > 0) throw dirtyError(failures);
}
