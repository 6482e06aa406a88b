/**
 * Handles: names of keys as forms carry them, so that no browser changes a line end or a character in them.
 * @module
 */
import { binary, bytes } from "../base/binary.ts";
import { badArgument } from "../base/errors.ts";

/** Text as base64url of its UTF-8. */
export function handleOf(text: string): string {
  return base64url(new TextEncoder().encode(text));
}

/** The inverse. */
export function ofHandle(handle: string): string {
  try {
    const utf8 = bytes(atob(handle.replace(/-/g, "+").replace(/_/g, "/")));
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(utf8);
  } catch {
    throw badArgument("read a form", "a key", "as the page has sent it", handle);
  }
}

/** Bytes as base64url, without padding. */
export function base64url(data: Uint8Array): string {
  return btoa(binary(data)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
