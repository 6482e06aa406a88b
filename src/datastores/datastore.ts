/**
 * The extension point for archives: two functions suffice.
 * @module
 */

/** The options of every call of a {@linkcode Datastore}. */
export interface DatastoreCallOptions {
  /** Aborts the call. */
  signal?: AbortSignal;
  /**
   * A datastore that makes HTTP requests calls this right before each one, retries included, so that a tick can count
   * sub-requests. If it throws, the datastore makes no further request, and the call fails with what was thrown; only
   * what a put in parts has stored may still be deleted, by a request or a few.
   * If a datastore never calls it, one request is counted for each call (`putKey`) or each name or range (the others).
   */
  onRequest?: () => void;
}

/** The options of `putKey` of a {@linkcode Datastore}. */
export interface PutOptions extends DatastoreCallOptions {
  /**
   * `true`: an object whose name is taken is refused with `CONFLICT`. A datastore that cannot tell stores the object;
   * then only a listing tells apart two databases that begin with the same archive at the same moment.
   *
   * @default {false}
   */
  ifAbsent?: boolean;
}

/** A page of a listing, as `listKeys` of a {@linkcode Datastore} answers it. */
export interface ListedPage {
  /** Names of objects. */
  names: string[];
  /** The beginning of the next page; absent on the last one. */
  cursor?: string;
  /**
   * Names between these of which a put has stored something that nobody sees, and no object: it is under way, or has
   * died. `deleteKeys` removes that. A datastore that keeps none, or cannot tell, leaves it out.
   */
  unfinished?: string[];
}

/** A range of one object, as `fetchRanges` of a {@linkcode Datastore} reads it. */
export interface RangeRead {
  /** The object's name. */
  name: string;
  /** The number of bytes before the range. */
  offset: number;
  /** The number of bytes in the range, at least 1. */
  length: number;
}

/**
 * A datastore: immutable objects by name. Names are at most 900 characters of `A-Z a-z 0-9 _ - . ~ /`; no segment is
 * `.` or `..`.
 *
 * @example A store on a Map
 * ```ts
 * import { type Datastore, notFound } from "@tundra/store";
 *
 * const objects = new Map<string, Uint8Array>();
 * const store: Datastore = {
 *   putKey: (name, value) => Promise.resolve(!!objects.set(name, value) as true),
 *   fetchKeys: (names) => Promise.resolve(names.map((name) => objects.get(name) ?? notFound(name))),
 * };
 * await store.putKey("default/a/1", new Uint8Array([1]));
 * ```
 */
export interface Datastore {
  /** The place of the objects, for messages: `bucket "carts", prefix "tundra/"`. Never a secret. */
  readonly place?: string;
  /**
   * The datastore's own time limit for one request, in ms. Tundra gives up a call after twice that and 10 s, 0.2 s more
   * for each name or range, and 2 s more for each MB that is put or is in a range.
   *
   * @default {10_000}
   */
  readonly timeoutMs?: number;
  /**
   * Stores an object durably. `UNAVAILABLE` (and every error that is no TundraError) blames the datastore, and no key
   * is given up for it; another code that is not `retryable` blames the object.
   *
   * @returns `true`, once the object is stored
   * @throws {TundraError} if it was not stored, or may not have been
   */
  putKey(name: string, value: Uint8Array, options?: PutOptions): Promise<true>;
  /**
   * Stores an object of several parts durably, as one: until it resolves, or if it rejects, no part of it is to be seen.
   * All parts have the same size, 5 MiB or more, but for the last, which may have fewer bytes; there are two at least.
   * It takes the next part when it has room for it. If `parts` rejects, so does it, with the same error. Without it, and
   * `fetchRanges`, values that take more than a request are archived whole, in the memory that `maxBytesInFlight` allows.
   *
   * @returns `true`, once the object is stored
   * @throws {TundraError} as `putKey` does
   */
  putParts?(name: string, parts: AsyncIterable<Uint8Array>, options?: DatastoreCallOptions): Promise<true>;
  /**
   * Fetches objects. A failure takes one slot only.
   *
   * @returns for each name, in their order, the object; `notFound(name)` if it is provably absent; any other error
   * means "unknown" and never leads to `LOST`
   */
  fetchKeys(names: string[], options?: DatastoreCallOptions): Promise<(Uint8Array | Error)[]>;
  /**
   * Fetches ranges of objects; the same object may be read more than once. A failure takes one slot only. A range that
   * ends behind the object's end is `CORRUPT`: it is never answered by fewer bytes, and never absent. Cost: a request
   * for each range.
   *
   * @returns for each read, in their order, exactly `length` bytes from `offset` on; `notFound(name)` if the object is
   * provably absent; any other error means "unknown"
   */
  fetchRanges?(reads: RangeRead[], options?: DatastoreCallOptions): Promise<(Uint8Array | Error)[]>;
  /**
   * Deletes objects; absent ones are no error.
   *
   * @throws {TundraError} if any of them may still be there
   */
  deleteKeys?(names: string[], options?: DatastoreCallOptions): Promise<void>;
  /**
   * Looks for objects.
   *
   * @returns for each name, in their order, whether its object exists; an error means "unknown"
   */
  hasKeys?(names: string[], options?: DatastoreCallOptions): Promise<(boolean | Error)[]>;
  /**
   * Lists names that begin with `prefix`, in ascending order, a page at a time.
   *
   * @returns a page, and the `cursor` of the next one as long as more follow
   */
  listKeys?(prefix: string, cursor?: string, options?: DatastoreCallOptions): Promise<ListedPage>;
}
