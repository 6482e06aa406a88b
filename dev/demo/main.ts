/**
 * `deno task demo [--keys=N]`: real data through the whole life of a key, on servers that this program starts by
 * itself. It exits with 1 if a value is not the one that was loaded. `--keys` takes about N of all keys, spread evenly.
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
import { bold, count, megabytes, progress, quantile, say, seconds, table, verdict } from "./screen.ts";
import { isEqual, readCommands, writeCommands } from "./values.ts";

const BUCKET = "cities";
const SINGLES = 300;
const DELETED = 100;
const PLURALS: Record<string, string> = {
  hash: "hashes",
  string: "strings",
  zset: "sorted sets",
  set: "sets",
  list: "lists",
  stream: "stream",
};

interface Demo {
  store: TundraStore;
  /** Straight to Redis: loads and checks without being billed as Tundra's work. */
  redis: RedisConnection;
  upstash: UpstashServer;
  s3: S3Server;
  entries: Entry[];
}

/** One row of the final table. */
interface Row {
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

async function main(): Promise<boolean> {
  const startedAt = performance.now();
  console.log(bold("Tundra: hot keys in Redis, cold keys in object storage\n"));
  const demo = await start();
  const rows: Row[] = [];
  const keys = demo.entries.map(({ key }) => key);
  const before = await load(demo);
  await row(demo, rows, "dirty", keys.length, () => demo.store.dirty(keys));
  say("Mark", `dirty(): ${spent(rows.at(-1)!)}`);
  await row(demo, rows, "tick", keys.length, () => freeze(demo));
  const after = await evict(demo, rows, keys, before);
  await bringBack(demo, rows, keys);
  const different = await compare(demo);
  const deletedStay = await remove(demo, rows, keys);

  console.log();
  const all = rows.reduce((sum, each) => ({
    what: "all",
    keys: keys.length,
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
  console.log(`\nRedis memory: ${megabytes(before)} loaded, ${megabytes(after)} evicted.`);
  const good = different === 0 && deletedStay;
  const outcome = good
    ? `Every value came back as it was loaded.`
    : `${different} values differ${deletedStay ? "" : "; deleted keys came back"}.`;
  console.log(`${verdict(good, outcome)} ${seconds(performance.now() - startedAt)} in all.`);
  return good;
}

async function start(): Promise<Demo> {
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
  const entries = all.filter((_, i) => i % Math.max(1, Math.floor(all.length / wantedKeys())) === 0);
  say("Data", source);
  return { store, redis, upstash, s3, entries };
}

function wantedKeys(): number {
  const { values: { keys } } = parseArgs({ options: { keys: { type: "string", default: "1000000" } } });
  if (!/^[1-9]\d*$/.test(keys)) {
    throw new Error(`Cannot run the demo as --keys must be a number: current value is ${keys}`);
  }
  return Number(keys);
}

/** Loads everything straight into Redis; returns what it holds then. */
async function load({ redis, entries }: Demo): Promise<number> {
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
async function freeze({ store, entries, s3 }: Demo): Promise<void> {
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

/** Evicts everything; returns what Redis holds then. */
async function evict(demo: Demo, rows: Row[], keys: string[], before: number): Promise<number> {
  const { evicted, kept } = await row(demo, rows, "evict", keys.length, () => demo.store.evict(keys));
  say("Evict", `evict(), where tick() waits for redisTtlMs: ${count(evicted.length)} keys left`);
  const reasons = Object.entries(kept);
  if (reasons.length > 0) say("", `${reasons.length} stayed, such as ${reasons[0]!.join(": ")}`);
  const there = Number(await demo.redis.call("EXISTS", ...keys));
  const memory = await usedMemory(demo.redis);
  say(
    "",
    `${count(there)} exist; ${megabytes(before)} -> ${bold(megabytes(memory))}, Redis itself and Tundra's records`,
  );
  return memory;
}

/** One key at a time, evicted and then resident, and all others in bulk. */
async function bringBack(demo: Demo, rows: Row[], keys: string[]): Promise<void> {
  const { store } = demo;
  const step = Math.max(1, Math.floor(keys.length / SINGLES));
  const singles = keys.filter((_, i) => i % step === 0).slice(0, Math.min(SINGLES, keys.length / 2));
  const others = keys.filter((key) => !singles.includes(key));
  const oneByOne = async () => {
    const times: number[] = [];
    for (const key of singles) {
      const from = performance.now();
      await store.ensureKs(key);
      times.push(performance.now() - from);
    }
    return `p50 ${quantile(times, 0.5).toFixed(1)} ms, p99 ${quantile(times, 0.99).toFixed(1)} ms`;
  };
  const cold = await row(demo, rows, "ensureKs, 1 evicted a call", singles.length, oneByOne);
  say("Bring back", `ensureKs(), one evicted key a call:  ${cold}`);
  const warm = await row(demo, rows, "ensureKs, 1 resident a call", singles.length, oneByOne);
  say("", `ensureKs(), one resident key a call: ${warm}`);

  const bar = progress("");
  let done = 0;
  await row(demo, rows, "ensureKs, 1,000 evicted", others.length, async () => {
    for (const some of groupsOf(others, 1000)) {
      bar.show(done, others.length, `${count(done)} keys`);
      await store.ensureKs(some);
      done += some.length;
    }
  });
  const { ms } = rows.at(-1)!;
  bar.end(`ensureKs(), 1,000 evicted keys a call: ${count(done / ms * 1000)} keys/s (${seconds(ms)})`);
  await row(demo, rows, "ensureKs, 1,000 resident", keys.length, () => store.ensureKs(keys));
}

/** Reads every key in full; returns how many are not what was loaded. */
async function compare({ redis, entries }: Demo): Promise<number> {
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

/** Deletes keys, half of them evicted; returns whether they stay away. */
async function remove(demo: Demo, rows: Row[], keys: string[]): Promise<boolean> {
  const { store, redis } = demo;
  const doomed = keys.slice(-DELETED);
  await store.evict(doomed.slice(0, DELETED / 2));
  const deleted = await row(demo, rows, "del", doomed.length, () => store.del(doomed));
  const back = async () => {
    await store.ensureKs(doomed);
    return Number(await redis.call("EXISTS", ...doomed));
  };
  const atOnce = await back();
  const { missing } = await row(demo, rows, "tick (tombstones)", doomed.length, () => store.tick());
  const later = await back();
  const good = deleted === doomed.length && missing === doomed.length && atOnce + later === 0;
  say("Delete", `del() on ${deleted} keys, half of them evicted`);
  say("", verdict(good, `ensureKs() brings back ${atOnce}, and after the next tick() ${later}`));
  return good;
}

/** Runs a step and notes its cost. */
async function row<T>(
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
function took(from: number): string {
  return ` (${seconds(performance.now() - from)})`;
}

function spent({ requests, commands, ms }: Row): string {
  return `${count(requests)} requests, ${count(commands)} billable commands (${seconds(ms)})`;
}

/** Bytes that Redis uses, once it has freed what it frees in the background. */
async function usedMemory(redis: RedisConnection): Promise<number> {
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

function groupsOf<T>(items: T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(size * i, size * i + size));
}
