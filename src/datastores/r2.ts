/**
 * A datastore in Cloudflare R2, through a Worker's binding.
 * @module
 */
import { sleep, untilAborted } from "../base/abort.ts";
import { checkMethods, checkNames, checkNumber } from "../base/arguments.ts";
import { nameTaken, notFound, show, TundraError, type TundraErrorCode } from "../base/errors.ts";
import { digest, random } from "../base/platform.ts";
import type { Datastore, DatastoreCallOptions, RangeRead } from "./datastore.ts";
import { deletionFailure } from "./deletions.ts";
import { checkListed, checkPrefix, checkValue, objectPath } from "./names.ts";
import { forEachName } from "./parallel.ts";
import { checkReads, wrongLength } from "./ranges.ts";

/** The part of an R2 bucket's binding that Tundra uses; a Worker's `env.BUCKET` has it. */
export interface R2BucketLike {
  /**
   * Stores an object; R2 refuses it if the bytes that arrive have another SHA-256. It is `null` if `onlyIf` was not
   * met.
   */
  put(
    name: string,
    value: Uint8Array,
    options: { sha256: ArrayBuffer; onlyIf?: { etagDoesNotMatch: string } },
  ): Promise<unknown>;
  /** Begins an upload of several parts. */
  createMultipartUpload(name: string): Promise<R2UploadLike>;
  /** Fetches an object, or a range of it; `null` if it does not exist. */
  get(
    name: string,
    options?: { range: { offset: number; length: number } },
  ): Promise<{ arrayBuffer(): Promise<ArrayBuffer> } | null>;
  /** Looks for an object; `null` if it does not exist. */
  head(name: string): Promise<object | null>;
  /** Deletes at most 1,000 objects. */
  delete(names: string[]): Promise<void>;
  /** Lists objects, a page at a time. */
  list(
    options: { prefix: string; cursor?: string; limit?: number },
  ): Promise<{ objects: { key: string }[]; truncated: boolean; cursor?: string }>;
}

/** The part of an R2 upload of several parts that Tundra uses. */
export interface R2UploadLike {
  /** Puts a part; numbers begin at 1. */
  uploadPart(partNumber: number, value: Uint8Array): Promise<{ partNumber: number; etag: string }>;
  /** Makes the object of its parts. */
  complete(parts: { partNumber: number; etag: string }[]): Promise<unknown>;
  /** Ends the upload; its parts go. */
  abort(): Promise<void>;
}

/** Options of {@linkcode r2Datastore}. */
export interface R2DatastoreOptions {
  /**
   * The beginning of every object name, such as `tundra/`: at most 120 characters `A-Z a-z 0-9 _ - . ~ /`.
   *
   * @default {""}
   */
  prefix?: string;
  /**
   * Calls to R2 that one call makes at once: 1 to 1000. A Worker has no more than six connections.
   *
   * @default {6}
   * @see https://developers.cloudflare.com/workers/platform/limits/
   */
  concurrency?: number;
  /**
   * Attempts after the first one: 0 to 10, some 100 ms and 200 ms later.
   *
   * @default {2}
   */
  retries?: number;
}

const MAKE = "make an R2 datastore";
/**
 * The most objects of one deletion and of one page.
 *
 * @see https://developers.cloudflare.com/r2/api/workers/workers-api-reference/
 */
const PAGE = 1000;
const RETRY_MS = 100;
/**
 * The numbers at the end of R2's messages that blame the object; by 10039 a range begins behind its end. Any other failure
 * is the bucket's.
 *
 * @see https://developers.cloudflare.com/r2/api/error-codes/
 */
const OBJECT_ERRORS: Record<string, TundraErrorCode> = { 10020: "UNSUPPORTED", 10039: "CORRUPT", 100100: "TOO_LARGE" };

/**
 * A datastore in Cloudflare R2, through a Worker's binding: no credentials, no egress fees. It makes no call until it
 * is used, and is cheap to make.
 *
 * Cost: one call to R2 for each object, for one of over 8 MiB one for each 8 MiB and two more (deleting and listing: one for each 1,000); a tick counts each as a sub-request.
 * Uploads carry a SHA-256, so R2 refuses an object that was damaged on its way. A failed call is retried. After the
 * last retry it is a TundraError with R2's own message: `NOT_FOUND` (in a slot of `fetchKeys` or `fetchRanges`),
 * `TOO_LARGE`, `UNSUPPORTED`, `CORRUPT` of a range behind the object's end, else `UNAVAILABLE`.
 *
 * @throws {TundraError} `BAD_ARGUMENT`
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
export function r2Datastore(bucket: R2BucketLike, options: R2DatastoreOptions = {}): Required<Datastore> {
  const { prefix, concurrency, retries } = check(bucket, options);
  const attempt = attemptsOf(retries);
  const archive: R2Archive = { bucket, prefix, concurrency, attempt };

  return {
    place: `an R2 bucket${prefix === "" ? "" : `, prefix ${show(prefix)}`}`,
    timeoutMs: 10_000,
    async putKey(name, value, call) {
      const at = objectPath("put", prefix, name);
      const what = `put ${show(name)}`;
      checkValue(what, value);
      const sha256 = (await digest("SHA-256", value)).buffer;
      const onlyIf = call?.ifAbsent ? { etagDoesNotMatch: "*" } : undefined;
      const put = await attempt(what, call, () => bucket.put(at, value, { sha256, ...(onlyIf && { onlyIf }) }));
      if (onlyIf && put === null) throw nameTaken(name);
      return true;
    },

    async putParts(name, parts, call) {
      const at = objectPath("put", prefix, name);
      return await (await import("./r2_parts.ts")).putParts(archive, at, name, parts, call);
    },

    fetchKeys: (names, call) => fetchAll(archive, names, call),

    async fetchRanges(reads, call) {
      checkReads(reads);
      return await fetchAll(archive, reads.map(({ name }) => name), call, reads);
    },

    async hasKeys(names, call) {
      return await each(archive, "look for", names, call, async (path) => await bucket.head(path) !== null);
    },

    async deleteKeys(names, call) {
      const paths = names.map((name) => objectPath("delete", prefix, name));
      await deletePages(bucket, attempt, names, paths, call);
    },

    async listKeys(under, cursor, call) {
      checkListed(under);
      const what = `list objects under ${show(under)}`;
      const page = await attempt(what, call, () => bucket.list({ prefix: prefix + under, limit: PAGE, cursor }));
      const names = page.objects.map(({ key }) => {
        // A foreign name is refused, not skipped: the name that the caller looks for may be missing beside it.
        if (!key.startsWith(prefix + under)) throw failure(what, `the name ${show(key)} does not begin as asked for`);
        return key.slice(prefix.length);
      });
      if (!page.truncated) return { names };
      // Without a cursor the rest of the listing would be skipped silently.
      if (!page.cursor) throw failure(what, "the listing does not say what follows");
      return { names, cursor: page.cursor };
    },
  };
}

/** Makes one call to R2 with its retries. */
type Attempt = <T>(what: string, call: DatastoreCallOptions | undefined, act: () => Promise<T>) => Promise<T>;

/** A bucket, and how it is called. */
interface R2Archive {
  bucket: R2BucketLike;
  prefix: string;
  concurrency: number;
  attempt: Attempt;
}

/** Makes one call for each name. */
async function each<T>(
  { prefix, concurrency, attempt }: R2Archive,
  what: string,
  names: string[],
  call: DatastoreCallOptions | undefined,
  act: (path: string, i: number) => Promise<T | Error>,
): Promise<(T | Error)[]> {
  const paths = names.map((name) => objectPath(what, prefix, name));
  return await forEachName(
    names,
    concurrency,
    call,
    (name, i, own) => attempt(`${what} ${show(name)}`, own, () => act(paths[i]!, i)),
  );
}

/** Fetches objects, or a range of each. */
async function fetchAll(
  archive: R2Archive,
  names: string[],
  call: DatastoreCallOptions | undefined,
  reads?: readonly RangeRead[],
): Promise<(Uint8Array | Error)[]> {
  return await each(archive, "fetch", names, call, async (path, i) => {
    const read = reads?.[i];
    const object = await archive.bucket.get(path, read && { range: { offset: read.offset, length: read.length } });
    if (object === null) return notFound(names[i]!);
    const bytes = new Uint8Array(await object.arrayBuffer());
    return read && bytes.length !== read.length ? wrongLength(read, bytes.length) : bytes;
  });
}

/** Calls with up to so many retries. A binding cannot be aborted: a late result is dropped. */
function attemptsOf(retries: number): Attempt {
  return async (what, { signal, onRequest } = {}, act) => {
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
  };
}

async function deletePages(
  bucket: R2BucketLike,
  attempt: Attempt,
  names: string[],
  paths: string[],
  call: DatastoreCallOptions | undefined,
): Promise<void> {
  const errors = new Map<string, Error>();
  for (let from = 0; from < paths.length; from += PAGE) {
    const page = paths.slice(from, from + PAGE);
    try {
      await attempt(`delete ${page.length} objects`, call, () => bucket.delete(page));
    } catch (thrown) {
      // After an abort, or when the requests are used up, the rest is not tried.
      if (call?.signal?.aborted || !(thrown instanceof TundraError) || thrown.cause === undefined) throw thrown;
      for (const name of names.slice(from, from + PAGE)) errors.set(name, thrown);
    }
  }
  if (errors.size > 0) throw deletionFailure(names, errors);
}

function failure(what: string, thrown: unknown): TundraError {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const number = /\((\d+)\)$/.exec(message)?.[1] ?? "";
  return new TundraError(
    OBJECT_ERRORS[number] ?? "UNAVAILABLE",
    `Cannot ${what} as R2 must accept it: ${message}`,
    { cause: thrown },
  );
}

function check(bucket: R2BucketLike, options: R2DatastoreOptions): Required<R2DatastoreOptions> {
  checkMethods(MAKE, "the bucket", bucket, ["put", "get", "head", "delete", "list"], "an R2 bucket binding");
  checkNames(MAKE, options, ["prefix", "concurrency", "retries"]);
  const { prefix = "", concurrency = 6, retries = 2 } = options;
  checkPrefix(MAKE, prefix);
  checkNumber(MAKE, "concurrency", concurrency, 1, 1000);
  checkNumber(MAKE, "retries", retries, 0, 10);
  return { prefix, concurrency, retries };
}
