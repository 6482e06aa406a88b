/**
 * Servers for the tests of an application: a real redis-server behind an Upstash-compatible REST endpoint, and an S3
 * server in this process, all on 127.0.0.1. For Node, Deno and Bun on Linux and macOS; not for edge runtimes, and never
 * part of an application's bundle.
 *
 * It is no Upstash: one region, no locks between scripts, no rate limits, its own wordings of errors. It does keep
 * Upstash's limit of 10 MB a request, refuses the commands that Upstash refuses, and fails a script that touches a key
 * it has not declared.
 *
 * @example
 * ```ts
 * import { s3Datastore, tundraStore } from "@tundra/store";
 * import { localStack } from "@tundra/store/testing";
 *
 * const stack = await localStack();
 * const store = tundraStore(s3Datastore(stack.s3), { redis: stack.redis });
 *
 * await store.redis.set("page:1", "<h1>Hello</h1>");
 * await store.dirty("page:1");
 * await store.tick();
 * await store.evict("page:1"); // now; a tick waits for redisTtlMs
 * await store.ensureKs("page:1");
 * console.log(await store.redis.get("page:1")); // <h1>Hello</h1>
 *
 * await stack.stop();
 * ```
 *
 * @module
 */
import { storeEnvironment } from "./environment.ts";
import { startRedis } from "./redis_server.ts";
import { startS3 } from "./s3.ts";
import { startUpstash } from "./upstash.ts";

/** Options of {@linkcode localStack}. */
export interface LocalStackOptions {
  /**
   * Ports on 127.0.0.1: of redis-server, of the endpoint before it, of S3.
   *
   * @default {free ones}
   */
  ports?: { redis?: number; upstash?: number; s3?: number };
  /**
   * The endpoint's token.
   *
   * @default {a random one}
   */
  token?: string;
  /**
   * The bucket to begin with.
   *
   * @default {"cold"}
   */
  bucket?: string;
  /**
   * The path of redis-server, version 7 or later, or of valkey-server.
   *
   * @default {the one on PATH}
   */
  redisServer?: string;
}

/** A running stack. */
export interface LocalStack {
  /** The options `redis` of `tundraStore()`. */
  readonly redis: { readonly url: string; readonly token: string };
  /** The options of `s3Datastore()`. */
  readonly s3: {
    readonly endpoint: string;
    readonly region: string;
    readonly bucket: string;
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
  };
  /** The same as environment variables, as `tundraFromEnv()` reads them. */
  readonly env: Readonly<Record<string, string>>;
  /** The port of redis-server itself: `redis-cli -p`. */
  readonly redisPort: number;
  /** Empties Redis and the bucket, for the next test. Make a new store afterwards. Takes a few milliseconds. */
  reset(): Promise<void>;
  /** Ends all servers; all data is gone. They also end with this process, whatever ends it. */
  stop(): Promise<void>;
}

/**
 * Starts a stack; resolves when all of it answers, in some 0.2 s. Any number may run at once.
 *
 * @throws {Error} redis-server is not on PATH, or a port is in use
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { localStack } from "@tundra/store/testing";
 *
 * const stack = await localStack({ bucket: "archive" });
 * const store = tundraFromEnv(stack.env);
 * await store.ensureKs("page:1");
 * await stack.stop();
 * ```
 */
export async function localStack(options: LocalStackOptions = {}): Promise<LocalStack> {
  const { ports = {}, token, bucket = "cold", redisServer } = options;
  const started: { stop(): Promise<void> }[] = [];
  const stop = async () => {
    for (const server of started.splice(0).reverse()) await server.stop();
  };
  const starting = async <T extends { stop(): Promise<void> }>(server: Promise<T>): Promise<T> => {
    started.push(await server);
    return server;
  };
  try {
    const redis = await starting(startRedis({ port: ports.redis, binary: redisServer }));
    const upstash = await starting(startUpstash({ redisPort: redis.port, port: ports.upstash, token }));
    const s3 = await starting(startS3({ buckets: [bucket], port: ports.s3 }));
    return {
      redis: { url: upstash.url, token: upstash.token },
      s3: {
        endpoint: s3.url,
        region: s3.region,
        bucket,
        accessKeyId: s3.accessKeyId,
        secretAccessKey: s3.secretAccessKey,
      },
      env: storeEnvironment(upstash, s3, bucket),
      redisPort: redis.port,
      async reset() {
        await upstash.raw("FLUSHALL");
        s3.objects(bucket).clear();
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
