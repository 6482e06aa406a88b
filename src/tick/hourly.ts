/**
 * onceAnHour: the part of a tick that is due once an hour. Its code, which most calls never need, is imported when it is
 * first needed.
 * @module
 */
import type { Claim } from "../scripts/claim.ts";
import type { TickRun } from "./run.ts";

const EVERY_MS = 60 * 60 * 1000;
/** Requests at most: INFO, a page, records, a script and its source, the note; packs twice; and objects. */
const REQUESTS = 6 + 2 * 7 + 8;

type LostRecords = typeof import("./lost_records.ts");
let lostRecords: LostRecords | undefined;

/** Imports the code ahead of need. A simulation does so, as nothing in it may wait for a file. */
export async function loadLostRecords(): Promise<void> {
  lostRecords ??= await import("./lost_records.ts");
}

/** Searches for lost records, and notes what there is, if no tick has done so for an hour. */
export async function onceAnHour(run: TickRun, { lastSearch, nowUs }: Claim): Promise<void> {
  const nowMs = Math.floor(nowUs / 1000);
  const [at, cursor] = lastSearch.split(" ");
  if (lastSearch !== "" && Math.abs(nowMs - Number(at)) < EVERY_MS || run.requestsLeft() < REQUESTS) return;
  if (!lostRecords) await loadLostRecords();
  await lostRecords!.searchLostRecords(run, cursor, nowMs);
}

/** Looks in the archive for keys of which Redis knows nothing; see lost_records.ts. */
export async function lookInArchive(...args: Parameters<LostRecords["lookInArchive"]>): Promise<string[]> {
  if (!lostRecords) await loadLostRecords();
  return await lostRecords!.lookInArchive(...args);
}
