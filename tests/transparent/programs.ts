/**
 * Random programs that run on a transparent client, whose keys are evicted at random moments, and on a plain client of
 * another database: answers, and what is there in the end, must be equal.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Redis } from "@upstash/redis";
import fc from "fast-check";
import { s3Datastore, tundraStore } from "../../mod.ts";
import { transparentRedis } from "../../src/transparent/mod.ts";
import { BUCKET, type ColdStack } from "../support/fixtures.ts";
import type { Stack } from "../support/stack.ts";

/** The code under test. */
export interface Subject {
  tundraStore: typeof tundraStore;
  transparentRedis: typeof transparentRedis;
}

/** The code as it is shipped. */
export const SHIPPED: Subject = { tundraStore, transparentRedis };

const KEYS = ["k0", "k1", "k2", "k3"];
/** Beyond every run, so that nothing expires in the middle of one. */
const LATER = [4_000_000_000_000, 4_000_000_123_456];
/** Commands whose replies have no order. */
const UNORDERED = /^(hgetall|hkeys|hvals|keys|smembers|sdiff|sinter|sunion|hscan|sscan)$/i;

type Command = (string | number)[];
type Step =
  | { kind: "one"; command: Command }
  | { kind: "pipeline" | "multi"; commands: Command[] }
  | { kind: "evict"; keys: string[] }
  | { kind: "tick" };

const key = fc.constantFrom(...KEYS);
const field = fc.constantFrom("f", "g", "h");
const value = fc.constantFrom("1", "2", "text", "é\u{1f600}", "0", "-7");
const number = fc.integer({ min: -3, max: 3 });
const score = fc.integer({ min: 0, max: 5 });
const at = fc.constantFrom(...LATER);

/** A command whose arguments are these. */
function command(name: string, ...args: fc.Arbitrary<string | number | (string | number)[]>[]): fc.Arbitrary<Command> {
  return fc.tuple(...args).map((values) => [name, ...values.flat()]);
}

const word = (text: string) => fc.constant(text);
const keys = fc.array(key, { minLength: 1, maxLength: 3 });
const counted = keys.map((list) => [list.length, ...list]);

const COMMANDS: fc.Arbitrary<Command> = fc.oneof(
  command("get", key),
  command("set", key, value),
  command("set", key, value, fc.constantFrom("NX", "XX", "GET", "KEEPTTL")),
  command("set", key, value, word("PXAT"), at),
  command("setnx", key, value),
  command("getset", key, value),
  command("getdel", key),
  command("getex", key, word("PERSIST")),
  command("append", key, value),
  command("strlen", key),
  command("getrange", key, number, number),
  command("setrange", key, score, value),
  command("incr", key),
  command("decrby", key, number),
  command("mset", key, value, key, value),
  command("msetnx", key, value, key, value),
  command("mget", keys),
  command("setbit", key, score, fc.constantFrom(0, 1)),
  command("bitcount", key),
  command("bitpos", key, fc.constantFrom(0, 1)),
  command("bitop", word("OR"), key, keys),
  command("hset", key, field, value),
  command("hsetnx", key, field, value),
  command("hget", key, field),
  command("hmget", key, field, field),
  command("hgetall", key),
  command("hdel", key, field),
  command("hexists", key, field),
  command("hlen", key),
  command("hkeys", key),
  command("hincrby", key, field, number),
  command("hscan", key, word("0")),
  command("lpush", key, value),
  command("rpush", key, value, value),
  command("rpushx", key, value),
  command("lpop", key),
  command("rpop", key, fc.constantFrom(1, 2)),
  command("llen", key),
  command("lindex", key, number),
  command("lset", key, number, value),
  command("lrem", key, number, value),
  command("ltrim", key, number, number),
  command("lrange", key, number, number),
  command("linsert", key, word("BEFORE"), value, value),
  command("lmove", key, key, word("LEFT"), word("RIGHT")),
  command("rpoplpush", key, key),
  command("lmpop", counted, word("LEFT")),
  command("sadd", key, value, value),
  command("srem", key, value),
  command("sismember", key, value),
  command("smismember", key, value, value),
  command("smembers", key),
  command("scard", key),
  command("smove", key, key, value),
  command("sunion", keys),
  command("sinter", keys),
  command("sdiff", keys),
  command("sunionstore", key, keys),
  command("sinterstore", key, keys),
  command("sdiffstore", key, keys),
  command("sintercard", counted),
  command("zadd", key, score, value),
  command("zadd", key, fc.constantFrom("GT", "NX", "XX"), score, value),
  command("zincrby", key, number, value),
  command("zrem", key, value),
  command("zscore", key, value),
  command("zmscore", key, value, value),
  command("zrange", key, number, number),
  command("zrangebyscore", key, score, score),
  command("zcard", key),
  command("zrank", key, value),
  command("zpopmin", key),
  command("zremrangebyrank", key, number, number),
  command("zunionstore", key, counted),
  command("zinterstore", key, counted),
  command("zrangestore", key, key, number, number),
  command("zinter", counted),
  command("pfadd", key, value),
  command("pfcount", keys),
  command("pfmerge", key, keys),
  command("xadd", key, word("9-9"), field, value),
  command("xlen", key),
  command("xrange", key, word("-"), word("+")),
  command("xdel", key, word("9-9")),
  command("expire", key, fc.constantFrom(100_000_000, -1)),
  command("pexpireat", key, at),
  command("persist", key),
  command("pexpiretime", key),
  command("expiretime", key),
  command("type", key),
  command("exists", keys),
  command("touch", keys),
  command("del", keys),
  command("unlink", key),
  command("rename", key, key),
  command("renamenx", key, key),
  command("copy", key, key),
  command("copy", key, key, word("REPLACE")),
  command("sort", key, word("ALPHA")),
  command("sort", key, word("ALPHA"), word("STORE"), key),
  command("eval", word("return redis.call('APPEND', KEYS[1], ARGV[1])"), word("1"), key, value),
  command("eval_ro", word("return redis.call('STRLEN', KEYS[1])"), word("1"), key),
  command("geoadd", key, score, score, value),
  command("geopos", key, value),
  command("lcs", key, key),
);

const ONE = COMMANDS.map((command): Step => ({ kind: "one", command }));
const EVICT = fc.uniqueArray(key, { minLength: 1 }).map((keys): Step => ({ kind: "evict", keys }));

/** A step, or two: what is evicted comes back with the next command that uses it. */
const STEPS: fc.Arbitrary<Step | [Step, Step]> = fc.oneof(
  // a batch lists resident keys only
  { weight: 1, arbitrary: command("keys", word("*")).map((command): Step => ({ kind: "one", command })) },
  { weight: 8, arbitrary: ONE },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("pipeline" as const, "multi" as const),
      commands: fc.array(COMMANDS, { minLength: 1, maxLength: 5 }),
    }),
  },
  { weight: 3, arbitrary: EVICT },
  { weight: 4, arbitrary: fc.tuple(EVICT, ONE) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: "tick" }) },
);

/** Sends commands through a client's requester, as the client's own classes do. */
async function send(redis: Redis, step: Step): Promise<unknown> {
  const { client } = redis as unknown as { client: { request(request: object): Promise<unknown> } };
  try {
    if (step.kind === "one") return shown(step.command, (await client.request({ body: step.command })) as object);
    if (step.kind !== "pipeline" && step.kind !== "multi") return undefined;
    const path = [step.kind === "multi" ? "multi-exec" : "pipeline"];
    const answers = await client.request({ path, body: step.commands }) as object[];
    return answers.map((answer, i) => shown(step.commands[i]!, answer));
  } catch (error) {
    return String(error);
  }
}

/** An answer without the order that a reply has by chance. */
function shown([name]: Command, answer: { result?: unknown; error?: string }): unknown {
  if (answer.error !== undefined) return answer.error;
  const { result } = answer;
  if (/expiretime/.test(String(name))) return near(result);
  if (!UNORDERED.test(String(name)) || !Array.isArray(result)) return result;
  if (name === "hgetall") return Object.entries(pairs(result)).sort();
  if (/scan/.test(String(name))) return (result[1] as unknown[]).map(String).sort();
  return result.map(String).sort();
}

function pairs(flat: readonly unknown[]): Record<string, unknown> {
  return Object.fromEntries(flat.flatMap((name, i) => i % 2 === 0 ? [[String(name), flat[i + 1]]] : []));
}

/** What each key holds, by a client. */
async function contents(redis: Redis): Promise<unknown[]> {
  const reads: Record<string, (key: string) => Command> = {
    string: (key) => ["get", key],
    hash: (key) => ["hgetall", key],
    list: (key) => ["lrange", key, 0, -1],
    set: (key) => ["smembers", key],
    zset: (key) => ["zrange", key, 0, -1, "WITHSCORES"],
    stream: (key) => ["xrange", key, "-", "+"],
  };
  return await Promise.all(KEYS.map(async (key) => {
    const type = await send(redis, { kind: "one", command: ["type", key] }) as string;
    const read = reads[type];
    const command = (command: Command) => send(redis, { kind: "one", command });
    return [key, type, read && await command(read(key)), near(await command(["pexpiretime", key]))];
  }));
}

/** Relative expiries, in seconds or milliseconds, differ by the time between the two clients. */
function near(time: unknown): unknown {
  const ms = typeof time === "number" && time < 1e11 ? time * 1000 : time;
  return typeof ms === "number" && ms > 0 && ms < 3e12 ? "some years from now" : time;
}

/** Keys that a command reads and whose bytes it may change all the same: their next eviction archives them again. */
function rewritten(steps: Step[]): Set<string | number> {
  const commands = steps.flatMap((step) =>
    step.kind === "one" ? [step.command] : "commands" in step ? step.commands : []
  );
  return new Set(commands.filter(([name]) => name === "sort" || name === "pfcount").flat());
}

/** Runs a program on both; throws at the first difference. */
async function runProgram({ tundraStore, transparentRedis }: Subject, cold: ColdStack, plain: Stack, steps: Step[]) {
  await Promise.all([cold.flush(), plain.flush()]);
  const { url: endpoint, region, accessKeyId, secretAccessKey } = cold.s3;
  const archive = s3Datastore({ endpoint, region, bucket: BUCKET, accessKeyId, secretAccessKey });
  const store = tundraStore(archive, { redis: cold.connection, minEvictBytes: 0 });
  const other = tundraStore(archive, { redis: plain.connection }).redis;
  const redis = transparentRedis(store, { evicted: true });
  for (const [i, step] of steps.entries()) {
    if (step.kind === "tick" || step.kind === "evict") assertEquals((await store.tick()).errors, []);
    if (step.kind === "evict") await store.evict(step.keys);
    const [mine, theirs] = await Promise.all([send(redis, step), send(other, step)]);
    assertEquals([i, mine], [i, theirs]);
  }
  const expected = await contents(other);
  assertEquals(await contents(redis), expected);
  assertEquals((await store.tick()).errors, []);
  const there = KEYS.filter((_, i) => (expected[i] as string[])[1] !== "none" && !rewritten(steps).has(KEYS[i]!));
  const { kept } = await store.evict(KEYS);
  // a change without its mark is noticed here, and is not lost: still it must not be
  assertEquals(there.filter((key) => key in kept), []);
  assertEquals(await contents(transparentRedis(store)), expected);
}

/** Runs so many programs; throws at the first one that ends otherwise, and says which. */
export async function runPrograms(subject: Subject, cold: ColdStack, plain: Stack, seed: number, programs: number) {
  const program = (steps: (Step | [Step, Step])[]) => runProgram(subject, cold, plain, steps.flat());
  await fc.assert(fc.asyncProperty(fc.array(STEPS, { minLength: 5, maxLength: 30 }), program), {
    seed,
    numRuns: programs,
    endOnFailure: true,
  });
}
