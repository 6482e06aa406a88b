/**
 * An archive in Cloudflare R2, through a Worker's binding.
 * @module
 */
import { sleep, untilAborted } from "../abort.ts";
import { digest, random } from "../ambient.ts";
import { badArgument, notFound, show, TundraError, type TundraErrorCode } from "../errors.ts";
import type { DataStore, DataStoreCallOptions } from "./datastore.ts";
import { inParallel } from "./parallel.ts";

/** What Tundra needs of an R2 bucket's binding; a Worker's `env.BUCKET` is one. */
export interface R2BucketLike {
  /** Stores an object; R2 refuses it where the bytes that arrive have another SHA-256. */
  put(name: string, value: Uint8Array, options: { sha256: ArrayBuffer }): Promise<unknown>;
  /** Fetches an object; `null` where it does not exist. */
  get(name: string): Promise<{ arrayBuffer(): Promise<ArrayBuffer> } | null>;
  /** Looks for an object; `null` where it does not exist. */
  head(name: string): Promise<object | null>;
  /** Deletes at most 1,000 objects. */
  delete(names: string[]): Promise<void>;
  /** Lists objects, a page at a time. */
  list(
    options: { prefix: string; cursor?: string; limit?: number },
  ): Promise<{ objects: { key: string }[]; truncated: boolean; cursor?: string }>;
}

/** Options of {@linkcode r2Datastore}. */
export interface R2DatastoreOptions {
  /** Stands before every object name as it is: `tundra/`. At most 120 characters `A-Z a-z 0-9 _ - . ~ /`. Default: none. */
  prefix?: string;
  /** Calls to R2 at once of one call, 1 to 1000, default 6: a Worker has no more connections. */
  concurrency?: number;
  /** Attempts after the first one, 0 to 10, default 2, some 100 ms and 200 ms later. */
  retries?: number;
}

const MAKE = "make an R2 datastore";
const MAX_NAME = 900;
const PAGE = 1000;
const RETRY_MS = 100;
/** R2 ends its messages with a number: these blame the object. Every other failure is the store's trouble. */
const OBJECT_ERRORS: Record<string, TundraErrorCode> = { 10020: "UNSUPPORTED", 100100: "TOO_LARGE" };

/**
 * An archive in Cloudflare R2, through a Worker's binding: no credentials, no egress fees. Makes no call until it is
 * used, and is cheap to make.
 *
 * One call to R2 an object (deleting and listing: one a 1,000); a tick counts each as a sub-request. Uploads carry a SHA-256, so R2 refuses
 * what was damaged on its way. What fails is tried again; what fails for good is a TundraError with R2's own message:
 * `NOT_FOUND` (in a slot of `fetchKeys`), `TOO_LARGE`, `UNSUPPORTED`, else `UNAVAILABLE`.
 *
 * @throws TundraError `BAD_ARGUMENT`
 * @example
 * ```ts
 * import { type R2BucketLike, r2Datastore } from "@tundra/store/cloudflare";
 * import { tundraStore } from "@tundra/store";
 *
 * interface Env {
 *   ARCHIVE: R2BucketLike;
 *   UPSTASH_REDIS_REST_URL: string;
 *   UPSTASH_REDIS_REST_TOKEN: string;
 * }
 *
 * export const store = (env: Env) =>
 *   tundraStore(r2Datastore(env.ARCHIVE), {
 *     redis: { url: env.UPSTASH_REDIS_REST_URL, token: env.UPSTASH_REDIS_REST_TOKEN },
 *   });
 * ```
 */
export function r2Datastore(bucket: R2BucketLike, options: R2DatastoreOptions = {}): Required<DataStore> {
  const { prefix, concurrency, retries } = check(bucket, options);

  /** One call to R2 with its attempts. A binding cannot be aborted: its late result is dropped. */
  async function attempt<T>(what: string, call: DataStoreCallOptions = {}, act: () => Promise<T>): Promise<T> {
    const { signal, onRequest } = call;
    for (let retry = 0;; retry++) {
      signal?.throwIfAborted();
      onRequest?.();
      try {
        return await untilAborted(act(), signal);
      } catch (thrown) {
        if (signal?.aborted) throw signal.reason;
        const error = failure(what, thrown);
        if (!error.retryable || retry >= retries) throw error;
      }
      await sleep(RETRY_MS * 2 ** retry * (0.5 + random()), signal);
    }
  }

  /** One call for each name; its failure becomes the name's result, but an abort or a used up budget ends all. */
  async function each<T>(
    what: string,
    names: string[],
    call: DataStoreCallOptions | undefined,
    act: (path: string, name: string) => Promise<T | Error>,
  ): Promise<(T | Error)[]> {
    const paths = names.map((name) => path(what, name));
    return await inParallel(names.map((_, i) => i), concurrency, async (i) => {
      const name = names[i]!;
      let stopped = false;
      const onRequest = () => {
        stopped = true;
        call?.onRequest?.();
        stopped = false;
      };
      try {
        return await attempt(`${what} ${show(name)}`, { ...call, onRequest }, () => act(paths[i]!, name));
      } catch (error) {
        if (stopped || call?.signal?.aborted || !(error instanceof TundraError)) throw error;
        return error;
      }
    });
  }

  const path = (what: string, name: unknown): string => {
    if (typeof name === "string" && name.length <= MAX_NAME && isPath(prefix + name) && !name.startsWith("/")) {
      return prefix + name;
    }
    const must = `1 to ${MAX_NAME} characters A-Z a-z 0-9 _ - . ~ /, without empty, . and .. segments`;
    throw badArgument(`${what} an object`, "its name", must, name);
  };

  return {
    async putKey(name, value, call) {
      const at = path("put", name);
      const what = `put ${show(name)}`;
      if (!(value instanceof Uint8Array)) throw badArgument(what, "its value", "a Uint8Array", typeof value);
      const sha256 = (await digest("SHA-256", value as Uint8Array<ArrayBuffer>)).buffer;
      await attempt(what, call, () => bucket.put(at, value, { sha256 }));
      return true;
    },

    async fetchKeys(names, call) {
      return await each("fetch", names, call, async (path, name) => {
        const object = await bucket.get(path);
        return object === null ? notFound(name) : new Uint8Array(await object.arrayBuffer());
      });
    },

    async hasKeys(names, call) {
      return await each("look for", names, call, async (path) => await bucket.head(path) !== null);
    },

    async deleteKeys(names, call) {
      const paths = names.map((name) => path("delete", name));
      for (let from = 0; from < paths.length; from += PAGE) {
        const page = paths.slice(from, from + PAGE);
        await attempt(`delete ${page.length} objects`, call, () => bucket.delete(page));
      }
    },

    async listKeys(under, cursor, call) {
      if (typeof under !== "string" || !/^[\w.~/-]*$/.test(under)) {
        throw badArgument("list objects", "their prefix", "characters A-Z a-z 0-9 _ - . ~ /", under);
      }
      const what = `list objects under ${show(under)}`;
      const page = await attempt(what, call, () => bucket.list({ prefix: prefix + under, limit: PAGE, cursor }));
      const names = page.objects.map((object) => object.key.slice(prefix.length));
      if (!page.truncated) return { names };
      // Without it the rest would be passed over in silence.
      if (!page.cursor) throw failure(what, "the listing does not say what follows");
      return { names, cursor: page.cursor };
    },
  };
}

function failure(what: string, thrown: unknown): TundraError {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const code = OBJECT_ERRORS[/\((\d+)\)$/.exec(message)?.[1] ?? ""] ?? "UNAVAILABLE";
  return new TundraError(code, `Cannot ${what} as R2 must accept it: ${message}`, { cause: thrown });
}

/** Nothing in it would mean something else to another client of the same bucket. */
function isPath(path: string): boolean {
  return /^[\w.~/-]+$/.test(path) && path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

function check(bucket: R2BucketLike, options: R2DatastoreOptions): Required<R2DatastoreOptions> {
  for (const method of ["put", "get", "head", "delete", "list"] as const) {
    if (typeof bucket?.[method] !== "function") {
      throw badArgument(MAKE, "the bucket", "an R2 bucket binding, such as env.BUCKET", typeof bucket);
    }
  }
  if (typeof options !== "object" || options === null) throw badArgument(MAKE, "options", "an object", typeof options);
  const { prefix = "", concurrency = 6, retries = 2 } = options;
  if (typeof prefix !== "string" || prefix.length > 120 || !isPath(prefix + "x")) {
    const must = "at most 120 characters A-Z a-z 0-9 _ - . ~ /, without empty, . and .. segments";
    throw badArgument(MAKE, "prefix", must, prefix);
  }
  const whole = (name: string, value: number, least: number, most: number) => {
    if (Number.isInteger(value) && value >= least && value <= most) return;
    throw badArgument(MAKE, name, `an integer from ${least} to ${most}`, value);
  };
  whole("concurrency", concurrency, 1, 1000);
  whole("retries", retries, 0, 10);
  return { prefix, concurrency, retries };
}
