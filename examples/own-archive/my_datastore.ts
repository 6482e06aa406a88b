import { type Datastore, notFound } from "@tundra/store";

/** Objects in a Map; yours asks a database, a disk, a service. */
export function myDatastore(objects = new Map<string, Uint8Array>()): Datastore {
  return {
    // deno-lint-ignore require-await
    async putKey(name, bytes, options) {
      options?.signal?.throwIfAborted();
      objects.set(name, bytes.slice());
      return true; // only once the object is durable
    },
    // deno-lint-ignore require-await
    async fetchKeys(names, options) {
      options?.signal?.throwIfAborted();
      // notFound() only of what is provably absent; any other error in a slot means "unknown"
      return names.map((name) => objects.get(name)?.slice() ?? notFound(name));
    },
  };
}
