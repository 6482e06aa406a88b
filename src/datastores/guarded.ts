/**
 * The checks between Tundra and every datastore. A datastore may be an application's own code: it may never answer,
 * answer something else, or report a success that did not happen. An object that only seems to be stored would be
 * evicted and lost. Therefore
 *
 * - only `true` of `putKey` says that an object is stored;
 * - an answer that is missing, of another kind, or a range of another length, is an error in its slot;
 * - each call has a time limit, and ends at once when its signal is aborted, even if the datastore ignores both;
 * - a page of a listing is accepted as a whole or refused, only the last one may be empty, and it ends.
 * @module
 */
import { linkSignals, untilAborted } from "../base/abort.ts";
import { asTundraError, show, TundraError } from "../base/errors.ts";
import type { Datastore, DatastoreCallOptions, ListedPage } from "./datastore.ts";

/**
 * The time limit of a call in ms: a base for retries, twice the datastore's own limit for a request without progress,
 * more for each name, as a datastore asks for a few at a time, and more for each KB that is put or that ranges hold,
 * enough for a line of 4 Mbit/s.
 */
const [BASE_MS, REQUESTS, REQUEST_MS, NAME_MS, KILOBYTE_MS] = [10_000, 2, 10_000, 200, 2];
/** The most pages of one listing: ten million names of S3. */
const MAX_PAGES = 10_000;

/** A datastore whose calls are bounded in time and whose answers are checked. The core calls no other. */
export function guardedDatastore(datastore: Datastore): Datastore {
  const guarded: Datastore = {
    ...(datastore.place !== undefined && { place: datastore.place }),
    async putKey(name, value, options) {
      const what = `put ${show(name)}`;
      const call = (own: DatastoreCallOptions) => datastore.putKey(name, value, own);
      const stored: unknown = await within(datastore, what, 1, value.length, options, call);
      if (stored === true) return true;
      throw stored instanceof TundraError
        ? stored
        : failure(what, "resolve with true once it is stored", `current value is ${kindOf(stored)}`);
    },
    fetchKeys: (names, options) =>
      each(
        datastore,
        "fetch",
        names,
        options,
        (own) => datastore.fetchKeys(names, own),
        (answer) => answer instanceof Uint8Array,
      ),
  };
  if (datastore.putParts) {
    guarded.putParts = async (...args) => await (await import("./guarded_parts.ts")).putParts(datastore, ...args);
  }
  if (datastore.fetchRanges) {
    guarded.fetchRanges = (reads, options) =>
      each(
        datastore,
        "fetch a range of",
        reads.map(({ name }) => name),
        options,
        (own) => datastore.fetchRanges!(reads, own),
        (answer, i): answer is Uint8Array => answer instanceof Uint8Array && answer.length === reads[i]!.length,
        reads.reduce((bytes, { length }) => bytes + length, 0),
      );
  }
  if (datastore.deleteKeys) {
    guarded.deleteKeys = async (names, options) => {
      if (names.length === 0) return;
      const call = (own: DatastoreCallOptions) => datastore.deleteKeys!(names, own);
      await within(datastore, `delete ${names.length} objects`, names.length, 0, options, call);
    };
  }
  if (datastore.hasKeys) {
    guarded.hasKeys = (names, options) =>
      each(
        datastore,
        "look for",
        names,
        options,
        (own) => datastore.hasKeys!(names, own),
        (answer) => typeof answer === "boolean",
      );
  }
  if (datastore.listKeys) {
    guarded.listKeys = (...args) => listPage(datastore, ...args);
  }
  return guarded;
}

/** The page of a listing; one that is empty but for a cursor, as S3 may answer, is no end: the next one takes its place. */
async function listPage(
  datastore: Datastore,
  prefix: string,
  cursor?: string,
  options?: DatastoreCallOptions,
): Promise<ListedPage> {
  const what = `list objects under ${show(prefix)}`;
  let at = cursor;
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const call = (own: DatastoreCallOptions) => datastore.listKeys!(prefix, at, own);
    const page = readPage(what, prefix, await within(datastore, what, 1, 0, options, call));
    if (page.names.length > 0 || page.cursor === undefined) return page;
    if (page.cursor === at) throw failure(what, "go on page by page", `a cursor came again: ${show(at)}`);
    at = page.cursor;
  }
  throw failure(what, `end its listing within ${MAX_PAGES} pages`, "it did not");
}

/** Runs one call within its time limit. It ends when its signal is aborted, even if the datastore ignores that. */
async function within<T>(
  datastore: Datastore,
  what: string,
  names: number,
  bytes: number,
  options: DatastoreCallOptions | undefined,
  act: (options: DatastoreCallOptions) => Promise<T>,
): Promise<T> {
  options?.signal?.throwIfAborted();
  const ms = BASE_MS + REQUESTS * (datastore.timeoutMs ?? REQUEST_MS) + NAME_MS * names +
    KILOBYTE_MS * Math.ceil(bytes / 1000);
  const link = linkSignals([options?.signal]);
  link.limit(ms, () => failure(what, "answer in time", `it has not in ${ms} ms`));
  try {
    return await untilAborted((async () => await act({ ...options, signal: link.signal }))(), link.signal);
  } catch (thrown) {
    if (options?.signal?.aborted) throw options.signal.reason;
    throw asTundraError(thrown, what);
  } finally {
    link.release();
  }
}

/** Runs a call that answers each name. A slot holds an error if its answer is missing or of another kind. */
async function each<T>(
  datastore: Datastore,
  what: string,
  names: string[],
  options: DatastoreCallOptions | undefined,
  act: (options: DatastoreCallOptions) => Promise<unknown>,
  fits: (answer: unknown, i: number) => answer is T,
  bytes = 0,
): Promise<(T | Error)[]> {
  if (names.length === 0) return [];
  const answers = await within(datastore, `${what} ${names.length} objects`, names.length, bytes, options, act);
  return names.map((name, i): T | Error => {
    const answer: unknown = Array.isArray(answers) ? answers[i] : answers;
    if (Array.isArray(answers) && (fits(answer, i) || answer instanceof Error)) return answer;
    return failure(`${what} ${show(name)}`, "answer each name", `current value is ${kindOf(answer)}`);
  });
}

/**
 * All names that begin with `prefix`, page by page, if it is wished with those of puts that have not ended. Cost: a
 * request a page.
 *
 * @throws {TundraError} `UNAVAILABLE` if the listing repeats a page or never ends
 */
export async function* listPages(
  datastore: Datastore,
  prefix: string,
  options?: DatastoreCallOptions,
  { unfinished = false }: { unfinished?: boolean } = {},
): AsyncGenerator<string[], void, void> {
  const what = `list objects under ${show(prefix)}`;
  const seen = { name: new Set<string>(), cursor: new Set<string>() };
  const once = (kind: "name" | "cursor", mark: string | undefined) => {
    if (mark === undefined) return;
    if (seen[kind].has(mark)) throw failure(what, "go on page by page", `a ${kind} came again: ${show(mark)}`);
    seen[kind].add(mark);
  };
  let cursor: string | undefined;
  do {
    const page = await datastore.listKeys!(prefix, cursor, options);
    cursor = page.cursor;
    once("name", page.names[0]);
    once("cursor", cursor);
    if (seen.cursor.size > MAX_PAGES) throw failure(what, `end its listing within ${MAX_PAGES} pages`, "it did not");
    yield unfinished ? [...page.names, ...page.unfinished ?? []] : page.names;
  } while (cursor !== undefined);
}

function readPage(what: string, prefix: string, page: unknown): ListedPage {
  const { names, cursor, unfinished = [] } = (page ?? {}) as Partial<Record<keyof ListedPage, unknown>>;
  if (!Array.isArray(names) || !Array.isArray(unfinished)) {
    throw failure(what, "reply { names, cursor }", `current value is ${kindOf(page)}`);
  }
  // A foreign name is refused, not skipped: the name that the caller looks for may be missing beside it.
  const all: unknown[] = [...names, ...unfinished];
  const foreign = all.findIndex((name) => typeof name !== "string" || !name.startsWith(prefix));
  if (foreign >= 0) throw failure(what, "list names that begin so", `current value is ${show(all[foreign])}`);
  const read: ListedPage = unfinished.length > 0 ? { names, unfinished } : { names };
  if (cursor === undefined || cursor === null) return read;
  if (typeof cursor !== "string") throw failure(what, "reply a cursor that is text", `it is ${kindOf(cursor)}`);
  return { ...read, cursor };
}

function failure(what: string, must: string, is: string): TundraError {
  return new TundraError("UNAVAILABLE", `Cannot ${what} as the datastore must ${must}: ${is}`);
}

/** The kind of an answer, for messages; never an object's bytes. */
function kindOf(value: unknown): string {
  if (value instanceof Error) return `an Error: ${value.message}`;
  if (typeof value === "boolean" || value === undefined || value === null) return String(value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return Array.isArray(value) ? "an array" : typeof value;
}
