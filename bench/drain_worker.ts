/**
 * One machine of a drain: a process that ticks until nothing is due. Its argument is JSON. It prints `ready` once the
 * scripts are loaded, waits for its input to end if it is told to, and prints what it archived, and when.
 * @module
 */
import process from "node:process";
import { type RedisOptions, s3Datastore, type S3DatastoreOptions, type TickOptions, tundraStore } from "../mod.ts";
import { pause } from "./fixture.ts";

/** The argument. */
export interface DrainConfig {
  redis: Pick<RedisOptions, "url" | "token">;
  s3: S3DatastoreOptions;
  store?: { tqname?: string; packBytes?: number };
  tick?: TickOptions;
  /** Each request takes so many milliseconds more. */
  delayMs?: number;
  /** `true`: begins when its input ends. */
  waits?: boolean;
}

/** The last line that it prints. */
export interface DrainReport {
  frozen: number;
  ticks: number;
  fromMs: number;
  toMs: number;
}

const { redis, s3, store: options, tick, delayMs = 0, waits = false } = JSON.parse(process.argv[2]!) as DrainConfig;
const delayed: typeof fetch = async (input, init) => {
  if (delayMs > 0) await pause(delayMs);
  return await fetch(input, init);
};
const store = tundraStore(s3Datastore({ ...s3, fetch: delayed }), { ...options, redis: { ...redis, fetch: delayed } });
await store.status();
console.log("ready");
if (waits) { for await (const _ of process.stdin); }
const report: DrainReport = { frozen: 0, ticks: 0, fromMs: Date.now(), toMs: 0 };
for (let done = false; !done; report.ticks++) {
  const { frozen, done: was } = await store.tick(tick);
  report.frozen += frozen;
  done = was;
}
report.toMs = Date.now();
console.log(JSON.stringify(report));
