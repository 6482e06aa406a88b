/**
 * peek: reads an evicted value without bringing it back.
 * @module
 */
import type { Redis } from "@upstash/redis";
import { checkFunction, checkNumber } from "../base/arguments.ts";
import { badArgument, isNotFound, show, TundraError } from "../base/errors.ts";
import { checkKeys } from "../base/keys.ts";
import { monotonicMs, uuid } from "../base/platform.ts";
import { type Context, contextOf } from "../core/context.ts";
import { fetchArchived, thawArchived } from "../core/fetch_archived.ts";
import { checkIdentity } from "../core/identity.ts";
import { MAX_ROUNDS, movedOn, unsupportedRecord } from "../core/key_errors.ts";
import { archivePlace } from "../core/owner.ts";
import type { LargeObject } from "../core/restore_large.ts";
import { told } from "../core/told.ts";
import { parseRecord } from "../scripts/prelude.ts";
import { dropTemporary, putTemporary, putTemporaryStaged, type TemporaryOutcome } from "../scripts/put_temporary.ts";
import { type KeyState, readState } from "../scripts/read_state.ts";
import type { TundraStore } from "../store_interface.ts";
import { encodePayload, payloadBytes } from "../upstash/payload.ts";
import { keyBytes, roomIn } from "../upstash/requests.ts";
import { beginOperation, type Bounds, checkTime, type OperationOptions } from "./bounds.ts";

/** Options of {@linkcode peek}. */
export interface PeekOptions extends OperationOptions {
  /**
   * The temporary key goes after this many milliseconds even if this process dies: 1,000 to 3,600,000 (an hour). Let it
   * outlast `read`.
   *
   * @default {60_000}
   */
  ttlMs?: number;
}

const WHAT = "peek at";
const TTL_MS = 60_000;
const [LEAST_TTL_MS, MOST_TTL_MS] = [1_000, 3_600_000];

/**
 * Reads a key's value, evicted or not, and leaves the key where it is: an evicted one stays evicted, and reading it is no
 * use of it. `read` is given the client and the name under which the value is: a temporary key that goes when `read` has
 * ended, or the key itself if that is in Redis. It must only read.
 *
 * If a key that was in Redis may have been evicted while it was read, or if the temporary key goes before `read` has
 * ended, `read` is called again, four times at most, and not after `deadlineMs`. Of a key that was written while it was evicted, the archived value is shown. A value's own expiry is
 * that of the temporary key.
 *
 * Cost: a key in Redis: 2 requests, 8 billable commands. An evicted one: 3 requests, 8 billable commands, and an object or
 * a block of the archive; a value that takes more than a request 3 commands for each 4 MB and 8 more. What `read` does comes on top, and counts for no bound.
 *
 * @param read it is not called for a key that is absent; what it throws is thrown
 * @returns what `read` returns; `undefined` for a key that is absent: never archived and not in Redis, removed, or
 * expired
 * @throws {TundraError} `LOST` if the archive does not hold the value (`ensureKs()` searches for a newer version), or if
 * the index is lost or another database's; `CORRUPT` or `UNSUPPORTED` if the value cannot be read; `UNAVAILABLE`; `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { peek } from "@tundra/store/operations";
 *
 * export const cart = (id: string) =>
 *   peek(tundraFromEnv(), `cart:${id}`, (redis, name) => redis.hgetall<Record<string, string>>(name));
 * ```
 */
export async function peek<T>(
  store: TundraStore,
  key: string,
  read: (redis: Redis, name: string) => T | Promise<T>,
  options: PeekOptions = {},
): Promise<T | undefined> {
  return await told(contextOf(WHAT, store), "peek", 0, (context) => peekWith(context, store, key, read, options));
}

async function peekWith<T>(
  context: Context,
  store: TundraStore,
  key: string,
  read: (redis: Redis, name: string) => T | Promise<T>,
  options: PeekOptions,
): Promise<T | undefined> {
  checkKeys(WHAT, [[key]]);
  if (read === undefined) throw badArgument(WHAT, "read", "a function", read);
  checkFunction(WHAT, "read", read);
  const bounds = beginOperation(WHAT, context, options, ["ttlMs"]);
  const { ttlMs = TTL_MS } = options;
  checkNumber(WHAT, "ttlMs", ttlMs, LEAST_TTL_MS, MOST_TTL_MS, " of milliseconds");
  const found = await peekAt(bounds, store, key, read, ttlMs);
  bounds.answered();
  return found;
}

async function peekAt<T>(
  bounds: Bounds,
  store: TundraStore,
  key: string,
  read: (redis: Redis, name: string) => T | Promise<T>,
  ttlMs: number,
): Promise<T | undefined> {
  const { context } = bounds;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    checkTime(bounds, `${WHAT} ${show(key)}`, [key]);
    const state = await stateOf(bounds, key);
    if (state.isArchived) {
      const name = context.index.keys.temporary(uuid());
      const endsAt = monotonicMs() + ttlMs;
      const shown = await putArchived(bounds, state, name, ttlMs);
      if (shown === "changed") continue;
      if (shown === "there") {
        const drop = () => dropTemporary(context.connection, name, bounds.closing);
        const found = await (async () => await read(store.redis, name))().catch(async (thrown) => {
          await drop().catch(() => {}); // it goes by its TTL
          throw thrown;
        });
        // if it had gone before, what was read may be nothing
        if (await drop().catch(() => monotonicMs() < endsAt)) return found;
        continue;
      }
    }
    if (!state.exists) return undefined;
    const found = await read(store.redis, key);
    const now = await stateOf(bounds, key);
    // what was evicted and came back meanwhile has another touch: it may have been missing when it was read
    if (now.exists && (now.record === state.record || (!now.isArchived && now.touch === state.touch))) return found;
  }
  throw movedOn(WHAT, key);
}

/** A key, and where its value is. */
interface Found extends KeyState {
  ver: string;
  /** Its last use, as its record has it. */
  touch: number;
  /** The value is the archived one, whatever is in Redis, unless it has expired. */
  isArchived: boolean;
}

async function stateOf({ context, call }: Bounds, key: string): Promise<Found> {
  let { id, states } = await readState(context.index, [key], call);
  if (await checkIdentity(context, id, call)) ({ id, states } = await readState(context.index, [key], call));
  const state = states[0]!;
  const record = parseRecord(state.record === "" ? null : state.record);
  if (record === undefined) throw unsupportedRecord(WHAT, key);
  const { ver, rev, flag, touch } = record;
  return {
    ...state,
    ver,
    touch,
    isArchived: state.evictable || (state.exists && rev === 0 && flag === "e" && ver !== ""),
  };
}

/** Puts the archived value under a temporary key; or says why there is none, or that the record has changed. */
async function putArchived(
  bounds: Bounds,
  { key, record, ver }: Found,
  name: string,
  ttlMs: number,
): Promise<"there" | "absent" | "changed"> {
  const { context } = bounds;
  const [fetched] = await bounds.counted((call) => fetchArchived(context, [{ key, ver }], { call }));
  if (isNotFound(fetched!.object)) {
    if ((await stateOf(bounds, key)).record !== record) return "changed"; // it was moved, removed or archived anew
    const must = `hold its version ${ver}: it does not. ensureKs() searches for a newer one`;
    throw new TundraError("LOST", `Cannot ${WHAT} ${show(key)} as ${archivePlace(context)} must ${must}`, {
      keys: [key],
    });
  }
  const archived = await thawArchived(context, fetched!);
  if ("gone" in archived) return "absent";
  if (!("dump" in archived)) {
    const large = { head: archived, name: fetched!.name };
    return shownAs(key, await putLarge(bounds, large, name, ttlMs));
  }
  const { dump, exp } = archived;
  const [size, room] = [payloadBytes(dump), roomIn(context.connection.requestLimit()) - keyBytes(key)];
  if (size > room) {
    const must = `fit into one request, at most ${room} bytes: it takes ${size}`;
    throw new TundraError("TOO_LARGE", `Cannot ${WHAT} ${show(key)} as its value must ${must}`, { keys: [key] });
  }
  const value = { ttlMs, exp, payload: encodePayload(dump) };
  return shownAs(key, await putTemporary(context.index, name, value, bounds.call));
}

/** Puts a large value under a temporary key, by way of another one. */
async function putLarge(
  { context, call }: Bounds,
  large: LargeObject,
  name: string,
  ttlMs: number,
): Promise<TemporaryOutcome> {
  const { exp, sha1 } = large.head;
  const put = (staged: string) => putTemporaryStaged(context.index, name, { ttlMs, exp, staged, sha1 }, call);
  return await (await import("../core/restore_large.ts")).withPieces(context, large, put, call);
}

function shownAs(key: string, outcome: TemporaryOutcome): "there" | "absent" | "changed" {
  if (typeof outcome === "object") {
    const must = `accept its payload: ${outcome.refused}`;
    throw new TundraError("UNSUPPORTED", `Cannot ${WHAT} ${show(key)} as Redis must ${must}`, { keys: [key] });
  }
  return outcome === "there" ? "there" : outcome === "again" ? "changed" : "absent";
}
