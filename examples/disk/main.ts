/**
 * Notes in Redis while they are used, on this machine's disk once they are not: no bucket, no account. The disk is that
 * of unstorage's driver `fs`; any other driver of it takes its place in one line.
 *
 *   TUNDRA_DIR   the folder of the archive, beside Redis' own in a backup; default: ./archive
 */
import process from "node:process";
import { tundraStore } from "@tundra/store";
import { unstorageDatastore } from "@tundra/store/unstorage";
import { createStorage } from "unstorage";
import fsDriver from "unstorage/drivers/fs";

const base = process.env.TUNDRA_DIR ?? "./archive";
const archive = unstorageDatastore(createStorage({ driver: fsDriver({ base }) }));
const store = tundraStore(archive, {
  redis: { url: process.env.UPSTASH_REDIS_REST_URL!, token: process.env.UPSTASH_REDIS_REST_TOKEN! },
  redisTtlMs: 24 * 60 * 60 * 1000,
});

await store.redis.set("note:1", "Buy apples. ".repeat(200));
await store.dirty("note:1");

const { frozen, errors } = await store.tick(); // a cron trigger's task, or store.worker()'s
console.log(`archived: ${frozen}, errors: ${errors.length}`);

await store.evict("note:1"); // now; a tick waits for redisTtlMs
console.log(`in Redis: ${await store.redis.exists("note:1")}`);

await store.ensureKs("note:1"); // back from the disk
console.log(`in Redis: ${await store.redis.exists("note:1")}, ${await store.redis.strlen("note:1")} bytes`);
