/**
 * A handler of requests behind Node's HTTP server, on 127.0.0.1, with its chunks as they come.
 * @module
 */
import { createServer } from "node:http";
import { type Listening, listenLocally } from "../../src/testing/loopback.ts";

/** Serves a handler, by default on a free port. */
export async function serveFetch(
  handle: (request: Request) => Response | Promise<Response>,
  port?: number,
): Promise<Listening> {
  return await listenLocally(
    createServer((request, response) => {
      const chunks: BlobPart[] = [];
      request.on("data", (chunk: BlobPart) => chunks.push(chunk));
      request.on("end", async () => {
        const { method = "GET", url = "/", headers: given } = request;
        const headers = Object.entries(given).map(([name, value]): [string, string] => [name, String(value)]);
        const body = method === "GET" || method === "HEAD" ? null : new Blob(chunks);
        const answer = await handle(new Request(new URL(url, `http://${given.host}`), { method, headers, body }));
        response.writeHead(answer.status, [...answer.headers].flat());
        response.end(new Uint8Array(await answer.arrayBuffer()));
      });
    }),
    port,
  );
}
