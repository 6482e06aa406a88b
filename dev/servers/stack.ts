/**
 * `deno task stack [--env=FILE] [--redis-port=N] [--upstash-port=N] [--s3-port=N] [--token=TEXT]`: a local Redis,
 * Upstash endpoint and S3 for trying things out. Prints the environment that reaches them (and writes it to FILE), and
 * runs until it is interrupted; then all data is gone. Ports are free ones unless they are given.
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { localStack } from "../../src/testing/local_stack.ts";
import { redisBinary } from "./redis_server.ts";

const text = { type: "string" } as const;
const { values } = parseArgs({
  options: { env: text, token: text, "redis-port": text, "upstash-port": text, "s3-port": text },
});

function portOf(name: "redis-port" | "upstash-port" | "s3-port"): number | undefined {
  const value = values[name];
  if (value === undefined) return undefined;
  if (!/^[1-9]\d{0,4}$/.test(value) || Number(value) > 65_535) {
    throw new Error(`Cannot start the stack as --${name} must be a port, 1 to 65535: current value is ${value}`);
  }
  return Number(value);
}

const stack = await localStack({
  ports: { redis: portOf("redis-port"), upstash: portOf("upstash-port"), s3: portOf("s3-port") },
  token: values.token,
  redisServer: redisBinary(),
});

const environment = Object.entries({ ...stack.env, CRON_SECRET: "a-secret-for-trying-out" })
  .map(([name, value]) => `${name}=${value}\n`).join("");

if (values.env) writeFileSync(values.env, environment);
console.log(`${environment}# Redis itself: redis-cli -p ${stack.redisPort}\n# ready; Ctrl-C ends it`);

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, async () => {
    await stack.stop();
    process.exit(0);
  });
}
