/**
 * A backlog drained by Cloudflare Queues. A cron trigger starts chains of messages: each message is one tick, and a tick
 * that is not done sends the next message. So the work is not bound to one invocation, and several ticks run at once.
 *
 *   GET /status  how much waits
 */
import { type TundraStore, tundraStore } from "@tundra/store";
import { type R2BucketLike, r2Datastore } from "@tundra/store/cloudflare";

/** One chain: its ticks go on until this time, when the next cron event starts new ones. */
interface Chain {
  until: number;
}

/** The part of a queue's binding that is used. */
interface DrainQueue {
  send(body: Chain, options?: { delaySeconds?: number }): Promise<unknown>;
  sendBatch(messages: { body: Chain }[]): Promise<unknown>;
}

interface Env {
  ARCHIVE: R2BucketLike;
  DRAIN: DrainQueue;
  UPSTASH_REDIS_REST_URL: string;
  UPSTASH_REDIS_REST_TOKEN: string;
  /** Keys of one tick. */
  MAX_KEYS?: string;
}

const MINUTE_MS = 60_000;
/** A further chain for so many due keys, and no more chains than `max_concurrency` in wrangler.jsonc. */
const KEYS_OF_CHAIN = 20_000;
const MOST_CHAINS = 4;

/** One for each event: a Worker's events must not share what does I/O, and a store is cheap. */
function storeOf(env: Env): TundraStore {
  return tundraStore(r2Datastore(env.ARCHIVE), {
    redis: { url: env.UPSTASH_REDIS_REST_URL, token: env.UPSTASH_REDIS_REST_TOKEN },
    redisTtlMs: 7 * 24 * 60 * MINUTE_MS,
  });
}

export default {
  async fetch(_request: Request, env: Env): Promise<Response> {
    return Response.json(await storeOf(env).status());
  },

  async scheduled(_event: unknown, env: Env): Promise<void> {
    const { due } = await storeOf(env).status();
    const chains = Math.min(MOST_CHAINS, 1 + Math.floor(due / KEYS_OF_CHAIN));
    const until = Date.now() + MINUTE_MS - 5_000;
    await env.DRAIN.sendBatch(Array.from({ length: chains }, () => ({ body: { until } })));
  },

  // A tick that throws has its message delivered again. That, and a message that comes twice, is one tick more.
  async queue({ messages }: { messages: { body: Chain }[] }, env: Env): Promise<void> {
    for (const { body } of messages) {
      const maxKeys = Number(env.MAX_KEYS ?? 5_000);
      const { errors, ...report } = await storeOf(env).tick({ maxKeys, maxSubrequests: 900, deadlineMs: 20_000 });
      console.log(JSON.stringify({ tundra: "tick", ...report, errors: errors.length }));
      if (report.done || Date.now() >= body.until) continue;
      await env.DRAIN.send(body, { delaySeconds: report.frozen > 0 ? 0 : 10 });
    }
  },
};
