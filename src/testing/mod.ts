/**
 * Tools for tests: of an application, on a real redis-server and an S3 server in this process ({@linkcode localStack}),
 * on an archive that fails ({@linkcode faultyDatastore}), and of a datastore of its own
 * ({@linkcode describeDatastore}). For Node, Deno and Bun; never part of an application's bundle.
 *
 * @example
 * ```ts
 * import { s3Datastore, tundraStore } from "@tundra/store";
 * import { localStack } from "@tundra/store/testing";
 *
 * const stack = await localStack();
 * const store = tundraStore(s3Datastore(stack.s3), { redis: stack.redis });
 *
 * await store.redis.set("page:1", "<h1>Hello</h1>");
 * await store.dirty("page:1");
 * await store.tick();
 * await store.evict("page:1"); // now; a tick waits for redisTtlMs
 * await store.ensureKs("page:1");
 * console.log(await store.redis.get("page:1")); // <h1>Hello</h1>
 *
 * await stack.stop();
 * ```
 *
 * @module
 */
export { type LocalStack, localStack, type LocalStackOptions } from "./local_stack.ts";
export {
  type DatastoreCapabilities,
  type DatastoreUnderTest,
  describeDatastore,
  ODD_NAMES,
} from "./conformance/describe.ts";
export {
  type DatastoreFault,
  type FaultyDatastore,
  faultyDatastore,
  type FaultyDatastoreOptions,
  type MetFault,
} from "./faulty.ts";
export { type MemoryDatastore, memoryDatastore } from "../datastores/memory.ts";
export type { Datastore, DatastoreCallOptions, ListedPage, PutOptions, RangeRead } from "../datastores/datastore.ts";
