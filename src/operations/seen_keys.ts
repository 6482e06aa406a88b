/**
 * Keys that were seen already, in bounded memory: a scan may answer a key twice.
 * @module
 */
import { random } from "../base/platform.ts";

/** So many keys are remembered, in 16 MB. Those that come after them are not. */
const MOST = 1_000_000;

/** A set of keys that forgets names: of each it keeps 64 bits. */
export interface SeenKeys {
  /** Adds a key; `false` if it was added before. Of two among a million keys, 1 in 10^7 runs takes one for the other. */
  add(key: string): boolean;
}

/** An empty set. It takes 16 bytes a key, 16 MB at most. */
export function seenKeys(most: number = MOST): SeenKeys {
  const seeds = [random, random].map((draw) => Math.floor(draw() * 2 ** 32));
  let slots = new Uint32Array(2 * 1024); // pairs; 0, 0: empty
  let size = 0;
  const put = (into: Uint32Array, high: number, low: number): boolean => {
    const mask = into.length / 2 - 1;
    for (let i = low & mask;; i = (i + 1) & mask) {
      if (into[2 * i] === high && into[2 * i + 1] === low) return false;
      if (into[2 * i] === 0 && into[2 * i + 1] === 0) {
        into[2 * i] = high;
        into[2 * i + 1] = low;
        return true;
      }
    }
  };
  const has = (high: number, low: number): boolean => {
    const mask = slots.length / 2 - 1;
    for (let i = low & mask;; i = (i + 1) & mask) {
      if (slots[2 * i] === high && slots[2 * i + 1] === low) return true;
      if (slots[2 * i] === 0 && slots[2 * i + 1] === 0) return false;
    }
  };
  const grow = () => {
    const larger = new Uint32Array(2 * slots.length);
    for (let i = 0; i < slots.length; i += 2) {
      if (slots[i] !== 0 || slots[i + 1] !== 0) put(larger, slots[i]!, slots[i + 1]!);
    }
    slots = larger;
  };
  return {
    add(key) {
      const [high, low] = hash(key, seeds[0]!, seeds[1]!);
      if (size >= most) return !has(high, low);
      if (!put(slots, high, low)) return false;
      if (4 * ++size > slots.length) grow(); // half full
      return true;
    },
  };
}

/** 64 bits of a text, never all 0. */
function hash(text: string, seed: number, other: number): [number, number] {
  let a = seed;
  let b = other;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x9e3779b1);
    a ^= a >>> 15;
    b = Math.imul(b ^ code, 0x85ebca77);
    b ^= b >>> 13;
  }
  a = Math.imul(a ^ (a >>> 16), 0xc2b2ae3d) ^ Math.imul(b ^ (b >>> 13), 0x27d4eb2f);
  b = Math.imul(b ^ (b >>> 16), 0x165667b1) ^ Math.imul(a ^ (a >>> 13), 0x9e3779b1);
  return [a >>> 0, (b >>> 0) || 1];
}
