/**
 * Checks a body against what its request says about it.
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { S3Error } from "./error.ts";
import { type SignedPayload, valueOf } from "./signature.ts";

/**
 * Checks a body against the signature's hash, Content-MD5 and x-amz-checksum-sha256.
 *
 * @throws {S3Error} what S3 answers
 */
export function checkPayload(
  body: Uint8Array,
  headers: [string, string][],
  signed: SignedPayload,
  allowUnsigned: boolean,
): void {
  if (signed.payload.startsWith("STREAMING-")) {
    throw new S3Error(501, "NotImplemented", "Streaming signatures are not implemented here");
  }
  if (signed.payload === "UNSIGNED-PAYLOAD") {
    // A presigned URL is made before its body is known, and without a body there is nothing to sign.
    if (!allowUnsigned && !signed.presigned && body.length > 0) {
      throw new S3Error(403, "AccessDenied", "This server wants every body signed: UNSIGNED-PAYLOAD is not allowed");
    }
  } else if (!/^[0-9a-f]{64}$/.test(signed.payload)) {
    throw new S3Error(400, "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.");
  } else {
    const computed = createHash("sha256").update(body).digest("hex");
    if (computed !== signed.payload) {
      throw new S3Error(
        400,
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
        { ClientComputedContentSHA256: signed.payload, S3ComputedContentSHA256: computed },
      );
    }
  }

  const md5 = valueOf(headers, "content-md5");
  if (md5 !== undefined) {
    if (!isBase64(md5, 16)) throw new S3Error(400, "InvalidDigest", "The Content-MD5 you specified was invalid.");
    if (createHash("md5").update(body).digest("base64") !== md5) {
      throw new S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
    }
  }
  const checksum = valueOf(headers, "x-amz-checksum-sha256");
  if (checksum !== undefined) {
    if (!isBase64(checksum, 32)) {
      throw new S3Error(400, "InvalidRequest", "Value for x-amz-checksum-sha256 header is invalid.");
    }
    if (createHash("sha256").update(body).digest("base64") !== checksum) {
      throw new S3Error(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.");
    }
  }
}

function isBase64(text: string, bytes: number): boolean {
  const decoded = Buffer.from(text, "base64");
  return decoded.length === bytes && decoded.toString("base64") === text;
}
