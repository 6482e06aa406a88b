/**
 * HTTP to Upstash: one exchange with its bearer token, sync token, time limit, retries and bounds.
 * @module
 */
import { linkSignals, sleep, untilAborted } from "../base/abort.ts";
import { TundraError } from "../base/errors.ts";
import { random, wallClockMs } from "../base/platform.ts";
import { keepLimit, limitOf } from "./said.ts";
import { commandNames, scrub } from "./scrub.ts";

const MAX_BACKOFF_MS = 2_000;
const MAX_RETRY_AFTER_MS = 5_000;
const MAX_ERROR_BYTES = 64 * 1024;

/** How to reach the server: options that {@linkcode connect} has checked. */
export interface HttpSettings {
  url: string;
  token: string;
  /** Looked up at each call where it is missing. */
  fetch: typeof fetch | undefined;
  retries: number;
  backoff: (retryCount: number) => number;
  maxReplyBytes: number;
  /** Told of the size of a request that was refused as too large, and the limit that the server named (0: none). */
  tooLarge: (requestBytes: number, limitBytes: number) => void;
  /** Further members of each fetch's init. */
  init: RequestInit;
}

/**
 * The token of a reply, and whether to send it. Tokens can't be compared: that of the request that was sent last counts, as
 * replies overtake each other and what came late may be from before.
 */
export interface SyncToken {
  readYourWrites: boolean;
  token: string;
  /** Requests sent, and the one of them that the token is from. */
  sent: number;
  from: number;
}

/** One request and how to read its reply. */
export interface Exchange<T> {
  path: string[];
  body: unknown;
  /** For names and for what a message must not hold. */
  commands: readonly (readonly unknown[])[];
  headers?: Record<string, string>;
  signals: AbortSignal[];
  /** Milliseconds an attempt; 0 is no limit. */
  timeoutMs: number;
  /** Default: the connection's. */
  retries?: number | undefined;
  onRequest?: (() => void) | undefined;
  /** Reads a 2xx reply, or the JSON of a 400. A TundraError is final; whatever else it throws makes another attempt. */
  read(reply: ReplyBody): Promise<T> | T;
}

/** Does an exchange: rejects with a TundraError, or with what `onRequest` threw. */
export type Send = <T>(exchange: Exchange<T>) => Promise<T>;

/** The reply to one attempt. */
export interface ReplyBody {
  response: Response;
  /** The whole body as JSON, bounded. */
  json(): Promise<unknown>;
  /** Aborted by the caller, or when the time is over. */
  signal: AbortSignal;
  /** Keeps the request under the caller's signals after `read` has returned, until the returned function is called. */
  keep(): () => void;
}

/** Why an attempt failed, and whether another one may help. */
interface Failure {
  why: string;
  cause?: unknown;
  final: boolean;
  /** A person has to change something first. */
  needsPerson?: boolean;
  /** What the server asked for. */
  retryAfterMs?: number;
}

/** 50 ms, growing by e up to 2 s, with full jitter: at most 3.6 s in five retries. */
export function defaultBackoff(retryCount: number): number {
  return random() * Math.min(MAX_BACKOFF_MS, Math.exp(retryCount) * 50);
}

/** Makes the function that does exchanges. No I/O. */
export function httpClient(settings: HttpSettings, sync: SyncToken): Send {
  return async function send<T>(exchange: Exchange<T>): Promise<T> {
    const what = `Cannot run ${commandNames(exchange.commands)}`;
    const url = [settings.url, ...exchange.path.map(pathSegment)].join("/");
    const body = JSON.stringify(exchange.body);
    for (let attempt = 0;; attempt++) {
      stopIfAborted(exchange, what);
      exchange.onRequest?.();
      const outcome = await once(settings, sync, exchange, url, body, what).catch((error) => {
        const limit = limitOf(error);
        if (limit !== undefined) settings.tooLarge(new TextEncoder().encode(body).length, limit);
        throw error;
      });
      if ("value" in outcome) return outcome.value;
      stopIfAborted(exchange, what);
      const { why, cause, final, needsPerson, retryAfterMs = 0 } = outcome;
      if (final || attempt >= (exchange.retries ?? settings.retries) || retryAfterMs > MAX_RETRY_AFTER_MS) {
        const times = attempt === 0 ? "" : ` after ${attempt + 1} attempts`;
        throw new TundraError("UNAVAILABLE", `${what} as the server must answer: current value is ${why}${times}`, {
          cause,
          retryable: !needsPerson,
        });
      }
      const backoffMs = Number(settings.backoff(attempt));
      const waitMs = Math.max(retryAfterMs, backoffMs > 0 ? Math.min(backoffMs, 2 ** 31 - 1) : 0);
      const link = linkSignals(exchange.signals);
      await sleep(waitMs, link.signal).catch(() => {}).finally(link.release);
    }
  };
}

async function once<T>(
  settings: HttpSettings,
  sync: SyncToken,
  exchange: Exchange<T>,
  url: string,
  body: string,
  what: string,
): Promise<{ value: T } | Failure> {
  const link = linkSignals(exchange.signals);
  const { signal } = link;
  const timeout = new DOMException("The time is over", "TimeoutError");
  if (exchange.timeoutMs > 0) link.limit(exchange.timeoutMs, () => timeout);
  let kept = false;
  try {
    const headers: Record<string, string> = {
      "Content-Type": "application/json",
      ...exchange.headers,
      Authorization: `Bearer ${settings.token}`,
    };
    if (sync.readYourWrites) headers["Upstash-Sync-Token"] = sync.token;
    // a plain variable: called as a method of an object, fetch is an "Illegal invocation" on workerd
    const doFetch = settings.fetch ?? globalThis.fetch;
    const sent = ++sync.sent;
    const pending = doFetch(url, { ...settings.init, method: "POST", headers, body, signal });
    const response = await untilAborted(pending, signal, (late) => void late.body?.cancel().catch(() => {}));
    const token = response.headers.get("upstash-sync-token");
    if (sync.readYourWrites && token && sent > sync.from) {
      sync.token = token;
      sync.from = sent;
    }
    const { status } = response;
    let foreign = false; // something else than JSON, or its beginning: not from the server that was asked
    const json = async (maxBytes: number): Promise<unknown> => {
      const read = await readText(response, signal, maxBytes);
      if (read === undefined) {
        throw new TundraError(
          "TOO_LARGE",
          `${what} as the reply must be at most ${maxBytes} bytes: current value is more (HTTP ${status})`,
        );
      }
      try {
        return JSON.parse(read);
      } catch { // the engine's own error would quote the reply
        foreign = /^\s*[^\s{[]/.test(read);
        throw new TypeError("not JSON");
      }
    };
    const reply: ReplyBody = {
      response,
      signal,
      json: () => json(settings.maxReplyBytes),
      keep: () => {
        kept = true;
        return link.release;
      },
    };
    if (response.ok) {
      try {
        return { value: await exchange.read(reply) };
      } catch (error) {
        if (error instanceof TundraError || signal.aborted) throw error;
        return { why: `an unreadable reply (HTTP ${status})`, cause: error, final: false };
      }
    }
    let cutShort = false;
    const refused = await json(MAX_ERROR_BYTES).catch((error) => {
      if (signal.aborted) throw error;
      cutShort = !(foreign || error instanceof TundraError);
      return undefined;
    });
    const message = errorOf(refused);
    if (status === 400 && message !== undefined) {
      return { value: await exchange.read({ ...reply, json: () => Promise.resolve(refused) }) };
    }
    const said = message === undefined ? "" : ` (${scrub(message, exchange.commands, [settings.token])})`;
    if (status === 413) {
      const shown = `${what} as the request must be smaller: current value is HTTP 413${said}`;
      throw keepLimit(new TundraError("TOO_LARGE", shown), message);
    }
    if (status === 401 || status === 403) {
      return { why: `HTTP ${status}: the server refused the token${said}`, final: true, needsPerson: true };
    }
    // Redis' own errors come with 400: one that is cut short says nothing yet
    const passing = status === 408 || status === 429 || status >= 500 || (status === 400 && cutShort);
    return {
      why: `HTTP ${status}${said}`,
      final: !passing,
      ...(passing && { retryAfterMs: retryAfter(response.headers.get("retry-after")) }),
    };
  } catch (error) {
    if (error instanceof TundraError && !signal.aborted) throw error;
    if (signal.reason === timeout) {
      return { why: `no answer within ${exchange.timeoutMs} ms`, cause: error, final: false };
    }
    // no message of a foreign error: it may show the URL or the request
    return { why: `a network failure${errorName(error)}`, cause: error, final: false };
  } finally {
    if (!kept) link.release();
  }
}

/** The `error` of `{ error }`, where it is that. */
export function errorOf(json: unknown): string | undefined {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return undefined;
  const { error } = json as { error?: unknown };
  return typeof error === "string" ? error : undefined;
}

/** The `result` of `{ result }`; throws for anything else. */
export function resultOf(json: unknown): unknown {
  if (typeof json !== "object" || json === null || !("result" in json)) throw new TypeError("not an answer");
  return json.result;
}

/** ` (ECONNREFUSED)`, ` (TypeError)`, or nothing. */
function errorName(error: unknown): string {
  for (let depth = 0, at = error; depth < 3 && typeof at === "object" && at !== null; depth++) {
    const { code, cause } = at as { code?: unknown; cause?: unknown };
    if (typeof code === "string" && /^\w{1,40}$/.test(code)) return ` (${code})`;
    at = cause;
  }
  return error instanceof Error && /^\w{1,40}$/.test(error.name) ? ` (${error.name})` : "";
}

function stopIfAborted(exchange: Exchange<unknown>, what: string): void {
  const aborted = exchange.signals.find((signal) => signal.aborted);
  if (!aborted) return;
  throw new TundraError("UNAVAILABLE", `${what} as its signal must not be aborted: current value is aborted`, {
    cause: aborted.reason,
  });
}

/** The body as text; undefined where it is larger: then the rest isn't read. */
async function readText(response: Response, signal: AbortSignal, maxBytes: number): Promise<string | undefined> {
  const reader = response.body?.getReader();
  if (!reader) return "";
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  let complete = false;
  try {
    if (Number(response.headers.get("content-length")) > maxBytes) return undefined;
    for (;;) {
      const { done, value } = await untilAborted(reader.read(), signal);
      if (done) break;
      size += value.length;
      if (size > maxBytes) return undefined;
      text += decoder.decode(value, { stream: true });
    }
    complete = true;
    return text + decoder.decode();
  } finally {
    if (!complete) reader.cancel().catch(() => {});
  }
}

/** Seconds or an HTTP date, as milliseconds from now. */
function retryAfter(header: string | null): number {
  if (header === null || header.trim() === "") return 0;
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - wallClockMs();
  return ms > 0 ? ms : 0;
}

/** One segment: a channel's name must not become two, nor disappear. */
function pathSegment(segment: string): string {
  if (segment === "" || segment === "." || segment === ".." || !segment.isWellFormed()) {
    throw new TundraError("BAD_ARGUMENT", "Cannot subscribe as a channel's name must fit into a path: it does not");
  }
  return encodeURIComponent(segment);
}
