/**
 * Stores on the model of Redis, whose clock a test sets: days pass at once.
 * @module
 */
import { type Datastore, memoryDatastore, type TundraOptions, type TundraStore, tundraStore } from "../../../mod.ts";
import { answerFrom, responseOf } from "./endpoint.ts";
import { modelRedis } from "./redis.ts";

/** Stores on a Redis whose clock the test sets; `beside` is one on another datastore, `open` makes one with options. */
export function storeOnModel(
  datastore: Datastore = memoryDatastore(),
  other: Datastore = datastore,
): {
  store: TundraStore;
  beside: TundraStore;
  open(options: Partial<TundraOptions>): TundraStore;
  pass(us: number): void;
  nowMs(): number;
} {
  let nowUs = 1_800_000_000_000_000;
  const redis = modelRedis(() => nowUs += 10);
  const answer: typeof fetch = (_url, init) => Promise.resolve(responseOf(answerFrom(redis, init!.body as string)));
  const connection = { url: "http://redis.model", token: "token", fetch: answer, enableAutoPipelining: false };
  const open = (options: Partial<TundraOptions>, each = datastore) =>
    tundraStore(each, { ...options, redis: connection });
  return {
    store: open({}),
    beside: open({}, other),
    open,
    pass: (us) => nowUs += us,
    nowMs: () => Math.floor(nowUs / 1000),
  };
}
