/**
 * Patterns of keys.
 * @module
 */
import { badArgument } from "./errors.ts";

const MOST = 1_024;

/** Checks for a pattern of Redis' `SCAN`, or nothing. */
export function checkMatch(what: string, match: unknown): void {
  if (match === undefined || (typeof match === "string" && match.length <= MOST && match.isWellFormed())) return;
  throw badArgument(what, "match", `a pattern of at most ${MOST} characters`, match);
}

/**
 * Tells if keys match a pattern of Redis' `SCAN`: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what stands for itself.
 *
 * @see https://github.com/redis/redis/blob/7.0/src/util.c (stringmatchlen)
 */
export function globOf(match: string): (key: string) => boolean {
  let source = "";
  for (let i = 0; i < match.length; i++) {
    const character = match[i]!;
    if (character === "*") source += ".*";
    else if (character === "?") source += ".";
    else if (character === "[") {
      const [set, end] = classAt(match, i + 1);
      source += set;
      i = end;
    } else source += literal(character === "\\" && i + 1 < match.length ? match[++i]! : character);
  }
  const pattern = new RegExp(`^${source}$`, "s");
  return (key) => pattern.test(key);
}

/** The class whose members begin at `from`, and where it ends: with the pattern, if nothing closes it. */
function classAt(match: string, from: number): [source: string, end: number] {
  const not = match[from] === "^" ? "^" : "";
  let set = "";
  let i = from + not.length;
  for (; i < match.length && match[i] !== "]"; i++) {
    if (match[i] === "\\" && i + 1 < match.length) set += literal(match[++i]!);
    else if (match[i + 1] === "-" && i + 2 < match.length) {
      const [first, last] = [match[i]!, match[i + 2]!].sort(); // the server swaps ends that are reversed
      set += `${literal(first!)}-${literal(last!)}`;
      i += 2;
    } else set += literal(match[i]!);
  }
  return [`[${not}${set}]`, i];
}

/** A character that stands for itself, within a class too. */
function literal(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
