/**
 * One command: the way that it needs.
 * @module
 */
import { runGuarded } from "./guarded.ts";
import { countPresent, listKeyspace, readExpiry } from "./keyspace.ts";
import type { Request, RequestAnswer, Transparent } from "./parts.ts";
import type { Plan } from "./plan.ts";
import { readFirst, readsFirst, readsOnly } from "./reads.ts";

/** Runs one command, which is no script. */
export async function runOne(transparent: Transparent, plan: Plan, request: Request): Promise<RequestAnswer> {
  const { inner, ensure, mark, store } = transparent;
  const { name, keys } = plan;
  const ours = keys.filter((_, i) => plan.uses[i] !== "-");
  if (["scan", "keys", "randomkey"].includes(name)) return await listKeyspace(transparent, plan, request);
  if (ours.length === 0 || (!ensure && (readsOnly(plan) || !mark))) return await inner.request(request);
  if (plan.deletes) return await remove(transparent, plan, ours, request);
  if (name === "exists") return await countPresent(transparent, plan, request);
  if (["ttl", "pttl", "expiretime", "pexpiretime"].includes(name)) {
    const known = await readExpiry(transparent, plan, request);
    if (known !== undefined) return known;
    await store.ensureKs(ours);
    return await inner.request(request);
  }
  return readsFirst(plan) ? await readFirst(transparent, plan, request) : await runGuarded(transparent, plan, request);
}

async function remove(
  { store, inner }: Transparent,
  plan: Plan,
  ours: string[],
  request: Request,
): Promise<RequestAnswer> {
  const others = plan.keys.filter((key) => !ours.includes(key));
  const deleted = await store.del(ours);
  if (others.length === 0) return { result: deleted, error: undefined };
  const answer = await inner.request<number>({ ...request, body: [plan.name, ...others] });
  return answer.error === undefined ? { ...answer, result: deleted + answer.result! } : answer;
}
