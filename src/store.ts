/**
 * tundraStore: checks its options, and joins the public calls to one connection and one archive.
 * @module
 */
import { checkFreezers } from "./archive/record.ts";
import { checkBoolean, checkFunction, checkMethods, checkNames, checkNumber } from "./base/arguments.ts";
import { ignoreErrors } from "./base/callbacks.ts";
import { badArgument } from "./base/errors.ts";
import { checkKeys, checkTqname, redisKeys } from "./base/keys.ts";
import { onWorkerd } from "./base/platform.ts";
import { type Context, rememberContext } from "./core/context.ts";
import type { TundraCall } from "./core/events.ts";
import { told } from "./core/told.ts";
import type { Datastore } from "./datastores/datastore.ts";
import { guardedDatastore } from "./datastores/guarded.ts";
import { deadLetters, retryDead } from "./dead_letters.ts";
import { del } from "./del.ts";
import { dirty, dirtyArguments } from "./dirty.ts";
import { dirtyIn, type EvalQueue } from "./dirty_in.ts";
import { ensureKs } from "./ensure.ts";
import { evict, evictArguments, type EvictReport } from "./evict.ts";
import type { Index } from "./scripts/prelude.ts";
import { keysOf, readStatus, totalsOf } from "./scripts/status.ts";
import type { Status, TundraOptions, TundraStore } from "./store_interface.ts";
import { MAX_DURATION_MS } from "./tick/options.ts";
import { tick } from "./tick/tick.ts";
import { worker } from "./tick/worker.ts";
import { redisClient } from "./upstash/client.ts";
import { connect } from "./upstash/connection.ts";
import { databaseName } from "./upstash/options.ts";
import { scriptRunner } from "./upstash/script.ts";

/** Bytes of a pack, and of a payload that may be in one, by default and at most. */
const PACK_BYTES = [1_048_576, 67_108_864] as const;
const PACKED_BYTES = [65_536, 16_777_216] as const;
/** More than one request takes, so that while values wait for their request others can be fetched to fill it up. */
const MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024;
/** The least `redisTtlMs`: a touch is written once in a quarter of it, so less would not tell a key's last use. */
const LEAST_REDIS_TTL_MS = 10 * 60 * 60 * 1000;

/** Names of {@linkcode TundraOptions}. */
export const STORE_OPTIONS: readonly string[] = [
  ...["redis", "tqname", "freezer", "redisTtlMs", "freezeDelayMs", "databaseId", "maxBytesInFlight", "lookInArchive"],
  ...["packBytes", "maxPackedBytes", "minEvictBytes", "evictable", "onEvent"],
];

/**
 * Makes a store. No I/O, no timer, no randomness: cheap enough for every request.
 *
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { memoryDatastore, tundraStore } from "@tundra/store";
 *
 * const store = tundraStore(memoryDatastore(), {
 *   redis: { url: "https://eu1-example.upstash.io", token: "secret" },
 *   redisTtlMs: 7 * 24 * 60 * 60 * 1000,
 * });
 * console.log(typeof store.tick); // function
 * ```
 */
export function tundraStore(datastore: Datastore, options: TundraOptions): TundraStore {
  const context = contextFrom(datastore, options);
  const redis = redisClient(context.connection, context.clientOptions);
  const call = async <T>(
    name: TundraCall,
    what: string,
    keys: readonly unknown[],
    none: T,
    act: (context: Context, keys: string[]) => Promise<T>,
  ): Promise<T> => {
    const checked = checkKeys(what, keys);
    if (checked.length === 0) return none;
    return await told(context, name, checked.length, (counting) => act(counting, checked));
  };

  return rememberContext<TundraStore>({
    redis,
    ensureKs: (...keys: unknown[]) =>
      call("ensureKs", "ensure keys", keys, undefined, (context, checked) => ensureKs(context, checked)),
    async dirty(...args: unknown[]) {
      const { options, keys } = dirtyArguments("mark keys", args);
      if (keys.length > 0) await told(context, "dirty", keys.length, (counting) => dirty(counting, keys, options));
    },
    dirtyIn(pipeline: EvalQueue, ...args: unknown[]) {
      const { options, keys } = dirtyArguments("mark in a pipeline", args);
      if (keys.length > 0) dirtyIn(context, pipeline, keys, options);
    },
    tick: (options) => told(context, "tick", 0, (counting) => tick(counting, options)),
    worker: (options) => worker(context, options),
    evict(...args: unknown[]) {
      const { options, keys } = evictArguments(args);
      return call<EvictReport>(
        "evict",
        "evict keys",
        keys,
        { evicted: [], kept: {} },
        (context, checked) => evict(context, checked, options),
      );
    },
    del: (...keys: unknown[]) => call("del", "delete keys", keys, 0, del),
    status: () => told(context, "status", 0, ({ index }) => status(index)),
    deadLetters: (options) => told(context, "deadLetters", 0, (counting) => deadLetters(counting, options)),
    retryDead: (...keys: unknown[]) => call("retryDead", "requeue keys", keys, 0, retryDead),
  }, context);
}

/** Checks the options of a store and makes what its calls work with. */
function contextFrom(datastore: Datastore, options: TundraOptions): Context {
  const what = "make a store";
  checkNames(what, options, STORE_OPTIONS);
  checkMethods(what, "the datastore", datastore, ["putKey", "fetchKeys"], "an object");
  const { redisTtlMs, freezeDelayMs = 0, databaseId, maxBytesInFlight = MAX_BYTES_IN_FLIGHT } = options;
  const { lookInArchive = false } = options;
  if (redisTtlMs !== undefined) {
    if (!Number.isSafeInteger(redisTtlMs) || redisTtlMs < LEAST_REDIS_TTL_MS) {
      const must = `a whole number of milliseconds, at least ${LEAST_REDIS_TTL_MS} (10 hours)`;
      throw badArgument(what, "redisTtlMs", must, redisTtlMs);
    }
  }
  checkNumber(what, "freezeDelayMs", freezeDelayMs, 0, MAX_DURATION_MS, " of milliseconds");
  if (databaseId !== undefined && !(typeof databaseId === "string" && /^[A-Za-z0-9._:-]{1,128}$/.test(databaseId))) {
    throw badArgument(what, "databaseId", "1 to 128 characters A-Z a-z 0-9 . _ : -", databaseId);
  }
  checkNumber(what, "maxBytesInFlight", maxBytesInFlight, 1_048_576, Infinity);
  checkBoolean(what, "lookInArchive", lookInArchive);
  if (lookInArchive && !datastore.listKeys) {
    throw badArgument(what, "the datastore of a store with lookInArchive", "an object with listKeys()", datastore);
  }
  const { packBytes = lookInArchive ? 0 : PACK_BYTES[0], maxPackedBytes = PACKED_BYTES[0] } = options;
  checkNumber(what, "packBytes", packBytes, 0, PACK_BYTES[1]);
  checkNumber(what, "maxPackedBytes", maxPackedBytes, 0, PACKED_BYTES[1]);
  if (lookInArchive && packBytes > 0) throw badArgument(what, "packBytes with lookInArchive", "0", packBytes);
  const { minEvictBytes = 1024, evictable } = options;
  checkNumber(what, "minEvictBytes", minEvictBytes, 0, Infinity);
  const { onEvent } = options;
  checkFunction(what, "evictable", evictable);
  checkFunction(what, "onEvent", onEvent);
  const tqname = checkTqname(options.tqname ?? "default");
  const connection = connect(options.redis);
  const database = databaseId ?? databaseName(options.redis.url);
  const freezers = checkFreezers(options.freezer);
  return {
    tqname,
    hideKey: freezers.find((freezer) => freezer.hideKey)?.hideKey,
    connection,
    clientOptions: options.redis,
    index: { scripts: scriptRunner(connection), keys: redisKeys(tqname), database },
    datastore: guardedDatastore(datastore),
    freezers,
    redisTtlMs,
    freezeDelayMs,
    minEvictBytes: Math.min(minEvictBytes, Number.MAX_SAFE_INTEGER),
    evictable,
    packBytes: datastore.fetchRanges ? packBytes : 0,
    maxPackedBytes,
    maxBytesInFlight,
    lookInArchive,
    flights: onWorkerd() ? undefined : new Map(), // there a promise of another request may never end
    onEvent: onEvent && ((event) => ignoreErrors(() => onEvent(event))),
  };
}

/** Reads the counts; see {@linkcode TundraStore.status}. */
async function status(index: Index): Promise<Status> {
  const { queued, due, idle, dead, purge, oldestDueMs, lastTickMs, totals } = await readStatus(index);
  return {
    dirty: queued + dead,
    due,
    idle,
    ...keysOf(totals),
    dead,
    purge,
    oldestDueMs,
    lastTickMs,
    totals: totalsOf(totals),
  };
}
