/**
 * `node --expose-gc memory.mjs BUNDLE`, the store's options in the environment variable OPTIONS: ticks within Workers'
 * sub-requests until nothing is left, and prints the greatest live memory, in bytes, as `peak N`.
 *
 * Live is what a collection leaves. A collection runs where most is held: while a reply is decoded, and while digests
 * are made. (workerd's own size says little: without its production limits it collects late.)
 */
import process from "node:process";
import { pathToFileURL } from "node:url";

const { s3Datastore, tundraStore } = await import(pathToFileURL(process.argv[2]).href);
const { s3, redis } = JSON.parse(process.env.OPTIONS);

let peak = 0;
let samples = 0;
function sample() {
  globalThis.gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  peak = Math.max(peak, heapUsed + arrayBuffers);
  samples++;
}

const { atob } = globalThis;
globalThis.atob = (text) => {
  if (text.length > 10_000) sample();
  return atob(text);
};
const digest = crypto.subtle.digest.bind(crypto.subtle);
crypto.subtle.digest = (algorithm, data) => {
  if (data.byteLength > 10_000) sample();
  return digest(algorithm, data);
};

const store = tundraStore(s3Datastore(s3), { redis });
while (!(await store.tick({ maxSubrequests: 45 })).done);
console.log(`peak ${peak} of ${samples} samples`);
