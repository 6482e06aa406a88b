/**
 * The requester of a transparent client: each request is read, and goes the way that its commands need.
 * @module
 */
import type { Requester } from "@upstash/redis";
import { runBatch } from "./batch.ts";
import { runOne } from "./one.ts";
import type { Request, Transparent } from "./parts.ts";
import { planOf } from "./plan.ts";

/** Lua passes so many arguments to a command: it ends near 8,000. */
const MOST_ARGUMENTS = 7_000;

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
    const answered = plan.isAlone || plan.words.length > MOST_ARGUMENTS
      ? (await runBatch(transparent, plans, { ...request, path: ["multi-exec"], body: commands }, "multi-exec"))[0]!
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
