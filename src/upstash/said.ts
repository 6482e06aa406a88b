/**
 * What the server said, and what it means. Decisions go by its words as they came: what people and logs see of them is
 * scrubbed, and a key's name may tear a hole into any of them.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { commandNames, type Commands, ownWords } from "./scrub.ts";

// what an error says of requests: the limit that the server named; 0 for none
const limits = new WeakMap<object, number>();
// beside the objects and not in them: whoever logs an answer or an error must not show it
const words = new WeakMap<object, string>();

/** Keeps what the server said with an answer, an error or a command. */
export function keepSaid<T extends object>(of: T, message: string): T {
  words.set(of, ownWords(message));
  return of;
}

/** The server's words, without the arguments that it repeats at their end; `undefined`: it said nothing. */
export function saidOf(of: unknown): string | undefined {
  return typeof of === "object" && of !== null ? words.get(of) : undefined;
}

/** Is what was asked unknown to this server? */
export function saysUnsupported(said: string): boolean {
  return /^ERR (unknown|wrong number|syntax|error compiling|unexpected)|^NOPROTO/i.test(said);
}

/** Does it refuse the token, or what its user may do? */
export function saysDenied(said: string): boolean {
  return /^(WRONGPASS|NOAUTH|NOPERM)\b/.test(said);
}

/** Is it full? */
export function saysFull(said: string | undefined): boolean {
  return said !== undefined && /\bOOM\b/.test(said);
}

/** Is the request too large for it, or the reply? */
export function saysTooLarge(said: string | undefined): "request" | "reply" | undefined {
  if (said === undefined) return undefined;
  const what = /\bmax(?:imum)? (request|response|reply|result|payload|body) size\b/i.exec(said)?.[1] ??
    /\b(request|response|reply|result|payload|body|entity)\b.{0,20}\btoo (?:large|big|long)\b/i.exec(said)?.[1];
  return what === undefined ? undefined : /^re(sponse|ply|sult)$/i.test(what) ? "reply" : "request";
}

/** Throws `TOO_LARGE` where that is what the server said; `shown` is its message as people may see it. */
export function throwIfTooLarge(said: string | undefined, shown: string, commands: Commands): void {
  const what = saysTooLarge(said);
  if (what === undefined) return;
  const message = `Cannot run ${
    commandNames(commands)
  } as it must be below the server's limits: current value is ${shown}`;
  const error = new TundraError("TOO_LARGE", message);
  throw what === "request" ? keepLimit(error, said) : error;
}

/** Marks an error as one about the size of its request. */
export function keepLimit(error: TundraError, said: string | undefined): TundraError {
  limits.set(error, Number(/\blimit\b\D{0,20}(\d{1,12})\b/i.exec(said ?? "")?.[1] ?? 0));
  return error;
}

/** The limit that the server named for requests, bytes; 0: it named none; `undefined`: it is about something else. */
export function limitOf(error: unknown): number | undefined {
  return typeof error === "object" && error !== null ? limits.get(error) : undefined;
}
