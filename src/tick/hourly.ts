/**
 * onceAnHour: the part of a tick that is due once an hour. Its code is imported then: most calls never need it.
 * @module
 */
import type { Claim } from "../scripts/claim.ts";
import type { TickRun } from "./run.ts";

const EVERY_MS = 60 * 60 * 1000;
/** Requests at most: INFO, a page, records, a script and its source, the note; packs twice; and objects. */
const REQUESTS = 6 + 2 * 7 + 8;

/** Searches for lost records, and notes what there is, if no tick has done so for an hour. */
export async function onceAnHour(run: TickRun, { lastSearch, nowUs }: Claim): Promise<void> {
  const nowMs = Math.floor(nowUs / 1000);
  const [at, cursor] = lastSearch.split(" ");
  if (lastSearch !== "" && Math.abs(nowMs - Number(at)) < EVERY_MS || run.requestsLeft() < REQUESTS) return;
  await (await import("./lost_records.ts")).searchLostRecords(run, cursor, nowMs);
}
