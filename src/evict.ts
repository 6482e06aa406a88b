/**
 * evict: what is provably archived leaves Redis, when asked for and when idle.
 * @module
 */
import { failed, forBatches } from "./batches.ts";
import { checkBoolean, optionsFirst } from "./check.ts";
import { compare } from "./compare.ts";
import type { Context } from "./context.ts";
import type { DataStoreCallOptions } from "./datastores/datastore.ts";
import { isNotFound, type TundraError } from "./errors.ts";
import { checkIdentity, isConfirmed } from "./identity.ts";
import { objectName, versionMicros } from "./keys.ts";
import { readRecords } from "./records.ts";
import { type Candidate, evict as evictScript, type EvictOutcome } from "./scripts/evict.ts";
import { look } from "./scripts/look.ts";
import type { CallOptions } from "./upstash/connection.ts";
import { inRequests, keyBytes } from "./upstash/requests.ts";

/** The result of {@linkcode TundraStore.evict}. */
export interface EvictReport {
  /** Keys that are in the archive alone now. */
  evicted: string[];
  /** Keys that stay, and why: `dirty`, `missing`, `never archived`, `rescued` (changed without a mark, or lost by the archive: marked now), `conflict`, `unknown` (the archive did not say whether it still has it), `unstable` (four times in a row its bytes were others than those archived, though nobody had marked it: it stays until `dirty()`), `too large` (no request could bring it back), `unsupported`. */
  kept: Record<string, string>;
}

/** Options of `evict()`. */
export interface EvictOptions {
  /**
   * What a key that was written while it was evicted (`CONFLICT`) holds in Redis is dropped: the archived value stays, and
   * `ensureKs()` brings it back, so that the change can be repeated. Default `false`: such a key is `conflict`.
   */
  discard?: boolean;
}

/** `evict(...)`'s arguments: options or none, then keys, or one array of keys. */
export function evictArguments(args: readonly unknown[]): { options: EvictOptions; keys: readonly unknown[] } {
  const given = optionsFirst<EvictOptions>("evict keys", args, ["discard"]);
  checkBoolean("evict keys", "discard", given.options.discard);
  return given;
}

/** Evicts keys now; see {@linkcode TundraStore.evict}. */
export async function evict(context: Context, keys: string[], options: EvictOptions = {}): Promise<EvictReport> {
  const report: EvictReport = { evicted: [], kept: Object.create(null) };
  const failures = new Map<string, TundraError>();
  await forBatches(context, keys, failures, "evict keys", async (batch) => {
    const action = context.datastore.hasKeys ? "ask" : "evict";
    const candidates = batch.map((key): Candidate => ({ key, action, ver: "" }));
    let { id, outcomes, asked } = await evictScript(context.index, candidates, undefined);
    if (await checkIdentity(context, id)) {
      ({ id, outcomes, asked } = await evictScript(context.index, candidates, undefined));
    }
    const found = new Map<string, EvictOutcome>();
    const old: Candidate[] = [];
    batch.forEach((key, i) => {
      const outcome = isConfirmed(id) ? outcomes[i]! : "never archived";
      if (outcome === "ask") old.push({ key, action: "evict", ver: asked[old.length]! });
      else found.set(key, outcome);
    });
    if (old.length > 0) {
      await askArchive(context, old);
      const again = await evictScript(context.index, old, undefined);
      old.forEach(({ key }, i) => found.set(key, again.outcomes[i]!));
    }
    for (const [key, outcome] of found) {
      const settled = outcome === "conflict" ? await settleConflict(context, key, options.discard === true) : outcome;
      if (settled === "evicted") report.evicted.push(key);
      else report.kept[key] = settled;
    }
  });
  if (failures.size > 0) throw failed("evict", failures, ["LOST"], "UNAVAILABLE");
  return report;
}

/** Was what a tick found written while evicted really written? What holds the archived content is resident from now on. */
export async function isBlindWrite(
  context: Context,
  key: string,
  call: CallOptions & DataStoreCallOptions,
): Promise<boolean> {
  const { sights: [sight] } = await look(context.index, [key], call);
  const found = await compare(context, key, sight!.record, call);
  return found === "conflict" || found === "absent";
}

/** The same content is evicted as ever; other content is dropped where that is wanted and the archive has the value. */
async function settleConflict(context: Context, key: string, discard: boolean): Promise<EvictOutcome> {
  const { sights: [sight] } = await look(context.index, [key]);
  const { record } = sight!;
  let found: Awaited<ReturnType<typeof compare>>;
  try {
    found = await compare(context, key, record);
  } catch {
    return "unknown"; // the archive does not say what it holds
  }
  if (found === "again") return "moved on";
  if (found !== "healed" && !(discard && found === "conflict")) return "conflict";
  const action = found === "healed" ? { action: "evict" as const, ver: "" } : { action: "drop" as const, ver: record };
  const { outcomes: [outcome] } = await evictScript(context.index, [{ key, ...action }], undefined);
  return outcome ?? "never archived";
}

/** A version younger than this is in the archive: it was put there just now. */
const TRUSTED_MS = 24 * 60 * 60 * 1000;

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
  call: CallOptions & DataStoreCallOptions,
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
  call: CallOptions & DataStoreCallOptions,
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

/** Does the archive still have these versions? What it lost is marked, what it does not say is kept. */
async function askArchive(context: Context, old: Candidate[], call?: DataStoreCallOptions): Promise<void> {
  const names = await Promise.all(old.map(({ key, ver }) => objectName(context.tqname, key, ver)));
  let answers: (boolean | Error)[];
  try {
    answers = await context.datastore.hasKeys!(names, call);
  } catch (thrown) {
    answers = names.map(() => thrown as Error);
  }
  old.forEach((candidate, i) => {
    const answer = answers[i];
    if (answer === true) return;
    candidate.action = answer === false || isNotFound(answer) ? "mark" : "keep";
  });
}
