/**
 * `node --expose-gc memory.mjs BUNDLE`, the store's options in the environment variable OPTIONS: ticks within Workers'
 * sub-requests until nothing is left, and prints the greatest live memory, in bytes, as `peak N`.
 */
import process from "node:process";
import { pathToFileURL } from "node:url";
import { live } from "./live.mjs";

const { s3Datastore, tundraStore } = await import(pathToFileURL(process.argv[2]).href);
const { s3, redis } = JSON.parse(process.env.OPTIONS);

const store = tundraStore(s3Datastore(s3), { redis });
while (!(await store.tick({ maxSubrequests: 45 })).done);
console.log(`peak ${live.peak} of ${live.samples} samples`);
