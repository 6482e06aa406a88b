/**
 * dirtyIn: a write and its mark in one request.
 * @module
 */
import { errors } from "@upstash/redis";
import { checkMethods } from "./base/arguments.ts";
import { asTundraError, TundraError } from "./base/errors.ts";
import type { Context } from "./core/context.ts";
import { dirtyError, type DirtyOptions, markError } from "./dirty.ts";
import { INLINE_MARK, markArguments, type MarkException, markExceptions } from "./scripts/mark.ts";
import { batches, keyBytes } from "./upstash/requests.ts";
import { saidOf } from "./upstash/said.ts";
import { replyError } from "./upstash/script.ts";

/**
 * The part of a pipeline that `dirtyIn()` needs: `redis.pipeline()` and `redis.multi()` of `@upstash/redis` have it.
 */
export interface EvalQueue {
  /** Queues a script. */
  eval(script: string, keys: string[], args: unknown[]): unknown;
  /** Sends the queue. */
  exec(options?: { keepErrors: true }): Promise<unknown>;
  /** The number of commands that are queued. */
  length(): number;
}

/** A mark in a pipeline: its position, and its keys. */
interface QueuedMark {
  at: number;
  keys: string[];
}

type Answer = { result?: unknown; error?: string };

const wrapped = new WeakMap<EvalQueue, QueuedMark[]>();

/** Marks as commands of a pipeline or transaction: as many as these keys need, with the words of each. */
export function markCommands(
  context: Context,
  keys: string[],
  options: DirtyOptions,
  insideMulti: boolean,
): { keys: string[]; script: string; scriptKeys: string[]; args: (string | number)[] }[] {
  const script = context.index.scripts.inlineSource(INLINE_MARK, insideMulti);
  return batches(keys, keyBytes, context.connection.requestLimit()).map((batch) => {
    const [scriptKeys, args] = markArguments(context.index, batch, {
      freezeDelayMs: context.freezeDelayMs,
      missing: options.missing ?? "throw",
      overwrite: options.overwrite ? "now" : "never",
    });
    return { keys: batch, script, scriptKeys, args };
  });
}

/** The effects of the other commands of a pipeline. */
export interface Effects {
  /** Tells if one of them may have changed the key. */
  tookEffect(key: string): boolean;
  /** Tells if the key needs no mark all the same. */
  needsNone?(exception: MarkException): boolean;
}

/**
 * Puts the keys that a mark in a pipeline has not marked into `failures`, but for those that need none; `command` is the
 * mark's own.
 */
export function noteUnmarked(
  failures: Map<string, TundraError>,
  keys: string[],
  { result, error }: Answer,
  command: unknown,
  { tookEffect, needsNone }: Effects,
): void {
  if (error === undefined) {
    for (const exception of markExceptions(keys, result)) {
      if (!needsNone?.(exception)) failures.set(exception.key, markError(exception));
    }
    return;
  }
  const refused = replyError("mark in a pipeline", error, saidOf(command));
  for (const key of keys) failures.set(key, tookEffect(key) ? unmarkedError(refused) : refused);
}

/** The error of a mark that Redis refused after it had carried out what is to be marked: that must not be repeated. */
function unmarkedError({ code, message }: TundraError): TundraError {
  const must =
    'What was to be marked took effect: do not repeat it; call dirty(), with missing: "del" if it removed keys';
  return new TundraError(code, `${message}. ${must}`, { retryable: false });
}

/** Queues marks; see {@linkcode TundraStore.dirtyIn}. */
export function dirtyIn(context: Context, pipeline: EvalQueue, keys: string[], options: DirtyOptions): void {
  checkMethods("mark in a pipeline", "the pipeline", pipeline, ["eval", "exec", "length"], "one");
  // protected in the client's types; a queue that does not say counts as a transaction
  const insideMulti = (pipeline as { multiExec?: boolean }).multiExec !== false;
  const marks = wrapped.get(pipeline) ?? wrapExec(pipeline);
  for (const mark of markCommands(context, keys, options, insideMulti)) {
    marks.push({ at: pipeline.length(), keys: mark.keys });
    pipeline.eval(mark.script, mark.scriptKeys, mark.args);
  }
}

/** Makes exec answer as if there were no marks, and reject if one of them failed. */
function wrapExec(pipeline: EvalQueue): QueuedMark[] {
  const marks: QueuedMark[] = [];
  wrapped.set(pipeline, marks);
  const exec = pipeline.exec;
  const { commands } = pipeline as { commands?: { command?: unknown[] }[] };
  pipeline.exec = async (options?: { keepErrors: true }) => {
    const failures = new Map<string, TundraError>();
    let answers: Answer[];
    try {
      answers = await exec.call(pipeline, { keepErrors: true }) as Answer[];
    } catch (thrown) { // the whole request failed: dirty() would name these keys
      const error = thrown instanceof errors.UpstashError
        ? replyError("mark in a pipeline", thrown.message, saidOf(thrown))
        : asTundraError(thrown, "mark in a pipeline");
      for (const { keys } of marks) for (const key of keys) failures.set(key, error);
      throw dirtyError(failures, thrown);
    }
    const marked = new Set(marks.map(({ at }) => at));
    const others: { answer: Answer; name: unknown }[] = [];
    answers.forEach((answer, i) => {
      if (!marked.has(i)) others.push({ answer, name: commands?.[i]?.command?.[0] ?? "?" });
    });
    const anyTookEffect = others.some(({ answer }) => answer.error === undefined);
    for (const { at, keys } of marks) {
      const effects = { tookEffect: () => anyTookEffect };
      noteUnmarked(failures, keys, answers[at]!, commands?.[at]?.command, effects);
    }
    const first = others.findIndex(({ answer }) => answer.error !== undefined);
    // worded as the client words it
    const refused = first < 0 ? undefined : new errors.UpstashError(
      `Command ${first + 1} [ ${others[first]!.name} ] failed: ${others[first]!.answer.error}`,
    );
    if (failures.size > 0) throw dirtyError(failures, refused);
    if (options?.keepErrors) return others.map(({ answer }) => answer);
    if (refused) throw refused;
    return others.map(({ answer }) => answer.result);
  };
  return marks;
}
