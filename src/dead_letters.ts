/**
 * The list of dead keys with their errors, and their return to the queue.
 * @module
 */
import { checkNames, checkNumber } from "./base/arguments.ts";
import type { TundraError, TundraErrorCode } from "./base/errors.ts";
import { failed, forBatches } from "./core/batches.ts";
import type { Context } from "./core/context.ts";
import { listDead } from "./scripts/list_dead.ts";
import { readRecords } from "./scripts/read_records.ts";
import { requeueDead } from "./scripts/requeue_dead.ts";

/** Options of {@linkcode TundraStore.deadLetters}. */
export interface DeadLetterOptions {
  /**
   * Keys to skip: at least 0.
   *
   * @default {0}
   */
  offset?: number;
  /**
   * Keys to list: 1 to 1000.
   *
   * @default {100}
   */
  limit?: number;
}

/** A key that could not be archived: it stays in Redis and is never evicted. */
export interface DeadLetter {
  /** The key. */
  key: string;
  /** The code of its last error. */
  code: TundraErrorCode;
  /** Its last error. */
  message: string;
  /** Attempts made. */
  attempts: number;
  /** The time at which it became dead, milliseconds since 1970 by Redis' clock. */
  at: number;
}

/** Lists dead keys; see {@linkcode TundraStore.deadLetters}. */
export async function deadLetters(context: Context, options: DeadLetterOptions = {}): Promise<DeadLetter[]> {
  const what = "list dead keys";
  checkNames(what, options, ["offset", "limit"]);
  const offset = checkNumber(what, "offset", options.offset ?? 0, 0, Number.MAX_SAFE_INTEGER);
  const limit = checkNumber(what, "limit", options.limit ?? 100, 1, 1000);
  const dead = await listDead(context, offset, limit);
  const records = await readRecords(context, dead.map(({ key }) => key));
  return dead.map(({ key, at }, i) => {
    const record = records[i];
    const [, code = "UNSUPPORTED", message = "its record is of another version"] =
      /^(\S+) (.*)$/.exec(record?.error ?? "") ?? [];
    return { key, code: code as TundraErrorCode, message, attempts: record?.attempts ?? 0, at };
  });
}

/** Requeues dead keys; see {@linkcode TundraStore.retryDead}. */
export async function retryDead(context: Context, keys: string[]): Promise<number> {
  const failures = new Map<string, TundraError>();
  let requeued = 0;
  await forBatches(context, keys, failures, "requeue keys", async (batch) => {
    requeued += await requeueDead(context.index, batch);
  });
  if (failures.size > 0) throw failed("requeue", failures, [], "UNAVAILABLE");
  return requeued;
}
