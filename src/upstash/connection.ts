/**
 * The connection to Upstash Redis over REST. Replies keep their bytes; the requester serves the `@upstash/redis` client
 * on the same token, sync token, time limits and retries.
 * @module
 */
import { errors } from "@upstash/redis";
import type { Requester } from "@upstash/redis";
import { badArgument, TundraError } from "../errors.ts";
import { readEvents } from "./events.ts";
import { defaultBackoff, errorOf, type Exchange, httpClient, type ReplyBody, type SyncToken } from "./http.ts";
import { commandNames, scrub } from "./scrub.ts";

import { bytes } from "./binary.ts";

export { binary, bytes, text } from "./binary.ts";

const TIMEOUT_MS = 30_000;
const MAX_REPLY_BYTES = 16 * 1024 * 1024;
const MAX_TIMER_MS = 2 ** 31 - 1;
const RETRIES = 5;

/** A request of the `@upstash/redis` client. */
type UpstashRequest = Parameters<Requester["request"]>[0];

/**
 * How to reach Redis: an Upstash database's REST URL and token, and the options of the `@upstash/redis` client with its
 * defaults.
 *
 * @example
 * ```ts
 * import type { RedisOptions } from "@tundra/store";
 *
 * const redis: RedisOptions = { url: "https://eu1-example.upstash.io", token: "secret", timeoutMs: 5_000 };
 * ```
 */
export interface RedisOptions {
  /** The REST URL, http or https, without credentials or query. */
  url: string;
  /** The REST token; one that may write. */
  token: string;
  /** Default: the global `fetch`, looked up at each call. */
  fetch?: typeof fetch;
  /**
   * What happens after a network failure, a reply cut short, a time limit passed, 408, 429 or 5xx. `retries` is 0 to 100,
   * default 5: six attempts; `false` is 0. `backoff` answers the milliseconds to wait before retry 0, 1, 2...; default: a
   * random time below 50 ms times e to that number, at most 2 s. A server's `Retry-After` is waited for up to 5 s; where
   * it asks for more, the call fails at once. A retried command may run twice.
   */
  retry?: false | { retries?: number; backoff?: (retryCount: number) => number };
  /** Milliseconds for one attempt, from the request to the last byte of the reply: 1 to 2147483647, default 30000. Event streams have no limit. */
  timeoutMs?: number;
  /** Bytes of one reply's body, base64 included, default 16 MiB; a larger one is not read: `TOO_LARGE`. */
  maxReplyBytes?: number;
  /** Aborts every request of this connection. As a function it is asked for at each request. */
  signal?: AbortSignal | (() => AbortSignal);
  /** Sees its own writes on a database with read regions: sends the last reply's sync token. Default true. */
  readYourWrites?: boolean;
  /** Of the client: parses replies that are JSON. Default true. */
  automaticDeserialization?: boolean;
  /** Of the client: commands of one tick travel in one pipeline, reads and writes apart. Default true. */
  enableAutoPipelining?: boolean;
  /** Of the client: prints how long each command took. Default false. */
  latencyLogging?: boolean;
  /** Of the client: `false` asks for plain strings, which lose bytes that are no UTF-8. Default `"base64"`. */
  responseEncoding?: false | "base64";
  /** The `cache` of each fetch. Default `"no-store"`; left out on Cloudflare Workers, where it used to be refused. */
  cache?: "default" | "force-cache" | "no-cache" | "no-store" | "only-if-cached" | "reload";
  /** The `keepalive` of each fetch; left out by default (a browser refuses bodies over 64 KiB with it). */
  keepAlive?: boolean;
  /** Accepted and ignored: no telemetry is ever sent. */
  enableTelemetry?: boolean;
}

/** A reply. Strings are binary strings: one character a byte (0 to 255); `text()` decodes UTF-8, `bytes()` makes an array. */
export type Reply = null | number | string | Reply[];

/** A command's answer: exactly one of the two. */
export interface Answer {
  /** The reply. */
  result?: Reply;
  /** The server's message, without anything that came from the command's arguments. */
  error?: string;
}

/** Options of one call. */
export interface CallOptions {
  /** Aborts the call: it rejects with `UNAVAILABLE`, the signal's reason as its cause. */
  signal?: AbortSignal;
  /** Milliseconds for one attempt; default: the connection's. */
  timeoutMs?: number;
  /** Called right before each HTTP request, retries included. May throw: then no further request, and the call fails with that. */
  onRequest?: () => void;
}

/** A Redis command: its name and arguments. */
export type RedisCommand = (string | number)[];

/**
 * The binary-safe connection. All calls reject with a TundraError: `UNAVAILABLE` after the last attempt, with a refused
 * token or when aborted; `TOO_LARGE` for a request or a reply over the server's limit or `maxReplyBytes`.
 */
export interface Connection {
  /** Runs one command. */
  command(command: RedisCommand, options?: CallOptions): Promise<Answer>;
  /** Runs commands in one transaction; one that is discarded as a whole is `UNAVAILABLE`. */
  multi(commands: RedisCommand[], options?: CallOptions): Promise<Answer[]>;
  /** Runs commands in one request, one after the other, others in between. */
  pipeline(commands: RedisCommand[], options?: CallOptions): Promise<Answer[]>;
  /**
   * For the `@upstash/redis` client: its decoding, its results. An aborted request rejects with the signal's reason, as
   * `fetch` does; a failure with a TundraError; a refused pipeline or transaction with an UpstashError.
   */
  readonly requester: Requester;
}

/**
 * Makes a connection. No I/O, no timer.
 *
 * @throws TundraError `BAD_ARGUMENT`
 */
export function connect(options: RedisOptions): Connection {
  const { url, token, fetch: givenFetch, timeoutMs = TIMEOUT_MS, maxReplyBytes = MAX_REPLY_BYTES } = checked(options);
  const retry = options.retry === false ? { retries: 0 } : options.retry;
  const sync: SyncToken = { readYourWrites: options.readYourWrites ?? true, token: "" };
  const base64Replies = options.responseEncoding !== false;
  const send = httpClient({
    url,
    token,
    fetch: givenFetch,
    retries: retry?.retries ?? RETRIES,
    backoff: retry?.backoff ?? defaultBackoff,
    timeoutMs,
    maxReplyBytes,
    init: {
      ...(cacheOf(options) && { cache: cacheOf(options)! }),
      ...(options.keepAlive !== undefined && { keepalive: options.keepAlive }),
    },
  }, sync);

  const signals = (signal: AbortSignal | undefined): AbortSignal[] => {
    const own = typeof options.signal === "function" ? options.signal() : options.signal;
    return [signal, own].filter((one) => one !== undefined);
  };

  const call = <T>(
    path: string[],
    body: RedisCommand | RedisCommand[],
    commands: RedisCommand[],
    options: CallOptions,
    read: (json: unknown) => T,
  ): Promise<T> =>
    send({
      path,
      body,
      commands,
      headers: { "Upstash-Encoding": "base64" },
      signals: signals(options.signal),
      timeoutMs: options.timeoutMs ?? timeoutMs,
      onRequest: options.onRequest,
      read: async (reply) => read(await reply.json()),
    });

  const batch = (path: string, commands: RedisCommand[], options: CallOptions): Promise<Answer[]> =>
    call([path], commands, commands, options, (json) => {
      const refused = errorOf(json);
      if (refused !== undefined) throw refusal(scrub(refused, commands, [token]), commands);
      if (!Array.isArray(json) || json.length !== commands.length) throw new TypeError("not an answer to each command");
      return json.map((one, i) => answer(one, commands[i]!, token));
    });

  return {
    async command(command, options = {}) {
      return await call(
        [],
        command,
        [command],
        options,
        (json) => notTooLarge(answer(json, command, token), [command]),
      );
    },
    async multi(commands, options = {}) {
      const answers = await batch("multi-exec", commands, options);
      for (const one of answers) notTooLarge(one, commands);
      return answers;
    },
    async pipeline(commands, options = {}) {
      return await batch("pipeline", commands, options);
    },
    requester: {
      get readYourWrites() {
        return sync.readYourWrites;
      },
      set readYourWrites(value) {
        sync.readYourWrites = value !== false;
      },
      get upstashSyncToken() {
        return sync.token;
      },
      set upstashSyncToken(value) {
        sync.token = value ?? "";
      },
      async request<T>(request: UpstashRequest): Promise<{ result?: T; error?: string }> {
        const own = signals(request.signal);
        try {
          const answered = await send(clientExchange(request, own, timeoutMs, maxReplyBytes, base64Replies, token));
          if (answered instanceof errors.UpstashError) throw answered;
          return answered as { result?: T; error?: string };
        } catch (error) {
          const aborted = own.find((signal) => signal.aborted);
          if (aborted && error instanceof TundraError && error.cause === aborted.reason) throw aborted.reason;
          throw error;
        }
      },
    },
  };
}

/** A request of the stock client, answered as the stock client's own transport does. */
function clientExchange(
  request: UpstashRequest,
  signals: AbortSignal[],
  timeoutMs: number,
  maxReplyBytes: number,
  base64Replies: boolean,
  token: string,
): Exchange<unknown> {
  const path = request.path ?? [];
  const isBatch = path[0] === "pipeline" || path[0] === "multi-exec";
  const body = Array.isArray(request.body) ? request.body as unknown[] : [];
  const commands = isBatch ? body as unknown[][] : [[...path, ...body]];
  const streaming = request.headers?.Accept === "text/event-stream";
  const decode = base64Replies ? stockDecode : (raw: unknown): unknown => raw;
  const said = (error: string, commands: unknown[][]): string => scrub(error, commands, [token]);
  const named = (error: string, commands: unknown[][]): string => `${error}, command was: ${commandNames(commands)}`;
  const errorAt = (error: unknown, i: number): string | undefined => {
    const one = [commands[i] ?? []];
    return typeof error === "string" ? named(said(error, one), one) : undefined;
  };
  return {
    path,
    body: request.body,
    commands,
    headers: { ...(base64Replies && { "Upstash-Encoding": "base64" }), ...request.headers },
    signals,
    timeoutMs: streaming ? 0 : timeoutMs,
    async read(reply: ReplyBody): Promise<unknown> {
      const { onMessage } = request;
      if (streaming && onMessage && reply.response.ok && reply.response.body) {
        void readEvents(reply.response.body, reply.signal, maxReplyBytes, onMessage, reply.keep());
        return { result: 1 };
      }
      const json = await reply.json();
      if (Array.isArray(json)) {
        return json.map(({ result, error }, i) => ({ result: decode(result), error: errorAt(error, i) }));
      }
      const refused = errorOf(json);
      if (refused !== undefined) {
        const error = said(refused, commands);
        notTooLarge({ error }, commands);
        // handed back, not thrown: what a reader throws makes another attempt
        if (isBatch) return new errors.UpstashError(named(error, commands));
        return { result: undefined, error: named(error, commands) };
      }
      if (typeof json !== "object" || json === null || !("result" in json)) throw new TypeError("not an answer");
      return { result: decode(json.result), error: undefined };
    },
  };
}

/** One answer as the server gave it; throws for anything else. */
function answer(json: unknown, command: RedisCommand, token: string): Answer {
  const error = errorOf(json);
  if (error !== undefined) return { error: scrub(error, [command], [token]) };
  if (typeof json !== "object" || json === null || !("result" in json)) throw new TypeError("not an answer");
  return { result: decode(json.result) };
}

function notTooLarge(answer: Answer, commands: readonly (readonly unknown[])[]): Answer {
  if (answer.error === undefined || !/max (request|response|reply|result) size/i.test(answer.error)) return answer;
  throw new TundraError(
    "TOO_LARGE",
    `Cannot run ${commandNames(commands)} as it must be below the server's limits: current value is ${answer.error}`,
  );
}

/** A pipeline or a transaction that was refused as a whole. */
function refusal(error: string, commands: RedisCommand[]): TundraError {
  notTooLarge({ error }, commands);
  const names = commandNames(commands);
  return new TundraError(
    "UNAVAILABLE",
    `Cannot run ${names} as the server must accept the request: current value is ${error}`,
  );
}

/** Base64 to binary strings. The status reply OK is the only string that isn't encoded (and no base64 either). */
function decode(raw: unknown): Reply {
  if (typeof raw === "string") return raw === "OK" ? raw : atob(raw);
  if (raw === null || typeof raw === "number") return raw;
  if (Array.isArray(raw)) return raw.map(decode);
  throw new TypeError("not a reply");
}

/** Base64 to text as the stock client does it: what isn't base64 stays, a byte order mark goes, objects are null. */
function stockDecode(raw: unknown): unknown {
  if (typeof raw === "string") {
    if (raw === "OK") return raw;
    try {
      return new TextDecoder().decode(bytes(atob(raw)));
    } catch {
      return raw;
    }
  }
  if (raw === undefined || typeof raw === "number") return raw;
  if (Array.isArray(raw)) return raw.map((one) => typeof one === "boolean" ? one : stockDecode(one));
  return typeof raw === "object" ? null : undefined;
}

/** A fetch on Cloudflare Workers throws for `cache` where the compatibility date is old. */
function cacheOf(options: RedisOptions): RedisOptions["cache"] {
  const cloudflare =
    (globalThis as { navigator?: { userAgent?: string } }).navigator?.userAgent === "Cloudflare-Workers";
  return options.cache ?? (cloudflare ? undefined : "no-store");
}

/** The options, each checked. No message shows the URL or the token: they may have changed places. */
function checked(options: RedisOptions): RedisOptions {
  const make = "connect to Redis";
  const length = (value: unknown): string => typeof value === "string" ? `${value.length} characters` : typeof value;
  if (typeof options !== "object" || options === null) {
    throw badArgument(make, "redis", "an object { url, token }", options === null ? null : typeof options);
  }
  const client = options as { pipeline?: unknown; request?: unknown };
  if (typeof client.pipeline === "function" || typeof client.request === "function") {
    throw badArgument(make, "redis", "options: pass { url, token } and use store.redis", "a Redis client");
  }
  const { token, fetch: givenFetch, retry, timeoutMs, maxReplyBytes, signal } = options;
  const url = typeof options.url === "string" ? baseUrl(options.url) : undefined;
  if (url === undefined) {
    throw badArgument(
      make,
      "redis.url",
      "an http or https URL without credentials, query or spaces",
      length(options.url),
    );
  }
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) {
    throw badArgument(make, "redis.token", "visible ASCII without spaces or line ends", length(token));
  }
  if (givenFetch !== undefined && typeof givenFetch !== "function") {
    throw badArgument(make, "redis.fetch", "a function", typeof givenFetch);
  }
  if (retry !== undefined && retry !== false) {
    if (typeof retry !== "object" || retry === null) {
      throw badArgument(make, "redis.retry", "false or { retries, backoff }", retry);
    }
    if (retry.retries !== undefined) whole("redis.retry.retries", retry.retries, 0, 100);
    if (retry.backoff !== undefined && typeof retry.backoff !== "function") {
      throw badArgument(make, "redis.retry.backoff", "a function", typeof retry.backoff);
    }
  }
  if (timeoutMs !== undefined) whole("redis.timeoutMs", timeoutMs, 1, MAX_TIMER_MS);
  if (maxReplyBytes !== undefined) whole("redis.maxReplyBytes", maxReplyBytes, 1, 2 ** 29);
  if (signal !== undefined && typeof signal !== "function" && typeof signal?.addEventListener !== "function") {
    throw badArgument(make, "redis.signal", "an AbortSignal or a function that returns one", typeof signal);
  }
  return { url, token, fetch: givenFetch, timeoutMs, maxReplyBytes };
}

function whole(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw badArgument("connect to Redis", name, `a whole number from ${min} to ${max}`, value);
}

/** The URL without trailing slashes, or undefined where it is none that may be used. */
function baseUrl(url: string): string | undefined {
  if (!/^https?:\/\/[^\s?#]+$/i.test(url)) return undefined;
  try {
    const { username, password } = new URL(url);
    return username === "" && password === "" ? url.replace(/\/+$/, "") : undefined;
  } catch {
    return undefined;
  }
}
