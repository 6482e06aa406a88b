/**
 * A handler from `Request` to `Response`, served on 127.0.0.1.
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A server that runs. */
export interface Serving {
  readonly url: string;
  /** Ends it, connections too. */
  stop(): Promise<void>;
}

/** Bytes of a request's body. */
const MOST_BYTES = 5 * 1024 * 1024;
const METHODS_WITHOUT_BODY = new Set(["GET", "HEAD"]);

/**
 * Serves a handler. Requests by another name than 127.0.0.1 or localhost are refused: a page elsewhere could let its own
 * name lead here.
 *
 * @throws {Error} the port is in use
 */
export async function serveLocally(handler: (request: Request) => Promise<Response>, port: number): Promise<Serving> {
  const server = createServer((incoming, outgoing) => {
    answer(handler, incoming, outgoing).catch(() => outgoing.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  handler: (request: Request) => Promise<Response>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const { headers, method = "GET", url = "/" } = incoming;
  const refuse = (status: number, text: string) => void outgoing.writeHead(status).end(`${text}\n`);
  const host = headers.host ?? "";
  if (!/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(host)) return refuse(421, "This page is at 127.0.0.1");
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of incoming as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > MOST_BYTES) return refuse(413, "The request is too large");
    parts.push(part);
  }
  const fields = Object.entries(headers).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(", ") : value]]
  );
  const body = METHODS_WITHOUT_BODY.has(method) ? undefined : Buffer.concat(parts);
  const response = await handler(new Request(`http://${host}${url}`, { method, headers: fields, body }));
  const sent: Record<string, string | string[]> = Object.fromEntries(response.headers);
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) sent["set-cookie"] = cookies;
  outgoing.writeHead(response.status, sent);
  outgoing.end(method === "HEAD" ? undefined : Buffer.from(await response.arrayBuffer()));
}
