/**
 * HKDF-SHA-256 and AES-256-GCM, by WebCrypto.
 * @module
 */

type Bytes = Uint8Array<ArrayBuffer>;

const TAG_BITS = 128;

/** A key from which others are derived; its bytes cannot be read from it. */
export function hkdfKey(bytes: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", bytes as Bytes, "HKDF", false, ["deriveBits"]);
}

/** So many derived bytes: at most 255 times 32. */
export async function hkdfSha256(
  key: CryptoKey,
  salt: Uint8Array,
  info: Uint8Array,
  length: number,
): Promise<Uint8Array> {
  const params = { name: "HKDF", hash: "SHA-256", salt: salt as Bytes, info: info as Bytes };
  return new Uint8Array(await crypto.subtle.deriveBits(params, key, 8 * length));
}

/** HMAC-SHA-256. */
export async function hmacSha256(key: Uint8Array, bytes: Uint8Array): Promise<Uint8Array> {
  const own = await crypto.subtle.importKey("raw", key as Bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", own, bytes as Bytes));
}

/** A key of 32 bytes to encrypt and decrypt; its bytes cannot be read from it. */
export function aesGcmKey(bytes: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", bytes as Bytes, "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** Encrypts; a tag of 16 bytes follows the ciphertext. Or the inverse, which rejects what is not authentic. */
export async function aesGcm(
  act: "encrypt" | "decrypt",
  key: CryptoKey,
  nonce: Uint8Array,
  associated: Uint8Array,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const [iv, additionalData] = [nonce as Bytes, associated as Bytes];
  const params = { name: "AES-GCM", iv, additionalData, tagLength: TAG_BITS };
  return new Uint8Array(await crypto.subtle[act](params, key, bytes as Bytes));
}
