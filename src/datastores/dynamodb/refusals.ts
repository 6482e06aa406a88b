/**
 * The meaning of DynamoDB's errors: whether they concern the object or the table, and what may help.
 * @module
 */
import type { TundraErrorCode } from "../../base/errors.ts";
import type { Again } from "../attempts.ts";

/** A refusal as it came. */
export interface Said {
  status: number;
  /** DynamoDB's name of the error, such as `ThrottlingException`; empty if there is none. */
  code: string;
  message: string;
}

/** A refusal: the error's code, whether the same call may succeed later, and what to do now. */
export interface Refusal {
  code: TundraErrorCode;
  retryable: boolean;
  again: Again;
}

/** The code of a write whose condition does not hold. */
export const CONDITION_FAILED = "ConditionalCheckFailedException";
/** The code of a table, or an index, that is not there; never of an item. */
export const NO_TABLE = "ResourceNotFoundException";
/** The code of a table that is being made or changed already. */
export const IN_USE = "ResourceInUseException";

/**
 * Another attempt may well succeed. Most of these come with a status 400.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
 */
const TRANSIENT = new Set([
  ...["ProvisionedThroughputExceededException", "ThrottlingException", "Throttling", "RequestLimitExceeded"],
  ...["LimitExceededException", "InternalServerError", "InternalFailure", "ServiceUnavailable"],
  ...["ServiceUnavailableException", "ReplicatedWriteConflictException", "TransactionConflictException"],
  ...["TransactionInProgressException", "RequestTimeout", "RequestTimeoutException"],
]);
const SKEWED = new Set(["RequestExpired", "RequestTimeTooSkewed"]);
const EXPIRED = new Set(["ExpiredTokenException", "ExpiredToken"]);
const CREDENTIALS = new Set([
  ...["UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignatureException"],
  ...["MissingAuthenticationTokenException", "MissingAuthenticationToken", "InvalidClientTokenId"],
]);

/** Reads a refusal. An error that is not about this object alone is the table's: no key may be given up for it. */
export function readRefusal({ status, code, message }: Said): Refusal {
  const table = (again: Again): Refusal => ({
    code: "UNAVAILABLE",
    retryable: again === "later" || again === "clock",
    again,
  });
  const object = (code: TundraErrorCode): Refusal => ({ code, retryable: false, again: "no" });
  if (code === "ValidationException") {
    if (/size of (hash|range|partition|sort) ?key|size limit of (1024|2048)/i.test(message)) {
      return object("UNSUPPORTED");
    }
    if (/item size/i.test(message)) return object("TOO_LARGE");
    return table("no");
  }
  if (status === 413 && code === "") return object("TOO_LARGE");
  if (SKEWED.has(code) || (code === "InvalidSignatureException" && /expired|not yet current/i.test(message))) {
    return table("clock");
  }
  if (EXPIRED.has(code)) return table("credentials");
  if (TRANSIENT.has(code)) return table("later");
  if (status === 501) return table("no");
  return table(status >= 500 || status === 408 || status === 425 || status === 429 ? "later" : "no");
}

/** Advice that DynamoDB leaves out of its message. */
export function adviceFor({ code, message }: Said, operation: string): string | undefined {
  if (code === NO_TABLE) return "make the table by ensureTable(), or check table, region and endpoint";
  if (code.startsWith("AccessDenied")) return `allow dynamodb:${operation} on this table to these credentials`;
  if (EXPIRED.has(code)) return "give newer credentials, or the option credentials, which is asked for them";
  if (CREDENTIALS.has(code)) return "check accessKeyId, secretAccessKey, sessionToken and region";
  if (code === "ValidationException" && /\bkey\b.*schema|key element/i.test(message)) {
    return "the table must have the keys that ensureTable() gives it: p and s, both strings";
  }
  return undefined;
}
