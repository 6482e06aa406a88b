/**
 * Steps that the demos share: servers, data, archiving, comparing, and what a step costs.
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { parseArgs } from "node:util";
import { s3Datastore, type TundraStore, tundraStore } from "../../mod.ts";
import {
  type CommandPart,
  type RedisConnection,
  redisConnection,
  RedisError,
  type Reply,
} from "../../src/testing/resp.ts";
import { type S3Server, startS3 } from "../../src/testing/s3.ts";
import { startUpstash, type UpstashServer } from "../../src/testing/upstash.ts";
import { startRedis } from "../servers/redis_server.ts";
import { cityEntries, type Entry } from "./cities.ts";
import { bold, count, megabytes, progress, say, seconds, table, verdict } from "./screen.ts";
import { isEqual, readCommands, writeCommands } from "./values.ts";

const BUCKET = "cities";
const PLURALS: Record<string, string> = {
  hash: "hashes",
  string: "strings",
  zset: "sorted sets",
  set: "sets",
  list: "lists",
  stream: "stream",
};

/** The store, the servers behind it, and the data. */
export interface Demo {
  store: TundraStore;
  /** Straight to Redis: loads and checks without being billed as Tundra's work. */
  redis: RedisConnection;
  upstash: UpstashServer;
  s3: S3Server;
  entries: Entry[];
}

/** One row of the final table. */
export interface Row {
  what: string;
  keys: number;
  requests: number;
  commands: number;
  archive: number;
  ms: number;
}

const cleanups: (() => Promise<unknown> | void)[] = [];
let stopping: Promise<void> | undefined;

function stopAll(): Promise<void> {
  return stopping ??= (async () => {
    for (const cleanup of cleanups.reverse()) await Promise.resolve(cleanup()).catch(() => {});
  })();
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (!stopping) console.log("\nStopping the servers"); // deno task passes the terminal's signal on once more
    stopAll().finally(() => process.exit(130));
  });
}

/** Runs a demo to its end, and stops its servers; the exit code is 1 unless it resolves with `true`. */
export async function runDemo(main: () => Promise<boolean>): Promise<void> {
  try {
    process.exitCode = await main() ? 0 : 1;
  } catch (error) {
    if (!stopping) { // if it is, the servers are gone, which explains the error
      console.error(`\n${error instanceof Error ? error.message : error}`);
      process.exitCode = 1;
    }
  } finally {
    await stopAll();
  }
}

/**
 * Starts the servers and reads the data: all of it, or what `--keys` says, spread evenly. With `keys` it is as much,
 * unless `--keys` says otherwise, and if that is more than there is, the same data again under other names.
 */
export async function start(keys?: number): Promise<Demo> {
  const from = performance.now();
  const server = await startRedis();
  cleanups.push(() => server.stop());
  const upstash = await startUpstash({ redisPort: server.port });
  cleanups.push(() => upstash.stop());
  const s3 = await startS3({ buckets: [BUCKET] });
  cleanups.push(() => s3.stop());
  const redis = redisConnection({ port: server.port });
  cleanups.push(() => redis.close());
  const { url, token } = upstash;
  const { region, accessKeyId, secretAccessKey } = s3;
  const store = tundraStore(
    s3Datastore({ endpoint: s3.url, region, bucket: BUCKET, accessKeyId, secretAccessKey }),
    { redis: { url, token } },
  );
  const version = /redis_version:(\S+)/.exec(String(await redis.call("INFO", "server")))?.[1];
  say("Servers", `Redis ${version}, Upstash REST and S3 on 127.0.0.1${took(from)}`);
  const { entries: all, source } = cityEntries(Date.now());
  const wanted = wantedKeys(keys ?? all.length);
  const entries = keys !== undefined && wanted > all.length
    ? copiesOf(all, wanted)
    : all.filter((_, i) => i % Math.max(1, Math.floor(all.length / wanted)) === 0);
  say("Data", source);
  return { store, redis, upstash, s3, entries };
}

/** As many entries, the same ones under other names again and again. */
function copiesOf(all: Entry[], wanted: number): Entry[] {
  return Array.from({ length: wanted }, (_, i) => {
    const entry = all[i % all.length]!;
    const round = Math.floor(i / all.length);
    return round === 0 ? entry : { ...entry, key: `${entry.key}:copy:${round}` };
  });
}

function wantedKeys(defaultKeys: number): number {
  const { values: { keys } } = parseArgs({ options: { keys: { type: "string", default: String(defaultKeys) } } });
  if (!/^[1-9]\d*$/.test(keys)) {
    throw new Error(`Cannot run the demo as --keys must be a number: current value is ${keys}`);
  }
  return Number(keys);
}

/** Loads everything straight into Redis; returns what it holds then. */
export async function load({ redis, entries }: Demo): Promise<number> {
  const from = performance.now();
  for (const some of groupsOf(entries, 1000)) {
    await allOf(
      redis,
      some.flatMap(({ key, value, expiresAt }): CommandPart[][] => [
        ...writeCommands(key, value),
        ...expiresAt > 0 ? [["PEXPIREAT", key, expiresAt]] : [],
      ]),
    );
  }
  const types = Object.entries(PLURALS)
    .map(([type, plural]) => `${count(entries.filter(({ value }) => value.type === type).length)} ${plural}`);
  const expiring = entries.filter(({ expiresAt }) => expiresAt > 0).length;
  const memory = await usedMemory(redis);
  say("Load", `${bold(count(entries.length))} keys, ${megabytes(memory)} of memory${took(from)}`);
  say("", types.slice(0, 3).join(", "));
  say("", `${types.slice(3).join(", ")}; ${count(expiring)} expire by themselves`);
  return memory;
}

/** Ticks as a cron trigger would, until nothing is left. */
export async function freeze({ store, entries, s3 }: Demo): Promise<void> {
  const from = performance.now();
  const bar = progress("Archive");
  let frozen = 0;
  let written = 0;
  let ticks = 0;
  const speed = () => `${count(frozen / (performance.now() - from) * 1000)} keys/s`;
  for (;;) {
    bar.show(frozen, entries.length, `${count(frozen)} keys, ${speed()}`);
    const report = await store.tick();
    frozen += report.frozen;
    written += report.bytesWritten;
    ticks++;
    if (report.errors.length > 0) throw new Error(`A tick failed: ${report.errors[0]!.message}`);
    if (report.done) break;
  }
  const objects = count(s3.objects(BUCKET).size);
  bar.end(`tick() ${ticks} times: ${objects} objects, ${megabytes(written)}, ${speed()}${took(from)}`);
  const { dirty, idle } = await store.status();
  say("", `status(): ${count(dirty)} dirty, ${count(idle)} archived and still in Redis`);
}

/** Reads every key in full; returns how many are not what was loaded. */
export async function compare({ redis, entries }: Demo): Promise<number> {
  const from = performance.now();
  let different = 0;
  let bytes = 0;
  for (const some of groupsOf(entries, 500)) {
    const replies = await allOf(
      redis,
      some.flatMap(({ key, value }) => [...readCommands(key, value), ["PEXPIRETIME", key]]),
    );
    for (const { key, value, expiresAt } of some) {
      const own = replies.splice(0, readCommands(key, value).length + 1);
      const expiry = own.pop();
      bytes += byteLength(own);
      if (isEqual(value, own) && expiry === (expiresAt || -1)) continue;
      if (different++ < 3) say("Compare", verdict(false, `${key} is not what was loaded`));
    }
  }
  const equal = `${count(entries.length - different)} of ${count(entries.length)} keys`;
  say("Compare", `${verdict(different === 0, `${equal} equal`)}: ${megabytes(bytes)} and every expiry${took(from)}`);
  return different;
}

/** Runs a step and notes its cost. */
export async function row<T>(
  { upstash, s3 }: Demo,
  rows: Row[],
  what: string,
  keys: number,
  act: () => Promise<T>,
): Promise<T> {
  await upstash.resetCounters();
  const archive = s3.requests;
  const from = performance.now();
  const result = await act();
  const ms = performance.now() - from;
  rows.push({
    what,
    keys,
    requests: upstash.requests,
    commands: await upstash.billable(),
    archive: s3.requests - archive,
    ms,
  });
  return result;
}

/** ` (1.2 s)` */
export function took(from: number): string {
  return ` (${seconds(performance.now() - from)})`;
}

/** The cost of a row, in words. */
export function spent({ requests, commands, ms }: Row): string {
  return `${count(requests)} requests, ${count(commands)} billable commands (${seconds(ms)})`;
}

/** Bytes that Redis uses, once it has freed what it frees in the background. */
export async function usedMemory(redis: RedisConnection): Promise<number> {
  for (;;) {
    const info = String(await redis.call("INFO", "memory"));
    if (/^lazyfree_pending_objects:0\r?$/m.test(info)) return Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function allOf(redis: RedisConnection, commands: CommandPart[][]): Promise<Reply[]> {
  const replies = await redis.pipeline(commands);
  const refused = replies.find((reply) => reply instanceof RedisError);
  if (refused) throw refused;
  return replies;
}

function byteLength(reply: Reply): number {
  if (Array.isArray(reply)) return reply.reduce((sum: number, each) => sum + byteLength(each), 0);
  return Buffer.isBuffer(reply) ? reply.length : 0;
}

/** The items in groups of a size. */
export function groupsOf<T>(items: T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(size * i, size * i + size));
}

/** Prints the rows, and their sum. */
export function printRows(rows: Row[], keys: number): void {
  const all = rows.reduce((sum, each) => ({
    what: "all",
    keys,
    requests: sum.requests + each.requests,
    commands: sum.commands + each.commands,
    archive: sum.archive + each.archive,
    ms: sum.ms + each.ms,
  }));
  table(
    ["", "keys", "requests", "billable", "a key", "S3", "seconds"],
    [...rows, all].map((r) => [
      r.what,
      count(r.keys),
      count(r.requests),
      count(r.commands),
      (r.commands / r.keys).toFixed(2),
      count(r.archive),
      (r.ms / 1000).toFixed(1),
    ]),
  );
}
