/**
 * Eviction of idle keys by a tick.
 * @module
 */
import { asTundraError, show, TundraError } from "../base/errors.ts";
import { versionMicros } from "../base/keys.ts";
import { askArchive } from "../core/ask_archive.ts";
import { compare } from "../core/compare.ts";
import type { Context, RequestOptions } from "../core/context.ts";
import { checkIdentity, isConfirmed } from "../core/identity.ts";
import { unsupportedRecord } from "../core/key_errors.ts";
import { mayBeEvicted } from "../core/policy.ts";
import type { Claim } from "../scripts/claim.ts";
import { type Candidate, evict as evictScript, type EvictOutcome } from "../scripts/evict.ts";
import { readIdle } from "../scripts/read_idle.ts";
import { readRecords } from "../scripts/read_records.ts";
import { readState } from "../scripts/read_state.ts";
import { inGroups, inRequests, keyBytes } from "../upstash/requests.ts";
import { archiveIsMine } from "./archive_check.ts";
import { uploadsEnd } from "./leases.ts";
import type { TickRun } from "./run.ts";

/** Requests of an eviction besides one to the archive for each old key: records, the script, and its source. */
export const EVICTION_REQUESTS = 3;

/** Redis compares values of so many bytes in one script: meanwhile it does nothing else, for some 50 ms. */
const COMPARED_BYTES = 16 * 1024 * 1024;
/** Counts for a value whose size is not known. */
const UNKNOWN_KB = 64;
/** If requests are bounded, eviction gets a quarter of them: questions about idle keys would leave none to freeze. */
export const EVICTION_SHARE = 0.25;

/** A version younger than this needs no question: no lifecycle rule removes it so soon. */
const TRUSTED_MS = 24 * 60 * 60 * 1000;

/**
 * Evicts keys that a claim found idle; `false` if requests sufficed for some of them only, `undefined` if it failed.
 */
export async function evictClaimed(run: TickRun, claim: Claim): Promise<boolean | undefined> {
  const { idle, idleLimitMs, nowUs, left } = claim;
  // uploads of packs use up few requests, so more keys can be archived with those that are left
  const share = left > 0 && run.uploadsPerKey < 1 ? EVICTION_SHARE : 1;
  try {
    return await evictKeys(run, idle, idleLimitMs, nowUs / 1000, share) === idle.length;
  } catch (thrown) {
    run.unfinished = true;
    if (!run.stopped()) run.fail(asTundraError(thrown, "evict idle keys"));
    return undefined;
  }
}

/** Evicts without a claim, if Redis is too full even for that; tells if any key was evicted. */
export async function evictUnclaimed(run: TickRun): Promise<boolean> {
  const { context, settings, call } = run;
  try {
    const { keys, limitMs, nowMs } = await readIdle(context, context.redisTtlMs!, settings.batchKeys, call);
    const { id } = await readState(context.index, [], call);
    if (!isConfirmed(id) || await checkIdentity(context, id, call)) return false;
    const nothing = { keys: [], suspects: false, purge: [], token: "", begun: false };
    const endsAt = uploadsEnd(settings.leaseMs);
    if (!await archiveIsMine(run, { ...nothing, id, idle: keys, nowUs: nowMs * 1000, endsAt })) return false;
    const before = run.report.evicted;
    await evictKeys(run, keys, limitMs, nowMs);
    return run.report.evicted > before;
  } catch {
    return false; // the claim's own error is reported
  }
}

/** Reports an unstable key. It is no longer idle, so it is reported once, until it is used again. */
function reportUnstable(run: TickRun, key: string): void {
  const error = new TundraError(
    "UNSUPPORTED",
    `Cannot evict ${show(key)} as its bytes must be those archived: they were others four times in a row; it is ` +
      `changed without dirty(), or this server's DUMP is not stable. It stays in Redis until dirty()`,
    { keys: [key] },
  );
  run.fail(error);
}

/** Reports a blind write. If the archive cannot be asked, the next ensureKs() reports it. */
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

/**
 * Evicts idle keys and counts outcomes; returns the number of keys that it has checked. `share`: the share of the
 * requests that are left.
 */
async function evictKeys(run: TickRun, keys: string[], limitMs: number, nowMs: number, share = 1): Promise<number> {
  const questionsLeft = () => Math.floor(share * (run.requestsLeft() - EVICTION_REQUESTS + 1));
  const conflicts: string[] = [];
  const onOutcome = (key: string, outcome: EvictOutcome) => {
    if (outcome === "evicted") run.report.evicted++;
    if (outcome === "rescued") run.report.rescued++;
    if (outcome === "unstable") reportUnstable(run, key);
    if (outcome === "conflict") conflicts.push(key);
    if (outcome === "unsupported") run.fail(unsupportedRecord("evict", key));
  };
  try {
    return (await evictIdle(run.context, keys, { limitMs, nowMs, questionsLeft, onOutcome }, run.call)).length;
  } finally {
    for (const key of conflicts) await reportBlindWrite(run, key);
  }
}

/** Tells if a key that seems written while evicted holds other content; if it holds the archived one it is resident. */
async function isBlindWrite(
  context: Context,
  key: string,
  call: RequestOptions,
): Promise<boolean> {
  const { states: [state] } = await readState(context.index, [key], call);
  const found = await compare(context, key, state!.record, call);
  return found === "conflict" || found === "absent";
}

/** A candidate, and the size of its value, KB. */
type IdleCandidate = Candidate & { kb: number };

/** Limits of a tick's eviction. */
interface IdleOptions {
  /** Keys last touched after this time stay, ms. */
  limitMs: number;
  /** Redis time, ms. */
  nowMs: number;
  /** The number of objects that the archive may still be asked about. */
  questionsLeft: () => number;
  /** Told of each outcome at once, as a later request may fail. */
  onOutcome?: (key: string, outcome: EvictOutcome) => void;
}

/**
 * Evicts keys that a claim found idle. The archive is first asked about versions older than a day: a bucket's lifecycle
 * rule may have removed them. Keys for which no question is left are passed over.
 */
export async function evictIdle(
  context: Context,
  keys: string[],
  { limitMs, nowMs, questionsLeft, onOutcome }: IdleOptions,
  call: RequestOptions,
): Promise<{ key: string; outcome: EvictOutcome }[]> {
  return await inRequests(keys, keyBytes, context.connection.requestLimit, async (batch) => {
    const candidates = await askIdle(context, batch, nowMs, questionsLeft, call);
    const found: { key: string; outcome: EvictOutcome }[] = [];
    for (const some of inGroups(candidates, ({ kb }) => 1024 * kb, COMPARED_BYTES)) {
      const { outcomes } = await evictScript(context.index, some, limitMs, call, context.minEvictBytes);
      outcomes.forEach((outcome, i) => {
        const { key } = some[i]!;
        found.push({ key, outcome });
        onOutcome?.(key, outcome);
      });
    }
    return found;
  });
}

/** Decides the action for each key; leaves out those for which no question is left. */
async function askIdle(
  context: Context,
  keys: string[],
  nowMs: number,
  questionsLeft: () => number,
  call: RequestOptions,
): Promise<IdleCandidate[]> {
  const candidates = keys.map((key): IdleCandidate => {
    return { key, action: mayBeEvicted(context, key) ? "evict" : "stay", ver: "", kb: UNKNOWN_KB };
  });
  if (!context.datastore.hasKeys) return candidates;
  const records = await readRecords(context, keys, call);
  const allOld = candidates.filter((candidate, i) => {
    candidate.ver = records[i]?.ver ?? "";
    candidate.kb = records[i]?.kb || UNKNOWN_KB;
    return candidate.action === "evict" && candidate.ver !== "" &&
      versionMicros(candidate.ver) / 1000 < nowMs - TRUSTED_MS;
  });
  if (allOld.length === 0) return candidates;
  const passedOver = await askArchive(context, allOld, call, questionsLeft());
  return candidates.filter((candidate) => !passedOver.has(candidate));
}
