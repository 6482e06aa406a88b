/**
 * The fixture of the benchmarks: servers in another process, a client with a delay of choice, and counters.
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Datastore, s3Datastore, type TundraOptions, type TundraStore, tundraStore } from "../mod.ts";
import { type RedisConnection, redisConnection } from "../src/testing/resp.ts";

/** Requests and billable commands of one act. */
export interface Cost {
  /** Requests to Redis. */
  requests: number;
  commands: number;
  /** Requests to the archive, and the bytes of the bodies that came back. */
  objects: number;
  bytes: number;
  ms: number;
}

/** The servers, for clients that are not Tundra. */
export interface Servers {
  redis: { url: string; token: string };
  s3: { endpoint: string; bucket: string; region: string; accessKeyId: string; secretAccessKey: string };
}

/** Servers and ways to them. */
export interface BenchStack {
  /** Straight to Redis: loading and counting. */
  readonly redis: RedisConnection;
  readonly servers: Servers;
  /** An archive in the S3 server; each request takes `delayMs` more. */
  archive(delayMs?: number): Datastore;
  /** A store; each request to Redis takes `delayMs` more. */
  store(datastore: Datastore, options?: Omit<TundraOptions, "redis">, delayMs?: number): TundraStore;
  /** The cost of `act` at both servers. */
  cost(act: () => Promise<unknown>): Promise<Cost>;
  stop(): Promise<void>;
}

/** Starts the servers. */
export async function startBenchStack(): Promise<BenchStack> {
  const program = fileURLToPath(new URL("servers.ts", import.meta.url));
  const runtime = process.versions.deno ? ["run", "-A"] : process.versions.bun ? [] : ["--import", "tsx"];
  const child = spawn(process.execPath, [...runtime, program], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", resolve);
    child.once("exit", (code) => reject(new Error(`The servers ended with ${code}`)));
  });
  const { redisPort, redis: endpoint, s3 } = JSON.parse(line);
  const redis = redisConnection({ port: redisPort });
  const counted = { requests: 0, objects: 0, bytes: 0 };

  const delayed = (delayMs: number, count: "requests" | "objects"): typeof fetch => async (input, init) => {
    counted[count]++;
    if (delayMs > 0) await pause(delayMs);
    const response = await fetch(input, init);
    if (count === "objects") counted.bytes += Number(response.headers.get("content-length"));
    return response;
  };
  const commands = async () => {
    const stats = String(await redis.call("INFO", "commandstats"));
    const calls = [...stats.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)].filter(([, name]) => name !== "info");
    return calls.reduce((sum, [, , n]) => sum + Number(n), 0);
  };

  return {
    redis,
    servers: { redis: endpoint, s3 },
    archive: (delayMs = 0) => s3Datastore({ ...s3, fetch: delayed(delayMs, "objects") }),
    store: (datastore, options = {}, delayMs = 0) =>
      tundraStore(datastore, { ...options, redis: { ...endpoint, fetch: delayed(delayMs, "requests") } }),
    async cost(act) {
      const before = { ...counted, commands: await commands() };
      const from = performance.now();
      await act();
      const ms = performance.now() - from;
      return {
        requests: counted.requests - before.requests,
        commands: await commands() - before.commands,
        objects: counted.objects - before.objects,
        bytes: counted.bytes - before.bytes,
        ms,
      };
    },
    async stop() {
      redis.close();
      child.stdin.end();
      await ended;
    },
  };
}

/** Resolves after so many milliseconds. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Acts on all items, so many at once. */
export async function inPool<T>(items: T[], size: number, act: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: size }, async () => {
    while (next < items.length) await act(items[next++]!);
  }));
}

/** The middle of some numbers. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Loads `n` strings of `bytes(i)` under `<prefix><i>`; the keys. */
export async function load(
  redis: RedisConnection,
  prefix: string,
  n: number,
  bytes: (i: number) => string,
): Promise<string[]> {
  const keys = Array.from({ length: n }, (_, i) => `${prefix}${i}`);
  for (let i = 0; i < n; i += 10_000) {
    await redis.pipeline(keys.slice(i, i + 10_000).map((key, j) => ["SET", key, bytes(i + j)]));
  }
  return keys;
}

/** Some JSON of about this many bytes that compresses as JSON does: to about a third. */
export function json(bytes: number, seed: number): string {
  const rows: string[] = [];
  let state = seed * 2_654_435_761 >>> 0;
  for (let size = 0; size < bytes; size += rows.at(-1)!.length + 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    rows.push(
      `{"id":${state % 1_000_000},"name":"article ${(state >>> 8).toString(36)}","price":${state % 9973 / 100}}`,
    );
  }
  return `[${rows.join(",")}]`.slice(0, bytes);
}
