/**
 * Bytes as DynamoDB's JSON holds them.
 * @module
 */
import { binary, bytes } from "../../base/binary.ts";

/** Bytes in base64. */
export function toBase64(data: Uint8Array): string {
  return btoa(binary(data));
}

/**
 * Bytes out of base64.
 *
 * @throws {Error} if it is none
 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return bytes(atob(text));
}
