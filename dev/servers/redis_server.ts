/**
 * The real Redis of demo, tests and benches: that of `src/testing`, installed if it is missing and may be.
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import {
  findRedis,
  freePort,
  INSTALL_BY_HAND,
  type RedisServer,
  type RedisServerOptions,
  startRedis as startServer,
} from "../../src/testing/redis_server.ts";

export { freePort, type RedisServer, type RedisServerOptions };

/** Starts a Redis on 127.0.0.1; as root on Debian it installs a missing one. */
export function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  return startServer({ binary: redisBinary(), ...options });
}

/** The program on PATH, installed if it may be; `undefined`: there is none. */
export function redisBinary(): string | undefined {
  return findRedis() ?? installRedis();
}

const POLICY = "/usr/sbin/policy-rc.d";

function installRedis(): string | undefined {
  if (process.getuid?.() !== 0 || !existsSync("/etc/debian_version")) return undefined; // whoever starts it says so
  console.error("redis-server is not on PATH: installing it with apt-get, once");
  // Debian's package starts a service of its own; with this policy it doesn't
  const policy = !existsSync(POLICY);
  if (policy) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    const apt = (...args: string[]) =>
      spawnSync("apt-get", args, { env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" }, encoding: "utf8" });
    const install = () => apt("install", "-y", "--no-install-recommends", "redis-server");
    let done = install();
    if (done.status !== 0 && apt("update").status === 0) done = install();
    const found = findRedis();
    if (found) return found;
    const reason = (done.stderr || String(done.error ?? "")).trim().split("\n").at(-1);
    throw new Error(`Cannot install redis-server with apt-get (${reason}): ${INSTALL_BY_HAND}`);
  } finally {
    if (policy) rmSync(POLICY, { force: true });
  }
}
