/**
 * A real Redis: finds `redis-server` (or `valkey-server`) on PATH, starts it on a free port, and takes it down again,
 * also when this process is killed.
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { redisConnection } from "./resp.ts";

/** Options of {@linkcode startRedis}. */
export interface RedisServerOptions {
  /** Default: a free one. */
  port?: number;
  /**
   * More arguments for redis-server, such as `["--maxmemory", "10mb"]` or `["--appendonly", "yes"]`. Default: no
   * persistence.
   */
  args?: string[];
  /** The directory of its files. Default: a directory of its own, removed by `stop()`. */
  dir?: string;
  /** The program. Default: the redis-server or valkey-server on PATH. */
  binary?: string;
}

/** The ways to get a redis-server. */
export const INSTALL_BY_HAND =
  "install it (Debian: apt-get install redis-server; macOS: brew install redis) or put it on PATH";

/** A running Redis. */
export interface RedisServer {
  readonly port: number;
  readonly pid: number;
  readonly dir: string;
  /** Ends it in good order, at most once. */
  stop(): Promise<void>;
  /** Ends it as a power failure would (SIGKILL); `restart()` brings it back. */
  kill(): Promise<void>;
  /** Ends it in good order if it runs, then starts it on the same port with the same arguments. Takes some 0.2 s. */
  restart(): Promise<void>;
}

const STARTS_WITHIN_MS = 15_000;

// The shell becomes redis-server (same pid). Its helper waits for a line on stdin: end of file instead means that our
// process is gone, whatever ended it, and Redis goes too, with the directory $0 if it is its own. POSIX gives a
// background command no stdin, hence descriptor 3.
const GUARD = `exec 3<&0; (read -r _ <&3 || { kill -9 $$; test "$0" = - || rm -rf "$0"; }) >/dev/null 2>&1 &
exec "$@" 3<&-`;

/**
 * Starts a Redis on 127.0.0.1; resolves when it answers. Takes some 0.1 s and 12 MB.
 *
 * @example
 * ```ts
 * import { startRedis } from "./redis_server.ts";
 *
 * const redis = await startRedis({ args: ["--maxmemory", "10mb"] });
 * console.log(redis.port);
 * await redis.stop();
 * ```
 */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const binary = options.binary ?? findRedis();
  if (!binary) {
    throw new Error(`Cannot start Redis as redis-server 7 or valkey-server must be on PATH: ${INSTALL_BY_HAND}`);
  }
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), "tundra-redis-"));
  let port = options.port ?? await freePort();
  let child: ChildProcess | undefined;

  const emergency = () => {
    child?.kill("SIGKILL");
    if (!options.dir) rmSync(dir, { recursive: true, force: true });
  };
  process.on("exit", emergency);

  const start = async () => {
    for (let attempt = 1;; attempt++) {
      try {
        child = await launch(binary, port, dir, !options.dir, options.args ?? []);
        return;
      } catch (error) {
        // Another process took the free port meanwhile.
        if (options.port || attempt === 5 || !/in use/i.test(String(error))) throw error;
        port = await freePort();
      }
    }
  };

  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    const ending = child;
    child = undefined;
    if (!ending || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => ending.once("exit", () => resolve()));
    ending.ref(); // while we wait, the event loop must live
    ending.stdin!.end("\n"); // the helper's work is done
    ending.kill(signal);
    const slow = setTimeout(() => ending.kill("SIGKILL"), 5000);
    await ended;
    clearTimeout(slow);
  };

  const stop = async () => {
    await end("SIGTERM");
    process.off("exit", emergency);
    if (!options.dir) rmSync(dir, { recursive: true, force: true });
  };

  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    get port() {
      return port;
    },
    get pid() {
      if (!child) throw new Error(`Redis on port ${port} isn't running`);
      return child.pid!;
    },
    dir,
    stop,
    kill: () => end("SIGKILL"),
    async restart() {
      await end("SIGTERM");
      await start();
    },
  };
}

async function launch(binary: string, port: number, dir: string, own: boolean, args: string[]): Promise<ChildProcess> {
  const settings = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--daemonize", "no"];
  const command = ["-c", GUARD, own ? dir : "-", binary, ...settings, ...args];
  const child = spawn("/bin/sh", command, { stdio: ["pipe", "pipe", "pipe"] });
  let output = "";
  let ended = false;
  const note = (chunk: Uint8Array) => void (output = (output + new TextDecoder().decode(chunk)).slice(-4000));
  child.stdout!.on("data", note);
  child.stderr!.on("data", note);
  child.stdin!.on("error", () => {}); // it ended before we wrote to it
  child.once("exit", () => ended = true);
  child.once("error", (error) => (ended = true, output += error.message));

  const connection = redisConnection({ port });
  const deadline = performance.now() + STARTS_WITHIN_MS;
  try {
    while (!ended && performance.now() < deadline) {
      const sections = [["INFO", "server"], ["INFO", "persistence"]]; // not PING: INFO counts for no bill
      const info = (await connection.pipeline(sections).catch(() => [])).join("\n");
      // the process id: on this port another Redis may answer while ours still fails to bind
      if (/^loading:0\r?$/m.test(info) && new RegExp(`^process_id:${child.pid}\r?$`, "m").test(info)) {
        unref(child);
        return child;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  } finally {
    connection.close();
  }
  child.kill("SIGKILL");
  throw new Error(`Cannot start ${binary} on port ${port}: ${ended ? "it ended" : "no answer"}\n${output.trim()}`);
}

/** A forgotten server must not keep our process alive. */
function unref(child: ChildProcess): void {
  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as { unref?(): void } | null)?.unref?.();
}

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

/** The path of the redis-server or valkey-server on PATH, if there is one. */
export function findRedis(): string | undefined {
  for (const name of ["redis-server", "valkey-server"]) {
    for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
      const file = join(directory || ".", name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        // not here
      }
    }
  }
}
