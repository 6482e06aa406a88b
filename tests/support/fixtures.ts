/**
 * A whole store for a test file: Redis, the Upstash endpoint, the development S3 with one bucket; and looks behind it.
 * @module
 */
import process from "node:process";
import { Buffer } from "node:buffer";
import { after, before, describe } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  type Datastore,
  deflateFreezer,
  type Freezer,
  s3Datastore,
  type S3DatastoreOptions,
  TundraError,
  type TundraErrorCode,
  type TundraOptions,
  type TundraStore,
  tundraStore,
} from "../../mod.ts";
import { directoryPlace, type PackEntry, thawDirectory } from "../../src/archive/pack.ts";
import { keyOfObject, redisKeys } from "../../src/base/keys.ts";
import { type KeyRecord, parseRecord } from "../../src/scripts/prelude.ts";
import type { CommandPart, Reply } from "../../src/testing/resp.ts";
import { type S3Server, startS3 } from "../../src/testing/s3.ts";
import { dynamodbFrom, startDynamodbAsS3 } from "./dynamodb_as_s3.ts";
import { everythingIn, type Stack, type StackOptions, withStack } from "./stack.ts";
import { startUnstorageAsS3, unstorageFrom } from "./unstorage_as_s3.ts";
import { HOUR_MS } from "./times.ts";
import { until } from "./waiting.ts";

/** The one bucket. */
export const BUCKET = "tundra";

/** TUNDRA_DATASTORE=dynamodb: the archive is a table of DynamoDB, behind the same fixture. */
export const ON_DYNAMODB = process.env.TUNDRA_DATASTORE === "dynamodb";
/** TUNDRA_DATASTORE=unstorage-fs: it is a folder behind unstorage's server. */
export const ON_UNSTORAGE = process.env.TUNDRA_DATASTORE === "unstorage-fs";

/** The choices of tests that hold with packs and without: `packBytes`, and words for the names of such tests. */
export const PACKINGS: readonly [packBytes: number, how: string][] = [[0, "as objects"], [1_048_576, "in packs"]];

/**
 * Describes what holds with packs and without; `packBytes` is that of the stores. Bun and Node play the default alone:
 * what differs there is no rule of the protocol.
 */
export function describePackings(what: string, tests: (packBytes: number) => void): void {
  for (const [packBytes, how] of process.versions.deno ? PACKINGS : PACKINGS.slice(1)) {
    describe(`${what}, ${how}`, () => tests(packBytes));
  }
}

/** Options of {@linkcode withArchive}. */
export interface ArchiveOptions extends StackOptions {
  /** `packBytes` of stores that are given none. Default: that of the package. */
  packBytes?: number;
}

/** Options of a store in tests: those of the package, any of its connection, and another archive. */
export interface StoreOptions extends Omit<TundraOptions, "redis"> {
  redis?: Partial<TundraOptions["redis"]>;
  datastore?: Datastore;
}

/** The servers, a client of each, and reads and changes behind the store. */
export interface ColdStack extends Omit<Stack, "flush"> {
  readonly s3: S3Server;
  /** A client of the bucket; without retries, so that requests can be counted. */
  datastore(options?: Partial<S3DatastoreOptions>): Required<Datastore>;
  /** A store on `datastore()`; of whatever size, its values leave Redis unless told otherwise. */
  store(options?: StoreOptions): TundraStore;
  /** Names of all objects but owners, ascending. */
  objectNames(): string[];
  /** The archived versions of all keys; see {@linkcode versionsIn}. */
  versions(): Promise<string[]>;
  /** The number of times that S3 ran an operation since `flush()`. */
  s3Count(operation: "PutObject" | "GetObject" | "DeleteObject" | "ListObjectsV2"): number;
  /** A key's record; `undefined`: none. */
  record(key: string, tqname?: string): Promise<KeyRecord | undefined>;
  /** Writes some fields of a key's record as they would be had time passed; its TTL stays. */
  editRecord(key: string, changes: Partial<KeyRecord>, tqname?: string): Promise<void>;
  /** A member's score in one of Tundra's sorted sets; `undefined`: it is not in there. */
  score(set: "dirty" | "idle" | "dead" | "purge", key: string, tqname?: string): Promise<number | undefined>;
  /** All members of one of Tundra's sorted sets. */
  members(set: "dirty" | "idle" | "dead" | "purge", tqname?: string): Promise<string[]>;
  /** Redis' clock, milliseconds. */
  nowMs(): Promise<number>;
  /** As if these keys had not been used for `ms`: their touch in record and `idle`. */
  leaveAlone(ms: number, ...keys: string[]): Promise<void>;
  /** As if every lease had ended: whoever held one counts as dead. */
  endLeases(): Promise<number>;
  /** As if every backoff had ended. */
  endBackoffs(): Promise<void>;
  exists(...keys: string[]): Promise<number>;
  /** A string's value, as text. */
  get(key: string): Promise<string | null>;
  /** Each key in Redis with its bytes and expiry, as text. */
  everything(pattern?: string): Promise<Record<string, string>>;
  /** Empties Redis and the bucket and sets all counters to zero. */
  flush(): Promise<void>;
}

/** Call it at the top of a `describe`; it registers the hooks. */
export function withArchive({ packBytes, ...options }: ArchiveOptions = {}): ColdStack {
  const stack = withStack(options);
  const defaults = packBytes === undefined ? {} : { packBytes };
  let server: S3Server | undefined;
  let counted: Record<string, number> = {};
  before(async () => {
    server = ON_DYNAMODB
      ? await startDynamodbAsS3()
      : ON_UNSTORAGE
      ? await startUnstorageAsS3()
      : await startS3({ buckets: [BUCKET] });
  });
  after(() => server?.stop());
  const s3 = () => server!;
  const { raw } = stack;
  const text = (reply: Reply): string | null => reply === null ? null : String(reply);

  const record = async (key: string, tqname = "default") =>
    parseRecord(latin1(await raw("GET", redisKeys(tqname).record(key))));

  const pairs = async (
    set: "dirty" | "idle" | "dead" | "purge",
    tqname = "default",
  ): Promise<[CommandPart, string][]> => {
    const flat = await raw("ZRANGE", redisKeys(tqname)[set], 0, -1, "WITHSCORES") as Buffer[];
    return flat.flatMap((member, i) => i % 2 === 0 ? [[member, String(flat[i + 1])] as [CommandPart, string]] : []);
  };

  /**
   * What has failed within the millisecond of its claim is due in the next one, and on Bun a whole tick may take less:
   * the tick after it would claim nothing.
   */
  const nextMs = async () => {
    const fromMs = Math.floor(await cold.nowMs());
    await until("the next millisecond", async () => await cold.nowMs() >= fromMs + 1);
  };

  const cold: ColdStack = {
    get redis() {
      return stack.redis;
    },
    get server() {
      return stack.server;
    },
    get connection() {
      return stack.connection;
    },
    raw,
    id: (uuid) => stack.id(uuid),
    confirmId: (uuid) => stack.confirmId(uuid),
    get s3() {
      return s3();
    },
    datastore: (options) =>
      ON_DYNAMODB
        ? dynamodbFrom(s3(), options)
        : ON_UNSTORAGE
        ? unstorageFrom(s3(), options)
        : s3Datastore(s3Options(s3(), options)),
    store({ redis, datastore, ...options } = {}) {
      const connection = { ...stack.connection, ...redis };
      const own = { ...defaults, minEvictBytes: 0, ...options };
      const store = tundraStore(datastore ?? cold.datastore(), { ...own, redis: connection });
      const { tick } = store;
      store.tick = async (options) => {
        const report = await tick(options);
        if (options?.retryBackoffMs === 0) await nextMs();
        return report;
      };
      return store;
    },
    objectNames: () => [...s3().objects(BUCKET).keys()].filter((name) => !name.includes("/~owner/")).sort(),
    versions: () => versionsIn(s3().objects(BUCKET)),
    s3Count: (operation) => (s3().operations[operation] ?? 0) - (counted[operation] ?? 0),
    async record(key, tqname) {
      if (await raw("EXISTS", redisKeys(tqname ?? "default").record(key)) === 0) return undefined;
      return await record(key, tqname);
    },
    async editRecord(key, changes, tqname = "default") {
      const name = redisKeys(tqname).record(key);
      const fields = latin1(await raw("GET", name))!.split(" ");
      const places = {
        rev: 1,
        ver: 2,
        flag: 3,
        fp: 4,
        exp: 5,
        touch: 6,
        attempts: 7,
        old: 10,
        rescues: 11,
        kb: 12,
        error: 13,
      };
      for (const [field, value] of Object.entries(changes)) fields[places[field as keyof KeyRecord]] = String(value);
      await raw("SET", name, fields.join(" "), "KEEPTTL");
    },
    async score(set, key, tqname = "default") {
      const reply = await raw("ZSCORE", redisKeys(tqname)[set], key);
      return reply === null ? undefined : Number(String(reply));
    },
    members: async (set, tqname) => (await pairs(set, tqname)).map(([member]) => String(member)).sort(),
    async nowMs() {
      const [seconds, micros] = await raw("TIME") as Buffer[];
      return Number(String(seconds)) * 1000 + Number(String(micros)) / 1000;
    },
    async leaveAlone(ms, ...keys) {
      const now = await cold.nowMs();
      const touch = Math.floor(now - ms);
      for (const key of keys) {
        const ver = (await cold.record(key))?.ver ?? "";
        const atUs = Math.floor(1000 * Math.max(now - ms, now - 2 * HOUR_MS)); // archived then: young, but over an hour old
        const aged = Number(ver.slice(0, 16)) > atUs ? { ver: String(atUs).padStart(16, "0") + ver.slice(16) } : {};
        await cold.editRecord(key, { touch, ...aged });
        await raw("ZADD", redisKeys("default").idle, "XX", touch, key);
      }
    },
    async endLeases() {
      const past = `${Math.floor(await cold.nowMs()) - 1000}.5`;
      const leased = (await pairs("dirty")).filter(([, score]) => score.endsWith(".5"));
      for (const [key] of leased) await raw("ZADD", redisKeys("default").dirty, past, key);
      return leased.length;
    },
    async endBackoffs() {
      const past = Math.floor(await cold.nowMs()) - 1000;
      for (const [key] of await pairs("dirty")) await raw("ZADD", redisKeys("default").dirty, past, key);
    },
    exists: async (...keys) => await raw("EXISTS", ...keys) as number,
    get: async (key) => text(await raw("GET", key)),
    everything: (pattern) => everythingIn(stack, pattern),
    async flush() {
      await stack.flush();
      s3().objects(BUCKET).clear();
      counted = { ...s3().operations };
    },
  };
  return cold;
}

/** Options of `s3Datastore` for a server's bucket. */
export function s3Options(server: S3Server, options: Partial<S3DatastoreOptions> = {}): S3DatastoreOptions {
  const { url, region, accessKeyId, secretAccessKey } = server;
  return { endpoint: url, region, bucket: BUCKET, accessKeyId, secretAccessKey, retries: 0, ...options };
}

/** A datastore with other functions in some places. */
export function hooked(datastore: Required<Datastore>, hooks: Partial<Datastore>): Required<Datastore> {
  return { ...datastore, ...hooks };
}

/** True if this is the name of a pack. */
export function isPack(name: string): boolean {
  return name.includes("/~packs/");
}

/** The versions that a pack holds. */
export async function entriesOf(
  name: string,
  bytes: Uint8Array,
  freezers: Freezer[] = [deflateFreezer()],
): Promise<PackEntry[]> {
  const { offset, length } = directoryPlace(bytes, name);
  return (await thawDirectory(bytes.slice(offset, offset + length), name, freezers)).entries;
}

/**
 * The archived versions that some objects hold, as `<key> <version>` in ascending order; each as often as it is held.
 */
export async function versionsIn(objects: Iterable<[string, Uint8Array]>, freezers?: Freezer[]): Promise<string[]> {
  const versions: string[] = [];
  for (const [name, bytes] of objects) {
    const end = name.lastIndexOf("/") + 1;
    if (isPack(name)) {
      versions.push(...(await entriesOf(name, bytes, freezers)).map(({ key, ver }) => `${key} ${ver}`));
    } else if (!isOwner(name)) {
      const key = await keyOfObject(name.slice(0, end));
      versions.push(`${key ?? name.slice(0, end)} ${name.slice(end)}`);
    }
  }
  return versions.sort();
}

/** True if this is the name of an owner object. */
export function isOwner(name: string): boolean {
  return name.includes("/~owner/");
}

/** A reply as comparable values: bytes as text of one character a byte. */
export function plain(reply: Reply): unknown {
  if (Buffer.isBuffer(reply)) return latin1(reply);
  if (Array.isArray(reply)) return reply.map(plain);
  return reply;
}

function latin1(reply: Reply): string | null {
  return reply === null ? null : Buffer.isBuffer(reply) ? reply.toString("latin1") : String(reply);
}

/** The `TundraError` with which `act` rejects or that it throws; fails if it does neither, or with another code. */
export async function tundraError(code: TundraErrorCode, act: () => unknown): Promise<TundraError> {
  let thrown: unknown;
  try {
    await act();
  } catch (error) {
    thrown = error;
  }
  assert(thrown instanceof TundraError, `not a TundraError: ${thrown}`);
  assertEquals(thrown.code, code, thrown.message);
  return thrown;
}

/** `prefix:0` to `prefix:<n - 1>`. */
export function names(n: number, prefix = "k"): string[] {
  return Array.from({ length: n }, (_, i) => `${prefix}:${i}`);
}
