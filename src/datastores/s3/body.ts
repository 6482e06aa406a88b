/**
 * The body of a reply.
 * @module
 */
import { show } from "../../base/errors.ts";

/** The whole body; fails if it is shorter than promised. */
export async function readBody(response: Response, progress: () => void): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = response.body?.getReader();
  for (let read = await reader?.read(); read && !read.done; read = await reader!.read()) {
    progress();
    chunks.push(read.value);
    length += read.value.length;
  }
  const promised = response.headers.get("content-length");
  // A length on the wire says nothing about bytes that fetch has decoded.
  if (promised !== null && !response.headers.has("content-encoding") && Number(promised) !== length) {
    throw new Error(`the reply ended after ${length} of ${show(promised)} bytes`);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
