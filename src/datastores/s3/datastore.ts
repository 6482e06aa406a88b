/**
 * A datastore in S3, or in a service with its protocol: R2, MinIO, Ceph, B2, Spaces, ...
 * @module
 */
import { nameTaken, notFound, show, TundraError } from "../../base/errors.ts";
import { RETRY_WITHIN_MS } from "../attempts.ts";
import type { Datastore, DatastoreCallOptions, PutOptions } from "../datastore.ts";
import { deletionFailure } from "../deletions.ts";
import { checkListed, checkValue, objectPath } from "../names.ts";
import { forEachName } from "../parallel.ts";
import { checkReads } from "../ranges.ts";
import type { ByteRange } from "./body.ts";
import { checkS3Options, type S3DatastoreOptions } from "./options.ts";
import { readRefusal } from "./refusals.ts";
import { readDeletions, readListing } from "./replies.ts";
import { type S3Call, type S3Reply, type S3Requester, s3Requester } from "./request.ts";

export type { S3Credentials } from "./credentials.ts";
export type { S3DatastoreOptions } from "./options.ts";

/** Answers of servers that do not know DeleteObjects, or want it otherwise; 404 and 405 may come without a code. */
const CANNOT_DELETE_TOGETHER = [
  ...[
    "NotImplemented",
    "MethodNotAllowed",
    "InvalidRequest",
    "InvalidArgument",
    "MalformedXML",
    "MalformedPOSTRequest",
  ],
  ...["MissingContentMD5", "InvalidDigest", "NoSuchKey", "UnsupportedOperation", "404", "405", "501", "400"],
];
/**
 * The most objects of one DeleteObjects.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
 */
const DELETE_AT_ONCE = 1000;
/** Answers to a conditional PUT by servers without it. */
const UNCONDITIONAL = ["NotImplemented", "InvalidArgument", "InvalidRequest", "501", "400"];
/**
 * Answers to a conditional PUT if the object exists.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
 */
const TAKEN = ["PreconditionFailed", "412"];

/**
 * A datastore in S3, or in a service with its protocol. It makes no request until it is used, and is cheap to make.
 *
 * Cost: one request for each object, for one of over 8 MiB one for each 8 MiB and two more; listing and deleting: one for each 1,000. Credentials need `s3:PutObject`,
 * `s3:GetObject`, `s3:AbortMultipartUpload`, `s3:DeleteObject`, and `s3:ListBucket` on the bucket: without that, S3 does not tell an absent object
 * from a forbidden one, and Tundra takes it for "unknown". Uploads carry a signed SHA-256, so the server refuses an
 * object that was damaged on its way.
 *
 * Network errors, time limits, 429 and 5xx are retried with jitter; a wrong clock is corrected from the server's, once.
 * An upload counts as stored if S3 answers 200 with an ETag. Many objects are deleted together. If a server refuses
 * that, it gets one request for each object from then on. Requests ask not to be cached. A server that does not know
 * ranges sends the whole object: only the range of it is kept.
 * A failure after the last retry is a TundraError with S3's own code and the HTTP status in its message:
 *
 * | code | retryable | when |
 * | --- | --- | --- |
 * | `NOT_FOUND` | no | S3 said `NoSuchKey` (in a slot of `fetchKeys` or `fetchRanges`) |
 * | `UNAVAILABLE` | yes | a failure of the service that passes: network, 429, 5xx |
 * | `UNAVAILABLE` | no | a failure that an operator must end: credentials, rights, region, bucket, headers, an object in Glacier |
 * | `CORRUPT` | no | an object ends before the range that was asked for (in a slot of `fetchRanges`) |
 * | `TOO_LARGE` | no | S3 said `EntityTooLarge`, or 413 |
 * | `UNSUPPORTED` | no | S3 refuses this object's name |
 * | `BAD_ARGUMENT` | no | nothing was sent |
 *
 * @throws {TundraError} `BAD_ARGUMENT`
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
export function s3Datastore(options: S3DatastoreOptions): Required<Datastore> {
  const { connection, prefix, concurrency } = checkS3Options(options);
  const archive: S3Archive = {
    request: s3Requester(connection),
    prefix,
    concurrency,
    conditionalPuts: true,
    deletesTogether: true,
  };
  return {
    place: `bucket ${show(options.bucket)}${prefix === "" ? "" : `, prefix ${show(prefix)}`}`,
    timeoutMs: connection.timeoutMs + RETRY_WITHIN_MS,
    putKey: (name, value, options) => put(archive, name, value, options),

    async putParts(name, parts, options) {
      const path = objectPath("put", prefix, name);
      const stores = async () => (await hasAll(archive, [name], options))[0] === true;
      const { putParts } = await import("./parts.ts");
      return await putParts({ request: archive.request, path, name, stores }, parts, options);
    },

    fetchKeys: (names, options) => fetchAll(archive, names, options),

    async fetchRanges(reads, options) {
      checkReads(reads);
      return await fetchAll(archive, reads.map(({ name }) => name), options, reads);
    },

    hasKeys: (names, options) => hasAll(archive, names, options),

    deleteKeys: (names, options) => deleteAll(archive, names, options),

    async listKeys(under, cursor, options) {
      checkListed(under);
      const query = "?list-type=2&encoding-type=url&prefix=" + encodeURIComponent(prefix + under) +
        (cursor === undefined ? "" : "&continuation-token=" + encodeURIComponent(cursor));
      const what = `list objects under ${show(under)}`;
      const { bytes } = await archive.request({ what, method: "GET", path: "", query }, options);
      return readListing(new TextDecoder().decode(bytes), what, prefix, under);
    },
  };
}

/** A bucket, and what its server has shown that it cannot do. */
interface S3Archive {
  request: S3Requester;
  prefix: string;
  concurrency: number;
  /** False once the server has refused an upload because of its condition. */
  conditionalPuts: boolean;
  /** False once the server has refused to delete many objects at once, as some gateways do. */
  deletesTogether: boolean;
}

/** Sends one request for each name. */
async function each<R>(
  { request, prefix, concurrency }: S3Archive,
  names: string[],
  what: string,
  callOf: (i: number) => Omit<S3Call, "what" | "path">,
  read: (name: string, reply: S3Reply) => R | Error,
  options: DatastoreCallOptions | undefined,
): Promise<(R | Error)[]> {
  const paths = names.map((name) => objectPath(what, prefix, name));
  return await forEachName(names, concurrency, options, async (name, i, own) => {
    const reply = await request({ ...callOf(i), what: `${what} ${show(name)}`, path: paths[i]! }, own);
    return read(name, reply);
  });
}

/** Fetches objects, or a range of each. */
async function fetchAll(
  archive: S3Archive,
  names: string[],
  options: DatastoreCallOptions | undefined,
  ranges?: readonly ByteRange[],
): Promise<(Uint8Array | Error)[]> {
  const callOf = (i: number) => ({ method: "GET", answers: ["NoSuchKey"], range: ranges?.[i] }) as const;
  return await each(archive, names, "fetch", callOf, (name, { code, bytes }) => code ? notFound(name) : bytes, options);
}

/** Looks for objects. Not HEAD: its 404 has no body, so an absent object and an absent bucket look the same. */
async function hasAll(
  archive: S3Archive,
  names: string[],
  options: DatastoreCallOptions | undefined,
): Promise<(boolean | Error)[]> {
  const answers = ["NoSuchKey", "InvalidRange"]; // the range of an empty object
  const call = { method: "GET", headers: { range: "bytes=0-0" }, statusOnly: true, answers } as const;
  return await each(archive, names, "look for", () => call, (_, { code }) => code !== "NoSuchKey", options);
}

async function put(
  archive: S3Archive,
  name: string,
  value: Uint8Array,
  options: PutOptions | undefined,
): Promise<true> {
  const { request, prefix } = archive;
  const what = `put ${show(name)}`;
  const path = objectPath("put", prefix, name);
  checkValue(what, value);
  if (options?.ifAbsent && archive.conditionalPuts) {
    const headers = { "if-none-match": "*" };
    const answers = [...TAKEN, ...UNCONDITIONAL];
    const { code } = await request({ what, method: "PUT", path, body: value, headers, answers }, options);
    if (TAKEN.includes(code)) throw nameTaken(name);
    if (code === "") return true;
    archive.conditionalPuts = false;
  }
  await request({ what, method: "PUT", path, body: value }, options);
  return true;
}

async function deleteAll(
  archive: S3Archive,
  names: string[],
  options: DatastoreCallOptions | undefined,
): Promise<void> {
  const paths = names.map((name) => objectPath("delete", archive.prefix, name));
  const errors = new Map<string, Error>();
  let single = names;
  if (archive.deletesTogether && names.length > 1) {
    single = [];
    for (let from = 0; from < names.length; from += DELETE_AT_ONCE) {
      const part = names.slice(from, from + DELETE_AT_ONCE);
      const at = paths.slice(from, from + DELETE_AT_ONCE);
      single.push(...(archive.deletesTogether ? await deleteTogether(archive, part, at, errors, options) : part));
    }
  }
  const call = { method: "DELETE", answers: ["NoSuchKey"] } as const;
  const results = await each(archive, single, "delete", () => call, () => true, options);
  single.forEach((name, i) => results[i] instanceof Error && errors.set(name, results[i]));
  if (errors.size > 0) throw deletionFailure(names, errors);
}

/** Deletes up to 1,000 objects in one request; returns those that are to be deleted one by one. */
async function deleteTogether(
  archive: S3Archive,
  names: string[],
  paths: string[],
  errors: Map<string, Error>,
  options: DatastoreCallOptions | undefined,
): Promise<string[]> {
  const what = `delete ${names.length} objects`;
  const objects = paths.map((path) => `<Object><Key>${path}</Key></Object>`).join("");
  const body = new TextEncoder().encode(
    `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${objects}</Delete>`,
  );
  const headers = { "content-type": "application/xml" };
  const call = { what, method: "POST", path: "", query: "?delete=", headers, body, needsChecksum: true } as const;
  const { code, bytes } = await archive.request({ ...call, answers: CANNOT_DELETE_TOGETHER }, options);
  const outcomes = code === "" ? readDeletions(new TextDecoder().decode(bytes)) : undefined;
  if (outcomes === undefined) archive.deletesTogether = false;
  return names.filter((name, i) => {
    const outcome = outcomes?.get(paths[i]!);
    if (outcome === "deleted" || outcome?.code === "NoSuchKey") return false; // some say so of what is absent
    if (outcome === undefined) return true; // the reply does not name it
    const { again, ...refusal } = readRefusal(403, outcome.code);
    if (again === "later") return true;
    const message = `Cannot delete ${show(name)} as the S3 server must do it: ${outcome.code}: ${outcome.message}`;
    errors.set(name, new TundraError(refusal.code, message, refusal));
    return false;
  });
}
