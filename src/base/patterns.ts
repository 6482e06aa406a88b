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

/** Tells if keys match a pattern of Redis' `SCAN`: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what stands for itself. */
export function globOf(match: string): (key: string) => boolean {
  let source = "";
  const literal = (character: string) => character.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
  for (let i = 0; i < match.length; i++) {
    const character = match[i]!;
    const end = character === "[" ? match.indexOf("]", i + 2) : -1;
    if (character === "*") source += ".*";
    else if (character === "?") source += ".";
    else if (end > 0) {
      const [, not, set] = /^(\^?)(.*)$/s.exec(match.slice(i + 1, end))!;
      source += `[${not}${set!.replace(/[\\\]^]/g, "\\$&")}]`;
      i = end;
    } else source += literal(character === "\\" && i + 1 < match.length ? match[++i]! : character);
  }
  const pattern = new RegExp(`^${source}$`, "s");
  return (key) => pattern.test(key);
}
