/**
 * Bytes as DynamoDB's JSON holds them.
 * @module
 */

const CHUNK = 8_193; // a multiple of 3, and as many arguments as every engine takes in one call

/** Bytes in base64. */
export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += CHUNK) {
    text += btoa(String.fromCharCode.apply(null, bytes.subarray(i, i + CHUNK) as unknown as number[]));
  }
  return text;
}

/**
 * Bytes out of base64.
 *
 * @throws {Error} if it is none
 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
