/**
 * Packs in a Worker: thousands of keys in one event of the free plan's sub-requests, on S3 and on R2, and their memory.
 *
 * workerd without Cloudflare's own limits neither counts sub-requests nor bounds memory. So the servers count, and
 * memory is what a collection leaves in a process of Node that runs the same bundle.
 */
import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { BUCKET, names, withArchive } from "../support/fixtures.ts";
import { until } from "../support/waiting.ts";
import { bundle } from "./bundle.ts";
import { liveMemory } from "./live_memory.ts";
import { installTools, type Miniflare, miniflare } from "./tools.ts";

const KEYS = 5_000;
const LIMIT = 45;

describe("a Worker's cron event of 45 sub-requests", () => {
  const stack = withArchive();
  let workers: Record<"S3" | "R2", Miniflare>;
  let printed = "";

  before(async () => {
    installTools();
    const { url: endpoint, region, accessKeyId, secretAccessKey } = stack.s3;
    const s3 = { endpoint, region, bucket: BUCKET, accessKeyId, secretAccessKey };
    const onS3 = `
      import { s3Datastore, tundraStore } from "./mod.ts";
      import { scheduledHandler } from "./src/adapters/cloudflare.ts";
      const store = () => tundraStore(s3Datastore(${JSON.stringify(s3)}), { redis: ${
      JSON.stringify(stack.connection)
    } });
      export default {
        scheduled: scheduledHandler(store),
        async fetch(request) {
          const key = new URL(request.url).searchParams.get("key");
          await store().ensureKs(key);
          return new Response("there");
        },
      };`;
    const options = {
      handleRuntimeStdio(stdout: NodeJS.ReadableStream, stderr: NodeJS.ReadableStream) {
        stdout.on("data", (chunk) => printed += chunk);
        stderr.on("data", (chunk) => printed += chunk);
      },
    };
    const { url, token } = stack.connection;
    workers = {
      S3: miniflare({ script: await bundle(onS3), ...options }),
      R2: miniflare({
        script: await bundle(`export { default } from "./examples/cloudflare-worker/worker.ts"`),
        r2Buckets: ["ARCHIVE"],
        bindings: { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token },
        ...options,
      }),
    };
    await Promise.all(Object.values(workers).map((mf) => mf.ready));
  });
  after(async () => {
    for (const mf of Object.values(workers ?? {})) await mf.dispose();
  });
  beforeEach(async () => {
    await stack.flush();
    printed = "";
  });

  /** The reports of all ticks so far. */
  function reports(): { frozen: number; subrequests: number; ok: boolean; done: boolean; bytesWritten: number }[] {
    return [...printed.matchAll(/\{"tundra":"tick".*\}/g)].map(([line]) => JSON.parse(line));
  }

  /** Lets its cron fire; the report of the tick, and the requests that Redis and S3 have seen. */
  async function event(mf: Miniflare) {
    const from = [stack.server.requests, stack.s3.requests] as const;
    const ticks = reports().length;
    const { outcome } = await (await mf.getWorker()).scheduled({ cron: "* * * * *" });
    assertEquals(outcome, "ok", printed);
    await until("the tick is logged", () => reports().length === ticks + 1);
    const report = reports().at(-1)!;
    return { report, redis: stack.server.requests - from[0], s3: stack.s3.requests - from[1] };
  }

  async function dirtyCarts(): Promise<string[]> {
    const keys = names(KEYS, "cart");
    const value = JSON.stringify({ apples: 3, pears: 4, note: "x".repeat(600) });
    for (let i = 0; i < KEYS; i += 1000) {
      await stack.raw("MSET", ...keys.slice(i, i + 1000).flatMap((key) => [key, `${value} of ${key}`]));
    }
    await stack.store({ packBytes: 0 }).dirty(keys);
    return keys;
  }

  it("archives at least 4,000 keys on S3, which both servers count, and reads one back", async () => {
    await event(workers.S3); // the index begins
    const keys = await dirtyCarts();
    const { report, redis, s3 } = await event(workers.S3);
    console.log(`${report.frozen} keys in ${redis} requests to Redis and ${s3} to S3`);
    assert(report.ok && report.frozen >= 4_000, JSON.stringify(report));
    assertEquals(redis + s3, report.subrequests);
    assert(report.subrequests <= LIMIT, String(report.subrequests));
    const key = keys[42]!;
    assertEquals((await stack.store().evict(key)).evicted, [key]);
    const requests = stack.s3.requests;
    const answer = await workers.S3.dispatchFetch(`http://shop.example/?key=${key}`);
    assertEquals([answer.status, await answer.text(), stack.s3.requests - requests], [200, "there", 1]);
    assert((await stack.get(key))!.endsWith(` of ${key}`));
  });

  it("archives at least 4,000 keys on R2 with the example's Worker, also as the first event of its index", async () => {
    await dirtyCarts();
    const { report, redis } = await event(workers.R2);
    console.log(`${report.frozen} keys in ${report.subrequests} sub-requests, of which Redis saw ${redis}`);
    assert(report.ok && report.frozen >= 4_000, JSON.stringify(report));
    assert(redis < report.subrequests && report.subrequests <= LIMIT, JSON.stringify([redis, report]));
    const bucket = await workers.R2.getR2Bucket<{ list(options: object): Promise<{ objects: { key: string }[] }> }>(
      "ARCHIVE",
    );
    const { objects } = await bucket.list({ prefix: "default/", limit: 1000 });
    const packs = objects.filter(({ key }) => key.includes("/~packs/"));
    assert(packs.length > 0 && objects.length <= LIMIT, JSON.stringify(objects.map(({ key }) => key)));
  });
});

describe("the memory of ticks that make packs", () => {
  const stack = withArchive();
  before(() => installTools());

  it("is less than 128 MB over values that just fit into packs, more than a reply holds, and thousands of small ones", async () => {
    const noise = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));
    const keys: string[] = [];
    for (const [n, bytes] of [[200, 60_000], [2_000, 700]] as const) {
      const some = names(n, `values:${bytes}`);
      keys.push(...some);
      for (let i = 0; i < n; i += 100) {
        await stack.raw("MSET", ...some.slice(i, i + 100).flatMap((key) => [key, noise(bytes)]));
      }
    }
    for (let i = 0; i < keys.length; i += 1000) await stack.store().dirty(keys.slice(i, i + 1000));
    const { peak, samples } = await liveMemory(stack);
    const packs = stack.objectNames().filter((name) => name.includes("/~packs/"));
    console.log(`${packs.length} packs: at most ${(peak / 1e6).toFixed(0)} MB live, ${samples} samples`);
    assertEquals((await stack.store().status()).dirty, 0);
    assertGreater(packs.length, 10);
    assertGreater(samples, 200);
    assertLess(peak, 128e6);
  });
});
