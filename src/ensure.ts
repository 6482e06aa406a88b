/**
 * ensureKs: evicted keys come back before they are used.
 *
 *   check      finds, in one request, the keys that need any of the following
 *   touch      notes the use of idle keys
 *   reconcile  settles keys that are there although their records say evicted
 *   bring back restores evicted keys, see bring_back.ts
 *
 * A key whose record changed meanwhile is checked again.
 * @module
 */
import { asTundraError, show, TundraError } from "./base/errors.ts";
import { bringBack } from "./bring_back.ts";
import { failed, forBatches, inRounds } from "./core/batches.ts";
import { compare } from "./core/compare.ts";
import type { Context } from "./core/context.ts";
import { checkIdentity } from "./core/identity.ts";
import { unsupportedRecord } from "./core/key_errors.ts";
import { leastEvicted } from "./core/policy.ts";
import { check, type Checked, type CheckFinding } from "./scripts/check.ts";
import { reconcile } from "./scripts/reconcile.ts";
import { touch } from "./scripts/touch.ts";
import { lookInArchive } from "./tick/hourly.ts";

type Failures = Map<string, TundraError>;

/**
 * Brings keys back; see {@linkcode TundraStore.ensureKs}.
 *
 * @param checked what a check has just found of these keys: if they fit into one request, it is not asked again
 */
export async function ensureKs(context: Context, keys: string[], checked?: Checked): Promise<void> {
  const failures: Failures = new Map(); // of keys
  const calls: Failures = new Map(); // of whole calls
  await forBatches(context, keys, calls, "ensure keys", async (batch) => {
    let known = batch.length === keys.length ? checked : undefined; // to the first round
    await inRounds("ensure", batch, failures, (waiting) => {
      const given = known;
      known = undefined;
      return ensureBatch(context, waiting, failures, given);
    });
  });
  if (calls.size > 0) {
    throw failed("ensure", new Map([...failures, ...calls]), ["LOST", "UNSUPPORTED", "UNAVAILABLE"], "UNAVAILABLE");
  }
  if (failures.size === 0) return;
  const onlyConflicts = [...failures.values()].every(({ code }) => code === "CONFLICT");
  throw failed("ensure", failures, [], onlyConflicts ? "CONFLICT" : "ENSURE_FAILED");
}

/** Runs one round; returns the keys that need another. */
async function ensureBatch(
  context: Context,
  keys: string[],
  failures: Failures,
  known?: Checked,
): Promise<string[]> {
  const { id, findings } = known ?? await check(context.index, keys, context.lookInArchive);
  if (await checkIdentity(context, id)) return keys;
  const needing = (needs: CheckFinding["needs"]) => findings.filter((finding) => finding.needs === needs);
  const again: string[] = [];

  for (const { key } of needing("unsupported")) failures.set(key, unsupportedRecord("ensure", key));

  const inUse = needing("touch").map(({ key }) => key);
  if (inUse.length > 0) {
    again.push(...await touch(context.index, inUse, (key) => leastEvicted(context, key)));
  }

  const there = needing("reconcile");
  if (there.length > 0) {
    const outcomes = await reconcile(context.index, there);
    for (const [i, { key, record }] of there.entries()) {
      if (outcomes[i] === "again") again.push(key);
      if (outcomes[i] !== "conflict") continue;
      try {
        const found = await compare(context, key, record);
        if (found === "again") again.push(key);
        else if (found !== "healed") failures.set(key, blindWrite(key));
      } catch (thrown) {
        failures.set(key, asTundraError(thrown, `ensure ${show(key)}`));
      }
    }
  }

  const unknown = needing("unknown");
  if (unknown.length > 0) {
    const nowMs = Number(unknown[0]!.record);
    again.push(...await lookInArchive(context, unknown.map(({ key }) => key), nowMs, failures));
  }

  again.push(...await bringBack(context, id, needing("evicted"), failures));
  return again;
}

function blindWrite(key: string): TundraError {
  return new TundraError(
    "CONFLICT",
    `Cannot ensure ${show(key)} as what is in Redis must be what was archived: it was written while evicted; ` +
      `evict({ discard: true }, ...) drops what was written: then call ensureKs() and repeat the change; ` +
      `or del() it, or mark it with { overwrite: true } to keep what was written`,
    { keys: [key] },
  );
}
