/**
 * s3rver, an S3 server on a disk that others wrote: on 127.0.0.1, in a process of Node and a folder of its own.
 * `.ci/tools` has it, apart from the package's own dependencies.
 * @module
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { AwsClient } from "aws4fetch";

/** A running server. */
export interface S3rver {
  readonly url: string;
  /** The address it listens on: no other machine can reach it. */
  readonly address: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  createBucket(name: string): Promise<void>;
  stop(): Promise<void>;
}

/** The only ones that it knows. */
const CREDENTIALS = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };

/** Starts it on a free port. */
export async function startS3rver(): Promise<S3rver> {
  const directory = mkdtempSync(join(tmpdir(), "tundra-s3rver-"));
  const module = fileURLToPath(new URL("../../.ci/tools/node_modules/s3rver/lib/s3rver.js", import.meta.url));
  const options = { port: 0, address: "127.0.0.1", silent: true, vhostBuckets: false, directory };
  const program = `import S3rver from ${JSON.stringify(pathToFileURL(module).href)};
const { address, port } = await new S3rver(${JSON.stringify(options)}).run();
console.log(JSON.stringify({ address, port }));
process.stdin.on("end", () => process.exit()).resume();`; // it ends with whoever started it
  // its continuation tokens are made with DES
  const args = ["--openssl-legacy-provider", "--input-type=module", "-e", program];
  const server = spawn("node", args, { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, NODE_OPTIONS: "" } });
  const ended = new Promise<void>((resolve) => server.once("close", () => resolve()));
  const stop = async () => {
    server.kill("SIGKILL");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  const line = await Promise.race([
    new Promise<string>((resolve) => createInterface(server.stdout!).once("line", resolve)),
    ended.then(() => ""),
  ]);
  if (line === "") {
    await stop();
    throw new Error("Cannot start s3rver as it must be in .ci/tools: run npm ci --prefix .ci/tools");
  }
  const { address, port } = JSON.parse(line) as { address: string; port: number };
  const url = `http://${address}:${port}`;
  const client = new AwsClient({ ...CREDENTIALS, service: "s3", region: "us-east-1", retries: 0 });
  return {
    url,
    address,
    ...CREDENTIALS,
    async createBucket(name) {
      const response = await client.fetch(`${url}/${name}`, { method: "PUT" });
      const text = await response.text();
      if (!response.ok) throw new Error(`Cannot make the bucket ${name}: ${response.status} ${text}`);
    },
    stop,
  };
}
