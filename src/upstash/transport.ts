/**
 * HTTP to Upstash: one exchange with its bearer token, sync token, time limit, retries and bounds.
 * @module
 */
import { linkSignals, sleep, untilAborted } from "../base/abort.ts";
import { TundraError } from "../base/errors.ts";
import { random } from "../base/platform.ts";
import { errorOf, parseJson, readText, retryAfter } from "./reply.ts";
import { keepLimit, limitOf } from "./said.ts";
import { commandNames, scrub } from "./scrub.ts";

const MAX_BACKOFF_MS = 2_000;
const MAX_RETRY_AFTER_MS = 5_000;
const MAX_ERROR_BYTES = 64 * 1024;

/** The server and the limits of its requests: options that {@linkcode connect} has checked. */
export interface HttpSettings {
  url: string;
  token: string;
  /** The application's `fetch`; `undefined`: the global one, looked up at each call. */
  fetch: typeof fetch | undefined;
  retries: number;
  backoff: (retryCount: number) => number;
  maxReplyBytes: number;
  /** Takes the size of a request that was refused as too large, and the limit that the server named (0: none). */
  tooLarge: (requestBytes: number, limitBytes: number) => void;
  /** Further members of each fetch's init. */
  init: RequestInit;
}

/**
 * The sync token of a reply, and whether to send it. Tokens cannot be compared, and replies overtake each other. So the
 * token of the request that was sent last counts.
 */
export interface SyncToken {
  readYourWrites: boolean;
  token: string;
  /** The number of requests sent. */
  sent: number;
  /** The number of the request that the token is from. */
  from: number;
}

/** One request and how to read its reply. */
export interface Exchange<T> {
  path: string[];
  body: unknown;
  /** The commands: messages name them and must not hold their arguments. */
  commands: readonly (readonly unknown[])[];
  headers?: Record<string, string>;
  signals: AbortSignal[];
  /** The time limit of an attempt in ms; 0: none. */
  timeoutMs: number;
  /** The number of retries. Default: the connection's. */
  retries?: number | undefined;
  onRequest?: (() => void) | undefined;
  /** Reads a 2xx reply, or the JSON of a 400. A TundraError is final; whatever else it throws makes another attempt. */
  read(reply: ReplyBody): Promise<T> | T;
}

/** Sends the request of an exchange and reads its reply; rejects with a TundraError, or with what `onRequest` threw. */
export type Send = <T>(exchange: Exchange<T>) => Promise<T>;

/** The reply to one attempt. */
export interface ReplyBody {
  response: Response;
  /** The whole body as JSON, bounded. */
  json(): Promise<unknown>;
  /** A signal that the caller aborts, or the time limit. */
  signal: AbortSignal;
  /** Keeps the request under the caller's signals after `read` has returned, until the returned function is called. */
  keep(): () => void;
}

/** The failure of an attempt, and whether another one may succeed. */
interface Failure {
  why: string;
  cause?: unknown;
  /** True if another attempt would fail too. */
  final?: boolean;
  /** False if an operator has to change something first. */
  retryable?: boolean;
  /** The wait that the server asked for. */
  retryAfterMs?: number;
}

/** 50 ms, growing by e up to 2 s, with full jitter: at most 3.6 s in five retries. */
export function defaultBackoff(retryCount: number): number {
  return random() * Math.min(MAX_BACKOFF_MS, Math.exp(retryCount) * 50);
}

/** Makes the function that does exchanges. No I/O. */
export function httpClient(settings: HttpSettings, sync: SyncToken): Send {
  return async function send<T>(exchange: Exchange<T>): Promise<T> {
    const url = [settings.url, ...exchange.path.map(pathSegment)].join("/");
    const body = JSON.stringify(exchange.body);
    for (let attempt = 0;; attempt++) {
      stopIfAborted(exchange);
      exchange.onRequest?.();
      const outcome = await once(settings, sync, exchange, url, body).catch((error) => {
        const limit = limitOf(error);
        if (limit !== undefined) settings.tooLarge(new TextEncoder().encode(body).length, limit);
        throw error;
      });
      if ("value" in outcome) return outcome.value;
      stopIfAborted(exchange);
      const { why, cause, final, retryable, retryAfterMs = 0 } = outcome;
      if (final || attempt >= (exchange.retries ?? settings.retries) || retryAfterMs > MAX_RETRY_AFTER_MS) {
        const times = attempt === 0 ? "" : ` after ${attempt + 1} attempts`;
        const what = `${cannotRun(exchange)} as the server must answer`;
        throw new TundraError("UNAVAILABLE", `${what}: current value is ${why}${times}`, { cause, retryable });
      }
      const backoffMs = Number(settings.backoff(attempt));
      const waitMs = Math.max(retryAfterMs, backoffMs > 0 ? Math.min(backoffMs, 2 ** 31 - 1) : 0);
      const link = linkSignals(exchange.signals);
      await sleep(waitMs, link.signal).catch(() => {}).finally(link.release);
    }
  };
}

/** Makes one attempt within its time limit. */
async function once<T>(
  settings: HttpSettings,
  sync: SyncToken,
  exchange: Exchange<T>,
  url: string,
  body: string,
): Promise<{ value: T } | Failure> {
  const link = linkSignals(exchange.signals);
  const { signal } = link;
  let timeout: DOMException | undefined; // made when the time is over: its stack costs more than the rest of an attempt
  if (exchange.timeoutMs > 0) {
    link.limit(exchange.timeoutMs, () => timeout = new DOMException("The time is over", "TimeoutError"));
  }
  let kept = false;
  try {
    const response = await post(settings, sync, exchange, url, body, signal);
    const reply: ReplyBody = {
      response,
      signal,
      json: async () => {
        const { maxReplyBytes } = settings;
        const text = await readText(response, signal, maxReplyBytes);
        if (text !== undefined) return parseJson(text);
        const what = `${cannotRun(exchange)} as the reply must be at most ${maxReplyBytes} bytes`;
        throw new TundraError("TOO_LARGE", `${what}: current value is more (HTTP ${response.status})`);
      },
      keep: () => {
        kept = true;
        return link.release;
      },
    };
    if (!response.ok) return await refused(settings, exchange, reply);
    try {
      return { value: await exchange.read(reply) };
    } catch (error) {
      if (error instanceof TundraError || signal.aborted) throw error;
      return { why: `an unreadable reply (HTTP ${response.status})`, cause: error };
    }
  } catch (error) {
    if (error instanceof TundraError && !signal.aborted) throw error;
    if (timeout !== undefined && signal.reason === timeout) {
      return { why: `no answer within ${exchange.timeoutMs} ms`, cause: error };
    }
    // The message of a foreign error is left out: it may show the URL or the request.
    return { why: `a network failure${errorName(error)}`, cause: error };
  } finally {
    if (!kept) link.release();
  }
}

/** Sends the request; keeps the sync token of the reply. */
async function post(
  settings: HttpSettings,
  sync: SyncToken,
  exchange: Exchange<unknown>,
  url: string,
  body: string,
  signal: AbortSignal,
): Promise<Response> {
  const headers: Record<string, string> = {
    "Content-Type": "application/json",
    ...exchange.headers,
    Authorization: `Bearer ${settings.token}`,
  };
  if (sync.readYourWrites) headers["Upstash-Sync-Token"] = sync.token;
  // A plain variable: called as a method of an object, fetch is an "Illegal invocation" on workerd.
  const doFetch = settings.fetch ?? globalThis.fetch;
  const sent = ++sync.sent;
  const pending = doFetch(url, { ...settings.init, method: "POST", headers, body, signal });
  const response = await untilAborted(pending, signal, (late) => void late.body?.cancel().catch(() => {}));
  const token = response.headers.get("upstash-sync-token");
  if (sync.readYourWrites && token && sent > sync.from) {
    sync.token = token;
    sync.from = sent;
  }
  return response;
}

/** The outcome of an attempt whose status is not 2xx. Redis' own errors come with 400 and JSON; `read` takes those. */
async function refused<T>(
  settings: HttpSettings,
  exchange: Exchange<T>,
  reply: ReplyBody,
): Promise<{ value: T } | Failure> {
  const { response, signal } = reply;
  const { status } = response;
  let text: string | undefined = "";
  let json: unknown;
  try {
    text = await readText(response, signal, MAX_ERROR_BYTES);
    if (text) json = parseJson(text);
  } catch (error) {
    if (signal.aborted) throw error;
  }
  const message = errorOf(json);
  if (status === 400 && message !== undefined) {
    return { value: await exchange.read({ ...reply, json: () => Promise.resolve(json) }) };
  }
  const said = message === undefined ? "" : ` (${scrub(message, exchange.commands, [settings.token])})`;
  if (status === 413) {
    const shown = `${cannotRun(exchange)} as the request must be smaller: current value is HTTP 413${said}`;
    throw keepLimit(new TundraError("TOO_LARGE", shown), message);
  }
  if (status === 401 || status === 403) {
    return { why: `HTTP ${status}: the server refused the token${said}`, final: true, retryable: false };
  }
  // A body that does not even begin as JSON is not cut short: a proxy wrote it.
  const cutShort = json === undefined && text !== undefined && !/^\s*[^\s{[]/.test(text);
  // A 400 that is cut short does not say yet what Redis refused.
  const passing = status === 408 || status === 429 || status >= 500 || (status === 400 && cutShort);
  return {
    why: `HTTP ${status}${said}`,
    ...(passing ? { retryAfterMs: retryAfter(response.headers.get("retry-after")) } : { final: true }),
  };
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

function cannotRun({ commands }: Exchange<unknown>): string {
  return `Cannot run ${commandNames(commands)}`;
}

function stopIfAborted(exchange: Exchange<unknown>): void {
  const aborted = exchange.signals.find((signal) => signal.aborted);
  if (!aborted) return;
  const what = cannotRun(exchange);
  throw new TundraError("UNAVAILABLE", `${what} as its signal must not be aborted: current value is aborted`, {
    cause: aborted.reason,
  });
}

/** One segment of the path: a channel's name must not become two segments, nor none. */
function pathSegment(segment: string): string {
  if (segment === "" || segment === "." || segment === ".." || !segment.isWellFormed()) {
    throw new TundraError("BAD_ARGUMENT", "Cannot subscribe as a channel's name must fit into a path: it does not");
  }
  return encodeURIComponent(segment);
}
