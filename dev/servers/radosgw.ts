/**
 * A real S3 gateway for the tests: Ceph radosgw on one monitor and one store in memory, all on 127.0.0.1, taken down
 * again also when this process is killed.
 * @module
 */
import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { AwsClient } from "aws4fetch";
import { freePort } from "./redis_server.ts";

/** A user whose requests the gateway takes. */
export interface RadosgwUser {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** A running gateway; it says of itself what {@linkcode RadosgwUser} says of its first user. */
export interface Radosgw extends RadosgwUser {
  /** Such as `http://127.0.0.1:41234`, no slash at the end; `bucket.localhost` is served as well. */
  readonly url: string;
  readonly port: number;
  readonly region: string;
  /** Makes another user, who owns nothing and sees nothing of the first one's. */
  createUser(): Promise<RadosgwUser>;
  /** Makes a bucket of the first user; one that exists is no error. */
  createBucket(bucket: string): Promise<void>;
  /** Freezes the gateway: connections stay open and nothing answers, until `resume()`. */
  pause(): void;
  resume(): void;
  /** Ends the gateway as a power failure would (SIGKILL). Its objects stay; `restart()` brings it back. */
  kill(): Promise<void>;
  /** Ends the gateway if it runs, and starts it on the same port. Takes some 0.3 s. */
  restart(): Promise<void>;
  /** Ends everything and removes its files. */
  stop(): Promise<void>;
}

const PROGRAMS = ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"];
const POOLS = [
  ".rgw.root",
  "default.rgw.log",
  "default.rgw.control",
  "default.rgw.meta",
  "default.rgw.buckets.index",
  "default.rgw.buckets.data",
  "default.rgw.buckets.non-ec",
];
const STEP_WITHIN_MS = 60_000;
const REGION = "us-east-1";

// Ends whatever was named to it, and removes the files, as soon as its stdin ends: so also when our process was killed.
const WATCHDOG = `trap "" INT TERM HUP; mon=; osd=; rgw=
while read -r name pid; do eval "$name=$pid"; done
for pid in $rgw $osd $mon; do kill -9 "$pid" 2>/dev/null; done
for i in 1 2 3 4 5; do rm -rf "$1" 2>/dev/null && break; sleep 0.1; done`;

/** Tells if all programs of the gateway are on PATH. */
export function findRadosgw(): boolean {
  return PROGRAMS.every((program) =>
    (process.env["PATH"] ?? "").split(delimiter).some((directory) => {
      try {
        accessSync(join(directory || ".", program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    })
  );
}

/** Installs the gateway if it is missing and we may (root on Debian); else rejects with what to install. */
export async function ensureRadosgw(): Promise<void> {
  if (findRadosgw()) return;
  console.error("radosgw is not on PATH: installing it, once");
  await run("/bin/sh", [fileURLToPath(new URL("../../.ci/servers", import.meta.url)), "radosgw"], 15 * 60_000);
  if (!findRadosgw()) throw new Error(`Cannot start radosgw as these must be on PATH: ${PROGRAMS.join(", ")}`);
}

/**
 * Starts a gateway with one user and no buckets; resolves when it answers. Takes some 1.5 s and 150 MB, and what
 * the objects take: all are in memory, 4 GiB at most.
 *
 * @example
 * ```ts
 * import { startRadosgw } from "./radosgw.ts";
 *
 * const gateway = await startRadosgw();
 * await gateway.createBucket("archive");
 * console.log(gateway.url, gateway.region, gateway.accessKeyId);
 * await gateway.stop();
 * ```
 */
export async function startRadosgw(): Promise<Radosgw> {
  await ensureRadosgw();
  for (let attempt = 1;; attempt++) {
    try {
      return await startOnce();
    } catch (error) {
      // Mostly another process took a free port in the meantime; whatever it was, a fresh start shares nothing with it.
      if (attempt === 3) throw error;
    }
  }
}

async function startOnce(): Promise<Radosgw> {
  const dir = mkdtempSync(join(tmpdir(), "tundra-radosgw-"));
  const watchdog = spawn("/bin/sh", ["-c", WATCHDOG, "sh", dir], {
    stdio: ["pipe", "ignore", "ignore"],
    env: environment(),
  });
  watchdog.stdin!.on("error", () => {}); // it may be gone before us
  const ended = new Promise<void>((resolve) => watchdog.once("close", () => resolve()));
  unref(watchdog);
  const stop = async () => {
    watchdog.ref();
    watchdog.stdin!.end();
    await ended;
  };
  try {
    return await startIn(dir, (name, pid) => void watchdog.stdin!.write(`${name} ${pid}\n`), stop);
  } catch (error) {
    const message = `${error instanceof Error ? error.message : error}\n${logTails(dir)}`;
    await stop();
    throw new Error(`Cannot start radosgw: ${message}`, { cause: error });
  }
}

async function startIn(
  dir: string,
  guard: (name: "mon" | "osd" | "rgw", pid: number) => void,
  stop: () => Promise<void>,
): Promise<Radosgw> {
  const monitorPort = await freePort();
  const port = await freePort();
  const cluster = randomUUID();
  const store = randomUUID();
  const conf = join(dir, "ceph.conf");
  const keyring = join(dir, "keyring");
  const monmap = join(dir, "monmap");
  writeFileSync(conf, configuration(dir, cluster, monitorPort, port));
  writeFileSync(keyring, keys(), { mode: 0o600 });
  for (const name of ["mon", "osd", "rgw"]) mkdirSync(join(dir, name));
  const ceph = (program: string, ...args: string[]) => run(program, ["-c", conf, ...args], STEP_WITHIN_MS);
  const daemon = async (name: "mon" | "osd" | "rgw", program: string, ...args: string[]) => {
    const child = await launch(program, ["-c", conf, "-f", ...args]);
    guard(name, child.process.pid!);
    return child;
  };

  await run(
    "monmaptool",
    ["--create", "--fsid", cluster, "--addv", "a", `[v1:127.0.0.1:${monitorPort}]`, monmap],
    STEP_WITHIN_MS,
  );
  await ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring);
  const monitor = await daemon("mon", "ceph-mon", "-i", "a");
  await orEnd(monitor, ceph("ceph", "osd", "new", store, "0"));
  await ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", store);
  const osd = await daemon("osd", "ceph-osd", "-i", "0");
  await orEnd(osd, Promise.all(POOLS.map((pool) => ceph("ceph", "osd", "pool", "create", pool, "1", "1"))));

  const createUser = async (): Promise<RadosgwUser> => {
    const user = { accessKeyId: randomBytes(10).toString("hex"), secretAccessKey: randomBytes(20).toString("hex") };
    const name = `user-${user.accessKeyId}`;
    const credentials = ["--access-key", user.accessKeyId, "--secret-key", user.secretAccessKey];
    await ceph("radosgw-admin", "user", "create", "--uid", name, "--display-name", name, ...credentials);
    return user;
  };
  const owner = await orEnd(osd, createUser());
  const url = `http://127.0.0.1:${port}`;
  let gateway: Daemon | undefined;

  const startGateway = async () => {
    const started = gateway = await daemon("rgw", "radosgw", "-n", "client.admin");
    await answers(started, url);
  };
  const signal = (name: NodeJS.Signals) => {
    if (!gateway) throw new Error(`Cannot send ${name} to radosgw as it must run: it doesn't`);
    try {
      process.kill(gateway.process.pid!, name); // not the child's own kill(): on Deno that works only once
    } catch (error) {
      // it may have ended by itself, seen once under chaos: whoever kills it starts it again
      if (name !== "SIGKILL" || (error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  };
  const kill = async () => {
    if (!gateway) return;
    gateway.process.ref(); // while we wait, the event loop must live
    signal("SIGKILL");
    await gateway.ended;
    gateway = undefined;
  };
  await startGateway();

  const client = new AwsClient({ ...owner, service: "s3", region: REGION, retries: 0 });
  return {
    url,
    port,
    region: REGION,
    ...owner,
    createUser,
    createBucket: async (bucket) => {
      const response = await client.fetch(`${url}/${bucket}`, { method: "PUT" });
      const text = await response.text();
      if (!response.ok) throw new Error(`Cannot make the bucket ${bucket}: ${response.status} ${text}`);
    },
    pause: () => signal("SIGSTOP"),
    resume: () => signal("SIGCONT"),
    kill,
    restart: async () => {
      await kill();
      await startGateway();
    },
    stop,
  };
}

/** No authentication at all hangs; without a manager and with one PG a pool, everything is small and up at once. */
function configuration(dir: string, cluster: string, monitorPort: number, port: number): string {
  return `[global]
fsid = ${cluster}
mon host = v1:127.0.0.1:${monitorPort}
mon initial members = a
public addr = 127.0.0.1
ms bind msgr2 = false
keyring = ${dir}/keyring
mon data = ${dir}/mon
osd data = ${dir}/osd
osd journal =
rgw data = ${dir}/rgw
run dir = ${dir}
admin socket =
pid file =
log file = ${dir}/$name.log
mon cluster log to file = false
log to stderr = false
debug mon = 0/0
debug paxos = 0/0
debug osd = 0/0
debug rgw = 0/0
debug ms = 0/0
debug rocksdb = 0/0
paxos propose interval = 0.05
mon allow pool size one = true
mon data avail crit = 0
osd objectstore = memstore
memstore device bytes = ${4 * 1024 ** 3}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd max object name len = 2048
rgw frontends = beast endpoint=127.0.0.1:${port} tcp_nodelay=1
rgw dns name = localhost
osd client watch timeout = 3
objecter tick interval = 0.5
rgw thread pool size = 32
`;
}

function keys(): string {
  const entry = (name: string, ...caps: string[]) => {
    const key = Buffer.alloc(28); // type 1 (AES), created at 0, 16 bytes
    key.writeUInt16LE(1, 0);
    key.writeUInt16LE(16, 10);
    randomBytes(16).copy(key, 12);
    return [`[${name}]`, `key = ${key.toString("base64")}`, ...caps.map((cap) => `caps ${cap}`), ""].join("\n");
  };
  return entry("mon.", 'mon = "allow *"') +
    entry("client.admin", 'mon = "allow *"', 'osd = "allow *"', 'mgr = "allow *"') +
    entry("osd.0", 'mon = "allow profile osd"', 'osd = "allow *"', 'mgr = "allow profile osd"');
}

interface Daemon {
  process: ChildProcess;
  /** Resolves, never rejects, with what it said last. */
  ended: Promise<string>;
}

/** Ours, but for what would point Ceph's programs to another cluster. */
function environment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("CEPH_")));
}

function launch(program: string, args: string[]): Promise<Daemon> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: environment() });
  let output = "";
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on("data", (chunk: Uint8Array) => output = (output + new TextDecoder().decode(chunk)).slice(-4000));
  }
  const ended = new Promise<string>((resolve) =>
    child.once("exit", (code, signal) => {
      resolve(`${program} ended (${signal ?? code}) ${output.trim()}`);
    })
  );
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("spawn", () => {
      unref(child);
      resolve({ process: child, ended });
    });
  });
}

/** A forgotten gateway must not keep our process alive. */
function unref(child: ChildProcess): void {
  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as { unref?(): void } | null)?.unref?.();
}

/** The task's result; but rejects as soon as the daemon that it needs has ended. */
function orEnd<T>(daemon: Daemon, task: Promise<T>): Promise<T> {
  return Promise.race([task, daemon.ended.then((why) => Promise.reject(new Error(why)))]);
}

/** Runs a program to its end; rejects with what it said when it failed or took too long. */
function run(program: string, args: string[], withinMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: environment() });
    let output = "";
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on("data", (chunk: Uint8Array) => output = (output + new TextDecoder().decode(chunk)).slice(-2000));
    }
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, withinMs);
    child.once("error", (error) => (clearTimeout(timer), reject(error)));
    child.once("close", (code) => {
      clearTimeout(timer);
      if (code === 0) return resolve();
      reject(new Error(`${program} ${late ? `took more than ${withinMs} ms` : `failed (${code})`}: ${output.trim()}`));
    });
  });
}

/** Resolves when the gateway answers; rejects when it has ended or takes too long. */
async function answers(gateway: Daemon, url: string): Promise<void> {
  let why: string | undefined;
  gateway.ended.then((said) => why = said);
  const deadline = performance.now() + STEP_WITHIN_MS;
  while (why === undefined && performance.now() < deadline) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(5000) });
      await response.arrayBuffer();
      if (response.ok) return;
    } catch {
      // not yet
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(why ?? `radosgw does not answer within ${STEP_WITHIN_MS} ms`);
}

function logTails(dir: string): string {
  return readdirSync(dir).filter((name) => name.endsWith(".log")).map((name) => {
    return `--- ${name}\n${readFileSync(join(dir, name), "utf8").slice(-1500).trim()}`;
  }).join("\n");
}
