/**
 * Requests of a size that the server takes: as full as possible, and halved if it takes less than was known.
 * @module
 */
import { TundraError } from "../base/errors.ts";

/**
 * The most keys of one request: Lua's `unpack` ends near 8,000 values (`LUAI_MAXCSTACK`).
 *
 * @see https://www.lua.org/source/5.1/luaconf.h.html
 */
const MAX_KEYS = 1_000;
/** Room for a script's text, which is sent if the server does not know it. */
export const SCRIPT_BYTES = 16_000;

/** The bytes that a request may hold besides the script. */
export function roomIn(limitBytes: number): number {
  return Math.max(1, limitBytes - SCRIPT_BYTES);
}

/**
 * The bytes that one key takes in a script's request: its record's name and its own, its record's text, and arguments.
 */
export function keyBytes(key: string): number {
  return 3 * 3 * JSON.stringify(key).length + 700;
}

/** Splits `items` so that no batch has more than 1,000 or weighs more than a request may. */
export function batches<T>(items: readonly T[], weigh: (item: T) => number, limitBytes: number): T[][] {
  return inGroups(items, weigh, roomIn(limitBytes));
}

/** Splits `items` so that no group has more than 1,000 or weighs more than `most`, unless one item alone does. */
export function inGroups<T>(items: readonly T[], weigh: (item: T) => number, most: number): T[][] {
  const all: T[][] = [];
  let room = 0;
  for (const item of items) {
    const weight = weigh(item);
    const last = all.at(-1);
    if (last === undefined || last.length === MAX_KEYS || weight > room) {
      all.push([item]);
      room = most - weight;
    } else {
      last.push(item);
      room -= weight;
    }
  }
  return all;
}

/**
 * Acts on `items` in as few parts as their size allows. A part that is `TOO_LARGE` is halved, and the parts after it
 * keep to the limit learned by then: a server may take less than was known, or a reply be larger. Any other error ends
 * it.
 */
export async function inParts<T>(
  items: readonly T[],
  weigh: (item: T) => number,
  limitBytes: () => number,
  act: (part: T[]) => Promise<void>,
): Promise<void> {
  let waiting = [[...items]];
  while (waiting.length > 0) {
    const [part, ...others] = batches(waiting[0]!, weigh, limitBytes());
    waiting = [...others, ...waiting.slice(1)];
    try {
      if (part !== undefined) await act(part);
    } catch (error) {
      if (!(error instanceof TundraError && error.code === "TOO_LARGE") || part!.length < 2) throw error;
      const middle = Math.ceil(part!.length / 2);
      waiting.unshift(part!.slice(0, middle), part!.slice(middle));
    }
  }
}

/** A script's answers to `items`, in order, in as few requests as their size allows. */
export async function inRequests<T, R>(
  items: readonly T[],
  weigh: (item: T) => number,
  limitBytes: () => number,
  send: (part: T[]) => Promise<R[]>,
): Promise<R[]> {
  const answers: R[] = [];
  await inParts(items, weigh, limitBytes, async (part) => void answers.push(...await send(part)));
  return answers;
}

/** Asks for at most so many, and for half as many for as long as the reply is too large: names may be long. */
export async function asMany<T>(most: number, ask: (most: number) => Promise<T>): Promise<T> {
  for (let asked = most;; asked = Math.ceil(asked / 2)) {
    try {
      return await ask(asked);
    } catch (error) {
      if (!(error instanceof TundraError && error.code === "TOO_LARGE") || asked < 2) throw error;
    }
  }
}
