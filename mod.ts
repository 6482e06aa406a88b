/**
 * Tundra moves Redis keys that are not in use to object storage, and brings them back before the application reads
 * them.
 *
 * - `dirty()` queues changed keys for archiving;
 * - `tick()`, called by a cron trigger, archives a bounded batch, and evicts what is archived and idle;
 * - `ensureKs()` brings keys back before they are used;
 * - `del()` deletes keys for good.
 *
 * Redis is Upstash over REST; the archive is S3 or anything with two functions. Only `fetch` is needed: it runs on
 * Deno, Bun, Node, Cloudflare Workers and Vercel Edge.
 *
 * @example
 * ```ts
 * import { s3Datastore, tundraStore } from "@tundra/store";
 *
 * const store = tundraStore(
 *   s3Datastore({ region: "eu-central-1", bucket: "cold", accessKeyId: "id", secretAccessKey: "secret" }),
 *   { redis: { url: "https://eu1-example.upstash.io", token: "secret" }, redisTtlMs: 7 * 24 * 60 * 60 * 1000 },
 * );
 *
 * // A request handler: bring back, use, mark.
 * export async function addToCart(cart: string, article: string): Promise<void> {
 *   await store.ensureKs(cart);
 *   await store.redis.hincrby(cart, article, 1);
 *   await store.dirty(cart);
 * }
 *
 * // A cron trigger, each minute.
 * export async function everyMinute(): Promise<void> {
 *   const report = await store.tick();
 *   console.log(report.frozen, report.evicted, report.remaining);
 * }
 * ```
 *
 * @module
 */
export { type DirtyOptions } from "./src/dirty.ts";
export type { EvalQueue } from "./src/dirty_in.ts";
export { tundraStore } from "./src/store.ts";
export type { TickCounts, TundraCall, TundraEvent } from "./src/core/events.ts";
export type { Totals } from "./src/scripts/status.ts";
export type { Status, TundraOptions, TundraStore } from "./src/store_interface.ts";
export { type TundraEnv, type TundraEnvOptions, tundraFromEnv, type TundraVariable } from "./src/env.ts";
export type { EvictOptions, EvictReport } from "./src/evict.ts";
export type { DeadLetter, DeadLetterOptions } from "./src/dead_letters.ts";
export type { TickOptions, TickReport } from "./src/tick/options.ts";
export type { TundraWorker, WorkerEvent, WorkerOptions, WorkerStats } from "./src/tick/worker.ts";
export type { Datastore, DatastoreCallOptions, ListedPage, PutOptions, RangeRead } from "./src/datastores/datastore.ts";
export { type MemoryDatastore, memoryDatastore } from "./src/datastores/memory.ts";
export { type S3Credentials, s3Datastore, type S3DatastoreOptions } from "./src/datastores/s3/datastore.ts";
export type { Freezer, FrozenObject } from "./src/archive/freezer.ts";
export { deflateFreezer } from "./src/freezers/deflate.ts";
export type { RedisOptions } from "./src/upstash/connection.ts";
export { fromUrlsafe, toUrlsafe } from "./src/base/keys.ts";
export { notFound, TundraError, type TundraErrorCode, type TundraErrorDetails } from "./src/base/errors.ts";
