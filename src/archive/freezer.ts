/**
 * The extension point for compression and encryption.
 * @module
 */

/**
 * Turns a record's bytes into what the archive holds, and back. `id` is written into each archive object, so an object
 * frozen under yesterday's options thaws today as long as a freezer with that id is configured.
 *
 * @example A freezer that flips every bit
 * ```ts
 * import type { Freezer } from "@tundra/store";
 *
 * const flip = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => byte ^ 255);
 * const freezer: Freezer = { id: "flip", freeze: flip, thaw: flip };
 * console.log(freezer.thaw(await freezer.freeze(new Uint8Array([1, 2])))); // Uint8Array [ 1, 2 ]
 * ```
 */
export interface Freezer {
  /** Names this freezer in archive objects: 1 to 32 characters `[A-Za-z0-9._-]`. Never give an id to another algorithm. */
  readonly id: string;
  /** Must not change `bytes`. What it throws is the key's failure, not the store's. */
  freeze(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** The inverse of `freeze`; throws for bytes that `freeze` cannot have made. */
  thaw(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>;
}
