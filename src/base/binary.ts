/**
 * Bytes as binary strings, one character a byte: so replies carry them, and base64 is made.
 * @module
 */
import { badArgument } from "./errors.ts";

const CHUNK = 8192; // how many arguments every engine takes in one call
// deno-lint-ignore no-control-regex
const NOT_ASCII = /[^\x00-\x7f]/;

/** UTF-8 bytes as text; bytes that are no UTF-8 become U+FFFD. */
export function text(reply: string): string {
  return NOT_ASCII.test(reply) ? new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes(reply)) : reply;
}

/** A binary string as bytes. */
export function bytes(reply: string): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(reply.length);
  let seen = 0;
  for (let i = 0; i < out.length; i++) {
    const code = reply.charCodeAt(i);
    seen |= code;
    out[i] = code;
  }
  if (seen > 255) {
    throw badArgument("read bytes", "each character", "one byte (0 to 255)", reply.length + " characters");
  }
  return out;
}

/** Bytes as a binary string. */
export function binary(bytes: Uint8Array): string {
  let out = "";
  for (let i = 0; i < bytes.length; i += CHUNK) {
    out += String.fromCharCode.apply(null, bytes.subarray(i, i + CHUNK) as unknown as number[]);
  }
  return out;
}
