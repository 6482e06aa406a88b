/**
 * The store as applications see it: its options, its calls, its status.
 * @module
 */
import type { Redis } from "@upstash/redis";
import type { Freezer } from "./archive/freezer.ts";
import type { TundraEvent } from "./core/events.ts";
import type { DeadLetter, DeadLetterOptions } from "./dead_letters.ts";
import type { DirtyOptions } from "./dirty.ts";
import type { EvalQueue } from "./dirty_in.ts";
import type { EvictOptions, EvictReport } from "./evict.ts";
import type { Totals } from "./scripts/status.ts";
import type { TickOptions, TickReport } from "./tick/options.ts";
import type { TundraWorker, WorkerOptions } from "./tick/worker.ts";
import type { RedisOptions } from "./upstash/connection.ts";

/** Options of {@linkcode tundraStore}. */
export interface TundraOptions {
  /** The connection: an Upstash database's REST URL and token, and options of the `@upstash/redis` client. */
  redis: RedisOptions;
  /**
   * The queue name: 1 to 64 characters `A-Z a-z 0-9 _ -`. Stores with other names share nothing.
   *
   * @default {"default"}
   */
  tqname?: string;
  /**
   * The steps of freezing, in order; `null` stores records as they are.
   *
   * @default {deflateFreezer()}
   */
  freezer?: Freezer | Freezer[] | null;
  /**
   * An archived key is evicted this many milliseconds after its last use: at least 36,000,000 (10 h). Without it a tick
   * evicts nothing.
   *
   * @default {undefined}
   */
  redisTtlMs?: number;
  /**
   * Ticks evict only values whose `DUMP` payload has at least this many bytes. Smaller ones are archived and stay in
   * Redis, as to bring one back costs as much as a large one. `evict()` takes any value.
   *
   * @default {1_024}
   */
  minEvictBytes?: number;
  /**
   * Tells if ticks may evict a key; others are archived and stay in Redis. If it throws, the key stays.
   *
   * @default {all keys may be evicted}
   */
  evictable?: (key: string) => boolean;
  /**
   * A mark is due this many milliseconds later: 0 to 43,200,000 (12 h). A key that changes all the time is archived
   * once in this time. If Redis itself loses data, the changes of this time are lost too.
   *
   * @default {0}
   */
  freezeDelayMs?: number;
  /**
   * The name of this Redis database: 1 to 128 characters `A-Z a-z 0-9 . _ : -`. The index carries it, so that a copy of
   * the database cannot work on the original's archive. Give it one if the same database is reached by several URLs,
   * such as a proxy's; never give two databases the same.
   *
   * @default {the host of its REST URL}
   */
  databaseId?: string;
  /**
   * Bytes of values that one `ensureKs()` has in memory at once, from their fetch until they are restored: at least
   * 1,048,576. A larger value is fetched alone. Copies included, the default takes some 60 MB of memory, which fits a
   * Worker. A larger limit fetches large values faster.
   *
   * @default {16_777_216}
   * @see https://developers.cloudflare.com/workers/platform/limits/
   */
  maxBytesInFlight?: number;
  /**
   * `true`: `ensureKs()` looks in the archive for keys of which Redis has neither value nor record. A key whose newest
   * object holds a value is `LOST`, as Redis has lost its record; it is not brought back, as it may have been deleted.
   * Each `ensureKs()` then lists once, and once for each such key, and fetches once if it was archived; `del()` of such
   * a key lists and archives a tombstone. The datastore must be able to list, and `packBytes` is 0: of what is in packs
   * since before, a call searches the directories of at most 256. `false`: such keys count as never archived.
   *
   * @default {false}
   */
  lookInArchive?: boolean;
  /**
   * The size of a pack: one object with the small values that a tick archives together, up to this many bytes as they
   * are stored. 0 to 67,108,864 (64 MiB); 0: every value is an object of its own. Without `fetchRanges` of the datastore
   * no packs are made. A version in a pack is deleted with its whole pack.
   *
   * @default {1_048_576}
   */
  packBytes?: number;
  /**
   * Values whose `DUMP` payload has at most this many bytes share packs: 0 to 16,777,216 (16 MiB). To bring one value
   * back, a block is fetched: that value, or several of together at most 32 KiB.
   *
   * @default {65_536}
   */
  maxPackedBytes?: number;
  /**
   * Called as the store's calls and operations go on, with numbers and codes; see {@linkcode TundraEvent}. Events hold
   * no key and no secret. What it throws is ignored. `@tundra/store/metrics` makes one.
   *
   * @default {nothing is told, and nothing is counted}
   */
  onEvent?: (event: TundraEvent) => void;
}

/** Counts of keys by state, and totals. */
export interface Status {
  /** Keys with a change that is not archived yet, dead ones included. */
  dirty: number;
  /** Those of them that may be claimed now. */
  due: number;
  /** Keys that a tick checks for eviction: clean ones, and some that have become dirty or expired since. */
  idle: number;
  /**
   * Keys that are archived and, by their records, in Redis. Keys that have changed since count too, and keys that were
   * deleted without `del()`. An expired key counts until its objects are deleted, two days later.
   */
  resident: number;
  /** Keys that have left Redis and that `ensureKs()` brings back. An expired key counts for two days more. */
  evicted: number;
  /** Keys that have used up their attempts; see `deadLetters()`. */
  dead: number;
  /** Removed and expired keys with objects in the archive that are to be deleted by now. */
  purge: number;
  /** Milliseconds for which the oldest due key has been waiting; 0 if none is due. */
  oldestDueMs: number;
  /** The time at which a tick last began, by Redis' clock, in milliseconds since 1970; 0 if none ever did. */
  lastTickMs: number;
  /** Totals since the index was made. */
  totals: Totals;
}

/**
 * The calls of a store. Each call that takes keys takes one array of keys too. Without keys it resolves without a
 * request. More than 1,000 keys take several requests. Costs are requests and billable commands.
 */
export interface TundraStore {
  /** The `@upstash/redis` client on the same connection; on a database with read regions an application must use it. */
  readonly redis: Redis;

  /**
   * Brings keys back into Redis that were evicted, and keeps those in use there. A key that was never archived, was
   * deleted or has expired is no error.
   *
   * Cost: 1 request, 4 commands if all keys are resident; for n evicted keys 2 requests, n fetches and 2 n + 12
   * commands (a command more for each key with an expiry of its own).
   *
   * @throws {TundraError} after all keys that can be brought back are there: `CONFLICT` if keys were written while
   * evicted, `ENSURE_FAILED` for others (`causes`: `LOST`, `CORRUPT`, `UNAVAILABLE`, `UNSUPPORTED`), `UNAVAILABLE` if
   * Redis does not answer, `LOST` if the index is gone, `BAD_ARGUMENT`
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
   * @throws {TundraError} `MISSING`, `CONFLICT`, `UNAVAILABLE` (`keys` names all that are not marked), `BAD_ARGUMENT`
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
   * Queues the mark on a pipeline or a transaction of `@upstash/redis`: a write and its mark in one request. The
   * results of `exec()` hold no entry for it; `exec()` rejects as `dirty()` would (the other commands took effect). If
   * Redis refuses the mark alone, the error is not retryable: call `dirty()`, and do not repeat the other commands.
   *
   * In a transaction, or if the server is not known to lock by key, the script runs under the global lock.
   *
   * Cost: no request of its own, 6 commands.
   *
   * @throws {TundraError} `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * const tx = store.redis.multi();
   * tx.hset("cart:7", { apples: 3 });
   * store.dirtyIn(tx, "cart:7");
   * await tx.exec();
   * ```
   */
  dirtyIn(pipeline: EvalQueue, ...keys: string[] | [readonly string[]]): void;
  /** With options: see {@linkcode DirtyOptions}. `overwrite` acts at once here, without a read before it. */
  dirtyIn(pipeline: EvalQueue, options: DirtyOptions, ...keys: string[] | [readonly string[]]): void;

  /**
   * Archives due keys and evicts idle ones, within bounds; for a cron trigger. Any number may run at once.
   *
   * Cost, for a batch of n keys: 3 requests, n uploads, 2 n + 21 commands (a command more for each key with an expiry
   * of its own); with `redisTtlMs` a command more, and to evict n keys 2 requests and 2 n + 11 commands. Once an hour
   * 3 requests, 10 commands and a listing more, to see if Redis has lost records or removes keys by itself.
   *
   * @returns the report, which holds the failures of single keys
   * @throws {TundraError} if nothing could be claimed: `UNAVAILABLE`, `LOST`; `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * const report = await store.tick({ deadlineMs: 10_000 });
   * console.log(report.frozen, report.evicted, report.done);
   * ```
   */
  tick(options?: TickOptions): Promise<TickReport>;

  /**
   * Runs `tick()` in a loop, for processes that live long. It goes on if a server does not answer, and tells `monitor`.
   *
   * @throws {TundraError} `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * const worker = store.worker({ throttleMs: 1_000 });
   * await worker.stop();
   * ```
   */
  worker(options?: WorkerOptions): TundraWorker;

  /**
   * Evicts keys now, but only those that are provably archived. If Redis fails over right
   * after the commit, asynchronous replication may forget it, and a key that was evicted since is lost. A tick evicts
   * only keys that were archived at least an hour ago, so only a failover that goes back further (plus `leaseMs`) loses
   * one.
   *
   * Cost: 1 request, 2 n + 9 commands; for m keys archived over a day ago one more, m questions to the archive, and
   * m + 9 commands.
   *
   * @returns the keys that were evicted, and the reasons of those that stay
   * @throws {TundraError} `UNAVAILABLE`, `LOST`, `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * const { evicted, kept } = await store.evict("cart:7", "cart:8");
   * ```
   */
  evict(...keys: string[] | [readonly string[]]): Promise<EvictReport>;
  /** With options: see {@linkcode EvictOptions}. */
  evict(options: EvictOptions, ...keys: string[] | [readonly string[]]): Promise<EvictReport>;

  /**
   * Deletes keys from Redis and from the archive; they stay deleted. Use it instead of `redis.del`, which an archived
   * key survives.
   *
   * Cost: 2 requests, 13 commands (one more if some are evicted, one for each key that was never marked); 1 request if
   * there is nothing to delete.
   *
   * @returns how many of the keys there were
   * @throws {TundraError} `UNAVAILABLE` (`keys` names all that may still be there), `LOST`, `BAD_ARGUMENT`
   * @example
   * ```ts ignore
   * await store.del("cart:7");
   * ```
   */
  del(...keys: string[] | [readonly string[]]): Promise<number>;

  /**
   * Reads counts of keys by state, and totals. The counts change together with the records, so they are exact unless
   * Redis itself loses writes: keys that it evicts by itself, or forgets in a failover, are still counted.
   *
   * Cost: 1 request, 10 commands.
   *
   * @throws {TundraError} `UNAVAILABLE`
   */
  status(): Promise<Status>;

  /**
   * Lists dead keys, the one that has been dead the longest first: alert an operator.
   *
   * Cost: 2 requests, 2 commands.
   *
   * @throws {TundraError} `UNAVAILABLE`, `BAD_ARGUMENT`
   */
  deadLetters(options?: DeadLetterOptions): Promise<DeadLetter[]>;

  /**
   * Requeues dead keys; a new `dirty()` does so too.
   *
   * Cost: 1 request, 7 commands.
   *
   * @returns how many of the keys were dead
   * @throws {TundraError} `UNAVAILABLE` (`keys` names all that may still be dead), `BAD_ARGUMENT`
   */
  retryDead(...keys: string[] | [readonly string[]]): Promise<number>;
}
