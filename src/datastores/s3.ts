/**
 * An archive in S3, or whatever speaks its protocol: R2, MinIO, Ceph, B2, Spaces, ...
 * @module
 */
import { checkFunction, checkNumber } from "../check.ts";
import { badArgument, notFound, show, TundraError } from "../errors.ts";
import type { DataStore, DataStoreCallOptions } from "./datastore.ts";
import { checkListed, checkPrefix, checkValue, objectPath } from "./names.ts";
import { forEachName } from "./parallel.ts";
import { RETRY_WITHIN_MS, type S3Call, type S3Connection, type S3Reply, s3Requester } from "./s3_request.ts";
import { xmlElements, xmlText } from "./xml.ts";

/** Options of {@linkcode s3Datastore}. */
export interface S3DatastoreOptions {
  /** `http(s)://host[:port][/path]` of a gateway that is not AWS. Default: AWS, in `region`. */
  endpoint?: string;
  /** Region for the signature, such as `eu-central-1`; `auto` for R2. */
  region: string;
  /** The bucket; it must exist. */
  bucket: string;
  /** Stands before every object name as it is: `tundra/`. At most 120 characters `A-Z a-z 0-9 _ - . ~ /`. Default: none. */
  prefix?: string;
  /** Access key id. */
  accessKeyId: string;
  /** Secret access key. */
  secretAccessKey: string;
  /** Session token of temporary credentials. */
  sessionToken?: string;
  /** Used for every request. Default: the global `fetch`. */
  fetch?: typeof fetch;
  /** `path` (`host/bucket/name`; default with `endpoint`) or `virtual-host` (`bucket.host/name`; default for AWS). */
  style?: "path" | "virtual-host";
  /** Time limit of one attempt without any progress, in ms, 1 to 600 000, default 10 000; uploads get 1 ms a KB more. */
  timeoutMs?: number;
  /** Attempts after the first one, 0 to 10, default 4; none begins more than 5 s after the first. */
  retries?: number;
  /** Requests at once of one call, 1 to 1000, default 64. */
  concurrency?: number;
}

const DEFAULTS = { timeoutMs: 10_000, retries: 4, concurrency: 64 };
const MAKE = "make an S3 datastore";

/**
 * An archive in S3, or whatever speaks its protocol. Makes no request until it is used, and is cheap to make.
 *
 * One request an object; listing: one a 1,000 names. Credentials need `s3:PutObject`, `s3:GetObject`, `s3:DeleteObject`,
 * and `s3:ListBucket` on the bucket: without that, S3 does not tell an absent object from a forbidden one, and Tundra
 * takes it for "unknown". Uploads carry a signed SHA-256, so the server refuses what was damaged on its way.
 *
 * Network errors, time limits, 429 and 5xx are retried with jitter; a wrong clock is corrected from the server's, once.
 * What fails for good is a TundraError with S3's own code and the HTTP status in its message:
 *
 * | code | retryable | when |
 * | --- | --- | --- |
 * | `NOT_FOUND` | no | S3 said `NoSuchKey` (in a slot of `fetchKeys`) |
 * | `UNAVAILABLE` | yes | the store's trouble: network, 5xx, credentials, clock, no such bucket |
 * | `TOO_LARGE` | no | S3 said `EntityTooLarge` |
 * | `UNSUPPORTED` | no | S3 refuses this object: any other 4xx |
 * | `BAD_ARGUMENT` | no | nothing was sent |
 *
 * @throws TundraError `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { s3Datastore } from "@tundra/store";
 *
 * const archive = s3Datastore({
 *   region: "eu-central-1",
 *   bucket: "my-bucket",
 *   prefix: "tundra/",
 *   accessKeyId: "AKIA...",
 *   secretAccessKey: "...",
 * });
 * console.log(typeof archive.putKey); // function
 * ```
 */
export function s3Datastore(options: S3DatastoreOptions): Required<DataStore> {
  const { connection, prefix, concurrency } = check(options);
  const request = s3Requester(connection);

  /** One request for each name. */
  async function each<R>(
    names: string[],
    what: string,
    call: Omit<S3Call, "what" | "path">,
    read: (name: string, reply: S3Reply) => R | Error,
    options: DataStoreCallOptions | undefined,
  ): Promise<(R | Error)[]> {
    const paths = names.map((name) => objectPath(what, prefix, name));
    return await forEachName(names, concurrency, options, async (name, i, own) => {
      const reply = await request({ ...call, what: `${what} ${show(name)}`, path: paths[i]! }, own);
      return read(name, reply);
    });
  }

  return {
    timeoutMs: connection.timeoutMs + RETRY_WITHIN_MS,
    async putKey(name, value, options) {
      const what = `put ${show(name)}`;
      const path = objectPath("put", prefix, name);
      checkValue(what, value);
      await request({ what, method: "PUT", path, body: value }, options);
      return true;
    },

    async fetchKeys(names, options) {
      const call = { method: "GET", answers: ["NoSuchKey"] } as const;
      return await each(names, "fetch", call, (name, { code, bytes }) => code ? notFound(name) : bytes, options);
    },

    // Not HEAD: its 404 has no body, so an absent object and an absent bucket look the same.
    async hasKeys(names, options) {
      const answers = ["NoSuchKey", "InvalidRange"]; // the range of an empty object
      const call = { method: "GET", headers: { range: "bytes=0-0" }, statusOnly: true, answers } as const;
      return await each(names, "look for", call, (_, { code }) => code !== "NoSuchKey", options);
    },

    async deleteKeys(names, options) {
      const call = { method: "DELETE", answers: ["NoSuchKey"] } as const;
      const results = await each(names, "delete", call, () => true, options);
      const failed = names.filter((_, i) => results[i] instanceof Error);
      if (failed.length === 0) return;
      const errors = results.filter((result) => result instanceof TundraError);
      // Worth retrying as long as any of them is.
      const first = errors.find((error) => error.retryable) ?? errors[0]!;
      throw new TundraError(first.code, first.message + (failed.length > 1 ? ` (and ${failed.length - 1} more)` : ""), {
        keys: failed,
        causes: Object.fromEntries(names.map((name, i) => [name, results[i]]).filter(([, r]) => r instanceof Error)),
        retryable: first.retryable,
        cause: first,
      });
    },

    async listKeys(under, cursor, options) {
      checkListed(under);
      const query = "?list-type=2&encoding-type=url&prefix=" + encodeURIComponent(prefix + under) +
        (cursor === undefined ? "" : "&continuation-token=" + encodeURIComponent(cursor));
      const what = `list objects under ${show(under)}`;
      const { bytes } = await request({ what, method: "GET", path: "", query }, options);
      return readListing(new TextDecoder().decode(bytes), what, prefix);
    },
  };
}

function readListing(xml: string, what: string, prefix: string): { names: string[]; cursor?: string } {
  const unreadable = (is: string) =>
    new TundraError("UNAVAILABLE", `Cannot ${what} as the S3 server must reply a ListBucketResult: ${is}`);
  if (!xml.includes("<ListBucketResult") || !xml.includes("</ListBucketResult>")) throw unreadable("it does not");
  const escaped = xmlText(xml, "EncodingType") === "url";
  const names: string[] = [];
  for (const contents of xmlElements(xml, "Contents")) {
    const key = xmlText(contents, "Key");
    if (key === undefined) throw unreadable("an object has no name");
    let name = key;
    try {
      if (escaped) name = decodeURIComponent(key.replace(/\+/g, " "));
    } catch {
      throw unreadable(`the name ${show(key)} is not escaped as promised`);
    }
    if (name.startsWith(prefix)) names.push(name.slice(prefix.length));
  }
  const truncated = xmlText(xml, "IsTruncated");
  if (truncated === "false") return { names };
  const cursor = xmlText(xml, "NextContinuationToken");
  // Without it the rest would be passed over in silence.
  if (truncated !== "true" || !cursor) throw unreadable("it does not say what follows");
  return { names, cursor };
}

function check(options: S3DatastoreOptions): { connection: S3Connection; prefix: string; concurrency: number } {
  if (typeof options !== "object" || options === null) throw badArgument(MAKE, "options", "an object", typeof options);
  const { region, bucket, endpoint, prefix = "", style } = options;
  if (typeof region !== "string" || !/^[A-Za-z0-9-]{1,64}$/.test(region)) {
    throw badArgument(MAKE, "region", "1 to 64 characters A-Z a-z 0-9 -", region);
  }
  if (typeof bucket !== "string" || !/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket)) {
    throw badArgument(MAKE, "bucket", "a bucket's name: 2 to 255 characters A-Z a-z 0-9 . _ -", bucket);
  }
  checkPrefix(MAKE, prefix);
  if (style !== undefined && style !== "path" && style !== "virtual-host") {
    throw badArgument(MAKE, "style", '"path" or "virtual-host"', style);
  }
  const { timeoutMs = DEFAULTS.timeoutMs, retries = DEFAULTS.retries, concurrency = DEFAULTS.concurrency } = options;
  checkNumber(MAKE, "timeoutMs", timeoutMs, 1, 600_000);
  checkNumber(MAKE, "retries", retries, 0, 10);
  checkNumber(MAKE, "concurrency", concurrency, 1, 1000);
  const send = options.fetch ?? fetch;
  checkFunction(MAKE, "fetch", send);
  checkSecret("accessKeyId", options.accessKeyId);
  checkSecret("secretAccessKey", options.secretAccessKey);
  if (options.sessionToken !== undefined) checkSecret("sessionToken", options.sessionToken);
  return {
    prefix,
    concurrency,
    connection: {
      fetch: send,
      url: bucketUrl(endpoint, region, bucket, style),
      region,
      accessKeyId: options.accessKeyId,
      secretAccessKey: options.secretAccessKey,
      sessionToken: options.sessionToken,
      timeoutMs,
      retries,
      // Some gateways refuse headers that they do not know.
      checksums: endpoint === undefined,
    },
  };
}

function bucketUrl(endpoint: string | undefined, region: string, bucket: string, style?: string): string {
  // A dot in the bucket's name falls out of AWS' wildcard certificate.
  if (style === undefined) style = endpoint !== undefined || bucket.includes(".") ? "path" : "virtual-host";
  const aws = `https://s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
  let url: URL | undefined;
  try {
    url = new URL(endpoint ?? aws);
  } catch {
    // said below
  }
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    // It is not shown: it may hold credentials.
    const must = "a URL http(s)://host[:port][/path]";
    throw new TundraError("BAD_ARGUMENT", `Cannot ${MAKE} as endpoint must be ${must}: current value is none`);
  }
  const path = url.pathname.replace(/\/+$/, "");
  if (style === "path") return `${url.origin}${path}/${bucket}/`;
  return `${url.protocol}//${bucket}.${url.host}${path}/`;
}

/** Never shows the value. A line break in it would make `fetch` do so. */
function checkSecret(name: string, value: unknown): void {
  if (typeof value === "string" && /^[\x21-\x7e]+$/.test(value)) return;
  const is = typeof value === "string" ? (value === "" ? "empty" : "other text") : typeof value;
  throw new TundraError(
    "BAD_ARGUMENT",
    `Cannot ${MAKE} as ${name} must be printable ASCII, no space: current value is ${is}`,
  );
}
