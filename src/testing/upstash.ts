/**
 * An Upstash-compatible REST endpoint in front of a plain Redis, for demo and tests. It keeps the limits that hurt in
 * production (request size, declared keys, no blocking commands) and counts what a bill would count.
 *
 * | request | what |
 * | --- | --- |
 * | `POST /` | body: one command as a JSON array |
 * | `POST /pipeline` | body: an array of commands; each has its own result or error |
 * | `POST /multi-exec` | the same in one transaction |
 * | `/CMD/arg/arg?EX=10` | a command in the path; a body is the argument after the path's, then the query's |
 * | `/subscribe/ch`, `/psubscribe/pattern`, `/monitor` | an event stream |
 *
 * Not the real thing: one region (the sync token is only a counter), no locks (scripts run one after the other anyway),
 * wordings of errors, no rate limit, no ACL.
 * @module
 */
import { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type CommandPart, redisConnection, RedisError, redisStream, type Reply } from "./resp.ts";
import { BadRequest, encode, partText, percentDecode, readBody } from "./upstash/body.ts";
import { type Answer, type CommandOptions, commandRunner } from "./upstash/commands.ts";

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
  /** Decode replies as text before they are sent, as some endpoints do? What is no UTF-8 is lost. Default: false. */
  decodesReplies?: boolean;
  /** Keep what was asked in `log`? Default: false. */
  record?: boolean;
}

/** One request in {@linkcode UpstashServer.log}. */
export interface LoggedRequest {
  path: string;
  /** The commands as text; none where the request held none. */
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
  /** The `upstash-sync-token` header of the last request, `undefined` where it had none. */
  readonly lastSyncToken: string | undefined;
  /** Commands that Redis ran since then, those inside scripts and transactions too; without INFO and what `raw` ran. */
  billable(): Promise<number>;
  /** Sets `requests`, `log` and `billable()` to zero. */
  resetCounters(): Promise<void>;
  /** Looks into Redis past the endpoint: a value is a Buffer, a status a string. Not billed. Rejects with RedisError. */
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
  const { redisPort, token = randomUUID(), maxReplyBytes = Infinity } = options;
  const maxRequestBytes = options.maxRequestBytes ?? 10 * 1024 * 1024;
  const connection = redisConnection({ port: redisPort });
  const answer = commandRunner(connection, options);
  const looking = redisConnection({ port: redisPort });
  const sockets = new Set<Socket>();
  const streams = new Set<() => void>();
  const log: LoggedRequest[] = [];
  let requests = 0;
  let syncToken = 0;
  let lastSyncToken: string | undefined;
  let zero = { runId: "", calls: 0 };

  const counted = async () => {
    const [stats, server] = await looking.pipeline([["INFO", "commandstats"], ["INFO", "server"]]);
    const runId = /^run_id:(\w+)/m.exec(String(server))?.[1] ?? "";
    if (zero.runId !== runId) zero = { runId, calls: 0 }; // Redis was restarted: its counters began anew
    return totalCalls(stats!);
  };

  const resetCounters = async () => {
    zero.calls = await counted();
    requests = 0;
    log.length = 0;
  };

  const stream = (request: IncomingMessage, response: ServerResponse, token: string) => {
    const [name, ...channels] = request.url!.split("?")[0]!.slice(1).split("/").map(percentDecode);
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-cache",
      "upstash-sync-token": token,
    });
    response.flushHeaders();
    const send = (text: string) => response.write(text.split("\n").map((line) => `data: ${line}\n`).join("") + "\n");
    const end = redisStream(
      { port: redisPort },
      [name!, ...channels],
      (reply) => {
        if (reply instanceof RedisError) response.end(`data: ${JSON.stringify({ error: reply.message })}\n\n`);
        else send(Array.isArray(reply) ? reply.map(String).join(",") : JSON.stringify(String(reply)));
      },
      () => {
        streams.delete(end);
        response.end();
      },
    );
    streams.add(end);
    response.on("close", end);
  };

  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url!, "http://localhost");
    const sent = request.headers["upstash-sync-token"];
    const { body, length } = await readBody(request, maxRequestBytes);
    const next = String(++syncToken);
    lastSyncToken = typeof sent === "string" ? sent : undefined;
    requests++;

    const authorized = request.headers.authorization === `Bearer ${token}` || url.searchParams.get("_token") === token;
    let result: Answer;
    if (!authorized) result = { status: 401, body: { error: "Unauthorized" } };
    else if (!["GET", "HEAD", "POST", "PUT"].includes(request.method!)) {
      result = { status: 405, body: { error: `ERR method ${request.method} is not allowed` } };
    } else if (!body) result = { status: 400, body: { error: tooLong("request", maxRequestBytes, length) } };
    else if (isStream(request)) {
      if (options.record) log.push({ path: request.url!, commands: [], status: 200 });
      return stream(request, response, next);
    } else {
      result = await answer(url, request.url!.split("?")[0]!, body).catch((error) => ({
        status: error instanceof BadRequest ? 400 : 503,
        body: { error: `ERR ${error.message}` },
      }));
    }

    const base64 = request.headers["upstash-encoding"] === "base64";
    let text = Buffer.from(JSON.stringify(encode(result.body, base64, options.decodesReplies)));
    if (!body && options.proxyLimits) {
      result.status = 413;
      text = Buffer.from("<html><title>413 Request Entity Too Large</title></html>");
    }
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
      "upstash-sync-token": next,
    });
    response.end(text);
  };

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy()); // the client went away in the middle of its request
  });
  // a client's pooled connection must not be closed under its next request
  server.keepAliveTimeout = 120_000;
  server.requestTimeout = 0;
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  await resetCounters();

  return {
    url: `http://127.0.0.1:${port}`,
    port,
    token,
    log,
    get requests() {
      return requests;
    },
    get lastSyncToken() {
      return lastSyncToken;
    },
    billable: async () => await counted() - zero.calls,
    resetCounters,
    async raw(...command) {
      const info = ["INFO", "commandstats"];
      const [before, reply, after] = await looking.pipeline([info, command, info]);
      zero.calls += totalCalls(after!) - totalCalls(before!);
      if (reply instanceof RedisError) throw reply;
      return reply!;
    },
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const end of streams) end();
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      connection.close();
      looking.close();
      await closed;
    },
  };
}

function isStream(request: IncomingMessage): boolean {
  return /^\/(p?subscribe\/.|monitor(\?|$))/i.test(request.url!) &&
    String(request.headers.accept).includes("text/event-stream");
}

function tooLong(what: string, limit: number, actual: number): string {
  return `ERR max ${what} size exceeded. Limit: ${limit} bytes, Actual: ${actual} bytes`;
}

function totalCalls(commandstats: Reply): number {
  let total = 0;
  for (const [, name, calls] of String(commandstats).matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)) {
    if (name !== "info") total += Number(calls);
  }
  return total;
}
