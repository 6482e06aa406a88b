/**
 * An Upstash-compatible REST endpoint in front of a plain Redis, for demo and tests. It keeps the limits of
 * production (request size, declared keys, no blocking commands) and counts the commands that a bill counts.
 *
 * | request | what |
 * | --- | --- |
 * | `POST /` | body: one command as a JSON array |
 * | `POST /pipeline` | body: an array of commands; each has its own result or error |
 * | `POST /multi-exec` | the same in one transaction |
 * | `/CMD/arg/arg?EX=10` | a command in the path; a body is the argument after the path's, then the query's |
 * | `/subscribe/ch`, `/psubscribe/pattern`, `/monitor` | an event stream |
 *
 * It differs from Upstash: one region (the sync token is only a counter), no locks (scripts run one after the other
 * anyway), other wordings of errors, no rate limit, no ACL.
 * @module
 */
import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type Listening, listenLocally } from "./loopback.ts";
import { type CommandPart, redisConnection, type Reply } from "./resp.ts";
import { BadRequest, encode, partText, readBody } from "./upstash/body.ts";
import { type Answer, type CommandOptions, commandRunner } from "./upstash/commands.ts";
import { commandCounter } from "./upstash/counters.ts";
import { isStream, openStream } from "./upstash/streams.ts";

/** Options of {@linkcode startUpstash}. */
export interface UpstashOptions extends CommandOptions {
  /** The port of a Redis on 127.0.0.1. */
  redisPort: number;
  /** Default: a free one. */
  port?: number;
  /** The bearer token. Default: a random one. */
  token?: string;
  /** Longest request body. Default: 10 MB (10 * 1024 * 1024), as Upstash's. */
  maxRequestBytes?: number;
  /** A longer one is answered by a proxy in front, with HTTP 413 and a page. Default: by Upstash's own error. */
  proxyLimits?: boolean;
  /** Longest reply body. Default: no limit. */
  maxReplyBytes?: number;
  /**
   * True: replies are decoded as text before they are sent, as some endpoints do, and bytes that are no UTF-8 are lost.
   * Default: false.
   */
  decodesReplies?: boolean;
  /** True: requests are kept in `log`. Default: false. */
  record?: boolean;
}

/** One request in {@linkcode UpstashServer.log}. */
export interface LoggedRequest {
  path: string;
  /** The commands as text; none if the request held none. */
  commands: string[][];
  status: number;
}

/** A running endpoint. */
export interface UpstashServer {
  readonly url: string;
  readonly port: number;
  readonly token: string;
  /** HTTP requests answered since the start or the last `resetCounters()`; event streams too. */
  readonly requests: number;
  /** The same requests one by one, with `record: true`. */
  readonly log: LoggedRequest[];
  /** The `upstash-sync-token` header of the last request, `undefined` if it had none. */
  readonly lastSyncToken: string | undefined;
  /** Commands that Redis ran since then, those inside scripts and transactions too; without INFO and what `raw` ran. */
  billable(): Promise<number>;
  /** Sets `requests`, `log` and `billable()` to zero. */
  resetCounters(): Promise<void>;
  /**
   * Runs a command in Redis past the endpoint: a value is a Buffer, a status a string. Not billed. Rejects with
   * RedisError.
   */
  raw(...command: CommandPart[]): Promise<Reply>;
  /** Ends it and its streams; Redis goes on. */
  stop(): Promise<void>;
}

/**
 * Starts an endpoint on 127.0.0.1; resolves when it listens.
 *
 * @example
 * ```ts
 * import { startRedis } from "./redis_server.ts";
 * import { startUpstash } from "./upstash.ts";
 *
 * const redis = await startRedis();
 * const server = await startUpstash({ redisPort: redis.port });
 * const headers = { authorization: `Bearer ${server.token}` };
 * console.log(await (await fetch(`${server.url}/set/a/1`, { headers })).json()); // { result: "OK" }
 * await server.stop();
 * await redis.stop();
 * ```
 */
export async function startUpstash(options: UpstashOptions): Promise<UpstashServer> {
  const { redisPort, token = randomUUID() } = options;
  const connection = redisConnection({ port: redisPort });
  const looking = redisConnection({ port: redisPort });
  const counter = commandCounter(looking);
  const answer = commandRunner(connection, options);
  const endpoint: Endpoint = { options, token, answer, streams: new Set(), log: [], requests: 0, syncToken: 0 };
  const { port, close } = await listen(endpoint);
  await counter.reset();

  return {
    url: `http://127.0.0.1:${port}`,
    port,
    token,
    log: endpoint.log,
    get requests() {
      return endpoint.requests;
    },
    get lastSyncToken() {
      return endpoint.lastSyncToken;
    },
    billable: () => counter.count(),
    async resetCounters() {
      await counter.reset();
      endpoint.requests = 0;
      endpoint.log.length = 0;
    },
    raw: (...command) => counter.uncounted(command),
    async stop() {
      for (const end of endpoint.streams) end();
      const closed = close();
      connection.close();
      looking.close();
      await closed;
    },
  };
}

/** An endpoint's settings and what it has done. */
interface Endpoint {
  options: UpstashOptions;
  token: string;
  answer: ReturnType<typeof commandRunner>;
  /** Functions that end the open event streams. */
  streams: Set<() => void>;
  log: LoggedRequest[];
  requests: number;
  /** The sync token of the last reply. */
  syncToken: number;
  /** The sync token of the last request. */
  lastSyncToken?: string | undefined;
}

async function listen(endpoint: Endpoint): Promise<Listening> {
  const server = createServer((request, response) => {
    // It fails if the client went away in the middle of its request.
    serve(endpoint, request, response).catch(() => response.destroy());
  });
  server.requestTimeout = 0;
  return await listenLocally(server, endpoint.options.port);
}

/** Answers one HTTP request. */
async function serve(endpoint: Endpoint, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { options, streams, log } = endpoint;
  const sent = request.headers["upstash-sync-token"];
  const { body, length } = await readBody(request, requestLimit(options));
  const syncToken = String(++endpoint.syncToken);
  endpoint.lastSyncToken = typeof sent === "string" ? sent : undefined;
  endpoint.requests++;

  const result = await resultOf(endpoint, request, body, length);
  if (result === "stream") {
    if (options.record) log.push({ path: request.url!, commands: [], status: 200 });
    return openStream(options.redisPort, request, response, syncToken, streams);
  }
  const base64 = request.headers["upstash-encoding"] === "base64";
  let text = Buffer.from(JSON.stringify(encode(result.body, base64, options.decodesReplies)));
  if (!body && options.proxyLimits) {
    result.status = 413;
    text = Buffer.from("<html><title>413 Request Entity Too Large</title></html>");
  }
  const { maxReplyBytes = Infinity } = options;
  if (text.length > maxReplyBytes) {
    result.status = 400;
    text = Buffer.from(JSON.stringify({ error: tooLong("response", maxReplyBytes, text.length) }));
  }
  if (options.record) {
    const commands = (result.commands ?? []).map((command) => command.map(partText));
    log.push({ path: request.url!, commands, status: result.status });
  }
  response.writeHead(result.status, {
    "content-type": "application/json",
    "content-length": text.length,
    "upstash-sync-token": syncToken,
  });
  response.end(text);
}

/** The result of one request; `body` is missing if it was longer than allowed. */
async function resultOf(
  { options, token, answer }: Endpoint,
  request: IncomingMessage,
  body: Buffer | undefined,
  length: number,
): Promise<Answer | "stream"> {
  const url = new URL(request.url!, "http://localhost");
  const authorized = request.headers.authorization === `Bearer ${token}` || url.searchParams.get("_token") === token;
  if (!authorized) return { status: 401, body: { error: "Unauthorized" } };
  if (!["GET", "HEAD", "POST", "PUT"].includes(request.method!)) {
    return { status: 405, body: { error: `ERR method ${request.method} is not allowed` } };
  }
  if (!body) return { status: 400, body: { error: tooLong("request", requestLimit(options), length) } };
  if (isStream(request)) return "stream";
  return await answer(url, request.url!.split("?")[0]!, body).catch((error) => ({
    status: error instanceof BadRequest ? 400 : 503,
    body: { error: `ERR ${error.message}` },
  }));
}

function requestLimit(options: UpstashOptions): number {
  return options.maxRequestBytes ?? 10 * 1024 * 1024;
}

function tooLong(what: string, limit: number, actual: number): string {
  return `ERR max ${what} size exceeded. Limit: ${limit} bytes, Actual: ${actual} bytes`;
}
