/**
 * Redis, the Upstash endpoint and the S3 in a process of their own, so that a benchmark measures its client. Prints
 * where they are as one line of JSON and ends with its standard input.
 * @module
 */
import process from "node:process";
import { startRedis } from "../dev/servers/redis_server.ts";
import { startS3 } from "../src/testing/s3.ts";
import { startUpstash } from "../src/testing/upstash.ts";

const redis = await startRedis();
const { url, token, stop } = await startUpstash({ redisPort: redis.port });
const s3 = await startS3({ buckets: ["bench"], allowUnsignedPayload: true }); // as aws4fetch signs
const { region, accessKeyId, secretAccessKey } = s3;
console.log(JSON.stringify({
  redisPort: redis.port,
  redis: { url, token },
  s3: { endpoint: s3.url, bucket: "bench", region, accessKeyId, secretAccessKey },
}));
process.stdin.resume();
process.stdin.on("end", async () => {
  await stop();
  await s3.stop();
  await redis.stop();
  process.exit(0);
});
