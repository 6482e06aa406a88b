/**
 * The head of an object: what is put last, and what tells a reader where the bytes are.
 * @module
 */
import { TundraError } from "../../base/errors.ts";
import { fromBase64 } from "./base64.ts";
import { type Item, type ItemKey, partKeys, partRoom, putDigits } from "./items.ts";

/** A head, read. */
export interface Head {
  /** The SHA-256 of the object. */
  hash: Uint8Array;
  /** The object, or where its parts are. */
  content: Uint8Array<ArrayBuffer> | { parts: ItemKey[]; bytes: number };
}

const COUNT = /^[1-9]\d{0,10}$/;
const CALL = /^[0-9a-f]{8}$/;

/**
 * Reads the head of an object.
 *
 * @throws {TundraError} `CORRUPT` if no Tundra has written it
 */
export function readHead(name: string, { h, t, v, n, z }: Item): Head {
  try {
    const hash = fromBase64(h?.B ?? "");
    const [call, count, size] = [t?.S ?? "", n?.S, z?.S ?? ""];
    if (hash.length === 32 && count === undefined) return { hash, content: fromBase64(v?.B ?? "") };
    const bytes = COUNT.test(size) && CALL.test(call) ? Number(size) : 0;
    if (hash.length === 32 && bytes > 0 && count === String(Math.ceil(bytes / partRoom(name)))) {
      return { hash, content: { parts: partKeys(name, putDigits(hash, call), Number(count)), bytes } };
    }
  } catch {
    // no base64: the same
  }
  throw damaged(name, "its head must be one that Tundra has written");
}

/** The error of an object that is there, but not as it was put. */
export function damaged(name: string, must: string): TundraError {
  return new TundraError("CORRUPT", `Cannot fetch ${JSON.stringify(name)} as ${must}: it is not`);
}

/** Tells if these are the same bytes. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
