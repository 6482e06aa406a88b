/** `unstorageDatastore` on unstorage's own drivers: memory, a disk, and an HTTP server. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createStorage, type Driver } from "unstorage";
import fsDriver from "unstorage/drivers/fs";
import httpDriver from "unstorage/drivers/http";
import { createStorageServer } from "unstorage/server";
import { unstorageDatastore } from "../../src/datastores/unstorage.ts";
import { datastoreConformance } from "./datastore.ts";

/** Its driver reads the whole folder for each listing: Deno alone plays a long one. */
const LONG = process.versions.deno ? 1050 : 150;
const CAN = { putParts: false, fetchRanges: false, ifAbsent: false, onRequest: true };

datastoreConformance(
  "of unstorage in memory",
  () => Promise.resolve(unstorageDatastore(createStorage())),
  CAN,
);

const onDisk = (base: string) => unstorageDatastore(createStorage({ driver: fsDriver({ base }) }));

datastoreConformance("of unstorage on a disk", () => {
  const base = mkdtempSync(join(tmpdir(), "tundra-unstorage-"));
  return Promise.resolve({
    store: onDisk(base),
    stop: () => Promise.resolve(rmSync(base, { recursive: true })),
  });
}, { ...CAN, longListing: LONG, wholePuts: false, unreachable: () => onDisk("/dev/null/archive") });

async function serve(driver?: Driver) {
  const server = createServer(createStorageServer(createStorage({ driver })).handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    stop: () => new Promise<void>((resolve) => (server.close(() => resolve()), server.closeAllConnections())),
  };
}

datastoreConformance("of unstorage over HTTP", async () => {
  const { port, stop } = await serve();
  const driver = httpDriver({ base: `http://127.0.0.1:${port}` });
  return { store: unstorageDatastore(createStorage({ driver })), stop };
}, {
  ...CAN,
  longListing: 150, // thousands of requests to a server in this process take half a minute on Node
  // its server takes an empty body for no value, and removes the item
  deviations: { "gives back exactly the bytes that were put": '"bytes/empty"' },
  unreachable: () => unstorageDatastore(createStorage({ driver: httpDriver({ base: "http://127.0.0.1:9/archive" }) })),
});
