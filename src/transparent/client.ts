/**
 * transparentRedis: its options, and the parts that its requests share.
 * @module
 */
import type { Redis } from "@upstash/redis";
import { checkBoolean, checkFunction, checkNames } from "../base/arguments.ts";
import { badArgument } from "../base/errors.ts";
import { checkMatch, globOf } from "../base/patterns.ts";
import { contextOf } from "../core/context.ts";
import type { TundraStore } from "../store_interface.ts";
import { redisClient } from "../upstash/client.ts";
import { throwFailures } from "./failures.ts";
import { usesOf } from "./noted.ts";
import type { Transparent, TransparentEvent } from "./parts.ts";
import { transparentRequester } from "./requester.ts";

/** Options of {@linkcode transparentRedis}. */
export interface TransparentOptions {
  /**
   * Patterns of Redis' `SCAN`, such as `cart:*`: the client looks after keys that match one of them, and leaves all
   * others alone.
   *
   * @default {all keys}
   */
  match?: string | string[];
  /**
   * Patterns of keys to leave alone, though they match.
   *
   * @default {none}
   */
  exclude?: string | string[];
  /**
   * `false`: evicted keys are not brought back. They read as absent, and a command that would change one fails with
   * `CONFLICT`.
   *
   * @default {true}
   */
  ensure?: boolean;
  /**
   * `false`: changes are not marked; call `dirty()`. `DEL` and `UNLINK` delete all the same.
   *
   * @default {true}
   */
  mark?: boolean;
  /**
   * `true`: `SCAN` and `KEYS` list evicted keys too.
   *
   * @default {false}
   */
  evicted?: boolean;
  /** A function to call after keys were brought back or marked. What it throws is ignored. */
  onEvent?: (event: TransparentEvent) => void;
}

const WHAT = "make a transparent client";

/**
 * An `@upstash/redis` client that brings keys back before they are used and marks what it changes: an application makes
 * its client with it and calls neither `ensureKs` nor `dirty` nor `del`. Type and answers are those of `store.redis`.
 * It makes no request until it is used.
 *
 * Cost, while all keys are resident: a command that reads one key is sent as it is. It is followed by a check once in
 * 2.5 hours for each key and process, which notes the use, and after an empty answer by a script that looks for an
 * evicted value. A command that changes keys is one script of 7 billable commands besides. `DEL` takes two requests.
 * Pipelines, transactions and scripts of the application take one request more, to bring their keys back.
 *
 * @throws {TundraError} `BAD_ARGUMENT`. A command rejects with what `ensureKs`, `dirty` and `del` reject with: nothing
 * was carried out then, except in a transaction, or of a command in a pipeline, whose error says so. The other commands
 * of a pipeline are carried out; a transaction is all or nothing. It rejects with `UNSUPPORTED` if it is not known which
 * keys the command uses, or if it would tear keys and index apart (`FLUSHDB`, `SWAPDB`, `MOVE`), with `BAD_ARGUMENT` for
 * `undefined`, `NaN` and infinite numbers
 * @example
 * ```ts
 * import { memoryDatastore, tundraStore } from "@tundra/store";
 * import { transparentRedis } from "@tundra/store/transparent";
 *
 * const store = tundraStore(memoryDatastore(), { redis: { url: "https://eu1-example.upstash.io", token: "secret" } });
 * const redis = transparentRedis(store, { exclude: "ratelimit:*" });
 * console.log(typeof redis.hset); // function
 * ```
 */
export function transparentRedis(store: TundraStore, options: TransparentOptions = {}): Redis {
  const context = contextOf(WHAT, store);
  checkNames(WHAT, options, ["match", "exclude", "ensure", "mark", "evicted", "onEvent"]);
  const { ensure = true, mark = true, evicted = false, onEvent } = options;
  for (const [name, value] of Object.entries({ ensure, mark, evicted })) checkBoolean(WHAT, name, value);
  if (onEvent !== undefined) checkFunction(WHAT, "onEvent", onEvent);
  const matches = anyOf("match", options.match);
  const excluded = anyOf("exclude", options.exclude);
  const transparent: Transparent = {
    ...{ store, context, ensure, mark, evicted },
    inner: context.connection.requester,
    isOurs: (key) => (matches?.(key) ?? true) && !excluded?.(key),
    uses: usesOf(),
    tell(event) {
      try {
        if (event.keys.length > 0) onEvent?.(event);
      } catch {
        // an application's listener must not change what the command did
      }
    },
  };
  return throwFailures(redisClient({ requester: transparentRequester(transparent) }, context.clientOptions));
}

function anyOf(name: string, patterns: unknown): ((key: string) => boolean) | undefined {
  if (patterns === undefined) return undefined;
  const list: unknown[] = Array.isArray(patterns) ? patterns : [patterns];
  for (const pattern of list) {
    if (typeof pattern !== "string") {
      throw badArgument(WHAT, name, "a pattern, or an array of patterns", typeof pattern);
    }
    checkMatch(WHAT, pattern);
  }
  const globs = (list as string[]).map(globOf);
  return (key) => globs.some((glob) => glob(key));
}
