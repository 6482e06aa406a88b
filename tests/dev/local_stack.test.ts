/** `@tundra/store/testing`: what an application tests itself against, and `deno task stack` on top of it. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { freePort } from "../../dev/servers/redis_server.ts";
import { s3Datastore, tundraFromEnv, type TundraStore, tundraStore } from "../../mod.ts";
import { localStack } from "../../src/testing/local_stack.ts";
import { redisConnection } from "../../src/testing/resp.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Archives and evicts a key and brings it back; what it is then. */
async function life(store: TundraStore, key: string): Promise<string | null> {
  await store.redis.set(key, `value of ${key}`);
  await store.dirty(key);
  assertEquals((await store.tick()).frozen, 1);
  assertEquals((await store.evict(key)).evicted, [key]);
  await store.ensureKs(key);
  return await store.redis.get(key);
}

describe("localStack()", () => {
  it("is reached by options and by environment, and both reach the same", async () => {
    const stack = await localStack();
    try {
      const byOptions = tundraStore(s3Datastore(stack.s3), { redis: stack.redis });
      assertEquals(await life(byOptions, "a"), "value of a");
      const byEnvironment = tundraFromEnv(stack.env);
      assertEquals(await life(byEnvironment, "b"), "value of b");
      assertEquals(await byEnvironment.redis.get("a"), "value of a");
    } finally {
      await stack.stop();
    }
  });

  it("takes ports, a token and a bucket, and says where Redis itself listens", async () => {
    const ports = { redis: await freePort(), upstash: await freePort(), s3: await freePort() };
    const stack = await localStack({ ports, token: "a-token", bucket: "archive" });
    const redis = redisConnection({ port: stack.redisPort });
    try {
      assertEquals(stack.redis, { url: `http://127.0.0.1:${ports.upstash}`, token: "a-token" });
      assertEquals([stack.redisPort, stack.s3.endpoint, stack.s3.bucket], [
        ports.redis,
        `http://127.0.0.1:${ports.s3}`,
        "archive",
      ]);
      assertEquals(await life(tundraFromEnv(stack.env), "c"), "value of c");
      assertEquals(String(await redis.call("GET", "c")), "value of c");
    } finally {
      redis.close();
      await stack.stop();
    }
  });

  it("is empty after reset(), Redis and bucket: a new store begins anew", async () => {
    const stack = await localStack();
    try {
      const before = tundraFromEnv(stack.env);
      assertEquals(await life(before, "d"), "value of d");
      await before.evict("d");
      await stack.reset();
      const after = tundraFromEnv(stack.env);
      await after.ensureKs("d");
      assertEquals(await after.redis.dbsize(), 0);
      assertEquals(await life(after, "e"), "value of e");
    } finally {
      await stack.stop();
    }
  });

  it("leaves nothing behind if a part cannot start", async () => {
    const first = await localStack();
    try {
      const redis = await freePort();
      await assertRejects(() => localStack({ ports: { redis, upstash: Number(new URL(first.redis.url).port) } }));
      const again = await localStack({ ports: { redis } });
      assertEquals(again.redisPort, redis);
      await again.stop();
      await again.stop();
      await assertRejects(() => localStack({ redisServer: "/nowhere/redis-server" }), Error, "/nowhere/redis-server");
    } finally {
      await first.stop();
    }
  });

  it("says what is missing if there is no redis-server", async () => {
    const path = process.env.PATH;
    process.env.PATH = "/nowhere";
    try {
      await assertRejects(() => localStack(), Error, "redis-server 7 or valkey-server must be on PATH");
    } finally {
      process.env.PATH = path;
    }
  });
});

describe("deno task stack", () => {
  it("takes fixed ports and a token, shows Redis' own port, and writes an environment that works", async () => {
    const folder = mkdtempSync(join(tmpdir(), "tundra-stack-"));
    const [redis, upstash, s3] = [await freePort(), await freePort(), await freePort()];
    const { deno, bun } = process.versions;
    const args = [
      ...deno ? ["run", "-A", "--no-check"] : bun ? ["run"] : ["--import", "tsx"],
      ...["dev/servers/stack.ts", `--env=${join(folder, "env")}`, "--token=a-token"],
      ...[`--redis-port=${redis}`, `--upstash-port=${upstash}`, `--s3-port=${s3}`],
    ];
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
    try {
      let output = "";
      for await (const chunk of child.stdout) {
        output += chunk;
        if (output.includes("# ready")) break;
      }
      assertStringIncludes(output, `# Redis itself: redis-cli -p ${redis}\n`);
      const environment = Object.fromEntries(
        readFileSync(join(folder, "env"), "utf8").trim().split("\n").map((line) => line.split("=")),
      );
      assertEquals(environment.UPSTASH_REDIS_REST_URL, `http://127.0.0.1:${upstash}`);
      assertEquals(environment.UPSTASH_REDIS_REST_TOKEN, "a-token");
      assert(output.includes(environment.CRON_SECRET));
      assertEquals(await life(tundraFromEnv(environment), "f"), "value of f");
    } finally {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      await ended;
      rmSync(folder, { recursive: true });
    }
  });
});
