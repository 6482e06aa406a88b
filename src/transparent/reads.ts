/**
 * Commands that only read: they are sent as they are, and looked into if their answers are empty.
 * @module
 */
import type { TundraError } from "../base/errors.ts";
import { check, type Checked, type CheckFinding } from "../scripts/check.ts";
import { batches, keyBytes } from "../upstash/requests.ts";
import { ownFailure, partOf } from "./failures.ts";
import { bringBack, runGuarded } from "./guarded.ts";
import { touchIdle } from "./noted.ts";
import type { Outcome, Request, RequestAnswer, Transparent } from "./parts.ts";
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

/** Tells of a finding that the key's value, though it may be there, is not what was archived, or may not be. */
function isDoubtful({ needs }: CheckFinding): boolean {
  return needs === "reconcile" || needs === "unsupported";
}

/**
 * Reads, by one command or a pipeline of them, and runs those again whose answers do not prove that their keys are there.
 * What the checks have found evicted of these keys comes back first, all at once: else each command would be refused,
 * and bring back its own.
 */
export async function readFirst(transparent: Transparent, plans: Plan[], request: Request): Promise<Outcome[]> {
  const noting = noteUse(transparent, [...new Set(plans.flatMap(({ ours }) => ours))]);
  const answers = [await transparent.inner.request(request) as RequestAnswer | RequestAnswer[]].flat(); // one, or each
  const checked = await noting;
  const doubtful = new Set(checked.flatMap(({ findings }) => findings.filter(isDoubtful).map(({ key }) => key)));
  const isProved = plans.map((plan, i) =>
    plan.ours.every((key) => !doubtful.has(key)) && (plan.ours.length === 0 || proves(plan, answers[i]!))
  );
  const wanted = new Set(plans.flatMap(({ ours }, i) => isProved[i] ? [] : ours));
  const command = plans.length === 1 ? plans[0]!.name : "pipeline";
  const failures: TundraError[] = [];
  const { signal } = request;
  for (const { id, findings } of checked) {
    const evicted = findings.filter(({ key, needs }) => needs === "evicted" && wanted.has(key));
    if (evicted.length === 0) continue;
    await bringBack(transparent, command, { id, findings: evicted }).catch((thrown) => {
      failures.push(ownFailure(thrown, signal));
    });
  }
  return await Promise.all(plans.map(async (plan, i) => {
    if (isProved[i]) return answers[i]!;
    const failed = failures.map((failure) => partOf(failure, plan.ours)).find((failure) => failure !== undefined);
    return failed ?? await runGuarded(transparent, plan, { signal }).catch((thrown) => ownFailure(thrown, signal));
  }));
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
      if (idle.length > 0) await touchIdle(context, idle);
      const doubtful = new Set(findings.filter(isDoubtful).map(({ key }) => key));
      uses.note(due.filter((key) => !doubtful.has(key)));
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
