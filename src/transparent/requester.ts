/**
 * The requester of a transparent client: each request is read, and goes the way that its commands need.
 * @module
 */
import type { Requester } from "@upstash/redis";
import { TundraError } from "../base/errors.ts";
import { runBatch } from "./batch.ts";
import { failedAnswer, ownFailure } from "./failures.ts";
import { runOne } from "./one.ts";
import type { Outcome, Request, RequestAnswer, Transparent } from "./parts.ts";
import { type Plan, planOf } from "./plan.ts";
import { readsOnly } from "./reads.ts";

/** Tells if the command cannot run in a script of Tundra's, and uses keys that the client looks after. */
function needsCompany({ ours, isAlone }: Plan): boolean {
  return isAlone && ours.length > 0;
}

/** Runs a command in a transaction with its mark; one that only reads needs none. */
async function runWithMark(transparent: Transparent, plan: Plan, request: Request): Promise<RequestAnswer> {
  const path = readsOnly(plan) ? "pipeline" : "multi-exec";
  const [outcome] = await runBatch(transparent, [plan], { ...request, path: [path] }, path);
  if (outcome instanceof TundraError) throw outcome;
  return outcome!;
}

/** Runs one command, however it came; `request` has it as the only one of its body. */
async function runAlone(transparent: Transparent, plan: Plan, request: Request): Promise<RequestAnswer> {
  if (needsCompany(plan)) return await runWithMark(transparent, plan, request);
  const [body] = request.body as unknown[][];
  return await runOne(transparent, plan, { ...request, path: undefined, body });
}

/** Runs a pipeline: what fails of a command alone takes the place of its answer, and the others are carried out. */
async function runPipeline(transparent: Transparent, request: Request): Promise<RequestAnswer[]> {
  const commands = request.body as unknown[][];
  const planned = commands.map((command): Plan | TundraError => {
    try {
      return planOf(command, transparent.isOurs);
    } catch (thrown) {
      return ownFailure(thrown, request.signal);
    }
  });
  const isPlan = (plan: Plan | TundraError): plan is Plan => !(plan instanceof TundraError);
  const plans = planned.filter(isPlan);
  const body = commands.filter((_, i) => isPlan(planned[i]!));
  const outcomes = plans.length === 0 && commands.length > 0
    ? []
    : await runBatch(transparent, plans, { ...request, body }, "pipeline");
  return planned.map((plan, i) => {
    const outcome: Outcome = isPlan(plan) ? outcomes.shift()! : plan;
    return outcome instanceof TundraError ? failedAnswer(commands[i]!, outcome) : outcome;
  });
}

/** Makes the requester. No I/O. */
export function transparentRequester(transparent: Transparent): Requester {
  const { inner, isOurs } = transparent;
  const answer = async (request: Request): Promise<unknown> => {
    const [path] = request.path ?? [];
    const isBatch = path === "pipeline" || path === "multi-exec";
    if ((path !== undefined && !isBatch) || !Array.isArray(request.body)) return await inner.request(request); // events
    const commands = (isBatch ? request.body : [request.body]) as unknown[][];
    // auto-pipelining sends single commands as pipelines of one
    if (path === "pipeline" && commands.length !== 1) return await runPipeline(transparent, request);
    const plans = commands.map((command) => planOf(command, isOurs));
    if (path === "multi-exec") return await runBatch(transparent, plans, request, path);
    const answered = await runAlone(transparent, plans[0]!, { ...request, body: commands });
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
