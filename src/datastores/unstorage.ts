/**
 * The datastore on any driver of unstorage: a disk, Redis, an HTTP server, memory.
 *
 * @example
 * ```ts
 * import { unstorageDatastore } from "@tundra/store/unstorage";
 * import { createStorage } from "unstorage";
 *
 * const archive = unstorageDatastore(createStorage()); // in memory; createStorage({ driver }) for any other
 * await archive.putKey("default/a/1", new Uint8Array([1, 2]));
 * console.log(await archive.fetchKeys(["default/a/1"])); // [ Uint8Array(2) [ 1, 2 ] ]
 * ```
 *
 * @module
 */
import { checkNumber } from "../base/arguments.ts";
import { badArgument, notFound, show } from "../base/errors.ts";
import type { Datastore, DatastoreCallOptions } from "./datastore.ts";
import { deletionFailure } from "./deletions.ts";
import { checkValue, objectPath } from "./names.ts";
import { forEachName } from "./parallel.ts";
import { itemOf } from "./unstorage_names.ts";
import { type Absence, lister, placeOf, type UnstorageLike } from "./unstorage_place.ts";

export type { UnstorageLike } from "./unstorage_place.ts";

/** Options of {@linkcode unstorageDatastore}. */
export interface UnstorageDatastoreOptions {
  /**
   * The first part of the names of all items: `a-z 0-9 _ -`. Nothing else may be stored under it.
   *
   * @default {"tundra"}
   */
  base?: string;
  /**
   * `true`: the driver answers `null` only for an item that does not exist, and an error for every failure. Then `null`
   * means "absent". `false`: `null` means "unknown", and a new archive cannot begin.
   *
   * @default {true for memory, fs, fs-lite, redis and http, false for other drivers}
   */
  nullIsAbsent?: boolean;
  /**
   * Items that one call asks for at the same time.
   *
   * @default {16}
   */
  concurrency?: number;
}

/**
 * The drivers whose source says that they tell absence from failure, and by which function: `http` rejects `getItemRaw`
 * of an absent item, but answers `false` to `hasItem` only for 404.
 *
 * @see https://github.com/unjs/unstorage/tree/v1.17.6/src/drivers
 */
const ABSENCE: Readonly<Record<string, Absence>> = {
  "memory": "null",
  "fs": "null",
  "fs-lite": "null",
  "redis": "null",
  "http": "has",
};
/** A disk may not be mounted, and takes files all the same: its place is looked at before and after each put. */
const DISKS: readonly string[] = ["fs", "fs-lite"];
/** The drivers that list their first page only: without a listing, Tundra does less; with a wrong one, it errs. */
const LIST_ONE_PAGE: readonly string[] = ["s3"];
/**
 * A {@linkcode Datastore} on an unstorage `Storage`. It has no `fetchRanges`, as unstorage reads whole items: so no
 * packs, each key has objects of its own. It does not know `ifAbsent`. Most drivers read all names for a listing.
 *
 * Before its first effect it stores an item of 512 bytes and reads it back, and so it does with the first object: a
 * driver that drops or changes bytes is `UNAVAILABLE`, not retryable, and nothing is evicted.
 *
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example The disk of this machine
 * ```ts ignore
 * import { tundraStore } from "@tundra/store";
 * import { unstorageDatastore } from "@tundra/store/unstorage";
 * import { createStorage } from "unstorage";
 * import fsDriver from "unstorage/drivers/fs";
 *
 * const archive = unstorageDatastore(createStorage({ driver: fsDriver({ base: "./archive" }) }));
 * export const store = tundraStore(archive, { redis: { url: "https://eu1-example.upstash.io", token: "secret" } });
 * ```
 */
export function unstorageDatastore(storage: UnstorageLike, options: UnstorageDatastoreOptions = {}): Datastore {
  const { base = "tundra", concurrency = 16, nullIsAbsent } = options;
  checkOptions(storage, base, concurrency);
  const mount = storage.getMount?.(base);
  const driver = mount?.driver.name ?? "";
  const claimed = nullIsAbsent === undefined ? undefined : nullIsAbsent ? "null" : "unknown";
  const place = placeOf(storage, {
    base,
    claimed: claimed ?? ABSENCE[driver] ?? "unknown",
    mount: claimed ? undefined : mount,
    isDisk: DISKS.includes(driver),
  });
  const itemsOf = (what: string, names: readonly string[]) =>
    names.map((name) => `${base}:${itemOf(objectPath(what, "", name))}`);
  const forEachItem = async <T>(
    verb: string,
    names: string[],
    given: DatastoreCallOptions | undefined,
    act: (what: string, item: string, options?: DatastoreCallOptions) => Promise<T>,
  ) => {
    const items = itemsOf(verb, names);
    return await forEachName(
      names,
      concurrency,
      given,
      (name, i, options) => act(`${verb} ${show(name)}`, items[i]!, options),
    );
  };

  const datastore: Datastore = {
    place: `unstorage driver ${show(driver || "unknown")}, base ${show(base)}`,
    async putKey(name, value, options) {
      const [item] = itemsOf("put", [name]);
      checkValue("put an object", value);
      return await place.put(`put ${show(name)}`, item!, new Uint8Array(value), options); // memory keeps what it is given
    },
    async fetchKeys(names, options) {
      const slots = await forEachItem("fetch", names, options, place.get);
      const doubt = slots.includes(null) ? await place.doubt(`fetch ${names.length} objects`, options) : undefined;
      return slots.map((slot, i) => slot ?? doubt ?? notFound(names[i]!));
    },
    async hasKeys(names, options) {
      const slots = await forEachItem("look for", names, options, place.has);
      const doubt = slots.includes(false) ? await place.doubt(`look for ${names.length} objects`, options) : undefined;
      return slots.map((slot) => slot === false && doubt ? doubt : slot);
    },
    async deleteKeys(names, options) {
      itemsOf("delete", names); // no name may be wrong
      if (names.length === 0) return;
      await place.prove(`delete ${names.length} objects`, options); // a disk that is not mounted has none of them either
      const slots = await forEachItem("delete", names, options, place.remove);
      const failed = new Map(names.flatMap((name, i) => slots[i] instanceof Error ? [[name, slots[i]]] : []));
      if (failed.size > 0) throw deletionFailure(names, failed);
    },
  };
  return LIST_ONE_PAGE.includes(driver) ? datastore : { ...datastore, listKeys: lister(storage, base, place) };
}

function checkOptions(storage: UnstorageLike, base: unknown, concurrency: unknown): void {
  const make = "make an unstorage datastore";
  for (const name of ["hasItem", "getItemRaw", "setItemRaw", "removeItem", "getKeys"] as const) {
    if (typeof storage?.[name] !== "function") {
      throw badArgument(make, "its storage", `an unstorage Storage with ${name}`, storage);
    }
  }
  if (typeof base !== "string" || !/^[a-z0-9_-]{1,100}$/.test(base)) {
    throw badArgument(make, "base", "1 to 100 characters a-z 0-9 _ -", base);
  }
  checkNumber(make, "concurrency", concurrency, 1, 1000);
}
