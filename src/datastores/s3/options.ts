/**
 * The options of an S3 datastore and their validation, before any request.
 * @module
 */
import { checkFunction, checkNames, checkNumber } from "../../base/arguments.ts";
import { badArgument, show, TundraError } from "../../base/errors.ts";
import { checkPrefix } from "../names.ts";
import { checkCredentials, type S3Credentials } from "./credentials.ts";
import type { S3Connection } from "./request.ts";

/** Options of {@linkcode s3Datastore}. */
export interface S3DatastoreOptions {
  /**
   * `http(s)://host[:port][/path]` of a gateway that is not AWS, without the bucket.
   *
   * @default {AWS, in `region`}
   */
  endpoint?: string;
  /** Region for the signature, such as `eu-central-1`; `auto` for R2. */
  region: string;
  /** The bucket; it must exist. `tenant:bucket` for Ceph's tenants. */
  bucket: string;
  /**
   * The beginning of every object name as it is, such as `tundra/`: at most 120 characters `A-Z a-z 0-9 _ - . ~ /`.
   *
   * @default {""}
   */
  prefix?: string;
  /** Access key id; with `secretAccessKey`, unless there are `credentials`. */
  accessKeyId?: string;
  /** Secret access key. */
  secretAccessKey?: string;
  /** Session token of temporary credentials. */
  sessionToken?: string;
  /**
   * A function in place of these three: called before the first request, five minutes before its credentials expire,
   * and once if S3 refuses them as expired. A provider of the AWS SDK is one.
   */
  credentials?: () => S3Credentials | Promise<S3Credentials>;
  /**
   * The function for all requests.
   *
   * @default {fetch}
   */
  fetch?: typeof fetch;
  /**
   * The place of the bucket's name: `path` (`host/bucket/name`) or `virtual-host` (`bucket.host/name`).
   *
   * @default {"path" with `endpoint` or a bucket with a dot or a tenant, else "virtual-host"}
   */
  style?: "path" | "virtual-host";
  /**
   * Time limit of one attempt without any progress, in ms: 1 to 600,000; uploads get 1 ms a KB more.
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
   * Requests at once of one call: 1 to 1000.
   *
   * @default {64}
   */
  concurrency?: number;
  /**
   * The checksum of an upload besides the SHA-256 in its signature: `sha256` (AWS keeps it with the object), `md5`
   * (`Content-MD5`: gateways and buckets with Object Lock that ask for it), or `none`.
   *
   * @default {"none" with `endpoint`, else "sha256"}
   * @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
   */
  checksum?: "sha256" | "md5" | "none";
  /**
   * Headers of each upload, signed: `{ "x-amz-storage-class": "STANDARD_IA" }`. Names `x-...`, `content-type`,
   * `cache-control`, `content-disposition`, `content-language`; none that Tundra sets, and none that reads would need
   * too.
   */
  headers?: Record<string, string>;
}

const NAMES = [
  ...["endpoint", "region", "bucket", "prefix", "accessKeyId", "secretAccessKey", "sessionToken", "credentials"],
  ...["fetch", "style", "timeoutMs", "retries", "concurrency", "checksum", "headers"],
];
const DEFAULTS = { timeoutMs: 10_000, retries: 4, concurrency: 64 };
const MAKE = "make an S3 datastore";

/** The options, checked. */
export function checkS3Options(
  options: S3DatastoreOptions,
): { connection: S3Connection; prefix: string; concurrency: number } {
  checkNames(MAKE, options, NAMES);
  const { region, bucket, endpoint, prefix = "", style, checksum } = options;
  if (typeof region !== "string" || !/^[A-Za-z0-9-]{1,64}$/.test(region)) {
    throw badArgument(MAKE, "region", "1 to 64 characters A-Z a-z 0-9 -", region);
  }
  if (typeof bucket !== "string" || !/^([A-Za-z0-9_]{0,64}:)?[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket)) {
    throw badArgument(
      MAKE,
      "bucket",
      "a bucket's name: 2 to 255 characters A-Z a-z 0-9 . _ -, or tenant:bucket",
      bucket,
    );
  }
  checkPrefix(MAKE, prefix);
  if (style !== undefined && style !== "path" && style !== "virtual-host") {
    throw badArgument(MAKE, "style", '"path" or "virtual-host"', style);
  }
  if (checksum !== undefined && !["sha256", "md5", "none"].includes(checksum)) {
    throw badArgument(MAKE, "checksum", '"sha256", "md5" or "none"', checksum);
  }
  const { timeoutMs = DEFAULTS.timeoutMs, retries = DEFAULTS.retries, concurrency = DEFAULTS.concurrency } = options;
  checkNumber(MAKE, "timeoutMs", timeoutMs, 1, 600_000);
  checkNumber(MAKE, "retries", retries, 0, 10);
  checkNumber(MAKE, "concurrency", concurrency, 1, 1000);
  const send = options.fetch ?? fetch;
  checkFunction(MAKE, "fetch", send);
  return {
    prefix,
    concurrency,
    connection: {
      fetch: send,
      url: bucketUrl(endpoint, region, bucket, style),
      region,
      credentials: credentialsOf(options),
      timeoutMs,
      retries,
      // Some gateways refuse headers that they do not know.
      checksum: checksum ?? (endpoint === undefined ? "sha256" : "none"),
      putHeaders: checkHeaders(options.headers),
    },
  };
}

function credentialsOf(options: S3DatastoreOptions): S3Connection["credentials"] {
  const { credentials, accessKeyId, secretAccessKey, sessionToken } = options;
  if (credentials === undefined) {
    const fixed = checkCredentials({ accessKeyId, secretAccessKey, sessionToken }, MAKE);
    return { fixed };
  }
  if (typeof credentials !== "function") throw badArgument(MAKE, "credentials", "a function", typeof credentials);
  for (const [name, value] of Object.entries({ accessKeyId, secretAccessKey, sessionToken })) {
    if (value === undefined) continue;
    throw new TundraError("BAD_ARGUMENT", `Cannot ${MAKE} as ${name} must not stand beside credentials: it does`);
  }
  return { ask: credentials };
}

const HEADER = /^(x-[a-z0-9-]{1,120}|content-type|cache-control|content-disposition|content-language)$/;
/** Headers that Tundra sets itself, or that are of no use unless reads send them too. */
const OWN_HEADER = new RegExp(
  "^x-amz-(content-sha256|date|security-token|checksum-.*|sdk-.*|copy-source.*|decoded-.*|trailer" +
    "|server-side-encryption-customer.*)$",
);

function checkHeaders(headers: unknown): Record<string, string> {
  if (headers === undefined) return {};
  if (typeof headers !== "object" || headers === null || Array.isArray(headers)) {
    throw badArgument(MAKE, "headers", "an object", typeof headers);
  }
  const checked: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase();
    if (!HEADER.test(lower) || OWN_HEADER.test(lower)) {
      const must =
        "x-..., content-type, cache-control, content-disposition or content-language, and none that Tundra sets";
      throw badArgument(MAKE, "a name in headers", must, name);
    }
    if (typeof value !== "string" || !/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
      throw badArgument(MAKE, `headers[${show(name)}]`, "printable ASCII, no space at either end", typeof value);
    }
    checked[lower] = value;
  }
  return checked;
}

/** The URL of the bucket; it ends in a slash. */
function bucketUrl(endpoint: string | undefined, region: string, bucket: string, style?: string): string {
  // AWS' wildcard certificate does not cover a bucket's name with a dot; a tenant is no part of a host's name.
  if (style === undefined) style = endpoint !== undefined || /[.:]/.test(bucket) ? "path" : "virtual-host";
  else if (style === "virtual-host" && bucket.includes(":")) {
    throw badArgument(MAKE, "style", '"path" with a tenant', style);
  }
  if (endpoint === undefined) endpoint = `https://s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
  const url = checkEndpoint(endpoint, bucket);
  const path = url.pathname.replace(/\/+$/, "");
  if (style === "path") return `${url.origin}${path}/${bucket}/`;
  return `${url.protocol}//${bucket}.${url.host}${path}/`;
}

function checkEndpoint(endpoint: unknown, bucket: string): URL {
  const must = "a URL http(s)://host[:port][/path]";
  const refuse = (is: string) =>
    new TundraError("BAD_ARGUMENT", `Cannot ${MAKE} as endpoint must be ${must}: current value is ${is}`);
  if (typeof endpoint !== "string" || endpoint === "") throw refuse(endpoint === "" ? "empty" : typeof endpoint);
  if (!/^https?:\/\//i.test(endpoint)) {
    // Only what cannot be a secret is shown.
    const host = /^(?:[a-z]+:\/\/)?(?:[^@]*@)?([A-Za-z0-9.-]+(?::\d+)?)(?=[/?#]|$)/.exec(endpoint)?.[1];
    if (host === undefined || /^[a-z]+:\/\//i.test(endpoint)) throw refuse("none");
    throw refuse(`without http:// or https://, such as https://${host}`);
  }
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw refuse("none");
  }
  if (url.username || url.password) throw refuse(`${url.origin} with credentials before it`);
  if (url.search || url.hash) throw refuse(`${url.origin} with a query or fragment behind it`);
  // As R2's dashboard shows it: objects would go to a folder of this name, or nowhere.
  const segments = url.pathname.split("/").filter((part) => part !== "");
  if (segments.at(-1) === bucket) {
    const right = url.origin + segments.slice(0, -1).map((part) => `/${part}`).join("");
    throw refuse(`one that ends with the bucket; use ${right}`);
  }
  const rest = url.host.startsWith(`${bucket}.`) ? url.host.slice(bucket.length + 1) : "";
  if (/^s3[.-]|\.(r2\.cloudflarestorage|digitaloceanspaces|backblazeb2)\.com$/.test(rest)) {
    throw refuse(
      `one that begins with the bucket; use ${url.protocol}//${rest}, with style: "virtual-host" if it must be so`,
    );
  }
  return url;
}
