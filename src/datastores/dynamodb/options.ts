/**
 * The options of a DynamoDB datastore and their validation, before any request.
 * @module
 */
import { checkFunction, checkNames, checkNumber } from "../../base/arguments.ts";
import { badArgument, TundraError } from "../../base/errors.ts";
import { checkCredentials, type CredentialSource, type S3Credentials } from "../s3/credentials.ts";

/** Options of {@linkcode dynamodbDatastore}. */
export interface DynamodbDatastoreOptions {
  /**
   * `http(s)://host[:port]` of a service that is not AWS, or of another endpoint of AWS.
   *
   * @default {AWS, in `region`}
   */
  endpoint?: string;
  /** Region of the table and for the signature, such as `eu-central-1`. */
  region: string;
  /** The table; `ensureTable` makes it. */
  table: string;
  /** Access key id; with `secretAccessKey`, unless there are `credentials`. */
  accessKeyId?: string;
  /** Secret access key. */
  secretAccessKey?: string;
  /** Session token of temporary credentials. */
  sessionToken?: string;
  /**
   * A function in place of these three: called before the first request, five minutes before its credentials expire,
   * and once if DynamoDB refuses them as expired. A provider of the AWS SDK is one.
   */
  credentials?: () => S3Credentials | Promise<S3Credentials>;
  /**
   * The function for all requests.
   *
   * @default {fetch}
   */
  fetch?: typeof fetch;
  /**
   * Time limit of one attempt without any progress, in ms: 1 to 600,000; requests get 1 ms a KB more.
   *
   * @default {10_000}
   */
  timeoutMs?: number;
  /**
   * Attempts after the first one: 0 to 10; none begins more than 5 s after the first.
   *
   * @default {4}
   */
  retries?: number;
  /**
   * Requests at once of one call: 1 to 1000. Each may hold as much as 16 MB.
   *
   * @default {16}
   */
  concurrency?: number;
}

/** Checked options. */
export interface DynamodbConnection {
  fetch: typeof fetch;
  url: string;
  region: string;
  table: string;
  credentials: CredentialSource;
  timeoutMs: number;
  retries: number;
  concurrency: number;
}

const NAMES = [
  ...["endpoint", "region", "table", "accessKeyId", "secretAccessKey", "sessionToken", "credentials"],
  ...["fetch", "timeoutMs", "retries", "concurrency"],
];
const MAKE = "make a DynamoDB datastore";

/** The options, checked. */
export function checkDynamodbOptions(options: DynamodbDatastoreOptions): DynamodbConnection {
  checkNames(MAKE, options, NAMES);
  const { endpoint, region, table, timeoutMs = 10_000, retries = 4, concurrency = 16 } = options;
  if (typeof region !== "string" || !/^[A-Za-z0-9-]{1,64}$/.test(region)) {
    throw badArgument(MAKE, "region", "1 to 64 characters A-Z a-z 0-9 -", region);
  }
  if (typeof table !== "string" || !/^[A-Za-z0-9_.-]{3,255}$/.test(table)) {
    throw badArgument(MAKE, "table", "a table's name: 3 to 255 characters A-Z a-z 0-9 _ . -", table);
  }
  checkNumber(MAKE, "timeoutMs", timeoutMs, 1, 600_000);
  checkNumber(MAKE, "retries", retries, 0, 10);
  checkNumber(MAKE, "concurrency", concurrency, 1, 1000);
  const send = options.fetch ?? fetch;
  checkFunction(MAKE, "fetch", send);
  const host = `dynamodb.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
  const url = endpoint === undefined ? `https://${host}/` : checkEndpoint(endpoint);
  return { fetch: send, url, region, table, credentials: credentialsOf(options), timeoutMs, retries, concurrency };
}

function credentialsOf(options: DynamodbDatastoreOptions): CredentialSource {
  const { credentials, accessKeyId, secretAccessKey, sessionToken } = options;
  if (credentials === undefined) {
    return { fixed: checkCredentials({ accessKeyId, secretAccessKey, sessionToken }, MAKE) };
  }
  if (typeof credentials !== "function") throw badArgument(MAKE, "credentials", "a function", typeof credentials);
  for (const [name, value] of Object.entries({ accessKeyId, secretAccessKey, sessionToken })) {
    if (value === undefined) continue;
    throw new TundraError("BAD_ARGUMENT", `Cannot ${MAKE} as ${name} must not stand beside credentials: it does`);
  }
  return { ask: credentials };
}

/** Checks an endpoint; what may be a secret is not shown. */
function checkEndpoint(endpoint: unknown): string {
  const refuse = (is: string) =>
    new TundraError(
      "BAD_ARGUMENT",
      `Cannot ${MAKE} as endpoint must be a URL http(s)://host[:port]: current value is ${is}`,
    );
  if (typeof endpoint !== "string") throw refuse(typeof endpoint);
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw refuse("none");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw refuse("without http:// or https://");
  if (url.username || url.password) throw refuse(`${url.origin} with credentials before it`);
  if (url.pathname !== "/" || url.search || url.hash) throw refuse(`${url.origin} with something behind it`);
  return `${url.origin}/`;
}
