/**
 * The eviction of idle keys by a tick.
 * @module
 */
import { asTundraError, show, TundraError } from "../base/errors.ts";
import { versionMicros } from "../base/keys.ts";
import { askArchive } from "../core/ask_archive.ts";
import { compare } from "../core/compare.ts";
import type { Context } from "../core/context.ts";
import { checkIdentity, isConfirmed } from "../core/identity.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import type { DatastoreCallOptions } from "../datastores/datastore.ts";
import type { Claim } from "../scripts/claim.ts";
import { type Candidate, evict as evictScript, type EvictOutcome } from "../scripts/evict.ts";
import { readState } from "../scripts/read_state.ts";
import { readRecords } from "../scripts/read_records.ts";
import { type CallOptions, text } from "../upstash/connection.ts";
import { asMany, inRequests, keyBytes } from "../upstash/requests.ts";
import { ask } from "../upstash/script.ts";
import { archiveIsMine } from "./archive_check.ts";
import { uploadsEnd } from "./leases.ts";
import type { TickRun } from "./run.ts";

/** What an eviction needs besides a question to the archive for each old key: records, the script, and its source. */
export const EVICTION_REQUESTS = 3;

/** A version younger than this is in the archive: it was put there just now. */
const TRUSTED_MS = 24 * 60 * 60 * 1000;

/** Evicts what a claim found idle; `false`: there were requests for some of it only; `undefined`: it failed. */
export async function evictClaimed(run: TickRun, { idle, idleLimitMs, nowUs }: Claim): Promise<boolean | undefined> {
  try {
    return await evictKeys(run, idle, idleLimitMs, nowUs / 1000) === idle.length;
  } catch (thrown) {
    run.unfinished = true;
    if (!run.stopped()) run.fail(asTundraError(thrown, "evict idle keys"));
    return undefined;
  }
}

/** A Redis that is too full even for a claim must be emptied all the same; were any keys evicted? */
export async function evictUnclaimed(run: TickRun): Promise<boolean> {
  const { connection, index, redisTtlMs } = run.context;
  const what = "read idle keys";
  try {
    const [seconds] = await ask(connection, what, ["TIME"], run.call) as string[];
    const nowMs = Number(seconds) * 1000;
    const limitMs = nowMs - redisTtlMs!;
    const keys = await asMany(run.settings.batchKeys, async (most) => {
      const range = ["ZRANGEBYSCORE", index.keys.idle, "-inf", limitMs, "LIMIT", 0, most];
      return (await ask(connection, what, range, run.call) as string[]).map(text);
    });
    const { id } = await readState(index, [], run.call);
    if (!isConfirmed(id) || await checkIdentity(run.context, id, run.call)) return false;
    const nothing = { keys: [], suspects: false, purge: [], token: "", begun: false };
    const endsAt = uploadsEnd(run.settings.leaseMs);
    if (!await archiveIsMine(run, { ...nothing, id, idle: keys, nowUs: nowMs * 1000, endsAt })) return false;
    const before = run.report.evicted;
    await evictKeys(run, keys, limitMs, nowMs);
    return run.report.evicted > before;
  } catch {
    return false; // the claim's own error says more
  }
}

/** It has left the idle ones, so this is said once, until it is used again. */
function reportUnstable(run: TickRun, key: string): void {
  const error = new TundraError(
    "UNSUPPORTED",
    `Cannot evict ${show(key)} as its bytes must be those archived: they were others four times in a row; it is ` +
      `changed without dirty(), or this server's DUMP is not stable. It stays in Redis until dirty()`,
    { keys: [key] },
  );
  run.fail(error);
}

/** Where nobody can be asked, ensureKs() will say what it is. */
async function reportBlindWrite(run: TickRun, key: string): Promise<void> {
  try {
    if (run.requestsLeft() <= EVICTION_REQUESTS || !await isBlindWrite(run.context, key, run.call)) return;
  } catch {
    return;
  }
  const error = new TundraError(
    "CONFLICT",
    `Cannot evict ${show(key)} as it was written while evicted: evict({ discard: true }, ...) drops what was written`,
    { keys: [key] },
  );
  run.fail(error);
}

/** Returns how many it has looked at. */
async function evictKeys(run: TickRun, keys: string[], limitMs: number, nowMs: number): Promise<number> {
  const questionsLeft = () => run.requestsLeft() - EVICTION_REQUESTS + 1;
  const outcomes = await evictIdle(run.context, keys, { limitMs, nowMs, questionsLeft }, run.call);
  for (const { key, outcome } of outcomes) {
    if (outcome === "evicted") run.report.evicted++;
    if (outcome === "rescued") run.report.rescued++;
    if (outcome === "unstable") reportUnstable(run, key);
    if (outcome === "conflict") await reportBlindWrite(run, key);
    if (outcome === "unsupported") run.fail(unsupportedRecord("evict", key));
  }
  return outcomes.length;
}

/** Was what a tick found written while evicted really written? What holds the archived content is resident from now on. */
async function isBlindWrite(
  context: Context,
  key: string,
  call: CallOptions & DatastoreCallOptions,
): Promise<boolean> {
  const { states: [state] } = await readState(context.index, [key], call);
  const found = await compare(context, key, state!.record, call);
  return found === "conflict" || found === "absent";
}

/** What a tick's eviction goes by. */
interface IdleOptions {
  /** Keys last touched after this stay, ms. */
  limitMs: number;
  /** Redis time, ms. */
  nowMs: number;
  /** Objects that the archive may still be asked for. */
  questionsLeft: () => number;
}

/**
 * Evicts keys that a claim found idle. Versions older than a day are asked for first: a bucket's lifecycle rule may have
 * removed them. Keys for which no question is left are passed over.
 */
export async function evictIdle(
  context: Context,
  keys: string[],
  { limitMs, nowMs, questionsLeft }: IdleOptions,
  call: CallOptions & DatastoreCallOptions,
): Promise<{ key: string; outcome: EvictOutcome }[]> {
  return await inRequests(keys, keyBytes, context.connection.requestLimit, async (batch) => {
    const candidates = await askIdle(context, batch, nowMs, questionsLeft, call);
    if (candidates.length === 0) return [];
    const { outcomes } = await evictScript(context.index, candidates, limitMs, call);
    return outcomes.map((outcome, i) => ({ key: candidates[i]!.key, outcome }));
  });
}

/** What a tick may do to keys; those for which no question is left are not among them. */
async function askIdle(
  context: Context,
  keys: string[],
  nowMs: number,
  questionsLeft: () => number,
  call: CallOptions & DatastoreCallOptions,
): Promise<Candidate[]> {
  const candidates = keys.map((key): Candidate => ({ key, action: "evict", ver: "" }));
  if (!context.datastore.hasKeys) return candidates;
  const records = await readRecords(context, keys, call);
  const allOld = candidates.filter((candidate, i) => {
    candidate.ver = records[i]?.ver ?? "";
    return candidate.ver !== "" && versionMicros(candidate.ver) / 1000 < nowMs - TRUSTED_MS;
  });
  if (allOld.length === 0) return candidates;
  const old = allOld.slice(0, Math.max(0, questionsLeft()));
  const passedOver = new Set(allOld.slice(old.length));
  if (old.length > 0) await askArchive(context, old, call);
  return candidates.filter((candidate) => !passedOver.has(candidate));
}
