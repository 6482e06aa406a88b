/**
 * DynamoDB for tests: npm's dynalite, behind a check of signatures, as dynalite takes any. It holds its items in memory
 * and listens on 127.0.0.1 only.
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { Readable } from "node:stream";
import { listenLocally } from "../../src/testing/loopback.ts";
import { S3Error } from "../../src/testing/s3/error.ts";
import { type Credentials, verifySignature } from "../../src/testing/s3/signature.ts";

/** A running server. */
export interface DynamodbServer extends Credentials {
  url: string;
  port: number;
  /** How often each operation was asked for, with a right signature. */
  operations: Record<string, number>;
  stop(): Promise<void>;
}

/** Options of {@linkcode startDynamodb}. */
export interface DynamodbOptions {
  /** How long a new table is not yet there. Default: 20. */
  createTableMs?: number;
  /** The port; a free one by default. */
  port?: number;
  /** A folder that keeps the items; by default they are in memory. */
  path?: string;
  sessionToken?: string;
  /** Milliseconds that its clock is ahead. */
  clockOffsetMs?: number;
  /** Called before each request, and with each one that has succeeded, before its reply; bar those with this header. */
  hooks?: {
    before(): Promise<void>;
    done(operation: string, body: Record<string, unknown>): void;
    unlessHeader: string;
  };
}

type Dynalite = (options: { path?: string; createTableMs: number; deleteTableMs: number }) => Server;

/** Starts a server without tables. */
export async function startDynamodb(options: DynamodbOptions = {}): Promise<DynamodbServer> {
  const { createTableMs = 20, clockOffsetMs = 0 } = options;
  const dynalite = createRequire(import.meta.url)("dynalite") as Dynalite;
  const inner = dynalite({ path: options.path, createTableMs, deleteTableMs: createTableMs });
  const credentials: Credentials = {
    accessKeyId: "TUNDRAACCESSKEY",
    secretAccessKey: "tundra-secret-access-key",
    ...(options.sessionToken && { sessionToken: options.sessionToken }),
    region: "eu-central-1",
  };
  const operations: Record<string, number> = {};

  const server = createServer(async (message, response) => {
    response.sendDate = false;
    response.setHeader("date", new Date(Date.now() + clockOffsetMs).toUTCString());
    const chunks: Uint8Array[] = [];
    try {
      for await (const chunk of message) chunks.push(chunk);
    } catch {
      return void response.destroy();
    }
    const body = Buffer.concat(chunks);
    try {
      check(message, body, credentials, Date.now() + clockOffsetMs);
    } catch (thrown) {
      return refuse(response, thrown);
    }
    const operation = String(message.headers["x-amz-target"]).split(".")[1] ?? "";
    operations[operation] = (operations[operation] ?? 0) + 1;
    const { method, url, headers } = message;
    const hooks = options.hooks && headers[options.hooks.unlessHeader] === undefined ? options.hooks : undefined;
    if (hooks) {
      await hooks.before();
      const end = response.end.bind(response) as (body: string) => ServerResponse;
      response.end = ((reply: string) => {
        if (response.statusCode === 200) hooks.done(operation, JSON.parse(String(body)));
        return end(reply);
      }) as typeof response.end;
    }
    inner.emit("request", Object.assign(Readable.from([body]), { method, url, headers }), response);
  });
  const { port, close: stop } = await listenLocally(server, options.port);
  return {
    ...credentials,
    url: `http://127.0.0.1:${port}`,
    port,
    operations,
    stop,
  };
}

/** Checks a signature as DynamoDB does: of the body that came, not of a header that tells its hash. */
function check(message: IncomingMessage, body: Uint8Array, credentials: Credentials, nowMs: number): void {
  const headers: [string, string][] = [];
  for (let i = 0; i + 1 < message.rawHeaders.length; i += 2) {
    headers.push([message.rawHeaders[i]!.toLowerCase(), message.rawHeaders[i + 1]!]);
  }
  const { method = "", url = "/" } = message;
  const payload = createHash("sha256").update(body).digest("hex");
  const request = { method, path: decodeURIComponent(url.split("?")[0]!), query: [], headers };
  verifySignature(request, credentials, nowMs, { name: "dynamodb", payload });
}

/** What DynamoDB says where S3 says something else. Its own messages, as dynalite's source quotes them. */
const CODES: Record<string, [code: string, message?: string]> = {
  AccessDenied: ["MissingAuthenticationTokenException", "Request is missing Authentication Token"],
  InvalidAccessKeyId: ["UnrecognizedClientException", "The security token included in the request is invalid."],
  InvalidToken: ["UnrecognizedClientException", "The security token included in the request is invalid"],
  SignatureDoesNotMatch: ["InvalidSignatureException"],
  RequestTimeTooSkewed: ["InvalidSignatureException", "Signature expired: it is now earlier than the time - 15 min."],
  AuthorizationHeaderMalformed: ["InvalidSignatureException"],
};

function refuse(response: ServerResponse, thrown: unknown): void {
  const { code, message, details } = thrown instanceof S3Error ? thrown : new S3Error(500, "", String(thrown));
  const [own, text = message] = CODES[code] ?? ["IncompleteSignatureException"];
  const canonical = details.CanonicalRequest === undefined
    ? ""
    : `\n\nThe Canonical String for this request should have been\n'${details.CanonicalRequest}'`;
  const body = JSON.stringify({ __type: `com.amazon.coral.service#${own}`, message: text + canonical });
  response.writeHead(400, { "content-type": "application/x-amz-json-1.0", "content-length": Buffer.byteLength(body) });
  response.end(body);
}
