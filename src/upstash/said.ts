/**
 * The server's error messages and their meaning. Decisions go by the message as it came: messages and logs hold it
 * scrubbed, and scrubbing removes any word that is also a key's name.
 * @module
 */
import { TundraError } from "../base/errors.ts";
import { commandNames, type Commands, ownWords } from "./scrub.ts";

// The limit that the server named, for an error about the size of a request; 0: none.
const limits = new WeakMap<object, number>();
// Kept beside the objects, so that no log of an answer or an error shows the message.
const words = new WeakMap<object, string>();

/** Keeps what the server said with an answer, an error or a command. */
export function keepSaid<T extends object>(of: T, message: string): T {
  words.set(of, ownWords(message));
  return of;
}

/** The server's words, without the arguments that it repeats at their end; `undefined`: it said nothing. */
export function saidOf(of: unknown): string | undefined {
  return words.get(of as object); // undefined for what is no object
}

/**
 * True if the command is unknown to this server.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors
 */
export function saysUnsupported(said: string): boolean {
  return /^ERR (unknown|wrong number|syntax|error compiling|unexpected)|^NOPROTO/i.test(said);
}

/**
 * True if the server refuses the token, or a command to its user.
 *
 * @see https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
 */
export function saysDenied(said: string): boolean {
  return /^(WRONGPASS|NOAUTH|NOPERM)\b/.test(said);
}

/** True if the server is full. */
export function saysFull(said: string | undefined): boolean {
  return said !== undefined && /\bOOM\b/.test(said);
}

/**
 * The one that is too large for the server: the request or the reply.
 *
 * @see https://upstash.com/docs/redis/troubleshooting/max_request_size_exceeded
 */
export function saysTooLarge(said: string | undefined): "request" | "reply" | undefined {
  if (said === undefined) return undefined;
  const what = /\bmax(?:imum)? (request|response|reply|result|payload|body) size\b/i.exec(said)?.[1] ??
    /\b(request|response|reply|result|payload|body|entity)\b.{0,20}\btoo (?:large|big|long)\b/i.exec(said)?.[1];
  return what === undefined ? undefined : /^re(sponse|ply|sult)$/i.test(what) ? "reply" : "request";
}

/** Throws `TOO_LARGE` if the server said that; `shown` is its message, scrubbed. */
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
  return limits.get(error as object); // undefined for what is no object
}
