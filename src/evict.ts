/**
 * evict: removes keys from Redis that are provably archived, when the application asks for it.
 * @module
 */
import { checkBoolean, optionsFirst } from "./base/arguments.ts";
import type { TundraError } from "./base/errors.ts";
import { askArchive } from "./core/ask_archive.ts";
import { failed, forBatches } from "./core/batches.ts";
import { compare } from "./core/compare.ts";
import type { Context } from "./core/context.ts";
import { checkIdentity, isConfirmed } from "./core/identity.ts";
import { type Candidate, evict as evictScript, type EvictOutcome } from "./scripts/evict.ts";
import { readState } from "./scripts/read_state.ts";

/** The result of {@linkcode TundraStore.evict}. */
export interface EvictReport {
  /** Keys that are in the archive alone now. */
  evicted: string[];
  /**
   * Keys that stay, and why:
   *
   * | reason | meaning |
   * | --- | --- |
   * | `dirty` | it has changed since it was archived |
   * | `missing` | it is not in Redis |
   * | `never archived` | Tundra does not know it, or no tick has archived it yet |
   * | `rescued` | it was changed without a mark, or the archive has lost it: it is marked now |
   * | `conflict` | it was written while it was evicted |
   * | `unknown` | the archive did not say whether it still has it |
   * | `unstable` | four times in a row its bytes were not those archived, without a mark: it stays until `dirty()` |
   * | `moved on` | another client changed it during this call: call again |
   * | `too large` | no request could bring it back |
   * | `unsupported` | its record is of another version of this package |
   */
  kept: Record<
    string,
    | ("dirty" | "missing" | "never archived" | "rescued" | "conflict" | "unknown" | "unstable" | "moved on")
    | ("too large" | "unsupported")
  >;
}

/** Options of `evict()`. */
export interface EvictOptions {
  /**
   * `true`: drops the value in Redis of a key that was written while it was evicted (`CONFLICT`). The archived value
   * stays and `ensureKs()` brings it back, so that the change can be repeated. `false`: such a key is `conflict`.
   *
   * @default {false}
   */
  discard?: boolean;
}

/** The arguments of `evict(...)`: options or none, then keys, or one array of keys. */
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
      else report.kept[key] = settled as EvictReport["kept"][string]; // a tick alone asks for idle keys
    }
  });
  if (failures.size > 0) throw failed("evict", failures, ["LOST"], "UNAVAILABLE");
  return report;
}

/** Evicts content that is the archived one; drops other content if `discard` says so and the archive has the value. */
async function settleConflict(context: Context, key: string, discard: boolean): Promise<EvictOutcome> {
  const { states: [state] } = await readState(context.index, [key]);
  const { record } = state!;
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
