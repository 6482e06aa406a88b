/**
 * One signed request to DynamoDB: its retries, time limits, the correction of a wrong clock, and the meaning of errors.
 * @module
 */
import { AwsV4Signer } from "aws4fetch";
import { TundraError, type TundraErrorDetails } from "../../base/errors.ts";
import { onWorkerd, wallClockMs } from "../../base/platform.ts";
import { limited, type Outcome, reasonOf, withAttempts, withoutSecrets } from "../attempts.ts";
import type { DatastoreCallOptions } from "../datastore.ts";
import { readBody } from "../s3/body.ts";
import { type CredentialStore, credentialStore } from "../s3/credentials.ts";
import type { DynamodbConnection } from "./options.ts";
import { adviceFor, readRefusal, type Said } from "./refusals.ts";

/** An object of JSON. */
export type Json = Record<string, unknown>;

/** One request. */
export interface Call<T> {
  /** The beginning of messages: `Cannot ${what} as ...`. */
  what: string;
  operation: string;
  body: Json;
  /** Codes of errors that are an answer and no failure. */
  answers?: readonly string[];
  /**
   * Reads a success, or with a `code` one of the `answers`. What it throws makes the reply one that proves nothing, and
   * the request is repeated.
   */
  read: (reply: Json, code: string) => T;
  /** Called for each attempt of which nobody knows whether DynamoDB has carried it out, or will. */
  onUnknown?: () => void;
}

/** Sends one call; rejects with a TundraError, the signal's reason, or what `onRequest` threw. */
export type Requester = <T>(call: Call<T>, options?: DatastoreCallOptions) => Promise<T>;

/** The speed of a slow line: the time limit of a request grows with its size. */
const UPLOAD_BYTES_PER_MS = 1000;

/** A connection with what its requests have in common. */
interface Session extends Omit<DynamodbConnection, "credentials"> {
  credentials: CredentialStore;
  /** Signing keys of the day, kept by the signer. */
  signingKeys: Map<string, ArrayBuffer>;
  /** The milliseconds that the server's clock is known to be ahead. */
  skewMs: number;
}

/** A requester for one table. */
export function requesterFor(connection: DynamodbConnection): Requester {
  const credentials = credentialStore(connection.credentials);
  const session: Session = { ...connection, credentials, signingKeys: new Map(), skewMs: 0 };
  return async (call, options = {}) => {
    const body = JSON.stringify(call.body);
    return await withAttempts(
      connection.retries,
      credentials.expire,
      options,
      () => attempt(session, call, body, options.signal),
    );
  };
}

async function attempt<T>(
  session: Session,
  call: Call<T>,
  body: string,
  signal: AbortSignal | undefined,
): Promise<Outcome<T>> {
  const { fetch: send, timeoutMs } = session;
  let response: Response;
  let text: string;
  try {
    const limitMs = timeoutMs + body.length / UPLOAD_BYTES_PER_MS;
    [response, text] = await limited(limitMs, timeoutMs, signal, async (inner, progress) => {
      const headers = await sign(session, call.operation, body);
      const response = await send(session.url, {
        method: "POST",
        headers,
        body,
        redirect: "manual",
        signal: inner,
        // workerd has no cache and refuses the option
        ...(onWorkerd() ? {} : { cache: "no-store" as const }),
      });
      return [response, new TextDecoder().decode(await readBody(response, progress))];
    });
  } catch (thrown) {
    call.onUnknown?.();
    signal?.throwIfAborted();
    if (thrown instanceof TundraError) return { again: "no", error: failure(session, call, thrown.message, thrown) };
    return { again: "later", error: failure(session, call, reasonOf(thrown), { cause: thrown }) };
  }
  if (response.status !== 200) return refused(session, call, response, text);
  try {
    return { reply: call.read(objectOf(parse(text), "the reply"), "") };
  } catch (thrown) {
    call.onUnknown?.();
    const is = `${reasonOf(thrown)}: is the endpoint DynamoDB?`;
    return { again: "later", error: failure(session, call, `200 with an unexpected reply: ${is}`) };
  }
}

/** Signs a call and its body's hash, so that the server refuses a body that was damaged on its way. */
async function sign(session: Session, operation: string, body: string): Promise<Headers> {
  const { accessKeyId, secretAccessKey, sessionToken } = await session.credentials.current();
  const { headers } = await new AwsV4Signer({
    method: "POST",
    url: session.url,
    headers: { "content-type": "application/x-amz-json-1.0", "x-amz-target": `DynamoDB_20120810.${operation}` },
    body,
    service: "dynamodb",
    region: session.region,
    accessKeyId,
    secretAccessKey,
    sessionToken,
    cache: session.signingKeys,
    datetime: new Date(wallClockMs() + session.skewMs).toISOString().replace(/[:-]|\.\d{3}/g, ""),
  }).sign();
  return headers;
}

/** The outcome of an attempt whose status is not 200. */
function refused<T>(
  session: Session,
  call: Call<T>,
  { status, headers }: Response,
  text: string,
): Outcome<T> {
  const reply = parse(text) as Json | undefined;
  const said: Said = {
    status,
    code: typeof reply?.__type === "string" ? reply.__type.slice(reply.__type.indexOf("#") + 1) : "",
    message: String(reply?.message ?? reply?.Message ?? ""),
  };
  if (call.answers?.includes(said.code)) return { reply: call.read({}, said.code) };
  if (status !== 400 || said.code === "") call.onUnknown?.();
  const refusal = readRefusal(said);
  let { again } = refusal;
  if (again === "clock") {
    const time = Date.parse(headers.get("date") ?? "");
    if (Number.isNaN(time)) again = "no";
    else session.skewMs = time - wallClockMs();
  }
  const shown = [
    `${status} ${said.code || "without an error code of DynamoDB"}`,
    said.message,
    adviceFor(said, call.operation),
  ].filter(Boolean).join(": ");
  return { again, error: failure(session, call, shown, refusal) };
}

function failure(
  { credentials, table }: Session,
  call: Pick<Call<unknown>, "what">,
  text: string,
  { code = "UNAVAILABLE", retryable, cause }: Partial<Pick<TundraError, "code">> & TundraErrorDetails = {},
): TundraError {
  const message = `Cannot ${call.what} as DynamoDB must do it in the table ${table}: ${text}`;
  return new TundraError(code, withoutSecrets(message, credentials.secrets()), { retryable, cause });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * The value as an object of JSON.
 *
 * @throws {Error} if it is none
 */
export function objectOf(value: unknown, what: string): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw new Error(`${what} is no object of JSON`);
}

/**
 * The value as an array.
 *
 * @throws {Error} if it is none
 */
export function arrayOf(value: unknown, what: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new Error(`${what} is no array`);
}
