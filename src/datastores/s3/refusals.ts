/**
 * The meaning of S3's errors: whether they concern the object or the service, and what may help.
 * @module
 */
import type { TundraErrorCode } from "../../base/errors.ts";
import type { Again } from "../attempts.ts";

/** A refusal: the error's code, whether the same call may succeed later, and what to do now. */
export interface S3Refusal {
  code: TundraErrorCode;
  retryable: boolean;
  again: Again;
}

/**
 * Another attempt may well succeed. These come with a status 400 to 409 too.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
 */
const TRANSIENT = new Set([
  ...["BadDigest", "IncompleteBody", "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable"],
  ...["SlowDown", "Throttling", "TemporaryRedirect", "XAmzContentSHA256Mismatch"],
]);
const SKEWED = new Set(["RequestTimeTooSkewed", "RequestExpired"]);
const EXPIRED = new Set(["ExpiredToken", "TokenRefreshRequired"]);
const TOO_LARGE = new Set(["EntityTooLarge", "MaxMessageLengthExceeded"]);
/**
 * The codes by which S3 and similar services refuse an object's own name. Any other 4xx is about headers, rights, the
 * bucket or its configuration: it would meet every other object too, so no key may be given up for it. Those with
 * `XMinio` are MinIO's.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
 * @see https://github.com/minio/minio/blob/master/cmd/api-errors.go
 */
const NAME_REFUSED = new Set([
  ...["KeyTooLongError", "KeyTooLong", "InvalidURI", "InvalidObjectName"],
  ...["XMinioInvalidObjectName", "XMinioInvalidResourceName"],
]);

/** Reads a refusal: its HTTP status, and S3's own code, perhaps none. */
export function readRefusal(status: number, code: string): S3Refusal {
  const store = (again: Again): S3Refusal => ({
    code: "UNAVAILABLE",
    retryable: again === "later" || again === "clock",
    again,
  });
  if (TOO_LARGE.has(code) || (status === 413 && code === "")) {
    return { code: "TOO_LARGE", retryable: false, again: "no" };
  }
  if (NAME_REFUSED.has(code) || (status === 414 && code === "")) {
    return { code: "UNSUPPORTED", retryable: false, again: "no" };
  }
  if (status === 416) return { code: "CORRUPT", retryable: false, again: "no" }; // the range begins behind the object's end
  if (SKEWED.has(code)) return store("clock");
  if (EXPIRED.has(code)) return store("credentials");
  if (status === 501 || code === "NotImplemented") return store("no");
  if (status >= 500 || status === 408 || status === 409 || status === 425 || status === 429 || TRANSIENT.has(code)) {
    return store("later");
  }
  // Redirections, credentials, a missing bucket, a header: an operator must act first.
  return store("no");
}

/** Advice that S3 leaves out of its message. */
export function adviceFor(
  { status, code, method, headers, region }: {
    status: number;
    code: string;
    method: string;
    headers: Headers;
    region: string;
  },
): string[] {
  const advice: string[] = [];
  const bucketRegion = headers.get("x-amz-bucket-region");
  if (bucketRegion && bucketRegion !== region) advice.push(`the bucket is in region ${bucketRegion}`);
  const location = status < 400 ? headers.get("location") : null;
  if (location) advice.push(`it redirects to ${withoutQuery(location)}: use that as the endpoint`);
  if (code === "AccessDenied" && method === "GET") {
    advice.push("S3 says so of an absent object too if s3:ListBucket is not allowed");
  }
  if (code === "InvalidObjectState") {
    advice.push(
      "the object is in an archive class such as Glacier: restore it (RestoreObject) and try again, and keep lifecycle rules off this prefix",
    );
  }
  return advice;
}

/** The part of an address that may be shown: a query may hold a signature. */
function withoutQuery(location: string): string {
  try {
    const url = new URL(location);
    return url.origin + url.pathname;
  } catch {
    return "another path";
  }
}
