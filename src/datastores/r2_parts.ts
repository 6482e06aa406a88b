/**
 * An upload of several parts to R2. Nothing of it is to be seen before it is completed, and one that fails is aborted.
 * @module
 */
import { show } from "../base/errors.ts";
import type { DatastoreCallOptions } from "./datastore.ts";
import { checkValue } from "./names.ts";

/** The parts of a bucket that an upload needs. */
interface Bucket {
  createMultipartUpload(name: string): Promise<{
    uploadPart(partNumber: number, value: Uint8Array): Promise<{ partNumber: number; etag: string }>;
    complete(parts: { partNumber: number; etag: string }[]): Promise<unknown>;
    abort(): Promise<void>;
  }>;
  head(name: string): Promise<object | null>;
}

/** Makes one call to R2 with its retries. */
type Attempt = <T>(what: string, call: DatastoreCallOptions | undefined, act: () => Promise<T>) => Promise<T>;

/** Puts one object. */
export async function putParts(
  { bucket, attempt }: { bucket: Bucket; attempt: Attempt },
  path: string,
  name: string,
  parts: AsyncIterable<Uint8Array>,
  call: DatastoreCallOptions | undefined,
): Promise<true> {
  const what = `put ${show(name)}`;
  const upload = await attempt(what, call, () => bucket.createMultipartUpload(path));
  try {
    const done: { partNumber: number; etag: string }[] = [];
    for await (const part of parts) {
      checkValue(what, part);
      done.push(await attempt(what, call, () => upload.uploadPart(done.length + 1, part)));
    }
    await attempt(what, call, async () => {
      try {
        await upload.complete(done);
      } catch (thrown) {
        // an attempt before may have completed it
        if (await bucket.head(path).catch(() => null) === null) throw thrown;
      }
    });
    return true;
  } catch (thrown) {
    await upload.abort().catch(() => {}); // else it goes by the bucket's lifecycle rule
    throw thrown; // R2's failures are TundraErrors already; the source of the parts fails with its own
  }
}
