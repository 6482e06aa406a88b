/**
 * Faults between a client and a server, on either side of a request's effect: as a `fetch` (see {@linkcode
 * faultyFetch}) or as a proxy in front of any HTTP server (see {@linkcode startFaultProxy}).
 *
 * A plan says which request meets which fault, as a function or as rules: `[{ match: /commit/, nth: 3, fault: { type:
 * "reset", served: true } }]` loses the reply of the third request that mentions "commit".
 *
 * | fault | the server | the client |
 * | --- | --- | --- |
 * | `reset` | never sees it; `served: true`: has answered | its connection breaks |
 * | `hang` | the same | hears nothing until it gives up |
 * | `status` | the same | is told 429, 500, 503 ... instead |
 * | `delay` | sees it later, also if the client has given up; `served: true`: sees it now | waits for `ms`, or until `until` resolves |
 * | `late` | sees it after `ms` or `until` | its connection breaks at once: it cannot know |
 * | `duplicate` | sees it twice, the copy right after the first or after `ms` / `until` | gets the first answer |
 * | `truncate` | answers | loses the connection within the body; `clean: true`: gets a short body |
 * | `corrupt` | answers | gets a body with one bit of one byte flipped |
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect, createServer, type Socket } from "node:net";

/**
 * The fault of one request, see the module's table. `ms` are milliseconds; a fault with neither `ms` nor `until`
 * doesn't wait.
 */
export type Fault =
  | { type: "reset" | "hang"; served?: boolean }
  | { type: "status"; status: number; served?: boolean; body?: string; headers?: Record<string, string> }
  | { type: "delay"; ms?: number; until?: Promise<unknown>; served?: boolean }
  | { type: "late" | "duplicate"; ms?: number; until?: Promise<unknown> }
  | { type: "truncate"; bytes?: number /* of the body that arrive; default: half of it */; clean?: boolean }
  | { type: "corrupt"; at?: number /* offset in the body; default: its middle */ };

/** The part of a request that a plan sees. */
export interface FaultRequest {
  /** Absolute for a fetch; for a proxy the path with its query. */
  url: string;
  method: string;
  /** The body as UTF-8 text, "" if there is none. */
  body: string;
  /** 1 for the first request of this layer, and so on. */
  n: number;
}

/**
 * One rule: the `nth` request that matches (default: the first), and the `times - 1` matching ones after it, meet the
 * fault.
 */
export interface FaultRule {
  /** Default: every request. A RegExp is tried on `METHOD url\nbody`. */
  match?: RegExp | ((request: FaultRequest) => boolean);
  /** Default: 1. */
  nth?: number;
  /** Default: 1. `Infinity`: from the nth on. */
  times?: number;
  fault: Fault;
}

/**
 * Rules, of which the first that applies is taken, or a function. Rules count for themselves in every layer they are
 * given to.
 */
export type FaultPlan = readonly FaultRule[] | ((request: FaultRequest) => Fault | undefined);

/** The common interface of both layers. */
export interface FaultLayer {
  /** Every request so far, with its fault. */
  readonly log: (FaultRequest & { fault?: Fault })[];
  /** Another plan from the next request on; `n` goes on, rules count anew. `[]`: no more faults. */
  setPlan(plan: FaultPlan): void;
  /** Resolves when no request is on its way to the server any more, late ones and copies included. */
  settled(): Promise<void>;
}

interface Tracker extends FaultLayer {
  next(url: string, method: string, body: Uint8Array): Fault | undefined;
  track(work: Promise<unknown>): void;
}

function tracker(plan: FaultPlan): Tracker {
  let decide = toFunction(plan);
  const log: FaultLayer["log"] = [];
  const running = new Set<Promise<unknown>>();
  return {
    log,
    setPlan: (plan) => void (decide = toFunction(plan)),
    async settled() {
      while (running.size > 0) await Promise.allSettled(running);
    },
    next(url, method, body) {
      const request = { url, method, body: new TextDecoder().decode(body), n: log.length + 1 };
      const fault = decide(request);
      log.push({ ...request, fault });
      return fault;
    },
    track(work) {
      running.add(work);
      work.catch(() => {}).finally(() => running.delete(work));
    },
  };
}

function toFunction(plan: FaultPlan): (request: FaultRequest) => Fault | undefined {
  if (typeof plan === "function") return plan;
  const rules = plan.map((rule) => ({ nth: 1, times: 1, ...rule, seen: 0 }));
  return (request) => {
    let fault: Fault | undefined;
    for (const rule of rules) { // each rule counts each request, also if another applies
      const { match } = rule;
      const text = () => `${request.method} ${request.url}\n${request.body}`;
      if (match && !(match instanceof RegExp ? text().search(match) >= 0 : match(request))) continue;
      rule.seen++;
      if (rule.seen >= rule.nth && rule.seen < rule.nth + rule.times) fault ??= rule.fault;
    }
    return fault;
  };
}

function wait(fault: { ms?: number; until?: Promise<unknown> }): Promise<unknown> {
  const time = fault.ms ? new Promise((resolve) => setTimeout(resolve, fault.ms)) : undefined;
  return Promise.all([time, fault.until]);
}

/**
 * A `fetch` with faults in front of another one. Faults that break the connection reject with a `TypeError`, as fetch
 * does.
 *
 * @example
 * ```ts
 * const faulty = faultyFetch(fetch, [{ nth: 3, fault: { type: "reset", served: true } }]);
 * const store = tundraStore(memoryDatastore(), { redis: { url, token, fetch: faulty } });
 * ```
 */
export function faultyFetch(fetch: typeof globalThis.fetch, plan: FaultPlan): typeof globalThis.fetch & FaultLayer {
  const { next, track, ...layer } = tracker(plan);

  const faulty = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init);
    const { signal } = request;
    signal.throwIfAborted();
    const body = new Uint8Array(await request.arrayBuffer());
    const options = { method: request.method, headers: request.headers, redirect: request.redirect };
    const send = (abortable = true) => {
      const work = fetch(request.url, {
        ...options,
        body: body.length > 0 ? body : undefined,
        signal: abortable ? signal : undefined,
      });
      track(work);
      return work;
    };
    // what the client doesn't wait for must end all the same, and its connection be free again
    const aside = (after?: Promise<unknown>) => {
      const work = Promise.resolve(after).then(() => send(false)).then((response) => response.arrayBuffer());
      track(work);
      return work;
    };

    const fault = next(request.url, request.method, body);
    switch (fault?.type) {
      case undefined:
        return send();
      case "reset":
        if (fault.served) await orAbort(aside(), signal);
        throw broken();
      case "hang":
        if (fault.served) await orAbort(aside(), signal);
        return await orAbort(new Promise<never>(() => {}), signal);
      case "status":
        if (fault.served) await orAbort(aside(), signal);
        return new Response(fault.body ?? null, { status: fault.status, headers: fault.headers });
      case "delay": {
        const before = fault.served ? undefined : wait(fault);
        const work = Promise.resolve(before).then(() => send(false));
        track(work);
        const response = await orAbort(work, signal);
        if (fault.served) await orAbort(wait(fault), signal);
        return response;
      }
      case "late":
        void aside(wait(fault)).catch(() => {});
        throw broken();
      case "duplicate": {
        const waits = fault.ms !== undefined || fault.until !== undefined;
        const response = await send();
        const copy = aside(waits ? wait(fault) : undefined).catch(() => {});
        if (!waits) await copy;
        return response;
      }
      case "truncate": {
        const response = await send();
        const whole = new Uint8Array(await response.arrayBuffer());
        const part = whole.slice(0, fault.bytes ?? whole.length >> 1);
        return reply(response, fault.clean ? part : breaksAfter(part));
      }
      case "corrupt": {
        const response = await send();
        return reply(response, flip(new Uint8Array(await response.arrayBuffer()), fault.at));
      }
    }
  };
  return Object.assign(faulty as typeof globalThis.fetch, layer);
}

function broken(): TypeError {
  return new TypeError("fetch failed", { cause: new Error("the connection was reset by a planned fault") });
}

function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason);
    if (signal.aborted) return aborted();
    signal.addEventListener("abort", aborted, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", aborted));
  });
}

function reply(response: Response, body: Uint8Array<ArrayBuffer> | ReadableStream): Response {
  const headers = new Headers(response.headers);
  headers.delete("content-encoding"); // the bytes are decoded already
  headers.delete("content-length");
  return new Response(body, { status: response.status, statusText: response.statusText, headers });
}

function breaksAfter(part: Uint8Array): ReadableStream {
  let sent = false;
  return new ReadableStream({
    pull(controller) {
      if (!sent && part.length > 0) controller.enqueue(part);
      else controller.error(broken());
      sent = true;
    },
  });
}

function flip<Bytes extends Uint8Array>(bytes: Bytes, at: number = bytes.length >> 1): Bytes {
  if (at < bytes.length) bytes[at]! ^= 1;
  return bytes;
}

/** Options of {@linkcode startFaultProxy}. */
export interface FaultProxyOptions {
  /** The server behind it, such as `http://127.0.0.1:7480`. Plain HTTP only. */
  target: string;
  /** Default: no faults. */
  plan?: FaultPlan;
  /** Default: a free one. */
  port?: number;
}

/** A running proxy. */
export interface FaultProxy extends FaultLayer {
  readonly url: string;
  readonly port: number;
  /** Breaks every connection, hung ones too. */
  stop(): Promise<void>;
}

/**
 * Starts a proxy on 127.0.0.1 that passes every request on byte by byte, the Host header and the path as they are: a
 * SigV4 signature for the proxy's address stays valid. One request a connection; replies without a fault are streamed.
 *
 * Deno's fetch by itself sends a request a second time if the connection breaks before a reply, a POST too (measured:
 * 2.9.5). The proxy breaks that second try as well, unseen by plan and log: one fault is one failure on every runtime.
 * The fault `duplicate` does what a second try would do.
 *
 * @example
 * ```ts
 * const proxy = await startFaultProxy({ target: server.url, plan: [{ match: /^PUT/, fault: { type: "reset" } }] });
 * ```
 */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const { next, track, ...layer } = tracker(options.plan ?? []);
  const target = new URL(options.target);
  if (target.protocol !== "http:") throw new Error("Cannot start a fault proxy as target must be http:");
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
  };

  /** Sends the request; `onData` gets the reply piece by piece, the promise has all of it. */
  const send = (request: RawRequest, onData?: (chunk: Buffer) => void, onSocket?: (socket: Socket) => void) => {
    const work = new Promise<Buffer>((resolve, reject) => {
      const chunks: Buffer[] = [];
      const socket = connect(Number(target.port || 80), target.hostname);
      keep(socket);
      onSocket?.(socket);
      socket.on("data", (chunk: Buffer) => {
        if (onData) onData(chunk);
        else chunks.push(chunk);
      });
      socket.once("error", reject);
      socket.once("end", () => resolve(Buffer.concat(chunks)));
      socket.once("close", () => reject(new Error("the server broke the connection")));
      socket.write(request.head);
      socket.write(request.body);
    });
    track(work);
    return work;
  };

  let secondTry: RawRequest | undefined;
  const breakOff = (request: RawRequest, client: Socket) => {
    const retries = /^user-agent: Deno\//im.test(request.head.toString("latin1"));
    if (retries && !client.destroyed) secondTry = request;
    reset(client);
  };

  const handle = async (request: RawRequest, client: Socket): Promise<void> => {
    if (secondTry?.head.equals(request.head) && secondTry.body.equals(request.body)) {
      secondTry = undefined;
      return reset(client);
    }
    const fault = next(request.path, request.method, request.body);
    const aside = (after?: Promise<unknown>) => {
      const work = Promise.resolve(after).then(() => send(request));
      track(work);
      return work;
    };
    const stream = () =>
      send(request, (chunk) => client.write(chunk), (server) => client.once("close", () => server.destroy()));
    switch (fault?.type) {
      case undefined:
        await stream();
        return void client.end();
      case "reset":
        if (fault.served) await aside();
        return breakOff(request, client);
      case "hang":
        if (fault.served) await aside();
        return;
      case "status": {
        if (fault.served) await aside();
        const body = Buffer.from(fault.body ?? "");
        const headers = Object.entries({ ...fault.headers, "content-length": body.length, connection: "close" });
        const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
        client.write(`HTTP/1.1 ${fault.status} Planned Fault\r\n${lines}\r\n`);
        return void client.end(body);
      }
      case "delay": {
        if (!fault.served) {
          await wait(fault);
          return void client.end(await send(request));
        }
        const reply = await send(request);
        await wait(fault);
        return void client.end(reply);
      }
      case "late":
        void aside(wait(fault)).catch(() => {});
        return breakOff(request, client);
      case "duplicate": {
        const waits = fault.ms !== undefined || fault.until !== undefined;
        const reply = await send(request);
        const copy = aside(waits ? wait(fault) : undefined).catch(() => {});
        if (!waits) await copy;
        return void client.end(reply);
      }
      case "truncate": {
        const { head, body } = splitReply(await send(request));
        const part = body.subarray(0, fault.bytes ?? body.length >> 1);
        if (fault.clean) {
          const shorter = head.replace(/^content-length:.*$/im, `content-length: ${part.length}`);
          client.write(shorter, "latin1");
          return void client.end(part);
        }
        client.write(head, "latin1");
        return void client.end(part); // shorter than the head says; a reset could swallow these bytes too
      }
      case "corrupt": {
        const { head, body } = splitReply(await send(request));
        client.write(head, "latin1");
        return void client.end(flip(body, fault.at));
      }
    }
  };

  const server = createServer((client) => {
    keep(client);
    const chunks: Buffer[] = [];
    let length = 0;
    let needed = 0;
    const onData = (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length < needed) return; // a long body is put together once
      const data = Buffer.concat(chunks.splice(0));
      const request = parseRequest(data);
      if (typeof request === "number") {
        needed = request;
        return void chunks.push(data);
      }
      client.off("data", onData);
      client.resume(); // to hear that it goes away
      const work = handle(request, client).catch(() => reset(client));
      track(work);
    };
    client.on("data", onData);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    ...layer,
    url: `http://127.0.0.1:${port}`,
    port,
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function reset(socket: Socket): void {
  if (typeof socket.resetAndDestroy === "function") socket.resetAndDestroy();
  else (socket as Socket).destroy();
}

interface RawRequest {
  method: string;
  path: string;
  head: Buffer;
  body: Buffer;
}

/**
 * The request, or the length from which it can be whole. A chunked body goes on with a length, since it is here as one
 * piece.
 */
function parseRequest(data: Buffer): RawRequest | number {
  const end = data.indexOf("\r\n\r\n");
  if (end < 0) return data.length + 1;
  const [first, ...headers] = data.toString("latin1", 0, end).split("\r\n");
  const [method, path] = first!.split(" ");
  const header = (name: string) =>
    headers.find((line) => line.toLowerCase().startsWith(name + ":"))?.slice(name.length + 1).trim();
  const start = end + 4;
  const whole = start + Number(header("content-length") ?? 0);
  if (data.length < whole) return whole;
  const chunked = /chunked/i.test(header("transfer-encoding") ?? "");
  const body = chunked ? dechunk(data.subarray(start)) : data.subarray(start, whole);
  if (!body) return data.length + 1;
  const dropped = /^(connection|keep-alive|transfer-encoding|content-length|expect):/i;
  const kept = headers.filter((line) => !dropped.test(line));
  if (chunked || header("content-length") !== undefined) kept.push(`content-length: ${body.length}`);
  const head = Buffer.from([first, ...kept, "connection: close", "", ""].join("\r\n"), "latin1");
  return { method: method!, path: path!, head, body };
}

function dechunk(data: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0;;) {
    const end = data.indexOf("\r\n", at);
    if (end < 0) return undefined;
    const size = parseInt(data.toString("latin1", at, end), 16);
    if (data.length < end + 4 + size) return undefined;
    if (size === 0) return Buffer.concat(parts);
    parts.push(data.subarray(end + 2, end + 2 + size));
    at = end + 4 + size;
  }
}

function splitReply(reply: Buffer): { head: string; body: Buffer } {
  const end = reply.indexOf("\r\n\r\n");
  return end < 0
    ? { head: "", body: reply }
    : { head: reply.toString("latin1", 0, end + 4), body: reply.subarray(end + 4) };
}

/** The faults that {@linkcode randomFaults} draws from. */
export interface RandomFaultOptions {
  /**
   * Numbers in [0, 1), from a seeded source: the same ones give the same faults, as long as requests come in the same
   * order.
   */
  random: () => number;
  /** The share of requests that meet a fault, 0 to 1. */
  rate: number;
  /** Default: one or two of each type that ends by itself (no hang, no corruption), waits of 20 ms. */
  faults?: readonly Fault[];
}

const MOST_TYPES: readonly Fault[] = [
  { type: "reset" },
  { type: "reset", served: true },
  { type: "status", status: 429 },
  { type: "status", status: 500, served: true },
  { type: "status", status: 503 },
  { type: "delay", ms: 20 },
  { type: "delay", ms: 20, served: true },
  { type: "late", ms: 20 },
  { type: "duplicate" },
  { type: "duplicate", ms: 20 },
  { type: "truncate" },
];

/** A plan that strikes at random. */
export function randomFaults(options: RandomFaultOptions): (request: FaultRequest) => Fault | undefined {
  const { random, rate, faults = MOST_TYPES } = options;
  return () => random() < rate ? faults[Math.floor(random() * faults.length)] : undefined;
}
