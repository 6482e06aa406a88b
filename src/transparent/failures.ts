/**
 * Failures of a command's own: among several they take its place, and the client that sent them gets them back as they
 * are.
 * @module
 */
import { errors, type Redis } from "@upstash/redis";
import { TundraError } from "../base/errors.ts";
import { failed } from "../core/batches.ts";
import type { RequestAnswer } from "./parts.ts";

/** The failures of commands, as the client makes them: it passes on texts only. */
const failures = new WeakMap<object, TundraError>();

/** The part of an error of `ensureKs` that concerns these keys; `undefined`: none does. */
export function partOf(error: TundraError, keys: readonly string[]): TundraError | undefined {
  const own = keys.filter((key) => Object.hasOwn(error.causes, key));
  if (own.length === 0) return undefined;
  if (own.length === error.keys.length) return error;
  const causes = new Map(own.map((key) => [key, error.causes[key] as TundraError]));
  const codes = ["LOST", "UNSUPPORTED", "UNAVAILABLE"] as const; // of a whole call
  if (codes.some((code) => code === error.code)) return failed("ensure", causes, codes, "UNAVAILABLE");
  const onlyConflicts = [...causes.values()].every(({ code }) => code === "CONFLICT");
  return failed("ensure", causes, [], onlyConflicts ? "CONFLICT" : "ENSURE_FAILED");
}

/** The failure of one command, from what it has thrown; an abort is that of the whole request, and is thrown. */
export function ownFailure(thrown: unknown, signal: AbortSignal | undefined): TundraError {
  signal?.throwIfAborted();
  if (thrown instanceof TundraError) return thrown;
  throw thrown;
}

/** A failure as the answer of a command in a pipeline: text that begins with its code, as errors of Redis do. */
export function failedAnswer(command: readonly unknown[], failure: TundraError): RequestAnswer {
  failures.set(command, failure);
  return { result: undefined, error: textOf(failure) };
}

/** A pipeline of the client, whose members are not all in its types. */
interface Queue {
  commands?: { command: unknown[] }[];
  exec(options?: { keepErrors: true }): Promise<unknown>;
}

/** The maker of pipelines of single commands; the queueing function comes last. */
interface Executor {
  withAutoPipeline?(...args: [...unknown[], (queue: Queue) => void]): Promise<unknown>;
}

/**
 * Makes a client reject with a command's own failure, where it would reject with an error of its own that has the text:
 * `exec()` of a pipeline without `keepErrors`, and single commands that it sends as a pipeline.
 */
export function throwFailures(redis: Redis): Redis {
  const client = redis as unknown as { pipeline(): Queue; autoPipelineExecutor?: Executor };
  const makeQueue = client.pipeline;
  client.pipeline = () => {
    const queue = makeQueue.call(client);
    const exec = queue.exec;
    queue.exec = async (options) => {
      try {
        return await exec.call(queue, options);
      } catch (thrown) {
        const [, number] = /^Command (\d+) \[/.exec(thrown instanceof Error ? thrown.message : "") ?? [];
        throw failureOf(queue.commands?.[Number(number) - 1]?.command, thrown) ?? thrown;
      }
    };
    return queue;
  };
  const executor = client.autoPipelineExecutor;
  const queueOne = executor?.withAutoPipeline;
  if (executor === undefined || queueOne === undefined) return redis;
  executor.withAutoPipeline = async (...args) => {
    const queueCommand = args.pop() as (queue: Queue) => void;
    let command: unknown[] | undefined;
    try {
      return await queueOne.call(executor, ...args, (queue: Queue) => {
        queueCommand(queue);
        command = queue.commands?.at(-1)?.command;
      });
    } catch (thrown) {
      throw failureOf(command, thrown) ?? thrown;
    }
  };
  return redis;
}

/** The failure of a command of which the client has thrown an error with its text; `undefined`: another one. */
function failureOf(command: unknown[] | undefined, thrown: unknown): TundraError | undefined {
  const failure = command && failures.get(command);
  const isIts = failure && thrown instanceof errors.UpstashError && thrown.message.endsWith(textOf(failure));
  return isIts ? failure : undefined;
}

function textOf({ code, message }: TundraError): string {
  return `${code} ${message}`;
}
