/**
 * An S3 server in this process, for the demo and the tests: objects, uploads of several parts, listings, multi-object delete; path style
 * (`/bucket/key`) and virtual-host style (`bucket.localhost`). It verifies signatures and payload hashes by itself.
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { listenLocally } from "./loopback.ts";
import { openBuckets } from "./s3/buckets.ts";
import { errorXml, S3Error } from "./s3/error.ts";
import type { S3Reply } from "./s3/exchange.ts";
import { answer, operationOf } from "./s3/operations.ts";
import { checkPayload } from "./s3/payload.ts";
import { valueOf, verifySignature } from "./s3/signature.ts";

/** Options of {@linkcode startS3}. */
export interface S3Options {
  /** Default `tundra`. */
  accessKeyId?: string;
  /** Default `tundra-secret`. */
  secretAccessKey?: string;
  /** Default: none, and a request that brings one is refused. */
  sessionToken?: string;
  /** Default `us-east-1`. */
  region?: string;
  /** Buckets to begin with; default `["tundra"]`. */
  buckets?: string[];
  /** Keep objects here as well, so that they survive the process; default: in memory only. */
  folder?: string;
  /** Default: a free one. Always on 127.0.0.1. */
  port?: number;
  /** The server's clock is this many milliseconds ahead of this machine's; default 0. */
  clockOffsetMs?: number;
  /** Take `UNSIGNED-PAYLOAD` for a body whose request is not presigned; default false. */
  allowUnsignedPayload?: boolean;
  /** A larger body is `EntityTooLarge`; default 5 GiB, as S3. */
  maxObjectBytes?: number;
}

/** A running server, with everything that a client needs. */
export interface S3Server {
  /** Such as `http://127.0.0.1:41234`, no slash at the end. */
  readonly url: string;
  readonly port: number;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | undefined;
  /** Requests so far, refused ones too. */
  readonly requests: number;
  /** Of these, by S3's name of the operation (`PutObject`, `ListObjectsV2`, ...). */
  readonly operations: Readonly<Record<string, number>>;
  /** A bucket's objects, live: look at them, damage them, remove them (in memory; a folder does not follow). */
  objects(bucket: string): Map<string, Uint8Array>;
  /** Uploads of several parts that were begun and neither completed nor aborted, by id. */
  readonly uploads: ReadonlyMap<string, unknown>;
  /** Makes a bucket; one that exists is no error. */
  createBucket(bucket: string): Promise<void>;
  /** Ends all connections; resolves when the port is free. */
  stop(): Promise<void>;
}

/**
 * Starts a server on 127.0.0.1.
 *
 * @example
 * ```ts
 * import { startS3 } from "./s3.ts";
 *
 * const s3 = await startS3({ buckets: ["archive"] });
 * console.log(s3.url, s3.objects("archive").size);
 * await s3.stop();
 * ```
 */
export async function startS3(options: S3Options = {}): Promise<S3Server> {
  const credentials = {
    accessKeyId: options.accessKeyId ?? "tundra",
    secretAccessKey: options.secretAccessKey ?? "tundra-secret",
    sessionToken: options.sessionToken,
    region: options.region ?? "us-east-1",
  };
  const clockOffsetMs = options.clockOffsetMs ?? 0;
  const maxObjectBytes = options.maxObjectBytes ?? 5 * 1024 ** 3;
  const buckets = openBuckets(options.folder);
  for (const bucket of options.buckets ?? ["tundra"]) buckets.create(bucket);
  const operations: Record<string, number> = {};
  let requests = 0;

  async function handle(message: IncomingMessage): Promise<S3Reply> {
    requests++;
    const headers = headersOf(message);
    const { path, query } = targetOf(message.url ?? "/");
    const target = { method: message.method ?? "GET", query, ...bucketAndKey(path, valueOf(headers, "host") ?? "") };
    const operation = operationOf(target);
    operations[operation] = (operations[operation] ?? 0) + 1;
    const body = await bodyOf(message, maxObjectBytes);
    const nowMs = Date.now() + clockOffsetMs;
    const signed = verifySignature({ method: target.method, path, query, headers }, credentials, nowMs);
    checkPayload(body, headers, signed, options.allowUnsignedPayload ?? false);
    return answer({ ...target, headers, body, nowMs }, buckets);
  }

  const server = createServer((message, response) => {
    const requestId = randomBytes(8).toString("hex").toUpperCase();
    handle(message)
      .catch((error) => refusal(error, message, requestId))
      .then((reply) => send(reply, message, response, requestId, Date.now() + clockOffsetMs));
  });
  const { port, close: stop } = await listenLocally(server, options.port);

  return {
    url: `http://127.0.0.1:${port}`,
    port,
    ...credentials,
    get requests() {
      return requests;
    },
    operations,
    objects: (bucket) => {
      const objects = buckets.get(bucket);
      if (!objects) throw new Error(`Cannot look into ${bucket} as it must be a bucket of this server`);
      return objects;
    },
    uploads: buckets.uploads,
    createBucket: (bucket) => Promise.resolve(buckets.create(bucket)),
    stop,
  };
}

function headersOf(message: IncomingMessage): [string, string][] {
  const headers: [string, string][] = [];
  for (let i = 0; i + 1 < message.rawHeaders.length; i += 2) {
    headers.push([message.rawHeaders[i]!.toLowerCase(), message.rawHeaders[i + 1]!]);
  }
  return headers;
}

function targetOf(url: string): { path: string; query: [string, string][] } {
  const at = url.indexOf("?");
  const decode = (text: string) => {
    try {
      return decodeURIComponent(text);
    } catch {
      throw new S3Error(400, "InvalidURI", "Couldn't parse the specified URI.");
    }
  };
  const query = at < 0 ? [] : url.slice(at + 1).split("&").filter((part) => part !== "").map((part) => {
    const [name, ...value] = part.replaceAll("+", " ").split("=");
    return [decode(name!), decode(value.join("="))] as [string, string];
  });
  return { path: decode(at < 0 ? url : url.slice(0, at)), query };
}

function bucketAndKey(path: string, host: string): { bucket: string; key: string } {
  const virtual = /^(.+)\.localhost(?::\d+)?$/.exec(host)?.[1];
  if (virtual !== undefined) return { bucket: virtual, key: path.slice(1) };
  const slash = path.indexOf("/", 1);
  return slash < 0 ? { bucket: path.slice(1), key: "" } : { bucket: path.slice(1, slash), key: path.slice(slash + 1) };
}

async function bodyOf(message: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = (size: number) =>
    new S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", {
      ProposedSize: String(size),
      MaxSizeAllowed: String(maxBytes),
    });
  const declared = message.headers["content-length"];
  if (declared === undefined && message.method === "PUT") {
    throw new S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
  }
  if (Number(declared ?? 0) > maxBytes) throw tooLarge(Number(declared));
  const incomplete = () => new S3Error(400, "IncompleteBody", "You did not provide the number of bytes specified.");
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of message) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > maxBytes) throw tooLarge(size);
    }
  } catch (error) {
    throw error instanceof S3Error ? error : incomplete();
  }
  if (declared !== undefined && size !== Number(declared)) throw incomplete();
  // A copy of its own: a view would keep, and show to tests, whatever else shares the buffer.
  return new Uint8Array(Buffer.concat(chunks, size));
}

function refusal(error: unknown, message: IncomingMessage, requestId: string): S3Reply {
  const known = error instanceof S3Error ? error : new S3Error(500, "InternalError", String(error));
  return {
    status: known.status,
    headers: { "content-type": "application/xml" },
    body: errorXml(known, (message.url ?? "/").split("?")[0]!, requestId),
  };
}

function send(
  reply: S3Reply,
  message: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  nowMs: number,
): void {
  const body = typeof reply.body === "string" ? Buffer.from(reply.body) : reply.body ?? new Uint8Array(0);
  const headers: Record<string, string> = {
    date: new Date(nowMs).toUTCString(),
    "x-amz-request-id": requestId,
    server: "TundraS3",
    ...reply.headers,
  };
  if (reply.status !== 204) headers["content-length"] = String(body.length);
  // The rest of a body that was not read would be taken for the next request.
  if (!message.complete) headers.connection = "close";
  response.writeHead(reply.status, headers);
  response.end(message.method === "HEAD" ? undefined : body);
}
