/**
 * The life of one key, on a local Redis, Upstash endpoint and S3 that this file starts: `deno run -A examples/quickstart.ts`.
 * With databases of your own, what remains of it is between the two lines.
 * @module
 */
import { s3Datastore, tundraStore } from "@tundra/store";
import { localStack } from "@tundra/store/testing";

const stack = await localStack();

try {
  // ----------------------------------------------------------------------------------------------------------------
  const store = tundraStore(s3Datastore(stack.s3), { redis: stack.redis, redisTtlMs: 7 * 24 * 60 * 60 * 1000 });

  // a request: bring back what it uses, change it, say so
  await store.ensureKs("cart:7");
  await store.redis.hset("cart:7", { apples: 3, pears: 1 });
  await store.dirty("cart:7");

  // the cron trigger
  const report = await store.tick();
  console.log(`archived: ${report.frozen}, done: ${report.done}`);

  // a week without use later, a tick does this
  const { evicted } = await store.evict("cart:7");
  console.log(`evicted: ${evicted}, in Redis: ${await store.redis.exists("cart:7")}`);

  // the next request
  await store.ensureKs("cart:7");
  console.log("back:", JSON.stringify(await store.redis.hgetall("cart:7")));

  await store.del("cart:7");
  await store.ensureKs("cart:7");
  console.log(`deleted, in Redis: ${await store.redis.exists("cart:7")}`);
  // ----------------------------------------------------------------------------------------------------------------
} finally {
  await stack.stop();
}
