/**
 * HTTP servers on 127.0.0.1, which end with all their connections.
 * @module
 */
import type { Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** A server that listens. */
export interface Listening {
  port: number;
  /** Ends it at once, whatever its connections are doing. */
  close(): Promise<void>;
}

/** Has a server listen on 127.0.0.1, by default on a free port. */
export async function listenLocally(server: Server, port = 0): Promise<Listening> {
  // a client's pooled connection must not be closed under its next request: the default is 5 s
  server.keepAliveTimeout = 120_000;
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
