/**
 * The operations of S3, for a request whose signature and body are in order.
 * @module
 */
import { Buffer } from "node:buffer";
import type { Buckets } from "./buckets.ts";
import { element, S3Error, unescapeXml } from "./error.ts";
import { type S3Reply, type S3Request, xmlReply } from "./exchange.ts";
import { listing, MAX_KEYS } from "./listing.ts";
import { multipart } from "./multipart.ts";
import { valueOf } from "./signature.ts";

const MAX_KEY_BYTES = 1024;

/** A request's operation, in S3's own words; `NotImplemented` for what this server does not do. */
export function operationOf(request: Pick<S3Request, "method" | "bucket" | "key" | "query">): string {
  const names = request.query.map(([name]) => name).filter((name) => !/^x-amz-/i.test(name) && name !== "x-id");
  const has = (name: string) => names.includes(name);
  const operation = request.method + (request.bucket === "" ? " /" : request.key === "" ? " bucket" : " object");
  if (operation === "GET bucket" && has("list-type")) return "ListObjectsV2";
  if (operation === "POST bucket" && has("delete")) return "DeleteObjects";
  if (operation === "POST object" && has("uploads")) return "CreateMultipartUpload";
  if (has("uploadId")) {
    const part = operation === "PUT object" && has("partNumber") && "UploadPart";
    return part || ({ "POST object": "CompleteMultipartUpload", "DELETE object": "AbortMultipartUpload" })[operation] ||
      "NotImplemented";
  }
  if (names.length > 0) return "NotImplemented";
  return ({
    "GET /": "ListBuckets",
    "PUT bucket": "CreateBucket",
    "HEAD bucket": "HeadBucket",
    "PUT object": "PutObject",
    "GET object": "GetObject",
    "HEAD object": "HeadObject",
    "DELETE object": "DeleteObject",
  })[operation] ?? "NotImplemented";
}

/**
 * Answers a request.
 *
 * @throws {S3Error} the error by which S3 refuses it
 */
export function answer(request: S3Request, buckets: Buckets): S3Reply {
  const operation = operationOf(request);
  // If one of these were ignored, a wrong answer would look right.
  const unknown = request.headers.find(([name]) =>
    /^(x-amz-copy-source|x-amz-server-side-encryption|if-match|if-modified-since|if-unmodified-since)/.test(name)
  );
  if (operation === "NotImplemented" || unknown) {
    throw new S3Error(
      501,
      "NotImplemented",
      "A header or query you provided implies functionality that is not implemented.",
    );
  }
  if (operation === "ListBuckets") throw new S3Error(403, "AccessDenied", "Access Denied");
  if (operation === "CreateBucket") return createBucket(request, buckets);

  const objects = buckets.get(request.bucket);
  if (!objects) {
    throw new S3Error(404, "NoSuchBucket", "The specified bucket does not exist", { BucketName: request.bucket });
  }
  checkKey(request.key);
  switch (operation) {
    case "HeadBucket":
      return { status: 200 };
    case "ListObjectsV2":
      return xmlReply(listing(request.bucket, request.query, objects, buckets));
    case "DeleteObjects":
      return deleteMany(request, buckets);
    case "DeleteObject":
      buckets.delete(request.bucket, request.key);
      return { status: 204 };
    case "CreateMultipartUpload":
    case "UploadPart":
    case "CompleteMultipartUpload":
    case "AbortMultipartUpload":
      return multipart(operation, request, buckets);
    case "PutObject":
      return put(request, objects, buckets);
    default:
      return get(request, objects, buckets);
  }
}

function createBucket(request: S3Request, buckets: Buckets): S3Reply {
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(request.bucket)) {
    throw new S3Error(400, "InvalidBucketName", "The specified bucket is not valid.", { BucketName: request.bucket });
  }
  if (buckets.get(request.bucket)) {
    const message = "Your previous request to create the named bucket succeeded and you already own it.";
    throw new S3Error(409, "BucketAlreadyOwnedByYou", message, { BucketName: request.bucket });
  }
  buckets.create(request.bucket);
  return { status: 200, headers: { location: `/${request.bucket}` } };
}

function checkKey(key: string): void {
  const size = Buffer.byteLength(key);
  if (size > MAX_KEY_BYTES) {
    throw new S3Error(400, "KeyTooLongError", "Your key is too long", {
      Size: String(size),
      MaxSizeAllowed: String(MAX_KEY_BYTES),
    });
  }
}

function put(request: S3Request, objects: Map<string, Uint8Array>, buckets: Buckets): S3Reply {
  const ifNoneMatch = valueOf(request.headers, "if-none-match");
  if (ifNoneMatch !== undefined && ifNoneMatch !== "*") {
    throw new S3Error(501, "NotImplemented", "If-None-Match of a PUT must be *");
  }
  if (ifNoneMatch !== undefined && objects.has(request.key)) {
    throw new S3Error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", {
      Condition: "If-None-Match",
    });
  }
  const contentType = valueOf(request.headers, "content-type") ?? "binary/octet-stream";
  const info = buckets.put(request.bucket, request.key, request.body, contentType, request.nowMs);
  return { status: 200, headers: { etag: info.etag } };
}

function get(request: S3Request, objects: Map<string, Uint8Array>, buckets: Buckets): S3Reply {
  if (valueOf(request.headers, "if-none-match") !== undefined) {
    throw new S3Error(501, "NotImplemented", "If-None-Match of a GET is not implemented");
  }
  const bytes = objects.get(request.key);
  if (!bytes) throw new S3Error(404, "NoSuchKey", "The specified key does not exist.", { Key: request.key });
  const info = buckets.info(bytes);
  const headers = {
    "accept-ranges": "bytes",
    "content-type": info.contentType,
    etag: info.etag,
    "last-modified": new Date(info.modifiedMs).toUTCString(),
  };
  const range = rangeOf(valueOf(request.headers, "range"), bytes.length);
  if (!range) return { status: 200, headers, body: bytes };
  return {
    status: 206,
    headers: { ...headers, "content-range": `bytes ${range.from}-${range.to - 1}/${bytes.length}` },
    body: bytes.subarray(range.from, range.to),
  };
}

/** The range that a Range header asks for; a header that cannot be read is ignored, as HTTP says. */
function rangeOf(range: string | undefined, length: number): { from: number; to: number } | undefined {
  const parts = /^bytes=(\d*)-(\d*)$/.exec(range ?? "");
  if (!parts || (parts[1] === "" && parts[2] === "")) return undefined;
  const last = parts[2] === "" ? length - 1 : Number(parts[2]);
  const from = parts[1] === "" ? Math.max(0, length - last) : Number(parts[1]);
  const to = parts[1] === "" ? length : Math.min(length, last + 1);
  if (parts[1] !== "" && parts[2] !== "" && last < from) return undefined;
  if (from >= to) {
    throw new S3Error(416, "InvalidRange", "The requested range is not satisfiable", {
      RangeRequested: range!,
      ActualObjectSize: String(length),
    });
  }
  return { from, to };
}

function deleteMany(request: S3Request, buckets: Buckets): S3Reply {
  // The signature's hash does not count: S3 wants one of these.
  if (!request.headers.some(([name]) => name === "content-md5" || name === "x-amz-checksum-sha256")) {
    throw new S3Error(400, "InvalidRequest", "Missing required header for this request: Content-MD5");
  }
  const malformed = () =>
    new S3Error(
      400,
      "MalformedXML",
      "The XML you provided was not well-formed or did not validate against our published schema",
    );
  const text = Buffer.from(request.body).toString();
  const root = /^\s*(?:<\?xml[^>]*\?>\s*)?<Delete(?:\s[^>]*)?>([\s\S]*)<\/Delete>\s*$/.exec(text)?.[1];
  if (root === undefined) throw malformed();
  const keys = [...root.matchAll(/<Object>([\s\S]*?)<\/Object>/g)].map((object) => {
    const key = /<Key>([^<]*)<\/Key>/.exec(object[1]!)?.[1];
    if (!key) throw malformed();
    return unescapeXml(key);
  });
  if (keys.length === 0 || keys.length > MAX_KEYS) throw malformed();
  const quiet = /<Quiet>\s*true\s*<\/Quiet>/.test(root);
  const results = keys.map((key) => {
    try {
      checkKey(key);
    } catch (error) {
      const { code, message } = error as S3Error;
      return `<Error>${element("Key", key)}${element("Code", code)}${element("Message", message)}</Error>`;
    }
    buckets.delete(request.bucket, key);
    return quiet ? "" : `<Deleted>${element("Key", key)}</Deleted>`;
  });
  return xmlReply(`<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${results.join("")}</DeleteResult>`);
}
