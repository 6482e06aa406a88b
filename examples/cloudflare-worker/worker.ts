/**
 * Shopping carts on Cloudflare Workers: in Redis while they are used, in R2 once they are not.
 *
 *   GET    /carts/ID                   the cart
 *   POST   /carts/ID?article=A&count=N puts N of article A into it
 *   DELETE /carts/ID                   forgets it: paid
 *   GET    /status                     how much waits
 */
import { TundraError, type TundraStore, tundraStore } from "@tundra/store";
import { type R2BucketLike, r2Datastore, scheduledHandler } from "@tundra/store/cloudflare";

interface Env {
  ARCHIVE: R2BucketLike;
  UPSTASH_REDIS_REST_URL: string;
  UPSTASH_REDIS_REST_TOKEN: string;
}

const WEEK_MS = 7 * 24 * 60 * 60 * 1000;

/** One for each request: a Worker's requests must not share what does I/O, and a store is cheap. */
function storeOf(env: Env): TundraStore {
  return tundraStore(r2Datastore(env.ARCHIVE), {
    redis: { url: env.UPSTASH_REDIS_REST_URL, token: env.UPSTASH_REDIS_REST_TOKEN },
    redisTtlMs: WEEK_MS,
  });
}

async function cart(store: TundraStore, id: string, request: Request, query: URLSearchParams): Promise<Response> {
  const key = `cart:${id}`;
  if (request.method === "DELETE") return Response.json({ deleted: await store.del(key) });
  await store.ensureKs(key); // comes back from R2 if it was evicted
  if (request.method === "POST") {
    const article = query.get("article");
    const count = Number(query.get("count") ?? 1);
    if (!article || !Number.isInteger(count)) return new Response("which article, how many?\n", { status: 400 });
    const tx = store.redis.multi(); // the change and its mark in one request
    tx.hincrby(key, article, count);
    store.dirtyIn(tx, key);
    await tx.exec();
  }
  return Response.json(await store.redis.hgetall(key) ?? {});
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const store = storeOf(env);
    try {
      const id = /^\/carts\/([\w-]{1,100})$/.exec(pathname)?.[1];
      if (id) return await cart(store, id, request, searchParams);
      if (pathname === "/status") return Response.json(await store.status());
      return new Response("GET, POST or DELETE /carts/ID\n", { status: 404 });
    } catch (error) {
      if (!(error instanceof TundraError)) throw error;
      return Response.json({ error: error.code }, { status: error.retryable ? 503 : 500 });
    }
  },

  scheduled: scheduledHandler(storeOf),
};
