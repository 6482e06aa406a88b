/**
 * The connection to Upstash Redis over REST. Replies keep their bytes; the requester serves the `@upstash/redis` client
 * on the same token, sync token, time limits and retries.
 * @module
 */
import type { Requester } from "@upstash/redis";
import { TundraError } from "../base/errors.ts";
import { cacheOf, checkOptions, LEAST_REQUEST_BYTES, type RedisOptions } from "./options.ts";
import { errorOf, resultOf } from "./reply.ts";
import { stockRequester } from "./requester.ts";
import { keepSaid, saidOf, throwIfTooLarge } from "./said.ts";
import { commandNames, scrub } from "./scrub.ts";
import { defaultBackoff, httpClient, type SyncToken } from "./transport.ts";

export { binary, bytes, text } from "../base/binary.ts";
export type { RedisOptions } from "./options.ts";

const TIMEOUT_MS = 30_000;
const MAX_REPLY_BYTES = 16 * 1024 * 1024;
const RETRIES = 5;
/**
 * Upstash refuses requests over 10 MB.
 *
 * @see https://upstash.com/docs/redis/troubleshooting/max_request_size_exceeded
 */
const MAX_REQUEST_BYTES = 9_000_000;

/**
 * A reply. Strings are binary strings: one character a byte (0 to 255); `text()` decodes UTF-8, `bytes()` makes an
 * array.
 */
export type Reply = null | number | string | Reply[];

/** A command's answer: exactly one of the two. */
export interface Answer {
  /** The reply. */
  result?: Reply;
  /** The server's message, without anything that came from the command's arguments; decisions go by `saidOf()`. */
  error?: string;
}

/** Options of one call. */
export interface CallOptions {
  /** Aborts the call: it rejects with `UNAVAILABLE`, the signal's reason as its cause. */
  signal?: AbortSignal;
  /** Milliseconds for one attempt; default: the connection's. */
  timeoutMs?: number;
  /** The number of retries; default: the connection's. */
  retries?: number;
  /**
   * A function to call right before each HTTP request, retries included. If it throws, no further request is made, and
   * the call fails with that.
   */
  onRequest?: () => void;
  /** A function to call with the number of billable commands that were run, as soon as an answer says so. */
  onCommands?: (count: number) => void;
}

/** A Redis command: its name and arguments. */
export type RedisCommand = (string | number)[];

/**
 * The binary-safe connection. All calls reject with a TundraError: `UNAVAILABLE` after the last attempt, with a refused
 * token (not `retryable`) or when aborted; `TOO_LARGE` for a request or a reply over the server's limit or
 * `maxReplyBytes`.
 */
export interface Connection {
  /** Runs one command. */
  command(command: RedisCommand, options?: CallOptions): Promise<Answer>;
  /** Runs commands in one transaction; one that is discarded as a whole is `UNAVAILABLE`. */
  multi(commands: RedisCommand[], options?: CallOptions): Promise<Answer[]>;
  /** Runs commands in one request, one after the other; those of other clients may come in between. */
  pipeline(commands: RedisCommand[], options?: CallOptions): Promise<Answer[]>;
  /** Bytes that one request may have: `maxRequestBytes`, or less if the server has refused that. */
  requestLimit(): number;
  /** Bytes that a reply may certainly have: `maxReplyBytes`, but no more than a request. */
  replyLimit(): number;
  /**
   * For the `@upstash/redis` client: its decoding, its results. An aborted request rejects with the signal's reason, as
   * `fetch` does; a failure with a TundraError; a refused pipeline or transaction with an UpstashError.
   */
  readonly requester: Requester;
}

/**
 * Makes a connection. No I/O, no timer.
 *
 * @throws {TundraError} `BAD_ARGUMENT`
 */
export function connect(options: RedisOptions): Connection {
  const checked = checkOptions(options);
  const { url, token, timeoutMs = TIMEOUT_MS, maxReplyBytes = MAX_REPLY_BYTES, keepAlive } = checked;
  const retry = checked.retry === false ? { retries: 0 } : checked.retry;
  const sync: SyncToken = { readYourWrites: checked.readYourWrites ?? true, token: "", sent: 0, from: 0 };
  const cache = cacheOf(checked);
  let requestLimit = checked.maxRequestBytes ?? MAX_REQUEST_BYTES;
  const send = httpClient({
    url,
    token,
    fetch: checked.fetch,
    retries: retry?.retries ?? RETRIES,
    backoff: retry?.backoff ?? defaultBackoff,
    maxReplyBytes,
    tooLarge(requestBytes, limitBytes) {
      // A limit that the server does not name lies somewhere below the request's size.
      const learned = limitBytes > 0 && limitBytes < requestBytes ? limitBytes : Math.floor(requestBytes / 2);
      requestLimit = Math.min(requestLimit, Math.max(learned, LEAST_REQUEST_BYTES));
    },
    init: { ...(cache && { cache }), ...(keepAlive !== undefined && { keepalive: keepAlive }) },
  }, sync);
  const signals = (signal: AbortSignal | undefined): AbortSignal[] => {
    const own = typeof checked.signal === "function" ? checked.signal() : checked.signal;
    return [signal, own].filter((one) => one !== undefined);
  };
  const base64Replies = checked.responseEncoding !== false;

  const run = <T>(
    path: string[],
    body: RedisCommand | RedisCommand[],
    commands: RedisCommand[],
    call: CallOptions,
    read: (json: unknown) => T,
  ): Promise<T> =>
    send({
      ...call,
      path,
      body,
      commands,
      headers: { "Upstash-Encoding": "base64" },
      signals: signals(call.signal),
      timeoutMs: call.timeoutMs ?? timeoutMs,
      read: async (reply) => {
        const result = read(await reply.json());
        call.onCommands?.(billable(path, commands));
        return result;
      },
    });

  return {
    async command(command, call = {}) {
      return await run([], command, [command], call, (json) => answer(json, command, token, [command]));
    },
    async multi(commands, call = {}) {
      return await run(["multi-exec"], commands, commands, call, (json) => answers(json, commands, token, commands));
    },
    async pipeline(commands, call = {}) {
      return await run(["pipeline"], commands, commands, call, (json) => answers(json, commands, token));
    },
    requestLimit: () => requestLimit,
    replyLimit: () => Math.min(maxReplyBytes, requestLimit),
    requester: stockRequester({ send, sync, signals, timeoutMs, maxReplyBytes, base64Replies, token }),
  };
}

/**
 * The number of commands that a bill counts, without those inside scripts: INFO is free, a transaction has two more.
 */
function billable([path]: string[], commands: RedisCommand[]): number {
  return commands.filter(([name]) => name !== "INFO").length + (path === "multi-exec" ? 2 : 0);
}

/** An answer to each command of one request. */
function answers(json: unknown, commands: RedisCommand[], token: string, whole?: RedisCommand[]): Answer[] {
  const refused = errorOf(json);
  if (refused !== undefined) throw refusal(refused, commands, token);
  if (!Array.isArray(json) || json.length !== commands.length) throw new TypeError("not an answer to each command");
  return json.map((one, i) => answer(one, commands[i]!, token, whole));
}

/**
 * One answer as the server gave it. It throws for anything else, and if the server says that the commands that stand or
 * fall together with it, `whole`, are too large.
 */
function answer(json: unknown, command: RedisCommand, token: string, whole?: RedisCommand[]): Answer {
  const said = errorOf(json);
  if (said === undefined) return { result: decode(resultOf(json)) };
  const error = scrub(said, [command], [token]);
  const answered = keepSaid({ error }, said);
  if (whole) throwIfTooLarge(saidOf(answered), error, whole);
  return answered;
}

/** The error of a pipeline or a transaction that was refused as a whole. */
function refusal(said: string, commands: RedisCommand[], token: string): TundraError {
  const shown = scrub(said, commands, [token]);
  throwIfTooLarge(said, shown, commands);
  const names = commandNames(commands);
  const message = `Cannot run ${names} as the server must accept the request: current value is ${shown}`;
  return keepSaid(new TundraError("UNAVAILABLE", message), said);
}

/** Base64 to binary strings. The status reply OK is the only string that isn't encoded (and no base64 either). */
function decode(raw: unknown): Reply {
  if (typeof raw === "string") return raw === "OK" ? raw : atob(raw);
  if (raw === null || typeof raw === "number") return raw;
  if (Array.isArray(raw)) return raw.map(decode);
  throw new TypeError("not a reply");
}
