/**
 * MD5, for servers that ask for `Content-MD5`: a checksum against damage, never a secret's guard. WebCrypto has none.
 * @module
 */
import { md5 } from "@noble/hashes/legacy";

/** The header's value: base64 of the MD5. */
export function contentMd5(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...md5(bytes)));
}
