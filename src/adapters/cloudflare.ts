/**
 * Tundra on Cloudflare Workers: a cron trigger that ticks, and an archive in R2.
 *
 * @example A Worker
 * ```ts
 * import { tundraStore, type TundraStore } from "@tundra/store";
 * import { type R2BucketLike, r2Datastore, scheduledHandler } from "@tundra/store/cloudflare";
 *
 * interface Env {
 *   ARCHIVE: R2BucketLike;
 *   UPSTASH_REDIS_REST_URL: string;
 *   UPSTASH_REDIS_REST_TOKEN: string;
 * }
 *
 * // A store is cheap: one for each request. On Workers nothing that does I/O may be shared between requests.
 * function storeOf(env: Env): TundraStore {
 *   return tundraStore(r2Datastore(env.ARCHIVE), {
 *     redis: { url: env.UPSTASH_REDIS_REST_URL, token: env.UPSTASH_REDIS_REST_TOKEN },
 *     redisTtlMs: 7 * 24 * 60 * 60 * 1000,
 *   });
 * }
 *
 * export const worker = {
 *   async fetch(request: Request, env: Env): Promise<Response> {
 *     const store = storeOf(env);
 *     const key = "cart:" + new URL(request.url).pathname.slice(1);
 *     await store.ensureKs(key);
 *     await store.redis.hincrby(key, "apples", 1);
 *     await store.dirty(key);
 *     return Response.json(await store.redis.hgetall(key));
 *   },
 *   scheduled: scheduledHandler(storeOf),
 * };
 * // and at the end of the Worker's main module: export default worker
 * ```
 *
 * @module
 */
import { checkFunction } from "../base/arguments.ts";
import { ignoreErrors } from "../base/callbacks.ts";
import { asTundraError, badArgument } from "../base/errors.ts";
import type { TundraStore } from "../store_interface.ts";
import { checkTickOptions, type TickOptions } from "../tick/options.ts";

export { type R2BucketLike, r2Datastore, type R2DatastoreOptions, type R2UploadLike } from "../datastores/r2.ts";

/** Options of {@linkcode scheduledHandler}: those of each tick, and of its log. */
export interface ScheduledOptions extends TickOptions {
  /**
   * Called with one line of JSON for each tick. An error that it throws is ignored.
   *
   * @default {console.log}
   */
  log?: (line: string) => void;
}

/** The event that a Worker's `scheduled()` gets. */
export interface ScheduledEvent {
  /** The trigger's pattern. */
  readonly cron?: string;
  /** The time at which it was due: milliseconds since 1970. */
  readonly scheduledTime?: number;
}

/** The context that a Worker's `scheduled()` gets. */
export interface ScheduledContext {
  /** Keeps the Worker alive until the promise has settled. */
  waitUntil(promise: Promise<unknown>): void;
}

/**
 * The free plan allows 50 sub-requests; a few are left for the store's own I/O, such as a secret's or a log's. A cron
 * event may take 15 minutes: a tick ends before the next minute's event.
 *
 * @see https://developers.cloudflare.com/workers/platform/limits/
 */
const DEFAULTS = { maxSubrequests: 45, deadlineMs: 50_000 };
/** A log line is cut off at some kilobytes. */
const MAX_ERRORS = 5;

/**
 * A Worker's `scheduled` handler: each cron event runs one tick. Any number of events may overlap or come twice.
 *
 * A tick makes at most 45 sub-requests unless `maxSubrequests` says otherwise: the free plan allows 50. That is some 35
 * values above `maxPackedBytes`, or 5,000 smaller ones, which share packs; on a paid plan (10,000) pass 1,000 or more.
 * It begins nothing after 50 s unless `deadlineMs` says otherwise: a cron event may take 15 minutes, and this suits a
 * trigger each minute.
 *
 * Its outcome is logged as one line of JSON: the report with its first five errors, or `{ "ok": false, "code",
 * "message" }`. In the latter case the event fails too, so that the dashboard shows it.
 *
 * @param store makes the store of one event from the Worker's bindings
 * @returns the handler; it rejects with the TundraError of a tick that failed as a whole
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { scheduledHandler } from "@tundra/store/cloudflare";
 *
 * export const scheduled = scheduledHandler((env: object) => tundraFromEnv(env), { maxSubrequests: 1_000 });
 * ```
 */
export function scheduledHandler<Env>(
  store: (env: Env) => TundraStore | Promise<TundraStore>,
  options: ScheduledOptions = {},
): (event: ScheduledEvent, env: Env, context: ScheduledContext) => Promise<void> {
  const what = "make a scheduled handler";
  if (typeof store !== "function") throw badArgument(what, "store", "a function (env) => store", typeof store);
  const { log = (line: string) => console.log(line), ...given } = options;
  checkFunction(what, "log", log);
  const tickOptions = { ...DEFAULTS, ...given };
  checkTickOptions(tickOptions, what);

  const run = async (event: ScheduledEvent, env: Env): Promise<void> => {
    const say = (outcome: object) =>
      ignoreErrors(() =>
        log(JSON.stringify({ tundra: "tick", cron: event?.cron, at: event?.scheduledTime, ...outcome }))
      );
    try {
      const { errors, ...report } = await (await store(env)).tick(tickOptions);
      say({ ok: true, ...report, errors: errors.slice(0, MAX_ERRORS) });
    } catch (thrown) {
      const { code, message } = asTundraError(thrown, "tick");
      say({ ok: false, code, message });
      throw thrown;
    }
  };
  return (event, env, context) => {
    const ended = run(event, env);
    context.waitUntil(ended);
    return ended;
  };
}
