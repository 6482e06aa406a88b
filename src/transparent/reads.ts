/**
 * Commands that only read: they are sent as they are, and looked into if their answers are empty.
 * @module
 */
import { leastEvicted } from "../core/policy.ts";
import { check, type Checked } from "../scripts/check.ts";
import { touch } from "../scripts/touch.ts";
import { batches, keyBytes } from "../upstash/requests.ts";
import { bringBack, runGuarded } from "./guarded.ts";
import type { Request, RequestAnswer, Transparent } from "./parts.ts";
import type { Plan } from "./plan.ts";

/** Tells if the command changes nothing. */
export function readsOnly({ uses, deletes }: Plan): boolean {
  return !deletes && uses.every((use) => use === "r" || use === "-");
}

/** Tells if the command's answer shows whether all that it read was there. */
export function readsFirst(plan: Plan): boolean {
  return readsOnly(plan) && !plan.isAlone &&
    (plan.keys.length === 1 || plan.name === "mget" || plan.name === "json.mget");
}

/**
 * Reads, by one command or a pipeline of them, and runs those again whose answers do not prove that their keys are there.
 * What the checks have found evicted of these keys comes back first, all at once: else each command would be refused,
 * and bring back its own.
 */
export async function readFirst(transparent: Transparent, plans: Plan[], request: Request): Promise<RequestAnswer[]> {
  const noting = noteUse(transparent, [...new Set(plans.flatMap(({ ours }) => ours))]);
  const answers = [await transparent.inner.request(request) as RequestAnswer | RequestAnswer[]].flat(); // one, or each
  const checked = await noting;
  const isProved = plans.map((plan, i) => plan.ours.length === 0 || proves(plan, answers[i]!));
  const wanted = new Set(plans.flatMap(({ ours }, i) => isProved[i] ? [] : ours));
  const command = plans.length === 1 ? plans[0]!.name : "pipeline";
  for (const { id, findings } of checked) {
    const evicted = findings.filter(({ key, needs }) => needs === "evicted" && wanted.has(key));
    if (evicted.length > 0) await bringBack(transparent, command, { id, findings: evicted });
  }
  const { signal } = request;
  return await Promise.all(
    plans.map((plan, i) => isProved[i] ? answers[i]! : runGuarded(transparent, plan, { signal })),
  );
}

/**
 * Notes that keys are in use, if that is due: for each 1,000 of them one request, and one more for keys that have been
 * idle. A failure is no failure of the command: the key may leave Redis then, and comes back at its next use.
 *
 * @returns what its checks have found
 */
export async function noteUse({ context, uses }: Transparent, keys: string[]): Promise<Checked[]> {
  const all: Checked[] = [];
  try {
    for (const due of batches(uses.due(keys), keyBytes, context.connection.requestLimit())) {
      const checked = await check(context.index, due);
      all.push(checked);
      const { findings } = checked;
      const idle = findings.filter(({ needs }) => needs === "touch").map(({ key }) => key);
      if (idle.length > 0) await touch(context.index, idle, (key) => leastEvicted(context, key));
      uses.note(due);
    }
  } catch {
    // tried again at the next use
  }
  return all;
}

/** Tells if an answer can only come from keys that are there. */
export function proves({ name }: Plan, { result, error }: RequestAnswer): boolean {
  if (error !== undefined) return !/no such key|NOGROUP|could not perform this operation on a key/i.test(error);
  if (name === "mget" || name === "json.mget") return (result as unknown[]).every((each) => each !== null);
  if (name.endsWith("scan")) return isSomething((result as unknown[])[1]);
  if (name === "type") return result !== "none";
  return isSomething(result);
}

/** Tells if a reply says more than that a key is missing: 0, -1 and -2, nothing and empty lists do not. */
function isSomething(result: unknown): boolean {
  if (Array.isArray(result)) return result.some(isSomething);
  return typeof result === "number"
    ? result > 0 || result < -2
    : result !== null && result !== undefined && result !== "";
}
