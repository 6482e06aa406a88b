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
   * sub-requests. If it throws, the datastore makes no further request, and the call fails with what was thrown.
   * If a datastore never calls it, one request is counted for each call (`putKey`) or each name (the others).
   */
  onRequest?: () => void;
}

/** The options of `putKey` of a {@linkcode Datastore}. */
export interface PutOptions extends DatastoreCallOptions {
  /**
   * True: an object whose name is taken is refused with `CONFLICT`. Default `false`. A datastore that cannot tell
   * stores the object; then only a listing tells apart two databases that begin with the same archive at the same
   * moment.
   */
  ifAbsent?: boolean;
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
   * The datastore's own time limit for one request, in ms; default 10,000. Tundra gives up a call after twice that and
   * 10 s, 0.2 s more for each name, and 2 s more for each MB that is put.
   */
  readonly timeoutMs?: number;
  /**
   * Stores an object durably before it resolves with `true`; throws on failure. `UNAVAILABLE` (and every error that is
   * no TundraError) blames the datastore, and no key is given up for it; another code that is not `retryable` blames
   * the object.
   */
  putKey(name: string, value: Uint8Array, options?: PutOptions): Promise<true>;
  /**
   * Fetches objects, in the order of `names`. A failure takes one slot only. An object that is provably absent is
   * `notFound(name)`; any other error means "unknown" and never leads to `LOST`.
   */
  fetchKeys(names: string[], options?: DatastoreCallOptions): Promise<(Uint8Array | Error)[]>;
  /** Deletes objects; absent ones are no error. */
  deleteKeys?(names: string[], options?: DatastoreCallOptions): Promise<void>;
  /** Looks for objects: whether each exists. An error means "unknown". */
  hasKeys?(names: string[], options?: DatastoreCallOptions): Promise<(boolean | Error)[]>;
  /** Names that begin with `prefix`, in ascending order, a page at a time; `cursor` is there as long as more follow. */
  listKeys?(
    prefix: string,
    cursor?: string,
    options?: DatastoreCallOptions,
  ): Promise<{ names: string[]; cursor?: string }>;
}
