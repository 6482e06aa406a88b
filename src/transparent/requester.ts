/**
 * The requester of a transparent client: each request is read, and goes the way that its commands need.
 * @module
 */
import type { Requester } from "@upstash/redis";
import { runBatch } from "./batch.ts";
import { runOne } from "./one.ts";
import type { Request, RequestAnswer, Transparent } from "./parts.ts";
import { type Plan, planOf } from "./plan.ts";
import { readsOnly } from "./reads.ts";

/** Tells if the command cannot run in a script of Tundra's, and uses keys that the client looks after. */
function needsCompany({ ours, isAlone }: Plan): boolean {
  return isAlone && ours.length > 0;
}

/** Runs a command in a transaction with its mark; one that only reads needs none. */
async function runWithMark(transparent: Transparent, plan: Plan, request: Request): Promise<RequestAnswer> {
  const path = readsOnly(plan) ? "pipeline" : "multi-exec";
  const [answer] = await runBatch(transparent, [plan], { ...request, path: [path] }, path);
  return answer!;
}

/** Makes the requester. No I/O. */
export function transparentRequester(transparent: Transparent): Requester {
  const { inner, isOurs } = transparent;
  const answer = async (request: Request): Promise<unknown> => {
    const [path] = request.path ?? [];
    const isBatch = path === "pipeline" || path === "multi-exec";
    if ((path !== undefined && !isBatch) || !Array.isArray(request.body)) return await inner.request(request); // events
    const commands = (isBatch ? request.body : [request.body]) as unknown[][];
    const plans = commands.map((command) => planOf(command, isOurs));
    const [plan] = plans;
    // auto-pipelining sends single commands as pipelines of one
    const isOne = plan !== undefined && commands.length === 1 && path !== "multi-exec";
    if (!isOne) return await runBatch(transparent, plans, request, isBatch ? path : "multi-exec");
    const answered = needsCompany(plan)
      ? await runWithMark(transparent, plan, { ...request, body: commands })
      : await runOne(transparent, plan, { ...request, path: undefined, body: commands[0] });
    return isBatch ? [answered] : answered;
  };
  return {
    get readYourWrites() {
      return inner.readYourWrites;
    },
    set readYourWrites(value) {
      inner.readYourWrites = value;
    },
    get upstashSyncToken() {
      return inner.upstashSyncToken;
    },
    set upstashSyncToken(value) {
      inner.upstashSyncToken = value;
    },
    async request<T>(request: Request): Promise<{ result?: T; error?: string }> {
      try {
        return await answer(request) as { result?: T; error?: string };
      } catch (thrown) {
        request.signal?.throwIfAborted(); // as the client's own requester rejects
        throw thrown;
      }
    },
  };
}
