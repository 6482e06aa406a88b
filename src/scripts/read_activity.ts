/**
 * The rows that note_hour.ts and note_run.ts have written, read in one request.
 * @module
 */
import type { CallOptions, Connection } from "../upstash/connection.ts";
import { results } from "../upstash/script.ts";
import type { Index } from "./prelude.ts";

/** Rows of the last 14 days, and older ones whose place nothing has taken since. */
export interface ActivityRows {
  /** Rows of `hours`. */
  hours: string[];
  /** Rows of `runs`: operation and day, and the row. */
  runs: [field: string, row: string][];
  nowMs: number;
}

/** One request, 3 billable commands. */
export async function readActivity(
  { connection, index }: { connection: Connection; index: Index },
  what: string,
  call?: CallOptions,
): Promise<ActivityRows> {
  const commands = [["HVALS", index.keys.hours], ["HGETALL", index.keys.runs], ["TIME"]];
  const answers = results(what, await connection.pipeline(commands, call));
  const [hours, fields, [seconds]] = answers as [string[], string[], [string]];
  const runs: ActivityRows["runs"] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) runs.push([fields[i]!, fields[i + 1]!]);
  return { hours, runs, nowMs: Number(seconds) * 1000 };
}
