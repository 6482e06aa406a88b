/**
 * A store from environment variables. The only place that reads the environment, and only when called without one.
 * @module
 */
import { s3Datastore } from "./datastores/s3.ts";
import { TundraError } from "./errors.ts";
import { type TundraOptions, type TundraStore, tundraStore } from "./store.ts";

/**
 * Makes a store on S3 from environment variables:
 *
 * - `UPSTASH_REDIS_REST_URL` and `UPSTASH_REDIS_REST_TOKEN`, or `KV_REST_API_URL` and `KV_REST_API_TOKEN`;
 * - `TUNDRA_S3_BUCKET`, `TUNDRA_S3_REGION`, `TUNDRA_S3_ACCESS_KEY_ID`, `TUNDRA_S3_SECRET_ACCESS_KEY`, and where needed
 *   `TUNDRA_S3_ENDPOINT`, `TUNDRA_S3_PREFIX`, `TUNDRA_S3_SESSION_TOKEN`;
 * - or, as a whole set, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` with
 *   `TUNDRA_S3_BUCKET` and `TUNDRA_S3_PREFIX`. The two sets are never mixed: Vercel injects `AWS_*` of its own.
 *
 * @param env where the variables are, as on Cloudflare Workers; default: the process environment
 * @param options other options of the store
 * @throws TundraError `BAD_ARGUMENT` naming the variable that is missing
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 *
 * const store = tundraFromEnv({
 *   UPSTASH_REDIS_REST_URL: "https://eu1-example.upstash.io",
 *   UPSTASH_REDIS_REST_TOKEN: "secret",
 *   TUNDRA_S3_BUCKET: "cold",
 *   TUNDRA_S3_REGION: "eu-central-1",
 *   TUNDRA_S3_ACCESS_KEY_ID: "id",
 *   TUNDRA_S3_SECRET_ACCESS_KEY: "secret",
 * });
 * console.log(typeof store.ensureKs); // function
 * ```
 */
export function tundraFromEnv(env?: object, options: Omit<TundraOptions, "redis"> = {}): TundraStore {
  const read = reader(env);
  return tundraStore(s3Datastore(s3Options(read)), { ...options, redis: redisOptions(read) });
}

type Read = (name: string) => string | undefined;

function reader(env: object | undefined): Read {
  const source = (env ?? (globalThis as { process?: { env?: object } }).process?.env ?? {}) as Record<string, unknown>;
  return (name) => {
    const value = source[name];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
}

function redisOptions(read: Read): { url: string; token: string } {
  const sets = [
    ["UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"],
    ["KV_REST_API_URL", "KV_REST_API_TOKEN"],
  ] as const;
  for (const [urlName, tokenName] of sets) {
    const url = read(urlName);
    const token = read(tokenName);
    if (url && token) return { url, token };
  }
  const half = sets.flat().find((name) => read(name)) ? "only half of a pair is set" : "neither pair is set";
  throw missing(sets.map((set) => set.join(" and ")).join(", or "), half);
}

function s3Options(read: Read): Parameters<typeof s3Datastore>[0] {
  const bucket = need(read, "TUNDRA_S3_BUCKET");
  const prefix = read("TUNDRA_S3_PREFIX");
  const own = ["ENDPOINT", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"].map((name) =>
    `TUNDRA_S3_${name}`
  );
  const set = own.some((name) => read(name)) ? "TUNDRA_S3_" : "AWS_";
  return {
    bucket,
    ...(prefix === undefined ? {} : { prefix }),
    region: need(read, `${set}REGION`),
    accessKeyId: need(read, `${set}ACCESS_KEY_ID`),
    secretAccessKey: need(read, `${set}SECRET_ACCESS_KEY`),
    sessionToken: read(`${set}SESSION_TOKEN`),
    endpoint: set === "TUNDRA_S3_" ? read("TUNDRA_S3_ENDPOINT") : undefined,
  };
}

function need(read: Read, name: string): string {
  const value = read(name);
  if (value === undefined) throw missing(name, "it is not");
  return value;
}

function missing(name: string, how: string): TundraError {
  return new TundraError("BAD_ARGUMENT", `Cannot make a store from the environment as ${name} must be set: ${how}`);
}
