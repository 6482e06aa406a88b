/**
 * One Redis and one Upstash endpoint for a test file: started before its first test, stopped after its last.
 * @module
 */
import type { Buffer } from "node:buffer";
import { after, before } from "node:test";
import { type RedisServer, type RedisServerOptions, startRedis } from "../../dev/servers/redis_server.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { startUpstash, type UpstashOptions, type UpstashServer } from "../../src/testing/upstash.ts";
import { databaseName } from "../../src/upstash/options.ts";

/** Options of {@linkcode withStack}. */
export interface StackOptions {
  redis?: RedisServerOptions;
  upstash?: Omit<UpstashOptions, "redisPort">;
}

/** The servers and ways to them; use it only inside tests and hooks, not while the file is read. */
export interface Stack {
  readonly redis: RedisServer;
  readonly server: UpstashServer;
  /** The option `redis` of `tundraStore`. */
  readonly connection: { url: string; token: string };
  /** An index's id in this database. */
  id(uuid: string): string;
  /** Gives the database a confirmed id, with its seal. */
  confirmId(uuid: string): Promise<void>;
  /** `server.raw`: looks into Redis past the endpoint, not billed. */
  readonly raw: UpstashServer["raw"];
  /**
   * Empties Redis (loaded scripts stay) and sets the counters to zero. About a millisecond: call it before each test.
   */
  flush(): Promise<void>;
}

/**
 * Call it at the top of a `describe`; it registers the hooks.
 *
 * @example
 * ```ts
 * describe("mark", () => {
 *   const stack = withStack();
 *   beforeEach(() => stack.flush());
 *   it("...", async () => {
 *     await stack.raw("SET", "a", "1");
 *   });
 * });
 * ```
 */
export function withStack(options: StackOptions = {}): Stack {
  let redis: RedisServer | undefined;
  let server: UpstashServer | undefined;
  const started = <T>(part: T | undefined): T => {
    if (!part) throw new Error("The stack runs only between before() and after() of its describe()");
    return part;
  };
  before(async () => {
    redis = await startRedis(options.redis);
    server = await startUpstash({ redisPort: redis.port, ...options.upstash });
  });
  after(async () => {
    await server?.stop();
    await redis?.stop();
  });
  return {
    get redis() {
      return started(redis);
    },
    get server() {
      return started(server);
    },
    get connection() {
      const { url, token } = started(server);
      return { url, token };
    },
    id: (uuid) => `${uuid}@${databaseName(started(server).url)}`,
    async confirmId(uuid) {
      const { id, tick } = redisKeys("default");
      await started(server).raw("MSET", id, `${uuid}@${databaseName(started(server).url)}`, tick, "0");
    },
    raw: (...command) => started(server).raw(...command),
    async flush() {
      await started(server).raw("FLUSHALL");
      await started(server).resetCounters();
    },
  };
}

/** Each key in Redis with its bytes and expiry, as text. */
export async function everythingIn({ raw }: Pick<Stack, "raw">, pattern = "*"): Promise<Record<string, string>> {
  const all: [string, string][] = [];
  for (const key of await raw("KEYS", pattern) as Buffer[]) {
    const dump = await raw("DUMP", key) as Buffer | null;
    all.push([key.toString("latin1"), `${dump?.toString("hex")} ${await raw("PEXPIRETIME", key)}`]);
  }
  return Object.fromEntries(all.sort(([a], [b]) => a < b ? -1 : 1));
}
