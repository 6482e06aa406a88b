/**
 * The one error type. Each code names one thing that the caller can do next.
 * @module
 */

/**
 * Codes of errors, by what the caller does next:
 *
 * | code | next |
 * | --- | --- |
 * | `BAD_ARGUMENT` | fix the call; nothing was sent |
 * | `MISSING` | `dirty()` named keys that do not exist; the others are marked; `restoreVersion()`: no value at that time |
 * | `ENSURE_FAILED` | look into `causes`, key by key |
 * | `UNAVAILABLE` | retry: a server, the network or a time limit failed |
 * | `CONFLICT` | written while evicted: `ensureKs()` first, or `{ overwrite: true }`; in a datastore: the name is taken; |
 * | | `restoreVersion()` would replace what is not archived: run a tick first |
 * | `CORRUPT` | archive bytes are wrong: alert an operator |
 * | `LOST` | a key is evicted, yet the archive has no object; or the index is lost: alert an operator |
 * | `NOT_FOUND` | a datastore has no such object; the archive has no such version |
 * | `TOO_LARGE` | the value cannot be moved; it stays in Redis |
 * | `UNSUPPORTED` | the server, the datastore or this version lacks something |
 */
export type TundraErrorCode =
  | "BAD_ARGUMENT"
  | "MISSING"
  | "ENSURE_FAILED"
  | "UNAVAILABLE"
  | "CONFLICT"
  | "CORRUPT"
  | "LOST"
  | "NOT_FOUND"
  | "TOO_LARGE"
  | "UNSUPPORTED";

/** Details of a {@linkcode TundraError}; all optional. */
export interface TundraErrorDetails {
  /** The keys concerned. */
  keys?: string[];
  /** The cause of each key's failure. */
  causes?: Record<string, Error>;
  /**
   * `true` if the same call may succeed later.
   *
   * @default {true for `UNAVAILABLE`, else false}
   */
  retryable?: boolean;
  /** The error behind this one. */
  cause?: unknown;
}

/**
 * The only error that Tundra throws.
 *
 * @example
 * ```ts
 * import { TundraError } from "@tundra/store";
 *
 * const error = new TundraError("MISSING", "Cannot mark 1 key as it must exist", { keys: ["user:1"] });
 * console.log(error.code, error.keys, error.retryable); // MISSING [ "user:1" ] false
 * ```
 */
export class TundraError extends Error {
  /** The error's name: `TundraError`. */
  override readonly name = "TundraError";
  /** The code, by what the caller does next: see {@linkcode TundraErrorCode}. */
  readonly code: TundraErrorCode;
  /** The keys concerned, perhaps none. */
  readonly keys: string[];
  /** The cause of each key's failure; empty if one cause holds for all. */
  readonly causes: Record<string, Error>;
  /** `true` if the same call may succeed later. */
  readonly retryable: boolean;

  /**
   * Makes an error.
   *
   * @param code the code, by what the caller does next
   * @param message what failed, why, and the current value; never a secret
   * @param details keys and causes
   */
  constructor(code: TundraErrorCode, message: string, details: TundraErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.keys = details.keys ?? [];
    this.causes = details.causes ?? Object.create(null);
    this.retryable = details.retryable ?? code === "UNAVAILABLE";
  }
}

/**
 * The error that a {@linkcode Datastore} answers for an object that provably does not exist. Any other error means
 * "unknown".
 *
 * @example
 * ```ts
 * import { notFound } from "@tundra/store";
 *
 * console.log(notFound("default/user.3A1/0001").code); // NOT_FOUND
 * ```
 */
export function notFound(name: string): TundraError {
  return new TundraError("NOT_FOUND", `Cannot fetch ${show(name)} as the archive must hold it: it does not exist`);
}

/** The error of `putKey` if the object must be new and is there. */
export function nameTaken(name: string): TundraError {
  return new TundraError("CONFLICT", `Cannot put ${show(name)} as no object may have that name: one has it`);
}

/** `Cannot X as Y must be Z: current value is V`. */
export function badArgument(what: string, name: string, must: string, value: unknown): TundraError {
  return new TundraError("BAD_ARGUMENT", `Cannot ${what} as ${name} must be ${must}: current value is ${show(value)}`);
}

/** A value for a message: short, on one line, never a whole payload. */
export function show(value: unknown): string {
  if (typeof value === "function") return "a function";
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number") return String(value); // JSON has no NaN
  const text = typeof value === "string" ? JSON.stringify(value) : textOf(value);
  const { length } = typeof value === "string" ? value : text;
  return text.length > 120 ? `${text.slice(0, 100)}... (${length} characters)` : text;
}

/** Never throws: the error that is being made is the one that counts. */
function textOf(
  value: unknown,
  attempts: ((value: unknown) => string | undefined)[] = [withoutFields, String],
): string {
  for (const attempt of attempts) {
    try {
      const text = attempt(value);
      if (text !== undefined) return text;
    } catch {
      // circular, a toJSON that throws, no toString
    }
  }
  return "an object";
}

/** JSON, but of objects only the names of their fields: options that stand in a wrong place hold secrets. */
function withoutFields(value: unknown): string | undefined {
  return JSON.stringify(value, function (name, field) {
    return name === "" || Array.isArray(this) ? field : "...";
  });
}

/** Anything thrown, as a TundraError: Tundra's own as it is, anything else as `UNAVAILABLE`. */
export function asTundraError(thrown: unknown, what: string): TundraError {
  if (thrown instanceof TundraError) return thrown;
  const reason = thrown instanceof Error ? thrown.message : textOf(thrown, [String]); // an object's fields may hold secrets
  return new TundraError("UNAVAILABLE", `Cannot ${what}: ${reason}`, { cause: thrown });
}

/** Tells if this is the error that means "provably absent". */
export function isNotFound(error: unknown): boolean {
  return error instanceof TundraError && error.code === "NOT_FOUND";
}

/** Tells if an object cannot be read, now and later: its bytes are wrong, or nobody here understands them. */
export function isDamage(error: unknown): error is TundraError & { code: "CORRUPT" | "UNSUPPORTED" } {
  return error instanceof TundraError && (error.code === "CORRUPT" || error.code === "UNSUPPORTED");
}

/**
 * Tells if a failure has a reason specific to its key, so that the attempt counts. `UNAVAILABLE` never has: it meets
 * any key, even if only an operator can end it (`retryable: false`). Nor has a failure that may pass if it is tried
 * again.
 */
export function isKeysOwn(error: TundraError): boolean {
  return error.code !== "UNAVAILABLE" && !error.retryable;
}
