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
import { type LockedScript, lockKeys, originalError } from "./key_locking.ts";
import { type CommandPart, redisConnection, RedisError, redisStream, type Reply } from "./resp.ts";

/** Options of {@linkcode startUpstash}. */
export interface UpstashOptions {
  /** The port of a Redis on 127.0.0.1. */
  redisPort: number;
  /** Default: a free one. */
  port?: number;
  /** The bearer token. Default: a random one. */
  token?: string;
  /** Accept `#!lua flags=allow-key-locking` and enforce it? With `false`, scripts reach Redis as they are. Default: true. */
  keyLocking?: boolean;
  /** Longest request body. Default: 10 MB (10 * 1024 * 1024), as Upstash's. */
  maxRequestBytes?: number;
  /** A longer one is answered by a proxy in front, with HTTP 413 and a page. Default: by Upstash's own error. */
  proxyLimits?: boolean;
  /** Longest reply body. Default: no limit. */
  maxReplyBytes?: number;
  /** Keep what was asked in `log`? Default: false. */
  record?: boolean;
  /** The only flags of a shebang that it takes, and its words for any other. Default: Redis decides. */
  scriptFlags?: { taken: readonly string[]; refusal: (flag: string) => string };
  /** Commands that it does not know, in upper case. */
  unknownCommands?: readonly string[];
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

// What needs a connection of its own, or is the operator's
const REFUSED = new Set(
  `MULTI EXEC DISCARD WATCH UNWATCH SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR SELECT AUTH
  HELLO QUIT RESET CLIENT BLPOP BRPOP BLMOVE BRPOPLPUSH BZPOPMIN BZPOPMAX BLMPOP BZMPOP WAIT WAITAOF SYNC PSYNC REPLICAOF
  SLAVEOF SHUTDOWN DEBUG CONFIG`.split(/\s+/),
);

interface Answer {
  status: number;
  body: unknown;
  commands?: CommandPart[][];
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
  const { redisPort, token = randomUUID(), keyLocking = true, maxReplyBytes = Infinity } = options;
  const maxRequestBytes = options.maxRequestBytes ?? 10 * 1024 * 1024;
  const connection = redisConnection({ port: redisPort });
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

  const run = async (command: unknown): Promise<Answer> => {
    const parts = toCommand(command);
    const [result] = await runAll([parts]);
    return { status: result!.error === undefined ? 200 : 400, body: result, commands: [parts] };
  };

  const runAll = async (commands: CommandPart[][]) => {
    const prepared = commands.map((command) => prepare(command, keyLocking));
    const refused = commands.map((command) => refusal(command, options));
    const replies = await connection.pipeline(prepared.filter((_, i) => !refused[i]).map(({ command }) => command));
    return prepared.map((one, i) => refused[i] ? { error: refused[i] } : entry(one.restore(replies.shift()!)));
  };

  const runTransaction = async (commands: CommandPart[][]): Promise<Answer> => {
    const no = commands.map((command) => refusal(command, options)).find((text) => text !== undefined);
    if (no) return { status: 400, body: { error: `EXECABORT Transaction discarded because of: ${no}` }, commands };
    const prepared = commands.map((command) => prepare(command, keyLocking));
    const replies = await connection.pipeline([["MULTI"], ...prepared.map(({ command }) => command), ["EXEC"]]);
    const results = replies.pop()!;
    if (Array.isArray(results)) {
      return { status: 200, body: prepared.map((one, i) => entry(one.restore(results[i]!))), commands };
    }
    const cause = replies.find((reply) => reply instanceof RedisError) ?? results;
    const reason = cause instanceof RedisError ? cause.message : "no reply";
    return { status: 400, body: { error: `EXECABORT Transaction discarded because of: ${reason}` }, commands };
  };

  const answer = async (request: IncomingMessage, url: URL, body: Buffer): Promise<Answer> => {
    const path = request.url!.split("?")[0]!;
    if (path === "/") return run(parseJson(body));
    if (path === "/pipeline") {
      const commands = toCommands(parseJson(body));
      return { status: 200, body: await runAll(commands), commands };
    }
    if (path === "/multi-exec") return runTransaction(toCommands(parseJson(body)));
    const command: CommandPart[] = path.slice(1).split("/").map(percentDecode);
    if (body.length > 0) command.push(body);
    for (const [name, value] of url.searchParams) {
      if (name !== "_token") command.push(name, ...value === "" ? [] : [value]);
    }
    return run(command);
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
      result = await answer(request, url, body).catch((error) => ({
        status: error instanceof BadRequest ? 400 : 503,
        body: { error: `ERR ${error.message}` },
      }));
    }

    const base64 = request.headers["upstash-encoding"] === "base64";
    let text = Buffer.from(JSON.stringify(encode(result.body, base64)));
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

class BadRequest extends Error {}

const scripts = new Map<string, LockedScript | null>(); // by text
const scriptsBySha1 = new Map<string, LockedScript>(); // only names: what is loaded is Redis' business

function locked(text: string): LockedScript | null {
  let script = scripts.get(text);
  if (script === undefined) {
    script = lockKeys(text) ?? null;
    scripts.set(text, script);
    if (script) scriptsBySha1.set(script.sha1, script);
  }
  return script;
}

/** The command as Redis shall see it, and how its reply becomes the application's again. */
function prepare(
  command: CommandPart[],
  keyLocking: boolean,
): { command: CommandPart[]; restore(reply: Reply): Reply } {
  const same = { command, restore: (reply: Reply) => reply };
  if (!keyLocking || command.length < 2) return same;
  const name = partText(command[0]!).toUpperCase();
  if (name === "SCRIPT" && command.length > 2) {
    const action = partText(command[1]!).toUpperCase();
    if (action === "LOAD") {
      const script = locked(partText(command[2]!));
      if (!script) return same;
      return {
        command: [command[0]!, command[1]!, script.text, ...command.slice(3)],
        restore: (reply) => reply instanceof RedisError ? restoreError(script, reply) : Buffer.from(script.sha1),
      };
    }
    if (action !== "EXISTS") return same;
    const sha1s = command.slice(2).map((part) => scriptsBySha1.get(partText(part).toLowerCase())?.textSha1 ?? part);
    return { ...same, command: [command[0]!, command[1]!, ...sha1s] };
  }
  const bySha1 = name === "EVALSHA" || name === "EVALSHA_RO";
  if (!bySha1 && name !== "EVAL" && name !== "EVAL_RO") return same;
  const named = partText(command[1]!);
  const script = bySha1 ? scriptsBySha1.get(named.toLowerCase()) : locked(named);
  if (!script) return same;
  return {
    command: [command[0]!, bySha1 ? script.textSha1 : script.text, ...command.slice(2)],
    restore: (reply) => reply instanceof RedisError ? restoreError(script, reply) : reply,
  };
}

function restoreError(script: LockedScript, error: RedisError): RedisError {
  return new RedisError(originalError(script, error.message));
}

function refusal(command: CommandPart[], { scriptFlags, unknownCommands }: UpstashOptions): string | undefined {
  const name = partText(command[0]!).toUpperCase();
  if (unknownCommands?.includes(name)) {
    const echo = command.slice(1).map((part) => `'${partText(part).slice(0, 128)}'`).join(" ");
    return `ERR unknown command '${name}', with args beginning with: ${echo}`;
  }
  if (scriptFlags && (name === "EVAL" || name === "EVAL_RO")) {
    const flags = /^#!lua flags=(\S*)/.exec(partText(command[1] ?? ""))?.[1]?.split(",") ?? [];
    const refused = flags.find((flag) => !scriptFlags.taken.includes(flag));
    if (refused !== undefined) return scriptFlags.refusal(refused);
  }
  const blocks = name.startsWith("XREAD") && command.some((part) => partText(part).toUpperCase() === "BLOCK");
  return REFUSED.has(name) || blocks ? `ERR Command is not available: '${name}'` : undefined;
}

function entry(reply: Reply): { result: Reply; error?: undefined } | { error: string; result?: undefined } {
  return reply instanceof RedisError ? { error: reply.message } : { result: reply };
}

/** Replies inside a body as JSON values: with `base64` every string but the status OK is encoded, errors' texts are not. */
function encode(body: unknown, base64: boolean): unknown {
  if (Array.isArray(body)) return body.map((entry) => encode(entry, base64));
  const entry = body as { result?: Reply; error?: string };
  return entry.error === undefined ? { result: encodeReply(entry.result!, base64) } : { error: entry.error };
}

function encodeReply(reply: Reply, base64: boolean): unknown {
  if (reply === null || typeof reply === "number" || reply === "OK") return reply;
  if (Array.isArray(reply)) return reply.map((item) => encodeReply(item, base64));
  const bytes = Buffer.isBuffer(reply) ? reply : Buffer.from(reply instanceof RedisError ? reply.message : reply);
  return bytes.toString(base64 ? "base64" : "utf8");
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new BadRequest("failed to parse the request: it isn't JSON");
  }
}

function toCommands(value: unknown): CommandPart[][] {
  if (!Array.isArray(value) || value.length === 0) throw new BadRequest("the body must be an array of commands");
  return value.map(toCommand);
}

function toCommand(value: unknown): CommandPart[] {
  if (!Array.isArray(value) || value.length === 0) throw new BadRequest("a command must be an array with a name");
  return value.map((part, i) => {
    if (typeof part === "boolean") return String(part);
    if (typeof part === "string" || typeof part === "number" || Buffer.isBuffer(part)) return part;
    throw new BadRequest(`argument ${i} of a command must be a string, a number or a boolean`);
  });
}

function partText(part: CommandPart): string {
  return typeof part === "object" ? Buffer.from(part).toString() : String(part);
}

function percentDecode(segment: string): Buffer {
  const bytes = segment.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1");
}

function isStream(request: IncomingMessage): boolean {
  return /^\/(p?subscribe\/.|monitor(\?|$))/i.test(request.url!) &&
    String(request.headers.accept).includes("text/event-stream");
}

/** Reads to the end even what is too long: a client that is still sending would not see an answer. */
async function readBody(request: IncomingMessage, limit: number): Promise<{ body?: Buffer; length: number }> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= limit) chunks.push(chunk);
    else chunks.length = 0;
  }
  return length <= limit ? { body: Buffer.concat(chunks), length } : { length };
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
