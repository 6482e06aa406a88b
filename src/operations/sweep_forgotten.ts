/**
 * Keys of which a sweep had no room for a note, in bounded memory: a Bloom filter. It forgets their names, and tells of
 * each key whether it may be one of them.
 * @module
 */
import { binary, bytes } from "../base/binary.ts";

/** Bits of a filter, in 2 MiB: of a million keys, one in 500 others is taken for one of them; of four millions, one in 7. */
const BITS = 2 ** 24;
/** Bits of a key. */
const MARKS = 4;

/** A filter; `undefined` while there is none in it. */
export type Forgotten = Uint8Array | undefined;

/** Adds a key; the filter that has it. */
export function forget(forgotten: Forgotten, key: string): Uint8Array {
  const filter = forgotten ?? new Uint8Array(BITS / 8);
  for (const bit of marksOf(key)) filter[bit >>> 3]! |= 1 << (bit & 7);
  return filter;
}

/** Tells if a key may have been added: `false` is certain. */
export function mayBeForgotten(forgotten: Forgotten, key: string): boolean {
  return forgotten !== undefined && marksOf(key).every((bit) => (forgotten[bit >>> 3]! & (1 << (bit & 7))) !== 0);
}

/** A filter as text; "" for none. */
export function encodeForgotten(forgotten: Forgotten): string {
  return forgotten === undefined ? "" : btoa(binary(forgotten));
}

/** The inverse of {@linkcode encodeForgotten}. */
export function decodeForgotten(text: string): Forgotten {
  return text === "" ? undefined : bytes(atob(text));
}

/** The bits of a key: two hashes, and sums of them. */
function marksOf(key: string): number[] {
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  for (let i = 0; i < key.length; i++) {
    const code = key.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca77);
    b ^= b >>> 13;
  }
  a = Math.imul(a ^ (a >>> 16), 0xc2b2ae3d);
  a ^= a >>> 15;
  b = Math.imul(b ^ (b >>> 16), 0x27d4eb2f) | 1;
  return Array.from({ length: MARKS }, (_, i) => ((a + Math.imul(i, b)) >>> 0) % BITS);
}
