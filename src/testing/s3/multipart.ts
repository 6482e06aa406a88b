/**
 * Uploads of several parts: their order, sizes and checksums are checked as S3 does.
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import type { Buckets, Upload } from "./buckets.ts";
import { element, S3Error, unescapeXml } from "./error.ts";
import { type S3Reply, type S3Request, xmlReply } from "./exchange.ts";
import { valueOf } from "./signature.ts";

/** The least bytes of each part but the last. */
const LEAST_PART = 5 * 1024 * 1024;
const NAMESPACE = `xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`;

/** Answers one of the four operations. */
export function multipart(operation: string, request: S3Request, buckets: Buckets): S3Reply {
  if (operation === "CreateMultipartUpload") return create(request, buckets);
  const id = valueOf(request.query, "uploadId") ?? "";
  const upload = buckets.uploads.get(id);
  if (!upload || upload.bucket !== request.bucket || upload.key !== request.key) {
    throw new S3Error(404, "NoSuchUpload", "The specified upload does not exist.", { UploadId: id });
  }
  if (operation === "UploadPart") return put(request, upload);
  if (operation === "CompleteMultipartUpload") return complete(request, id, upload, buckets);
  buckets.uploads.delete(id);
  return { status: 204 };
}

function create({ bucket, key, headers }: S3Request, buckets: Buckets): S3Reply {
  const id = randomBytes(16).toString("base64url");
  const algorithm = valueOf(headers, "x-amz-checksum-algorithm");
  const contentType = valueOf(headers, "content-type") ?? "binary/octet-stream";
  buckets.uploads.set(id, { bucket, key, contentType, algorithm, parts: new Map() });
  const inner = element("Bucket", bucket) + element("Key", key) + element("UploadId", id);
  return xmlReply(`<InitiateMultipartUploadResult ${NAMESPACE}>${inner}</InitiateMultipartUploadResult>`);
}

function put({ query, headers, body }: S3Request, upload: Upload): S3Reply {
  const number = Number(valueOf(query, "partNumber"));
  if (!Number.isInteger(number) || number < 1 || number > 10_000) {
    throw new S3Error(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive");
  }
  const sha256 = valueOf(headers, "x-amz-checksum-sha256");
  if (sha256 !== undefined && upload.algorithm !== "SHA256") {
    throw new S3Error(400, "InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: null");
  }
  const etag = `"${createHash("md5").update(body).digest("hex")}"`;
  upload.parts.set(number, { bytes: body, etag, sha256 });
  return { status: 200, headers: { etag } };
}

function complete(request: S3Request, id: string, upload: Upload, buckets: Buckets): S3Reply {
  const text = Buffer.from(request.body).toString();
  const listed = [...text.matchAll(/<Part>([\s\S]*?)<\/Part>/g)].map(([, part]) => ({
    number: Number(/<PartNumber>(\d+)<\/PartNumber>/.exec(part!)?.[1]),
    etag: unescapeXml(/<ETag>([^<]*)<\/ETag>/.exec(part!)?.[1] ?? ""),
    sha256: /<ChecksumSHA256>([^<]*)<\/ChecksumSHA256>/.exec(part!)?.[1],
  }));
  if (!text.includes("<CompleteMultipartUpload") || listed.length === 0) {
    throw new S3Error(400, "MalformedXML", "The XML you provided was not well-formed");
  }
  const parts = listed.map(({ number, etag, sha256 }, i) => {
    if (i > 0 && number <= listed[i - 1]!.number) {
      throw new S3Error(400, "InvalidPartOrder", "The list of parts was not in ascending order.");
    }
    const part = upload.parts.get(number);
    if (!part || part.etag.replaceAll('"', "") !== etag.replaceAll('"', "") || part.sha256 !== sha256) {
      throw new S3Error(400, "InvalidPart", "One or more of the specified parts could not be found.");
    }
    return part;
  });
  if (parts.slice(0, -1).some(({ bytes }) => bytes.length < LEAST_PART)) {
    throw new S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size");
  }
  const bytes = new Uint8Array(Buffer.concat(parts.map(({ bytes }) => bytes)));
  const info = buckets.put(request.bucket, request.key, bytes, upload.contentType, request.nowMs);
  buckets.uploads.delete(id);
  const inner = element("Bucket", request.bucket) + element("Key", request.key) + element("ETag", info.etag);
  return xmlReply(`<CompleteMultipartUploadResult ${NAMESPACE}>${inner}</CompleteMultipartUploadResult>`);
}
