/**
 * What signs requests: given once, or asked for and kept until it expires.
 * @module
 */
import { badArgument, TundraError } from "../../base/errors.ts";
import { onWorkerd, wallClockMs } from "../../base/platform.ts";

/** What signs requests. */
export interface S3Credentials {
  /** Access key id. */
  accessKeyId: string;
  /** Secret access key. */
  secretAccessKey: string;
  /** Session token of temporary credentials. */
  sessionToken?: string;
  /** When they end: asked for again five minutes before. Default: when S3 refuses them as expired. */
  expiration?: Date;
}

/** Where credentials come from. */
export type CredentialSource =
  | { fixed: S3Credentials }
  | { ask: () => S3Credentials | Promise<S3Credentials> };

/** The credentials of one datastore. */
export interface CredentialStore {
  /** Those to sign with now. */
  current(): Promise<S3Credentials>;
  /** S3 calls them expired; `false`: there are no others. */
  expire(): boolean;
  /** What no message may show. */
  secrets(): string[];
}

/** Temporary credentials are replaced so long before their end: requests take a while, and clocks differ. */
const EARLY_MS = 5 * 60_000;

/** Makes one. */
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
      // a plain Error: another attempt may succeed
      throw new Error(`credentials() failed: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
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
      // On workerd a promise dies with the request that made it: nobody else may wait for it there.
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

/** Never shows a value. */
export function checkCredentials(given: unknown, what: string): S3Credentials {
  if (typeof given !== "object" || given === null) throw badArgument(what, "credentials", "an object", typeof given);
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = given as S3Credentials;
  checkSecret(what, "accessKeyId", accessKeyId);
  checkSecret(what, "secretAccessKey", secretAccessKey);
  if (sessionToken !== undefined) checkSecret(what, "sessionToken", sessionToken);
  return { accessKeyId, secretAccessKey, sessionToken, expiration };
}

/** A line break in it would make `fetch` show it. */
function checkSecret(what: string, name: string, value: unknown): void {
  if (typeof value === "string" && /^[\x21-\x7e]+$/.test(value)) return;
  const is = typeof value === "string" ? (value === "" ? "empty" : "other text") : typeof value;
  throw new TundraError(
    "BAD_ARGUMENT",
    `Cannot ${what} as ${name} must be printable ASCII, no space: current value is ${is}`,
  );
}
