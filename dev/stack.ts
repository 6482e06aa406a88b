/**
 * `deno task stack [--env=FILE]`: a local Redis, Upstash endpoint and S3 for trying things out. Prints the environment
 * that reaches them (and writes it to FILE), and runs until it is interrupted; then all data is gone.
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { storeEnvironment } from "./environment.ts";
import { startRedis } from "./redis_server.ts";
import { startS3 } from "./s3.ts";
import { startUpstash } from "./upstash.ts";

const { values } = parseArgs({ options: { env: { type: "string" } } });
const redis = await startRedis();
const upstash = await startUpstash({ redisPort: redis.port });
const s3 = await startS3({ buckets: ["cold"] });

const environment = Object.entries({
  ...storeEnvironment(upstash, s3, "cold"),
  CRON_SECRET: "a-secret-for-trying-out",
}).map(([name, value]) => `${name}=${value}\n`).join("");

if (values.env) writeFileSync(values.env, environment);
console.log(environment + "# ready; Ctrl-C ends it");

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, async () => {
    await upstash.stop();
    await s3.stop();
    await redis.stop();
    process.exit(0);
  });
}
