/**
 * A datastore in memory, for tests and first steps.
 * @module
 */
import { nameTaken, notFound } from "../base/errors.ts";
import type { Datastore } from "./datastore.ts";
import { checkReads, wrongLength } from "./ranges.ts";

/** Names a page of `listKeys`, as S3 has it. */
const PAGE = 1000;

/** The result of {@linkcode memoryDatastore}: a {@linkcode Datastore} with all seven functions. */
export interface MemoryDatastore extends Required<Datastore> {
  /** The objects themselves: a test may look at, damage or remove them. */
  readonly objects: Map<string, Uint8Array>;
}

/**
 * A datastore in memory, for tests and first steps only: its objects end with the process. Bytes are copied in and out.
 *
 * @example
 * ```ts
 * import { memoryDatastore } from "@tundra/store";
 *
 * const archive = memoryDatastore();
 * await archive.putKey("a", new Uint8Array([1, 2]));
 * console.log(await archive.fetchKeys(["a"]), archive.objects.size); // [ Uint8Array(2) [ 1, 2 ] ] 1
 * ```
 */
export function memoryDatastore(): MemoryDatastore {
  const objects = new Map<string, Uint8Array>();
  // Asynchronous functions, so that an aborted signal rejects and never throws.
  return {
    objects,
    place: "memory",
    timeoutMs: 10_000,
    // deno-lint-ignore require-await
    async putKey(name, value, options) {
      options?.signal?.throwIfAborted();
      if (options?.ifAbsent && objects.has(name)) throw nameTaken(name);
      objects.set(name, new Uint8Array(value));
      return true;
    },
    async putParts(name, parts, options) {
      const all: Uint8Array[] = [];
      for await (const part of parts) {
        options?.signal?.throwIfAborted();
        all.push(new Uint8Array(part));
      }
      const object = new Uint8Array(all.reduce((sum, { length }) => sum + length, 0));
      let end = 0;
      for (const part of all) {
        object.set(part, end);
        end += part.length;
      }
      objects.set(name, object);
      return true;
    },
    // deno-lint-ignore require-await
    async fetchKeys(names, options) {
      options?.signal?.throwIfAborted();
      return names.map((name) => {
        const value = objects.get(name);
        return value ? new Uint8Array(value) : notFound(name);
      });
    },
    // deno-lint-ignore require-await
    async fetchRanges(reads, options) {
      checkReads(reads);
      options?.signal?.throwIfAborted();
      return reads.map((read) => {
        const value = objects.get(read.name);
        if (!value) return notFound(read.name);
        const range = value.slice(read.offset, read.offset + read.length);
        return range.length === read.length ? range : wrongLength(read, range.length);
      });
    },
    // deno-lint-ignore require-await
    async deleteKeys(names, options) {
      options?.signal?.throwIfAborted();
      for (const name of names) objects.delete(name);
    },
    // deno-lint-ignore require-await
    async hasKeys(names, options) {
      options?.signal?.throwIfAborted();
      return names.map((name) => objects.has(name));
    },
    // deno-lint-ignore require-await
    async listKeys(prefix, cursor, options) {
      options?.signal?.throwIfAborted();
      const after = cursor ?? "";
      const names = [...objects.keys()].filter((name) => name.startsWith(prefix) && name > after).sort();
      const page = names.slice(0, PAGE);
      return names.length > PAGE ? { names: page, cursor: page.at(-1)! } : { names: page };
    },
  };
}
