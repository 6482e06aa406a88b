/**
 * Credentials: given once, or asked for and kept until they expire.
 * @module
 */
import { badArgument, TundraError } from "../../base/errors.ts";
import { onWorkerd, wallClockMs } from "../../base/platform.ts";

/** The credentials that sign requests. */
export interface S3Credentials {
  /** Access key id. */
  accessKeyId: string;
  /** Secret access key. */
  secretAccessKey: string;
  /** Session token of temporary credentials. */
  sessionToken?: string;
  /**
   * The end of their validity: they are asked for again five minutes before. Without it, once S3 refuses them as
   * expired.
   *
   * @default {undefined}
   */
  expiration?: Date;
}

/** The source of credentials. */
export type CredentialSource =
  | { fixed: S3Credentials }
  | { ask: () => S3Credentials | Promise<S3Credentials> };

/** The credentials of one datastore. */
export interface CredentialStore {
  /** The credentials to sign with now. */
  current(): Promise<S3Credentials>;
  /** Forgets credentials that S3 calls expired; `false`: there are no others. */
  expire(): boolean;
  /** The texts that no message may show. */
  secrets(): string[];
}

/** The time before their end at which credentials are replaced: requests take a while, and clocks differ. */
const EARLY_MS = 5 * 60_000;

/** Makes the store of one datastore's credentials. */
export function credentialStore(source: CredentialSource): CredentialStore {
  let known: S3Credentials | undefined = "fixed" in source ? source.fixed : undefined;
  let asking: Promise<S3Credentials> | undefined;
  const secretsOf = (credentials: S3Credentials | undefined) =>
    [credentials?.secretAccessKey, credentials?.sessionToken, credentials?.accessKeyId]
      .filter((secret) => secret !== undefined);
  let earlier: string[] = [];

  async function ask(): Promise<S3Credentials> {
    let given: unknown;
    try {
      given = await (source as { ask: () => S3Credentials | Promise<S3Credentials> }).ask();
    } catch (thrown) {
      // a plain Error: another attempt may succeed. What was thrown may quote a token or a signed URL
      throw new AggregateError([thrown], "credentials() failed: see the errors of this error's cause");
    }
    try {
      known = checkCredentials(given, "sign a request");
    } catch (thrown) {
      throw new TundraError("UNAVAILABLE", (thrown as Error).message, { retryable: false });
    }
    return known;
  }

  return {
    async current() {
      if ("fixed" in source) return source.fixed;
      const endMs = known?.expiration?.getTime() ?? Infinity;
      if (known && wallClockMs() < endMs - EARLY_MS) return known;
      // On workerd a promise ends with the request that made it: no other request may wait for it.
      if (onWorkerd()) return await ask();
      asking ??= ask().finally(() => asking = undefined);
      return await asking;
    },
    expire() {
      if ("fixed" in source) return false;
      earlier = secretsOf(known);
      known = undefined;
      return true;
    },
    secrets: () => [...secretsOf(known), ...earlier],
  };
}

/** Checks credentials; its messages never show a value. */
export function checkCredentials(given: unknown, what: string): S3Credentials {
  if (typeof given !== "object" || given === null) throw badArgument(what, "credentials", "an object", typeof given);
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = given as S3Credentials;
  checkSecret(what, "accessKeyId", accessKeyId);
  checkSecret(what, "secretAccessKey", secretAccessKey);
  if (sessionToken !== undefined) checkSecret(what, "sessionToken", sessionToken);
  return { accessKeyId, secretAccessKey, sessionToken, expiration };
}

/** Checks one text: with a line break in it, the error of `fetch` would show it. */
function checkSecret(what: string, name: string, value: unknown): void {
  if (typeof value === "string" && /^[\x21-\x7e]+$/.test(value)) return;
  const is = typeof value === "string" ? (value === "" ? "empty" : "other text") : typeof value;
  throw new TundraError(
    "BAD_ARGUMENT",
    `Cannot ${what} as ${name} must be printable ASCII, no space: current value is ${is}`,
  );
}
