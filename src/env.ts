/**
 * tundraFromEnv: a store from environment variables. Only this module reads the environment, and only if it is given
 * none.
 * @module
 */
import { checkNames } from "./base/arguments.ts";
import { TundraError } from "./base/errors.ts";
import { s3Datastore, type S3DatastoreOptions } from "./datastores/s3/datastore.ts";
import { STORE_OPTIONS, tundraStore } from "./store.ts";
import type { TundraOptions, TundraStore } from "./store_interface.ts";

/** Options of {@linkcode tundraFromEnv}: the variables, and those options of the store that come from no variable. */
export interface TundraEnvOptions extends Omit<TundraOptions, "redis"> {
  /**
   * The variables, such as the bindings of a Cloudflare Worker.
   *
   * @default {process.env}
   */
  env?: object;
}

/**
 * Environment variables: `process.env`, `Deno.env.toObject()`, the `env` of a Cloudflare Worker, or an object of a
 * program's own. Names are in upper case, so that no mistyped option passes for a variable. A Worker's `env` may have
 * any bindings besides; if its type names none of the variables, pass it as `{ env }`.
 */
export type TundraEnv = { readonly [name in TundraVariable]?: string } | {
  readonly [name: Uppercase<string>]: unknown;
};

/** The name of a variable that {@linkcode tundraFromEnv} reads. */
export type TundraVariable =
  | "UPSTASH_REDIS_REST_URL"
  | "UPSTASH_REDIS_REST_TOKEN"
  | "KV_REST_API_URL"
  | "KV_REST_API_TOKEN"
  | `TUNDRA_S3_${"BUCKET" | "PREFIX" | "STYLE" | "ENDPOINT"}`
  | `${"TUNDRA_S3" | "AWS"}_${"REGION" | "ACCESS_KEY_ID" | "SECRET_ACCESS_KEY" | "SESSION_TOKEN"}`
  | "AWS_ENDPOINT_URL_S3";

/**
 * Makes a store on S3 from environment variables:
 *
 * - `UPSTASH_REDIS_REST_URL` and `UPSTASH_REDIS_REST_TOKEN`, or `KV_REST_API_URL` and `KV_REST_API_TOKEN`;
 * - `TUNDRA_S3_BUCKET`, `TUNDRA_S3_REGION`, `TUNDRA_S3_ACCESS_KEY_ID`, `TUNDRA_S3_SECRET_ACCESS_KEY`, and if needed
 *   `TUNDRA_S3_ENDPOINT`, `TUNDRA_S3_SESSION_TOKEN`;
 * - or, as a whole set, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
 *   `AWS_ENDPOINT_URL_S3` with `TUNDRA_S3_BUCKET`. The two sets are never mixed: Vercel injects `AWS_*` of its own;
 * - with either, `TUNDRA_S3_PREFIX`, and `TUNDRA_S3_STYLE` (`path` or `virtual-host`).
 *
 * With an endpoint the region may be left out. It is then `us-east-1`, which R2, MinIO and most others take.
 *
 * @param options the variables, and options of the store
 * @throws {TundraError} `BAD_ARGUMENT` naming every variable that is missing
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 *
 * const env = {
 *   UPSTASH_REDIS_REST_URL: "https://eu1-example.upstash.io",
 *   UPSTASH_REDIS_REST_TOKEN: "secret",
 *   TUNDRA_S3_BUCKET: "cold",
 *   TUNDRA_S3_REGION: "eu-central-1",
 *   TUNDRA_S3_ACCESS_KEY_ID: "id",
 *   TUNDRA_S3_SECRET_ACCESS_KEY: "secret",
 * };
 * const store = tundraFromEnv({ env, redisTtlMs: 7 * 24 * 60 * 60 * 1000 });
 * console.log(typeof store.ensureKs); // function
 * ```
 */
export function tundraFromEnv(options: TundraEnvOptions): TundraStore;
/** With the variables themselves, and no other options: as `tundraFromEnv({ env })`. */
export function tundraFromEnv(env?: TundraEnv): TundraStore;
export function tundraFromEnv(given?: TundraEnvOptions | TundraEnv): TundraStore {
  const { env, ...options } = optionsOf(given);
  const { redis, s3, missing } = readSettings(env);
  if (missing.length > 0) {
    const must = `Cannot make a store from the environment as ${missing.join("; ")} must be set`;
    throw new TundraError("BAD_ARGUMENT", `${must}: ${missing.length > 1 ? "they are" : "it is"} not`);
  }
  return tundraStore(s3Datastore(s3), { ...options, redis });
}

/** The settings of database and bucket, and the variables of them that are missing. */
export function readSettings(
  env: object | undefined,
): { redis: { url: string; token: string }; s3: S3DatastoreOptions; missing: string[] } {
  const read = reader(env);
  const missing: string[] = [];
  return { redis: redisOptions(read, missing), s3: s3Options(read, missing), missing };
}

/** Those of the database alone. */
export function readDatabase(env: object): { redis: { url: string; token: string }; missing: string[] } {
  const missing: string[] = [];
  return { redis: redisOptions(reader(env), missing), missing };
}

/** Tells which of the two sets of variables is in use: none of the own one is set, and some of the other are. */
export function usesAws(env: object): boolean {
  return setOf(reader(env)) === "AWS_";
}

const NAMES = ["env", ...STORE_OPTIONS.filter((name) => name !== "redis")];

/** Tells options from the variables themselves: no variable has the name of an option. */
function optionsOf(given: TundraEnvOptions | TundraEnv | undefined): TundraEnvOptions {
  if (given === undefined) return {};
  const what = "make a store from the environment";
  if (typeof given !== "object" || given === null) checkNames(what, given, NAMES);
  if (!NAMES.some((name) => Object.hasOwn(given, name))) {
    return { env: given };
  }
  checkNames(what, given, NAMES);
  const { env } = given as TundraEnvOptions;
  if (env !== undefined && (typeof env !== "object" || env === null)) {
    throw new TundraError("BAD_ARGUMENT", `Cannot ${what} as env must be an object: current value is ${typeof env}`);
  }
  return given as TundraEnvOptions;
}

type Read = (name: string) => string | undefined;

function reader(env: object | undefined): Read {
  const source = (env ?? (globalThis as { process?: { env?: object } }).process?.env ?? {}) as Record<string, unknown>;
  return (name) => {
    const value = source[name];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
}

/** Reads a variable, and notes that it is missing. */
function need(read: Read, name: string, missing: string[]): string {
  const value = read(name);
  if (value === undefined) missing.push(name);
  return value ?? "";
}

function redisOptions(read: Read, missing: string[]): { url: string; token: string } {
  const sets = [
    ["UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"],
    ["KV_REST_API_URL", "KV_REST_API_TOKEN"],
  ] as const;
  for (const [urlName, tokenName] of sets) {
    const url = read(urlName);
    const token = read(tokenName);
    if (url && token) return { url, token };
  }
  const half = sets.flat().some((name) => read(name)) ? " (only half of a pair is)" : "";
  missing.push(sets.map((set) => set.join(" and ")).join(", or ") + half);
  return { url: "", token: "" };
}

const AWS_SET = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"];

function setOf(read: Read): "AWS_" | "TUNDRA_S3_" {
  const own = ["ENDPOINT", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"].map((name) =>
    `TUNDRA_S3_${name}`
  );
  return !own.some((name) => read(name)) && AWS_SET.some((name) => read(name)) ? "AWS_" : "TUNDRA_S3_";
}

function s3Options(read: Read, missing: string[]): S3DatastoreOptions {
  const set = setOf(read);
  const endpoint = read(set === "AWS_" ? "AWS_ENDPOINT_URL_S3" : "TUNDRA_S3_ENDPOINT");
  const region = read(`${set}REGION`) ?? (endpoint === undefined ? need(read, `${set}REGION`, missing) : "us-east-1");
  return {
    bucket: need(read, "TUNDRA_S3_BUCKET", missing),
    prefix: read("TUNDRA_S3_PREFIX"),
    region,
    accessKeyId: need(read, `${set}ACCESS_KEY_ID`, missing),
    secretAccessKey: need(read, `${set}SECRET_ACCESS_KEY`, missing),
    sessionToken: read(`${set}SESSION_TOKEN`),
    endpoint,
    style: read("TUNDRA_S3_STYLE") as S3DatastoreOptions["style"],
  };
}
