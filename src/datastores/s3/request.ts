/**
 * One signed S3 request: retries, time limits, a clock that is wrong, and what an error means to a caller.
 * @module
 */
import { AwsV4Signer } from "aws4fetch";
import { linkSignals, sleep, untilAborted } from "../../base/abort.ts";
import { show, TundraError, type TundraErrorDetails } from "../../base/errors.ts";
import { digest, monotonicMs, onWorkerd, random, wallClockMs } from "../../base/platform.ts";
import type { DatastoreCallOptions } from "../datastore.ts";
import { type CredentialSource, credentialStore } from "./credentials.ts";
import { contentMd5 } from "./md5.ts";
import { adviceFor, readRefusal, type S3Refusal } from "./refusals.ts";
import { xmlText } from "./xml.ts";

/** Checked options of a connection. */
export interface S3Connection {
  fetch: typeof fetch;
  /** Of the bucket, ending in a slash. */
  url: string;
  region: string;
  credentials: CredentialSource;
  timeoutMs: number;
  retries: number;
  /** What a body brings besides its signed hash: `x-amz-checksum-sha256` is kept with the object. */
  checksum: "sha256" | "md5" | "none";
  /** Headers of uploads. */
  putHeaders: Record<string, string>;
}

/** One request. */
export interface S3Call {
  /** Begins messages: `Cannot ${what} as ...`. */
  what: string;
  method: "GET" | "PUT" | "POST" | "DELETE";
  /** Object path with the prefix; empty for the bucket. Holds nothing that needs escaping. */
  path: string;
  /** Escaped query, with its `?`. */
  query?: string;
  headers?: Record<string, string>;
  body?: Uint8Array;
  /** S3 refuses this body without a checksum. */
  needsChecksum?: boolean;
  /** Only the status matters: a body that was not asked for is not read. */
  statusOnly?: boolean;
  /** S3 error codes that are an answer and no failure; a status as text, such as `"404"`, where it comes without a code. */
  answers?: readonly string[];
}

/** An answer: `code` is empty for a success, else one of the call's `answers`. */
export interface S3Reply {
  code: string;
  bytes: Uint8Array;
}

/** Sends one call; rejects with a TundraError, the signal's reason, or what `onRequest` threw. */
export type S3Requester = (call: S3Call, options?: DatastoreCallOptions) => Promise<S3Reply>;

/** No retry begins later than this after the first attempt. */
export const RETRY_WITHIN_MS = 5000;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 1500;
/** A slow line: time for an upload grows with its size. */
const UPLOAD_BYTES_PER_MS = 1000;
const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

type Outcome =
  | { reply: S3Reply }
  | { error: TundraError; again: S3Refusal["again"] };

/** A requester for one bucket. */
export function s3Requester(connection: S3Connection): S3Requester {
  const { fetch: send, timeoutMs, retries } = connection;
  const credentials = credentialStore(connection.credentials);
  const signingKeys = new Map<string, ArrayBuffer>();
  let skewMs = 0;

  return async (call, { signal, onRequest } = {}) => {
    const begunMs = monotonicMs();
    const hash = call.body && await sha256(call.body);
    const corrected = new Set<S3Refusal["again"]>();
    for (let attempt = 0;; attempt++) {
      signal?.throwIfAborted();
      onRequest?.();
      const outcome = await request(call, hash, signal);
      if ("reply" in outcome) return outcome.reply;
      const { again, error } = outcome;
      // what was wrong is right now, once
      if (
        again.startsWith("with ") && !corrected.has(again) && (again !== "with new credentials" || credentials.expire())
      ) {
        corrected.add(again);
        continue;
      }
      const late = monotonicMs() - begunMs > RETRY_WITHIN_MS;
      if (again !== "later" || attempt >= retries || late) throw error;
      await sleep(random() * Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** attempt), signal);
    }
  };

  async function request(
    call: S3Call,
    hash: Uint8Array | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Outcome> {
    let response: Response;
    let bytes: Uint8Array;
    try {
      const limitMs = timeoutMs + (call.body?.length ?? 0) / UPLOAD_BYTES_PER_MS;
      [response, bytes] = await limited(limitMs, timeoutMs, signal, async (inner, progress) => {
        const signed = await sign(call, hash);
        const response = await send(signed.url.toString(), {
          method: call.method,
          headers: signed.headers,
          body: call.body as Uint8Array<ArrayBuffer> | undefined,
          redirect: "manual",
          signal: inner,
          // a framework's cache would keep archived values; workerd has none, and refuses the option
          ...(onWorkerd() ? {} : { cache: "no-store" as const }),
        });
        if (call.statusOnly && response.status === 200) {
          response.body?.cancel().catch(() => {});
          return [response, new Uint8Array(0)];
        }
        return [response, await readBody(response, progress)];
      });
    } catch (thrown) {
      signal?.throwIfAborted();
      if (thrown instanceof TundraError) return { again: "no", error: failure(call, thrown.message, thrown) };
      return { again: "later", error: failure(call, reason(thrown), { cause: thrown }) };
    }
    if (!response.ok) return refused(call, response, new TextDecoder().decode(bytes));
    const doubt = doubtful(call, response, bytes);
    if (doubt) return { again: "later", error: failure(call, `${response.status} ${doubt}`) };
    return { reply: { code: "", bytes } };
  }

  /** Signed and checked by the server: a body that was damaged on its way is refused. */
  async function sign(call: S3Call, hash: Uint8Array | undefined): Promise<{ url: URL; headers: Headers }> {
    const headers: Record<string, string> = {
      ...(call.method === "PUT" ? connection.putHeaders : {}),
      ...call.headers,
      "x-amz-content-sha256": hash ? hex(hash) : EMPTY_SHA256,
    };
    if (hash && connection.checksum === "sha256") headers["x-amz-checksum-sha256"] = btoa(String.fromCharCode(...hash));
    if (call.body && (connection.checksum === "md5" || (call.needsChecksum && connection.checksum === "none"))) {
      headers["content-md5"] = contentMd5(call.body);
    }
    const { accessKeyId, secretAccessKey, sessionToken } = await credentials.current();
    return await new AwsV4Signer({
      method: call.method,
      // the bucket itself as SDKs ask for it, without the slash: servers sign what they think they were asked
      url: (call.path === "" ? connection.url.slice(0, -1) : connection.url + call.path) + (call.query ?? ""),
      headers,
      service: "s3",
      region: connection.region,
      accessKeyId,
      secretAccessKey,
      sessionToken,
      cache: signingKeys,
      datetime: new Date(wallClockMs() + skewMs).toISOString().replace(/[:-]|\.\d{3}/g, ""),
    }).sign();
  }

  /** What a status other than 2xx means. */
  function refused(call: S3Call, response: Response, xml: string): Outcome {
    const { status, headers } = response;
    const code = xmlText(xml, "Code") ?? (status === 412 ? "PreconditionFailed" : "");
    const answer = code || String(status);
    if (call.answers?.includes(answer)) return { reply: { code: answer, bytes: new Uint8Array(0) } };
    const refusal = readRefusal(status, code);
    const text = [
      `${status} ${code || "without an S3 error code"}`,
      xmlText(xml, "Message"),
      ...adviceFor({ status, code, method: call.method, headers, region: connection.region }),
    ].filter(Boolean).join(": ");
    let { again } = refusal;
    if (again === "with our clock corrected") {
      const serverSkew = serverSkewMs(response, xml);
      skewMs = serverSkew ?? skewMs;
      if (serverSkew === undefined) again = "no";
    }
    return { again, error: failure(call, text, refusal) };
  }

  function failure(
    call: S3Call,
    text: string,
    { code = "UNAVAILABLE", retryable, cause }: Partial<Pick<TundraError, "code">> & TundraErrorDetails = {},
  ): TundraError {
    let message = `Cannot ${call.what} as the S3 server must do it: ${text}`;
    for (const secret of credentials.secrets()) if (secret.length > 3) message = message.replaceAll(secret, "***");
    return new TundraError(code, message.length > 600 ? message.slice(0, 600) + "..." : message, { retryable, cause });
  }
}

/** A success that S3 would not answer so comes from something in between, and proves nothing. */
function doubtful(call: S3Call, response: Response, bytes: Uint8Array): string | undefined {
  if (/^text\/html/i.test(response.headers.get("content-type") ?? "")) {
    return "with a web page: is the endpoint an S3 server?";
  }
  const { status, headers } = response;
  if (call.method === "PUT") {
    if (bytes.length > 0) return "with an unexpected body";
    if (status !== 200 || !headers.get("etag")) return "without an ETag, which S3 gives to what it has stored";
  }
  const expected = call.method === "DELETE" ? [200, 204] : call.method === "GET" ? [200, 206] : [200];
  return expected.includes(status) ? undefined : "which S3 never answers";
}

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return await digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** How far the server's clock is ahead of ours, where it tells its own. */
function serverSkewMs(response: Response, xml: string): number | undefined {
  const time = Date.parse(response.headers.get("date") ?? xmlText(xml, "ServerTime") ?? "");
  return Number.isNaN(time) ? undefined : time - wallClockMs();
}

/** Runs `act` for `firstMs`, and for `idleMs` more after each sign of progress, even if it ignores its signal. */
async function limited<T>(
  firstMs: number,
  idleMs: number,
  signal: AbortSignal | undefined,
  act: (signal: AbortSignal, progress: () => void) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const link = linkSignals([signal]);
  const allow = (ms: number) => link.limit(ms, () => new Error(`no progress in ${Math.round(ms)} ms`));
  try {
    allow(firstMs);
    return await untilAborted(act(link.signal, () => allow(idleMs)), link.signal);
  } finally {
    link.release();
  }
}

/** The whole body; fails where it is shorter than promised. */
async function readBody(response: Response, progress: () => void): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = response.body?.getReader();
  for (let read = await reader?.read(); read && !read.done; read = await reader!.read()) {
    progress();
    chunks.push(read.value);
    length += read.value.length;
  }
  const promised = response.headers.get("content-length");
  // A length on the wire says nothing about bytes that fetch has decoded.
  if (promised !== null && !response.headers.has("content-encoding") && Number(promised) !== length) {
    throw new Error(`the reply ended after ${length} of ${show(promised)} bytes`);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** What `fetch` threw, with the cause that it likes to hide. */
function reason(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const cause = thrown.cause instanceof Error ? thrown.cause.message : "";
  return cause === "" || thrown.message.includes(cause) ? thrown.message : `${thrown.message}: ${cause}`;
}
