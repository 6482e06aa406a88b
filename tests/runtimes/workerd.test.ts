/**
 * Tests that only workerd can run: R2, a cron trigger with the example's Worker, requests that give up, cold start,
 * memory.
 */
import { randomUUID } from "node:crypto";
import process from "node:process";
import { after, before, beforeEach, describe, it } from "node:test";
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { build } from "esbuild";
import { type FaultProxy, startFaultProxy } from "../../dev/servers/faults.ts";
import type { R2BucketLike } from "../../src/adapters/cloudflare.ts";
import { describeR2 } from "../conformance/r2_worker.ts";
import { BUCKET, withArchive } from "../support/fixtures.ts";
import { DAY_MS } from "../support/times.ts";
import { until } from "../support/waiting.ts";
import { bundle } from "./bundle.ts";
import { liveMemory } from "./live_memory.ts";
import { installTools, type Miniflare, miniflare } from "./tools.ts";

describe("the datastore in R2, in a Worker", () => {
  const seed = Number(process.env.TUNDRA_SEED ?? Date.now() % 2 ** 31);
  let mf: Miniflare;
  before(async () => {
    console.log(`TUNDRA_SEED=${seed}`);
    installTools();
    const script = await bundle(`export { default } from "./tests/conformance/r2_worker.ts"`);
    mf = miniflare({ script, r2Buckets: ["ARCHIVE"] });
    await mf.ready;
  });
  after(() => mf?.dispose());

  describeR2((title) =>
    void it(title, async () => {
      const query = new URLSearchParams({ title, seed: String(seed) });
      const response = await mf.dispatchFetch(`http://worker/?${query}`);
      assertEquals([response.status, await response.text()], [200, ""]);
    })
  );
});

describe("the Worker of examples/cloudflare-worker in workerd", () => {
  const stack = withArchive();
  let mf: Miniflare;
  let printed = "";

  before(async () => {
    installTools();
    const { url, token } = stack.connection;
    mf = miniflare({
      script: await bundle(`export { default } from "./examples/cloudflare-worker/worker.ts"`),
      r2Buckets: ["ARCHIVE"],
      bindings: { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token },
      handleRuntimeStdio(stdout: NodeJS.ReadableStream, stderr: NodeJS.ReadableStream) {
        stdout.on("data", (chunk) => printed += chunk);
        stderr.on("data", (chunk) => printed += chunk);
      },
    });
    await mf.ready;
  });
  after(() => mf?.dispose());

  /** The reports of all ticks so far. */
  function reports(): { frozen: number; evicted: number; subrequests: number; done: boolean; ok: boolean }[] {
    return [...printed.matchAll(/\{"tundra":"tick".*\}/g)].map(([line]) => JSON.parse(line));
  }

  it("archives a backlog of 1,000 keys by its cron, 45 sub-requests a tick, and reads an evicted key", async () => {
    const keys = Array.from({ length: 1000 }, (_, i) => `cart:${i}`);
    for (const key of keys) await stack.raw("HSET", key, "apples", key.length, "id", key);
    // too large to stay in Redis, also compressed
    const note = Array.from({ length: 60 }, () => randomUUID()).join(" ");
    for (const key of keys.slice(0, 10)) await stack.raw("HSET", key, "note", note);
    await stack.store().dirty(keys);
    const worker = await mf.getWorker();
    const trigger = async () => {
      const before = stack.server.requests;
      const { outcome } = await worker.scheduled({ cron: "* * * * *" });
      assertEquals(outcome, "ok", printed);
      return stack.server.requests - before;
    };
    let ticks = 0;
    while ((await stack.store().status()).dirty > 0) {
      assertLess(++ticks, 60);
      const redisRequests = await trigger();
      await until("the tick is logged", () => reports().length === ticks);
      const { subrequests, ok } = reports().at(-1)!;
      assert(ok && subrequests <= 45, JSON.stringify(reports().at(-1)));
      // what the report counts is what was sent: requests that Redis saw, and uploads
      assert(redisRequests < subrequests, `${redisRequests} of ${subrequests}`);
    }
    assertEquals(reports().reduce((sum, { frozen }) => sum + frozen, 0), 1000);
    assertLess(ticks, 4); // small values share packs
    const bucket = await mf.getR2Bucket<R2BucketLike>("ARCHIVE");
    const { objects } = await bucket.list({ prefix: "default/", limit: 1000 });
    assertLess(objects.length, 10); // packs, and the owner

    await stack.leaveAlone(8 * DAY_MS, ...keys.slice(0, 10));
    const evicted = () => reports().slice(ticks).reduce((sum, report) => sum + report.evicted, 0);
    for (let more = 1; more <= 3 && evicted() === 0; more++) { // one that the archive did not answer in time evicts none
      await trigger();
      await until("the tick is logged", () => reports().length === ticks + more);
    }
    assertEquals(evicted(), 10, JSON.stringify(reports().slice(ticks)));
    assertEquals(await stack.exists(...keys.slice(0, 10)), 0);
    const response = await mf.dispatchFetch("http://shop.example/carts/3");
    assertEquals([response.status, await response.json()], [200, { apples: 6, id: "cart:3", note }]);
    assertEquals(await stack.exists("cart:3"), 1);
  });
});

describe("requests on workerd", () => {
  const stack = withArchive();
  let proxy: FaultProxy;
  let mf: Miniflare;

  before(async () => {
    installTools();
    // The first fetch of each object hangs, as if that object's server had died.
    const seen = new Set<string>();
    proxy = await startFaultProxy({
      target: stack.s3.url,
      plan: (request) => {
        if (request.method !== "GET" || !request.url.includes("slow") || seen.has(request.url)) return undefined;
        seen.add(request.url);
        return { type: "hang" };
      },
    });
    const { region, accessKeyId, secretAccessKey } = stack.s3;
    const script = await bundle(`
      import { s3Datastore, tundraStore } from "./mod.ts";
      const s3 = ${JSON.stringify({ endpoint: proxy.url, region, bucket: BUCKET, accessKeyId, secretAccessKey })};
      // At the top of the module, as many applications will have it: shared by all requests.
      const store = tundraStore(s3Datastore(s3), { redis: ${JSON.stringify(stack.connection)} });
      export default {
        async fetch(request) {
          const key = new URL(request.url).searchParams.get("key");
          const gaveUp = new Promise((resolve) => setTimeout(resolve, Number(request.headers.get("patience") ?? 60000)));
          const ensured = store.ensureKs(key).then(() => "there");
          return new Response(await Promise.race([ensured, gaveUp.then(() => "gave up")]));
        },
      };`);
    mf = miniflare({ script });
    await mf.ready;
  });
  beforeEach(() => stack.flush());
  after(async () => {
    await mf?.dispose();
    await proxy?.stop();
  });

  const waits = (key: string) => proxy.log.some(({ method, url }) => method === "GET" && url.includes(key));

  async function evicted(key: string): Promise<void> {
    await stack.raw("SET", key, "value");
    await stack.store().dirty(key);
    await stack.store().tick();
    assertEquals((await stack.store().evict(key)).evicted, [key]);
  }

  async function ask(key: string, init: RequestInit = {}): Promise<{ text: string; ms: number }> {
    const from = performance.now();
    const text =
      await (await mf.dispatchFetch(`http://app.example/?key=${key}`, { signal: AbortSignal.timeout(5_000), ...init }))
        .text();
    return { text, ms: performance.now() - from };
  }

  it("one that gives up during a cold ensureKs does not delay another for the same key", async () => {
    await evicted("slow-1");
    const first = ask("slow-1", { headers: { patience: "400" } }); // hangs on the archive, gives up
    await until("the first one waits", () => waits("slow-1"));
    const second = ask("slow-1");
    assertEquals((await second).text, "there");
    assertLess((await second).ms, 2000);
    assertEquals((await first).text, "gave up");
    const third = await ask("slow-1");
    assertEquals(third.text, "there");
    assertLess(third.ms, 2000);
    assertEquals(await stack.get("slow-1"), "value");
  });

  it("one whose client goes away during a cold ensureKs does not delay another for the same key", async () => {
    await evicted("slow-2");
    const controller = new AbortController();
    const first = ask("slow-2", { signal: controller.signal }).then((answer) => answer.text, () => "went away");
    await until("the first one waits", () => waits("slow-2"));
    controller.abort();
    assertEquals(await first, "went away");
    const second = await ask("slow-2");
    assertEquals(second.text, "there");
    assertLess(second.ms, 2000);
  });
});

describe("limits of workerd", () => {
  const stack = withArchive();

  before(() => installTools());

  it("the modules of the example's Worker are evaluated in less than 50 ms", async () => {
    const worker = await bundle(`export { default } from "./examples/cloudflare-worker/worker.ts"`);
    const { outputFiles } = await build({ stdin: { contents: worker, loader: "js" }, write: false, format: "iife" });
    const mf = miniflare({
      unsafeEvalBinding: "EVAL",
      bindings: { CODE: outputFiles[0]!.text, URL: stack.s3.url },
      // The clock stands still but for I/O: a request before and after.
      script: `export default {
        async fetch(request, env) {
          const now = async () => { await (await fetch(env.URL)).text(); return Date.now(); };
          const run = env.EVAL.newFunction("/* " + request.url + " */" + env.CODE);
          const from = await now();
          run();
          const evaluated = await now();
          const idle = await now();
          return Response.json({ ms: evaluated - from, ofWhichIdle: idle - evaluated });
        } }`,
    });
    try {
      const times: number[] = [];
      for (let i = 0; i < 5; i++) {
        const { ms } = await (await mf.dispatchFetch(`http://app.example/${i}`)).json() as { ms: number };
        times.push(ms);
      }
      console.log(`module evaluation, one request to a local server included: ${times.join(", ")} ms`);
      assertLess(Math.min(...times), 50);
    } finally {
      await mf.dispose();
    }
  });

  it("a tick over large values holds less than 128 MB", async () => {
    const value = (bytes: number) => new Uint8Array(bytes).map(() => Math.random() * 256);
    const keys: string[] = [];
    for (const [n, bytes] of [[20, 1_000_000], [3, 4_000_000], [40, 100_000]] as const) {
      const noise = value(bytes);
      for (let i = 0; i < n; i++) keys.push(`large:${bytes}:${i}`);
      await Promise.all(keys.slice(-n).map((key) => stack.raw("SET", key, noise)));
    }
    await stack.store().dirty(keys);
    const { peak, samples } = await liveMemory(stack);
    console.log(`36 MB in ${keys.length} values: at most ${(peak / 1e6).toFixed(0)} MB live, ${samples} samples`);
    assertEquals(stack.objectNames().length, keys.length);
    assertGreater(samples, keys.length);
    assertLess(peak, 128e6);
  });
});
