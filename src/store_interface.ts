/**
 * The store as applications see it: its options, its calls, its status.
 * @module
 */
import type { Redis } from "@upstash/redis";
import type { Freezer } from "./archive/freezer.ts";
import type { DeadLetter, DeadLetterOptions } from "./dead_letters.ts";
import type { DirtyOptions } from "./dirty.ts";
import type { EvalQueue } from "./dirty_in.ts";
import type { EvictOptions, EvictReport } from "./evict.ts";
import type { TickOptions, TickReport } from "./tick/options.ts";
import type { TundraWorker, WorkerOptions } from "./tick/worker.ts";
import type { RedisOptions } from "./upstash/connection.ts";

/** Options of {@linkcode tundraStore}. */
export interface TundraOptions {
  /** How to reach Redis: an Upstash database's REST URL and token, and options of the `@upstash/redis` client. */
  redis: RedisOptions;
  /** Queue name: 1 to 64 characters `A-Z a-z 0-9 _ -`, default `"default"`. Stores with other names share nothing. */
  tqname?: string;
  /** What archive objects go through, in order. Default `deflateFreezer()`; `null` stores records as they are. */
  freezer?: Freezer | Freezer[] | null;
  /** Evict an archived key this many milliseconds after its last use: at least 36,000,000 (10 h). Absent: never. */
  redisTtlMs?: number;
  /**
   * A mark is due this many milliseconds later: 0 to 43,200,000 (12 h), default 0. A key that changes all the time is
   * archived once in this time; what it costs is that much more to lose should Redis itself lose data.
   */
  freezeDelayMs?: number;
  /**
   * The name of this Redis database: 1 to 128 characters `A-Z a-z 0-9 . _ : -`, default its REST URL's host. The index
   * carries it, so that a copy of the database cannot work on the original's archive. Give it one if the same database is
   * reached by several URLs, such as a proxy's; never give two databases the same.
   */
  databaseId?: string;
  /**
   * Bytes of values that one `ensureKs()` has in memory at once, from their fetch until they are restored: at least
   * 1,048,576, default 16,777,216 (16 MiB). A value that is larger comes alone. With all that is made of them on their way
   * the default takes some 60 MB of memory, and fits a Worker; more fetches large values faster.
   */
  maxBytesInFlight?: number;
  /**
   * Does `ensureKs()` look in the archive for keys of which Redis knows nothing, no value and no record? Default `false`:
   * they count as never archived. `true`: one whose newest object holds a value is `LOST`, as Redis has lost its record; it
   * is not brought back, as it may have been deleted. Costs a listing for each such key at each `ensureKs()`, and a fetch
   * for one that was archived; `del()` of such a key archives a tombstone and lists. Needs a datastore that lists.
   */
  lookInArchive?: boolean;
}

/** How much waits. */
export interface Status {
  /** Keys with a change that is not archived yet, dead ones included. */
  dirty: number;
  /** Of those: may be claimed now. */
  due: number;
  /** Keys that a tick looks at for eviction: clean ones, and some that have become dirty or expired since. */
  idle: number;
  /**
   * Keys that are archived and, as far as their records say, in Redis: also those that have changed since, and those that were
   * deleted behind Tundra's back. What has expired counts until its objects are deleted, two days later.
   */
  resident: number;
  /** Keys that have left Redis and are brought back by `ensureKs()`. What has expired meanwhile counts for two days more. */
  evicted: number;
  /** Keys that ran out of attempts; see `deadLetters()`. */
  dead: number;
  /** Removed and expired keys with objects in the archive that are to be deleted by now. */
  purge: number;
  /** Milliseconds for which the oldest due key has been waiting; 0: none is due. */
  oldestDueMs: number;
  /** When a tick last began, by Redis' clock, in milliseconds since 1970; 0: never. */
  lastTickMs: number;
  /** Since the beginning. */
  totals: {
    /** Values archived. */
    frozen: number;
    /** Keys that left Redis. */
    evicted: number;
    /** Keys brought back. */
    restored: number;
    /** Keys found changed without a mark, and marked. */
    rescued: number;
    /** Keys that were removed on purpose and whose removal was archived. */
    removed: number;
    /** Bytes of the values' archive objects when they were put. What the archive holds now is not known: old versions stay. */
    bytes: number;
  };
}

/**
 * Hot keys in Redis, cold keys in an archive. Wherever keys stand, one array of keys is taken too; without keys a call
 * resolves without a request. More than 1,000 keys travel in several requests. Costs are requests and billable commands.
 */
export interface TundraStore {
  /** The `@upstash/redis` client on the same connection; on a database with read regions an application must use it. */
  readonly redis: Redis;

  /**
   * Brings keys back into Redis that were evicted, and keeps those in use there. A key that was never archived, was
   * deleted or has expired is no error.
   *
   * Cost: 1 request, 4 commands where all keys are resident; for n evicted keys 2 requests, n fetches and 2 n + 12
   * commands (a command more for each key with an expiry of its own).
   *
   * @throws TundraError after all keys that can be brought back are there: `CONFLICT` where keys were written while
   * evicted, `ENSURE_FAILED` for others (`causes`: `LOST`, `CORRUPT`, `UNAVAILABLE`, `UNSUPPORTED`), `UNAVAILABLE` where
   * Redis cannot be asked, `LOST` where the index is gone, `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * await store.ensureKs("cart:7", "user:1");
   * const cart = await store.redis.hgetall("cart:7");
   * ```
   */
  ensureKs(...keys: string[] | [readonly string[]]): Promise<void>;

  /**
   * Marks keys that have changed. All that exist are marked before it throws for the others.
   *
   * Cost: 1 request, 6 commands.
   *
   * @throws TundraError `MISSING`, `CONFLICT`, `UNAVAILABLE` (`keys` names all that are not marked), `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * await store.redis.hset("cart:7", { apples: 3 });
   * await store.dirty("cart:7");
   * await store.redis.lpop("jobs");
   * await store.dirty({ missing: "del" }, "jobs");
   * ```
   */
  dirty(...keys: string[] | [readonly string[]]): Promise<void>;
  /** With options: see {@linkcode DirtyOptions}. */
  dirty(options: DirtyOptions, ...keys: string[] | [readonly string[]]): Promise<void>;

  /**
   * Queues the mark on a pipeline or a transaction of `@upstash/redis`: a write and its mark in one request. The results
   * of `exec()` hold no entry for it; `exec()` rejects as `dirty()` would (the other commands took effect).
   *
   * In a transaction, or where the server is not known to lock by key, the script runs under the global lock.
   *
   * Cost: no request of its own, 6 commands.
   *
   * @throws TundraError `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * const tx = store.redis.multi();
   * tx.hset("cart:7", { apples: 3 });
   * store.dirtyIn(tx, "cart:7");
   * await tx.exec();
   * ```
   */
  dirtyIn(pipeline: EvalQueue, ...keys: string[] | [readonly string[]]): void;
  /** With options: see {@linkcode DirtyOptions}. `overwrite` acts at once here: there is no looking first. */
  dirtyIn(pipeline: EvalQueue, options: DirtyOptions, ...keys: string[] | [readonly string[]]): void;

  /**
   * Archives what is due and evicts what is idle, within bounds; for a cron trigger. Any number may run at once.
   *
   * Cost, for a batch of n keys: 3 requests, n uploads, 2 n + 21 commands (a command more for each key with an expiry of
   * its own); with `redisTtlMs` a command more, and to evict n keys 2 requests and 2 n + 11 commands. Once
   * an hour 3 requests, 2 commands and a listing more, to see whether Redis has lost records or removes keys by itself.
   *
   * @throws TundraError where nothing could be claimed: `UNAVAILABLE`, `LOST`; `BAD_ARGUMENT`. One key's failure is in the report
   * @example
   * ```ts ignore
   * const report = await store.tick({ deadlineMs: 10_000 });
   * console.log(report.frozen, report.evicted, report.done);
   * ```
   */
  tick(options?: TickOptions): Promise<TickReport>;

  /**
   * Runs `tick()` in a loop, for processes that live long. It survives servers that are away, and says so to `monitor`.
   *
   * @throws TundraError `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * const worker = store.worker({ throttleMs: 1_000 });
   * await worker.stop();
   * ```
   */
  worker(options?: WorkerOptions): TundraWorker;

  /**
   * Evicts keys now, but only what is provably archived; `kept` says why others stay. Right after a commit it can lose to
   * a failover of Redis between the two, as asynchronous replication may forget the commit; a tick evicts only what was
   * archived at least an hour ago, so it loses only to a failover that goes back by more than that (and `leaseMs`).
   *
   * Cost: 1 request, 2 n + 9 commands; for m keys archived over a day ago one more, m questions to the archive, and m + 9.
   *
   * @throws TundraError `UNAVAILABLE`, `LOST`, `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * const { evicted, kept } = await store.evict("cart:7", "cart:8");
   * ```
   */
  evict(...keys: string[] | [readonly string[]]): Promise<EvictReport>;
  /** With options: see {@linkcode EvictOptions}. */
  evict(options: EvictOptions, ...keys: string[] | [readonly string[]]): Promise<EvictReport>;

  /**
   * Deletes keys from Redis and from the archive; they stay deleted. Use it instead of `redis.del`, which an archived key
   * survives. Returns how many there were.
   *
   * Cost: 2 requests, 13 commands (one more where some are evicted, one for each key that was never marked); 1 request where there is nothing.
   *
   * @throws TundraError `UNAVAILABLE` (`keys` names all that may still be there), `LOST`, `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * await store.del("cart:7");
   * ```
   */
  del(...keys: string[] | [readonly string[]]): Promise<number>;

  /**
   * How much waits, how many keys are where, and totals. The counts change together with the records, so they are exact, unless
   * Redis itself loses writes: what it removes by itself, or forgets in a failover, is not counted off.
   *
   * Cost: 1 request, 10 commands.
   */
  status(): Promise<Status>;

  /** Keys that ran out of attempts, oldest first: an operator must look. Cost: 2 requests, 2 commands. */
  deadLetters(options?: DeadLetterOptions): Promise<DeadLetter[]>;

  /** Gives dead keys another chance; a new `dirty()` does so too. Returns how many were dead. Cost: 1 request, 7 commands. */
  retryDead(...keys: string[] | [readonly string[]]): Promise<number>;
}
