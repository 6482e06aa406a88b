/**
 * unstorage's disk behind its HTTP server, in the place of the development S3, for tests that look into a bucket and
 * change it: its objects are a Map of the folder's files.
 * @module
 */
import { Buffer } from "node:buffer";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createStorage } from "unstorage";
import fsDriver from "unstorage/drivers/fs";
import { createStorageServer } from "unstorage/server";
import type { Datastore } from "../../mod.ts";
import { itemOf, objectOf } from "../../src/datastores/unstorage_names.ts";
import { unstorageDatastore } from "../../src/datastores/unstorage.ts";
import type { S3Server } from "../../src/testing/s3.ts";

/** A datastore on the server, by this `fetch`, one request for each call of unstorage's `Storage`, and no retries. */
export function unstorageFrom({ url }: { url: string }, more: { fetch?: typeof fetch; timeoutMs?: number } = {}) {
  const { fetch = globalThis.fetch, timeoutMs } = more;
  const send = async (key: string, init: RequestInit): Promise<Response | null> => {
    const signal = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
    const response = await fetch(`${url}/${key.replaceAll(":", "/")}`, { ...init, signal });
    if (response.ok) return response;
    await response.body?.cancel();
    if (response.status === 404) return null;
    throw new Error(`${init.method} ${key}: ${response.status}`);
  };
  const raw = { "accept": "application/octet-stream", "content-type": "application/octet-stream" };
  return unstorageDatastore({
    hasItem: async (key) => await send(key, { method: "HEAD" }) !== null,
    async getItemRaw(key) {
      const response = await send(key, { method: "GET", headers: raw });
      return response && await response.arrayBuffer();
    },
    async setItemRaw(key, value) {
      await (await send(key, { method: "PUT", headers: raw, body: value as Uint8Array<ArrayBuffer> }))?.body?.cancel();
    },
    async removeItem(key) {
      await (await send(key, { method: "DELETE" }))?.body?.cancel();
    },
    async getKeys(base) {
      const response = await send(`${base}:`, { method: "GET" });
      return response ? (await response.json() as string[]).map((key) => key.replaceAll("/", ":")) : [];
    },
  }, { nullIsAbsent: true, concurrency: 1 }) as Required<Datastore>;
}

/** The files of a folder, by the names of their objects. */
class Files extends Map<string, Uint8Array> {
  readonly #root: string;
  constructor(folder: string) {
    super();
    this.#root = join(folder, "tundra");
  }
  #file = (name: string) => join(this.#root, ...itemOf(name).split(":"));
  override get size(): number {
    return [...this.keys()].length;
  }
  override has(name: string): boolean {
    return existsSync(this.#file(name));
  }
  override get(name: string): Uint8Array | undefined {
    return this.has(name) ? new Uint8Array(readFileSync(this.#file(name))) : undefined;
  }
  override set(name: string, bytes: Uint8Array): this {
    mkdirSync(dirname(this.#file(name)), { recursive: true });
    writeFileSync(this.#file(name), Buffer.from(bytes));
    return this;
  }
  override delete(name: string): boolean {
    const had = this.has(name);
    rmSync(this.#file(name), { force: true });
    return had;
  }
  override clear(): void {
    for (const name of [...this.keys()]) this.delete(name);
  }
  override *keys(): MapIterator<string> {
    if (!existsSync(this.#root)) return;
    for (const file of readdirSync(this.#root, { recursive: true, encoding: "utf8" })) {
      const name = objectOf(file.replaceAll("/", ":"));
      if (name !== undefined) yield name;
    }
  }
  override *values(): MapIterator<Uint8Array> {
    for (const [, value] of this.entries()) yield value;
  }
  override *entries(): MapIterator<[string, Uint8Array]> {
    for (const name of this.keys()) yield [name, this.get(name)!];
  }
  override [Symbol.iterator](): MapIterator<[string, Uint8Array]> {
    return this.entries();
  }
  override forEach(act: (value: Uint8Array, name: string, map: Map<string, Uint8Array>) => void): void {
    for (const [name, value] of this.entries()) act(value, name, this);
  }
}

/** Starts it. */
export async function startUnstorageAsS3(): Promise<S3Server> {
  const base = mkdtempSync(join(tmpdir(), "tundra-unstorage-"));
  const operations: Record<string, number> = {};
  const { handle } = createStorageServer(createStorage({ driver: fsDriver({ base }) }));
  const server = createServer((request, reply) => {
    operations[request.method!] = (operations[request.method!] ?? 0) + 1;
    handle(request, reply);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const objects = new Files(base);
  const stop = async () => {
    await new Promise<void>((resolve) => (server.close(() => resolve()), server.closeAllConnections()));
    rmSync(base, { recursive: true });
  };
  return {
    ...{ url: `http://127.0.0.1:${port}`, port, operations, stop, objects: () => objects, uploads: new Map() },
    ...{
      region: "",
      accessKeyId: "",
      secretAccessKey: "a secret that there is not",
      sessionToken: undefined,
      createBucket: async () => {},
    },
    get requests() {
      return Object.values(operations).reduce((sum, n) => sum + n, 0);
    },
  } as S3Server;
}
