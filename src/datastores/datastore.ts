/**
 * The extension point for archives: two functions suffice.
 * @module
 */

/** What every call of a {@linkcode Datastore} is given. */
export interface DatastoreCallOptions {
  /** Aborts the call. */
  signal?: AbortSignal;
  /**
   * A store that makes HTTP requests calls this right before each one, retries included, so that a tick can count
   * sub-requests. It may throw: then no further request may be made, and the call fails with what was thrown.
   * A store that never calls it is counted as one request a call (`putKey`) or a name (the others).
   */
  onRequest?: () => void;
}

/** What `putKey` of a {@linkcode Datastore} is given. */
export interface PutOptions extends DatastoreCallOptions {
  /**
   * Refuse an object whose name is taken: `CONFLICT`. Default `false`. A store that cannot tell stores it; then two
   * databases that begin with the same archive at the same moment are told apart by listing alone.
   */
  ifAbsent?: boolean;
}

/**
 * An archive: immutable objects by name. Names are at most 900 characters of `A-Z a-z 0-9 _ - . ~ /`; no segment is `.` or `..`.
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
  /** Where the objects are, for messages: `bucket "carts", prefix "tundra/"`. Never a secret. */
  readonly place?: string;
  /**
   * The longest that one request may take by the store's own limit, in ms; default 10,000. Tundra gives up a call after
   * twice that and 10 s, 0.2 s more a name, and 2 s more a MB that is put.
   */
  readonly timeoutMs?: number;
  /**
   * Stores an object durably before it resolves with `true`; throws on failure. `UNAVAILABLE` (and every error that is no
   * TundraError) blames the store, and no key is given up for it; another code that is not `retryable` blames the object.
   */
  putKey(name: string, value: Uint8Array, options?: PutOptions): Promise<true>;
  /**
   * Fetches objects, in the order of `names`. One failure spoils one slot only. Provably absent is `notFound(name)`; any
   * other error means "unknown" and never leads to `LOST`.
   */
  fetchKeys(names: string[], options?: DatastoreCallOptions): Promise<(Uint8Array | Error)[]>;
  /** Deletes objects; absent ones are no error. */
  deleteKeys?(names: string[], options?: DatastoreCallOptions): Promise<void>;
  /** Does each object exist? An error means "unknown". */
  hasKeys?(names: string[], options?: DatastoreCallOptions): Promise<(boolean | Error)[]>;
  /** Names that begin with `prefix`, in ascending order, a page at a time; `cursor` is there as long as more follow. */
  listKeys?(
    prefix: string,
    cursor?: string,
    options?: DatastoreCallOptions,
  ): Promise<{ names: string[]; cursor?: string }>;
}
