/**
 * A client that ensures and marks by itself: see {@linkcode transparentRedis}.
 *
 * @example
 * ```ts
 * import { memoryDatastore, tundraStore } from "@tundra/store";
 * import { localStack } from "@tundra/store/testing";
 * import { transparentRedis } from "@tundra/store/transparent";
 *
 * const stack = await localStack();
 * const store = tundraStore(memoryDatastore(), { redis: stack.redis });
 * const redis = transparentRedis(store);
 *
 * await redis.hset("user:1", { name: "Ada" }); // marked in the same step
 * await store.tick();
 * await store.evict("user:1");
 * console.log(await redis.hget("user:1", "name")); // Ada
 * await stack.stop();
 * ```
 *
 * @module
 */
export { type TransparentOptions, transparentRedis } from "./client.ts";
export type { TransparentEvent } from "./parts.ts";
