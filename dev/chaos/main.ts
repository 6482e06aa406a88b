/**
 * `deno task chaos [--seconds=600] [--seed=N] [--applications=8] [--ticks=4] [--keys=40] [--sabotage]
 * [--datastore=s3|dynamodb|unstorage-fs]`: real servers, real processes, and a SIGKILL for each of them at any moment. It exits with 1
 * if anything that was acknowledged is lost.
 *
 * redis-server (append-only file, synced before each reply) and radosgw (or dynalite) are killed and restarted, stopped
 * (SIGSTOP) and resumed; applications and ticks are killed and started again. Each application keeps a ledger of what it
 * was told, see `chaos/ledger.ts`. When the time is over, the faults stop, the queue must drain, and each key is compared
 * with the ledgers, as `ensureKs` gives it back: first as it is, then from the archive, after an eviction of all. At last
 * Redis is emptied, two processes rebuild the index, both killed again and again, and each key is compared once more.
 *
 * The seed (also TUNDRA_SEED) gives the same faults at the same times and the same plans of the applications; what they
 * meet is up to the machine. `--keys` is the number of keys of each application. `--sabotage` removes archive
 * objects, to show that a loss is found. The endpoints live in this process, which is not killed.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { TundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { startUpstash, type UpstashServer } from "../../src/testing/upstash.ts";
import { count, seconds, table, verdict } from "../demo/screen.ts";
import { freePort, type RedisServer, startRedis } from "../servers/redis_server.ts";
import {
  type ArchiveConfig,
  ARCHIVES,
  type ChaosArchive,
  chaosDatastore,
  startArchive,
  type TroubledServer,
} from "./archives.ts";
import {
  type ChaosConfig,
  chaosStore,
  environment,
  keysOf,
  type LedgerFile,
  readLedger,
  readValue,
  seeded,
  settle,
} from "./common.ts";
import type { Ledger } from "./ledger.ts";

const LEASE_MS = 2000;
/** Average times for which a process lives, and for which a server runs undisturbed. */
const LIFE_MS = { application: 20_000, tick: 10_000 };
/** Processes that rebuild at once; how often each of them is killed, and after at most how many requests to Redis. */
const REBUILDS = 2;
const REBUILD_KILLS = 8;
const REBUILD_REQUESTS = 8;
const PEACE_MS = { redis: 8000, archive: 8000 };
const DRAINS_WITHIN_MS = 120_000;
/** Events of a ledger that are printed with a violation. */
const LAST_EVENTS = 40;

const { values: args } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    seed: { type: "string", default: process.env.TUNDRA_SEED ?? String(Date.now() % 1_000_000) },
    applications: { type: "string", default: "8" },
    ticks: { type: "string", default: "4" },
    keys: { type: "string", default: "40" },
    sabotage: { type: "boolean", default: false },
    datastore: { type: "string", default: "s3" },
  },
});
const datastore = ARCHIVES.find((kind) => kind === args.datastore);
if (!datastore) {
  throw new Error(`Cannot run chaos as --datastore must be one of ${ARCHIVES}: current value is ${args.datastore}`);
}

function whole(name: "seconds" | "seed" | "applications" | "ticks" | "keys", least: number): number {
  const value = Number(args[name]);
  if (Number.isInteger(value) && value >= least) return value;
  throw new Error(`Cannot run chaos as --${name} must be a whole number from ${least}: current value is ${args[name]}`);
}

const seed = whole("seed", 0);
const runMs = whole("seconds", 1) * 1000;
const [applications, ticks, keysEach] = [whole("applications", 1), whole("ticks", 1), whole("keys", 1)];

const dir = mkdtempSync(join(tmpdir(), "tundra-chaos-"));
const counts: Record<string, number> = {};
const problems: string[] = [];
const children = new Set<ChildProcess>();
const stops: (() => Promise<unknown> | unknown)[] = [() => rmSync(dir, { recursive: true, force: true })];
let over = false; // no more faults
let ended: Promise<void> | undefined;

function tally(what: string): void {
  counts[what] = (counts[what] ?? 0) + 1;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits for so long, or until the time of faults is over. */
async function peace(ms: number): Promise<void> {
  const until = performance.now() + ms;
  while (!over && performance.now() < until) await sleep(Math.min(50, until - performance.now()));
}

/** Stops every process that was started, by its id; at most once. */
function end(): Promise<void> {
  return ended ??= (async () => {
    over = true;
    for (const child of children) child.kill("SIGKILL");
    for (const stop of stops.reverse()) {
      try {
        await stop();
      } catch (error) {
        console.error(String(error));
      }
    }
  })();
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (!ended) console.log("\nStopping all processes"); // deno task passes the terminal's signal on once more
    end().then(() => process.exit(130));
  });
}

interface ChaosServers {
  redis: RedisServer;
  archive: ChaosArchive;
  /**
   * One for each application, so that its requests reach Redis in their order; one for all ticks; one for this program.
   */
  endpoints: UpstashServer[];
}

async function startServers(): Promise<ChaosServers> {
  // A port of its own: after a restart Redis must be where it was.
  const durable = ["--appendonly", "yes", "--appendfsync", "always"];
  const redis = await startRedis({ port: await freePort(), args: durable });
  stops.push(() => redis.stop());
  const archive = await startArchive(datastore!, dir);
  stops.push(() => archive.stop());
  const endpoints: UpstashServer[] = [];
  for (let i = 0; i < applications + 2; i++) {
    const endpoint = await startUpstash({ redisPort: redis.port });
    stops.push(() => endpoint.stop());
    endpoints.push(endpoint);
  }
  return { redis, archive, endpoints };
}

/** Kills or stops a server for a while, again and again; `kind` names its random numbers, `program` its counts. */
async function trouble(kind: keyof typeof PEACE_MS, program: string, server: TroubledServer): Promise<void> {
  const random = seeded(`${kind === "archive" ? program : kind} ${seed}`);
  for (;;) {
    const [peaceMs, kill, awayMs] = [random.next() * 2 * PEACE_MS[kind], random.int(2) === 0, random.next()];
    await peace(peaceMs);
    if (over) return;
    if (kill) {
      tally(`${program} killed`);
      await server.kill();
      await peace(awayMs * 2000);
      await server.restart();
    } else {
      tally(`${program} stopped`);
      server.pause();
      await peace(awayMs * 3 * LEASE_MS);
      server.resume();
    }
  }
}

/** Redis, stopped and resumed by signals to its process. */
function troubledRedis(redis: RedisServer): TroubledServer {
  return {
    kill: () => redis.kill(),
    restart: () => redis.restart(),
    pause: () => process.kill(redis.pid, "SIGSTOP"),
    resume: () => process.kill(redis.pid, "SIGCONT"),
  };
}

const PROGRAMS = { application: "./app.ts", tick: "./tick.ts", rebuild: "./rebuild.ts" };

/** A kind of process. */
type Kind = keyof typeof PROGRAMS;

/** Starts a process; `gone` resolves once it has ended. */
function start(kind: Kind, index: number, life: number, servers: ChaosServers) {
  const { url, token } = servers.endpoints[kind === "tick" ? applications : index]!;
  const config: ChaosConfig = {
    ...{ seed, index, life, keysEach, count: kind === "application" ? applications : ticks, leaseMs: LEASE_MS },
    redis: { url, token },
    archive: servers.archive.config,
    file: ledgerOf(kind, index),
  };
  const program = fileURLToPath(new URL(PROGRAMS[kind], import.meta.url));
  const child = spawn(process.execPath, ["run", "-A", "--no-check", "--node-modules-dir=manual", program], {
    env: environment(config),
    stdio: ["pipe", "inherit", "inherit"],
  });
  child.stdin!.on("error", () => {}); // it was killed
  children.add(child);
  return { child, gone: new Promise<void>((resolve) => child.once("exit", () => resolve())) };
}

/** Starts a process, kills it and starts it again, until the time is over; returns the last one, which still runs. */
async function lives(kind: "application" | "tick", index: number, servers: ChaosServers): Promise<ChildProcess> {
  const { url, token } = servers.endpoints[kind === "application" ? index : applications]!;
  const random = seeded(`${kind} ${index} ${seed}`);
  for (let life = 0;; life++) {
    const { child, gone } = start(kind, index, life, servers);
    await Promise.race([gone, peace(-Math.log(1 - random.next()) * LIFE_MS[kind])]);
    if (over && child.exitCode === null) return child;
    if (child.exitCode !== null || child.signalCode !== null) {
      problems.push(`${kind} ${index} ended by itself (${child.exitCode ?? child.signalCode})`);
    } else {
      tally(`${kind}s killed`);
      process.kill(child.pid!, "SIGKILL");
      await gone;
    }
    children.delete(child);
    if (kind === "application") await allArrived(url, token);
    if (over) return child;
  }
}

/**
 * Waits until each request of a killed application has run or never will. Only then a read tells its next life whether
 * a write happened. All requests to this endpoint go through one connection.
 */
async function allArrived(url: string, token: string): Promise<void> {
  await sleep(50); // the event loop reads what is left in the sockets
  await sleep(50);
  for (;;) {
    const response = await fetch(`${url}/ping`, { headers: { authorization: `Bearer ${token}` } }).catch(() =>
      undefined
    );
    await response?.body?.cancel();
    if (response?.ok || ended) return;
    await sleep(100);
  }
}

/** Counts leases that ended before their tick did: each is taken over by another one. */
async function watchLeases({ endpoints }: ChaosServers): Promise<void> {
  const seen = new Set<string>();
  while (!over) {
    const leased = await endpoints.at(-1)!.raw(
      "ZRANGEBYSCORE",
      redisKeys("default").dirty,
      "-inf",
      Date.now(),
      "WITHSCORES",
    )
      .catch(() => []); // Redis is away
    const flat = (leased as unknown[]).map(String);
    for (let i = 0; i < flat.length; i += 2) {
      const lease = `${flat[i]} ${flat[i + 1]}`;
      if (!lease.endsWith(".5") || seen.has(lease)) continue;
      seen.add(lease);
      tally("leases ended before their ticks");
    }
    await sleep(100);
  }
}

/** Rebuilds the index in a process that is killed at any request, again and again, and at last is not. */
async function rebuilds(index: number, servers: ChaosServers): Promise<void> {
  const random = seeded(`rebuild ${index} ${seed}`);
  const endpoint = servers.endpoints[index]!;
  for (let life = 0;; life++) {
    const killAt = life < REBUILD_KILLS ? endpoint.requests + 1 + random.int(REBUILD_REQUESTS) : Infinity;
    const endsBy = performance.now() + DRAINS_WITHIN_MS;
    const { child, gone } = start("rebuild", index, life, servers);
    while (child.exitCode === null && endpoint.requests < killAt && performance.now() < endsBy) await sleep(1);
    if (child.exitCode === null && killAt < Infinity) {
      tally("rebuilds killed");
      await killLast(child);
      continue;
    }
    children.delete(child);
    if (child.exitCode !== 0) problems.push(`rebuild ${index} ended by itself (${child.exitCode ?? "it did not end"})`);
    child.kill("SIGKILL");
    return await gone;
  }
}

/** Empties Redis, whose values the archive holds, and rebuilds the index. */
async function loseRedis(store: TundraStore, servers: ChaosServers): Promise<void> {
  await drain(store);
  await servers.endpoints.at(-1)!.raw("FLUSHALL");
  await Promise.all(Array.from({ length: REBUILDS }, (_, index) => rebuilds(index, servers)));
}

function ledgerOf(kind: Kind, index: number): string {
  return join(dir, `${kind}-${index}.jsonl`);
}

async function killLast(child: ChildProcess): Promise<void> {
  children.delete(child);
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  process.kill(child.pid!, "SIGKILL");
  await gone;
}

/** Waits until the queue has drained, once faults have stopped; returns how many milliseconds it took. */
async function drain(store: TundraStore): Promise<number> {
  const from = performance.now();
  for (;;) {
    const dead = (await store.deadLetters()).map(({ key, code, message }) => {
      console.log(`dead: ${key}: ${code}: ${message}`);
      tally("dead keys requeued");
      return key;
    });
    if (dead.length > 0) await store.retryDead(dead);
    const { dirty, dead: died } = await store.status();
    const ms = performance.now() - from;
    if (dirty === 0) return ms;
    if (ms > DRAINS_WITHIN_MS) {
      problems.push(`the queue did not drain: ${dirty} dirty, ${died} of them dead`);
      return ms;
    }
    await sleep(100);
  }
}

/** Evicts all keys, after changes without a mark were archived; returns how many. */
async function evictAll(store: TundraStore, all: string[]): Promise<number> {
  const there = await Promise.all(all.map((key) => store.redis.exists(key)));
  const keys = all.filter((_, i) => there[i] === 1);
  const inArchive = new Set<string>();
  for (let round = 1;; round++) {
    const { evicted, kept } = await store.evict(keys);
    for (const key of evicted) inArchive.add(key);
    const stay = Object.keys(kept).filter((key) => kept[key] !== "missing");
    if (stay.length === 0) return inArchive.size;
    if (round === 5) {
      for (const key of stay) problems.push(`${key} cannot be evicted: ${kept[key]}`);
      return inArchive.size;
    }
    const unknown = stay.filter((key) => kept[key] === "never archived");
    await store.dirty({ missing: "del" }, unknown);
    await drain(store);
  }
}

/** Compares each key, as `ensureKs` gives it back, with the ledgers; returns how many. */
async function compare(store: TundraStore, books: Ledger[], what: string): Promise<number> {
  let compared = 0;
  for (const [application, book] of books.entries()) {
    const keys = keysOf(application, keysEach).map(({ name }) => name);
    await store.ensureKs(keys).catch((error) => {
      for (const [key, cause] of Object.entries(error.causes ?? {})) problems.push(`${what}: ${key}: ${cause}`);
      problems.push(`${what}: ${error}`);
    });
    for (const key of keys) {
      const from = Date.now();
      const value = await readValue(store, key);
      book.add({ is: "saw", key, from, to: Date.now(), value });
      compared++;
    }
  }
  return compared;
}

/** The last events of the key that a violation begins with. */
function lastEvents(file: string, violation: string): string[] {
  const of = (line: string) => violation.startsWith(`${(JSON.parse(line) as { key?: string }).key}: `);
  return readFileSync(file, "utf8").split("\n").filter((line) => line.endsWith("}") && of(line)).slice(-LAST_EVENTS);
}

/** Removes some archive objects, which nothing in Tundra does: the comparison must find it. */
async function sabotage(config: ArchiveConfig): Promise<void> {
  const { listKeys, deleteKeys } = chaosDatastore(config);
  for (let cursor: string | undefined, first = true; first || cursor !== undefined; first = false) {
    const page = await listKeys!("", cursor);
    await deleteKeys!(page.names.filter((name) => !name.includes("/~owner/")));
    cursor = page.cursor;
  }
}

async function run(): Promise<boolean> {
  const startedAt = performance.now();
  console.log(`TUNDRA_SEED=${seed} deno task chaos --seconds=${runMs / 1000} replays the faults of this run`);
  const servers = await startServers();
  const { server } = servers.archive;
  const troubles = [trouble("redis", "redis-server", troubledRedis(servers.redis))];
  if (server) troubles.push(trouble("archive", server.program, server));
  const watching = watchLeases(servers);
  const apps = Array.from({ length: applications }, (_, i) => lives("application", i, servers));
  const workers = Array.from({ length: ticks }, (_, i) => lives("tick", i, servers));
  const report = setInterval(() => {
    const left = Math.max(0, runMs - (performance.now() - startedAt));
    const text = Object.entries(counts).map(([what, n]) => `${n} ${what}`).join(", ");
    if (!over) console.log(`${seconds(left)} left: ${text}`);
  }, 60_000);
  await Promise.race([peace(runMs), ...troubles]);
  over = true;
  clearInterval(report);
  await Promise.all([...troubles, watching]);

  // No faults any more; applications end wherever they are, ticks go on.
  for (const child of await Promise.all(apps)) await killLast(child);
  for (const { url, token } of servers.endpoints) await allArrived(url, token);
  const { url, token } = servers.endpoints.at(-1)!;
  const store = chaosStore({ redis: { url, token }, archive: servers.archive.config }, { retry: { retries: 5 } });

  const books = Array.from({ length: applications }, (_, i) => readLedger(ledgerOf("application", i)));
  for (const [application, book] of books.entries()) {
    const file: LedgerFile = { book, note: book.add };
    for (const { name } of keysOf(application, keysEach)) {
      await settle(store, name, file).catch((error) => problems.push(`settling ${name}: ${error}`));
    }
  }
  const drainedMs = await drain(store);
  let checked = await compare(store, books, "at the end");
  const all = books.flatMap((_, application) => keysOf(application, keysEach).map(({ name }) => name));
  const evicted = await evictAll(store, all);
  for (const child of await Promise.all(workers)) await killLast(child);
  if (args.sabotage) await sabotage(servers.archive.config);
  checked += await compare(store, books, "from the archive");
  const { totals } = await store.status(); // a rebuild knows nothing of them
  if (!args.sabotage) {
    await loseRedis(store, servers);
    checked += await compare(store, books, "after a rebuild");
  }
  const unknown = (await store.redis.keys("*")).filter((key) => !key.startsWith("tundra:") && !all.includes(key));
  if (unknown.length > 0) problems.push(`keys that were never written: ${unknown.join(", ")}`);

  const tickBooks = Array.from({ length: ticks }, (_, i) => readLedger(ledgerOf("tick", i)));
  const rebuildBooks = Array.from({ length: REBUILDS }, (_, i) => readLedger(ledgerOf("rebuild", i)));
  const lost = [...books, ...tickBooks, ...rebuildBooks].flatMap((book) => book.violations);
  for (const text of [...lost, ...problems]) console.log(verdict(false, text));
  for (const [i, book] of books.entries()) {
    for (const text of book.violations) console.log(lastEvents(ledgerOf("application", i), text).join("\n"));
  }
  const sum = (what: string, of = books) => of.reduce((n, book) => n + (book.counts[what] ?? 0), 0);
  const others = [...new Set(books.flatMap((book) => Object.keys(book.counts)))]
    .filter((what) => !["acknowledged", "unknown", "compared"].includes(what)).sort();
  const faults = ["applications killed", "ticks killed", "redis-server killed", "redis-server stopped"];
  const rows: [string, number][] = [
    ["writes acknowledged", sum("acknowledged")],
    ["writes of unknown outcome, decided by a read", sum("unknown")],
    ...others.map((what): [string, number] => [what, sum(what)]),
    ["ticks", sum("tick", tickBooks)],
    ["ticks that failed as a whole", sum("tick, failed", tickBooks)],
    ["sweeps that moved nothing", sum("sweep", tickBooks)],
    ["sweeps that moved versions", sum("sweep that moves", tickBooks)],
    ["calls of rebuild()", sum("rebuild", rebuildBooks)],
    ["rebuilds killed", counts["rebuilds killed"] ?? 0],
    ...[...faults, ...(server ? [`${server.program} killed`, `${server.program} stopped`] : [])].map(
      (what): [string, number] => [what, counts[what] ?? 0],
    ),
    ["values archived", totals.frozen],
    ["keys evicted", totals.evicted],
    ["keys brought back", totals.restored],
    ["unmarked changes rescued", totals.rescued],
    ["leases seen to end before their ticks did", counts["leases ended before their ticks"] ?? 0],
    ["dead keys requeued", counts["dead keys requeued"] ?? 0],
    ["comparisons with the ledgers while it ran", sum("compared") - checked],
    ["keys checked at the end, in Redis, from the archive, after a rebuild", checked],
    ["of those from the archive", evicted],
    ["milliseconds until the queue had drained, once each key was read", drainedMs],
    ["lost", lost.length],
    ["other problems", problems.length],
  ];
  console.log();
  table([`seed ${seed}, ${runMs / 1000} s`, "number"], rows.map(([what, n]) => [what, count(n)]));
  const good = lost.length + problems.length === 0;
  const total = seconds(performance.now() - startedAt);
  console.log(verdict(good, good ? `Nothing was lost. ${total} in all.` : `Something is wrong. ${total} in all.`));
  return good;
}

try {
  process.exitCode = await run() ? 0 : 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await end();
}
process.exit();
