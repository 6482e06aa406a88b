/**
 * The fixture of portable tests. Everything here runs on every runtime: fetch, no more.
 * @module
 */
import { assertEquals, assertInstanceOf } from "@std/assert";
import {
  type Datastore,
  s3Datastore,
  TundraError,
  type TundraErrorCode,
  type TundraOptions,
  type TundraStore,
  tundraStore,
} from "../../../mod.ts";

/** The local stack, as JSON. */
export interface PortableWorldOptions {
  runtime: string;
  redis: { url: string; token: string };
  s3: { endpoint: string; region: string; bucket: string; accessKeyId: string; secretAccessKey: string };
}

/** The fixture of a test: servers that others use at the same time, and a queue and keys of its own. */
export interface PortableWorld extends PortableWorldOptions {
  /** Begins all keys of this test. */
  readonly prefix: string;
  readonly tqname: string;
  datastore(): Required<Datastore>;
  /** A store on a queue of this test's own. */
  store(options?: Partial<TundraOptions> & { datastore?: Datastore }): TundraStore;
  /** Names of the objects that a key has, ascending. */
  objects(key: string): Promise<string[]>;
}

/** One test. */
export type Test = (world: PortableWorld) => Promise<void>;

/** Makes the world of one test. */
export function world(options: PortableWorldOptions, test: string): PortableWorld {
  const tqname = `${options.runtime}-${test}`.replace(/[^A-Za-z0-9_-]+/g, "-").slice(0, 64);
  const self: PortableWorld = {
    ...options,
    tqname,
    prefix: `${tqname}:`,
    datastore: () => s3Datastore(options.s3),
    store: ({ datastore, ...rest } = {}) =>
      tundraStore(datastore ?? self.datastore(), { redis: options.redis, tqname, ...rest }),
    async objects(key) {
      const { names } = await self.datastore().listKeys(`${tqname}/`);
      return names.filter((name) => name.split("/")[1]?.startsWith(key));
    },
  };
  return self;
}

/** Writes, marks, archives and evicts: afterwards the keys are in the archive only. */
export async function freezeAll(store: TundraStore, keys: string[]): Promise<void> {
  await store.dirty(keys);
  const report = await store.tick();
  assertEquals([report.failed, report.errors], [0, []]);
  const { evicted, kept } = await store.evict(keys);
  assertEquals([[...evicted].sort(), { ...kept }], [[...keys].sort(), {}]);
}

/** The TundraError that `act` rejects with. */
export async function rejection(code: TundraErrorCode, act: () => Promise<unknown>): Promise<TundraError> {
  let thrown: unknown;
  try {
    await act();
  } catch (error) {
    thrown = error;
  }
  assertInstanceOf(thrown, TundraError);
  assertEquals(thrown.code, code, thrown.message);
  return thrown;
}

/** Bytes that do not shrink, the same everywhere. */
export function noise(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  let state = seed;
  return Uint8Array.from({ length }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24);
}

/** Bytes as hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bytes of hexadecimal digits. */
export function unhex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => parseInt(digits, 16));
}
