/**
 * The connection options and their validation.
 * @module
 */
import { checkFunction, checkNumber, checkSignal } from "../base/arguments.ts";
import { badArgument } from "../base/errors.ts";
import { onWorkerd } from "../base/platform.ts";

/** The longest timer: a longer one fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** The smallest request limit that is used, whatever a server or proxy refuses: below it nothing can be batched. */
export const LEAST_REQUEST_BYTES = 32_768;

/**
 * Connection options: an Upstash database's REST URL and token, and the options of the `@upstash/redis` client with its
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
  /**
   * The function for all requests; without it the global `fetch`, looked up at each call.
   *
   * @default {fetch}
   */
  fetch?: typeof fetch;
  /**
   * The retries after a network failure, a reply cut short, a time limit passed, 408, 429 or 5xx. `retries` is 0 to
   * 100; `false` is 0. `backoff` answers the milliseconds to wait before retry 0, 1, 2...; without it, a random time
   * below 50 ms times e to that number, at most 2 s. A server's `Retry-After` is waited for up to 5 s; if it asks for
   * more, the call fails at once. A retried command may run twice.
   *
   * @default {5 retries, which is six attempts}
   */
  retry?: false | { retries?: number; backoff?: (retryCount: number) => number };
  /**
   * Milliseconds for one attempt, from the request to the last byte of the reply: 1 to 2,147,483,647, the longest
   * timer. Event streams have no limit.
   *
   * @default {30_000}
   * @see https://developer.mozilla.org/docs/Web/API/Window/setTimeout#maximum_delay_value
   */
  timeoutMs?: number;
  /**
   * Bytes of one reply's body, base64 included: 1 to 2^29. A larger one is not read: `TOO_LARGE`.
   *
   * @default {16_777_216}
   */
  maxReplyBytes?: number;
  /**
   * Bytes of one request's body: 32,768 to 2^29 (Upstash takes 10 MB, less on some plans). Set it if the plan or a
   * proxy takes less: then no request is tried in vain. A process also learns the limit from a refusal, but only for
   * itself. A value that one request could not bring back is never archived nor evicted: before a tick archives one
   * that needs a request of over 1 MB, it makes sure by a request of that size, which changes nothing.
   *
   * @default {9_000_000}
   * @see https://upstash.com/docs/redis/troubleshooting/max_request_size_exceeded
   */
  maxRequestBytes?: number;
  /** Aborts every request of this connection. As a function it is asked for at each request. */
  signal?: AbortSignal | (() => AbortSignal);
  /**
   * `true`: sees its own writes on a database with read regions, as it sends the last reply's sync token.
   *
   * @default {true}
   * @see https://upstash.com/docs/redis/howto/readyourwrites
   */
  readYourWrites?: boolean;
  /**
   * Of the client: parses replies that are JSON.
   *
   * @default {true}
   */
  automaticDeserialization?: boolean;
  /**
   * Of the client: commands of one tick travel in one pipeline, reads and writes apart.
   *
   * @default {true}
   */
  enableAutoPipelining?: boolean;
  /**
   * Of the client: prints how long each command took.
   *
   * @default {false}
   */
  latencyLogging?: boolean;
  /**
   * Of the client: `false` asks for plain strings, which lose bytes that are no UTF-8.
   *
   * @default {"base64"}
   * @see https://upstash.com/docs/redis/features/restapi
   */
  responseEncoding?: false | "base64";
  /**
   * The `cache` of each fetch; left out by default on Cloudflare Workers, which used to refuse it.
   *
   * @default {"no-store"}
   */
  cache?: "default" | "force-cache" | "no-cache" | "no-store" | "only-if-cached" | "reload";
  /** The `keepalive` of each fetch; left out by default (a browser refuses bodies over 64 KiB with it). */
  keepAlive?: boolean;
  /** Accepted and ignored: no telemetry is ever sent. */
  enableTelemetry?: boolean;
}

/** The `cache` of each fetch. On Cloudflare Workers a fetch throws for it if the compatibility date is old. */
export function cacheOf(options: RedisOptions): RedisOptions["cache"] {
  return options.cache ?? (onWorkerd() ? undefined : "no-store");
}

/**
 * The options, each checked, the URL without trailing slashes. No message shows the URL or the token: they may have
 * changed places.
 */
export function checkOptions(options: RedisOptions): RedisOptions {
  const make = "connect to Redis";
  const length = (value: unknown): string => typeof value === "string" ? `${value.length} characters` : typeof value;
  if (typeof options !== "object" || options === null) {
    throw badArgument(make, "redis", "an object { url, token }", options === null ? null : typeof options);
  }
  const client = options as { pipeline?: unknown; request?: unknown };
  if (typeof client.pipeline === "function" || typeof client.request === "function") {
    throw badArgument(make, "redis", "options: pass { url, token } and use store.redis", "a Redis client");
  }
  const { token, fetch: givenFetch, retry, timeoutMs, maxReplyBytes, maxRequestBytes, signal } = options;
  const url = typeof options.url === "string" ? baseUrl(options.url) : undefined;
  if (url === undefined) {
    throw badArgument(
      make,
      "redis.url",
      "an http or https URL without credentials, query or spaces",
      tcpAddress(options.url) ?? length(options.url),
    );
  }
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) {
    throw badArgument(make, "redis.token", "visible ASCII without spaces or line ends", length(token));
  }
  checkFunction(make, "redis.fetch", givenFetch);
  if (retry !== undefined && retry !== false) {
    if (typeof retry !== "object" || retry === null) {
      throw badArgument(make, "redis.retry", "false or { retries, backoff }", retry);
    }
    checkNumber(make, "redis.retry.retries", retry.retries, 0, 100);
    checkFunction(make, "redis.retry.backoff", retry.backoff);
  }
  checkNumber(make, "redis.timeoutMs", timeoutMs, 1, MAX_TIMER_MS);
  checkNumber(make, "redis.maxReplyBytes", maxReplyBytes, 1, 2 ** 29);
  checkNumber(make, "redis.maxRequestBytes", maxRequestBytes, LEAST_REQUEST_BYTES, 2 ** 29);
  if (typeof signal !== "function") {
    checkSignal(make, "redis.signal", signal, "an AbortSignal or a function that returns one");
  }
  return { ...options, url };
}

/** The name for messages of the address that the console shows beside the REST URL; the address holds the password. */
function tcpAddress(url: unknown): string | undefined {
  const [scheme] = /^rediss?:\/\//i.exec(String(url)) ?? [];
  return scheme && `${scheme}..., an address for TCP; the database's REST URL begins with https://`;
}

/** The URL without trailing slashes, or `undefined` if it may not be used. */
function baseUrl(url: string): string | undefined {
  if (!/^https?:\/\/[^\s?#]+$/i.test(url)) return undefined;
  try {
    const { username, password } = new URL(url);
    return username === "" && password === "" ? url.replace(/\/+$/, "") : undefined;
  } catch {
    return undefined;
  }
}

/** The name of a database that has no other: its REST URL's host; a path, which may be a secret, as a hash. */
export function databaseName(url: string): string {
  const { host, pathname } = new URL(url);
  if (/^\/*$/.test(pathname)) return host;
  let hash = 0x811c9dc5; // FNV-1a
  for (const character of pathname) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
  return `${host}#${(hash >>> 0).toString(16).padStart(8, "0")}`;
}
