/**
 * `node --expose-gc memory_large.mjs BUNDLE`, the store's options in the environment variable OPTIONS, a key in KEY:
 * archives that key, evicts it and brings it back; prints the greatest live memory of each in bytes, as memory.mjs does.
 */
import process from "node:process";
import { pathToFileURL } from "node:url";
import { live, sample } from "./live.mjs";

const { s3Datastore, tundraStore } = await import(pathToFileURL(process.argv[2]).href);
const { s3, redis } = JSON.parse(process.env.OPTIONS);
const key = process.env.KEY;

const store = tundraStore(s3Datastore(s3), { redis });
sample();
const idle = live.peak;
await store.dirty(key);
const report = await store.tick({ leaseMs: 600_000, deadlineMs: 60_000 });
if (report.frozen !== 1) throw new Error(JSON.stringify(report.errors));
const archive = live.peak;
const { evicted } = await store.evict(key);
if (evicted.length !== 1) throw new Error("it was not evicted");
live.peak = 0;
await store.ensureKs(key);
if (await store.redis.exists(key) !== 1) throw new Error("it did not come back");
console.log(`idle ${idle} archive ${archive} back ${live.peak} of ${live.samples} samples`);
