/**
 * `deno task large`: values of all sizes and types, compressible and random, each with an expiry of its own, through
 * archive, eviction and return, on the local stack with Upstash's limits. A table says how long each takes; then the
 * memory that the largest takes in a process of its own.
 *
 *     deno task large [--most=95] [--types=string,hash] [--no-memory]
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import process from "node:process";
import { parseArgs } from "node:util";
import { s3Datastore, tundraStore } from "../../mod.ts";
import { startS3 } from "../../src/testing/s3.ts";
import { startUpstash } from "../../src/testing/upstash.ts";
import { contentOf, makeValue, TYPES, type ValueType } from "../../tests/support/large.ts";
import { largeMemory } from "../../tests/runtimes/live_memory.ts";
import { startRedis } from "../servers/redis_server.ts";

const MB = 1_000_000;
const SIZES = [1, 1_000, MB, 9.9 * MB, 10.1 * MB, 40 * MB, 95 * MB];

const { values } = parseArgs({
  options: {
    most: { type: "string", default: "95" },
    types: { type: "string", default: TYPES.join() },
    "no-memory": { type: "boolean", default: false },
  },
});

const redis = await startRedis();
const server = await startUpstash({ redisPort: redis.port });
const s3 = await startS3();
const { url: endpoint, region, accessKeyId, secretAccessKey } = s3;
const settings = {
  s3: { endpoint, region, bucket: "tundra", accessKeyId, secretAccessKey },
  redis: { url: server.url, token: server.token },
};
const store = tundraStore(s3Datastore(settings.s3), { redis: settings.redis, minEvictBytes: 0 });

let failed = 0;
/** Seconds that something takes. */
async function timed<T>(act: () => Promise<T>): Promise<[seconds: string, result: T]> {
  const from = performance.now();
  const result = await act();
  return [((performance.now() - from) / 1000).toFixed(2).padStart(6), result];
}

/** One value there and back. */
async function roundTrip(type: ValueType, bytes: number, random: boolean): Promise<string> {
  const key = `${type}:${bytes}:${random ? "random" : "text"}`;
  const { raw } = server;
  await makeValue({ raw }, key, type, bytes, random);
  const exp = Date.now() + 3_600_000;
  await raw("PEXPIREAT", key, exp);
  const before = await contentOf({ raw }, key, type);
  await store.dirty(key);
  const [archived, report] = await timed(() => store.tick({ deadlineMs: 60_000, leaseMs: 600_000 }));
  const [evicted, { evicted: keys }] = await timed(() => store.evict(key));
  const gone = await raw("EXISTS", key) === 0;
  const [back] = await timed(() => store.ensureKs(key));
  const same = before.equals(await contentOf({ raw }, key, type));
  const kept = Number(await raw("PEXPIRETIME", key)) === exp;
  const left = (await raw("KEYS", "tundra:*:tmp:*") as Buffer[]).length;
  const fine = report.frozen === 1 && keys.length === 1 && gone && same && kept && left === 0;
  if (!fine) failed++;
  const what = fine ? "ok" : `FAILED ${JSON.stringify({ ...report.errors, keys, gone, same, kept, left })}`;
  await store.del(key);
  await store.tick();
  s3.objects("tundra").forEach((_, name) => name.includes("~") || s3.objects("tundra").delete(name));
  const kind = `${type.padEnd(6)} ${random ? "random      " : "compressible"}`;
  const commands = `${String(report.subrequests).padStart(3)} requests, ${
    String(report.commands).padStart(3)
  } commands`;
  return `${String(bytes).padStart(9)} ${kind} ${archived} s, ${evicted} s, ${back} s; tick: ${commands}  ${what}`;
}

console.log("    bytes                      archive    evict     return");
for (const bytes of SIZES.filter((size) => size <= Number(values.most) * MB)) {
  for (const type of TYPES.filter((each) => values.types.split(",").includes(each))) {
    for (const random of [true, false]) console.log(await roundTrip(type, bytes, random));
  }
}
if (!values["no-memory"]) {
  for (const random of [true, false]) {
    await server.raw("FLUSHALL");
    s3.objects("tundra").clear();
    await makeValue(server, "large", "string", Number(values.most) * MB, random);
    const live = await largeMemory(settings, "large");
    const mb = (bytes: number) => (bytes / 1_048_576).toFixed(1);
    console.log(
      `${values.most} MB ${random ? "random" : "compressible"}: at most ${
        mb(live.archive)
      } MiB live while it is archived, ` +
        `${mb(live.back)} MiB while it comes back (${live.samples} samples), of which ${
          mb(live.idle)
        } MiB at the start`,
    );
  }
}
await server.stop();
await redis.stop();
await s3.stop();
process.exit(failed > 0 ? 1 : 0);
