/**
 * Encryption of what the archive holds. An application that does not import it does not carry it.
 *
 * @example
 * ```ts
 * import { deflateFreezer } from "@tundra/store";
 * import { aesGcmFreezer } from "@tundra/store/encryption";
 *
 * const key = new Uint8Array(32).fill(7); // yours: 32 random bytes, kept in a secret
 * const freezer = [deflateFreezer(), aesGcmFreezer({ keys: { "2026-11": key }, current: "2026-11" })];
 * console.log(freezer.map(({ id }) => id)); // [ "deflate", "aes-gcm" ]
 * ```
 * @module
 */
export { aesGcmFreezer, type AesGcmOptions, type KeyAnswer, type MasterKey } from "../freezers/aes_gcm.ts";
export type { OperationOptions, OperationReport, Progress } from "../operations/bounds.ts";
export type { KeyError } from "../operations/key_errors.ts";
export { rotate, type RotateOptions, type RotateReport } from "./rotate.ts";
export { type EncryptionStatus, status } from "./status.ts";
