/**
 * Every decision of a simulated schedule, in order: drawn from a seed, or replayed. 0 is always the dullest one, so
 * that a list of decisions can be shortened.
 * @module
 */

/** The decisions of one schedule. */
export interface Choices {
  /** A whole number from 0 to below `n`. */
  int(n: number): number;
  /** True in so many of a thousand cases. */
  chance(permille: number): boolean;
  /** One of them; the first one is the dullest. */
  pick<T>(of: readonly T[]): T;
  /** The decisions so far. */
  readonly taken: number[];
}

function choices(next: (n: number) => number): Choices {
  const taken: number[] = [];
  const int = (n: number): number => {
    if (n <= 1) return 0;
    const value = next(n);
    taken.push(value);
    return value;
  };
  return {
    int,
    chance: (permille) => permille > 0 && int(1000) >= 1000 - permille,
    pick: (of) => of[int(of.length)]!,
    taken,
  };
}

/** Decisions from a seed. */
export function seededChoices(seed: number): Choices {
  // a counter in steps of the golden ratio, mixed: neighbouring seeds have nothing in common
  let state = Math.imul(seed ^ (seed >>> 16), 0x45d9f3b) >>> 0;
  const next = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
  return choices((n) => Math.floor(next() * n));
}

/** Decisions from a list; 0 after its end. */
export function replayedChoices(list: readonly number[]): Choices {
  let at = 0;
  return choices((n) => Math.min(list[at++] ?? 0, n - 1));
}

/** A list of decisions as one word: `5.0*12.3`. */
export function choicesText(list: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < list.length;) {
    let end = i;
    while (list[end] === list[i]) end++;
    parts.push(end - i > 1 ? `${list[i]}*${end - i}` : String(list[i]));
    i = end;
  }
  return parts.join(".");
}

/** The inverse. */
export function parseChoices(text: string): number[] {
  return text.split(".").flatMap((part) => {
    const [value, times = "1"] = part.split("*");
    return Array<number>(Number(times)).fill(Number(value));
  });
}
