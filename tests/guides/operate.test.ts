/** docs/operate.md: each trouble is made, and what the page says is done. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, it } from "node:test";
import { assertEquals } from "@std/assert";
import { stop as stopEsbuild } from "esbuild";
import { type RedisServer, startRedis } from "../../dev/servers/redis_server.ts";
import { tundraFromEnv, type TundraStore } from "../../mod.ts";
import { storeEnvironment } from "../../src/testing/environment.ts";
import { type S3Server, startS3 } from "../../src/testing/s3.ts";
import { startUpstash, type UpstashServer } from "../../src/testing/upstash.ts";
import { tundraCommand } from "./command.ts";
import { runAll } from "./code.ts";
import { blocksOf, only } from "./page.ts";

const page = blocksOf("operate.md");
const blocks = (section: string) => page.filter((block) => block.section === section);

describe("docs/operate.md", () => {
  const command = tundraCommand();
  let folder: string;
  let redis: RedisServer;
  let upstash: UpstashServer;
  let s3: S3Server;
  let store: TundraStore;
  const environment = () => ({ ...storeEnvironment(upstash, s3, "cold"), ...command.env });

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "tundra-operate-"));
    redis = await startRedis();
    upstash = await startUpstash({ redisPort: redis.port });
    s3 = await startS3({ buckets: ["cold"], folder });
    store = tundraFromEnv(environment());
  });
  afterEach(async () => {
    for (const server of [s3, upstash, redis]) await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  after(() => {
    command.remove();
    void stopEsbuild();
  });

  async function write(keys: string[], value: string): Promise<void> {
    await store.redis.mset(Object.fromEntries(keys.map((key) => [key, value])));
    await store.dirty({ overwrite: true }, keys);
  }

  it("Every day: all is well", async () => {
    await write(["cart:7"], "apples");
    await store.tick();
    assertEquals(await runAll(blocks("Every day"), environment()), 2);
  });

  it("TundraTickMissing: a tick by hand archives what waits", async () => {
    await write(["cart:7"], "apples");
    assertEquals(await runAll(blocks("TundraTickMissing"), environment()), 1);
    assertEquals((await store.status()).dirty, 0);
  });

  it("TundraOldestKeyTooOld: a backlog is drained", async () => {
    await write(Array.from({ length: 1_500 }, (_, i) => `cart:${i}`), "apples");
    assertEquals(await runAll(blocks("TundraOldestKeyTooOld"), environment()), 2);
    assertEquals((await store.status()).dirty, 0);
  });

  it("TundraDeadLetters: the list tells why, and once the cause is gone they are archived", async () => {
    const { port } = s3;
    await s3.stop();
    s3 = await startS3({ folder, port, buckets: [], maxObjectBytes: 50_000 });
    await write(["report:2026"], randomBytes(100_000).toString("base64"));
    for (let i = 0; i < 5 && (await store.status()).dead === 0; i++) await store.tick({ retryBackoffMs: 0 });
    assertEquals((await store.status()).dead, 1);
    const [list, why, ...rest] = blocks("TundraDeadLetters");
    assertEquals(await runAll([list!, why!], environment()), 1);
    await s3.stop();
    s3 = await startS3({ folder, port, buckets: [] });
    assertEquals(await runAll(rest, environment()), 2);
    assertEquals((await store.status()).dead, 0);
    assertEquals((await store.evict("report:2026")).evicted, ["report:2026"]);
  });

  for (const info of ["sh", "ts"] as const) {
    it(`TundraDamageFound: what Redis still has is archived again, by its ${info} block`, async () => {
      await write(["cart:7"], "apples");
      await store.tick();
      const objects = s3.objects("cold");
      for (const name of objects.keys()) if (name.startsWith("default/cart")) objects.delete(name);
      assertEquals(await runAll(only(info, blocks("TundraDamageFound")), environment()), 1);
      await store.tick();
      assertEquals((await store.evict("cart:7")).evicted, ["cart:7"]);
      await store.ensureKs("cart:7");
      assertEquals(await store.redis.get("cart:7"), "apples");
    });
  }

  it("TundraRedisAway: it says so, and exits with 3", async () => {
    const env = environment();
    const { port, token } = upstash;
    await upstash.stop();
    assertEquals(await runAll(blocks("TundraRedisAway"), env), 1);
    upstash = await startUpstash({ redisPort: redis.port, port, token });
  });

  it("has a section for each alert, and tries each block", () => {
    const tried = ["Every day", "TundraTickMissing", "TundraOldestKeyTooOld", "TundraDeadLetters", "TundraDamageFound"];
    assertEquals([...new Set(page.map(({ section }) => section))], [...tried, "TundraRedisAway"]);
  });
});
