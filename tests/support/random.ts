/**
 * Random values that can be had again: the seed is printed, and TUNDRA_SEED in the environment replays it.
 * @module
 */
import process from "node:process";

/** A seeded source of random values. */
export interface SeededRandom {
  readonly seed: number;
  /** A number in [0, 1). */
  next(): number;
  /** A whole number from 0 to below `n`. */
  int(n: number): number;
  /** One of them. */
  pick<T>(of: ArrayLike<T>): T;
  /** Well-formed text of at most `length` characters, from ASCII to beyond the basic plane, with what names dislike. */
  text(length: number): string;
  /** That many bytes. */
  bytes(length: number): Uint8Array<ArrayBuffer>;
}

/** A generator for one test; the same seed gives the same values on every runtime. */
export function seededRandom(test: string): SeededRandom {
  const given = Number(process.env.TUNDRA_SEED ?? NaN);
  const seed = Number.isInteger(given) ? given : Math.floor(Math.random() * 2 ** 32);
  console.log(`TUNDRA_SEED=${seed} replays ${test}`);
  let state = seed >>> 0;
  // A counter in steps of the golden ratio, each value mixed by two multiplications: passes for random, 32 bits of
  // state.
  const next = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
  const int = (n: number): number => Math.floor(next() * n);
  const RANGES: [number, number][] = [[0, 0x80], [0x20, 0x7f], [0x80, 0x800], [0x800, 0xd800], [0xe000, 0x10000], [
    0x10000,
    0x110000,
  ]];
  const pick = <T>(of: ArrayLike<T>): T => of[int(of.length)]!;
  const character = (): string => {
    if (int(3) === 0) return pick("%./\\?#&+ :*~_-'\"{}\r\n\0");
    const [from, to] = pick(RANGES);
    return String.fromCodePoint(from + int(to - from));
  };
  return {
    seed,
    next,
    int,
    pick,
    text: (length) => Array.from({ length: int(length + 1) }, character).join("").slice(0, length).toWellFormed(),
    bytes: (length) => Uint8Array.from({ length }, () => int(256)),
  };
}
