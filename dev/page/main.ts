/**
 * `deno task page [--keys=N]`: the page on a store with data: servers on 127.0.0.1, real data that is archived, evicted,
 * brought back and changed, keys that cannot be archived, sweeps and verifications. It prints where the page is, and runs
 * until it is interrupted; meanwhile keys change, and ticks run.
 * @module
 */
import { randomUUID } from "node:crypto";
import { s3Datastore, TundraError, tundraStore } from "../../mod.ts";
import { redisKeys } from "../../src/base/keys.ts";
import { sweep, verify } from "../../src/operations/mod.ts";
import { pageHandler } from "../../src/page/mod.ts";
import { bold, count, say } from "../demo/screen.ts";
import { type Demo, freeze, load, runDemo, start } from "../demo/steps.ts";
import { serveFetch } from "../servers/fetch_server.ts";
import { pastRows } from "./past.ts";

const KEYS = 5_000;
const BUCKET = "cities";
const STEP_MS = 10_000;

await runDemo(main);

async function main(): Promise<boolean> {
  console.log(bold("Tundra: the page\n"));
  const demo = await start(KEYS);
  const keys = demo.entries.map(({ key }) => key);
  await load(demo);
  await demo.store.dirty(keys);
  await freeze(demo);
  await live(demo, keys);
  await die(demo);
  await makeUpThePast(demo);

  const secret = randomUUID();
  const allow = { retry: true, restore: true, peek: true };
  const handle = pageHandler(demo.store, { secret, allow, title: "cities, on this machine" });
  const { port } = await serveFetch(handle);
  console.log(`\n${bold("Page")}       http://127.0.0.1:${port}/tundra\n${bold("Secret")}     ${secret}`);
  console.log("\nCtrl-C ends it and all servers. Keys change every 10 s, and a tick runs every minute.");
  for (let step = 1;; step++) {
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    await change(demo, keys.filter(() => Math.random() < 10 / keys.length));
    if (step % 6 === 0) await demo.store.tick();
  }
}

/** Evictions, returns, changes and removals. */
async function live(demo: Demo, keys: string[]): Promise<void> {
  const { store } = demo;
  const { evicted } = await store.evict(keys.filter((_, i) => i % 5 > 0));
  await store.ensureKs(evicted.filter((_, i) => i % 8 === 0));
  await change(demo, keys.filter((_, i) => i % 50 === 0));
  await store.del(keys.slice(1, 30));
  await store.tick();
  await sweep(store);
  await verify(store, { share: 0.2 });
  await change(demo, keys.filter((_, i) => i % 400 === 0));
  say(
    "Life",
    `${count(evicted.length)} keys evicted, some of them brought back, changed and removed; swept and verified`,
  );
}

/** Writes some keys as an application would: bring back, write, mark. A note is added to hashes, the rest stays. */
async function change({ store, redis }: Demo, keys: string[]): Promise<void> {
  if (keys.length === 0) return;
  await store.ensureKs(keys);
  const types = await redis.pipeline(keys.map((key) => ["TYPE", key]));
  const hashes = keys.filter((_, i) => String(types[i]) === "hash");
  if (hashes.length === 0) return;
  await redis.pipeline(hashes.map((key) => ["HSET", key, "note", `changed ${new Date().toISOString()}`]));
  await store.dirty(hashes);
}

/** Keys that the archive refuses. */
async function die({ redis, s3, upstash }: Demo): Promise<void> {
  const { url: endpoint, region, accessKeyId, secretAccessKey } = s3;
  const datastore = s3Datastore({ endpoint, region, bucket: BUCKET, accessKeyId, secretAccessKey });
  const refusing = tundraStore({
    ...datastore,
    putKey(name, bytes, options) {
      if (name.includes("report.3A")) {
        throw new TundraError("TOO_LARGE", "Cannot put the object as it must have at most 100 MB: it has 120");
      }
      if (name.includes("odd.3A")) {
        throw new TundraError("UNSUPPORTED", "Cannot put the object as the bucket must take its name");
      }
      return datastore.putKey(name, bytes, options);
    },
  }, { redis: { url: upstash.url, token: upstash.token }, packBytes: 0 });
  const keys = ["report:2026-11", "odd:<script>alert(1)</script>", "odd:invoice\u202egnp.exe"];
  await redis.pipeline(keys.map((key) => ["SET", key, "a value that cannot be archived"]));
  await refusing.dirty(keys);
  await refusing.tick({ nattempts: 1 });
  say("Dead", `${count((await refusing.status()).dead)} keys that the archive refuses`);
}

/** Hours of the last fortnight, as this store has lived for seconds only. */
async function makeUpThePast({ redis }: Demo): Promise<void> {
  const { hours, stats } = redisKeys("default");
  const flat = (await redis.call("HGETALL", stats) as unknown[]).map(String);
  const totals = Object.fromEntries(flat.flatMap((name, i) => i % 2 === 0 ? [[name, Number(flat[i + 1])]] : []));
  await redis.call("HSET", hours, ...pastRows(Date.now(), totals));
  say("Past", "14 days of hourly counts for the charts: these are made up, all else is real");
}
