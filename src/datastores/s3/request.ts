/**
 * One signed S3 request: its retries, time limits, the correction of a wrong clock, and the meaning of errors.
 * @module
 */
import { AwsV4Signer } from "aws4fetch";
import { TundraError, type TundraErrorDetails } from "../../base/errors.ts";
import { digest, hex, onWorkerd, wallClockMs } from "../../base/platform.ts";
import { limited, type Outcome, reasonOf, withAttempts, withoutSecrets } from "../attempts.ts";
import type { DatastoreCallOptions } from "../datastore.ts";
import { type ByteRange, rangeHeader, readBody } from "./body.ts";
import { type CredentialSource, type CredentialStore, credentialStore } from "./credentials.ts";
import { contentMd5 } from "./md5.ts";
import { adviceFor, readRefusal } from "./refusals.ts";
import { xmlText } from "./xml.ts";

/** Checked options of a connection. */
export interface S3Connection {
  fetch: typeof fetch;
  /** The bucket's URL, ending in a slash. */
  url: string;
  region: string;
  credentials: CredentialSource;
  timeoutMs: number;
  retries: number;
  /** The checksum of a body besides its signed hash: `x-amz-checksum-sha256` is kept with the object. */
  checksum: "sha256" | "md5" | "none";
  /** Headers of uploads. */
  putHeaders: Record<string, string>;
}

/** One request. */
export interface S3Call {
  /** The beginning of messages: `Cannot ${what} as ...`. */
  what: string;
  method: "GET" | "PUT" | "POST" | "DELETE";
  /** The object's path with the prefix; empty for the bucket. It holds nothing that needs escaping. */
  path: string;
  /** Escaped query, with its `?`. */
  query?: string;
  headers?: Record<string, string>;
  body?: Uint8Array;
  /** The part of the object that is wanted. Default: all of it. */
  range?: ByteRange;
  /** True if S3 refuses this body without a checksum. */
  needsChecksum?: boolean;
  /** True if it begins an upload of several parts, so that it has the headers of uploads and names their checksum. */
  isUpload?: boolean;
  /** True if the body is no object's: it needs no checksum. */
  isControl?: boolean;
  /** True if only the status matters: a body that was not asked for is not read. */
  statusOnly?: boolean;
  /**
   * S3 error codes that are an answer and no failure; a status as text, such as `"404"`, if it comes without a code.
   */
  answers?: readonly string[];
}

/** An answer: `code` is empty for a success, else one of the call's `answers`. */
export interface S3Reply {
  code: string;
  bytes: Uint8Array;
  /** Of what was put; "" for none. */
  etag: string;
  /** The checksum that was sent with the body; "" for none. */
  sha256: string;
}

/** Sends one call; rejects with a TundraError, the signal's reason, or what `onRequest` threw. */
export type S3Requester = (call: S3Call, options?: DatastoreCallOptions) => Promise<S3Reply>;

/** The speed of a slow line: the time limit of an upload grows with its size. */
const UPLOAD_BYTES_PER_MS = 1000;
const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** A connection with what its requests have in common. */
interface S3Session extends Omit<S3Connection, "credentials"> {
  credentials: CredentialStore;
  /** Signing keys of the day, kept by the signer. */
  signingKeys: Map<string, ArrayBuffer>;
  /** The milliseconds that the server's clock is known to be ahead. */
  skewMs: number;
}

/** A requester for one bucket. */
export function s3Requester(connection: S3Connection): S3Requester {
  const credentials = credentialStore(connection.credentials);
  const session: S3Session = { ...connection, credentials, signingKeys: new Map(), skewMs: 0 };

  return async (call, options = {}) => {
    const hash = call.body && await digest("SHA-256", call.body);
    const attempt = () => request(session, call, hash, options.signal);
    return await withAttempts(connection.retries, credentials.expire, options, attempt);
  };
}

/** Makes one attempt. */
async function request(
  session: S3Session,
  call: S3Call,
  hash: Uint8Array | undefined,
  signal: AbortSignal | undefined,
): Promise<Outcome<S3Reply>> {
  const { fetch: send, timeoutMs } = session;
  let response: Response;
  let bytes: Uint8Array;
  try {
    const limitMs = timeoutMs + (call.body?.length ?? 0) / UPLOAD_BYTES_PER_MS;
    [response, bytes] = await limited(limitMs, timeoutMs, signal, async (inner, progress) => {
      const signed = await sign(session, call, hash);
      const response = await send(signed.url.toString(), {
        method: call.method,
        headers: signed.headers,
        body: call.body as Uint8Array<ArrayBuffer> | undefined,
        redirect: "manual",
        signal: inner,
        // A framework's cache would keep archived values. workerd has no cache and refuses the option.
        ...(onWorkerd() ? {} : { cache: "no-store" as const }),
      });
      if (call.statusOnly && response.status === 200) {
        response.body?.cancel().catch(() => {});
        return [response, new Uint8Array(0)];
      }
      return [response, await readBody(response, progress, response.ok ? call.range : undefined)];
    });
  } catch (thrown) {
    signal?.throwIfAborted();
    if (thrown instanceof TundraError) return { again: "no", error: failure(session, call, thrown.message, thrown) };
    return { again: "later", error: failure(session, call, reasonOf(thrown), { cause: thrown }) };
  }
  if (!response.ok) return refused(session, call, response, new TextDecoder().decode(bytes));
  const doubt = doubtful(call, response, bytes);
  if (doubt) return { again: "later", error: failure(session, call, `${response.status} ${doubt}`) };
  const etag = response.headers.get("etag") ?? "";
  return { reply: { code: "", bytes, etag, sha256: hash && sendsSha256(session, call) ? base64(hash) : "" } };
}

/** Signs a call and its body's hash, so that the server refuses a body that was damaged on its way. */
async function sign(
  session: S3Session,
  call: S3Call,
  hash: Uint8Array | undefined,
): Promise<{ url: URL; headers: Headers }> {
  const { url, region, checksum, signingKeys } = session;
  const headers: Record<string, string> = {
    ...(call.isUpload || (call.method === "PUT" && call.query === undefined) ? session.putHeaders : {}),
    ...(call.isUpload && checksum === "sha256" && { "x-amz-checksum-algorithm": "SHA256" }),
    ...call.headers,
    ...(call.range && rangeHeader(call.range)),
    "x-amz-content-sha256": hash ? hex(hash) : EMPTY_SHA256,
  };
  if (hash && sendsSha256(session, call)) headers["x-amz-checksum-sha256"] = base64(hash);
  if (call.body && !call.isControl && (checksum === "md5" || (call.needsChecksum && checksum === "none"))) {
    headers["content-md5"] = contentMd5(call.body);
  }
  const { accessKeyId, secretAccessKey, sessionToken } = await session.credentials.current();
  return await new AwsV4Signer({
    method: call.method,
    // The bucket itself is named as SDKs name it, without the slash: a server signs the URL that it read.
    url: (call.path === "" ? url.slice(0, -1) : url + call.path) + (call.query ?? ""),
    headers,
    service: "s3",
    region,
    accessKeyId,
    secretAccessKey,
    sessionToken,
    cache: signingKeys,
    datetime: new Date(wallClockMs() + session.skewMs).toISOString().replace(/[:-]|\.\d{3}/g, ""),
  }).sign();
}

/** The outcome of an attempt whose status is not 2xx. */
function refused(session: S3Session, call: S3Call, response: Response, xml: string): Outcome<S3Reply> {
  const { status, headers } = response;
  const code = xmlText(xml, "Code") ?? (status === 412 ? "PreconditionFailed" : "");
  const answer = code || String(status);
  if (call.answers?.includes(answer)) {
    return { reply: { code: answer, bytes: new Uint8Array(0), etag: "", sha256: "" } };
  }
  const refusal = readRefusal(status, code);
  const text = [
    `${status} ${code || "without an S3 error code"}`,
    xmlText(xml, "Message"),
    ...adviceFor({ status, code, method: call.method, headers, region: session.region }),
  ].filter(Boolean).join(": ");
  let { again } = refusal;
  if (again === "clock") {
    const serverSkew = serverSkewMs(response, xml);
    session.skewMs = serverSkew ?? session.skewMs;
    if (serverSkew === undefined) again = "no";
  }
  return { again, error: failure(session, call, text, refusal) };
}

function failure(
  { credentials }: S3Session,
  call: S3Call,
  text: string,
  { code = "UNAVAILABLE", retryable, cause }: Partial<Pick<TundraError, "code">> & TundraErrorDetails = {},
): TundraError {
  const message = withoutSecrets(`Cannot ${call.what} as the S3 server must do it: ${text}`, credentials.secrets());
  return new TundraError(code, message, { retryable, cause });
}

/** The reason to doubt a success: S3 does not answer so, hence it comes from a proxy and proves nothing. */
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

/** Tells if a body goes with a checksum that the server keeps. */
function sendsSha256({ checksum }: S3Session, { isControl }: S3Call): boolean {
  return checksum === "sha256" && !isControl;
}

function base64(hash: Uint8Array): string {
  return btoa(String.fromCharCode(...hash));
}

/** The milliseconds that the server's clock is ahead of ours; `undefined` if it does not say its time. */
function serverSkewMs(response: Response, xml: string): number | undefined {
  const time = Date.parse(response.headers.get("date") ?? xmlText(xml, "ServerTime") ?? "");
  return Number.isNaN(time) ? undefined : time - wallClockMs();
}
