/**
 * Keys that a command is told: by their names, or by a pattern.
 * @module
 */
import { type Arguments, UsageError } from "./arguments.ts";

/**
 * The keys of a command that takes one or the other.
 *
 * @throws {UsageError} both were given, or neither: all keys are never meant by leaving them out
 */
export function chosenKeys(args: Arguments): string[] | { match: string } {
  const match = args.text("match");
  if ((match === undefined) === (args.words.length === 0)) {
    throw new UsageError("It takes keys, or --match PATTERN; --match '*' is all keys");
  }
  return match === undefined ? [...args.words] : { match };
}
