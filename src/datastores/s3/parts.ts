/**
 * An upload of several parts to S3. Nothing of it is to be seen before it is completed, and one that fails is aborted.
 * @module
 */
import { show, TundraError } from "../../base/errors.ts";
import { closingOptions } from "../attempts.ts";
import type { DatastoreCallOptions } from "../datastore.ts";
import { checkValue } from "../names.ts";
import type { S3Requester } from "./request.ts";
import { xmlText } from "./xml.ts";

/** The times that an upload is completed again, if the answer is an error after a 200. */
const COMPLETIONS = 3;

/** Puts one object; `stores` tells if the server has it. */
export async function putParts(
  { request, path, name, stores }: { request: S3Requester; path: string; name: string; stores: () => Promise<boolean> },
  parts: AsyncIterable<Uint8Array>,
  options: DatastoreCallOptions | undefined,
): Promise<true> {
  const what = `put ${show(name)}`;
  const begun = await request({ what, method: "POST", path, query: "?uploads=", isUpload: true }, options);
  const id = xmlText(new TextDecoder().decode(begun.bytes), "UploadId");
  if (!id) throw unfinished(what, "it has not begun");
  const upload = `uploadId=${encodeURIComponent(id)}`;
  try {
    const done: string[] = [];
    for await (const body of parts) {
      checkValue(what, body);
      const part = done.length + 1;
      const query = `?partNumber=${part}&${upload}`;
      const { etag, sha256 } = await request({ what, method: "PUT", path, query, body }, options);
      done.push(
        `<Part><PartNumber>${part}</PartNumber><ETag>${etag.replaceAll('"', "&quot;")}</ETag>` +
          (sha256 === "" ? "" : `<ChecksumSHA256>${sha256}</ChecksumSHA256>`) + "</Part>",
      );
    }
    const xml = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${done.join("")}` +
      "</CompleteMultipartUpload>";
    try {
      await complete(request, { what, path, query: `?${upload}`, xml }, options);
    } catch (thrown) {
      options?.signal?.throwIfAborted();
      // a request whose reply was lost may have completed it: nothing else makes an object of that name
      if (!await stores().catch(() => false)) throw thrown;
    }
    return true;
  } catch (thrown) {
    // what fails here goes by the bucket's lifecycle rule
    const call = { what: `abort the upload of ${show(name)}`, method: "DELETE", path, query: `?${upload}` } as const;
    await request({ ...call, answers: ["NoSuchUpload"] }, closingOptions(options)).catch(() => {});
    throw thrown;
  }
}

/** Completes an upload. The reply may be an error though its status is 200. */
async function complete(
  request: S3Requester,
  { what, path, query, xml }: { what: string; path: string; query: string; xml: string },
  options: DatastoreCallOptions | undefined,
): Promise<void> {
  const headers = { "content-type": "application/xml" };
  const body = new TextEncoder().encode(xml);
  for (let attempt = 1;; attempt++) {
    const { bytes } = await request({ what, method: "POST", path, query, headers, body, isControl: true }, options);
    const text = new TextDecoder().decode(bytes);
    if (text.includes("<CompleteMultipartUploadResult")) return;
    if (attempt === COMPLETIONS) {
      throw unfinished(what, `200 with ${xmlText(text, "Code") ?? "a reply that does not say so"}`);
    }
  }
}

function unfinished(what: string, is: string): TundraError {
  return new TundraError("UNAVAILABLE", `Cannot ${what} as the S3 server must complete its upload: ${is}`);
}
