/**
 * Event streams: SUBSCRIBE, PSUBSCRIBE and MONITOR over HTTP.
 * @module
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { RedisError, redisStream } from "../resp.ts";
import { percentDecode } from "./body.ts";

/** True if a request asks for an event stream. */
export function isStream(request: IncomingMessage): boolean {
  return /^\/(p?subscribe\/.|monitor(\?|$))/i.test(request.url!) &&
    String(request.headers.accept).includes("text/event-stream");
}

/** Answers with a stream. Until it ends, `streams` holds the function that ends it. */
export function openStream(
  redisPort: number,
  request: IncomingMessage,
  response: ServerResponse,
  syncToken: string,
  streams: Set<() => void>,
): void {
  const [name, ...channels] = request.url!.split("?")[0]!.slice(1).split("/").map(percentDecode);
  response.writeHead(200, {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "upstash-sync-token": syncToken,
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
}
