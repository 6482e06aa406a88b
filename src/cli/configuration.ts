/**
 * The store of a command: from flags, then environment variables, then a file of variables; or from a module.
 * @module
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { TundraError } from "../base/errors.ts";
import { contextOf } from "../core/context.ts";
import { s3Datastore, type S3DatastoreOptions } from "../datastores/s3/datastore.ts";
import { readDatabase, readSettings, usesAws } from "../env.ts";
import { tundraStore } from "../store.ts";
import type { TundraOptions, TundraStore } from "../store_interface.ts";
import { type Arguments, type OptionSpecs, UsageError } from "./arguments.ts";
import { readEnvFile } from "./env_file.ts";
import type { Host } from "./host.ts";
import { loadDefault } from "./load_module.ts";

/** Options that say where a store is. No secret is among them: every user of a machine sees the arguments. */
export const PLACE_OPTIONS: OptionSpecs = {
  "redis-url": { value: "URL", help: "REST URL of the database (UPSTASH_REDIS_REST_URL)" },
  "bucket": { value: "NAME", help: "bucket of the archive (TUNDRA_S3_BUCKET)" },
  "prefix": { value: "TEXT", help: "prefix of its objects (TUNDRA_S3_PREFIX)" },
  "region": { value: "NAME", help: "region of the bucket (TUNDRA_S3_REGION)" },
  "endpoint": { value: "URL", help: "S3 endpoint, such as R2's (TUNDRA_S3_ENDPOINT)" },
  "style": { value: "STYLE", help: "path or virtual-host (TUNDRA_S3_STYLE)" },
  "tqname": { value: "NAME", help: "name of the store's queues and archive: default" },
  "database-id": { value: "NAME", help: "name of the database, if its URL is not its name" },
  "env-file": { value: "FILE", help: "file of variables, in place of .env" },
  "store": { value: "FILE", help: "module whose default export is a store, or makes one" },
};

/** Options of a store that ticks heed. */
export const TICK_STORE_OPTIONS: OptionSpecs = {
  "redis-ttl": { value: "DURATION", help: "evict keys that were not used for so long: 10h or more" },
  "min-evict-bytes": { value: "SIZE", help: "evict only values of at least this size: 1KiB" },
  "freeze-delay": { value: "DURATION", help: "let marks be due so much later" },
};

/** Retries and the time limit of a request: a person waits for the answer. */
const PATIENCE = { retry: { retries: 2 }, timeoutMs: 20_000 };
const FLAGS = ["redis-url", "bucket", "prefix", "region", "endpoint", "style", "tqname", "database-id"];

/** The settings in variables and flags; a store of a module has none. */
export interface Settings {
  redis: { url: string; token: string };
  s3: S3DatastoreOptions;
}

/** The configuration of one run. */
export interface Configuration {
  /** The settings, as far as there are any: for a diagnosis. */
  settings(): Partial<Settings>;
  /** The store. */
  store(): Promise<TundraStore>;
  /** The database alone, for what needs no bucket. */
  database(): Promise<TundraStore | Settings["redis"]>;
  /** A variable of the environment or of the file. */
  variable(name: string): string | undefined;
  /** Opens a module that a flag names, with the variables set. */
  load(option: string, name: string): Promise<unknown>;
}

/**
 * Reads the configuration; nothing is sent.
 *
 * @throws {UsageError} the file of variables cannot be read, or flags contradict each other
 */
export function configure(args: Arguments, host: Host): Configuration {
  const variables = { ...fileVariables(args.text("env-file"), host), ...withoutEmpty(host.env) };
  const module = args.text("store") ?? variables.TUNDRA_STORE;
  const given = FLAGS.concat(Object.keys(TICK_STORE_OPTIONS)).find((name) => args.has(name));
  if (module !== undefined && given !== undefined) {
    const by = args.has("store") ? "--store" : `TUNDRA_STORE (${module})`;
    throw new UsageError(`--${given} cannot stand beside ${by}: the module says it`);
  }
  const env = withFlags(variables, args);
  const load = async (option: string, name: string) => {
    for (const [each, value] of Object.entries(variables)) process.env[each] ??= value;
    return await loadDefault(option, host.folder, name);
  };
  const own = async (name: string) => {
    const store = await load("--store", name);
    try {
      contextOf("use it", store as object);
    } catch {
      throw new UsageError(
        `--store ${name} must export a store that tundraStore() of this package made: it is ${
          isStore(store) ? "that of another copy of @tundra/store" : typeof store
        }`,
      );
    }
    return store as TundraStore;
  };
  let store: Promise<TundraStore> | undefined;
  return {
    settings: () => {
      if (module !== undefined) return {};
      const { redis, s3, missing } = readSettings(env);
      if (missing.length === 0) return { redis, s3 };
      return readDatabase(env).missing.length === 0 ? { redis } : {}; // enough for `advise`
    },
    store: () => store ??= module === undefined ? fromSettings(env, args) : own(module),
    async database() {
      return module === undefined ? needed(readDatabase(env)).redis : await this.store();
    },
    variable: (name) => variables[name],
    load,
  };
}

async function fromSettings(env: Record<string, string>, args: Arguments): Promise<TundraStore> {
  await Promise.resolve(); // what it throws is the command's
  const { redis, s3 } = needed(readSettings(env));
  const options: Omit<TundraOptions, "redis"> = {
    tqname: args.text("tqname"),
    databaseId: args.text("database-id"),
    redisTtlMs: args.durationMs("redis-ttl"),
    minEvictBytes: args.bytes("min-evict-bytes"),
    freezeDelayMs: args.durationMs("freeze-delay"),
  };
  return tundraStore(s3Datastore(s3), { ...options, redis: { ...redis, ...PATIENCE } });
}

function needed<T extends { missing: string[] }>(settings: T): T {
  const { missing } = settings;
  if (missing.length === 0) return settings;
  const list = missing.map((name) => `  ${name}`).join("\n");
  const where =
    "Set them in the environment, in .env or in a file that --env-file names; or name a module with --store.";
  throw new UsageError(`These variables are missing:\n${list}\n${where}`);
}

/** Flags take the place of variables, in whichever of two sets is in use. */
function withFlags(variables: Record<string, string>, args: Arguments): Record<string, string> {
  const set = usesAws(variables) ? "AWS" : "TUNDRA_S3";
  const names: Record<string, string[]> = {
    "redis-url": ["UPSTASH_REDIS_REST_URL", "KV_REST_API_URL"],
    "bucket": ["TUNDRA_S3_BUCKET"],
    "prefix": ["TUNDRA_S3_PREFIX"],
    "style": ["TUNDRA_S3_STYLE"],
    "region": [`${set}_REGION`],
    "endpoint": [set === "AWS" ? "AWS_ENDPOINT_URL_S3" : "TUNDRA_S3_ENDPOINT"],
  };
  const env = { ...variables };
  for (const [flag, all] of Object.entries(names)) {
    const value = args.text(flag);
    if (value !== undefined) { for (const name of all) env[name] = value; }
  }
  return env;
}

/** The variables of `--env-file`, which must be there, or of `.env`, which may be. */
function fileVariables(given: string | undefined, host: Host): Record<string, string> {
  const path = resolve(host.folder, given ?? ".env");
  try {
    return readEnvFile(readFileSync(path, "utf8"));
  } catch (thrown) {
    if (given === undefined && (thrown as { code?: string }).code === "ENOENT") return {};
    throw new UsageError(`Cannot read the variables in ${JSON.stringify(path)}: ${(thrown as Error).message}`);
  }
}

function withoutEmpty(env: Host["env"]): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== ""),
  );
}

function isStore(value: unknown): boolean {
  return typeof value === "object" && value !== null && "ensureKs" in value && "tick" in value;
}

/** Tells if an error means that flags, variables or arguments are wrong. */
export function isUsage(error: unknown): boolean {
  return error instanceof UsageError || (error instanceof TundraError && error.code === "BAD_ARGUMENT");
}
