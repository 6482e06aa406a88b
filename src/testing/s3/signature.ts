/**
 * Verifies AWS Signature Version 4, in the Authorization header or in the query (presigned), from the specification:
 * the code that signs requests shares nothing with it.
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { S3Error } from "./error.ts";

const MAX_SKEW_MS = 15 * 60_000;

/** Whose signatures are accepted. */
export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  region: string;
}

/** The part of a request that a signature covers. */
export interface SignedRequest {
  method: string;
  /** Decoded. */
  path: string;
  /** Decoded, in order. */
  query: [string, string][];
  /** Names in lower case. */
  headers: [string, string][];
}

/** The service whose requests are signed. */
export interface SignedService {
  /** Its name in the scope of a credential. */
  name: string;
  /** The SHA-256 of the body, for services whose requests have no header that tells it. */
  payload?: string;
}

/** The statement of the signature about the body: `UNSIGNED-PAYLOAD`, or its SHA-256. */
export interface SignedPayload {
  payload: string;
  presigned: boolean;
}

/** The first value of a header or query parameter. */
export function valueOf(pairs: [string, string][], name: string): string | undefined {
  return pairs.find((pair) => pair[0] === name)?.[1];
}

/**
 * Checks key, date, scope and signature of a request; the body is checked against the result by `checkPayload`.
 *
 * @throws {S3Error} what S3 answers
 */
export function verifySignature(
  request: SignedRequest,
  credentials: Credentials,
  nowMs: number,
  service: SignedService = { name: "s3" },
): SignedPayload {
  const authorization = valueOf(request.headers, "authorization");
  const presigned = request.query.some(([name]) => name === "X-Amz-Algorithm" || name === "X-Amz-Signature");
  if (authorization !== undefined && presigned) {
    throw new S3Error(400, "InvalidArgument", "Only one auth mechanism allowed");
  }
  if (authorization === undefined && !presigned) throw new S3Error(403, "AccessDenied", "Access Denied");
  const claim = presigned ? readQuery(request) : readHeader(request, authorization!, service.payload);

  const { accessKeyId, scope, signedHeaders } = claim;
  if (accessKeyId !== credentials.accessKeyId) throw invalidKey(accessKeyId);
  if (scope.region !== credentials.region) {
    throw new S3Error(
      400,
      "AuthorizationHeaderMalformed",
      `The authorization header is malformed; the region '${scope.region}' is wrong; expecting '${credentials.region}'`,
      { Region: credentials.region },
    );
  }
  if (scope.service !== service.name || scope.end !== "aws4_request" || scope.date !== claim.date.slice(0, 8)) {
    throw new S3Error(
      400,
      "AuthorizationHeaderMalformed",
      "The authorization header is malformed; wrong credential scope",
    );
  }
  checkToken(claim.token, credentials);
  checkTime(claim, nowMs);

  if (!signedHeaders.includes("host")) throw unsignedHeaders("host");
  const loose = request.headers.filter(([name]) => name.startsWith("x-amz-") && !signedHeaders.includes(name));
  if (loose.length > 0) throw unsignedHeaders(loose.map(([name]) => name).join(", "));

  const canonical = canonicalRequest(request, signedHeaders, claim.payload);
  const scopeText = [scope.date, scope.region, scope.service, scope.end].join("/");
  const stringToSign = ["AWS4-HMAC-SHA256", claim.date, scopeText, sha256Hex(canonical)].join("\n");
  let key: Uint8Array = hmac("AWS4" + credentials.secretAccessKey, scope.date);
  for (const part of [scope.region, scope.service, scope.end]) key = hmac(key, part);
  const expected = hmac(key, stringToSign);
  const given = Buffer.from(claim.signature, "hex");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw new S3Error(
      403,
      "SignatureDoesNotMatch",
      "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
      { StringToSign: stringToSign, CanonicalRequest: canonical },
    );
  }
  return { payload: claim.payload, presigned };
}

/** The claims of a request about itself, from either place. */
interface Claim {
  accessKeyId: string;
  scope: { date: string; region: string; service: string; end: string };
  signedHeaders: string[];
  signature: string;
  /** `yyyymmddThhmmssZ` */
  date: string;
  /** Only presigned. */
  expiresSeconds?: number;
  token?: string;
  payload: string;
}

function readHeader(request: SignedRequest, authorization: string, hash?: string): Claim {
  const malformed = (why: string) =>
    new S3Error(400, "AuthorizationHeaderMalformed", `The authorization header is malformed; ${why}`);
  const [algorithm, rest] = splitOnce(authorization.trim(), " ");
  if (algorithm !== "AWS4-HMAC-SHA256") {
    throw new S3Error(
      400,
      "InvalidRequest",
      "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    );
  }
  const parts = new Map(rest.split(",").map((part) => splitOnce(part.trim(), "=")));
  const credential = parts.get("Credential");
  const signedHeaders = parts.get("SignedHeaders");
  const signature = parts.get("Signature");
  if (!credential || !signedHeaders || !signature) {
    throw malformed("Credential, SignedHeaders and Signature are required");
  }
  const date = valueOf(request.headers, "x-amz-date") ?? basicDate(valueOf(request.headers, "date"));
  if (date === undefined) {
    throw new S3Error(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header");
  }
  const payload = valueOf(request.headers, "x-amz-content-sha256") ?? hash;
  if (payload === undefined) {
    throw new S3Error(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256");
  }
  return {
    ...readCredential(credential, malformed),
    signedHeaders: signedHeaders.split(";"),
    signature,
    date,
    token: valueOf(request.headers, "x-amz-security-token"),
    payload,
  };
}

function readQuery(request: SignedRequest): Claim {
  const malformed = (why: string) => new S3Error(400, "AuthorizationQueryParametersError", why);
  const get = (name: string) => {
    const value = valueOf(request.query, name);
    if (!value) throw malformed(`Query-string authentication requires ${name}`);
    return value;
  };
  if (get("X-Amz-Algorithm") !== "AWS4-HMAC-SHA256") {
    throw malformed('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"');
  }
  const expires = get("X-Amz-Expires");
  if (!/^[0-9]{1,6}$/.test(expires) || Number(expires) < 1 || Number(expires) > 604_800) {
    throw malformed("X-Amz-Expires must be 1 to 604800 seconds");
  }
  return {
    ...readCredential(get("X-Amz-Credential"), malformed),
    signedHeaders: get("X-Amz-SignedHeaders").split(";"),
    signature: get("X-Amz-Signature"),
    date: get("X-Amz-Date"),
    expiresSeconds: Number(expires),
    token: valueOf(request.query, "X-Amz-Security-Token"),
    payload: valueOf(request.headers, "x-amz-content-sha256") ?? "UNSIGNED-PAYLOAD",
  };
}

function readCredential(credential: string, malformed: (why: string) => S3Error): Pick<Claim, "accessKeyId" | "scope"> {
  const parts = credential.split("/");
  if (parts.length < 5) throw malformed("the Credential must be <key id>/<date>/<region>/<service>/aws4_request");
  const [date, region, service, end] = parts.slice(-4) as [string, string, string, string];
  return { accessKeyId: parts.slice(0, -4).join("/"), scope: { date, region, service, end } };
}

function checkToken(token: string | undefined, credentials: Credentials): void {
  if (token === credentials.sessionToken) return;
  // S3 does not know a temporary key without its token.
  if (token === undefined) throw invalidKey(credentials.accessKeyId);
  throw new S3Error(400, "InvalidToken", "The provided token is malformed or otherwise invalid.");
}

function checkTime(claim: Claim, nowMs: number): void {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(claim.date);
  if (!parts) throw new S3Error(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header");
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const atMs = Date.UTC(year, month - 1, day, hour, minute, second);
  if (claim.expiresSeconds !== undefined) {
    if (nowMs > atMs + claim.expiresSeconds * 1000) throw new S3Error(403, "AccessDenied", "Request has expired");
    if (nowMs < atMs - MAX_SKEW_MS) throw new S3Error(403, "AccessDenied", "Request is not yet valid");
  } else if (Math.abs(nowMs - atMs) > MAX_SKEW_MS) {
    throw new S3Error(
      403,
      "RequestTimeTooSkewed",
      "The difference between the request time and the current time is too large.",
      {
        RequestTime: claim.date,
        ServerTime: new Date(nowMs).toISOString(),
        MaxAllowedSkewMilliseconds: String(MAX_SKEW_MS),
      },
    );
  }
}

function canonicalRequest(request: SignedRequest, signedHeaders: string[], payload: string): string {
  const path = request.path.split("/").map(encode).join("/");
  const query = request.query
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .sort(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map((pair) => pair.join("="))
    .join("&");
  const headers = signedHeaders.map((name) => {
    const values = request.headers.filter((header) => header[0] === name).map(([, value]) =>
      value.trim().replace(/ +/g, " ")
    );
    return `${name}:${values.join(",")}\n`;
  }).join("");
  return [request.method, path, query, headers, signedHeaders.join(";"), payload].join("\n");
}

/** Percent-encodes everything but RFC 3986's unreserved characters. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}

function basicDate(date: string | undefined): string | undefined {
  const ms = Date.parse(date ?? "");
  return Number.isNaN(ms) ? undefined : new Date(ms).toISOString().replace(/[-:]|\.\d+/g, "");
}

function hmac(key: string | Uint8Array, text: string): Uint8Array {
  return createHmac("sha256", key).update(text).digest();
}

function sha256Hex(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function invalidKey(accessKeyId: string): S3Error {
  const message = "The AWS Access Key Id you provided does not exist in our records.";
  return new S3Error(403, "InvalidAccessKeyId", message, { AWSAccessKeyId: accessKeyId });
}

function unsignedHeaders(names: string): S3Error {
  return new S3Error(403, "AccessDenied", "There were headers present in the request which were not signed", {
    HeadersNotSigned: names,
  });
}
