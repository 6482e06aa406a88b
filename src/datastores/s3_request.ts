/**
 * One signed S3 request: retries, time limits, a clock that is wrong, and what an error means to a caller.
 * @module
 */
import { AwsV4Signer } from "aws4fetch";
import { linkSignals, sleep, untilAborted } from "../abort.ts";
import { digest, monotonicMs, random, wallClockMs } from "../ambient.ts";
import { show, TundraError, type TundraErrorCode } from "../errors.ts";
import type { DataStoreCallOptions } from "./datastore.ts";
import { xmlText } from "./xml.ts";

/** Checked options of a connection. */
export interface S3Connection {
  fetch: typeof fetch;
  /** Of the bucket, ending in a slash. */
  url: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  timeoutMs: number;
  retries: number;
  /** Send `x-amz-checksum-sha256`: the server then keeps it with the object. */
  checksums: boolean;
}

/** One request. */
export interface S3Call {
  /** Begins messages: `Cannot ${what} as ...`. */
  what: string;
  method: "GET" | "PUT" | "DELETE";
  /** Object path with the prefix; empty for the bucket. Holds nothing that needs escaping. */
  path: string;
  /** Escaped query, with its `?`. */
  query?: string;
  headers?: Record<string, string>;
  body?: Uint8Array;
  /** Only the status matters: a body that was not asked for is not read. */
  statusOnly?: boolean;
  /** S3 error codes that are an answer and no failure. */
  answers?: readonly string[];
}

/** An answer: `code` is empty for a success, else one of the call's `answers`. */
export interface S3Reply {
  code: string;
  bytes: Uint8Array;
}

/** Sends one call; rejects with a TundraError, the signal's reason, or what `onRequest` threw. */
export type S3Requester = (call: S3Call, options?: DataStoreCallOptions) => Promise<S3Reply>;

/** No retry begins later than this after the first attempt. */
export const RETRY_WITHIN_MS = 5000;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 1500;
/** A slow line: time for an upload grows with its size. */
const UPLOAD_BYTES_PER_MS = 1000;
const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** The object is not to blame: the store, its configuration or the way there is. These come with a status 400 to 409. */
const STORE_TROUBLE = new Set([
  "AccountProblem",
  "AuthorizationHeaderMalformed",
  "ExpiredToken",
  "IllegalLocationConstraintException",
  "InvalidBucketName",
  "InvalidToken",
  "TokenRefreshRequired",
]);
/** The same, and another attempt may well succeed. */
const TRANSIENT = new Set([
  "BadDigest",
  "IncompleteBody",
  "InternalError",
  "OperationAborted",
  "RequestTimeout",
  "ServiceUnavailable",
  "SlowDown",
  "Throttling",
  "XAmzContentSHA256Mismatch",
]);
const SKEWED = new Set(["RequestTimeTooSkewed", "RequestExpired"]);
const TOO_LARGE = new Set(["EntityTooLarge", "MaxMessageLengthExceeded"]);

type Outcome =
  | { reply: S3Reply }
  | { error: TundraError; again: "no" | "later" | "with our clock corrected" };

/** A requester for one bucket. */
export function s3Requester(connection: S3Connection): S3Requester {
  const { fetch: send, timeoutMs, retries } = connection;
  const secrets = [connection.secretAccessKey, connection.sessionToken, connection.accessKeyId];
  const signingKeys = new Map<string, ArrayBuffer>();
  let skewMs = 0;

  return async (call, { signal, onRequest } = {}) => {
    const begunMs = monotonicMs();
    const hash = call.body && await sha256(call.body);
    let corrected = false;
    for (let attempt = 0;; attempt++) {
      signal?.throwIfAborted();
      onRequest?.();
      const outcome = await request(call, hash, signal);
      if ("reply" in outcome) return outcome.reply;
      if (outcome.again === "with our clock corrected" && !corrected) {
        corrected = true;
        continue;
      }
      const late = monotonicMs() - begunMs > RETRY_WITHIN_MS;
      if (outcome.again !== "later" || attempt >= retries || late) throw outcome.error;
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
      // Signed and checked by the server: a body that was damaged on its way is refused.
      const headers: Record<string, string> = {
        ...call.headers,
        "x-amz-content-sha256": hash ? hex(hash) : EMPTY_SHA256,
      };
      if (hash && connection.checksums) headers["x-amz-checksum-sha256"] = btoa(String.fromCharCode(...hash));
      const signed = await new AwsV4Signer({
        method: call.method,
        url: connection.url + call.path + (call.query ?? ""),
        headers,
        service: "s3",
        region: connection.region,
        accessKeyId: connection.accessKeyId,
        secretAccessKey: connection.secretAccessKey,
        sessionToken: connection.sessionToken,
        cache: signingKeys,
        datetime: new Date(wallClockMs() + skewMs).toISOString().replace(/[:-]|\.\d{3}/g, ""),
      }).sign();
      const limitMs = timeoutMs + (call.body?.length ?? 0) / UPLOAD_BYTES_PER_MS;
      [response, bytes] = await limited(limitMs, timeoutMs, signal, async (inner, progress) => {
        const response = await send(signed.url.toString(), {
          method: call.method,
          headers: signed.headers,
          body: call.body as Uint8Array<ArrayBuffer> | undefined,
          redirect: "manual",
          signal: inner,
        });
        if (call.statusOnly && response.status === 200) {
          response.body?.cancel().catch(() => {});
          return [response, new Uint8Array(0)];
        }
        return [response, await readBody(response, progress)];
      });
    } catch (thrown) {
      signal?.throwIfAborted();
      return { again: "later", error: failure(call, "UNAVAILABLE", reason(thrown), thrown) };
    }
    if (response.ok) {
      if (call.method === "PUT" && bytes.length > 0) {
        // S3 answers a PUT with nothing: this page comes from something in between, and proves nothing.
        return { again: "later", error: failure(call, "UNAVAILABLE", `${response.status} with an unexpected body`) };
      }
      return { reply: { code: "", bytes } };
    }
    return refused(call, response, new TextDecoder().decode(bytes));
  }

  /** What a status other than 2xx means. */
  function refused(call: S3Call, response: Response, xml: string): Outcome {
    const { status } = response;
    const code = xmlText(xml, "Code") ?? "";
    if (code !== "" && call.answers?.includes(code)) return { reply: { code, bytes: new Uint8Array(0) } };
    const region = response.headers.get("x-amz-bucket-region");
    const text = [
      `${status} ${code || "without an S3 error code"}`,
      xmlText(xml, "Message"),
      region && region !== connection.region ? `the bucket is in region ${region}` : undefined,
      code === "AccessDenied" && call.method === "GET"
        ? "S3 says so of an absent object too where s3:ListBucket is not allowed"
        : undefined,
    ].filter(Boolean).join(": ");
    const error = (code: TundraErrorCode) => failure(call, code, text);
    if (TOO_LARGE.has(code) || status === 413) return { again: "no", error: error("TOO_LARGE") };
    if (SKEWED.has(code)) {
      const serverSkew = serverSkewMs(response, xml);
      skewMs = serverSkew ?? skewMs;
      return { again: serverSkew === undefined ? "no" : "with our clock corrected", error: error("UNAVAILABLE") };
    }
    if (status >= 500 || status === 408 || status === 409 || status === 429 || TRANSIENT.has(code)) {
      return { again: "later", error: error("UNAVAILABLE") };
    }
    // Redirections, credentials, a missing bucket: any object would fare the same until a person has looked.
    const store = status < 400 || status === 401 || status === 403 || status === 404 || STORE_TROUBLE.has(code);
    return { again: "no", error: error(store ? "UNAVAILABLE" : "UNSUPPORTED") };
  }

  function failure(call: S3Call, code: TundraErrorCode, text: string, cause?: unknown): TundraError {
    let message = `Cannot ${call.what} as the S3 server must do it: ${text}`;
    for (const secret of secrets) if (secret && secret.length > 3) message = message.replaceAll(secret, "***");
    return new TundraError(code, message.length > 600 ? message.slice(0, 600) + "..." : message, { cause });
  }
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
