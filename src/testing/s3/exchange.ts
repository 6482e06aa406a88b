/**
 * A request to the S3 server of the local stack, and its answer.
 * @module
 */
import { xml } from "./error.ts";

/** A verified request. */
export interface S3Request {
  method: string;
  bucket: string;
  /** Empty: the bucket itself. */
  key: string;
  query: [string, string][];
  headers: [string, string][];
  body: Uint8Array;
  nowMs: number;
}

/** An answer. The body of a HEAD is only measured. */
export interface S3Reply {
  status: number;
  headers?: Record<string, string>;
  body?: Uint8Array | string;
}

/** An answer of XML. */
export function xmlReply(root: string): S3Reply {
  return { status: 200, headers: { "content-type": "application/xml" }, body: xml(root) };
}
