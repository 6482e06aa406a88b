/**
 * Types of datastores, freezers and the subpaths: code that compiles, and code that must not.
 * @module
 */
import {
  type DatastoreCallOptions,
  deflateFreezer,
  type Freezer,
  fromUrlsafe,
  memoryDatastore,
  notFound,
  type RangeRead,
  s3Datastore,
  toUrlsafe,
  tundraFromEnv,
  type TundraStore,
  tundraStore,
} from "@tundra/store";
import { type R2BucketLike, r2Datastore, scheduledHandler } from "@tundra/store/cloudflare";
import { aesGcmFreezer, type AesGcmOptions, rotate, type RotateReport, status } from "@tundra/store/encryption";
import { type DynamodbDatastore, dynamodbDatastore } from "@tundra/store/dynamodb";
import { cronHandler } from "@tundra/store/http";
import { pageHandler } from "@tundra/store/page";
import {
  adopt,
  type AdoptReport,
  advise,
  type AdviseReport,
  list,
  moveIndex,
  type MoveIndexReport,
  peek,
  probe,
  type ProbeReport,
  restoreVersion,
  type RestoreVersionReport,
  verify,
  type VerifyReport,
  type Versions,
  versions,
  warm,
  type WarmReport,
} from "@tundra/store/operations";
import { describeDatastore, type LocalStack, localStack } from "@tundra/store/testing";
import { after, describe, it } from "node:test";
import { unstorageDatastore } from "@tundra/store/unstorage";
import { createStorage } from "unstorage";
import type { Assert, Equal } from "./equal.ts";

/** The archives that `tundraStore` takes. */
type Archive = Parameters<typeof tundraStore>[0];

const redis = { url: "https://eu1-example.upstash.io", token: "secret" };
const place = { region: "eu-central-1", bucket: "cold" };
declare const store: TundraStore;

/** Two functions make a datastore; what they answer is fixed. */
export function ownDatastores(bytes: Uint8Array): void {
  const two: Archive = {
    putKey: () => Promise.resolve(true),
    fetchKeys: (names) => Promise.resolve(names.map((name) => name === "a" ? bytes : notFound(name))),
  };
  const all: Required<Archive> = { ...memoryDatastore(), place: "a test", timeoutMs: 1_000 };
  tundraStore(two, { redis });
  tundraStore(all, { redis });

  // @ts-expect-error fetchKeys must be there
  const one: Archive = { putKey: () => Promise.resolve(true) };
  // @ts-expect-error an upload that is not durable must throw
  const unsure: Archive = { ...two, putKey: () => Promise.resolve(false) };
  // @ts-expect-error absent is an error in its slot
  const absent: Archive = { ...two, fetchKeys: (names) => Promise.resolve(names.map(() => undefined)) };
  // @ts-expect-error existence is a boolean or an error
  const counted: Archive = { ...two, hasKeys: (names) => Promise.resolve(names.map(() => 1)) };
  const reading: Archive = {
    ...two,
    fetchRanges: (reads: RangeRead[]) => Promise.resolve(reads.map(({ length }) => bytes.slice(0, length))),
  };
  // @ts-expect-error a range that is absent is an error in its slot
  const absentRange: Archive = { ...two, fetchRanges: (reads) => Promise.resolve(reads.map(() => undefined)) };
  console.log(one, unsure, absent, counted, reading, absentRange);
}

/** unstorage's own Storage is taken as it is. */
export function unstorages(): void {
  const archive: Archive = unstorageDatastore(createStorage());
  unstorageDatastore(createStorage<string>(), { base: "carts", nullIsAbsent: true, concurrency: 4 });

  // @ts-expect-error a Map is no Storage
  unstorageDatastore(new Map());
  // @ts-expect-error there is no option prefix
  unstorageDatastore(createStorage(), { prefix: "carts" });
  console.log(archive);
}

/** The suite takes any framework's functions, and any datastore or what stops it. */
export function suites(archive: Archive): void {
  describeDatastore("mine", () => archive, { describe, it });
  describeDatastore("mine", () => Promise.resolve(archive), { describe, it, after, fetchRanges: false, seed: 7 });
  describeDatastore("mine", () => ({ store: archive, stop: () => Promise.resolve() }));
  describeDatastore("mine", () => archive, { describe: (_title, act) => act(), it: (_title, act) => act() });

  // @ts-expect-error a capability is true or false
  describeDatastore("mine", () => archive, { describe, it, listKeys: "yes" });
  // @ts-expect-error make gives a datastore
  describeDatastore("mine", () => ({ store: {} }), { describe, it });
}

/** Options of the datastores that come with the package. */
export function datastores(bucket: R2BucketLike): void {
  s3Datastore({ ...place, accessKeyId: "id", secretAccessKey: "secret", prefix: "tundra/", concurrency: 8 });
  s3Datastore({ ...place, credentials: () => ({ accessKeyId: "id", secretAccessKey: "secret" }), checksum: "md5" });
  r2Datastore(bucket);
  r2Datastore(bucket, { prefix: "tundra/", concurrency: 6, retries: 0 });
  memoryDatastore().objects.clear();

  const table: DynamodbDatastore = dynamodbDatastore({
    ...{ region: "eu-central-1", table: "cold", accessKeyId: "id", secretAccessKey: "secret", sessionToken: "token" },
    ...{ endpoint: "http://127.0.0.1:8000", fetch },
  });
  dynamodbDatastore({
    region: "eu-central-1",
    table: "cold",
    credentials: () => ({ accessKeyId: "", secretAccessKey: "" }),
  });
  const made: Promise<void>[] = [
    table.ensureTable(),
    table.ensureTable({ capacity: { read: 1, write: 1 }, waitMs: 1 }),
  ];
  tundraStore(table, { redis });
  console.log(made);

  // @ts-expect-error it reads no ranges
  table.fetchRanges([]);
  // @ts-expect-error a table must be there
  dynamodbDatastore({ region: "eu-central-1", accessKeyId: "id", secretAccessKey: "secret" });
  // @ts-expect-error a capacity has two numbers
  table.ensureTable({ capacity: { read: 1 } });
  // @ts-expect-error options must be there
  s3Datastore();
  // @ts-expect-error a bucket must be there
  s3Datastore({ region: "eu-central-1" });
  // @ts-expect-error there is no option acl
  s3Datastore({ ...place, acl: "private" });
  // @ts-expect-error a style is "path" or "virtual-host"
  s3Datastore({ ...place, style: "host" });
  // @ts-expect-error a checksum is "sha256", "md5" or "none"
  s3Datastore({ ...place, checksum: "crc32" });
  // @ts-expect-error a name is no bucket binding
  r2Datastore("cold");
  // @ts-expect-error there is no option jurisdiction
  r2Datastore(bucket, { jurisdiction: "eu" });
  // @ts-expect-error it takes no options
  memoryDatastore({});
}

/** Encryption: keys by their ids, given or asked for. */
export function encryption(key: Uint8Array): void {
  const options: AesGcmOptions = { keys: { a: key, b: () => Promise.resolve(key) }, current: "a" };
  const freezer: Freezer = aesGcmFreezer({ ...options, keyFor: (name) => name.startsWith("b") ? "b" : undefined });
  tundraStore(memoryDatastore(), { redis, freezer: [deflateFreezer(), freezer] });
  aesGcmFreezer({ keys: (id) => id === "a" ? key : undefined, current: "a", keyTtlMs: 1, keyTimeoutMs: 1 });
  aesGcmFreezer({ ...options, acceptPlain: true });

  const rotated: Promise<RotateReport> = rotate(store, { dryRun: true, maxObjects: 1, maxSubrequests: 45 });
  void Promise.all([rotated, status(store, { deadlineMs: 1_000 }).then(({ ids }) => ids.a)]);

  // @ts-expect-error a key is bytes
  aesGcmFreezer({ keys: { a: "secret" }, current: "a" });
  // @ts-expect-error current must be there
  aesGcmFreezer({ keys: { a: key } });
}

/** Freezers: one, several or none. */
export function freezers(): void {
  const same: Freezer = { id: "same", freeze: (bytes) => bytes, thaw: (bytes) => Promise.resolve(bytes) };
  tundraStore(memoryDatastore(), { redis, freezer: same });
  tundraStore(memoryDatastore(), { redis, freezer: [deflateFreezer({ level: 9, maxBytes: 1 }), same] });

  // @ts-expect-error an id must be there
  const nameless: Freezer = { freeze: (bytes) => bytes, thaw: (bytes) => bytes };
  // @ts-expect-error frozen bytes are bytes
  const text: Freezer = { ...same, freeze: () => "text" };
  // @ts-expect-error there is no option quality
  deflateFreezer({ quality: 9 });
  // @ts-expect-error a level is a number
  deflateFreezer({ level: "9" });
  console.log(nameless, text);
}

/** Handlers. */
export function handlers(): void {
  cronHandler(store, { secret: "at-least-16-characters" });
  cronHandler((request) => tundraFromEnv({ HOST: request.url }), { secret: undefined, deadlineMs: 50_000 });
  scheduledHandler((env: { A: string }) => tundraFromEnv(env));
  scheduledHandler(() => Promise.resolve(store), { maxSubrequests: 1_000, log: (line) => line.length });

  // @ts-expect-error a secret must be named, be it undefined
  cronHandler(store, {});
  // @ts-expect-error options must be there
  cronHandler(store);
  // @ts-expect-error there is no option path
  cronHandler(store, { secret: "at-least-16-characters", path: "/cron" });
  // @ts-expect-error a store is made for each event
  scheduledHandler(store);
  // @ts-expect-error there is no option cron
  scheduledHandler(() => store, { cron: "* * * * *" });

  const page: (request: Request) => Promise<Response> = pageHandler(store, { secret: "at-least-16-characters" });
  pageHandler(() => Promise.resolve(store), {
    secret: undefined,
    allow: { retry: true },
    title: "shop",
    onError: console.log,
  });
  console.log(page);
  // @ts-expect-error a secret must be there, though it may be undefined
  pageHandler(store, {});
  // @ts-expect-error there is no such change
  pageHandler(store, { secret: "at-least-16-characters", allow: { erase: true } });
}

/** Operations, the local stack, names. */
export function others(signal: AbortSignal): void {
  moveIndex(store, { signal });
  restoreVersion(store, "k", "1764000000000001-0a1b2c3d", { to: "other", expired: true, dryRun: true, maxPacks: 9 });
  peek(store, "k", (redis, name) => redis.hgetall<{ a: string }>(name), { ttlMs: 1_000, maxSubrequests: 50, signal });
  restoreVersion(store, "k", new Date(0), { maxSubrequests: 50, signal });
  verify(store, { share: 0.5, seed: 1, repair: true, maxKeys: 1, dryRun: true, maxSubrequests: 50, signal });
  versions(store, "k", { maxVersions: 10, maxPacks: 0, maxSubrequests: 50, signal });
  adopt(store, { match: "a:*", type: "hash", minBytes: 1, idleOnly: 1_000, maxKeys: 1, dryRun: true, signal });
  list(store, { match: "a:*", state: "evicted", signal });
  warm(store, { match: "a:*", maxKeys: 1, maxBytes: 1, dryRun: true, onProgress: ({ done }) => void done });
  warm(store, ["a"], { maxKeys: 1 });
  probe(store, { deadlineMs: 10_000, signal });
  advise(store, { match: "a:*", separator: "/", maxKeys: 1_000, sampleKeys: 100, returnsAMonth: 0.5, signal });
  advise(redis, { prices: { redis: { mine: { command: 0, gbMonth: 1 } } }, minEvictBytes: 0 });
  localStack({ ports: { redis: 1 }, token: "secret", bucket: "cold", redisServer: "/usr/bin/redis-server" });
  fromUrlsafe(toUrlsafe("user:1")).length;

  // @ts-expect-error a store must be there
  moveIndex();
  // @ts-expect-error there is no option force
  moveIndex(store, { force: true });
  // @ts-expect-error a seed is a number
  verify(store, { seed: "1" });
  // @ts-expect-error a key must be there
  versions(store);
  // @ts-expect-error read must be there
  peek(store, "k");
  // @ts-expect-error a version is a name or a Date
  restoreVersion(store, "k", 1764000000000);
  // @ts-expect-error there is no option dryRun, as nothing is changed
  versions(store, "k", { dryRun: true });
  // @ts-expect-error there is no option force
  adopt(store, { force: true });
  // @ts-expect-error there is no such state
  list(store, { state: "clean" });
  // @ts-expect-error keys are a list
  warm(store, "a");
  // @ts-expect-error there is no option port
  localStack({ port: 1 });
  // @ts-expect-error a name is a string
  toUrlsafe(1);
}

/** Results, to the letter. */
export type Results = [
  Assert<
    Equal<
      NonNullable<Archive["fetchRanges"]>,
      (
        reads: { name: string; offset: number; length: number }[],
        options?: DatastoreCallOptions,
      ) => Promise<(Uint8Array | Error)[]>
    >
  >,
  Assert<Equal<ReturnType<typeof s3Datastore>, Required<Archive>>>,
  Assert<Equal<ReturnType<typeof r2Datastore>, Required<Archive>>>,
  Assert<Equal<ReturnType<typeof cronHandler>, (request: Request) => Promise<Response>>>,
  Assert<Equal<Awaited<ReturnType<typeof moveIndex>>, MoveIndexReport>>,
  Assert<Equal<Awaited<ReturnType<typeof verify>>, VerifyReport>>,
  Assert<Equal<Awaited<ReturnType<typeof versions>>, Versions>>,
  Assert<Equal<Awaited<ReturnType<typeof adopt>>, AdoptReport>>,
  Assert<Equal<Awaited<ReturnType<typeof warm>>, WarmReport>>,
  Assert<Equal<Awaited<ReturnType<typeof probe>>, ProbeReport>>,
  Assert<Equal<Awaited<ReturnType<typeof advise>>, AdviseReport>>,
  Assert<Equal<Awaited<ReturnType<typeof restoreVersion>>, RestoreVersionReport>>,
  Assert<Equal<Awaited<ReturnType<typeof peek<number>>>, number | undefined>>,
  Assert<Equal<Awaited<ReturnType<typeof localStack>>, LocalStack>>,
  Assert<Equal<ReturnType<typeof toUrlsafe>, string>>,
];
