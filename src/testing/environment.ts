/**
 * The environment in which `tundraFromEnv()` finds a local stack.
 * @module
 */
import type { S3Server } from "./s3.ts";

/** The variables, as an application's host would set them. */
export function storeEnvironment(
  upstash: { url: string; token: string },
  s3: Pick<S3Server, "url" | "region" | "accessKeyId" | "secretAccessKey">,
  bucket: string,
): Record<string, string> {
  return {
    UPSTASH_REDIS_REST_URL: upstash.url,
    UPSTASH_REDIS_REST_TOKEN: upstash.token,
    TUNDRA_S3_ENDPOINT: s3.url,
    TUNDRA_S3_REGION: s3.region,
    TUNDRA_S3_BUCKET: bucket,
    TUNDRA_S3_ACCESS_KEY_ID: s3.accessKeyId,
    TUNDRA_S3_SECRET_ACCESS_KEY: s3.secretAccessKey,
  };
}
