/**
 * The `@upstash/redis` client on Tundra's connection.
 * @module
 */
import { Redis } from "@upstash/redis";
import type { Connection, RedisOptions } from "./connection.ts";

/** The options of a connection, of which its clients go by some. */
export type ClientOptions = Partial<RedisOptions>;

// A subclass, as the constructor that takes a requester drops every option.
class ConnectedRedis extends Redis {
  constructor(connection: Pick<Connection, "requester">, options: ClientOptions) {
    super(connection.requester);
    this.opts = { automaticDeserialization: options.automaticDeserialization, latencyLogging: options.latencyLogging };
    this.enableTelemetry = false;
    this.enableAutoPipelining = options.enableAutoPipelining ?? true;
  }

  /** As the stock constructor hands itself out. */
  handOut(): Redis {
    return this.enableAutoPipelining ? this.autoPipeline() : this;
  }
}

/**
 * A normal `@upstash/redis` client whose requests go through `connection`: its token, sync token, retries, time limit.
 * Options and their defaults are the stock client's (auto-pipelining is on). No I/O.
 *
 * Differences: 429 and 5xx are retried too; errors name the command and never its arguments; an aborted request
 * rejects with the signal's reason instead of resolving with it; no telemetry is sent.
 */
export function redisClient(connection: Pick<Connection, "requester">, options: ClientOptions): Redis {
  return new ConnectedRedis(connection, options).handOut();
}
