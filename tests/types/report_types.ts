/**
 * Types that an application reads: errors, reports and status.
 * @module
 */
import {
  type DeadLetter,
  type EvictReport,
  type notFound,
  type Status,
  type TickReport,
  TundraError,
  type TundraErrorCode,
  type WorkerEvent,
  type WorkerStats,
} from "@tundra/store";
import type { Assert, Equal } from "./equal.ts";

/** A code for each thing that a caller can do next, and no other. */
export type Codes = Assert<
  Equal<
    TundraErrorCode,
    | ("BAD_ARGUMENT" | "MISSING" | "ENSURE_FAILED" | "UNAVAILABLE" | "CONFLICT" | "CORRUPT" | "LOST" | "NOT_FOUND")
    | ("TOO_LARGE" | "UNSUPPORTED")
  >
>;

/** An error's fields. */
export type Fields = [
  Assert<Equal<TundraError["code"], TundraErrorCode>>,
  Assert<Equal<TundraError["keys"], string[]>>,
  Assert<Equal<TundraError["causes"], Record<string, Error>>>,
  Assert<Equal<TundraError["retryable"], boolean>>,
  Assert<Equal<ReturnType<typeof notFound>, TundraError>>,
];

/** Errors are made with a known code and are not changed. */
export function errors(error: TundraError): string {
  new TundraError("MISSING", "Cannot mark 1 key as it must exist", { keys: ["a"], causes: {}, retryable: true });
  // @ts-expect-error there is no code GONE
  new TundraError("GONE", "a message");
  // @ts-expect-error a message must be there
  new TundraError("MISSING");
  // @ts-expect-error there is no detail key
  new TundraError("MISSING", "a message", { key: "a" });
  // @ts-expect-error a code stays
  error.code = "LOST";
  // @ts-expect-error there is no code GONE to compare with
  if (error.code === "GONE") return "gone";
  return next(error.code);
}

/** A switch over all codes needs no default. */
function next(code: TundraErrorCode): string {
  switch (code) {
    case "UNAVAILABLE":
      return "retry";
    case "BAD_ARGUMENT":
    case "MISSING":
    case "CONFLICT":
    case "NOT_FOUND":
      return "fix the call";
    case "ENSURE_FAILED":
      return "look into causes";
    case "CORRUPT":
    case "LOST":
    case "TOO_LARGE":
    case "UNSUPPORTED":
      return "alert an operator";
  }
}

/** Counts are numbers; what failed, and why, are texts that an application can compare. */
export function reports(tick: TickReport, evict: EvictReport, letter: DeadLetter, status: Status): void {
  const [failure] = tick.errors;
  const texts: (string | undefined)[] = [failure?.key, failure?.code, failure?.message, letter.code, evict.kept["a"]];
  const counts: number[] = [tick.frozen, tick.evicted, tick.remaining, status.dirty, status.totals.bytes, letter.at];
  const evicted: string[] = evict.evicted;
  const done: boolean = tick.done;
  console.log(texts, counts, evicted, done);
  // @ts-expect-error there is no count archived
  console.log(tick.archived);
  // @ts-expect-error there is no list failed
  console.log(evict.failed);
}

/** Fields, to the letter. */
export type Names = [
  Assert<
    Equal<
      keyof TickReport,
      | ("claimed" | "frozen" | "requeued" | "evicted" | "rescued" | "missing" | "failed" | "dead" | "remaining")
      | ("purged" | "purging" | "subrequests" | "commands" | "bytesRead" | "bytesWritten" | "durationMs" | "done")
      | ("swept" | "verified" | "damaged" | "errors")
    >
  >,
  Assert<Equal<keyof TickReport["errors"][number], "key" | "code" | "message" | "attempt">>,
  Assert<Equal<TickReport["errors"][number]["code"], TundraErrorCode>>,
  Assert<Equal<keyof EvictReport, "evicted" | "kept">>,
  Assert<Equal<string extends EvictReport["kept"][string] ? true : false, false>>,
  Assert<Equal<keyof DeadLetter, "key" | "code" | "message" | "attempts" | "at">>,
  Assert<Equal<DeadLetter["code"], TundraErrorCode>>,
  Assert<
    Equal<
      keyof Status,
      "dirty" | "due" | "idle" | "resident" | "evicted" | "dead" | "purge" | "oldestDueMs" | "lastTickMs" | "totals"
    >
  >,
  Assert<Equal<keyof Status["totals"], "frozen" | "evicted" | "restored" | "rescued" | "removed" | "bytes">>,
  Assert<Equal<WorkerEvent, { report?: TickReport; error?: TundraError; stats: WorkerStats }>>,
  Assert<Equal<keyof WorkerStats, "ticks" | "failedTicks" | "frozen" | "evicted" | "failed" | "dead">>,
];
