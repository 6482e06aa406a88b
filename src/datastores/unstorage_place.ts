/**
 * The place behind an unstorage driver: whether it is there, gives back bytes as they were, and may be believed if it
 * has nothing.
 *
 * An item of its own shows it (the probe). It is written if it is not there, read back, and read again whenever the
 * driver answers that something is absent: a disk that is not mounted, or a bucket with another name, has nothing at
 * all, and no probe either.
 * @module
 */
import { asTundraError, show, TundraError } from "../base/errors.ts";
import { monotonicMs } from "../base/platform.ts";
import type { Datastore, DatastoreCallOptions } from "./datastore.ts";
import { checkListed } from "./names.ts";
import { folderOf, objectOf } from "./unstorage_names.ts";

/** The part of unstorage's `Storage` that `unstorageDatastore` uses. */
export interface UnstorageLike {
  /** Tells if an item is there. */
  hasItem(key: string): Promise<boolean>;
  /** Gives back what `setItemRaw` was given, or `null`. */
  getItemRaw(key: string): Promise<unknown>;
  /** Stores an item. */
  setItemRaw(key: string, value: Uint8Array): Promise<void>;
  /** Removes an item. */
  removeItem(key: string): Promise<void>;
  /** Lists the names of all items whose first parts are those of `base`. */
  getKeys(base?: string): Promise<string[]>;
  /** Names the driver of an item. */
  getMount?(key?: string): {
    /** The item's first parts that the driver is not told. */
    base: string;
    /** The driver. */
    driver: { name?: string; hasItem(key: string, options: Record<never, never>): boolean | Promise<boolean> };
  };
}

/**
 * The way in which a driver says that an item does not exist: `null` by getItemRaw, `has` by hasItem alone; `unknown`: it may say
 * the same if it fails.
 */
export type Absence = "null" | "has" | "unknown";

/** A place, and single items in it; every failure of the driver is `UNAVAILABLE`. */
export interface Place {
  put(what: string, item: string, value: Uint8Array, options?: DatastoreCallOptions): Promise<true>;
  /** The bytes; `null` if the driver has none, which counts only without `doubt`. */
  get(what: string, item: string, options?: DatastoreCallOptions): Promise<Uint8Array | null>;
  /** Tells if it is there; `false` counts only without `doubt`. */
  has(what: string, item: string, options?: DatastoreCallOptions): Promise<boolean>;
  remove(what: string, item: string, options?: DatastoreCallOptions): Promise<void>;
  /** The reason for which what the driver has not cannot be called absent. */
  doubt(what: string, options?: DatastoreCallOptions): Promise<TundraError | undefined>;
  /** Rejects unless the probe is there. */
  prove(what: string, options?: DatastoreCallOptions): Promise<void>;
}

/** Names a page of `listKeys`. */
const PAGE = 1000;
/** Most drivers read all names for each listing: the pages of one are handed out from what was read, this long in ms. */
const LISTING_MS = 60_000;
/** The probe counts as there for puts this long, in ms, but on a disk. */
const PROBE_MS = 1_000;
/** A folder of its own, so that listing it costs little. */
const PROBE_FOLDER = "probe_3";
/** Every byte, in two orders: no text keeps these. */
const PROBE_BYTES = Uint8Array.from({ length: 512 }, (_, i) => i < 256 ? i : 511 - i);

/** The facts about a place that are known before the first request. */
export interface PlaceOptions {
  /** The first part of the names of all items. */
  base: string;
  /** The way of the driver, as far as its name or the application says. */
  claimed: Absence;
  /** The driver, if its name was believed. */
  mount: ReturnType<NonNullable<UnstorageLike["getMount"]>> | undefined;
  /** `true`: the probe is read before and after each put; `false`: once a second. */
  isDisk: boolean;
}

/** The place of one datastore; it has asked for nothing yet. */
export function placeOf(storage: UnstorageLike, { base, claimed, mount, isDisk }: PlaceOptions): Place {
  const probe = `${base}:${PROBE_FOLDER}:${PROBE_FOLDER}`;
  let absence = claimed;
  let seenMs: number | undefined;
  let firstIsBack = false;
  const get: Place["get"] = (what, item, options) => getItem(storage, absence, what, item, options);

  const prove: Place["prove"] = async (what, options) => {
    if (same(await get(what, probe, options), PROBE_BYTES)) return void (seenMs = monotonicMs());
    if (seenMs !== undefined) throw failure(what, "still have the item that was put first", `${show(probe)} is gone`);
    await ask(what, options, () => storage.setItemRaw(probe, PROBE_BYTES.slice()));
    const back = await get(what, probe, options);
    if (!same(back, PROBE_BYTES)) throw failure(what, "give back the bytes that it was given", kindOf(back));
    seenMs = monotonicMs();
  };
  /** A storage with a prefix of its own names the driver of another item: then nothing is known of the driver. */
  const checkDriver = async (what: string, options?: DatastoreCallOptions): Promise<void> => {
    if (!mount) return;
    const { driver, base: before } = mount;
    if (!await ask(what, options, () => driver.hasItem(probe.slice(before.length), {}))) absence = "unknown";
    mount = undefined;
  };
  return {
    get,
    prove,
    async put(what, item, value, options) {
      if (isDisk || seenMs === undefined || monotonicMs() - seenMs > PROBE_MS) await prove(what, options);
      await ask(what, options, () => storage.setItemRaw(item, value));
      if (isDisk) await prove(what, options);
      if (firstIsBack && value.length > 0) return true; // some drivers take an empty value for none
      const back = await get(what, item, options);
      if (!same(back, value)) throw failure(what, "give back the bytes that it was given", kindOf(back));
      firstIsBack ||= value.length > 0;
      return true;
    },
    async has(what, item, options) {
      const answer = await ask(what, options, () => storage.hasItem(item));
      if (typeof answer !== "boolean") throw failure(what, "say true or false", `it said ${typeof answer}`);
      // hasItem of a disk is false of what may not be read, too
      return answer || (absence === "null" && await get(what, item, options) !== null);
    },
    async remove(what, item, options) {
      await ask(what, options, () => storage.removeItem(item));
      const there = await ask(what, options, () => storage.hasItem(item));
      if (there) throw failure(what, "remove it", "it is still there", true);
    },
    async doubt(what, options) {
      try {
        await prove(what, options);
        if (absence !== "unknown") await checkDriver(what, options);
      } catch (error) {
        if (error instanceof TundraError && !options?.signal?.aborted) return error;
        throw error;
      }
      if (absence !== "unknown") return undefined;
      const must = "tell absence from failure ({ nullIsAbsent: true }, if its null is never a failure)";
      return failure(what, must, "it answered null, and nobody knows why");
    },
  };
}

async function getItem(
  storage: UnstorageLike,
  absence: Absence,
  what: string,
  item: string,
  options?: DatastoreCallOptions,
): Promise<Uint8Array | null> {
  let value: unknown;
  try {
    value = await ask(what, options, () => storage.getItemRaw(item));
  } catch (error) {
    if (absence !== "has" || !(error instanceof TundraError)) throw error;
    if (await ask(what, options, () => storage.hasItem(item)) !== false) throw error;
    return null;
  }
  return value === null || value === undefined ? null : bytesOf(what, value);
}

/** `listKeys` of one datastore: all names at once, then page by page. */
export function lister(storage: UnstorageLike, base: string, place: Place): NonNullable<Datastore["listKeys"]> {
  let rest: { key: string; names: string[]; untilMs: number } | undefined;
  const list = async (what: string, prefix: string, options?: DatastoreCallOptions): Promise<string[]> => {
    await place.prove(what, options);
    const own = await ask(what, options, () => storage.getKeys(`${base}:${PROBE_FOLDER}`));
    if (new Set(own).size !== 1) throw failure(what, "list what was put", `it lists ${own.length} of 1 items`);
    const folder = folderOf(prefix);
    const items = await ask(what, options, () => storage.getKeys(folder ? `${base}:${folder}` : base));
    await place.prove(what, options);
    const names = new Set<string>(); // a listing of Redis may name an item twice
    for (const item of items) {
      if (item === own[0]) continue;
      const name = item.startsWith(`${base}:`) ? objectOf(item.slice(base.length + 1)) : undefined;
      if (name === undefined) throw failure(what, "list names as they were put", `it lists ${show(item)}`);
      if (name.startsWith(prefix)) names.add(name);
    }
    return [...names].sort();
  };
  return async (prefix, cursor, options) => {
    checkListed(prefix);
    options?.signal?.throwIfAborted();
    const key = JSON.stringify([prefix, cursor]);
    let names: string[];
    if (cursor !== undefined && rest?.key === key && monotonicMs() < rest.untilMs) names = rest.names;
    else {
      names = await list(`list ${show(prefix)}`, prefix, options);
      if (cursor !== undefined) names = names.filter((name) => name > cursor);
    }
    if (names.length <= PAGE) return { names };
    const page = names.slice(0, PAGE);
    const last = page.at(-1)!;
    rest = {
      key: JSON.stringify([prefix, last]),
      names: names.slice(PAGE),
      untilMs: monotonicMs() + LISTING_MS,
    };
    return { names: page, cursor: last };
  };
}

/** One request to the driver: announced, and not made once the signal is aborted. */
async function ask<T>(
  what: string,
  options: DatastoreCallOptions | undefined,
  act: () => T | Promise<T>,
): Promise<Awaited<T>> {
  options?.signal?.throwIfAborted();
  options?.onRequest?.();
  try {
    return await act();
  } catch (error) {
    throw asTundraError(error, what);
  }
}

/** The bytes that a driver gave, as our own. A disk's driver gives an error as a value. */
function bytesOf(what: string, value: unknown): Uint8Array {
  if (value instanceof Error) throw asTundraError(value, what);
  if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
  throw failure(what, "give back bytes", `it gave back ${typeof value}`);
}

function same(a: Uint8Array | null, b: Uint8Array): boolean {
  return a !== null && a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function kindOf(back: Uint8Array | null): string {
  return back === null ? "it gave back nothing" : `it gave back ${back.length} other bytes`;
}

/** An operator must look into this: no retry mends it, and no key is to blame. */
function failure(what: string, must: string, is: string, retryable = false): TundraError {
  return new TundraError("UNAVAILABLE", `Cannot ${what} as the unstorage driver must ${must}: ${is}`, { retryable });
}
