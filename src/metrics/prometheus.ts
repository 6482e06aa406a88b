/**
 * prometheusMetrics: a store's events and status as text that Prometheus scrapes.
 * @module
 */
import { checkFunction, checkNames, checkNumber } from "../base/arguments.ts";
import { checkTqname } from "../base/keys.ts";
import { wallClockMs } from "../base/platform.ts";
import { checkSecret, isSameText } from "../base/secrets.ts";
import type { TundraEvent } from "../core/events.ts";
import type { TundraStore } from "../store_interface.ts";
import { checkBuckets, checkStore } from "./checks.ts";
import { type ActivityReader, DOWN, type IndexValues, readIndex } from "./read_index.ts";
import { begin, record } from "./record.ts";
import { CONTENT_TYPE, registry } from "./registry.ts";
import { BUCKETS } from "./table.ts";

/** Options of {@linkcode prometheusMetrics}. */
export interface PrometheusOptions {
  /**
   * The label `tqname` of all series: that of the store.
   *
   * @default {"default"}
   */
  tqname?: string;
  /**
   * Upper bounds of the buckets of durations, in seconds, ascending.
   *
   * @default {0.005 to 60, in 13 steps}
   */
  buckets?: readonly number[];
  /**
   * The metrics of the index may be this many milliseconds old: 0 to 3,600,000. Scrapes within that time ask Redis
   * nothing. 0: each scrape asks.
   *
   * @default {30_000}
   */
  maxAgeMs?: number;
  /**
   * The function `activity` of `@tundra/store/operations`: with it, each reading of the index tells too when a sweep and
   * a verification last ended, and what the latter found, in whichever process. That is 1 request and 3 commands more.
   *
   * @default {undefined}
   */
  activity?: ActivityReader;
}

/** Options of {@linkcode PrometheusMetrics.handler}. */
export interface ScrapeOptions {
  /**
   * The secret that a scrape must send as `Authorization: Bearer ...`: at least 16 characters of visible ASCII. If it
   * is left out, anyone may read the numbers. `undefined` is refused at once, as a variable may be missing.
   */
  secret?: string;
}

/** The metrics of one store in this process. */
export interface PrometheusMetrics {
  /** The listener for `onEvent` of the store's options. */
  readonly onEvent: (event: TundraEvent) => void;
  /**
   * Writes all metrics in Prometheus' text format: those of this process, and with a store those of its index.
   *
   * Cost: none without a store; else that of `status()` (1 request, 10 commands), once in `maxAgeMs`, and that of
   * `activity` if it is given.
   *
   * @throws {TundraError} `BAD_ARGUMENT` if the store has another `tqname`. It never rejects because Redis does not
   * answer: then `tundra_index_up` is 0.
   */
  text(store?: TundraStore): Promise<string>;
  /**
   * Makes a handler of scrapes, `Request` to `Response`, for any path. It answers 200 with the text; 401 without the
   * secret, if there is one; 405 if the method is not GET; 500 if the store cannot be made.
   *
   * @param store the store, or a function that makes it for a request (on Cloudflare Workers: one for each request)
   * @throws {TundraError} `BAD_ARGUMENT`
   */
  handler(
    store: TundraStore | ((request: Request) => TundraStore | Promise<TundraStore>),
    options?: ScrapeOptions,
  ): (request: Request) => Promise<Response>;
}

const MOST_AGE_MS = 3_600_000;

/**
 * Counts what a store does, for Prometheus. No key is ever named.
 *
 * @param options the label `tqname`, buckets, and how old the metrics of the index may be
 * @throws {TundraError} `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { tundraFromEnv } from "@tundra/store";
 * import { prometheusMetrics } from "@tundra/store/metrics";
 *
 * const metrics = prometheusMetrics();
 * const scrape = metrics.handler(() => tundraFromEnv({ onEvent: metrics.onEvent })); // mount it at /metrics
 *
 * console.log((await metrics.text()).includes("tundra_frozen_keys_total"), typeof scrape); // true function
 * ```
 */
export function prometheusMetrics(options: PrometheusOptions = {}): PrometheusMetrics {
  const what = "make Prometheus metrics";
  checkNames(what, options, ["tqname", "buckets", "maxAgeMs", "activity"]);
  const tqname = checkTqname(options.tqname ?? "default");
  const buckets = checkBuckets(what, options.buckets ?? BUCKETS);
  const { maxAgeMs = 30_000, activity } = options;
  checkFunction(what, "activity", activity);
  checkNumber(what, "maxAgeMs", maxAgeMs, 0, MOST_AGE_MS, " of milliseconds");
  const own = registry({ tqname }, buckets);
  begin(own.add);
  let last: { values: IndexValues; atMs: number } | undefined;

  /** Values are kept, never a promise: on Workers that would end with its request. */
  const indexOf = async (store: TundraStore): Promise<IndexValues> => {
    const atMs = wallClockMs();
    const ageMs = last && atMs - last.atMs;
    if (ageMs !== undefined && ageMs >= 0 && ageMs < maxAgeMs) return last!.values;
    const values = await readIndex(store, activity);
    if (values) last = { values, atMs };
    return values ?? DOWN;
  };
  const text = async (store?: TundraStore): Promise<string> => {
    if (store === undefined) return own.text();
    checkStore(store, tqname);
    const index = registry({ tqname }, []);
    for (const [metric, value] of await indexOf(store)) index.set(metric, value);
    return own.text() + index.text(); // the call of status() just made counts too
  };
  return {
    onEvent: (event) => record(event, own.add),
    text,
    handler(store, scrape = {}) {
      const makes = "make a handler of scrapes";
      checkNames(makes, scrape, ["secret"]);
      const secret = Object.hasOwn(scrape, "secret") ? checkSecret(makes, scrape.secret) : undefined;
      if (typeof store !== "function") checkStore(store, tqname);
      return async (request) => {
        if (request.method !== "GET") return plain("the method must be GET\n", 405, { allow: "GET" });
        if (secret !== undefined && !await isSameText(request.headers.get("authorization") ?? "", `Bearer ${secret}`)) {
          return plain("the secret is missing\n", 401, { "www-authenticate": "Bearer" });
        }
        try {
          const body = await text(typeof store === "function" ? await store(request) : store);
          return plain(body, 200, { "content-type": CONTENT_TYPE });
        } catch {
          return plain("the store cannot be made\n", 500); // the application's own error may hold a secret
        }
      };
    },
  };
}

function plain(body: string, status: number, headers: Record<string, string> = {}): Response {
  return new Response(body, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", ...headers },
  });
}
