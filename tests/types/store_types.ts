/**
 * Types of a store: application code that compiles, and code that must not.
 * @module
 */
import {
  type DirtyOptions,
  type EvalQueue,
  type EvictOptions,
  memoryDatastore,
  type RedisOptions,
  type Status,
  tundraFromEnv,
  type TundraOptions,
  type TundraStore,
  tundraStore,
  type TundraWorker,
} from "@tundra/store";
import type { Redis } from "@upstash/redis";
import type { Assert, Equal } from "./equal.ts";

const redis = { url: "https://eu1-example.upstash.io", token: "secret" };
declare const store: TundraStore;
/** As `Deno.env.toObject()` returns them. */
declare const variables: { [name: string]: string };
/** As @types/node declares `process.env`. */
declare const processEnv: ProcessEnv;
interface ProcessEnv {
  [name: string]: string | undefined;
  TZ?: string;
}
/** As `wrangler types` declares a Worker's `env`. */
declare const workerEnv: WorkerEnv;
interface WorkerEnv {
  UPSTASH_REDIS_REST_URL: string;
  bucket: { head(key: string): Promise<unknown> };
}
/** One that declares no variable, as they are secrets. */
declare const bareEnv: BareEnv;
interface BareEnv {
  bucket: WorkerEnv["bucket"];
}
declare const unknownEnv: object;
declare const fixedKeys: readonly string[];
declare const constantKeys: readonly ["a", "b"];

/** Stores and their options. */
export function stores(): void {
  const made = tundraStore(memoryDatastore(), { redis });
  tundraStore(memoryDatastore(), { redis, tqname: "carts", redisTtlMs: 36_000_000, freezeDelayMs: 0, databaseId: "a" });
  tundraStore(memoryDatastore(), { redis, freezer: null });
  tundraFromEnv();
  tundraFromEnv({ env: { TUNDRA_S3_BUCKET: "cold" }, redisTtlMs: 36_000_000 });
  tundraFromEnv({ TUNDRA_S3_BUCKET: "cold" });
  tundraFromEnv({ TUNDRA_S3_BUCKET: "cold", AWS_REGION: "eu-central-1", HOST: undefined });
  tundraFromEnv(variables);
  tundraFromEnv(processEnv);
  tundraFromEnv(workerEnv);
  tundraFromEnv(unknownEnv);
  tundraFromEnv({ env: workerEnv, tqname: "carts" });
  tundraFromEnv({ env: bareEnv });
  const client: Redis = made.redis;
  client.get("a");

  // @ts-expect-error options must be there
  tundraStore(memoryDatastore());
  // @ts-expect-error redis must be there
  tundraStore(memoryDatastore(), {});
  // @ts-expect-error there is no option ttlMs
  tundraStore(memoryDatastore(), { redis, ttlMs: 36_000_000 });
  // @ts-expect-error a duration is a number
  tundraStore(memoryDatastore(), { redis, redisTtlMs: "10h" });
  // @ts-expect-error a datastore needs putKey and fetchKeys
  tundraStore({}, { redis });
  // @ts-expect-error the token must be there
  tundraStore(memoryDatastore(), { redis: { url: "https://eu1-example.upstash.io" } });
  // @ts-expect-error redis takes no unknown option
  tundraStore(memoryDatastore(), { redis: { ...redis, timeout: 5 } });
  // @ts-expect-error a client is no connection option
  tundraStore(memoryDatastore(), { redis: made.redis });
  // @ts-expect-error there is no option ttlMs
  tundraFromEnv({ redisTtlMs: 36_000_000, ttlMs: 1 });
  // @ts-expect-error there is no option redisTTLMs, and it is no variable either
  tundraFromEnv({ redisTTLMs: 36_000_000 });
  // @ts-expect-error nothing tells that this holds variables
  tundraFromEnv(bareEnv);
  // @ts-expect-error nor is an option with a string
  tundraFromEnv({ queue: "carts" });
  // @ts-expect-error variables and options are not mixed
  tundraFromEnv({ TUNDRA_S3_BUCKET: "cold", redisTtlMs: 36_000_000 });
  // @ts-expect-error redis comes from the variables
  tundraFromEnv({ redis, tqname: "carts" });
  // @ts-expect-error an environment is an object
  tundraFromEnv("production");
  // @ts-expect-error the client belongs to the store
  made.redis = client;
}

/** Keys: some, none, or one array, which may be readonly. */
export function keys(): void {
  for (const call of [store.ensureKs, store.dirty, store.evict, store.del, store.retryDead]) {
    call();
    call("a");
    call("a", "b");
    call(["a", "b"]);
    call(fixedKeys);
    call(constantKeys);
    call(...fixedKeys);
    // @ts-expect-error a key is a string
    call(1);
    // @ts-expect-error a key is a string, also in an array
    call([1]);
    // @ts-expect-error an array stands alone
    call(["a"], "b");
    // @ts-expect-error an array stands alone, also behind a key
    call("a", ["b"]);
    // @ts-expect-error undefined is no key
    call(undefined);
  }
}

/** Options of calls, before the keys. */
export function optionsOfCalls(tx: EvalQueue): void {
  store.dirty({ overwrite: true }, "a");
  store.dirty({ missing: "del" }, fixedKeys);
  store.dirtyIn(tx, "a");
  store.dirtyIn(tx, { missing: "throw" }, "a", "b");
  store.dirtyIn(store.redis.multi(), { overwrite: true }, fixedKeys);
  store.dirtyIn(store.redis.pipeline(), "a");
  store.evict({ discard: true }, "a", "b");
  store.deadLetters({ offset: 0, limit: 10 });

  // @ts-expect-error there is no option force
  store.dirty({ force: true }, "a");
  // @ts-expect-error missing is "throw" or "del"
  store.dirty({ missing: "delete" }, "a");
  // @ts-expect-error options stand before keys
  store.dirty("a", { overwrite: true });
  // @ts-expect-error there is no option force
  store.dirtyIn(tx, { force: true }, "a");
  // @ts-expect-error a pipeline comes first
  store.dirtyIn("a");
  // @ts-expect-error an array is no pipeline
  store.dirtyIn([], "a");
  // @ts-expect-error there is no option overwrite
  store.evict({ overwrite: true }, "a");
  // @ts-expect-error discard is a boolean
  store.evict({ discard: "yes" }, "a");
  // @ts-expect-error ensureKs takes no options
  store.ensureKs({ discard: true }, "a");
  // @ts-expect-error del takes no options
  store.del({ missing: "del" }, "a");
  // @ts-expect-error there is no option count
  store.deadLetters({ count: 10 });
  // @ts-expect-error status takes no argument
  store.status("a");
}

/** Ticks and workers. */
export function ticks(signal: AbortSignal): void {
  store.tick();
  store.tick({ maxKeys: 1, batchKeys: 1, deadlineMs: 1_000, maxSubrequests: 12, maxBytes: 1, leaseMs: 1_000, signal });
  store.tick({ nattempts: 3, retryBackoffMs: (attempt) => attempt * 1_000, onError: (error) => error.keys.length });
  const worker: TundraWorker = store.worker({ maxKeys: 1, throttleMs: 0, eoqBackoffMs: 1_000, autoStart: false });
  store.worker({ eoqBackoffMs: (n) => n * 1_000, monitor: ({ report, error }) => report?.frozen ?? error?.message });

  // @ts-expect-error there is no option limit
  store.tick({ limit: 1 });
  // @ts-expect-error a bound is a number
  store.tick({ maxKeys: "1" });
  // @ts-expect-error a backoff answers milliseconds
  store.tick({ retryBackoffMs: () => "1 s" });
  // @ts-expect-error throttleMs is a worker's
  store.tick({ throttleMs: 0 });
  // @ts-expect-error there is no option interval
  store.worker({ interval: 1 });
  // @ts-expect-error the loop itself says whether it runs
  worker.running = true;
}

/** Results, to the letter. */
export type Results = [
  Assert<Equal<ReturnType<TundraStore["ensureKs"]>, Promise<void>>>,
  Assert<Equal<ReturnType<TundraStore["dirty"]>, Promise<void>>>,
  Assert<Equal<ReturnType<TundraStore["dirtyIn"]>, void>>,
  Assert<Equal<ReturnType<TundraStore["del"]>, Promise<number>>>,
  Assert<Equal<ReturnType<TundraStore["retryDead"]>, Promise<number>>>,
  Assert<Equal<ReturnType<TundraStore["status"]>, Promise<Status>>>,
  Assert<Equal<ReturnType<TundraWorker["stop"]>, Promise<boolean>>>,
];

/** Options, to the letter. */
export type Options = [
  Assert<Equal<DirtyOptions, { overwrite?: boolean; missing?: "throw" | "del" }>>,
  Assert<Equal<EvictOptions, { discard?: boolean }>>,
  Assert<
    Equal<
      keyof TundraOptions,
      | "redis"
      | "tqname"
      | "freezer"
      | "redisTtlMs"
      | "minEvictBytes"
      | "evictable"
      | "freezeDelayMs"
      | "databaseId"
      | "maxBytesInFlight"
      | "lookInArchive"
      | "packBytes"
      | "maxPackedBytes"
      | "onEvent"
    >
  >,
  Assert<Equal<TundraOptions["redis"], RedisOptions>>,
  Assert<
    Equal<
      keyof TundraStore,
      | ("redis" | "ensureKs" | "dirty" | "dirtyIn" | "tick" | "worker" | "evict" | "del" | "status")
      | ("deadLetters" | "retryDead")
    >
  >,
];
