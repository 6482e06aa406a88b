/**
 * A datastore that tells of each request, as those of S3, R2 and unstorage do: a bound counts with it as it does there.
 * @module
 */
import type { Datastore, DatastoreCallOptions } from "../../mod.ts";

/** Makes one. Each object that is fetched, looked for or read in part takes a request, and each `perDeletion` deleted. */
export function telling(inner: Required<Datastore>, perDeletion = 1_000): Required<Datastore> {
  const tell = (requests: number, options: DatastoreCallOptions | undefined) => {
    for (let i = 0; i < requests; i++) options?.onRequest?.();
  };
  return {
    ...inner,
    async putKey(name, value, options) {
      tell(1, options);
      return await inner.putKey(name, value, options);
    },
    async fetchKeys(names, options) {
      tell(names.length, options);
      return await inner.fetchKeys(names, options);
    },
    async fetchRanges(reads, options) {
      tell(reads.length, options);
      return await inner.fetchRanges(reads, options);
    },
    async hasKeys(names, options) {
      tell(names.length, options);
      return await inner.hasKeys(names, options);
    },
    async deleteKeys(names, options) {
      for (let i = 0; i < names.length; i += perDeletion) {
        tell(1, options);
        await inner.deleteKeys(names.slice(i, i + perDeletion), options);
      }
    },
    async listKeys(prefix, cursor, options) {
      tell(1, options);
      return await inner.listKeys(prefix, cursor, options);
    },
  };
}
