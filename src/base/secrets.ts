/**
 * Secrets that callers send: which ones are accepted, and their comparison.
 * @module
 */
import { badArgument } from "./errors.ts";
import { digest } from "./platform.ts";

const LEAST = 16;

/** Checks a secret; the message has no more of it than its length. `undefined` is refused: a variable may be missing. */
export function checkSecret(what: string, secret: unknown): string {
  if (typeof secret === "string" && secret.length >= LEAST && /^[\x21-\x7e]+$/.test(secret)) return secret;
  const is = typeof secret === "string" ? `${secret.length} characters` : typeof secret;
  throw badArgument(what, "secret", `at least ${LEAST} characters of visible ASCII`, is);
}

/** Compares digests, so that it takes as long for any text of one length. */
export async function isSameText(a: string, b: string): Promise<boolean> {
  const encoder = new TextEncoder();
  const [one, other] = await Promise.all([a, b].map((text) => digest("SHA-256", encoder.encode(text))));
  let difference = 0;
  one!.forEach((byte, i) => difference |= byte ^ other![i]!);
  return difference === 0;
}
