import { createServer, type Server, type Socket } from "node:net";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { TundraError } from "../../src/base/errors.ts";
import { connect, type RedisOptions } from "../../src/upstash/connection.ts";

const BODY = JSON.stringify({ result: btoa("whole \xff") });

function reply(body: string, extra = "", length = body.length): string {
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n${extra}\r\n${body}`;
}

describe("on a network that fails, the connection", () => {
  let server: Server;
  let misbehave: (socket: Socket) => void;
  let requests = 0;
  const sockets = new Set<Socket>();

  before(async () => {
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
      let received = "";
      socket.on("data", (chunk) => {
        received += String(chunk);
        const head = received.indexOf("\r\n\r\n");
        const length = Number(/content-length: (\d+)/i.exec(received)?.[1] ?? 0);
        if (head < 0 || received.length < head + 4 + length) return;
        received = "";
        requests++;
        misbehave(socket);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  const reach = (options: Partial<RedisOptions> = {}) => {
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    requests = 0;
    const retry = { retries: 2, backoff: () => 1 };
    return connect({ url: `http://127.0.0.1:${port}`, token: "tok", retry, ...options });
  };

  const failures: Record<string, (socket: Socket) => void> = {
    "a connection that closes without an answer": (socket) => void socket.destroy(),
    "a connection that is reset": (socket) => void socket.resetAndDestroy(),
    "a body that ends before its Content-Length": (socket) => void socket.end(reply(BODY.slice(0, 9), "", BODY.length)),
    "JSON that ends early under an honest Content-Length": (socket) => void socket.write(reply(BODY.slice(0, 9))),
    "a chunked body without its last chunk": (socket) =>
      void socket.end(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n${BODY.slice(0, 9)}\r\n`),
    "an answer that is no HTTP": (socket) => void socket.end("hello\r\n\r\n"),
    "a server that stalls in the middle of a body": (socket) =>
      void socket.write(reply(BODY.slice(0, 9), "", BODY.length)),
    "a server that never answers": () => {},
  };
  for (const [what, fail] of Object.entries(failures)) {
    it(`asks again after ${what}, and no half answer gets through`, async () => {
      const connection = reach({ timeoutMs: 150 });
      misbehave = (socket) => requests === 1 ? fail(socket) : void socket.end(reply(BODY, "connection: close\r\n"));
      assertEquals(await connection.command(["GET", "a"]), { result: "whole \xff" });
      assertEquals(requests, 2);
    });

    it(`is UNAVAILABLE after nothing but ${what}`, async () => {
      const connection = reach({ timeoutMs: 60 });
      misbehave = fail;
      const error = await assertRejects(() => connection.command(["GET", "a"]), TundraError, "Cannot run GET");
      assertEquals([error.code, error.retryable], ["UNAVAILABLE", true]);
      assertStringIncludes(error.message, "after 3 attempts");
    });
  }

  it("gives up at once when it is aborted in the middle of a body", async () => {
    const connection = reach();
    const controller = new AbortController();
    misbehave = (socket) => {
      socket.write(reply(BODY.slice(0, 9), "", BODY.length));
      setTimeout(() => controller.abort(new Error("enough")), 20);
    };
    const from = performance.now();
    const call = connection.command(["GET", "a"], { signal: controller.signal });
    const error = await assertRejects(() => call, TundraError, "aborted");
    assertEquals([(error.cause as Error).message, requests], ["enough", 1]);
    assert(performance.now() - from < 5_000);
  });

  it("stops inflating a compressed reply at maxReplyBytes", async () => {
    const bomb = gzipSync(new Uint8Array(64 * 1024 * 1024).fill(32));
    assert(bomb.length < 100_000);
    const connection = reach({ maxReplyBytes: 200_000 });
    misbehave = (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${bomb.length}\r\n\r\n`);
      socket.end(bomb);
    };
    const error = await assertRejects(() => connection.command(["DUMP", "a"]), TundraError, "200000 bytes");
    assertEquals([error.code, requests], ["TOO_LARGE", 1]);
  });
});
