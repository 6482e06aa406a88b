/**
 * Tundra behind a cron service that calls a URL: Vercel cron, Deno Deploy, `Bun.serve`, or any scheduler.
 *
 * @example With `Deno.serve`
 * ```ts ignore
 * import { tundraFromEnv } from "@tundra/store";
 * import { cronHandler } from "@tundra/store/http";
 *
 * const tick = cronHandler(tundraFromEnv(), { secret: Deno.env.get("CRON_SECRET") });
 * Deno.serve((request) => new URL(request.url).pathname === "/cron" ? tick(request) : new Response("Hello"));
 * ```
 *
 * @module
 */
import { ignoreErrors } from "../base/callbacks.ts";
import { asTundraError, badArgument, TundraError } from "../base/errors.ts";
import { checkSecret, isSameText } from "../base/secrets.ts";
import type { TundraStore } from "../store_interface.ts";
import { checkTickOptions, type TickOptions } from "../tick/options.ts";

/** Options of {@linkcode cronHandler}: those of each tick, and who may call. */
export interface CronOptions extends TickOptions {
  /**
   * The secret that a caller must send as `Authorization: Bearer ...`: at least 16 characters of visible ASCII. Vercel
   * sends the environment variable `CRON_SECRET`. `undefined` is refused at once, as a variable may be missing.
   */
  secret: string | undefined;
}

/**
 * The shortest common limit of a request is 10 s.
 *
 * @see https://docs.netlify.com/build/functions/configuration/
 * @see https://vercel.com/docs/functions/limitations
 */
const DEFAULTS = { deadlineMs: 8_000 };
/** Seconds after which a caller may ask again if Redis does not answer. */
const RETRY_AFTER_S = 60;

/**
 * A handler for cron requests, `Request` to `Response`: each authorised GET or POST runs one tick. Requests that
 * overlap or come twice do no harm.
 *
 * | status | when | body |
 * | --- | --- | --- |
 * | 200 | the tick ran; failures of single keys are in its report | the `TickReport` |
 * | 401 | the secret is missing or wrong (it is compared in constant time) | `{ "error": { "code", "message" } }` |
 * | 405 | neither GET nor POST | the same |
 * | 503 | Redis does not answer, nothing could be claimed; `Retry-After: 60` | the same |
 * | 500 | an operator must be alerted: `LOST`, say, or no store could be made | the same |
 *
 * A tick begins nothing after 8 s unless `deadlineMs` says otherwise, as the shortest common limit of platforms is
 * 10 s. If yours is another one, pass it less the time that an upload takes: `deadlineMs: 50_000` for one of 60 s.
 *
 * No answer holds a secret or a value; a report names keys. `onError` is told all errors, also those behind 500 and
 * 503.
 *
 * @param store the store, or a function that makes it for a request (on Cloudflare Workers: one for each request)
 * @returns the handler; it never rejects
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { memoryDatastore, tundraStore } from "@tundra/store";
 * import { cronHandler } from "@tundra/store/http";
 *
 * const store = tundraStore(memoryDatastore(), { redis: { url: "https://eu1-example.upstash.io", token: "secret" } });
 * const handle = cronHandler(store, { secret: "at least 16 characters".replaceAll(" ", "-"), deadlineMs: 50_000 });
 *
 * const response = await handle(new Request("https://shop.example/api/cron"));
 * console.log(response.status); // 401
 * ```
 */
export function cronHandler(
  store: TundraStore | ((request: Request) => TundraStore | Promise<TundraStore>),
  options: CronOptions,
): (request: Request) => Promise<Response> {
  const what = "make a cron handler";
  if (typeof options !== "object" || options === null) throw badArgument(what, "options", "an object", typeof options);
  const { secret, ...given } = options;
  const tickOptions = { ...DEFAULTS, ...given };
  if (typeof store !== "function" && typeof store?.tick !== "function") {
    throw badArgument(what, "store", "a store, or a function (request) => store", typeof store);
  }
  checkSecret(what, secret);
  const { onError } = checkTickOptions(tickOptions, what);

  return async (request) => {
    if (request.method !== "GET" && request.method !== "POST") {
      return refusal(405, "BAD_ARGUMENT", "Cannot tick as the method must be GET or POST", { allow: "GET, POST" });
    }
    if (!await isSameText(request.headers.get("authorization") ?? "", `Bearer ${secret}`)) {
      const must = "Cannot tick as the request must bring the secret: Authorization: Bearer ...";
      return refusal(401, "BAD_ARGUMENT", must, { "www-authenticate": "Bearer" });
    }
    try {
      const ready = typeof store === "function" ? await store(request) : store;
      return json(200, await ready.tick(tickOptions));
    } catch (thrown) {
      const error = asTundraError(thrown, "tick");
      ignoreErrors(() => onError(error));
      if (!(thrown instanceof TundraError)) {
        // the application's own error: its message may hold a secret
        return refusal(500, "UNAVAILABLE", "Cannot tick as making the store must succeed: it failed");
      }
      if (!error.retryable) return refusal(500, error.code, error.message);
      return refusal(503, error.code, error.message, { "retry-after": String(RETRY_AFTER_S) });
    }
  };
}

function refusal(status: number, code: string, message: string, headers?: Record<string, string>): Response {
  return json(status, { error: { code, message } }, headers);
}

function json(status: number, body: object, headers: Record<string, string> = {}): Response {
  return Response.json(body, { status, headers: { "cache-control": "no-store", ...headers } });
}
