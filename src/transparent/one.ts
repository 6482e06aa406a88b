/**
 * One command: the way that it needs.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { runGuarded } from "./guarded.ts";
import { countPresent, listKeyspace, readExpiry, withOthers } from "./keyspace.ts";
import type { Request, RequestAnswer, Transparent } from "./parts.ts";
import type { Plan } from "./plan.ts";
import { readFirst, readsFirst, readsOnly } from "./reads.ts";

/** Runs one command, which is no script. */
export async function runOne(transparent: Transparent, plan: Plan, request: Request): Promise<RequestAnswer> {
  const { inner, ensure, mark, store } = transparent;
  const { name, ours } = plan;
  if (["scan", "keys", "randomkey"].includes(name)) return await listKeyspace(transparent, plan, request);
  if (ours.length === 0) return await inner.request(request);
  if (plan.deletes) return await withOthers(transparent, plan, await store.del(ours), request);
  if (!ensure && (readsOnly(plan) || !mark)) return await inner.request(request);
  if (name === "exists") return await countPresent(transparent, plan, request);
  if (["ttl", "pttl", "expiretime", "pexpiretime"].includes(name)) {
    const known = await readExpiry(transparent, plan, request);
    if (known !== undefined) return known;
    await store.ensureKs(ours);
    return await inner.request(request);
  }
  if (!readsFirst(plan)) return await runGuarded(transparent, plan, request);
  const [outcome] = await readFirst(transparent, [plan], request);
  if (outcome instanceof TundraError) throw outcome;
  return outcome!;
}
