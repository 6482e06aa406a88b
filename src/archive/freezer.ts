/**
 * The extension point for compression and encryption.
 * @module
 */

/** The facts about the archive object that a {@linkcode Freezer} is given. */
export interface FrozenObject {
  /**
   * The object's name as the datastore gets it, unique for ever: `<tqname>/<key, url-safe>/<version>`, or
   * `<tqname>/~packs/<version>` for a pack with values of many keys. Encryption binds it as associated data, so that no
   * object passes for another; then an object under any other name does not thaw.
   */
  readonly name: string;
  /** The group of the keys whose values these are, as `groupOf` says; absent for what concerns no key's value. */
  readonly group?: string;
}

/**
 * A step that turns a record's bytes into those that the archive holds, and back. `id` is written into each archive
 * object, so an object frozen under earlier options thaws later as long as a freezer with that id is configured.
 *
 * An error that it throws counts like one of a datastore: a TundraError as its `code` and `retryable` say, anything
 * else as `UNAVAILABLE`, which passes: the key stays in the queue, and `ensureKs` may be called again. Whether bytes
 * are damaged is known from the object's checksum, before `thaw` is called.
 *
 * @example A freezer that flips every bit
 * ```ts
 * import type { Freezer } from "@tundra/store";
 *
 * const flip = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => byte ^ 255);
 * const freezer: Freezer = { id: "flip", freeze: flip, thaw: flip };
 * const object = { name: "default/user.3A1/1764000000000001-0a1b2c3d" };
 * console.log(await freezer.thaw(await freezer.freeze(new Uint8Array([1, 2]), object), object)); // Uint8Array [ 1, 2 ]
 * ```
 */
export interface Freezer {
  /**
   * Names this freezer in archive objects: 1 to 32 characters `[A-Za-z0-9._-]`. Never give an id to another algorithm.
   */
  readonly id: string;
  /**
   * Freezes `bytes`, which are its own to change. It refuses bytes that it can never freeze with a TundraError that is
   * not retryable. A value that takes more than a request is frozen in parts of at most 4 MiB; of one, all freezers
   * together may make 8 MiB and 64 KiB (`TOO_LARGE`).
   */
  freeze(bytes: Uint8Array, object: FrozenObject): Uint8Array | Promise<Uint8Array>;
  /** The inverse of `freeze`: `bytes` are its own to change. */
  thaw(bytes: Uint8Array, object: FrozenObject): Uint8Array | Promise<Uint8Array>;
  /** Names the group of a key, such as its tenant: values of several groups are never frozen together. */
  groupOf?(key: string): string;
  /**
   * 32 hexadecimal digits in lower case that stand for a key in the names of objects of its own. They must be the same
   * for ever, and different for each two keys; it uses no `this`.
   */
  readonly hideKey?: (key: string, tqname: string) => Promise<string>;
  /** `true`: what this freezer has not frozen is not thawed (`UNSUPPORTED`), as it may be forged. */
  readonly required?: boolean;
}
