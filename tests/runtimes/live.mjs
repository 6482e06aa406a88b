/**
 * The greatest live memory of this process, in bytes: what a collection leaves, where most is held: while a reply is
 * decoded, digests are made, and a body is sent. (workerd's own size says little: without its production limits it
 * collects late.)
 */
import process from "node:process";

export const live = { peak: 0, samples: 0 };

export function sample() {
  globalThis.gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  live.peak = Math.max(live.peak, heapUsed + arrayBuffers);
  live.samples++;
}

const { atob, fetch } = globalThis;
globalThis.atob = (text) => {
  if (text.length > 10_000) sample();
  return atob(text);
};
const digest = crypto.subtle.digest.bind(crypto.subtle);
crypto.subtle.digest = (algorithm, data) => {
  if (data.byteLength > 10_000) sample();
  return digest(algorithm, data);
};
globalThis.fetch = (input, init) => {
  if (init?.body?.length > 10_000) sample();
  return fetch(input, init);
};
