/**
 * Names of objects, as buckets take them: nothing in them is escaped, normalised or collapsed on the way, and nothing
 * means something else to another client of the same bucket.
 * @module
 */
import { badArgument } from "../base/errors.ts";

/**
 * The most characters of a name and of a prefix: together less than the 1,024 bytes that S3 and R2 take.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
 * @see https://developers.cloudflare.com/r2/platform/limits/
 */
const [MAX_NAME, MAX_PREFIX] = [900, 120];
const CHARACTERS = "characters A-Z a-z 0-9 _ - . ~ /";

/** Checks the beginning of every name. */
export function checkPrefix(make: string, prefix: unknown): void {
  if (typeof prefix === "string" && prefix.length <= MAX_PREFIX && isPath(prefix + "x")) return;
  throw badArgument(make, "prefix", `at most ${MAX_PREFIX} ${CHARACTERS}, without empty, . and .. segments`, prefix);
}

/** The path of an object, checked. */
export function objectPath(what: string, prefix: string, name: unknown): string {
  if (typeof name === "string" && name.length <= MAX_NAME && isPath(prefix + name) && !name.startsWith("/")) {
    return prefix + name;
  }
  const must = `1 to ${MAX_NAME} ${CHARACTERS}, without empty, . and .. segments`;
  throw badArgument(`${what} an object`, "its name", must, name);
}

/** Checks the beginning of listed names; it may be empty. */
export function checkListed(under: unknown): void {
  if (typeof under === "string" && /^[\w.~/-]*$/.test(under)) return;
  throw badArgument("list objects", "their prefix", CHARACTERS, under);
}

/** Checks the bytes of an object. */
export function checkValue(what: string, value: unknown): void {
  if (!(value instanceof Uint8Array)) throw badArgument(what, "its value", "a Uint8Array", typeof value);
}

function isPath(path: string): boolean {
  return /^[\w.~/-]+$/.test(path) && path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}
