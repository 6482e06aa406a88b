/**
 * Other ways to put small values into S3, each a loop of one request a key or more. Packages that only they need are
 * installed into `bench/peers` when a benchmark runs.
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AwsClient } from "aws4fetch";
import { pause, type Servers } from "./fixture.ts";

/** A loop's step for one key. */
export interface Peer {
  name: string;
  put(key: string, value: string): Promise<void>;
}

/** The bare loop, which can also read. */
export interface BarePeer extends Peer {
  get(key: string): Promise<void>;
}

const FOLDER = fileURLToPath(new URL("peers", import.meta.url));

/** The packages' loops, installed unless they are there; each request takes `delayMs` more. */
export function packagedPeers({ redis, s3 }: Servers, delayMs: number): Peer[] {
  install();
  const require = createRequire(join(FOLDER, "package.json"));
  return [sdk(require, redis, s3, delayMs), unstorage(require, s3, delayMs)];
}

function install(): void {
  const installed = join(FOLDER, "node_modules", ".package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(FOLDER, "package-lock.json")).mtimeMs) {
    return;
  }
  const { status } = spawnSync("npm", ["ci", "--prefix", FOLDER, "--ignore-scripts"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (status !== 0) throw new Error("Cannot compare with peers as npm must install bench/peers: try --no-peers");
}

type Require = (name: string) => unknown;

function wait(delayMs: number): Promise<void> {
  return delayMs > 0 ? pause(delayMs) : Promise.resolve();
}

/** `aws4fetch` alone: by default it signs the request and not its body. Each request takes `delayMs` more. */
export function barePeer({ s3 }: Servers, delayMs: number): BarePeer {
  const client = new AwsClient({ ...s3, service: "s3" });
  const ask = async (key: string, init?: RequestInit) => {
    await wait(delayMs);
    const response = await client.fetch(`${s3.endpoint}/${s3.bucket}/bare/${key}`, init);
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`A bare request failed with ${response.status}`);
  };
  return {
    name: "a bare loop of aws4fetch",
    put: (key, value) => ask(key, { method: "PUT", body: value }),
    get: (key) => ask(key),
  };
}

/** The obvious way to archive by hand: read the value with one official client, put it with the other. */
function sdk(require: Require, redis: Servers["redis"], s3: Servers["s3"], delayMs: number): Peer {
  interface Client {
    send(command: unknown): Promise<unknown>;
  }
  const { S3Client, PutObjectCommand } = require("@aws-sdk/client-s3") as {
    S3Client: new (options: object) => Client;
    PutObjectCommand: new (input: object) => unknown;
  };
  const { Redis } = require("@upstash/redis") as {
    Redis: new (options: object) => { get(key: string): Promise<string | null> };
  };
  const { endpoint, bucket, region, accessKeyId, secretAccessKey } = s3;
  const credentials = { accessKeyId, secretAccessKey };
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
  const database = new Redis({ ...redis, automaticDeserialization: false });
  return {
    name: "@upstash/redis GET, @aws-sdk/client-s3 PutObject",
    async put(key) {
      await wait(delayMs);
      const value = await database.get(key);
      await wait(delayMs);
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: `sdk/${key}`, Body: value }));
    },
  };
}

function unstorage(require: Require, s3: Servers["s3"], delayMs: number): Peer {
  const { createStorage } = require("unstorage") as {
    createStorage(options: object): { setItem(key: string, value: string): Promise<void> };
  };
  const loaded = require("unstorage/drivers/s3") as ((options: object) => object) & { default?: never };
  const driver = loaded.default ?? loaded;
  const storage = createStorage({ driver: driver(s3) });
  return {
    name: "unstorage, its s3 driver",
    async put(key, value) {
      await wait(delayMs);
      await storage.setItem(`unstorage:${key}`, value);
    },
  };
}
