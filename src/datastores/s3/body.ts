/**
 * The body of a reply: all of it, or the range that was asked for.
 * @module
 */
import { show, TundraError } from "../../base/errors.ts";

/** A range of an object. */
export interface ByteRange {
  offset: number;
  length: number;
}

/** The header that asks for a range. */
export function rangeHeader({ offset, length }: ByteRange): { range: string } {
  return { range: `bytes=${offset}-${offset + length - 1}` };
}

/**
 * The whole body, or of a successful reply the range that was asked for. It fails if the body is shorter than promised,
 * and if it does not hold exactly that range.
 */
export async function readBody(response: Response, progress: () => void, range?: ByteRange): Promise<Uint8Array> {
  const { body, headers, status } = response;
  const from = range ? bytesBefore(range, response) : 0;
  const to = range ? from + range.length : Infinity;
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = body?.getReader();
  for (let read = await reader?.read(); read && !read.done; read = await reader!.read()) {
    progress();
    // Of a whole object only the range is kept in memory: an empty view would keep its chunk.
    const part = read.value.subarray(Math.max(0, from - length), to - length);
    if (part.length > 0) chunks.push(part);
    length += read.value.length;
    if (length > to) break;
  }
  const more = length > to;
  if (more) reader!.cancel().catch(() => {});
  if (more && status === 206) throw new Error(`the reply did not end after ${to} bytes`);
  // A length on the wire says nothing about bytes that fetch has decoded.
  const promised = more || headers.has("content-encoding") ? null : headers.get("content-length");
  if (promised !== null && Number(promised) !== length) {
    throw new Error(`the reply ended after ${length} of ${show(promised)} bytes`);
  }
  if (range && length < to) {
    if (status === 200 && promised !== null && headers.has("etag")) throw tooShort(status, length, to);
    throw new Error(`the reply ended after ${length} bytes: ${to} were expected`);
  }
  const bytes = new Uint8Array(Math.min(length, to) - from);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** The number of bytes of the body that stand before the range: it is 0, unless the server sends the whole object. */
function bytesBefore({ offset, length }: ByteRange, { body, headers, status }: Response): number {
  const said = headers.get("content-range");
  const end = offset + length;
  if (status === 200 && said === null) return offset;
  if (status === 206 && said?.startsWith(`bytes ${offset}-${end - 1}/`)) return 0;
  body?.cancel().catch(() => {});
  const size = Number(said?.split("/")[1]);
  if (size < end) throw tooShort(status, size, end);
  throw new Error(`${status} with the Content-Range ${show(said)}, asked for ${offset} to ${end - 1}`);
}

/** The error of an object that ends before the range does: no retry mends that. */
function tooShort(status: number, size: number, end: number): TundraError {
  return new TundraError("CORRUPT", `${status} of an object of ${size} bytes, not ${end}`);
}
